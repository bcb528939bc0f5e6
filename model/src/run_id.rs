//! Which run.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::excerpt;
use crate::{Namespace, ParseRunIdError, Timestamp};

/// The name of a run: 128 bits, ordered by creation time, written as a UUID.
///
/// Generated ids are UUIDs of version 7 (RFC 9562). Any other UUID can be brought along; only
/// [`timestamp`](RunId::timestamp) has nothing to say about it.
///
/// ```text
/// byte   0      5 6   7 8           13 14  15
///        time ms  7.rand 10.random     routing
/// ```
///
/// The last two bytes are the **routing bits**. They alone decide which shard owns the run, and a child copies its
/// parent's, so a run and all that descends from it live on one shard and can be written in one transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId([u8; 16]);

const ROUTING: std::ops::Range<usize> = 14..16;
const MAX_UNIX_MILLIS: i64 = (1 << 48) - 1;

impl RunId {
    /// The id with exactly these bytes, such as those of a UUID made elsewhere.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes, in the order of its written form.
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id made of a time and random bytes: a pure function, for callers that must be deterministic.
    ///
    /// Only whole milliseconds of `now` are kept; a time before 1970 counts as 1970. Six bits of the entropy give way
    /// to the UUID's version and variant; its last two bytes become the routing bits.
    #[must_use]
    pub fn new(now: Timestamp, entropy: [u8; 10]) -> Self {
        let millis = now.as_millis().clamp(0, MAX_UNIX_MILLIS);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&entropy);
        Self::marked(bytes, 7)
    }

    /// The id of a child of `parent`, made of a time and random bytes: as [`RunId::new`], with the parent's routing bits.
    #[must_use]
    pub fn child_of(parent: Self, now: Timestamp, entropy: [u8; 10]) -> Self {
        Self::new(now, entropy).with_routing(parent.routing())
    }

    /// A fresh id.
    ///
    /// Ids generated on one thread from a clock that does not go back increase strictly. Random bytes are fetched from
    /// the system a buffer at a time, so most calls make no system call.
    ///
    /// # Panics
    /// If the operating system has no source of randomness.
    #[must_use]
    pub fn generate(now: Timestamp) -> Self {
        GENERATOR.with_borrow_mut(|generator| generator.next(now))
    }

    /// A fresh id for a child of `parent`.
    ///
    /// # Panics
    /// As [`RunId::generate`].
    #[must_use]
    pub fn generate_child(parent: Self, now: Timestamp) -> Self {
        Self::generate(now).with_routing(parent.routing())
    }

    /// The id under which a namespace's own long-lived state is kept: always the same for the same namespace.
    ///
    /// A UUID of version 8 cut from a BLAKE3 hash of the three parts.
    #[must_use]
    pub fn for_namespace(namespace: &Namespace) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("in-mem 2025 run id of a namespace v1");
        for part in [namespace.tenant(), namespace.app(), namespace.agent()] {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self::marked(bytes, 8)
    }

    /// What decides which shard owns the run.
    #[inline]
    #[must_use]
    pub const fn routing(self) -> u16 {
        u16::from_be_bytes([self.0[14], self.0[15]])
    }

    /// The same id with other routing bits.
    #[inline]
    #[must_use]
    pub fn with_routing(mut self, routing: u16) -> Self {
        self.0[ROUTING].copy_from_slice(&routing.to_be_bytes());
        self
    }

    /// When the run was created, to the millisecond; `None` for ids that are not UUIDs of version 7.
    #[must_use]
    pub fn timestamp(self) -> Option<Timestamp> {
        let is_v7 = self.0[6] >> 4 == 7 && self.0[8] >> 6 == 0b10;
        let [a, b, c, d, e, f, ..] = self.0;
        is_v7.then(|| Timestamp::from_millis(i64::from_be_bytes([0, 0, a, b, c, d, e, f])))
    }

    /// Writes the UUID's version and variant over the bits that belong to them.
    fn marked(mut bytes: [u8; 16], version: u8) -> Self {
        bytes[6] = bytes[6] & 0x0f | version << 4;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

thread_local! {
    static GENERATOR: RefCell<Generator> = const { RefCell::new(Generator::EMPTY) };
}

/// Random bytes fetched at a time: about a hundred ids' worth, one system call.
const ENTROPY_BUFFER_BYTES: usize = 1024;

/// A thread's source of ids.
struct Generator {
    entropy: [u8; ENTROPY_BUFFER_BYTES],
    used: usize,
    last_millis: i64,
    /// The 58 random bits of the last id: those between time and routing.
    last_random: u64,
}

const RANDOM_BITS: u32 = 58;

impl Generator {
    const EMPTY: Self = Self {
        entropy: [0; ENTROPY_BUFFER_BYTES],
        used: ENTROPY_BUFFER_BYTES,
        last_millis: i64::MIN,
        last_random: 0,
    };

    fn next(&mut self, now: Timestamp) -> RunId {
        let millis = now.as_millis();
        let routing: [u8; 2] = self.take();
        // Within a millisecond the random part grows by a random step, so ids increase and still cannot be guessed
        // one from another. An overflow takes millions of ids in that millisecond; it starts again at random.
        let step = u64::from(u32::from_le_bytes(self.take())) + 1;
        let grown = self.last_random.checked_add(step).filter(|next| next >> RANDOM_BITS == 0);
        let random = match grown {
            Some(next) if millis == self.last_millis => next,
            _ => u64::from_le_bytes(self.take()) >> (64 - RANDOM_BITS),
        };
        (self.last_millis, self.last_random) = (millis, random);

        let mut entropy = [0; 10];
        // 12 bits go before the variant, 6 after it in the same byte, 40 after that.
        entropy[..2].copy_from_slice(&((random >> 46) as u16).to_be_bytes());
        entropy[2] = (random >> 40) as u8 & 0x3f;
        entropy[3..8].copy_from_slice(&random.to_be_bytes()[3..]);
        entropy[8..].copy_from_slice(&routing);
        RunId::new(now, entropy)
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > ENTROPY_BUFFER_BYTES {
            getrandom::fill(&mut self.entropy)
                .expect("the operating system must provide random bytes for run ids");
            self.used = 0;
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.entropy[self.used..self.used + N]);
        self.used += N;
        bytes
    }
}

impl fmt::Display for RunId {
    /// The hyphenated lower-case form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        f.pad(uuid::Uuid::from_bytes(self.0).as_hyphenated().encode_lower(&mut buffer))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

impl FromStr for RunId {
    type Err = ParseRunIdError;

    /// Reads a UUID in any case: hyphenated, 32 digits, in braces, or as `urn:uuid:`.
    fn from_str(text: &str) -> Result<Self, ParseRunIdError> {
        match uuid::Uuid::try_parse(text) {
            Ok(id) => Ok(Self(id.into_bytes())),
            Err(error) => Err(ParseRunIdError { text: excerpt(text), reason: error.to_string() }),
        }
    }
}

impl From<[u8; 16]> for RunId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl From<RunId> for [u8; 16] {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(IdVisitor)
        } else {
            deserializer.deserialize_bytes(IdVisitor)
        }
    }
}

struct IdVisitor;

impl de::Visitor<'_> for IdVisitor {
    type Value = RunId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a UUID as text or 16 bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RunId, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<RunId, E> {
        bytes.try_into().map(RunId).map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}
