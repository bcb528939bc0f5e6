//! The shard's core: a deterministic, single-threaded state machine. Commands and the time go in, replies and log records
//! come out. It reads no clock, starts no thread and, but for handing records to its log, does no I/O; the same commands at the same
//! times give the same records, byte for byte. That is what replay, the simulator and the property tests stand on.

pub mod apart;
mod arriving;
mod checkpoint;
pub mod command;
mod commit;
pub mod effect;
pub mod error;
pub mod event;
mod expiry;
mod fall_back;
pub mod fork;
mod fork_links;
pub mod import;
mod install;
pub mod limit;
mod log;
mod query;
mod recent;
mod recovery;
mod run_index;
pub mod run_meta;
mod run_query;
mod run_state;
pub mod span;
pub mod span_index;
mod stage;
mod streams;
pub mod transaction;
pub mod watch;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use in_mem_model::{RunId, Timestamp, Version};
use in_mem_wal::ShardLog;
use rustc_hash::FxBuildHasher;

use crate::index::IndexWriter;

pub use checkpoint::{BeginError, CheckpointMoment, RunMarks};
pub use fork_links::{ForkItem, ForkLink, ForksPage, RetainedCursor, RetainedEntry, RetainedPage};
pub use log::{COMMIT_KIND, COMMIT_SEVERAL_KIND, Log, effects_of, lineage_id};
pub use query::PAGE_LIMIT;
pub use recent::{RECENT_BYTES_PER_SHARD, RECENT_CHANGES_PER_SHARD, RECENT_VERSIONS_UNWATCHED};
pub use recovery::{CheckpointEntry, CheckpointItem, LoadError, ReplayError, RunMark};
pub use run_index::{RunCursor, RunFilter, RunOrder};
pub use run_query::compare_runs;

use checkpoint::LastVersions;
use command::{Command, CoreStats, Reply};
use expiry::Expiry;
use fork::{DroppedFork, ForkMarks};
use fork_links::LoadingForks;
use run_index::RunIndex;
use run_state::RunState;
use stage::StagedWrite;
use watch::Watchers;

/// One shard's state, and the rules by which it changes.
#[derive(Debug)]
pub struct ShardCore {
    index: IndexWriter,
    log: Log,
    runs: HashMap<RunId, RunState, FxBuildHasher>,
    run_index: RunIndex,
    /// Runs that nobody sees yet.
    arriving: BTreeSet<RunId>,
    expiry: Expiry,
    fork_marks: Arc<ForkMarks>,
    /// In the order of their drops.
    dropped_forks: VecDeque<DroppedFork>,
    /// What a checkpoint that is being loaded tells of forks.
    loading_forks: Option<Box<LoadingForks>>,
    /// Whether a checkpoint's entries are being loaded.
    loading: bool,
    last_versions: LastVersions,
    watchers: Watchers,
    /// The time of the turn. Never runs backwards, so that versions and times agree on what came first.
    now: Timestamp,
    /// The last version installed.
    version: Version,
    /// The last version published to readers.
    published: Version,
    /// Effects of the commit in hand, reused from commit to commit.
    payload: Vec<u8>,
    /// The event in hand, likewise.
    event_scratch: Vec<u8>,
    /// What the transaction in hand changes, likewise.
    staged_writes: Vec<StagedWrite>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    commits: u64,
    conflicts: u64,
    expired: u64,
}

