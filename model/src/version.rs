//! The commit version.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a commit on one shard: strictly increasing there, meaningless across shards.
///
/// Version 0 is the empty shard; the first commit is version 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);
    /// After every commit there can be.
    pub const MAX: Self = Self(u64::MAX);

    /// The number itself.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The version of the next commit. Stays at [`Version::MAX`], which a billion commits a second reach in 584 years.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
