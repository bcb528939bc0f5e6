//! The core as a turn drives it: with a clock, and with a log that is synced outside the turn.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_wal::{Spare, SyncJob};

use crate::clock::Clock;
use crate::core::ShardCore;
use crate::core::command::{Command, CommitRequest, Committed, Reply};
use crate::core::error::{Condition, WriteError};
use crate::index::HashedKey;
use crate::turn::{self, BackgroundJob, Maintenance, SyncFailed, Ticket};

/// A spare is made when the active segment is full by one part in so many: a small database never makes one.
const SPARE_AT: u64 = 4;

/// How long keys that are due wait when the log took no delete: the home thread must not try again without a pause.
const EXPIRE_RETRY: Duration = Duration::from_secs(1);

/// A shard's core with what it needs of the world: the time, and the syncing of its log.
#[derive(Debug)]
pub struct Actor {
    core: ShardCore,
    clock: Arc<dyn Clock>,
    /// What the sync under way covers.
    syncing: Option<Version>,
    /// So many unsynced bytes make the home thread sync before its time.
    sync_bytes: u64,
    /// The expiry that the home thread knows of.
    known_expiry: Option<Timestamp>,
    spares: Spares,
    growth: Option<Growth>,
}

/// Whom to tell when the log has grown.
struct Growth {
    limit_bytes: u64,
    notify: Box<dyn Fn() + Send>,
}

impl std::fmt::Debug for Growth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Growth").field("limit_bytes", &self.limit_bytes).finish_non_exhaustive()
    }
}

/// Segments that are made ahead of need, on the home thread, outside the turn.
#[derive(Debug)]
struct Spares {
    /// The active segment that a spare was asked for, so that one is asked for once.
    asked_for: Option<u64>,
    made: (Sender<Spare>, Receiver<Spare>),
}

impl Actor {
    /// Gives a core its clock. When `sync_bytes` (at least one) wait for their sync, the home thread does not wait for its
    /// interval.
    pub fn new(core: ShardCore, clock: Arc<dyn Clock>, sync_bytes: u64) -> Self {
        let spares = Spares { asked_for: None, made: unbounded() };
        // Nothing to sync is never enough: the home thread would not rest.
        let sync_bytes = sync_bytes.max(1);
        Self { core, clock, syncing: None, sync_bytes, known_expiry: None, spares, growth: None }
    }

    /// Has `notify` called, on the home thread and once a segment, while the log is longer than this.
    pub fn on_log_growth(&mut self, limit_bytes: u64, notify: impl Fn() + Send + 'static) {
        self.growth = Some(Growth { limit_bytes, notify: Box::new(notify) });
    }

    /// The core.
    pub fn core_mut(&mut self) -> &mut ShardCore {
        &mut self.core
    }

    /// Gives up the core, once no turn can run any more.
    pub fn into_core(self) -> ShardCore {
        self.core
    }

    /// When what has been installed so far may be told of.
    #[inline]
    pub fn ticket(&self) -> Ticket {
        let version = self.core.version();
        if self.core.published() == version
            || in_mem_wal::planted::is_planted("shard_ack_without_ticket")
            || self.core.log().wal().is_some_and(|log| log.poisoned().is_some())
        {
            // A log that failed takes no commit: what is answered now is of what was published before.
            return Ticket::NOW;
        }
        Ticket(version.0)
    }

    /// See [`ShardCore::put_hashed`].
    #[inline]
    #[allow(clippy::type_complexity, reason = "a result, and when it may be told")]
    pub fn put(
        &mut self,
        key: &HashedKey<'_>,
        value: Value,
        expires_at: Option<Timestamp>,
        condition: Condition,
    ) -> (Result<Committed, WriteError>, Ticket) {
        let result = self.core.put_hashed(key, value, expires_at, condition);
        (result, self.ticket())
    }

    /// See [`ShardCore::delete`].
    #[inline]
    pub fn delete(
        &mut self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        condition: Condition,
    ) -> (Result<(Committed, bool), WriteError>, Ticket) {
        let result = self.core.delete(run, tag, key, condition);
        (result, self.ticket())
    }

    /// See [`ShardCore::increment`].
    #[inline]
    pub fn increment(
        &mut self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        by: i64,
    ) -> (Result<(Committed, i64), WriteError>, Ticket) {
        let result = self.core.increment(run, tag, key, by);
        (result, self.ticket())
    }

