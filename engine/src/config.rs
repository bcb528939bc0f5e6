//! The settings of an engine.

use std::sync::Arc;
use std::time::Duration;

use in_mem_shard::clock::{Clock, SystemClock};
use in_mem_shard::turn::Execution;
use in_mem_wal::Storage;

use crate::durability::Durability;
use crate::error::OpenError;
use crate::history::prune::RetentionPolicy;
use crate::pinning::Pinning;
use crate::progress::ProgressCallback;
use crate::routing::MAX_SHARDS;

/// The settings of an engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// When a commit is acknowledged.
    pub durability: Durability,
    /// How many shards; `None`: what the database on disk has, or one for each core this process may use.
    pub shards: Option<usize>,
    /// Whether home threads are pinned.
    pub pinning: Pinning,
    /// Where commands are executed.
    pub execution: Execution,
    /// How many commands may wait at a shard.
    pub inbox_capacity: usize,
    /// How large a log segment is, in bytes.
    pub segment_bytes: u64,
    /// How much memory snapshots may hold back, in bytes per shard.
    pub snapshot_limit_bytes: usize,
    /// How often a checkpoint is written of shards that changed; `None`: not by time.
    pub checkpoint_interval: Option<Duration>,
    /// How long a shard's log grows before a checkpoint is written of it, in bytes; `None`: not by size.
    pub checkpoint_log_bytes: Option<u64>,
    /// Whether log that a checkpoint covers is kept, in each shard's `archive` directory, for replay and history; or else
    /// used again.
    pub keep_history: bool,
    /// Which ended runs are taken away in the background, each policy by itself; empty: none, all is kept.
    pub retention: Vec<RetentionPolicy>,
    /// How often the policies are carried out; the first time is at opening.
    pub retention_interval: Duration,
    /// Told how far recovery has come.
    pub progress: Option<ProgressCallback>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where files lie; `None`: on the file system.
    pub storage: Option<Arc<dyn Storage>>,
    /// Whether there are home threads.
    pub background: bool,
    /// The seed of the index's hash; `None`: random. It decides no order that anyone sees.
    pub hash_seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            shards: None,
            pinning: Pinning::default(),
            execution: Execution::default(),
            inbox_capacity: 1_024,
            segment_bytes: 16 << 20,
            snapshot_limit_bytes: 1 << 30,
            checkpoint_interval: Some(Duration::from_secs(300)),
            checkpoint_log_bytes: Some(256 << 20),
            keep_history: true,
            retention: Vec::new(),
            retention_interval: Duration::from_secs(600),
            progress: None,
            clock: Arc::new(SystemClock),
            storage: None,
            background: true,
            hash_seed: None,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let refuse = |setting, reason: String| Err(OpenError::Setting { setting, reason });
        if let Some(shards) = self.shards
            && !(1..=MAX_SHARDS).contains(&shards)
        {
            return refuse("shards", format!("{shards} is not between 1 and {MAX_SHARDS}"));
        }
        let never =
            "longer than nothing: what is due at once is due again at once, and a thread does nothing else";
        if self.checkpoint_interval == Some(Duration::ZERO) {
            return refuse("checkpoint_interval", format!("it has to be {never}; `None` is not by time"));
        }
        if self.retention_interval == Duration::ZERO {
            return refuse("retention_interval", format!("it has to be {never}"));
        }
        if self.inbox_capacity == 0 {
            return refuse("inbox_capacity", "at least one command has to fit".to_owned());
        }
        Ok(())
    }
}
