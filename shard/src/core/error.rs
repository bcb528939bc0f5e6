//! Why a shard refused a command. A refusal leaves the shard as it was.

use std::sync::Arc;

use in_mem_model::{Key, KeyError, Kind, RunId, ValueError, Version};
use in_mem_wal::LogError;

use super::run_meta::RunStatus;

/// Why a write was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no such run.
    #[error("run {run} is not known here; begin it, or check the id (`db.runs()` lists what there is)")]
    UnknownRun {
        /// The run that was asked for.
        run: RunId,
    },
    /// The run has ended.
    #[error("run {run} is {status}: an ended run is not written any more; begin a child or a fork of it")]
    RunEnded {
        /// The run.
        run: RunId,
        /// How it ended.
        status: RunStatus,
    },
    /// A run with this id is there already.
    #[error("run {run} is there already; open it with `db.run(id)`, or begin or import it under another id")]
    RunExists {
        /// The run.
        run: RunId,
    },
    /// An import has taken this id, and has not ended.
    #[error(
        "run {run} is being imported, or is what a failed import has left: wait for it, reopen the database to have what is left \
         deleted, or take another id"
    )]
    RunArriving {
        /// The run.
        run: RunId,
    },
    /// A run cannot go from one status to the other.
    #[error("run {run} is {from} and cannot become {to}{}", way_on(*from))]
    InvalidStatus {
        /// The run.
        run: RunId,
        /// Where it stands.
        from: RunStatus,
        /// Where it was to go.
        to: RunStatus,
    },
    /// A namespace's memory does not end: what ended could not be written again, and its namespace has but this one.
    #[error(
        "run {run} is a namespace's memory and cannot become {to}: it does not end; delete it to begin it anew"
    )]
    EndlessMemory {
        /// The memory.
        run: RunId,
        /// Where it was to go.
        to: RunStatus,
    },
    /// The version to watch from is yet to come: the changes up to it would be passed over.
    #[error(
        "version {from} is yet to come: the shard of run {run} is at version {last}; watch from a version that was read of this \
         run, or from now on"
    )]
    WatchFromFuture {
        /// The run.
        run: RunId,
        /// What was asked for.
        from: Version,
        /// Where the shard is.
        last: Version,
    },
    /// A condition of the write did not hold.
    #[error("{}", condition_failed(key, *expected, *found))]
    ConditionFailed {
        /// The key that was to be written.
        key: Box<Key>,
        /// What was asked for.
        expected: Condition,
        /// The version that is there, if any.
        found: Option<Version>,
    },
    /// Something that the transaction read has changed since.
    #[error(
        "{key} was changed at version {found} after the transaction's snapshot at {snapshot}; run the transaction again"
    )]
    Conflict {
        /// The key that changed.
        key: Box<Key>,
        /// What the transaction saw.
        snapshot: Version,
        /// The version that is there now.
        found: Version,
    },
    /// The transaction's snapshot was taken away: what was deleted since may have left no trace, so that nobody can say
    /// whether what it read has changed.
    #[error(
        "the transaction's snapshot at {snapshot} expired before it was committed; run the transaction again"
    )]
    SnapshotExpired {
        /// What the transaction saw.
        snapshot: Version,
    },
    /// The key holds something that cannot be counted up.
    #[error("{key} holds {found}, not an integer that can be incremented")]
    NotAnInteger {
        /// The key.
        key: Box<Key>,
        /// The kind of value it holds.
        found: Kind,
    },
    /// Adding would pass the limits of a 64-bit integer.
    #[error("{key}: adding {by} would pass the limits of a 64-bit integer")]
    Overflow {
        /// The key.
        key: Box<Key>,
        /// What was to be added.
        by: i64,
    },
    /// A run and the runs of its transaction lie on different shards.
    #[error("run {run} is of another lineage than {with}; a transaction spans one run and its children only")]
    OtherLineage {
        /// The run of another lineage.
        run: RunId,
        /// The run of the transaction.
        with: RunId,
    },
    /// The transaction reads or writes more than one may. Nothing of it was done.
    #[error(
        "the transaction has {found} {what}, more than the {limit} that one may have: split it into several (`in_mem::limits` has \
         the limits)"
    )]
    TransactionTooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is of it; where the transaction was refused before it was whole, up to what was refused.
        found: usize,
        /// The limit, see [`in_mem_model::limits`].
        limit: usize,
    },
    /// A run was to be deleted in a transaction that writes other things, too.
    #[error("run {run} can only be deleted by a transaction that does nothing else")]
    DropNotAlone {
        /// The run.
        run: RunId,
    },
    /// Forks of forks are so deep already that another would slow every read.
    #[error(
        "run {run} is {limit} forks deep, and no deeper fork can be made; fork one of the runs that it comes from"
    )]
    ForkTooDeep {
        /// The run to fork.
        run: RunId,
        /// The limit, in levels.
        limit: usize,
    },
    /// The bytes handed over as an event are not one.
    #[error("what was to be appended to run {run} is not a packed event")]
    MalformedEvent {
        /// The run.
        run: RunId,
    },
    /// The transaction's closure panicked, or gave up.
    #[error("the closure on run {run} panicked: {message}; nothing of it was kept")]
    Panicked {
        /// The run.
        run: RunId,
        /// What the panic said.
        message: Arc<str>,
    },
    /// A watcher missed changes: it fell behind, or asked for some that are no longer kept.
    #[error("run {run}: the changes from version {missed} on were missed; {}", lagged(*missed, *oldest))]
    Lagged {
        /// The run.
        run: RunId,
        /// The first version that may have been missed.
        missed: Version,
        /// The oldest version that a watch can begin at, where the one asked for is older; `None` where the watcher had
        /// not kept up: a watch from the last version that it read may still tell the rest.
        oldest: Option<Version>,
    },
    /// There are as many watchers as there may be.
    #[error("the shard has {limit} watchers; drop one")]
    TooManyWatchers {
        /// How many there may be.
        limit: usize,
    },
    /// The key is not one that can be stored.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The value is not one that can be stored.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The log could not take the commit.
    #[error("the log could not take the commit: {0}")]
    Log(Arc<LogError>),
}

