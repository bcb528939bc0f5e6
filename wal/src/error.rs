//! What can go wrong in the log, each with what was attempted and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::end_of_log::EndCase;
use crate::lsn::Lsn;

/// Error of the caller's own, returned from the closure that recovery feeds.
pub type ApplyError = Box<dyn std::error::Error + Send + Sync>;

/// Failure of an operation on a shard's log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// An operation on the file system failed; the log is as it was.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// There was no room for a new segment. Nothing was appended; the same call works once there is room.
    #[error("no room for a new log segment at {}: {source}; free some space and try again", path.display())]
    NoSpace {
        /// The segment that could not be made.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A write or sync failed. It is never retried: what it covered may or may not be on disk, and the
    /// operating system may have dropped the pages, so that a second sync would report success for lost bytes.
    #[error(
        "syncing the log {} failed: {source}; whether its last commits are durable is unknown; \
         close and open the database again to recover", path.display()
    )]
    SyncFailed {
        /// The segment whose sync failed.
        path: PathBuf,
        /// What the system answered.
        source: Arc<io::Error>,
    },
    /// An earlier sync failed, so the log takes nothing more.
    #[error(
        "the log takes no more commits since an earlier failure: {reason}; close and open the database again"
    )]
    Poisoned {
        /// What failed.
        reason: Arc<str>,
    },
    /// The log is damaged below what was synced, so opening it would lose commits silently.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// The file was written by a newer version of this program.
    #[error(
        "{} has format version {found}, this program reads up to {supported}; open it with a newer in-mem",
        file.display()
    )]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its format version.
        found: u16,
        /// The newest version this program reads.
        supported: u16,
    },
    /// A record of a kind this program does not know and must not skip.
    #[error(
        "{} holds at offset {offset} a record of kind {kind:#04x} that this program does not know and must not \
         skip; open it with a newer in-mem", file.display()
    )]
    UnknownKind {
        /// The file.
        file: PathBuf,
        /// Where the record starts.
        offset: u64,
        /// The kind found.
        kind: u8,
    },
    /// A checkpoint, manifest or index is damaged.
    #[error(
        "{} is damaged at offset {offset}: expected {expected}, found {found}; restore a backup, or save what can \
         be read with `{}`", file.display(), salvage_command(file)
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the damaged part starts, in bytes.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Another process has the directory open.
    #[error("{} is in use by process {}; close it there first", dir.display(), pid.map_or("unknown".to_string(), |p| p.to_string()))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process that holds the lock, as it wrote it down.
        pid: Option<u32>,
    },
    /// There is no log where one has to be.
    #[error(
        "there is no log in {}: a log was expected there; restore a backup, or save what can be read with `{}`",
        dir.display(), salvage_command(dir)
    )]
    Missing {
        /// The shard's directory.
        dir: PathBuf,
    },
    /// There is no checkpoint where the log began with one.
    #[error(
        "there is no checkpoint in {}: the log there goes on from one; restore a backup, or save what can be read with `{}`",
        dir.display(), salvage_command(dir)
    )]
    NoCheckpoint {
        /// The shard's directory.
        dir: PathBuf,
    },
    /// The payload is over the limit; nothing was appended.
    #[error("a log entry of {bytes} bytes is over the limit of {limit} bytes; split the transaction")]
    TooLarge {
        /// Size asked for.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The entry's kind is not the caller's to use (1 to 127 are); nothing was appended.
    #[error("entry kind {kind:#04x} is reserved; use 1 to 127")]
    ReservedKind {
        /// The kind given.
        kind: u8,
    },
    /// The configuration cannot work.
    #[error("log configuration: {0}")]
    Config(String),
    /// The closure that recovery feeds refused a record.
    #[error("recovering record {lsn} at {}:{offset} failed: {source}", file.display())]
    Apply {
        /// The file.
        file: PathBuf,
        /// Where the record starts.
        offset: u64,
        /// Its number.
        lsn: Lsn,
        /// The caller's error.
        source: ApplyError,
    },
}

/// Where a log is damaged, and how that was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is corrupt at offset {offset} ({case}): expected {expected}, found {found}; nothing was changed; \
     restore a backup, or save what can be read with `{}`", file.display(), salvage_command(file)
)]
pub struct Corruption {
    /// The damaged file, or the one that shows that another is missing.
    pub file: PathBuf,
    /// Offset of the first bad byte's record, in bytes.
    pub offset: u64,
    /// The case of the end-of-log table that applies.
    pub case: EndCase,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// The command that saves what can be read of the database that a file or a shard's directory belongs to.
pub fn salvage_command(file: &Path) -> String {
    let is_generation =
        |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gen-"));
    let generation = file.ancestors().find(is_generation).unwrap_or(file);
    let database = generation.parent().unwrap_or(generation).display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !database.is_empty() && database.chars().all(is_plain) {
        return format!("in-mem salvage {database} TO");
    }
    let database = if database.is_empty() { ".".to_owned() } else { database.replace('\'', r"'\''") };
    format!("in-mem salvage '{database}' TO")
}

impl From<Corruption> for LogError {
    fn from(c: Corruption) -> Self {
        LogError::Corrupt(Box::new(c))
    }
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { action, path: path.to_path_buf(), source }
    }

    /// Like [`LogError::io`], for steps that make room: a full disk gets its own variant.
    pub(crate) fn room(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                LogError::NoSpace { path: path.to_path_buf(), source }
            }
            _ => LogError::Io { action, path: path.to_path_buf(), source },
        }
    }

    pub(crate) fn damaged(
        file: &Path,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> LogError {
        LogError::Damaged { file: file.to_path_buf(), offset, expected: expected.into(), found: found.into() }
    }

    /// Whether it is of a file that was not there. To who reads a log that goes on meanwhile: what was listed may have been archived,
    /// let go or used again since; looking again tells.
    pub fn is_gone(&self) -> bool {
        match self {
            LogError::Missing { .. } => true,
            LogError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The damage, if this error is about damage.
    pub fn corruption(&self) -> Option<&Corruption> {
        match self {
            LogError::Corrupt(c) => Some(c),
            _ => None,
        }
    }
}