    /// See [`ShardCore::append`].
    #[inline]
    pub fn append(&mut self, run: RunId, body: &[u8]) -> (Result<(Committed, u64), WriteError>, Ticket) {
        let result = self.core.append(run, body);
        (result, self.ticket())
    }

    /// See [`ShardCore::put_and_append`].
    #[inline]
    pub fn put_and_append(
        &mut self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        value: Value,
        condition: Condition,
        body: &[u8],
    ) -> (Result<(Committed, u64), WriteError>, Ticket) {
        let result = self.core.put_and_append(run, tag, key, value, condition, body);
        (result, self.ticket())
    }

    /// See [`ShardCore::commit_validated`].
    #[inline]
    pub fn commit_validated(
        &mut self,
        request: CommitRequest,
        validated: impl FnOnce(),
    ) -> (Result<Committed, WriteError>, Ticket) {
        let result = self.core.commit_validated(request, validated);
        (result, self.ticket())
    }

    /// Any command.
    #[inline]
    pub fn command(&mut self, command: Command) -> (Reply, Ticket) {
        let reply = self.core.execute(command);
        let ticket = match &reply {
            // Told at once: it says nothing of what is not published.
            Reply::Value(_)
            | Reply::Page(_)
            | Reply::Count(..)
            | Reply::Stats(_)
            | Reply::Maintained(_)
            | Reply::Refused(_) => Ticket(0),
            _ => self.ticket(),
        };
        (reply, ticket)
    }
}

impl turn::SyncJob for SyncJob {
    fn run(&mut self) {
        // The outcome stays in the job; `finish_sync` asks for it.
        let _ = SyncJob::run(self);
    }
}

impl turn::Core for Actor {
    type Command = Command;
    type Reply = Reply;
    type SyncJob = SyncJob;

    fn begin_turn(&mut self) {
        self.core.set_now(self.clock.now());
    }

    #[inline]
    fn look_ahead(&self, command: &Command) {
        self.core.look_ahead(command);
    }

    fn execute(&mut self, command: Command) -> (Reply, Ticket) {
        self.command(command)
    }

    fn end_turn(&mut self) {}

    fn begin_sync(&mut self) -> Option<SyncJob> {
        let through = self.core.version();
        let log = self.core.log_mut().wal_mut()?;
        if log.unsynced_bytes() == 0 {
            // Idle: a record that vouches for what was synced last. Without room for it, it is not written.
            let _ = log.mark();
        }
        let job = log.begin_sync()?;
        self.syncing = Some(through);
        Some(job)
    }

    fn finish_sync(&mut self, job: SyncJob) -> Result<Ticket, SyncFailed> {
        let through = self.syncing.take().unwrap_or_default();
        if let Some(log) = self.core.log_mut().wal_mut()
            && log.finish_sync(job).is_err()
        {
            self.core.fall_back();
            return Err(SyncFailed);
        }
        if self.core.log().waits_for_disk() {
            self.core.publish(through);
        }
        Ok(Ticket(through.0))
    }

    fn maintain(&mut self, budget_ops: usize) -> Maintenance {
        self.core.set_now(self.clock.now());
        // A log that takes no deletes now will not take them at once: the keys stay due, and absent to readers.
        let expired = self.core.expire(budget_ops);
        let not_before = if expired.is_err() { EXPIRE_RETRY } else { Duration::ZERO };
        let looked_at = expired.unwrap_or(0);
        self.known_expiry = self.core.next_expiry();
        if let Some(log) = self.core.log_mut().wal_mut() {
            while let Ok(spare) = self.spares.made.1.try_recv() {
                log.add_spare(spare);
            }
        }
        let next = self.known_expiry.map(|at| at.duration_since(self.core.now()).max(not_before));
        Maintenance { more: looked_at == budget_ops, next }
    }

    fn wants_home(&self) -> bool {
        self.core.next_expiry().is_some_and(|next| self.known_expiry.is_none_or(|known| next < known))
            || self.core.log().wal().is_some()
                && (!self.spares.made.1.is_empty() || self.wants_spare() || self.wants_sync())
    }

    fn wants_sync(&self) -> bool {
        // What a log that failed has not synced it never will.
        self.core
            .log()
            .wal()
            .is_some_and(|log| log.unsynced_bytes() >= self.sync_bytes && log.poisoned().is_none())
    }

