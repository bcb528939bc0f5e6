//! What becomes of superseded versions and unlinked memory.
//!
//! A version installed at `a` and superseded at `b` can be seen by registrations `p` with `a <= p < b` and by nobody
//! else, now or later, once `b` is not past the horizon. From there:
//!
//! | registrations | the version |
//! |---|---|
//! | all at `b` or later | freed at once: nobody walks past the one that superseded it |
//! | a traversal, but no pin, below `b` | waits: the traversal is over by the next collection |
//! | a pin below `b`, but nobody in `a..b` | unlinked from inside its chain, and freed when all traversals have moved on |
//! | somebody in `a..b` | held; looked at again when that registration is gone |
//!
//! A deleted key goes when its deletion is all that is left of it and everybody can see the deletion.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use super::arena::Arena;
use super::epoch::{Epoch, Scan};
use super::limits::{COLLECT_INTERVAL_COMMITS, COLLECT_STEPS, PREFETCH_DISTANCE};
use super::node::{Entry, Node, prefetch_to_free};
use super::table::Retired;
use crate::sync::Ordering;
use in_mem_model::{RunId, Value};

/// `newer` was installed at `version` over its `prev`.
struct Superseded {
    newer: *mut Node,
    version: u64,
}

/// A linked version that somebody could see when it was last looked at.
struct Held {
    node: *mut Node,
    /// The version that superseded it.
    until: u64,
}

/// Versions that are held for one retained version of a run.
#[derive(Default)]
struct HeldByRun {
    held: Vec<Held>,
    bytes: usize,
}

/// How often a version of a run is retained.
#[derive(Default)]
struct Retained {
    count: usize,
    /// Of these, those that are kept for snapshots only: the fork is gone.
    left: usize,
}

impl Retained {
    fn is_left(&self) -> bool {
        self.left == self.count
    }
}

/// A key whose newest version is a deletion.
struct Tombstone {
    entry: *mut Entry,
    version: u64,
}

/// Unlinked memory that a traversal may still stand on.
enum Garbage {
    Node(*mut Node),
    Entry(*mut Entry),
    Table(Retired),
}

/// Everything the writer has to get rid of, oldest first.
pub(super) struct Reclaim {
    superseded: VecDeque<Superseded>,
    /// By the registration that holds them.
    held_by_registration: BTreeMap<u64, Vec<Held>>,
    held_by_run: HashMap<(RunId, u64), HeldByRun>,
    /// Held until a registration that is gone now.
    recheck: Vec<Vec<Held>>,
    tombstones: VecDeque<Tombstone>,
    limbo: VecDeque<(u64, Garbage)>,
    /// Versions of runs that something outside still needs, with how often.
    retained: BTreeMap<(RunId, u64), Retained>,
    /// The oldest version at which a fork went whose parent's version is retained yet.
    oldest_left: Option<u64>,
    versions: Vec<u64>,
    /// Keys that the caller is to unlink.
    pub(super) unlink: Vec<*mut Entry>,
    /// Bytes of superseded versions that somebody holds.
    pub(super) held_bytes: usize,
    /// Those of them that are unlinked, and wait for traversals only.
    limbo_bytes: usize,
    /// Those of them that forks hold which are there: no snapshot is to blame for them.
    fork_bytes: usize,
    pub(super) snapshot_bytes_limit: usize,
    pub(super) expired_pins: usize,
    /// Superseded since the last collection, and since the last trickle.
    installs: usize,
    fresh: usize,
    /// How many to free at a commit, so that what was there at the last collection is gone by the next.
    share: usize,
    /// Of `installs`, those that [`Reclaim::go_on`] has gone on for.
    gone_on: usize,
    /// What the last scan found.
    scan: Scan,
    /// The most that its `safe` ever was: deletions up to here may be taken out, and with them every trace of the key.
    forgotten: u64,
}

