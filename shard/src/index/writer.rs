//! The one writer of an index: it belongs to whoever holds the shard's turn.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::{Bound, ControlFlow};
use std::ptr;
use std::sync::Arc;

use super::arena::Arena;
use super::hash::RunHash;
use super::key::{HashedKey, KeyRef};
use super::limits::{COLLECT_INTERVAL_COMMITS, DEFAULT_SNAPSHOT_BYTES};
use super::node::{Body, Entry, NEVER, Node};
use super::order::{Order, Range};
use super::reader::{IndexReader, Shared};
use super::reclaim::Reclaim;
use super::retention::Retention;
use super::table::Found;
use super::table_writer::TableWriter;
use crate::sync::Ordering;
use in_mem_model::codec;
use in_mem_model::{RunId, Tag, Timestamp, Value, Version};

/// How an index is set up.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IndexConfig {
    /// What user keys are hashed with: random, one for each process. Nothing but the place in memory depends on it.
    pub hash_seed: u64,
    /// Bytes of superseded versions that snapshots may hold before the oldest ones expire.
    pub snapshot_bytes_limit: usize,
}

impl IndexConfig {
    /// The defaults, with this seed.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        Self { hash_seed, snapshot_bytes_limit: DEFAULT_SNAPSHOT_BYTES }
    }
}

/// One version of one key, as the writer sees it: published or not.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    /// The commit that installed it.
    pub version: Version,
    /// When that was.
    pub timestamp: Timestamp,
    /// From when on it counts as absent.
    pub expires_at: Option<Timestamp>,
    /// The value; `None` for a deletion.
    pub value: Option<&'a Value>,
}

impl<'a> NodeView<'a> {
    fn new(body: &'a Body) -> Self {
        Self {
            version: Version(body.version),
            timestamp: Timestamp(body.timestamp),
            expires_at: body.expires_at(),
            value: body.value.as_ref(),
        }
    }
}

/// What an installation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Bytes of the value as it is encoded; `None`: it is a deletion.
    pub added: Option<NonZeroU32>,
    /// Bytes of the value that was there, likewise; `None`: there was none.
    pub replaced: Option<NonZeroU32>,
    /// Whether the index knew nothing of the key.
    pub is_new: bool,
}

/// What to scan: a run, one of its tags or all of them, and bounds on the user's key.
#[derive(Clone, Copy, Debug)]
pub struct ScanRange<'a> {
    run: RunId,
    tag: Option<Tag>,
    lower: Bound<&'a [u8]>,
    upper: Bound<&'a [u8]>,
}

impl<'a> ScanRange<'a> {
    /// The keys of one tag of a run within the bounds.
    #[must_use]
    pub fn of_tag(run: RunId, tag: Tag, lower: Bound<&'a [u8]>, upper: Bound<&'a [u8]>) -> Self {
        Self { run, tag: Some(tag), lower, upper }
    }

    /// Everything of a run, ordered by tag and then by key.
    #[must_use]
    pub fn of_run(run: RunId) -> Self {
        Self { run, tag: None, lower: Bound::Unbounded, upper: Bound::Unbounded }
    }

    fn as_range(&self) -> Range<'a> {
        Range { run: self.run, tag: self.tag, lower: self.lower, upper: self.upper }
    }
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the lower bound up.
    Forwards,
    /// From the upper bound down.
    Backwards,
}

/// How much one page of a scan may do.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit {
    /// Rows that the visitor takes.
    pub rows: usize,
    /// Keys looked at, deleted and expired ones and ones newer than the snapshot among them.
    pub keys: usize,
}

/// One live row of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The key.
    pub key: KeyRef<'a>,
    /// What the scan's version sees there; its value is never `None`.
    pub node: NodeView<'a>,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEnd<'a> {
    /// There is nothing more in the range.
    Done,
    /// A limit was reached at this key, which was looked at: go on past it.
    After(KeyRef<'a>),
}

/// What an index holds, and in how many bytes.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct IndexStats {
    /// Keys, deleted ones that are not yet taken out among them.
    pub keys: usize,
    /// Versions in memory.
    pub versions: usize,
    /// Bytes of slabs for versions, keys and table; they are reused, and given back when the index is dropped.
    pub slab_bytes: usize,
    /// Bytes of the table's segments, which are part of the slabs, and directories.
    pub table_bytes: usize,
    /// Bytes of the order.
    pub order_bytes: usize,
    /// Bytes of superseded versions, their values included, that snapshots and traversals hold.
    pub held_bytes: usize,
    /// Superseded versions, deleted keys and parts of the table that wait to be freed.
    pub waiting: usize,
    /// Snapshots open now.
    pub pins: usize,
    /// Snapshots that were taken away because they held too much.
    pub expired_pins: usize,
    /// Most entries that any single put or removal has moved.
    pub max_entries_moved: usize,
}

