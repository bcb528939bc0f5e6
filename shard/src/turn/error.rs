//! What can go wrong between giving a shard a command and having its answer.

use thiserror::Error;

/// The log could not be made durable.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the log could not be synced; the shard takes no more writes, reopen the database to see what survived"
)]
pub struct SyncFailed;

/// Why a command was not accepted. It was not run and will not be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// No room in the inbox, or no reply slot, within the deadline.
    #[error("the shard's inbox stayed full until the deadline; retry later, or submit less at a time")]
    Busy,
    /// The shard is closed.
    #[error("the shard is closed")]
    Closed,
    /// The calling thread is inside a shard's turn.
    #[error("called from inside a shard's turn; use the handle given to the closure instead of the database")]
    Reentrant,
    /// The shard's state is not to be trusted after a panic.
    #[error("the shard panicked while it ran a command and takes no more; reopen the database")]
    Poisoned,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// No room in the inbox, or no reply slot, within the deadline: the command was not run.
    #[error("the shard's inbox stayed full until the deadline; retry later, or submit less at a time")]
    Busy,
    /// The shard is closed: the command was not run.
    #[error("the shard is closed")]
    Closed,
    /// The calling thread is inside a shard's turn: the command was not run.
    #[error("called from inside a shard's turn; use the handle given to the closure instead of the database")]
    Reentrant,
    /// The shard's state is not to be trusted after a panic: the command was not run.
    #[error("the shard panicked while it ran a command and takes no more; reopen the database")]
    Poisoned,
    /// The command was run, but panicked, or the log could not be synced after.
    #[error(
        "the command was run, but whether it is durable is unknown: it panicked, or the sync failed; reopen the database"
    )]
    OutcomeUnknown,
    /// The command was accepted and will be run, but had no answer within the deadline.
    #[error("no answer within the deadline; the command was accepted and may still take effect")]
    TimedOut,
    /// The answer was taken before.
    #[error("the answer was taken already")]
    Taken,
}

impl From<SubmitError> for CallError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Busy => CallError::Busy,
            SubmitError::Closed => CallError::Closed,
            SubmitError::Reentrant => CallError::Reentrant,
            SubmitError::Poisoned => CallError::Poisoned,
        }
    }
}

/// Why a shard could not be closed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseError {
    /// It was closed before; its core was handed out then.
    #[error("the shard was closed before")]
    Closed,
    /// The calling thread is inside a shard's turn.
    #[error("a shard cannot be closed from inside a shard's turn")]
    Reentrant,
}

/// Why a shard could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The operating system gave no thread.
    #[error("the shard's home thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
    /// An option makes no sense.
    #[error("{0}")]
    Options(&'static str),
}
