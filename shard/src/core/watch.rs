//! Who is told of committed changes. A watcher is fed when its commit is published; it is never waited for: one that does not
//! keep up with its buffer is let go, and learns from which version on it has missed something.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use hashbrown::HashMap;
use in_mem_model::{KeyBytes, RunId, Tag, Value, Version};
use rustc_hash::FxBuildHasher;

use super::ShardCore;
use super::error::WriteError;
use super::recent::RecentChanges;

/// The most watchers of one shard.
pub const MAX_WATCHERS_PER_SHARD: usize = 4_096;

/// A committed change of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The key.
    pub key: KeyBytes,
    /// What it holds now; `None`: it was deleted.
    pub value: Option<Value>,
    /// The version of the commit.
    pub version: Version,
}

/// Whom to tell of what.
#[derive(Debug)]
pub struct WatchRequest {
    /// Whose keys.
    pub run: RunId,
    /// Of which primitive.
    pub tag: Tag,
    /// Keys that start so.
    pub prefix: KeyBytes,
    /// Changes after this version; `None`: from now on.
    pub from: Option<Version>,
    /// The watcher's end, from [`watch_channel`].
    pub sender: WatchSender,
}

/// Why a watcher hears nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEnd {
    /// Its buffer was full when this version was committed: what changed from then on was missed.
    Lagged(Version),
    /// The run was deleted, or the shard closed.
    Closed,
    /// The time is over; the watch goes on.
    TimedOut,
    /// Nothing has changed; the watch goes on.
    Nothing,
}

/// The shard's end of a watch.
#[derive(Debug)]
pub struct WatchSender {
    changes: Sender<Change>,
    /// The version missed; 0: none. Shared with the receiver; when that is dropped, this is the only one left.
    lagged: Arc<AtomicU64>,
    /// Told that something changed, not what: a full buffer loses nothing then.
    doorbell: bool,
}

/// The watcher's end of a watch.
#[derive(Debug)]
pub struct WatchReceiver {
    changes: Receiver<Change>,
    lagged: Arc<AtomicU64>,
}

/// A channel for a watch that holds back at most `capacity` changes.
pub fn watch_channel(capacity: usize) -> (WatchSender, WatchReceiver) {
    channel(capacity.max(1), false)
}

/// A channel for a watcher that reads for itself what changed, once it is woken.
pub fn doorbell_channel() -> (WatchSender, WatchReceiver) {
    channel(1, true)
}

fn channel(capacity: usize, doorbell: bool) -> (WatchSender, WatchReceiver) {
    let (sender, receiver) = bounded(capacity);
    let lagged = Arc::new(AtomicU64::new(0));
    (
        WatchSender { changes: sender, lagged: lagged.clone(), doorbell },
        WatchReceiver { changes: receiver, lagged },
    )
}

impl WatchReceiver {
    fn ended(&self) -> WatchEnd {
        // Acquire: pairs with the release in `WatchSender::tell`, so that the end seen is the end meant.
        match self.lagged.load(Ordering::Acquire) {
            0 => WatchEnd::Closed,
            version => WatchEnd::Lagged(Version(version)),
        }
    }

    /// The next change, waiting for it at most so long (`None`: for ever).
    ///
    /// # Errors
    /// [`WatchEnd`], once what was held back has been read.
    pub fn recv(&self, limit: Option<std::time::Duration>) -> Result<Change, WatchEnd> {
        match limit {
            None => self.changes.recv().map_err(|_| self.ended()),
            Some(limit) => self.changes.recv_timeout(limit).map_err(|error| match error {
                RecvTimeoutError::Timeout => WatchEnd::TimedOut,
                RecvTimeoutError::Disconnected => self.ended(),
            }),
        }
    }

    /// The next change, if there is one already.
    ///
    /// # Errors
    /// As [`WatchReceiver::recv`].
    pub fn try_recv(&self) -> Result<Change, WatchEnd> {
        self.changes.try_recv().map_err(|error| match error {
            TryRecvError::Empty => WatchEnd::Nothing,
            TryRecvError::Disconnected => self.ended(),
        })
    }
}

impl WatchSender {
    /// Tells of a change; says whether the watcher is still to be told.
    fn tell(&self, change: Change) -> bool {
        let version = change.version;
        match self.changes.try_send(change) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) if self.doorbell => true,
            Err(TrySendError::Full(_)) => {
                // Release: pairs with the acquire in `WatchReceiver::ended`.
                self.lagged.store(version.0, Ordering::Release);
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Whether what it is told of is kept for those who come back: others read for themselves.
    fn keeps_recent(&self, tag: Tag) -> bool {
        tag == Tag::Kv && !self.doorbell
    }

    fn is_alone(&self) -> bool {
        Arc::strong_count(&self.lagged) == 1
    }
}

#[derive(Debug)]
struct Watcher {
    tag: Tag,
    prefix: KeyBytes,
    /// It is told of what comes after. What is installed and not published when it begins may have been noted for others.
    since: Version,
    sender: WatchSender,
}

/// The watchers of a shard, and what they are to be told once it is published.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    by_run: HashMap<RunId, Vec<Watcher>, FxBuildHasher>,
    waiting: Vec<(RunId, Tag, Change)>,
    /// Runs that were deleted, by commits that are not told of yet.
    gone: VecDeque<(Version, RunId)>,
    count: usize,
    /// What was told of watched runs' keys.
    recent: RecentChanges,
    /// The last version told of.
    told: Version,
}

