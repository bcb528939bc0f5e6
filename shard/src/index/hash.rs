//! Where a key lives: a keyed 64-bit hash over run, tag and user key.
//!
//! Keys come from users, so the hash must not be one for which colliding keys can be computed in advance. A seeded
//! `rustc-hash` does not give that: the seed is added to a state that is linear in the words that follow, and its
//! byte-string step does not see the seed at all, so keys that collide under one seed collide under every seed.
//! This one multiplies two keyed halves into 128 bits and folds them (the step of wyhash and its descendants), at the
//! same cost.

use in_mem_model::{RunId, Tag};

/// The state of a hash after the run: a handle computes it once and every operation goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHash(u64);

/// The index's secret: chosen at random for each process. The order of keys never depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher {
    keys: [u64; 3],
}

impl Hasher {
    pub(crate) fn new(seed: u64) -> Self {
        // SplitMix64: three independent words out of one.
        let mut state = seed;
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (word ^ (word >> 31)) | 1
        });
        Self { keys }
    }

    #[inline]
    pub(crate) fn run(&self, run: &RunId) -> RunHash {
        let bytes = run.as_bytes();
        RunHash(fold(word(bytes, 0) ^ self.keys[0], word(bytes, 8) ^ self.keys[1]))
    }

    #[inline]
    pub(crate) fn key(&self, run: RunHash, tag: Tag, user: &[u8]) -> u64 {
        let length = user.len();
        let mut state = run.0 ^ self.keys[2];
        let (a, b) = if length >= 16 {
            let mut at = 0;
            while at + 16 < length {
                state = fold(word(user, at) ^ self.keys[1], word(user, at + 8) ^ state);
                at += 16;
            }
            (word(user, length - 16), word(user, length - 8))
        } else if length >= 8 {
            (word(user, 0), word(user, length - 8))
        } else if length >= 4 {
            (u64::from(half(user, 0)), u64::from(half(user, length - 4)))
        } else if length > 0 {
            let (first, middle, last) = (user[0], user[length / 2], user[length - 1]);
            (u64::from(first) << 16 | u64::from(middle) << 8 | u64::from(last), 0)
        } else {
            (0, 0)
        };
        let state = fold(a ^ self.keys[1], b ^ state);
        // The length keeps keys apart whose overlapping reads are the same words.
        fold(state ^ self.keys[0], (length as u64) << 8 ^ tag as u64 ^ self.keys[2])
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
