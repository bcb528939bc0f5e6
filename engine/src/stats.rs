//! What a database counts.

use std::path::PathBuf;
use std::sync::PoisonError;

use in_mem_shard::core::command::{Command, CoreStats, Reply};
use in_mem_shard::turn::TurnStats;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Books, CheckpointStats};
use crate::durability::Durability;
use crate::engine::{Engine, unexpected};
use crate::error::Error;
use crate::history::RetentionStats;

/// What one shard counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStats {
    /// Its number.
    pub shard: usize,
    /// What its core counts.
    pub core: CoreStats,
    /// Turns that callers ran themselves.
    pub turns_inline: u64,
    /// Turns of the home thread.
    pub turns_home: u64,
    /// Syncs of the log.
    pub syncs: u64,
    /// Commands waiting.
    pub waiting: u64,
    /// Its newest checkpoint.
    pub checkpoint: Option<CheckpointStats>,
    /// Why the last attempt at a checkpoint failed, where it did.
    pub checkpoint_error: Option<String>,
}

/// What a database counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Where it lies, if not in memory only.
    pub path: Option<PathBuf>,
    /// When a commit is acknowledged.
    pub durability: Durability,
    /// Why the shards' threads are not pinned to cores, where they are not.
    pub unpinned: Option<String>,
    /// What opening it had to say: a torn tail cut off, runs re-routed.
    pub notes: Vec<String>,
    /// What retention has done, where the database was opened with it.
    #[serde(default)]
    pub retention: Option<RetentionStats>,
    /// Each shard.
    pub shards: Vec<ShardStats>,
}

impl Engine {
    /// What the shards count.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut books = self.checkpointer.books();
        books.resize_with(self.shards.len(), Books::default);
        let mut shards = Vec::with_capacity(self.shards.len());
        for (number, shard) in self.shards.iter().enumerate() {
            let core = match self.call(shard, Command::Stats)? {
                Reply::Stats(stats) => *stats,
                other => return Err(unexpected(other)),
            };
            let TurnStats { turns_inline, turns_home, syncs, inbox_len, .. } = shard.turn.stats();
            shards.push(ShardStats {
                shard: number,
                core,
                turns_inline,
                turns_home,
                syncs,
                waiting: inbox_len,
                checkpoint: books[number].last,
                checkpoint_error: books[number].error.take(),
            });
        }
        Ok(Stats {
            path: self.path.clone(),
            durability: self.durability,
            unpinned: self.unpinned.clone(),
            notes: self.notes.clone(),
            retention: (!self.retention.is_empty())
                .then(|| self.retained.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            shards,
        })
    }
}
