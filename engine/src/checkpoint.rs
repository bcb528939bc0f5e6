//! Checkpoints: a shard's state at one moment, written beside the log while the shard goes on, so that the log before it need
//! not be read again.
//!
//! The entries are read from a pin, without a lock and outside the turn; the shard itself only says when the moment is, and
//! tells, in bounded pages, the last version of each run. A checkpoint counts when its file is durable under its name and the
//! log is durable through what it covers; only then is the one before it removed, and the log that it covers let go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use in_mem_model::{RunId, Timestamp, Version};
use in_mem_shard::core::{
    BeginError, CheckpointEntry, CheckpointMoment, ForksPage, RetainedCursor, RetainedPage, RunCursor,
    RunMark,
};
use in_mem_shard::index::{Cursor, OwnedRow, Pin};
use in_mem_wal::checkpoint::{list_checkpoints, prune_checkpoints};
use in_mem_wal::failpoint::{Failpoint, hit};
use in_mem_wal::{CheckpointInfo, CheckpointWriter, Disposal, LogError, Storage};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::engine::ShardHandle;
use crate::error::Error;
use crate::open::directory::Directory;

mod worker;

pub(crate) use worker::{Intervals, Wake, Worker, wake_channel};

/// How many entries are read from the pin at a time, and how many runs are asked for in one turn.
const ROWS_A_PAGE: usize = 512;

/// Takes an item of a checkpoint: whose it is, and its bytes.
pub(crate) type Push<'p> = dyn FnMut(RunId, &[u8]) -> Result<(), LogError> + 'p;

/// How many forks are asked for in one turn.
pub(crate) const FORKS_A_PAGE: usize = 1_024;

/// The directory, inside a shard's, that keeps the log which checkpoints cover.
pub(crate) const ARCHIVE: &str = "archive";

/// A checkpoint that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStats {
    /// The last version it holds.
    pub version: Version,
    /// The moment it is of.
    pub at: Timestamp,
    /// Its entries; 0 where it was found, not written, by this process.
    pub entries: u64,
    /// Its bytes, likewise.
    pub bytes: u64,
    /// Log segments that it let go, likewise.
    pub segments_released: u64,
}

/// What is known of one shard's checkpoints.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    pub(crate) last: Option<CheckpointStats>,
    pub(crate) error: Option<String>,
}

/// Which shards to write a checkpoint of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that changed since their last.
    Changed,
    /// Those whose log is longer than this.
    LogOver(u64),
}

/// Writes the checkpoints of one database, one at a time.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    shards: Arc<[ShardHandle]>,
    storage: Arc<dyn Storage>,
    /// Each shard's directory; none in memory.
    dirs: Vec<PathBuf>,
    keep_history: bool,
    pub(crate) log_limit_bytes: Option<u64>,
    one_at_a_time: Mutex<()>,
    books: Mutex<Vec<Books>>,
    stopping: AtomicBool,
}

/// A shard held at one moment, for whoever writes down what it was then.
#[derive(Debug)]
pub(crate) struct Held<'s> {
    handle: &'s ShardHandle,
    shard: usize,
    pin: Pin,
    pub(crate) moment: CheckpointMoment,
    /// The runs that were there in part.
    pub(crate) arriving: Vec<RunId>,
}

impl<'s> Held<'s> {
    /// Holds the shard at what is published now.
    pub(crate) fn begin(handle: &'s ShardHandle, shard: usize) -> Result<Self, Error> {
        let reader = handle.reader.clone();
        let begun = handle.maintain(move |core| {
            let moment = core.begin_checkpoint().map_err(Some)?;
            match reader.pin() {
                Ok(pin) => Ok((moment, pin, core.arriving())),
                Err(_) => {
                    core.end_checkpoint();
                    Err(None)
                }
            }
        })?;
        match begun {
            Ok((moment, pin, arriving)) => {
                debug_assert_eq!(pin.version(), moment.version, "taken in the same turn");
                Ok(Self { handle, shard, pin, moment, arriving })
            }
            Err(Some(BeginError::Poisoned { reason })) => Err(Error::Poisoned { reason }),
            Err(Some(error)) => Err(Error::Checkpoint { shard, reason: error.to_string() }),
            Err(None) => {
                let reason = "all snapshots of the shard are taken; drop some and try again".to_owned();
                Err(Error::Checkpoint { shard, reason })
            }
        }
    }

