//! Why the engine could not do what it was asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use in_mem_model::{
    KeyError, NamespaceError, ParseRunIdError, ParseTimestampError, RunId, SerdeError, ValueError,
};
use in_mem_shard::core::error::WriteError;
use in_mem_shard::core::{LoadError, ReplayError};
use in_mem_wal::{LogError, salvage_command};

use crate::history::{BundleError, HistoryError};
use crate::step_error::StepError;

/// Why a database could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path is something else.
    #[error("{} is not a directory; name a directory, or a path where there is nothing yet", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory belongs to something else.
    #[error(
        "{} holds files ({example}, ...) but no database; name an empty directory, or one that in-mem made",
        path.display()
    )]
    NotADatabase {
        /// The directory.
        path: PathBuf,
        /// One of the files in it.
        example: String,
    },
    /// There is something already where a new database is to be.
    #[error("{} holds files already ({example}, ...); name an empty directory, or a path where there is nothing yet", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of the files in it.
        example: String,
    },
    /// What is to be written lies in what it is made from, which is to stay as it is.
    #[error("{} lies in {}, which stays as it is; name a directory outside of it", path.display(), of.display())]
    Inside {
        /// The directory that was to be written.
        path: PathBuf,
        /// The database's directory.
        of: PathBuf,
    },
    /// Another process has it open.
    #[error(
        "{} is in use by process {}{}, or open another directory",
        path.display(),
        pid.map_or_else(|| "(unknown)".to_owned(), |p| p.to_string()),
        if *pid == Some(std::process::id()) {
            ", which is this one; use the handle that has it open, or drop all that hold it (runs, watches and subscriptions, too)"
        } else {
            "; close it there"
        }
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other process.
        pid: Option<u32>,
    },
    /// A setting cannot be.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Runs are routed in a way that this version does not know.
    #[error("{} routes its runs by `{found}`, this version knows `{known}`; open it with a newer in-mem", path.display())]
    Routing {
        /// The directory.
        path: PathBuf,
        /// What the manifest says.
        found: String,
        /// What this version knows.
        known: &'static str,
    },
    /// The system refused.
    #[error("could not {attempted} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        attempted: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// This process may not do it.
    #[error(
        "not allowed to {attempted} {}: {source}; give this user the rights, or name another directory",
        path.display()
    )]
    Permission {
        /// What was attempted.
        attempted: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// There are commits, but no manifest that says of what.
    #[error(
        "{} has no manifest, but {}: its MANIFEST was lost, or a backup into it never ended; restore the MANIFEST, \
         make the backup again, or save what can be read with `{}`",
        path.display(), example.display(), salvage_command(&path.join("MANIFEST"))
    )]
    ManifestMissing {
        /// The directory.
        path: PathBuf,
        /// Something in it that holds commits, or says that a backup was begun.
        example: PathBuf,
    },
    /// A file that names runs is not what was written. Nothing is done with what it says: it might be another run's.
    #[error(
        "{} is damaged: its checksum does not fit; restore it from a copy, or remove it while the database is closed: {removed}",
        path.display()
    )]
    RunList {
        /// The file.
        path: PathBuf,
        /// What it comes to where it is removed.
        removed: &'static str,
    },
    /// The newest checkpoint is damaged, and what it covers is nowhere else.
    #[error("{source}; an older checkpoint and the log do not make up for it ({instead})")]
    CheckpointLost {
        /// The damage.
        source: Arc<LogError>,
        /// Why the others do not do.
        instead: String,
    },
    /// The log refused.
    #[error(transparent)]
    Log(Arc<LogError>),
    /// A checkpoint's entry cannot be read.
    #[error("{}: {source}; `{}` saves what can be read", path.display(), salvage_command(path))]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        source: LoadError,
    },
    /// A record of the log cannot be applied.
    #[error("{} at offset {offset}: {source}; `{}` saves what can be read", file.display(), salvage_command(file))]
    Replay {
        /// The segment.
        file: PathBuf,
        /// Where the record starts, in bytes.
        offset: u64,
        /// The shard.
        shard: usize,
        /// What is wrong.
        source: ReplayError,
    },
    /// A thread could not be started, or did not answer.
    #[error("shard {shard}: {reason}")]
    Thread {
        /// The shard.
        shard: usize,
        /// What happened.
        reason: String,
    },
}

impl OpenError {
    pub(crate) fn io(attempted: &'static str, path: &Path, source: std::io::Error) -> Self {
        let (path, source) = (path.to_owned(), Arc::new(source));
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => Self::Permission { attempted, path, source },
            std::io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            _ => Self::Io { attempted, path, source },
        }
    }
}

