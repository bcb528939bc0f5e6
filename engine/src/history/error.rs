//! Why the past of a run cannot be shown.

use std::path::PathBuf;
use std::sync::Arc;

use in_mem_model::{DecodeError, RunId, Timestamp, Version};
use in_mem_wal::LogError;

/// Why the past of a run cannot be shown.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The database keeps no log.
    #[error("run {run}: history needs a log; open the database with a path (this one lives in memory only)")]
    NoLog {
        /// The run.
        run: RunId,
    },
    /// The log has nothing of the run.
    #[error("the log has no commit of run {run}; check the id, or import the run's bundle")]
    NoHistory {
        /// The run.
        run: RunId,
    },
    /// The beginning of the run is no longer in the log: it was let go when a checkpoint covered it.
    #[error(
        "the log no longer reaches back to the beginning of run {run} (its oldest commit there is version {oldest}): a checkpoint \
         covered it, and it was let go; read the run as it is, and open with `keep_history`, or export runs before, to have it \
         another time"
    )]
    Cut {
        /// The run.
        run: RunId,
        /// The oldest version of it that is there.
        oldest: Version,
    },
    /// All of the run's log was let go when a checkpoint covered it.
    #[error(
        "the log of run {run} was let go through version {through} when a checkpoint covered it; read the run as it is, and open \
         with `keep_history`, or export runs before, to have it another time"
    )]
    LetGo {
        /// The run.
        run: RunId,
        /// The last version of it that is gone.
        through: Version,
    },
    /// The past of the run was erased by a prune.
    #[error(
        "the past of run {run} was erased by a prune: its history begins behind version {through}; read the run as it is, or \
         import a bundle of it from before"
    )]
    Erased {
        /// The run.
        run: RunId,
        /// The last version of it that is gone.
        through: Version,
    },
    /// A fork of a run as it was before it was deleted and made again, with events: they lie in the past of an id, and in no run.
    #[error(
        "run {run} was deleted and made again since version {at}, and had events of its own then, which no run holds any more \
         for a fork to share; replay the run at that version and append what is needed of them to a new one"
    )]
    EventsOfAnotherLife {
        /// The run.
        run: RunId,
        /// The version that was to be forked.
        at: Version,
    },
    /// A prune was refused, but the note of what it was to erase may be on the disk and could not be taken back.
    #[error(
        "the prune was refused ({refused}), and its note {} could not be taken back ({source}): the next prune or opening carries it \
         out if it finds it; to keep the runs, remove that file while the database is closed", path.display()
    )]
    EraseMayFollow {
        /// The note.
        path: PathBuf,
        /// Why the prune was refused.
        refused: String,
        /// Why the note could not be taken back.
        source: Arc<std::io::Error>,
    },
    /// The log ends before what was committed.
    #[error(
        "the log of shard {shard} ends at version {found}, but {expected} was committed; run `in-mem check`"
    )]
    Short {
        /// The shard.
        shard: usize,
        /// What was committed.
        expected: Version,
        /// What the log has.
        found: Version,
    },
    /// A log that is kept for its history has lost its end.
    #[error(
        "the log in {}, kept for its history, ends at version {found}, but {expected} was committed: something of it is \
         damaged or missing; read the run as it is, or put the files of a copy in its place", dir.display()
    )]
    KeptShort {
        /// The directory of the shard.
        dir: PathBuf,
        /// What was committed.
        expected: Version,
        /// What the log has.
        found: Version,
    },
    /// The run was not there at that version.
    #[error("run {run} was not there yet at version {at}: it begins at version {first}")]
    BeforeVersion {
        /// The run.
        run: RunId,
        /// What was asked for.
        at: Version,
        /// Where it begins.
        first: Version,
    },
    /// The version is yet to come.
    #[error("version {at} is yet to come: the shard of run {run} is at version {last}")]
    AfterVersion {
        /// The run.
        run: RunId,
        /// What was asked for.
        at: Version,
        /// Where the shard is.
        last: Version,
    },
    /// The run was not there at that time.
    #[error("run {run} was not there yet at {at}: it begins at {first}")]
    BeforeTime {
        /// The run.
        run: RunId,
        /// What was asked for.
        at: Timestamp,
        /// When it begins.
        first: Timestamp,
    },
    /// There is no such event.
    #[error("run {run} has no event {sequence}: it has {len}, counted from 0")]
    NoEvent {
        /// The run.
        run: RunId,
        /// What was asked for.
        sequence: u64,
        /// How many there are.
        len: u64,
    },
    /// There is no such span.
    #[error("run {run} has no span {span}")]
    NoSpan {
        /// The run.
        run: RunId,
        /// What was asked for.
        span: String,
    },
    /// A run was forked from a run that forks of forks cannot be followed to.
    #[error("run {run} is a fork of forks more than {limit} deep")]
    TooDeep {
        /// The run.
        run: RunId,
        /// The limit.
        limit: usize,
    },
    /// A record cannot be read.
    #[error("the record at version {version} of run {run} cannot be read: {source}; run `in-mem check`")]
    Payload {
        /// The run.
        run: RunId,
        /// The record's version.
        version: Version,
        /// What is wrong.
        source: DecodeError,
    },
    /// The log refused.
    #[error(transparent)]
    Log(Arc<LogError>),
}

impl From<LogError> for HistoryError {
    fn from(error: LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}
