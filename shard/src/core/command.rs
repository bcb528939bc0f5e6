//! What a shard can be asked, and what it answers.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::{AddAssign, Bound};
use std::sync::Arc;

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Value, Version, VersionedValue};
use serde::{Deserialize, Serialize};

use super::ShardCore;
use super::error::{Condition, WriteError};
use super::event::ChainHead;
use super::run_index::{RunCursor, RunFilter, RunOrder};
use super::run_meta::{RunMeta, RunStatus};
use super::span_index::{SpanPage, SpanQuery};
use super::transaction::ShardTx;
use super::watch::{Change, WatchRequest};

/// One write of a commit.
#[derive(Debug, Clone)]
pub enum Write {
    /// Puts a value under a key.
    Put {
        /// The primitive.
        tag: Tag,
        /// The user's key bytes.
        key: KeyBytes,
        /// The value.
        value: Value,
        /// When it stops being there.
        expires_at: Option<Timestamp>,
        /// What must hold of the key.
        condition: Condition,
    },
    /// Deletes a key; no error where there is nothing.
    Delete {
        /// The primitive.
        tag: Tag,
        /// The user's key bytes.
        key: KeyBytes,
        /// What must hold of the key.
        condition: Condition,
    },
    /// Appends an event (a body from [`super::event::pack_body`]); the shard gives it its number.
    Append {
        /// The packed body.
        body: Vec<u8>,
    },
    /// Makes a run. Times and versions of the meta are the shard's to set where they are zero.
    CreateRun(Box<RunMeta>),
    /// Changes what is known of a run.
    ChangeRun(Box<RunChange>),
    /// Deletes the run and all it holds.
    DropRun,
}

/// A change to what is known of a run. What is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct RunChange {
    /// The new status.
    pub status: Option<RunStatus>,
    /// Why, for a run that failed or was cancelled.
    pub error: Option<Arc<str>>,
    /// When it happened, where that is not now (imports).
    pub at: Option<Timestamp>,
    /// The new name.
    pub name: Option<Arc<str>>,
    /// The tags to have.
    pub tags: Option<Vec<Arc<str>>>,
    /// The metadata to have.
    pub metadata: Option<Value>,
}

/// A key that a transaction read.
#[derive(Debug, Clone)]
pub struct ReadKey {
    /// The key.
    pub key: Key,
}

/// A range of keys that a transaction scanned.
#[derive(Debug, Clone)]
pub struct ReadRange {
    /// Whose keys.
    pub run: RunId,
    /// Of which primitive.
    pub tag: Tag,
    /// From here.
    pub lower: Bound<KeyBytes>,
    /// To here.
    pub upper: Bound<KeyBytes>,
}

/// A whole transaction: what it read, and what it writes.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The run it belongs to.
    pub run: RunId,
    /// The version it read at. `None`: it read nothing.
    pub snapshot: Option<Version>,
    /// The keys it read.
    pub reads: Vec<ReadKey>,
    /// The ranges it scanned.
    pub ranges: Vec<ReadRange>,
    /// Of what it read, the key that expires first, and when: from then on it would read something else.
    pub expires: Option<Box<(Timestamp, Key)>>,
    /// What it writes, each with the run it is on.
    pub writes: Vec<(RunId, Write)>,
}

impl CommitRequest {
    /// A transaction that has read and written nothing.
    pub fn new(run: RunId) -> Self {
        Self { run, snapshot: None, reads: Vec::new(), ranges: Vec::new(), expires: None, writes: Vec::new() }
    }
}

/// A commit that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Its version.
    pub version: Version,
    /// When.
    pub timestamp: Timestamp,
    /// The numbers that its appended events got, in their order.
    pub sequences: Vec<u64>,
}

/// Which keys to scan.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Whose keys.
    pub run: RunId,
    /// Of which primitive.
    pub tag: Tag,
    /// From here.
    pub lower: Bound<KeyBytes>,
    /// To here.
    pub upper: Bound<KeyBytes>,
    /// From the last key down to the first.
    pub reverse: bool,
    /// As of this version (which a snapshot of the caller's must hold); `None`: as of now.
    pub at: Option<Version>,
    /// At most so many entries.
    pub limit: usize,
}

