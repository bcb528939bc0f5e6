//! The coordinator of in-mem: opens and recovers a database, routes every command to the shard that owns its run, merges
//! what only all shards together can say.
//!
//! - [`Engine`]: commands and queries, snapshots, checkpoints in the background, backups, other numbers of shards.
//! - [`history`]: what a run was, from the log alone: replay, forks, diffs, bundles, retention.
//! - [`admin`]: what is done to a database that is not open.

pub mod admin;
mod backup;
mod checkpoint;
mod config;
mod durability;
mod engine;
mod error;
pub mod history;
mod image;
mod open;
mod path_text;
mod pending;
mod pinning;
mod progress;
mod query;
mod routing;
mod snapshot;
mod stats;
mod step_error;

pub use backup::BackupReport;
pub use checkpoint::CheckpointStats;
pub use config::Config;
pub use durability::Durability;
pub use engine::{Engine, check_key, unexpected};
pub use error::{Error, OpenError, SnapshotError};
pub use history::{
    Bundle, BundleError, BundledRun, Commit, Diff, Digest, Divergence, ForkSettings, HistoryError,
    ImportReport, KeyChange, KeyDiff, KeyMoment, Mismatch, Point, PruneReport, PrunedRun, RetentionPolicy,
    RetentionStats, Side, SpanDiff, SpanSide, Timeline, TraceDiff, TraceTotals, ValueDiff, Verification,
    View, Watching,
};
pub use in_mem_shard::clock::{Clock, ManualClock, SystemClock};
pub use in_mem_shard::core::command::{self, RunInfo, RunPage, RunTotals, Usage};
pub use in_mem_shard::core::error::{Condition, WriteError};
pub use in_mem_shard::core::event::{self, ChainHead, Event};
pub use in_mem_shard::core::run_meta::{ForkPoint, RunMeta, RunStatus, UnknownStatus};
pub use in_mem_shard::core::span::{self, Span, SpanHead, SpanKind, SpanStatus};
pub use in_mem_shard::core::span_index::{
    SpanCursor, SpanFilter, SpanOrder, SpanPage, SpanQuery, SpanTotals,
};
pub use in_mem_shard::core::transaction::{Pending as WritePending, ShardTx, WriteSet};
pub use in_mem_shard::core::watch::{self, Change};
pub use in_mem_shard::core::{RunCursor, RunFilter, RunOrder};
pub use in_mem_shard::turn::{Execution, TurnStats};
pub use in_mem_wal::{SimDisk, Storage};
pub use pending::PendingReply;
pub use pinning::Pinning;
pub use progress::{ProgressCallback, RecoveryPhase, RecoveryProgress};
pub use routing::{MAX_SHARDS, ROUTING_NAME, shard_of};
pub use snapshot::Snapshot;
pub use stats::{ShardStats, Stats};
pub use step_error::StepError;