/// The writer of a shard's index. Readers are made with [`IndexWriter::reader`].
///
/// Versions are installed one commit after the other and become visible, all at once, when [`IndexWriter::publish`] is
/// called. What is installed stays.
pub struct IndexWriter {
    shared: Arc<Shared>,
    /// Always there; taken out by `drop`, which leaves it to the last reader.
    arena: Option<Arena>,
    table: TableWriter,
    order: Order,
    reclaim: Reclaim,
    keys: usize,
    installed: u64,
    commits_since_collect: u32,
}

// SAFETY: the raw pointers lead to memory that belongs to the index as a whole; only one thread at a time has the
// writer, and handing it over synchronises.
unsafe impl Send for IndexWriter {}

impl fmt::Debug for IndexWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexWriter").field("keys", &self.keys).field("installed", &self.installed).finish()
    }
}

impl IndexWriter {
    /// An empty index.
    #[must_use]
    pub fn new(config: IndexConfig) -> Self {
        let mut arena = Arena::new();
        Self {
            shared: Arc::new(Shared::new(config.hash_seed, &mut arena)),
            arena: Some(arena),
            table: TableWriter::new(),
            order: Order::new(),
            reclaim: Reclaim::new(config.snapshot_bytes_limit),
            keys: 0,
            installed: 0,
            commits_since_collect: 0,
        }
    }

    /// A reader for other threads.
    #[must_use]
    pub fn reader(&self) -> IndexReader {
        IndexReader::new(Arc::clone(&self.shared))
    }

    /// The run's part of the hash.
    #[inline]
    #[must_use]
    pub fn run_hash(&self, run: &RunId) -> RunHash {
        self.shared.hasher.run(run)
    }

