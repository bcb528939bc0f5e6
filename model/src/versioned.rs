//! A value together with when and as what it was committed.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, Value, Version};

/// A stored value, the commit that wrote it, and how long it lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionedValue {
    /// What was written.
    pub value: Value,
    /// The commit that wrote it, on the shard of its run.
    pub version: Version,
    /// When it was written.
    pub timestamp: Timestamp,
    /// From when on it is gone, if it was written with a time to live.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl VersionedValue {
    /// Whether the value is gone at `now`: from `expires_at` on, that instant included.
    #[inline]
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}