/// What the visibility of one superseded version comes to.
enum Holder {
    Nobody,
    Registration(u64),
    Run(RunId, u64),
}

impl Reclaim {
    pub(super) fn new(snapshot_bytes_limit: usize) -> Self {
        Self {
            superseded: VecDeque::new(),
            held_by_registration: BTreeMap::new(),
            held_by_run: HashMap::new(),
            recheck: Vec::new(),
            tombstones: VecDeque::new(),
            limbo: VecDeque::new(),
            retained: BTreeMap::new(),
            oldest_left: None,
            versions: Vec::new(),
            unlink: Vec::new(),
            held_bytes: 0,
            limbo_bytes: 0,
            fork_bytes: 0,
            snapshot_bytes_limit,
            expired_pins: 0,
            installs: 0,
            fresh: 0,
            share: 0,
            gone_on: 0,
            scan: Scan::default(),
            forgotten: 0,
        }
    }

    /// `newer` was installed over another version.
    #[inline]
    pub(super) fn supersede(&mut self, newer: *mut Node, version: u64) {
        self.superseded.push_back(Superseded { newer, version });
        self.prefetch_value();
        self.installs += 1;
        self.fresh += 1;
    }

    /// Begins to fetch the value that was superseded a few installations ago: its version was being fetched then and has come
    /// meanwhile, and when it is freed nothing has to be waited for.
    #[inline]
    fn prefetch_value(&self) {
        let Some(place) = self.superseded.len().checked_sub(PREFETCH_DISTANCE) else { return };
        if cfg!(inmem_loom) {
            return;
        }
        let Superseded { newer, .. } = self.superseded[place];
        // SAFETY: as in `free_oldest`: `newer` is linked, and so is the version it was installed over.
        unsafe {
            let older = (*newer).prev.load(Ordering::Relaxed);
            (*older).read(|body| prefetch_to_free(body.value.as_ref()));
        }
    }

    /// Something was unlinked while versions past `committed` were pending.
    pub(super) fn retire(&mut self, committed: u64, retired: Retired) {
        self.limbo.push_back((stamp(committed), Garbage::Table(retired)));
    }

    /// Keeps what is visible at `version` in the run.
    pub(super) fn retain(&mut self, run: RunId, version: u64) {
        self.count(run, version, |retained| retained.count += 1);
    }

    /// One [`Reclaim::retain`] is only for snapshots from here on.
    pub(super) fn leave(&mut self, run: RunId, version: u64) {
        self.count(run, version, |retained| retained.left += 1);
    }

    /// The oldest version at which a fork went that snapshots may see.
    pub(super) fn set_oldest_left(&mut self, at: Option<u64>) {
        self.oldest_left = at;
    }

    /// Changes how often a version is retained; gives what is left of that. What is held for it counts for its forks as long as there
    /// are any.
    fn count(&mut self, run: RunId, version: u64, change: impl FnOnce(&mut Retained)) -> usize {
        let retained = self.retained.entry((run, version)).or_default();
        let was_forks = !retained.is_left();
        change(retained);
        let (is_forks, count) = (!retained.is_left(), retained.count);
        if was_forks != is_forks {
            let bytes = self.held_by_run.get(&(run, version)).map_or(0, |held| held.bytes);
            if is_forks {
                self.fork_bytes += bytes;
            } else {
                self.fork_bytes -= bytes;
            }
        }
        count
    }

    /// Undoes one [`Reclaim::retain`], and the [`Reclaim::leave`] that came behind it, if one did; whether there was one.
    pub(super) fn release(&mut self, run: RunId, version: u64, was_left: bool) -> bool {
        if !self.retained.contains_key(&(run, version)) {
            return false;
        }
        let count = self.count(run, version, |retained| {
            retained.count -= 1;
            retained.left -= usize::from(was_left);
        });
        if count == 0 {
            self.retained.remove(&(run, version));
            self.recheck.extend(self.held_by_run.remove(&(run, version)).map(|by_run| by_run.held));
            // A read of it may have registered since the last scan, at a version before that scan's horizon: it counts as one that
            // the scan saw, until the next.
            if !cfg!(inmem_mutant = "release_forgets_readers") {
                if let Err(place) = self.versions.binary_search(&version) {
                    self.versions.insert(place, version);
                }
                self.scan.safe = self.scan.safe.min(version);
                self.scan.quiescent = self.scan.quiescent.min(version);
            }
        }
        true
    }