    /// Tells everything of that moment: what is said of forks, entries, then what is said of runs. `push` gets whose it is, and the item's bytes.
    pub(crate) fn write(&self, stopping: &AtomicBool, push: &mut Push<'_>) -> Result<(), Error> {
        let failed = |reason: String| Error::Checkpoint { shard: self.shard, reason };
        if self.moment.forks {
            self.write_forks(push)?;
        }
        write_rows(&self.pin, stopping, push).map_err(|stop| match stop {
            Stop::Asked => Error::Closed,
            Stop::Read(reason) => failed(reason),
            Stop::Write(error) => failed(error.to_string()),
        })?;
        let mut scratch = Vec::new();
        let mut mark = |run: RunId, last_version: Version| {
            scratch.clear();
            RunMark { run, last_version }.encode(&mut scratch);
            push(run, &scratch).map_err(|error| failed(error.to_string()))
        };
        let mut after = None;
        loop {
            let (marks, next) = self.handle.maintain(move |core| core.checkpoint_runs(after, ROWS_A_PAGE))?;
            for (run, last) in marks {
                mark(run, last)?;
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        // Also of those that were deleted meanwhile, and never came up.
        for (run, last) in self.handle.maintain(|core| core.end_checkpoint())? {
            mark(run, last)?;
        }
        Ok(())
    }
}

impl Held<'_> {
    /// Tells what forks go on from, and what they retain of it.
    fn write_forks(&self, push: &mut Push<'_>) -> Result<(), Error> {
        let at = self.moment.version;
        let mut forks =
            |after| self.handle.maintain(move |core| core.checkpoint_forks(after, FORKS_A_PAGE, at));
        let mut retained = |from| self.handle.maintain(move |core| core.checkpoint_retained(from, at));
        fork_items(&mut forks, &mut retained, push)?
            .map_err(|error| Error::Checkpoint { shard: self.shard, reason: error.to_string() })
    }
}

/// Tells what forks go on from, and what they retain of it, page by page.
pub(crate) fn fork_items<E>(
    forks: &mut dyn FnMut(Option<RunCursor>) -> Result<ForksPage, E>,
    retained: &mut dyn FnMut(Option<RetainedCursor>) -> Result<RetainedPage, E>,
    push: &mut Push<'_>,
) -> Result<Result<(), LogError>, E> {
    let mut scratch = Vec::new();
    let mut after = None;
    loop {
        let (items, next) = forks(after)?;
        for fork in items {
            scratch.clear();
            fork.encode(&mut scratch);
            if let Err(error) = push(fork.run, &scratch) {
                return Ok(Err(error));
            }
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    let mut from = None;
    loop {
        let RetainedPage { entries, next } = retained(from)?;
        for entry in entries {
            scratch.clear();
            entry.encode(&mut scratch);
            if in_mem_wal::planted::is_planted("engine_checkpoint_forgets_retained") {
                continue;
            }
            if let Err(error) = push(entry.run, &scratch) {
                return Ok(Err(error));
            }
        }
        from = next;
        if from.is_none() {
            return Ok(Ok(()));
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // After an error; where the shard is closed, there is nothing left to end.
        let _ = self.handle.maintain(|core| core.end_checkpoint());
    }
}

pub(crate) enum Stop {
    Asked,
    Read(String),
    Write(LogError),
}

/// Tells every entry that a pin shows.
pub(crate) fn write_rows(pin: &Pin, stopping: &AtomicBool, push: &mut Push<'_>) -> Result<(), Stop> {
    let mut scratch = Vec::new();
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        // Relaxed: a flag, and a page more or less is of no matter.
        if stopping.load(Ordering::Relaxed) {
            return Err(Stop::Asked);
        }
        let mut failed = None;
        let visit = |row: OwnedRow| {
            if failed.is_none() {
                scratch.clear();
                encode_row(&row, &mut scratch);
                failed = push(row.run, &scratch).err();
            }
        };
        cursor = pin.iterate(at, ROWS_A_PAGE, visit).map_err(|error| Stop::Read(error.to_string()))?;
        if let Some(error) = failed {
            return Err(Stop::Write(error));
        }
    }
    Ok(())
}

fn encode_row(row: &OwnedRow, out: &mut Vec<u8>) {
    CheckpointEntry {
        run: row.run,
        tag: row.tag,
        key: &row.user,
        version: row.value.version,
        timestamp: row.value.timestamp,
        expires_at: row
            .value
            .expires_at
            .filter(|_| !in_mem_wal::planted::is_planted("engine_checkpoint_forgets_expiry")),
        value: row.value.value.clone(),
    }
    .encode(out);
}

impl Checkpointer {
    pub(crate) fn new(
        config: &Config,
        shards: Arc<[ShardHandle]>,
        storage: Arc<dyn Storage>,
        directory: Option<&Directory>,
        loaded_from: Vec<Option<CheckpointInfo>>,
    ) -> Self {
        let books = loaded_from.into_iter().map(|info| Books {
            last: info.map(|info| CheckpointStats {
                version: Version(info.version),
                at: Timestamp(info.timestamp),
                entries: 0,
                bytes: 0,
                segments_released: 0,
            }),
            error: None,
        });
        Self {
            shards,
            storage,
            dirs: directory.map(Directory::shard_dirs).unwrap_or_default(),
            keep_history: config.keep_history,
            log_limit_bytes: config.checkpoint_log_bytes,
            one_at_a_time: Mutex::new(()),
            books: Mutex::new(books.collect()),
            stopping: AtomicBool::new(false),
        }
    }

    /// Waits until no checkpoint is under way, and keeps it so.
    pub(crate) fn hold_off(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn books(&self) -> Vec<Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn stopping(&self) -> &AtomicBool {
        &self.stopping
    }

    /// Gives up what is under way, and begins nothing any more.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Each shard's directory.
    pub(crate) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Writes a checkpoint of the shards that are meant. The first error is given; the other shards get theirs all the same.
    pub(crate) fn run(&self, which: Which) -> Result<Vec<Option<CheckpointStats>>, Error> {
        let _one = self.hold_off();
        let mut written = Vec::new();
        let mut outcome = Ok(());
        for (shard, dir) in self.dirs.iter().enumerate() {
            let done = match self.is_meant(shard, which) {
                Ok(false) => Ok(None),
                Ok(true) => self.write(shard, dir).map(Some),
                Err(error) => Err(error),
            };
            let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
            match done {
                Ok(stats) => {
                    if let (Some(stats), Some(books)) = (stats, books.get_mut(shard)) {
                        *books = Books { last: Some(stats), error: None };
                    }
                    written.push(stats);
                }
                Err(error) => {
                    if let Some(books) = books.get_mut(shard) {
                        books.error = Some(error.to_string());
                    }
                    written.push(None);
                    if outcome.is_ok() {
                        outcome = Err(error);
                    }
                }
            }
        }
        outcome.map(|()| written)
    }

    /// As [`Checkpointer::run`], by the worker: a panic must not end it, unseen, and with it every checkpoint to come.
    fn run_or_say_why(&self, which: Which) {
        if catch_unwind(AssertUnwindSafe(|| drop(self.run(which)))).is_err() {
            for books in &mut *self.books.lock().unwrap_or_else(PoisonError::into_inner) {
                books.error = Some("the checkpoint panicked; the next one tries again".to_owned());
            }
        }
    }

    /// Seals a shard's log and writes a checkpoint over all that was appended until now, so that none of it is left in the
    /// shard's own directory. No other checkpoint is written while the guard is held.
    pub(crate) fn retire_log(&self, shard: usize) -> Result<MutexGuard<'_, ()>, Error> {
        let one = self.hold_off();
        let failed = |reason: String| Error::Checkpoint { shard, reason };
        let (handle, dir) = (&self.shards[shard], &self.dirs[shard]);
        let goes_on = handle
            .maintain(|core| core.log_mut().wal_mut().map_or(Ok(0), in_mem_wal::ShardLog::seal_active))?
            .map_err(|error| failed(error.to_string()))?;
        handle.turn.sync().map_err(|error| crate::engine::call_error(error, None))?;
        let stats = self.write(shard, dir)?;
        if let Some(books) = self.books.lock().unwrap_or_else(PoisonError::into_inner).get_mut(shard) {
            *books = Books { last: Some(stats), error: None };
        }
        let (left, recyclable) = handle.maintain(move |core| {
            core.log_mut().wal_mut().map_or((false, Vec::new()), |log| {
                let left = log.sealed_segments().any(|sealed| sealed.number < goes_on);
                (left, log.take_recyclable())
            })
        })?;
        for path in &recyclable {
            self.storage
                .remove(path)
                .map_err(|source| failed(format!("remove {}: {source}", path.display())))?;
        }
        self.storage.sync_dir(dir).map_err(|source| failed(format!("sync {}: {source}", dir.display())))?;
        if left {
            return Err(failed("the log before the checkpoint is still needed; try again".to_owned()));
        }
        Ok(one)
    }

    fn is_meant(&self, shard: usize, which: Which) -> Result<bool, Error> {
        let last = self.books()[shard].last.map_or(Version(0), |last| last.version);
        let (version, log_bytes) = self.shards[shard].maintain(|core| {
            (core.published(), core.log().wal().map_or(0, in_mem_wal::ShardLog::log_bytes))
        })?;
        Ok(version > last
            && match which {
                Which::Changed => true,
                Which::LogOver(bytes) => log_bytes >= bytes,
            })
    }

    fn write(&self, shard: usize, dir: &std::path::Path) -> Result<CheckpointStats, Error> {
        let failed = |reason: String| Error::Checkpoint { shard, reason };
        let log = |error: LogError| failed(error.to_string());
        let handle = &self.shards[shard];
        let held = Held::begin(handle, shard)?;
        let CheckpointMoment { version, covers, timestamp, forks } = held.moment;
        let info = CheckpointInfo {
            shard: u16::try_from(shard).unwrap_or(u16::MAX),
            covers,
            version: version.0,
            timestamp: timestamp.0,
            forks,
        };
        let mut writer = CheckpointWriter::create(self.storage.clone(), dir, info).map_err(log)?;
        let mut entries = 0;
        held.write(&self.stopping, &mut |_, item| {
            entries += 1;
            writer.push(item)
        })?;
        drop(held);
        // Before it has its name: a checkpoint that a power cut leaves ahead of its log would be refused.
        if !in_mem_wal::planted::is_planted("engine_checkpoint_without_log_sync") {
            handle.turn.sync().map_err(|error| crate::engine::call_error(error, None))?;
        }
        let synced = handle.maintain(|core| core.log().wal().map(in_mem_wal::ShardLog::synced_lsn))?;
        if synced.is_some_and(|synced| synced < covers)
            && !in_mem_wal::planted::is_planted("engine_checkpoint_without_log_sync")
        {
            return Err(failed(format!("the log is not on the disk through record {covers}")));
        }
        hit(Failpoint::CheckpointLogSynced);
        let bytes = writer.bytes();
        if in_mem_wal::planted::is_planted("engine_prune_first") {
            for (_, path) in list_checkpoints(&*self.storage, dir).map_err(log)? {
                let _ = self.storage.remove(&path);
            }
        }
        writer.finish().map_err(log)?;
        let segments_released = self.let_go(shard, dir, covers).map_err(|error| {
            failed(format!("it is written, but the log before it could not be let go: {error}"))
        })?;
        hit(Failpoint::CheckpointDone);
        Ok(CheckpointStats { version, at: timestamp, entries, bytes, segments_released })
    }

    /// Removes older checkpoints, and lets go of the log that the newest covers.
    fn let_go(&self, shard: usize, dir: &std::path::Path, covers: in_mem_wal::Lsn) -> Result<u64, Error> {
        let failed = |error: LogError| Error::Checkpoint { shard, reason: error.to_string() };
        prune_checkpoints(&*self.storage, dir, 1).map_err(failed)?;
        let disposal = if self.keep_history {
            Disposal::Archive(dir.join(ARCHIVE))
        } else {
            Disposal::Recycle(dir.join(ARCHIVE))
        };
        let handle = &self.shards[shard];
        let job = handle.maintain(move |core| {
            core.log_mut().wal_mut().and_then(|log| log.release_before(covers.next(), disposal))
        })?;
        let Some(mut job) = job else { return Ok(0) };
        let released = match job.take_out() {
            Ok(released) => released,
            Err(error) => {
                handle.maintain(move |core| {
                    if let Some(log) = core.log_mut().wal_mut() {
                        log.take_back(job);
                    }
                })?;
                return Err(failed(error));
            }
        };
        let segments = released.segments;
        handle.maintain(move |core| {
            if let Some(log) = core.log_mut().wal_mut() {
                log.add_released(released);
            }
        })?;
        Ok(segments)
    }
}
