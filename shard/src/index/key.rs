//! A key that is only looked at.

use in_mem_model::{RunId, Tag};

/// Where something lives, borrowed: run, tag and the user's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRef<'a> {
    /// The run.
    pub run: RunId,
    /// Which of the run's primitives.
    pub tag: Tag,
    /// The user's key.
    pub user: &'a [u8],
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