    fn background(&mut self) -> Option<BackgroundJob> {
        if !self.wants_spare() {
            return None;
        }
        let log = self.core.log_mut().wal_mut()?;
        self.spares.asked_for = Some(log.position().segment);
        if let Some(growth) = &self.growth
            && log.log_bytes() >= growth.limit_bytes
        {
            (growth.notify)();
        }
        let job = log.spare_job()?;
        let made = self.spares.made.0.clone();
        Some(Box::new(move || {
            // Where it fails (no room), the writer tries for itself when it needs the segment, and has somebody to tell.
            if let Ok(spare) = job.run() {
                let _ = made.send(spare);
            }
        }))
    }
}

impl Actor {
    /// Whether the active segment is so full that the next one should be made.
    fn wants_spare(&self) -> bool {
        self.core.log().wal().is_some_and(|log| {
            let position = log.position();
            position.offset > log.config().segment_bytes / SPARE_AT
                && self.spares.asked_for != Some(position.segment)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use in_mem_wal::storage::sim::FaultKind;
    use in_mem_wal::{Config, Mode, ShardLog, SimDisk};

    use super::*;
    use crate::clock::ManualClock;
    use crate::core::Log;
    use crate::core::command::Write;
    use crate::core::run_meta::RunMeta;
    use crate::index::{IndexConfig, IndexWriter};
    use crate::turn::Core;

    fn actor(disk: &SimDisk, sync_bytes: u64) -> (Actor, ManualClock) {
        let config = Config { segment_bytes: 1 << 20, mode: Mode::Buffered, shard: 0, create: true };
        let storage = Arc::new(disk.clone());
        let (log, _) =
            ShardLog::recover(storage, Path::new("/log"), config, 1, None, &mut |_| Ok(())).unwrap();
        let core = ShardCore::new(IndexWriter::new(IndexConfig::new(1)), Log::Wal(log));
        let clock = ManualClock::new(Timestamp(1));
        (Actor::new(core, Arc::new(clock.clone()), sync_bytes), clock)
    }

    fn write(actor: &mut Actor, run: u8) {
        let run = RunId::from_bytes([run; 16]);
        let mut request = CommitRequest::new(run);
        request.writes.push((run, Write::CreateRun(Box::new(RunMeta::new(run, "r")))));
        actor.begin_turn();
        actor.core_mut().commit(request).unwrap();
    }

    #[test]
    fn what_a_failed_sync_left_does_not_keep_the_home_thread_busy() {
        let disk = SimDisk::new(1);
        let (mut actor, _) = actor(&disk, 64);
        write(&mut actor, 1);
        assert!(actor.wants_sync() && actor.wants_home());
        let mut job = actor.begin_sync().unwrap();
        disk.fail(disk.ops() + 1, FaultKind::Eio, None, true);
        turn::SyncJob::run(&mut job);
        actor.finish_sync(job).unwrap_err();
        assert!(actor.core_mut().log().wal().unwrap().unsynced_bytes() >= 64);
        assert!(!actor.wants_sync() && !actor.wants_home(), "for ever");
    }

    #[test]
    fn a_sync_at_no_bytes_is_one_at_any() {
        let disk = SimDisk::new(1);
        let (mut actor, _) = actor(&disk, 0);
        assert!(!actor.wants_sync() && !actor.wants_home(), "there is nothing to sync, for ever");
        write(&mut actor, 1);
        assert!(actor.wants_sync() && actor.wants_home());
    }

    #[test]
    fn a_log_that_takes_no_deletes_does_not_keep_the_home_thread_busy() {
        let (mut actor, clock) = actor(&SimDisk::new(1), u64::MAX);
        let run = RunId::from_bytes([1; 16]);
        write(&mut actor, 1);
        actor.core_mut().put(run, Tag::Kv, b"k", Value::Null, Some(Timestamp(10)), Condition::Any).unwrap();
        let log = actor.core_mut().log_mut().wal_mut().unwrap();
        drop(log.begin_sync().unwrap());
        assert!(log.begin_sync().is_none() && log.poisoned().is_some(), "the sync was given up");
        clock.advance(100);
        let Maintenance { more, next } = actor.maintain(8);
        assert!(!more);
        assert!(next.unwrap() >= EXPIRE_RETRY, "due at once, for ever");
    }
}
