//! The coordinator: every shard's turn and reader, and which run goes where.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use in_mem_model::{Key, KeyBytes, KeyError, RunId, Tag, Timestamp, Value, Version, VersionedValue, limits};
use in_mem_shard::Actor;
use in_mem_shard::clock::Clock;
use in_mem_shard::core::ShardCore;
use in_mem_shard::core::command::{Command, CommitRequest, Committed, Reply, ShardClosure, Write};
use in_mem_shard::core::error::{Condition, WriteError};
use in_mem_shard::core::fork::ForkMarks;
use in_mem_shard::core::watch::{Change, WatchRequest};
use in_mem_shard::index::{IndexReader, KeyRef};
use in_mem_shard::turn::{CallError, NotInline, Shard, Ticket};
use in_mem_wal::{DirLock, LogError, Seen, Storage};
use smallvec::SmallVec;

use crate::checkpoint::{CheckpointStats, Checkpointer, Which, Worker};
use crate::durability::Durability;
use crate::error::{Error, SnapshotError};
use crate::history::{Arrivals, RetentionPolicy, RetentionStats};
use crate::pending::PendingReply;
use crate::routing::shard_of;
use crate::snapshot::Snapshot;

/// One shard, as the coordinator knows it.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    pub(crate) turn: Shard<Actor>,
    pub(crate) reader: IndexReader,
    pub(crate) forks: Arc<ForkMarks>,
}

impl ShardHandle {
    /// Runs the coordinator's own work on the core, in a turn.
    pub(crate) fn maintain<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut ShardCore) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let command = Command::Maintain(Box::new(move |core| Box::new(work(core))));
        match self.turn.call(command, None).map_err(|error| call_error(error, None))? {
            Reply::Maintained(result) => match result.downcast::<R>() {
                Ok(result) => Ok(*result),
                Err(_) => Err(Error::Internal { what: "a shard answered the coordinator with another type" }),
            },
            other => Err(unexpected(other)),
        }
    }
}

/// A database's engine. Every method may be called from any thread.
#[derive(Debug)]
pub struct Engine {
    pub(crate) shards: Arc<[ShardHandle]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) durability: Durability,
    pub(crate) snapshot_limit_bytes: usize,
    pub(crate) path: Option<PathBuf>,
    /// Why shards are not pinned to cores, where they are not.
    pub(crate) unpinned: Option<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) closed: Arc<AtomicBool>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) checkpointer: Arc<Checkpointer>,
    /// Read by whoever reads the log's past, written by whoever erases from it. Of each shard, what earlier reads have seen.
    pub(crate) past: Arc<std::sync::RwLock<Box<[Mutex<Seen>]>>>,
    /// One erase at a time.
    pub(crate) pruning: Arc<Mutex<()>>,
    /// What is carried out in the background.
    pub(crate) retention: Arc<[RetentionPolicy]>,
    pub(crate) retained: Arc<Mutex<RetentionStats>>,
    /// Runs of which it is known that the log holds nothing through their last version.
    pub(crate) without_past: Arc<Mutex<HashMap<RunId, Version>>>,
    /// Whether it is the worker's, whose end closes nothing.
    pub(crate) is_workers: bool,
    /// The seed of its logs' salts; none in memory.
    pub(crate) salt_seed: Option<u64>,
    /// Whether its storage is the system's own.
    pub(crate) on_file_system: bool,
    pub(crate) worker: Mutex<Option<Worker>>,
    /// Held until the database is closed.
    pub(crate) lock: Mutex<Option<DirLock>>,
}

/// Refuses a key that cannot be stored.
///
/// # Errors
/// [`KeyError::TooLong`].
#[inline]
pub fn check_key(key: &[u8]) -> Result<(), KeyError> {
    if key.len() <= limits::MAX_KEY_BYTES { Ok(()) } else { KeyBytes::new(key).check() }
}

/// The error for a reply of another kind than the command has: a refusal, said as it is.
pub fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Refused(error) => refused(error),
        _ => Error::Internal { what: "a shard answered with another kind of reply than the command has" },
    }
}

