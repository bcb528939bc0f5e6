//! A key that is only looked at.

use in_mem_model::{RunId, Tag};

/// Where something lives, borrowed: run, tag and the user's bytes.
#[derive(Clone, Copy, Debug, Eq, PartialOrd, Ord)]
pub struct KeyRef<'a> {
    /// The run.
    pub run: RunId,
    /// Which of the run's primitives.
    pub tag: Tag,
    /// The user's key.
    pub user: &'a [u8],
}

/// Longest user key that is compared word by word where it stands: a call of the system's comparison costs more than that.
const COMPARED_HERE_BYTES: usize = 64;

impl PartialEq for KeyRef<'_> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        if self.run != other.run || self.tag != other.tag || self.user.len() != other.user.len() {
            return false;
        }
        if self.user.len() > COMPARED_HERE_BYTES {
            return self.user == other.user;
        }
        let ((words, rest), (other_words, other_rest)) =
            (self.user.as_chunks::<8>(), other.user.as_chunks::<8>());
        words.iter().zip(other_words).all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
            && rest.iter().zip(other_rest).all(|(a, b)| a == b)
    }
}

impl<'a> KeyRef<'a> {
    /// The key `user` of `tag` in `run`.
    #[must_use]
    pub fn new(run: RunId, tag: Tag, user: &'a [u8]) -> Self {
        Self { run, tag, user }
    }
}

/// A key with its hash, so that one operation hashes once however often it looks.
#[derive(Clone, Copy, Debug)]
pub struct HashedKey<'a> {
    pub(crate) key: KeyRef<'a>,
    pub(crate) hash: u64,
}

impl<'a> HashedKey<'a> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> KeyRef<'a> {
        self.key
    }
}