/// A page of a scan.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The entries, in order.
    pub entries: Vec<(KeyBytes, VersionedValue)>,
    /// The last key that was looked at, where there may be more behind it.
    pub next: Option<KeyBytes>,
}

/// Which events of a stream.
#[derive(Debug, Clone)]
pub struct StreamRequest {
    /// Whose stream.
    pub run: RunId,
    /// Its name.
    pub stream: Arc<str>,
    /// From this place in the stream on.
    pub from: u64,
    /// At most so many.
    pub limit: usize,
}

/// Which runs to list, and how.
#[derive(Debug, Clone, Default)]
pub struct RunQuery {
    /// Which.
    pub filter: RunFilter,
    /// In what order.
    pub order: RunOrder,
    /// Behind this place.
    pub after: Option<RunCursor>,
    /// At most so many.
    pub limit: usize,
}

/// A page of runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunPage {
    /// The runs, in order.
    pub runs: Vec<RunInfo>,
    /// Where the next page starts; `None`: there is none.
    pub next: Option<RunCursor>,
}

/// What several runs come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTotals {
    /// How many runs.
    pub runs: u64,
    /// How many of each status that there is.
    pub by_status: BTreeMap<RunStatus, u64>,
    /// What they hold in KV.
    pub kv: Usage,
    /// What they hold in events.
    pub events: Usage,
    /// What they hold in state cells.
    pub state: Usage,
    /// What they hold in traces.
    pub traces: Usage,
}

impl RunTotals {
    /// With those of other runs.
    pub fn add(&mut self, others: &Self) {
        self.runs += others.runs;
        for (status, runs) in &others.by_status {
            *self.by_status.entry(*status).or_default() += runs;
        }
        self.kv += others.kv;
        self.events += others.events;
        self.state += others.state;
        self.traces += others.traces;
    }
}

/// How much of a primitive a run holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// How many live entries.
    pub entries: u64,
    /// How many bytes of keys and values, as the log writes them.
    pub bytes: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}

/// A run with what the shard counts of it. Of a fork it counts what was written to the fork itself, and nothing of what it
/// shares with the run it goes on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its id.
    pub id: RunId,
    /// What is known of it.
    #[serde(flatten)]
    pub meta: RunMeta,
    /// The version of the last commit that changed it.
    pub last_version: Version,
    /// Running or paused, but begun by a process that is gone.
    pub orphaned: bool,
    /// How many runs it began.
    pub children: u64,
    /// What it holds in KV.
    pub kv: Usage,
    /// What it holds in events.
    pub events: Usage,
    /// What it holds in state cells.
    pub state: Usage,
    /// What it holds in traces.
    pub traces: Usage,
}

