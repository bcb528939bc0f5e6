//! An embedded, in-memory database for AI agents.
//!
//! An agent's work is a [`Run`]. What it knows, does and decides lies in primitives scoped to the run: key-value
//! pairs ([`Run::kv`]), an event log ([`Run::events`]), state cells ([`Run::state`]), a trace ([`Run::traces`]) and the run
//! index ([`Database::runs`]). Transactions are serializable within a run and its children, a write-ahead log makes
//! them durable, and a killed process goes on where it was.
//!
//! An effect on the world is a durable step ([`Run::step`]). What a run was can be read at any of its commits ([`Run::at`]) and
//! proved ([`Run::verify`]); runs are forked ([`Database::fork`]), compared ([`Database::diff`]) and carried elsewhere
//! ([`Database::export`]). Of a database on disk there are backups ([`Database::backup`]), and [`admin`] for one that is damaged.
//!
//! ```
//! use in_mem::{Database, RunStatus};
//!
//! # fn main() -> Result<(), in_mem::Error> {
//! let db = Database::in_memory()?;
//! let run = db.begin_run("answer a question")?;
//! run.kv().put("question", "How many shards are there?")?;
//! run.events().append("tool_call", serde_json::json!({"tool": "count", "of": "shards"}))?;
//! run.transaction(|tx| {
//!     let asked = tx.kv().get("question")?;
//!     tx.kv().put("answered", asked.is_some())?;
//!     tx.events().append("answer", 2)?;
//!     Ok(())
//! })?;
//! run.end(RunStatus::Completed)?;
//! assert_eq!(run.events().len()?, 2);
//! # Ok(())
//! # }
//! ```

mod begin;
mod builder;
mod chain;
mod database;
mod events;
mod fork;
mod kv;
mod otel;
mod pending;
mod replay;
mod run;
mod runs;
mod span_draft;
mod span_query;
mod span_tree;
mod state;
mod steps;
mod stream;
mod traces;
mod transaction;
mod watch;

pub use begin::BeginRun;
pub use builder::Builder;
pub use chain::{ChainCheck, ChainFault};
pub use database::{BackupReport, CheckpointStats, Database, ShardStats, Stats};
pub use events::{EventDraft, EventIter, Events};
pub use fork::ForkOptions;
pub use in_mem_engine::Condition;
/// What is done to a database that is not open: reading all of it without changing anything, and saving what can be read.
pub use in_mem_engine::admin;
pub use in_mem_engine::{
    Bundle, BundleError, BundledRun, Change, Clock, Commit, Diff, Digest, Divergence, Durability, Error,
    Event, Execution, ForkPoint, HistoryError, ImportReport, KeyChange, KeyDiff, KeyMoment, ManualClock,
    Mismatch, OpenError, Pinning, Point, PruneReport, PrunedRun, RecoveryPhase, RecoveryProgress,
    RetentionPolicy, RetentionStats, RunCursor, RunInfo, RunMeta, RunOrder, RunStatus, RunTotals, Side,
    SnapshotError, Span, SpanCursor, SpanDiff, SpanHead, SpanKind, SpanOrder, SpanSide, SpanStatus,
    SpanTotals, StepError, TraceDiff, TraceTotals, Usage, ValueDiff, Verification, WriteError,
    event::ChainHead,
};
pub use in_mem_model::{
    Key, KeyBytes, KeyError, Kind, Namespace, NamespaceError, Object, ParseRunIdError, ParseTimestampError,
    RunId, SerdeError, Tag, Timestamp, Value, ValueError, Version, VersionedValue, limits, value,
};
pub use kv::{Kv, Page};
pub use otel::{GENAI_ATTRIBUTES, GENAI_CONVENTIONS_VERSION, GenAiField, otel_attributes};
pub use pending::Pending;
pub use replay::{EventsAt, KvAt, RunAt, RunMoment, StateAt, TracesAt};
pub use run::Run;
pub use runs::Runs;
pub use span_draft::{SpanDraft, SpanEnd};
pub use span_query::Spans;
pub use span_tree::{SpanNode, SpanTree};
pub use state::State;
pub use steps::{MAX_STEP_DEPTH, STEP_EVENT, STEP_FAILED_EVENT, StepOptions};
pub use stream::{Stream, Subscription};
pub use traces::{SpanGuard, Traces};
pub use transaction::{Transaction, TxEvents, TxKv, TxState, TxTraces};
pub use watch::Watch;

/// What the calls of this crate give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The README's example, as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
