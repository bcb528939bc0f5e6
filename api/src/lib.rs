//! An embedded, in-memory database for AI agents.
//!
//! An agent's work is a [`Run`]. What it knows, does and decides lies in primitives scoped to the run: key-value
//! pairs ([`Run::kv`]), an event log ([`Run::events`]), state cells ([`Run::state`]) and the run
//! index ([`Database::runs`]). Transactions are serializable within a run and its children, a write-ahead log makes
//! them durable, and a killed process goes on where it was.
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
mod database;
mod events;
mod fork;
mod kv;
mod pending;
mod replay;
mod run;
mod runs;
mod state;
mod steps;
mod transaction;

pub use begin::BeginRun;
pub use builder::Builder;
pub use database::{Database, Stats};
pub use events::{EventDraft, EventIter, Events};
pub use fork::ForkOptions;
pub use in_mem_engine::{
    Change, Clock, Commit, Diff, Digest, Divergence, Durability, Error, Event, Execution, ForkPoint,
    HistoryError, KeyDiff, KeyMoment, ManualClock, Mismatch, OpenError, Pinning, Point, RunCursor, RunInfo,
    RunMeta, RunOrder, RunStatus, Side, SnapshotError, StepError, Usage, ValueDiff, Verification, WriteError,
};
pub use in_mem_model::{
    Key, KeyBytes, Kind, Namespace, Object, RunId, Tag, Timestamp, Value, Version, VersionedValue, limits,
    value,
};
pub use kv::{Kv, Page};
pub use pending::Pending;
pub use replay::{EventsAt, KvAt, RunAt, RunMoment, StateAt};
pub use run::Run;
pub use runs::Runs;
pub use state::State;
pub use steps::{MAX_STEP_DEPTH, STEP_EVENT, STEP_FAILED_EVENT, StepOptions};
pub use transaction::{Transaction, TxEvents, TxKv, TxState};

/// What the calls of this crate give.
pub type Result<T, E = Error> = std::result::Result<T, E>;