/// Why a snapshot cannot be had or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// All slots are taken.
    #[error("all {limit} snapshots are in use; drop one (a transaction holds one until it ends)")]
    TooMany {
        /// How many there may be at once, per shard.
        limit: usize,
    },
    /// It held back more memory than is allowed, and was let go.
    #[error(
        "the snapshot was held while more than {limit_bytes} bytes were overwritten, and has expired; take a new one"
    )]
    Expired {
        /// The limit.
        limit_bytes: usize,
    },
}

/// Why the engine could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The write was refused; nothing was changed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The snapshot cannot be had or used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A durable step could not be taken.
    #[error(transparent)]
    Step(Box<StepError>),
    /// A bundle cannot be made or taken in.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The past of a run cannot be shown.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// There is no such run.
    #[error("run {run} is not known here; begin it, or check the id (`db.runs()` lists what there is)")]
    UnknownRun {
        /// The run.
        run: RunId,
    },
    /// The key cannot be stored.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The value cannot be stored.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The namespace cannot be.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The text is not a run's id.
    #[error(transparent)]
    RunId(#[from] ParseRunIdError),
    /// The text is not a time.
    #[error(transparent)]
    Timestamp(#[from] ParseTimestampError),
    /// The shard's inbox is full.
    #[error("the shard's inbox is full; wait for some of what was sent, or send less at once")]
    Busy,
    /// The time ran out before the shard answered; the command may still be carried out.
    #[error("no answer within {0:?}; the command may still be carried out")]
    Deadline(Duration),
    /// The database is closed.
    #[error("the database is closed")]
    Closed,
    /// A turn's holder called its own shard.
    #[error("called from inside a closure that runs on the same shard; use the closure's own handle instead")]
    Reentrant,
    /// The log failed: whether the commit will be there after reopening is not known.
    #[error(
        "the log failed ({reason}); whether this commit survives is not known: reopen the database and look"
    )]
    OutcomeUnknown {
        /// What failed.
        reason: String,
    },
    /// The shard takes no more writes.
    #[error("the shard takes no more writes since its log failed ({reason}); reopen the database to recover")]
    Poisoned {
        /// What failed.
        reason: String,
    },
    /// There is no room on the disk for another segment of the log. Nothing was changed and nothing is lost.
    #[error(
        "no room on the disk for another log segment at {}; nothing was changed: free some space and try again (a checkpoint \
         frees log that is not kept as history)",
        path.display()
    )]
    NoSpace {
        /// The segment that could not be made.
        path: PathBuf,
    },
    /// A checkpoint or backup could not be made. The database goes on as before.
    #[error("the checkpoint of shard {shard} could not be made; the database goes on as before: {reason}")]
    Checkpoint {
        /// The shard.
        shard: usize,
        /// Why.
        reason: String,
    },
    /// Something is longer than it may be.
    #[error("{what} is more than the {limit} that are allowed; see `in_mem::limits`")]
    TooLong {
        /// What is too long, and in which unit.
        what: &'static str,
        /// The limit, see [`in_mem_model::limits`].
        limit: usize,
    },
    /// A value is not of the type that was asked for, or the other way round.
    #[error(transparent)]
    Serde(#[from] SerdeError),
    /// There is no such span.
    #[error("run {run} has no span `{id}`; start it first, or check the id")]
    UnknownSpan {
        /// The run.
        run: RunId,
        /// The span's id.
        id: Arc<str>,
    },
    /// Two spans that were to be recorded together have one id.
    #[error("two of the spans to record in run {run} have the id `{id}`; an id is unique in its run")]
    DuplicateSpan {
        /// The run.
        run: RunId,
        /// The id.
        id: Arc<str>,
    },
    /// A span's cost is no number to be summed up.
    #[error("a cost of {cost} USD cannot be recorded: give a number, or none where it is not known")]
    Cost {
        /// What was given: not a number, or infinite.
        cost: f64,
    },
    /// The span has ended.
    #[error("span `{id}` of run {run} has ended already")]
    SpanEnded {
        /// The run.
        run: RunId,
        /// The span's id.
        id: Arc<str>,
    },
    /// The caller gave its transaction up.
    #[error("given up: {reason}")]
    Aborted {
        /// Why.
        reason: String,
    },
    /// A fault of in-mem itself.
    #[error("{what}; this is a bug in in-mem, please report it")]
    Internal {
        /// What went wrong.
        what: &'static str,
    },
    /// What is stored is not what this version writes.
    #[error("{what} of run {run} cannot be read: {reason}")]
    Malformed {
        /// What it is.
        what: &'static str,
        /// Whose.
        run: RunId,
        /// What is wrong.
        reason: String,
    },
}

impl From<StepError> for Error {
    fn from(error: StepError) -> Self {
        Self::Step(Box::new(error))
    }
}