fn refused(error: WriteError) -> Error {
    match error {
        WriteError::UnknownRun { run } => Error::UnknownRun { run },
        WriteError::Key(error) => Error::Key(error),
        WriteError::Value(error) => Error::Value(error),
        WriteError::Log(error) => match &*error {
            LogError::NoSpace { path, .. } => Error::NoSpace { path: path.clone() },
            LogError::Poisoned { reason } => Error::Poisoned { reason: reason.to_string() },
            _ => Error::Write(WriteError::Log(error)),
        },
        error => Error::Write(error),
    }
}

/// What a turn's error means to a caller.
pub(crate) fn call_error(error: CallError, limit: Option<Duration>) -> Error {
    match error {
        CallError::Busy => Error::Busy,
        CallError::Closed | CallError::Taken => Error::Closed,
        CallError::Reentrant => Error::Reentrant,
        CallError::Poisoned => Error::Poisoned { reason: "a command panicked".to_owned() },
        CallError::OutcomeUnknown => {
            Error::OutcomeUnknown { reason: "its sync failed, or it panicked; `stats` says more".to_owned() }
        }
        CallError::TimedOut => Error::Deadline(limit.unwrap_or_default()),
        _ => Error::Internal { what: "a turn failed in a way this version does not know" },
    }
}