    /// No snapshot is before this, and none will be: as of the last scan.
    pub(super) fn unpinned_through(&self) -> u64 {
        self.scan.oldest_pin
    }

    /// The oldest version retained of a run.
    pub(super) fn oldest_retained(&self, run: RunId) -> Option<u64> {
        self.retained_of(run).next()
    }

    /// The versions retained of a run, oldest first.
    pub(super) fn retained_of(&self, run: RunId) -> impl DoubleEndedIterator<Item = u64> {
        self.retained.range((run, 0)..=(run, u64::MAX)).map(|((_, version), _)| *version)
    }

    /// The versions retained of a run with how often, oldest first.
    pub(super) fn retained_counts_of(&self, run: RunId) -> impl Iterator<Item = (u64, usize)> {
        self.retained
            .range((run, 0)..=(run, u64::MAX))
            .map(|((_, version), retained)| (*version, retained.count))
    }

    /// The first run behind `after` of which something is retained.
    pub(super) fn retained_after(&self, after: Option<RunId>) -> Option<RunId> {
        let lower = after.map_or(Bound::Unbounded, |run| Bound::Excluded((run, u64::MAX)));
        self.retained.range((lower, Bound::Unbounded)).next().map(|((run, _), _)| *run)
    }

    /// Up to which version deletions may have been taken out.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Versions, keys and table parts that wait for somebody.
    pub(super) fn waiting(&self) -> usize {
        let by_run = self.held_by_run.values().map(|by_run| &by_run.held);
        let held: usize = self.held_by_registration.values().chain(by_run).map(Vec::len).sum();
        let recheck: usize = self.recheck.iter().map(Vec::len).sum();
        self.superseded.len() + held + recheck + self.tombstones.len() + self.limbo.len()
    }

    /// Frees some of what the last scan found that nobody can see: as much as was superseded since the last time, where
    /// that keeps up, and twice that at most.
    ///
    /// A little at every commit instead of all at a collection, and no faster than values come: an allocator that has just
    /// been given a value back has it at hand for the next one, and keeps only a few so.
    #[inline]
    pub(super) fn trickle(&mut self, arena: &mut Arena) {
        let steps = self.share.min(2 * std::mem::take(&mut self.fresh));
        if steps == 0 || !self.retained.is_empty() {
            return;
        }
        for _ in 0..steps {
            match self.superseded.front() {
                Some(record) if record.version <= self.scan.safe => self.free_oldest(arena),
                _ => return,
            }
        }
    }