    /// A key with its hash.
    #[inline]
    #[must_use]
    pub fn hashed<'a>(&self, run: RunHash, key: KeyRef<'a>) -> HashedKey<'a> {
        HashedKey { key, hash: self.shared.hasher.key(run, key.tag, key.user) }
    }

    #[inline]
    fn find(&self, key: &HashedKey<'_>) -> Option<Found> {
        // SAFETY: this is the writer, which alone retires and frees, and does not while `self` is borrowed.
        unsafe { self.shared.table.find_for_writer(key) }
    }

    /// Begins to fetch what the next look-up or installation of the key meets first, for callers who have something else to
    /// do before.
    #[inline]
    pub fn prefetch(&self, key: &HashedKey<'_>) {
        self.shared.table.prefetch(key.hash);
    }

    /// For a key that is about to be installed, by a caller who has something else to do before, such as to log it: begins to
    /// fetch what the installation will wait for, and meanwhile frees what the last ones superseded.
    #[inline]
    pub fn prepare(&mut self, key: &HashedKey<'_>) {
        // SAFETY: as in `find`.
        unsafe { self.shared.table.prefetch_found(key) };
        self.reclaim.trickle(self.arena.as_mut().expect("taken by drop only"));
    }

    /// New keys are put in order all together, by [`IndexWriter::end_loading`] or before the next scan: for recovery.
    pub fn begin_loading(&mut self) {
        self.order.begin_loading();
    }

    /// Ends [`IndexWriter::begin_loading`].
    pub fn end_loading(&mut self) {
        // SAFETY: entries in the order are linked, and nothing is freed while `self` is borrowed.
        unsafe { self.order.end_loading() };
    }

    /// The newest version installed for a key, published or not; `None` if the key is not there at all.
    #[inline]
    #[must_use]
    pub fn head(&self, key: &HashedKey<'_>) -> Option<NodeView<'_>> {
        let found = self.find(key)?;
        // SAFETY: linked, and not freed while `self` is borrowed; bodies of linked nodes are not written.
        Some(NodeView::new(unsafe { (*found.node).read(|body| &*ptr::from_ref(body)) }))
    }

    /// What a key was at a version: one that is published, pinned, or retained for its run.
    #[must_use]
    pub fn get_at(&self, key: &HashedKey<'_>, at: Version) -> Option<NodeView<'_>> {
        let found = self.find(key)?;
        // SAFETY: linked, and not freed while `self` is borrowed.
        unsafe { visible(found.node, at) }
    }

    /// Installs a version: a value, or with `None` a deletion. Tells how many bytes it adds and takes away.
    ///
    /// Deleting a key that is not there installs nothing. The old version, if any, is freed by a later
    /// [`IndexWriter::collect`], when nobody sees it any more.
    ///
    /// # Panics
    /// Here (in builds with debug assertions) or when the old version is freed, if the key has this version or a later one
    /// already: a transaction writes a key once, and versions increase.
    #[inline]
    pub fn install(
        &mut self,
        key: &HashedKey<'_>,
        version: Version,
        timestamp: Timestamp,
        expires_at: Option<Timestamp>,
        value: Option<Value>,
    ) -> Installed {
        // Values are far shorter than 4 GiB; 0 says that there is none.
        let value_bytes = value.as_ref().map_or(0, |value| codec::encoded_len(value) as u32);
        self.reclaim.trickle(self.arena.as_mut().expect("taken by drop only"));
        let found = self.find(key);
        // SAFETY: linked, and not freed while `self` is borrowed.
        let old_bytes = found.map_or(0, |found| unsafe { (*found.entry).value_bytes.get() });
        let installed = Installed {
            added: NonZeroU32::new(value_bytes),
            replaced: NonZeroU32::new(old_bytes),
            is_new: found.is_none() && value_bytes != 0,
        };
        // A deletion of what is not there, or not there any more, changes nothing: as a version it would be a conflict to those
        // who read that there is nothing.
        if value_bytes == 0 && old_bytes == 0 {
            return installed;
        }
        self.installed = self.installed.max(version.0);
        let node = self.arena.as_mut().expect("taken by drop only").allocate_node();
        let expires_at = expires_at.map_or(NEVER, |at| at.0);
        let entry = found.map_or(ptr::null_mut(), |found| found.entry);
        let new = Body { version: version.0, timestamp: timestamp.0, expires_at, entry, value };
        let Some(found) = found else {
            self.insert(key, node, new, value_bytes);
            return installed;
        };
        // The old version is not looked at: its cache line is on its way, and nothing here waits for it.
        // SAFETY: the node is ours alone until it is linked; the entry is linked. The links are Relaxed: the table's Release
        // comes after them.
        unsafe {
            debug_assert!(
                (*found.node).read(|body| body.version) < version.0,
                "a version of a key that has version {} already",
                (*found.node).read(|body| body.version)
            );
            (*node).write(|body| *body = new);
            (*node).prev.store(found.node, Ordering::Relaxed);
            (*found.entry).head.store(node, Ordering::Relaxed);
            (*found.entry).value_bytes.set(value_bytes);
        }
        self.table.update(&found, key.hash, node);
        self.reclaim.supersede(node, version.0);
        installed
    }

    fn insert(&mut self, key: &HashedKey<'_>, node: *mut Node, mut new: Body, value_bytes: u32) {
        let arena = self.arena.as_mut().expect("taken by drop only");
        new.entry = arena.allocate_entry(&key.key, node, value_bytes);
        let entry = new.entry;
        // SAFETY: the node is ours alone until it is linked.
        unsafe {
            (*node).write(|body| *body = new);
            (*node).prev.store(ptr::null_mut(), Ordering::Relaxed);
        }
        self.table.insert(&self.shared.table, arena, &self.shared.hasher, key.hash, node);
        self.retire_table_parts();
        // SAFETY: the entry stays live until `unlink` takes it out.
        unsafe { self.order.insert(&key.key, entry) };
        self.keys += 1;
    }

    fn retire_table_parts(&mut self) {
        if !self.table.retired.is_empty() {
            let committed = self.shared.epoch.committed();
            for retired in self.table.retired.drain(..) {
                self.reclaim.retire(committed, retired);
            }
        }
    }

    /// No snapshot is before this version, and none will be. Follows what is published by some commits.
    #[must_use]
    pub fn unpinned_through(&self) -> Version {
        Version(self.reclaim.unpinned_through())
    }

    /// Makes everything installed up to `version` visible, at once.
    #[inline]
    pub fn publish(&mut self, version: Version) {
        debug_assert!(version.0 >= self.shared.epoch.committed(), "publication goes forwards");
        self.shared.epoch.publish(version.0);
        self.commits_since_collect += 1;
    }

    /// Looks at who reads what, if enough has been published since the last time: what nobody can see any more is freed by the
    /// installations that follow, a little by each. To be called after every commit, or at least once a turn.
    #[inline]
    pub fn maintain(&mut self) {
        if self.reclaim.has_more() {
            let arena = self.arena.as_mut().expect("taken by drop only");
            self.reclaim.go_on(self.shared.epoch.committed(), arena);
        }
        if self.commits_since_collect >= COLLECT_INTERVAL_COMMITS {
            self.collect_some(true);
        }
    }

    /// Frees what nobody can see any more, in a bounded number of steps.
    pub fn collect(&mut self) {
        self.collect_some(false);
    }

    fn collect_some(&mut self, lazy: bool) {
        self.commits_since_collect = 0;
        let arena = self.arena.as_mut().expect("taken by drop only");
        self.reclaim.collect(&self.shared.epoch, arena, lazy);
        while let Some(entry) = self.reclaim.unlink.pop() {
            self.unlink(entry);
        }
        self.retire_table_parts();
    }

    /// Takes a deleted key out of table and order.
    fn unlink(&mut self, entry: *mut Entry) {
        // SAFETY: linked until here, and freed only after no reader can stand on it.
        let key = unsafe { Entry::key(entry) };
        let hashed = self.hashed(self.run_hash(&key.run), key);
        let found = self.find(&hashed);
        debug_assert!(found.is_some_and(|found| found.entry == entry), "a linked entry is in the table");
        let Some(found) = found else { return };
        let arena = self.arena.as_mut().expect("taken by drop only");
        self.table.remove(&self.shared.table, arena, &self.shared.hasher, hashed.hash, &found);
        // SAFETY: entries in the order are linked; this one is freed later.
        unsafe { self.order.remove(&key, entry) };
        self.reclaim.bury(entry, self.shared.epoch.committed());
        self.keys -= 1;
    }

    /// Keeps what is visible at `version` in a run, for a fork, until [`IndexWriter::release`] undoes it.
    ///
    /// To be called while the version is visible: it is the newest published, or pinned, or retained for this run.
    pub fn retain(&mut self, run: RunId, version: Version) -> Retention {
        self.reclaim.retain(run, version.0);
        Retention::new(self.reader(), run, version)
    }

    /// Undoes an [`IndexWriter::retain`]; reads through clones of the retention fail from now on. Returns whether it was
    /// still in force.
    pub fn release(&mut self, retention: &Retention) -> bool {
        retention.end() && self.reclaim.release(retention.run(), retention.version().0, retention.is_left())
    }

    /// The fork that something is retained for is gone, and only snapshots may see it yet: what is held for it counts as held by
    /// snapshots from here on. To be released all the same.
    pub fn leave(&mut self, retention: &Retention) {
        if retention.leave() {
            self.reclaim.leave(retention.run(), retention.version().0);
        }
    }

    /// Says at which version the first fork went whose retention waits for snapshots to be given back: those that are older may
    /// expire for it.
    pub fn set_oldest_left(&mut self, at: Option<Version>) {
        self.reclaim.set_oldest_left(at.map(|at| at.0));
    }

    /// The oldest version that is retained of a run.
    #[must_use]
    pub fn oldest_retained(&self, run: RunId) -> Option<Version> {
        self.reclaim.oldest_retained(run).map(Version)
    }

    /// The first run behind `after` of which a version is retained.
    #[must_use]
    pub fn retained_after(&self, after: Option<RunId>) -> Option<RunId> {
        self.reclaim.retained_after(after)
    }

    /// Shows one page of what is retained of a run that is not visible at `at`, a version that is published or pinned: for
    /// each key, oldest first, the versions that are visible at a retained version before, and last the deletion that is visible
    /// at `at`, if it is one. So a key whose versions are installed in that order, and then what is visible at `at`, reads the same
    /// at all of these versions. Of the retained versions, with how often each is, only those count that `counts` says.
    pub fn scan_retained(
        &mut self,
        range: &ScanRange<'_>,
        at: Version,
        keys: usize,
        counts: impl Fn(Version, usize) -> bool,
        mut visit: impl FnMut(KeyRef<'_>, NodeView<'_>),
    ) -> PageEnd<'_> {
        let retained = self.reclaim.retained_counts_of(range.run);
        let retained =
            retained.filter(|(version, count)| *version < at.0 && counts(Version(*version), *count));
        let retained: Vec<u64> = retained.map(|(version, _)| version).collect();
        let (mut looked_at, mut end) = (0, PageEnd::Done);
        let mut found: Vec<NodeView<'_>> = Vec::new();
        let step = |entry: *mut Entry| {
            // SAFETY: entries in the order are linked, and nothing is freed while `self` is borrowed.
            let key = unsafe { Entry::key(entry) };
            found.clear();
            // SAFETY: as above.
            let head = unsafe { Entry::head(entry) };
            // SAFETY: as above.
            let now = unsafe { visible(head, at) };
            for version in retained.iter().rev() {
                // SAFETY: as above.
                let Some(node) = (unsafe { visible(head, Version(*version)) }) else { break };
                if found.last().or(now.as_ref()).is_none_or(|newer| newer.version > node.version) {
                    found.push(node);
                }
            }
            // A deletion with nothing before it is as good as no key.
            while found.last().is_some_and(|node| node.value.is_none()) {
                found.pop();
            }
            if !found.is_empty() {
                found.iter().rev().for_each(|node| visit(key, *node));
                now.filter(|node| node.value.is_none()).into_iter().for_each(|node| visit(key, node));
            }
            looked_at += 1;
            if looked_at >= keys {
                end = PageEnd::After(key);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        // SAFETY: this is the writer.
        unsafe { self.order.visit(&range.as_range(), false, step) };
        end
    }

    /// Shows one page of what is visible at `at` in a range, in order.
    ///
    /// `at` is a version that is published, pinned, or retained for the run; whether a pin still holds is to be checked
    /// after the scan. The visitor says whether it takes the row: rows it does not take (such as expired ones) do not
    /// count. Go on with a range that begins (or ends) past the key in [`PageEnd::After`].
    pub fn scan(
        &mut self,
        range: &ScanRange<'_>,
        direction: Direction,
        at: Version,
        limit: PageLimit,
        mut visit: impl FnMut(Row<'_>) -> bool,
    ) -> PageEnd<'_> {
        let (mut rows, mut keys, mut end) = (0, 0, PageEnd::Done);
        let backwards = direction == Direction::Backwards;
        let step = |entry: *mut Entry| {
            // SAFETY: entries in the order are linked, and nothing is freed while `self` is borrowed.
            let key = unsafe { Entry::key(entry) };
            // SAFETY: as above.
            if let Some(node) = unsafe { visible(Entry::head(entry), at) }
                && node.value.is_some()
            {
                rows += usize::from(visit(Row { key, node }));
            }
            keys += 1;
            if rows >= limit.rows || keys >= limit.keys {
                end = PageEnd::After(key);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        // SAFETY: this is the writer.
        unsafe { self.order.visit(&range.as_range(), backwards, step) };
        end
    }

    /// Whether every deletion after `version` is still to be found: so it is while the version is pinned, and no longer for
    /// certain once the pin is given back or has expired.
    #[must_use]
    pub fn remembers(&self, version: Version) -> bool {
        version.0 >= self.reclaim.forgotten()
    }

    /// The first key of a range that was written or deleted after `version`, published or not.
    ///
    /// Exact while `version` is pinned: until then no deletion after it is taken out.
    pub fn range_changed_since(&mut self, range: &ScanRange<'_>, version: Version) -> Option<KeyRef<'_>> {
        let mut changed = None;
        let step = |entry: *mut Entry| {
            // SAFETY: entries in the order are linked, as are their heads.
            let newest = unsafe { (*Entry::head(entry)).read(|body| body.version) };
            if newest <= version.0 {
                return ControlFlow::Continue(());
            }
            // SAFETY: as above.
            changed = Some(unsafe { Entry::key(entry) });
            ControlFlow::Break(())
        };
        // SAFETY: this is the writer.
        unsafe { self.order.visit(&range.as_range(), false, step) };
        changed
    }

    /// What the index holds.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        let arena = self.arena.as_ref().expect("taken by drop only");
        IndexStats {
            keys: self.keys,
            versions: arena.live_nodes,
            slab_bytes: arena.bytes(),
            table_bytes: self.table.bytes,
            order_bytes: self.order.bytes(),
            held_bytes: self.reclaim.held_bytes,
            waiting: self.reclaim.waiting(),
            pins: self.shared.epoch.pins_in_use(),
            expired_pins: self.reclaim.expired_pins,
            max_entries_moved: self.table.max_entries_moved,
        }
    }
}

/// The newest version at or before `at`.
///
/// # Safety
/// The chain is not pruned while the result is used: the caller is the writer.
unsafe fn visible<'a>(mut node: *mut Node, at: Version) -> Option<NodeView<'a>> {
    while !node.is_null() {
        // SAFETY: linked, says the caller.
        let body = unsafe { (*node).read(|body| &*ptr::from_ref(body)) };
        if body.version <= at.0 {
            return Some(NodeView::new(body));
        }
        // SAFETY: as above.
        node = unsafe { (*node).prev.load(Ordering::Relaxed) };
    }
    None
}

impl Drop for IndexWriter {
    fn drop(&mut self) {
        // Readers may live on: what is still linked goes with the last of them.
        self.shared.inherit(self.arena.take());
    }
}