fn lagged(missed: Version, oldest: Option<Version>) -> String {
    match oldest {
        Some(oldest) => format!(
            "the oldest version to watch from is {oldest}: read what there is and watch from there, or keep history"
        ),
        None => format!("watch from version {} to go on, with more capacity", missed.0.saturating_sub(1)),
    }
}

impl From<LogError> for WriteError {
    fn from(error: LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}

/// What a conditional write asks of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing: write whatever is there.
    #[default]
    Any,
    /// That there is nothing.
    Absent,
    /// That there is something.
    Present,
    /// That this very version is there.
    Version(Version),
}

/// What to do about a run that cannot become what it was to become.
fn way_on(from: RunStatus) -> &'static str {
    match from {
        RunStatus::Created => "; begin its work first (`go_on`)",
        ended if ended.is_ended() => "; begin a child or a fork of it",
        _ => "",
    }
}

fn condition_failed(key: &Key, expected: Condition, found: Option<Version>) -> String {
    match (expected, found) {
        (Condition::Absent, Some(found)) => {
            format!("{key} is there already, since version {found}; read it, or take another name")
        }
        (Condition::Version(expected), Some(found)) => {
            format!("{key} is at version {found} now, not at {expected}; read it again and decide anew")
        }
        (expected, None) => {
            format!(
                "{key} is not there, where {expected} was expected; it was deleted, or has yet to be made"
            )
        }
        (expected, Some(found)) => format!("{key}: expected {expected}, found version {found}"),
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Absent => f.write_str("nothing"),
            Self::Present => f.write_str("something"),
            Self::Version(v) => write!(f, "version {v}"),
        }
    }
}