    /// Whether there is something that [`Reclaim::trickle`] leaves: somebody sees, or saw until now, what was superseded.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        self.scan.oldest_pin < self.scan.horizon
            || !self.recheck.is_empty()
            || !self.limbo.is_empty()
            || !self.retained.is_empty()
    }

    /// Goes on from what the last scan found, by twice as much as was superseded since the last time: holds what somebody can see,
    /// and frees what nobody can any more.
    ///
    /// A little at every commit instead of all at a collection: beside a snapshot, or behind one that was given back, no commit
    /// waits for hundreds of versions to be looked at. What the scan found stays true of all that was committed then: whoever
    /// registered since did so at that or later, or at a version that was retained, which [`Reclaim::release`] sees to.
    pub(super) fn go_on(&mut self, committed: u64, arena: &mut Arena) {
        let mut steps = 2 * (self.installs - self.gone_on) + 2;
        self.gone_on = self.installs;
        let scan = self.scan;
        let mut left_over = steps;
        if scan.oldest_pin < scan.horizon || !self.retained.is_empty() {
            self.superseded_pass(&scan, committed, arena, &mut steps);
        }
        self.free_limbo(&scan, arena, &mut left_over);
        self.held_pass(&scan, committed, arena, &mut left_over);
    }

    /// Frees what the oldest record superseded. Everybody is at its version or later, now and from now on, and nothing is
    /// retained.
    #[inline]
    fn free_oldest(&mut self, arena: &mut Arena) {
        let Some(Superseded { newer, version }) = self.superseded.pop_front() else { return };
        // SAFETY: `newer` is linked: only its own record, which comes after this one, unlinks it. Its `prev` is the version
        // it was installed over, for only this record unlinks that one.
        unsafe {
            let older = (*newer).prev.load(Ordering::Relaxed);
            let since = (*older).read(|body| body.version);
            assert!(since < version, "a version of a key that has version {since} already: it got {version}");
            unlink_after(newer, older);
            let (is_tombstone, entry) = (*newer).read(|body| (body.value.is_none(), body.entry));
            // Every registration is at `version` or later and stops at `newer` or before; later ones as well.
            arena.free_node(older);
            if is_tombstone {
                self.tombstones.push_back(Tombstone { entry, version });
            }
        }
    }

    /// Scans the registrations and takes a bounded number of steps. With `lazy`, all but deleted keys is left to
    /// [`Reclaim::trickle`] and [`Reclaim::go_on`]. Fills `unlink` with keys that are to be taken out of table and order, and then given to
    /// [`Reclaim::bury`].
    pub(super) fn collect(&mut self, epoch: &Epoch, arena: &mut Arena, lazy: bool) {
        let mut steps = COLLECT_STEPS + 2 * std::mem::take(&mut self.installs);
        let scan = epoch.scan(&mut self.versions);
        self.scan = scan;
        self.gone_on = 0;
        self.share = self.superseded.len().div_ceil(COLLECT_INTERVAL_COMMITS as usize);
        self.forgotten = self.forgotten.max(scan.safe);
        self.find_released();
        if !lazy {
            let committed = epoch.committed();
            self.free_limbo(&scan, arena, &mut steps);
            self.superseded_pass(&scan, committed, arena, &mut steps);
            self.held_pass(&scan, committed, arena, &mut steps);
        }
        self.tombstone_pass(&scan, &mut steps);
        self.expire(epoch, &scan);
    }

    fn free_limbo(&mut self, scan: &Scan, arena: &mut Arena, steps: &mut usize) {
        while *steps > 0
            && let Some((stamp, _)) = self.limbo.front()
            && (*stamp <= scan.quiescent || cfg!(inmem_mutant = "free_without_stamp"))
        {
            *steps -= 1;
            match self.limbo.pop_front() {
                // SAFETY: unlinked while `stamp` was pending. Every traversal is at `stamp` or later; it learned of that
                // version by an Acquire of a publication after the unlinking, so it cannot have come here.
                Some((_, Garbage::Node(node))) => unsafe {
                    let bytes = weight(node);
                    self.held_bytes -= bytes;
                    self.limbo_bytes -= bytes;
                    arena.free_node(node);
                },
                // SAFETY: as above.
                Some((_, Garbage::Entry(entry))) => unsafe { arena.free_entry(entry) },
                // SAFETY: as above.
                Some((_, Garbage::Table(retired))) => unsafe { retired.free(arena) },
                None => return,
            }
        }
    }

    fn superseded_pass(&mut self, scan: &Scan, committed: u64, arena: &mut Arena, steps: &mut usize) {
        while *steps > 0
            && let Some(&Superseded { newer, version }) = self.superseded.front()
            // Past the horizon a reader may yet register where it can see the older version.
            && version <= scan.horizon
        {
            let free_at_once = scan.safe >= version || cfg!(inmem_mutant = "ignore_readers");
            if !free_at_once && scan.oldest_pin >= version {
                // Only a traversal is in the way.
                return;
            }
            *steps -= 1;
            if free_at_once && self.retained.is_empty() {
                self.free_oldest(arena);
                continue;
            }
            self.superseded.pop_front();
            // SAFETY: as in `free_oldest`.
            unsafe {
                let older = (*newer).prev.load(Ordering::Relaxed);
                self.held_bytes += weight(older);
                self.settle(Held { node: older, until: version }, Some(newer), committed);
                let (is_tombstone, entry) = (*newer).read(|body| (body.value.is_none(), body.entry));
                if is_tombstone {
                    self.tombstones.push_back(Tombstone { entry, version });
                }
            }
        }
    }

    /// Finds what was held by registrations that are gone.
    fn find_released(&mut self) {
        let gone =
            self.held_by_registration.keys().filter(|version| self.versions.binary_search(version).is_err());
        for version in gone.copied().collect::<Vec<_>>() {
            self.recheck.extend(self.held_by_registration.remove(&version));
        }
    }

    /// Looks at what was held by registrations that are gone.
    fn held_pass(&mut self, scan: &Scan, committed: u64, arena: &mut Arena, steps: &mut usize) {
        while *steps > 0
            && let Some(batch) = self.recheck.last_mut()
        {
            *steps -= 1;
            let Some(held) = batch.pop() else {
                self.recheck.pop();
                continue;
            };
            if scan.safe >= held.until && self.retained.is_empty() {
                // SAFETY: held, so linked.
                unsafe {
                    unlink_after(newer_of(held.node), held.node);
                    self.held_bytes -= weight(held.node);
                    // Every registration is at `until` or later, as in `superseded_pass`.
                    arena.free_node(held.node);
                }
            } else {
                self.settle(held, None, committed);
            }
        }
    }

    /// Holds a version for whoever can see it, or unlinks it.
    fn settle(&mut self, held: Held, newer: Option<*mut Node>, committed: u64) {
        // SAFETY: held, so linked; its entry is live as long as it has versions.
        let (since, run) = unsafe { (*held.node).read(|body| (body.version, Entry::key(body.entry).run)) };
        match self.holder(since, held.until, run) {
            Holder::Registration(version) => self.held_by_registration.entry(version).or_default().push(held),
            Holder::Run(run, version) => {
                // SAFETY: linked, as above.
                let bytes = unsafe { weight(held.node) };
                let by_run = self.held_by_run.entry((run, version)).or_default();
                by_run.held.push(held);
                by_run.bytes += bytes;
                if self.retained.get(&(run, version)).is_some_and(|retained| !retained.is_left()) {
                    self.fork_bytes += bytes;
                }
            }
            Holder::Nobody => {
                // SAFETY: linked, as above.
                unsafe { unlink_after(newer.unwrap_or_else(|| newer_of(held.node)), held.node) };
                // SAFETY: unlinked, not freed.
                self.limbo_bytes += unsafe { weight(held.node) };
                self.limbo.push_back((stamp(committed), Garbage::Node(held.node)));
            }
        }
    }

    /// Who can see a version installed at `since` and superseded at `until`.
    fn holder(&self, since: u64, until: u64, run: RunId) -> Holder {
        if let Some((&(_, version), _)) = self.retained.range((run, since)..(run, until)).next_back() {
            return Holder::Run(run, version);
        }
        let below = self.versions.partition_point(|&version| version < until);
        match self.versions[..below].last() {
            Some(&version) if version >= since => Holder::Registration(version),
            _ => Holder::Nobody,
        }
    }

    /// Finds deleted keys that nobody can see before their deletion.
    fn tombstone_pass(&mut self, scan: &Scan, steps: &mut usize) {
        let mut waiting = self.tombstones.len();
        while *steps > 0
            && waiting > 0
            && let Some(&Tombstone { entry, version }) = self.tombstones.front()
            && version <= scan.safe
        {
            *steps -= 1;
            waiting -= 1;
            let record = self.tombstones.pop_front();
            // SAFETY: the entry is linked: only the record of its newest deletion unlinks it, and records of older ones come
            // before that.
            let (is_newest, is_alone) = unsafe {
                let head = Entry::head(entry);
                let is_newest = (*head).read(|body| body.version == version && body.value.is_none());
                (is_newest, (*head).prev.load(Ordering::Relaxed).is_null())
            };
            if is_newest && is_alone {
                self.unlink.push(entry);
            } else if is_newest {
                // Older versions are held for a retained version of the run, or wait to be looked at.
                self.tombstones.extend(record);
            }
        }
    }

    /// A key that was taken out of table and order: it and its deletion go when no traversal can stand on them.
    pub(super) fn bury(&mut self, entry: *mut Entry, committed: u64) {
        // SAFETY: unlinked, not freed.
        let head = unsafe { Entry::head(entry) };
        // SAFETY: as above.
        let bytes = unsafe { weight(head) };
        self.held_bytes += bytes;
        self.limbo_bytes += bytes;
        self.limbo.push_back((stamp(committed), Garbage::Node(head)));
        self.limbo.push_back((stamp(committed), Garbage::Entry(entry)));
    }

    /// Takes the oldest snapshots away when they hold too much.
    fn expire(&mut self, epoch: &Epoch, scan: &Scan) {
        let held_by_pins = scan.oldest_pin < scan.horizon
            && self.recheck.is_empty()
            && match self.oldest_left {
                None => !self.held_by_registration.is_empty(),
                // What went before the oldest snapshot is about to be released.
                Some(at) => at > scan.oldest_pin,
            };
        let bytes = self.held_bytes - self.limbo_bytes - self.fork_bytes;
        if bytes > self.snapshot_bytes_limit && held_by_pins {
            self.expired_pins += epoch.expire(scan.oldest_pin);
        }
    }
}

