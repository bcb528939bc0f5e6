//! When a commit is acknowledged, and what a crash may cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// When it is installed. Nothing is written; everything ends with the process.
    InMemory,
    /// When it is in the mapped log: a killed process loses nothing, a power cut at most what was not synced yet.
    Buffered {
        /// The longest that a commit waits for its sync.
        interval: Duration,
        /// A sync is begun early when so many bytes wait for it.
        bytes: u64,
    },
    /// When it is on the disk, one sync for all commits that wait: nothing that was acknowledged is ever lost.
    Strict,
}

impl Durability {
    /// [`Durability::Buffered`] with its defaults: a sync every 100 ms, or every 16 MiB.
    pub const fn buffered() -> Self {
        Self::Buffered { interval: Duration::from_millis(100), bytes: 16 << 20 }
    }
}

impl Default for Durability {
    fn default() -> Self {
        Self::buffered()
    }
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InMemory => f.write_str("in-memory"),
            Self::Buffered { interval, .. } => write!(f, "buffered ({} ms)", interval.as_millis()),
            Self::Strict => f.write_str("strict"),
        }
    }
}