impl Watchers {
    /// Whether nobody is to be told, and nothing kept for those who may come back.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.recent.is_empty()
    }

    /// Remembers a change that is installed, where somebody watches the key.
    #[cold]
    pub(crate) fn note(
        &mut self,
        run: RunId,
        tag: Tag,
        user: &[u8],
        version: Version,
        value: Option<&Value>,
    ) {
        let watched = self
            .by_run
            .get(&run)
            .is_some_and(|all| all.iter().any(|w| w.tag == tag && user.starts_with(&w.prefix)));
        if watched || (tag == Tag::Kv && self.recent.keeps(run)) {
            let change = Change { key: KeyBytes::new(user), value: value.cloned(), version };
            self.waiting.push((run, tag, change));
        }
    }

    /// Tells of every change up to `version`.
    #[cold]
    pub(crate) fn tell(&mut self, version: Version) {
        self.told = version;
        let ready = self.waiting.partition_point(|(_, _, change)| change.version <= version);
        for (run, tag, change) in self.waiting.drain(..ready) {
            end_gone(&mut self.gone, &mut self.by_run, &mut self.count, change.version);
            if let Some(all) = self.by_run.get_mut(&run) {
                let before = all.len();
                all.retain(|w| {
                    w.tag != tag
                        || change.version <= w.since
                        || !change.key.starts_with(&w.prefix)
                        || w.sender.tell(change.clone())
                });
                self.count -= before - all.len();
                if !all.iter().any(|w| w.sender.keeps_recent(w.tag)) {
                    self.recent.unwatched(run, version);
                }
                if all.is_empty() {
                    self.by_run.remove(&run);
                }
            }
            if tag == Tag::Kv && self.recent.keeps(run) {
                self.recent.push(run, change);
            }
        }
        end_gone(&mut self.gone, &mut self.by_run, &mut self.count, version);
        self.recent.age(version);
    }

    /// The run is deleted: its watchers end once that is told of, behind what was committed before.
    pub(crate) fn forget_run(&mut self, run: RunId, version: Version) {
        if self.by_run.contains_key(&run) {
            self.gone.push_back((version, run));
        }
        self.recent.forget_run(run);
    }

    fn add(&mut self, run: RunId, watcher: Watcher) {
        self.sweep();
        self.by_run.entry(run).or_default().push(watcher);
        self.count += 1;
    }

    /// Forgets those that nobody listens to any more.
    fn sweep(&mut self) {
        let Self { by_run, recent, told, .. } = self;
        by_run.retain(|run, all| {
            all.retain(|w| !w.sender.is_alone());
            if !all.iter().any(|w| w.sender.keeps_recent(w.tag)) {
                recent.unwatched(*run, *told);
            }
            !all.is_empty()
        });
        self.count = self.by_run.values().map(Vec::len).sum();
    }
}

/// Lets go of the watchers of runs that were deleted up to a version; those of a run made again under the id began behind it.
fn end_gone(
    gone: &mut VecDeque<(Version, RunId)>,
    by_run: &mut HashMap<RunId, Vec<Watcher>, FxBuildHasher>,
    count: &mut usize,
    through: Version,
) {
    while let Some((version, run)) = gone.pop_front_if(|(version, _)| *version <= through) {
        let Some(all) = by_run.get_mut(&run) else { continue };
        let before = all.len();
        all.retain(|watcher| watcher.since >= version);
        *count -= before - all.len();
        if all.is_empty() {
            by_run.remove(&run);
        }
    }
}

impl ShardCore {
    /// Tells a watcher of every change after a version. Gives that version, and the changes after it that were published
    /// before: they come first.
    ///
    /// # Errors
    /// [`WriteError::UnknownRun`]; [`WriteError::Lagged`] where not all changes since the version asked for are kept;
    /// [`WriteError::TooManyWatchers`]; [`WriteError::WatchFromFuture`].
    pub(super) fn watch(&mut self, request: WatchRequest) -> Result<(Version, Vec<Change>), WriteError> {
        let WatchRequest { run, tag, prefix, from, sender } = request;
        self.check_seen(run)?;
        let last_version = self.runs.get(&run).ok_or(WriteError::UnknownRun { run })?.last_version;
        // Of another database, or read before a power cut took it: what is committed on the way there would be passed over.
        if let Some(from) = from.filter(|from| *from > self.version) {
            return Err(WriteError::WatchFromFuture { run, from, last: self.version });
        }
        let mut before = Vec::new();
        if let Some(from) = from.filter(|from| *from < last_version) {
            let recent = self.watchers.recent.after(run, from).map_err(|oldest| WriteError::Lagged {
                run,
                missed: Version(from.0 + 1),
                oldest: Some(oldest.unwrap_or(last_version)),
            })?;
            before.extend(recent.filter(|change| change.key.starts_with(&prefix)).cloned());
        }
        if self.watchers.count >= MAX_WATCHERS_PER_SHARD {
            self.watchers.sweep();
            if self.watchers.count >= MAX_WATCHERS_PER_SHARD {
                return Err(WriteError::TooManyWatchers { limit: MAX_WATCHERS_PER_SHARD });
            }
        }
        if sender.keeps_recent(tag) {
            self.watchers.recent.watched(run, last_version);
        }
        // Without a version to go on from: what is installed but not published yet, the watcher would have to be told of,
        // and was not noted. The caller waits until it is visible, so that a read behind the watch sees it.
        let since = from.unwrap_or(self.version);
        self.watchers.add(run, Watcher { tag, prefix, since, sender });
        Ok((since, before))
    }
}