/// Any version past `committed` was pending when something was unlinked; a reader registered at one has seen that.
fn stamp(committed: u64) -> u64 {
    committed + 1
}

/// Takes `node` out of its chain.
///
/// # Safety
/// `newer` is linked and its `prev` is `node`.
unsafe fn unlink_after(newer: *mut Node, node: *mut Node) {
    // SAFETY: both are linked. `node.prev` stays as it is: a traversal may stand on `node`. Release pairs with the Acquire
    // of readers that walk the chain.
    unsafe { (*newer).prev.store((*node).prev.load(Ordering::Relaxed), Ordering::Release) };
}

/// The version in front of a linked one that is not the newest.
///
/// # Safety
/// `node` is linked, and not the newest of its key.
unsafe fn newer_of(node: *mut Node) -> *mut Node {
    // SAFETY: every version of a chain is linked, and the chain of the entry leads to `node`. Pruned chains are no longer
    // than there are registrations.
    unsafe {
        let mut newer = Entry::head((*node).read(|body| body.entry));
        loop {
            let prev = (*newer).prev.load(Ordering::Relaxed);
            if prev == node {
                return newer;
            }
            newer = prev;
        }
    }
}

/// Bytes that a version keeps, near enough: nested values count their own list only.
///
/// # Safety
/// The node is not freed.
unsafe fn weight(node: *const Node) -> usize {
    // SAFETY: says the caller.
    let value = unsafe {
        (*node).read(|body| match &body.value {
            Some(Value::String(text)) => text.len(),
            Some(Value::Bytes(bytes)) => bytes.len(),
            Some(Value::Array(items)) => size_of_val(&**items),
            Some(Value::Object(fields)) => fields.len() * size_of::<(std::sync::Arc<str>, Value)>(),
            _ => 0,
        })
    };
    size_of::<Node>() + value
}