/// A closure that runs on the shard.
pub type ShardClosure =
    Box<dyn FnOnce(&mut ShardTx<'_>) -> Result<Box<dyn Any + Send>, Box<dyn Any + Send>> + Send>;

/// Work of the coordinator's own on the core, in a turn: a checkpoint's beginning and end, the log's upkeep. It is no commit.
pub type MaintainClosure = Box<dyn FnOnce(&mut ShardCore) -> Box<dyn Any + Send> + Send>;

/// A command to a shard.
#[allow(missing_debug_implementations, reason = "holds closures")]
pub enum Command {
    /// One put: the hot path.
    Put {
        /// Whose key.
        run: RunId,
        /// Of which primitive.
        tag: Tag,
        /// The user's key bytes.
        key: KeyBytes,
        /// The value.
        value: Value,
        /// When it stops being there.
        expires_at: Option<Timestamp>,
        /// What must hold of the key.
        condition: Condition,
    },
    /// One delete.
    Delete {
        /// Whose key.
        run: RunId,
        /// Of which primitive.
        tag: Tag,
        /// The user's key bytes.
        key: KeyBytes,
        /// What must hold of the key.
        condition: Condition,
    },
    /// One event.
    Append {
        /// To whose log.
        run: RunId,
        /// The packed body.
        body: Vec<u8>,
    },
    /// Counts an integer up.
    Increment {
        /// Whose key.
        run: RunId,
        /// Of which primitive.
        tag: Tag,
        /// The user's key bytes.
        key: KeyBytes,
        /// By how much.
        by: i64,
    },
    /// A whole transaction.
    Commit(Box<CommitRequest>),
    /// A closure that reads and writes on the shard itself.
    Execute {
        /// The run it belongs to.
        run: RunId,
        /// The closure.
        closure: ShardClosure,
    },
    /// A page of keys.
    Scan(Box<ScanRequest>),
    /// How many keys there are in a range, some a turn.
    Count(Box<ScanRequest>),
    /// A page of a run's spans, or what they come to.
    Spans(RunId, Box<SpanQuery>),
    /// The numbers of a stream's events.
    Stream(Box<StreamRequest>),
    /// Tell of changes.
    Watch(Box<WatchRequest>),
    /// One read, for a caller that has no slot of its own to read from.
    Get(Box<Key>),
    /// A page of runs.
    Runs(Box<RunQuery>),
    /// What runs come to; the query's limit is not looked at.
    RunTotals(Box<RunQuery>),
    /// One run.
    Run(RunId),
    /// The end of a run's event chain.
    Chain(RunId),
    /// This process takes the run over: it is orphaned no more.
    Adopt(RunId),
    /// The shard's counters.
    Stats,
    /// The coordinator's own work.
    Maintain(MaintainClosure),
}

/// What a shard answers.
#[allow(missing_debug_implementations, reason = "holds what closures return")]
pub enum Reply {
    /// The commit was made.
    Committed(Committed),
    /// The delete was made, or found nothing.
    Deleted(Committed, bool),
    /// The event was appended, under this number.
    Appended(Committed, u64),
    /// The integer was counted up.
    Counted(Committed, i64),
    /// What the closure returned; the error is the closure's own.
    Executed(Committed, Result<Box<dyn Any + Send>, Box<dyn Any + Send>>),
    /// A page of keys.
    Page(Page),
    /// How many keys, and the last one looked at where there may be more behind it.
    Count(u64, Option<KeyBytes>),
    /// A page of spans, or what they come to.
    Spans(Box<SpanPage>),
    /// The numbers of a stream's events, and how many it has in all.
    Stream(Vec<u64>, u64),
    /// The watch hears everything after this version, these changes first.
    Watching(Version, Vec<Change>),
    /// A value.
    Value(Option<VersionedValue>),
    /// A page of runs.
    Runs(RunPage),
    /// What the runs that one turn looked at come to, and the last of them where there may be more behind it.
    RunTotals(Box<RunTotals>, Option<RunCursor>),
    /// One run.
    Run(Option<Box<RunInfo>>),
    /// The end of a run's event chain.
    Chain(Option<ChainHead>),
    /// Done.
    Done,
    /// The shard's counters.
    Stats(Box<CoreStats>),
    /// What the coordinator's closure returned.
    Maintained(Box<dyn Any + Send>),
    /// Refused.
    Refused(WriteError),
}

/// What a shard's core counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreStats {
    /// The last version made.
    pub version: Version,
    /// The last version that readers see.
    pub committed: Version,
    /// Commits since the shard was opened.
    pub commits: u64,
    /// Transactions refused because something they read had changed.
    pub conflicts: u64,
    /// Keys deleted because their time had come.
    pub expired: u64,
    /// Runs, memories included.
    pub runs: u64,
    /// Live and superseded versions held.
    pub entries: u64,
    /// Why the log takes no more writes, where it does not.
    pub poisoned: Option<String>,
    /// Bytes of log that recovery would read, were there no newer checkpoint.
    pub log_bytes: u64,
    /// Bytes of log that are not known to be on the disk.
    pub unsynced_bytes: u64,
}