impl ShardCore {
    /// A core over an index that holds nothing yet, writing to `log`.
    pub fn new(index: IndexWriter, log: Log) -> Self {
        Self {
            index,
            log,
            runs: HashMap::default(),
            run_index: RunIndex::default(),
            arriving: BTreeSet::new(),
            expiry: Expiry::default(),
            fork_marks: Arc::default(),
            dropped_forks: VecDeque::new(),
            loading_forks: None,
            loading: false,
            last_versions: LastVersions::default(),
            watchers: Watchers::default(),
            now: Timestamp(0),
            version: Version(0),
            published: Version(0),
            payload: Vec::new(),
            event_scratch: Vec::new(),
            staged_writes: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Sets the time for the commands that follow.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The time of the turn.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The last version installed; in a log that waits for the disk, readers may not see it yet.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The last version that readers see.
    pub fn published(&self) -> Version {
        self.published
    }

    /// The log, for those who sync, roll and close it.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The index's writer, for maintenance and measurement.
    pub fn index_mut(&mut self) -> &mut IndexWriter {
        &mut self.index
    }

    /// Writes to this log from now on: the one whose records were replayed.
    pub fn attach(&mut self, log: Log) {
        self.log = log;
    }

    /// Gives up the log, for its close.
    pub fn into_log(self) -> Log {
        self.log
    }

    /// Begins to fetch what a command that is carried out soon will look at first.
    #[inline]
    pub fn look_ahead(&self, command: &Command) {
        if let Command::Put { run, tag, key, .. } | Command::Delete { run, tag, key, .. } = command {
            self.index.prefetch(&self.hashed(*run, *tag, key));
        }
    }

    /// Carries out one command.
    pub fn execute(&mut self, command: Command) -> Reply {
        match command {
            Command::Put { run, tag, key, value, expires_at, condition } => {
                match self.put(run, tag, &key, value, expires_at, condition) {
                    Ok(committed) => Reply::Committed(committed),
                    Err(error) => Reply::Refused(error),
                }
            }
            Command::Delete { run, tag, key, condition } => match self.delete(run, tag, &key, condition) {
                Ok((committed, was_there)) => Reply::Deleted(committed, was_there),
                Err(error) => Reply::Refused(error),
            },
            Command::Append { run, body } => match self.append(run, &body) {
                Ok((committed, sequence)) => Reply::Appended(committed, sequence),
                Err(error) => Reply::Refused(error),
            },
            Command::Increment { run, tag, key, by } => match self.increment(run, tag, &key, by) {
                Ok((committed, sum)) => Reply::Counted(committed, sum),
                Err(error) => Reply::Refused(error),
            },
            Command::Commit(request) => match self.commit(*request) {
                Ok(committed) => Reply::Committed(committed),
                Err(error) => Reply::Refused(error),
            },
            Command::Execute { run, closure } => match self.execute_closure(run, closure) {
                Ok((committed, result)) => Reply::Executed(committed, result),
                Err(error) => Reply::Refused(error),
            },
            Command::Scan(request) => Reply::Page(self.scan(&request)),
            Command::Count(request) => {
                let (keys, next) = self.count(&request);
                Reply::Count(keys, next)
            }
            Command::Spans(run, query) => Reply::Spans(Box::new(self.spans(run, &query))),
            Command::Stream(request) => {
                let (sequences, len) = self.stream(&request);
                Reply::Stream(sequences, len)
            }
            Command::Watch(request) => match self.watch(*request) {
                Ok((version, before)) => Reply::Watching(version, before),
                Err(error) => Reply::Refused(error),
            },
            Command::Get(key) => Reply::Value(self.get(&key)),
            Command::Runs(query) => Reply::Runs(self.runs(&query)),
            Command::RunTotals(query) => {
                let (totals, next) = self.run_totals(&query);
                Reply::RunTotals(Box::new(totals), next)
            }
            Command::Run(run) => Reply::Run(self.run_info(run).map(Box::new)),
            Command::Chain(run) => Reply::Chain(self.chain(run)),
            Command::Adopt(run) => match self.adopt(run) {
                Ok(()) => Reply::Done,
                Err(error) => Reply::Refused(error),
            },
            Command::Stats => Reply::Stats(Box::new(self.stats())),
            Command::Maintain(closure) => Reply::Maintained(closure(self)),
        }
    }

    /// What the core has counted.
    pub fn stats(&self) -> CoreStats {
        CoreStats {
            version: self.version,
            committed: self.published,
            commits: self.counters.commits,
            conflicts: self.counters.conflicts,
            expired: self.counters.expired,
            runs: self.runs_seen() as u64,
            entries: self.index.stats().versions as u64,
            poisoned: self.log.poisoned(),
            log_bytes: self.log.wal().map_or(0, ShardLog::log_bytes),
            unsynced_bytes: self.log.wal().map_or(0, ShardLog::unsynced_bytes),
        }
    }
}