impl Engine {
    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The shard that owns the run.
    #[inline]
    pub fn shard_of(&self, run: RunId) -> usize {
        shard_of(run, self.shards.len())
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Where it lies, if not in memory only.
    pub fn path(&self) -> Option<&std::path::Path> {
        self.path.as_deref()
    }

    pub(crate) fn may_be_fork(&self, run: RunId) -> bool {
        self.handle(run).forks.may_be_fork(run)
    }

    pub(crate) fn snapshot_limit_bytes(&self) -> usize {
        self.snapshot_limit_bytes
    }

    #[inline]
    pub(crate) fn handle(&self, run: RunId) -> &ShardHandle {
        &self.shards[self.shard_of(run)]
    }

    /// Runs `here` as the shard if it is idle, or else sends the command that `send` makes.
    #[inline]
    fn run<R>(
        &self,
        shard: &ShardHandle,
        mut here: impl FnMut(&mut Actor) -> (Result<R, WriteError>, Ticket),
        send: impl FnOnce() -> Command,
        read: impl FnOnce(Reply) -> Result<R, Error>,
    ) -> Result<R, Error> {
        match shard.turn.try_inline(&mut here) {
            Ok((result, ticket)) => {
                let result = result.map_err(refused)?;
                if ticket != Ticket::NOW {
                    shard.turn.wait_durable(ticket).map_err(|e| call_error(e, None))?;
                }
                Ok(result)
            }
            Err(NotInline(_)) => read(self.call(shard, send())?),
        }
    }

    pub(crate) fn call(&self, shard: &ShardHandle, command: Command) -> Result<Reply, Error> {
        match shard.turn.call(command, None) {
            Ok(Reply::Refused(error)) => Err(refused(error)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(call_error(error, None)),
        }
    }

    /// The committed value of a key.
    ///
    /// # Errors
    /// [`Error::Closed`].
    #[inline]
    pub fn get(&self, run: RunId, tag: Tag, key: &[u8]) -> Result<Option<VersionedValue>, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let shard = self.handle(run);
        let hashed = shard.reader.hashed(shard.reader.run_hash(&run), KeyRef::new(run, tag, key));
        match shard.reader.get_latest(&hashed, || self.now()) {
            Ok(Some(value)) => Ok(Some(value)),
            Ok(None) if !shard.forks.may_be_fork(run) => Ok(None),
            // A fork may see its parent's; or more threads than reader slots: the shard looks for us.
            _ => match self.call(shard, Command::Get(Box::new(Key::new(run, tag, key))))? {
                Reply::Value(value) => Ok(value),
                other => Err(unexpected(other)),
            },
        }
    }

    /// The committed values of some keys, behind what `values` holds: for keys that are read one after the other, faster than
    /// each by itself. Each is as of some moment of the call.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn get_each<K: AsRef<[u8]>>(
        &self,
        run: RunId,
        tag: Tag,
        keys: &[K],
        values: &mut Vec<Option<VersionedValue>>,
    ) -> Result<(), Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let shard = self.handle(run);
        let run_hash = shard.reader.run_hash(&run);
        let hashed: SmallVec<[_; 32]> = keys
            .iter()
            .map(|key| shard.reader.hashed(run_hash, KeyRef::new(run, tag, key.as_ref())))
            .collect();
        let first = values.len();
        if shard.reader.get_latest_each(&hashed, || self.now(), values).is_err() {
            values.resize(first + keys.len(), None);
        } else if !shard.forks.may_be_fork(run) {
            return Ok(());
        }
        for (value, key) in values[first..].iter_mut().zip(keys).filter(|(value, _)| value.is_none()) {
            *value = self.get(run, tag, key.as_ref())?;
        }
        Ok(())
    }

    /// Puts a value. Gives the version.
    ///
    /// # Errors
    /// [`Error`]; nothing was changed, except where it says that this is not known.
    #[inline]
    pub fn put(
        &self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        value: Value,
        expires_at: Option<Timestamp>,
        condition: Condition,
    ) -> Result<Version, Error> {
        check_key(key)?;
        value.check()?;
        let shard = self.handle(run);
        let hashed = shard.reader.hashed(shard.reader.run_hash(&run), KeyRef::new(run, tag, key));
        if !shard.turn.is_pinned() {
            // On its way while the turn is taken and the clock read.
            shard.reader.prefetch(&hashed);
        }
        // Whichever way the put goes, it takes the value with it.
        let value = std::cell::Cell::new(value);
        self.run(
            shard,
            |actor| {
                let (result, ticket) = actor.put(&hashed, value.take(), expires_at, condition);
                (result.map(|c| c.version), ticket)
            },
            || Command::Put { run, tag, key: KeyBytes::new(key), value: value.take(), expires_at, condition },
            |reply| match reply {
                Reply::Committed(committed) => Ok(committed.version),
                other => Err(unexpected(other)),
            },
        )
    }

    /// Deletes a key; says whether it was there.
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn delete(&self, run: RunId, tag: Tag, key: &[u8], condition: Condition) -> Result<bool, Error> {
        check_key(key)?;
        self.run(
            self.handle(run),
            |actor| {
                let (result, ticket) = actor.delete(run, tag, key, condition);
                (result.map(|(_, was_there)| was_there), ticket)
            },
            || Command::Delete { run, tag, key: KeyBytes::new(key), condition },
            |reply| match reply {
                Reply::Deleted(_, was_there) => Ok(was_there),
                other => Err(unexpected(other)),
            },
        )
    }

    /// Appends an event (a body from [`crate::event::pack_body`]); gives its number.
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn append(&self, run: RunId, body: &[u8]) -> Result<u64, Error> {
        self.run(
            self.handle(run),
            |actor| {
                let (result, ticket) = actor.append(run, body);
                (result.map(|(_, sequence)| sequence), ticket)
            },
            || Command::Append { run, body: body.to_vec() },
            |reply| match reply {
                Reply::Appended(_, sequence) => Ok(sequence),
                other => Err(unexpected(other)),
            },
        )
    }

    /// Puts a value and appends an event in one commit; gives the event's number.
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn put_and_append(
        &self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        value: Value,
        condition: Condition,
        body: &[u8],
    ) -> Result<u64, Error> {
        check_key(key)?;
        value.check()?;
        let value = std::cell::Cell::new(value);
        self.run(
            self.handle(run),
            |actor| {
                let (result, ticket) = actor.put_and_append(run, tag, key, value.take(), condition, body);
                (result.map(|(_, sequence)| sequence), ticket)
            },
            || {
                let put = Write::Put {
                    tag,
                    key: KeyBytes::new(key),
                    value: value.take(),
                    expires_at: None,
                    condition,
                };
                let append = Write::Append { body: body.to_vec() };
                let writes = vec![(run, put), (run, append)];
                Command::Commit(Box::new(CommitRequest { writes, ..CommitRequest::new(run) }))
            },
            |reply| match reply {
                Reply::Committed(committed) if committed.sequences.len() == 1 => Ok(committed.sequences[0]),
                other => Err(unexpected(other)),
            },
        )
    }

    /// Counts an integer up; gives the sum.
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn increment(&self, run: RunId, tag: Tag, key: &[u8], by: i64) -> Result<i64, Error> {
        check_key(key)?;
        self.run(
            self.handle(run),
            |actor| {
                let (result, ticket) = actor.increment(run, tag, key, by);
                (result.map(|(_, sum)| sum), ticket)
            },
            || Command::Increment { run, tag, key: KeyBytes::new(key), by },
            |reply| match reply {
                Reply::Counted(_, sum) => Ok(sum),
                other => Err(unexpected(other)),
            },
        )
    }

    /// Makes a whole transaction, or nothing of it.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where something it read has changed, [`SnapshotError::Expired`], and as [`Engine::put`].
    pub fn commit(&self, request: CommitRequest) -> Result<Committed, Error> {
        self.commit_with(request, ())
    }

    /// As [`Engine::commit`], with the snapshot that the transaction read at: it keeps what was deleted since in sight of the
    /// validation, and is given back as soon as that is over.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    pub fn commit_read_at(&self, request: CommitRequest, snapshot: Snapshot<'_>) -> Result<Committed, Error> {
        self.commit_with(request, snapshot)
    }

    fn commit_with<S>(&self, request: CommitRequest, snapshot: S) -> Result<Committed, Error> {
        let shard = self.handle(request.run);
        // Where another thread runs the command, until it has been answered.
        let snapshot = std::cell::Cell::new(Some(snapshot));
        let request = std::cell::Cell::new(Some(request));
        let taken = || request.take().unwrap_or_else(|| CommitRequest::new(RunId::from_bytes([0; 16])));
        self.run(
            shard,
            |actor| actor.commit_validated(taken(), || drop(snapshot.take())),
            || Command::Commit(Box::new(taken())),
            |reply| match reply {
                Reply::Committed(committed) => Ok(committed),
                other => Err(unexpected(other)),
            },
        )
        .map_err(|error| match error {
            Error::Write(WriteError::SnapshotExpired { .. }) => {
                SnapshotError::Expired { limit_bytes: self.snapshot_limit_bytes }.into()
            }
            error => error,
        })
    }

    /// Runs a closure on the shard that owns the run, as a transaction.
    ///
    /// # Errors
    /// As [`Engine::put`]; the inner error is the closure's own.
    #[allow(clippy::type_complexity, reason = "what a closure returns is its own")]
    pub fn execute(
        &self,
        run: RunId,
        closure: ShardClosure,
    ) -> Result<Result<Box<dyn std::any::Any + Send>, Box<dyn std::any::Any + Send>>, Error> {
        match self.call(self.handle(run), Command::Execute { run, closure })? {
            Reply::Executed(_, result) => Ok(result),
            other => Err(unexpected(other)),
        }
    }

    /// Sends a command without waiting for its reply.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Closed`], [`Error::Reentrant`]; the command was not taken.
    pub fn submit(&self, run: RunId, command: Command) -> Result<PendingReply, Error> {
        let pending = self.handle(run).turn.submit(command, None);
        Ok(PendingReply::new(pending.map_err(|error| call_error(error.into(), None))?))
    }

    /// One moment of the shard that the run lives on.
    ///
    /// # Errors
    /// [`SnapshotError::TooMany`].
    pub fn snapshot(&self, run: RunId) -> Result<Snapshot<'_>, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let shard = self.shard_of(run);
        let pin = self.shards[shard].reader.pin_borrowed();
        let pin = pin.map_err(|error| SnapshotError::TooMany { limit: error.limit })?;
        Ok(Snapshot::new(self, pin, shard))
    }

    /// Tells a watcher of changes; gives the version behind which it hears everything, and those that come first.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`WriteError::Lagged`], [`WriteError::TooManyWatchers`], [`Error::Closed`].
    pub fn watch(&self, request: WatchRequest) -> Result<(Version, Vec<Change>), Error> {
        match self.call(self.handle(request.run), Command::Watch(Box::new(request)))? {
            Reply::Watching(version, before) => Ok((version, before)),
            other => Err(unexpected(other)),
        }
    }

    /// Takes a run over that another process left at work.
    ///
    /// # Errors
    /// [`Error::UnknownRun`].
    pub fn adopt(&self, run: RunId) -> Result<(), Error> {
        self.call(self.handle(run), Command::Adopt(run)).map(|_| ())
    }

    /// Waits until readers see this version of the run's shard. In a log that waits for the disk, what a write met may not
    /// be published yet; to try again before it is would meet it again.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] where the log failed.
    pub fn wait_visible(&self, run: RunId, version: Version) -> Result<(), Error> {
        let shard = self.handle(run);
        if shard.reader.committed() < version {
            shard.turn.wait_durable(Ticket(version.0)).map_err(|error| call_error(error, None))?;
        }
        Ok(())
    }

    /// Waits until everything that was acknowledged is on the disk.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] where a log failed.
    pub fn sync(&self) -> Result<(), Error> {
        for shard in self.shards.iter() {
            shard.turn.sync().map_err(|error| call_error(error, None))?;
            if in_mem_wal::planted::is_planted("engine_sync_one_shard") {
                break;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint, now, of every shard that changed since its last. Gives what was written, shard by shard; none
    /// where nothing had changed, and none of a database in memory.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::Poisoned`], [`Error::OutcomeUnknown`]; the database goes on as before, and an older
    /// checkpoint is kept until the new one is durable.
    pub fn checkpoint(&self) -> Result<Vec<Option<CheckpointStats>>, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.checkpointer.run(Which::Changed)
    }

    /// The directory of a shard's log and checkpoints; `None` in memory. Log that checkpoints cover is in its `archive`,
    /// where history is kept.
    pub fn shard_dir(&self, shard: usize) -> Option<&std::path::Path> {
        self.checkpointer.dirs().get(shard).map(PathBuf::as_path)
    }

    /// Where its files lie.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Does one round of the home threads' work, where there are none.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] where a log failed.
    pub fn step(&self) -> Result<(), Error> {
        for shard in self.shards.iter() {
            while shard.turn.step().more {}
            if shard.turn.has_sync_failed() {
                return Err(call_error(CallError::OutcomeUnknown, None));
            }
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: a flag; what the close did is known through the turns.
        self.closed.load(Ordering::Relaxed)
    }

    /// Closes every shard and its log. The first error is given; the others are closed all the same.
    ///
    /// # Errors
    /// [`Error::Closed`] the second time; otherwise what a log says.
    pub fn close(&self) -> Result<(), Error> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(Error::Closed);
        }
        // First: it uses the shards.
        self.checkpointer.stop();
        drop(self.worker.lock().unwrap_or_else(PoisonError::into_inner).take());
        // And who prunes by hand or imports, whose files are not all a shard's: another process must not find them half written anew.
        drop(self.pruning.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self.checkpointer.hold_off());
        self.arrivals.wait();
        // And who reads the past, which writes indexes: they would hold what another process erases.
        drop(self.past.write().unwrap_or_else(PoisonError::into_inner));
        let mut outcome = Ok(());
        for shard in self.shards.iter() {
            let Ok(actor) = shard.turn.close() else { continue };
            if let in_mem_shard::core::Log::Wal(log) = actor.into_core().into_log()
                && let Err(error) = log.close()
                && outcome.is_ok()
            {
                outcome = Err(Error::OutcomeUnknown { reason: error.to_string() });
            }
        }
        // Last: from here on another process may have it.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        outcome
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Nobody is left to tell of an error; `close` is for those who want to know.
        if !self.is_workers {
            let _ = self.close();
        }
    }
}
