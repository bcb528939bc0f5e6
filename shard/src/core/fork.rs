//! Forks: runs that begin as another run stands, and share what they do not change.
//!
//! A fork holds what it wrote itself. What it did not write is read from its parent, as the parent was when the fork was made:
//! the index retains that version for as long as a fork reads it. So a fork costs one entry, however much the parent holds. A
//! fork that deletes what its parent holds writes that down: under the `Run` tag, [`hidden_key`] says that the parent's value is
//! not to be seen.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use in_mem_model::{KeyBytes, RunId, Tag, Version, VersionedValue};
use smallvec::SmallVec;

use super::ShardCore;
use super::command::{Page, ScanRequest};
use super::event::{self, ChainHead, event_key};
use super::query::{PAGE_KEYS, PAGE_LIMIT, value_of};
use super::run_meta::RunMeta;
use super::run_state::RunState;
use super::streams::Streams;
use crate::index::{Direction, NodeView, PageEnd, PageLimit, Retention, ScanRange};

/// The most forks of forks, in levels.
pub const MAX_FORK_DEPTH: usize = 64;

/// First byte of a key, under the `Run` tag, that hides a parent's key.
pub const HIDDEN_PREFIX: u8 = 1;

/// First byte of the keys under the `Run` tag that a fork shares with its parent; those before are each run's own.
pub const SHARED_PREFIX: u8 = 2;

/// The key, under the `Run` tag, whose being there hides the parent's key from a fork.
pub fn hidden_key(tag: Tag, user: &[u8]) -> KeyBytes {
    let mut key = SmallVec::<[u8; 64]>::from_slice(&[HIDDEN_PREFIX, tag as u8]);
    key.extend_from_slice(user);
    KeyBytes::new(&key)
}

/// What a key under the `Run` tag hides, if it hides something.
pub fn hidden_of(key: &[u8]) -> Option<(Tag, &[u8])> {
    match key {
        [HIDDEN_PREFIX, tag, user @ ..] => Some((Tag::try_from(*tag).ok()?, user)),
        _ => None,
    }
}

/// Whether a fork sees its parent's key of this name at all.
pub fn is_shared(tag: Tag, user: &[u8]) -> bool {
    tag != Tag::Run || user.first().is_some_and(|first| *first >= SHARED_PREFIX)
}

/// What a fork reads where it has nothing of its own.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) parent: RunId,
    pub(crate) version: Version,
    pub(super) retention: Retention,
    /// The end of the parent's chain of events at the version.
    pub(super) head: ChainHead,
    /// What the parent appended to named streams. Set when the fork is made, or when what a checkpoint tells is all there.
    pub(super) streams: OnceLock<Arc<Streams>>,
    /// The parent's own, where it is a fork itself.
    pub(crate) above: Option<Arc<Fork>>,
    /// How many events the parent sees of what is above it.
    pub(super) above_events: u64,
    pub(super) depth: usize,
    /// How many of those who share this are gone: dropped forks, and forks whose own sharers are all gone. The shard alone counts.
    pub(super) gone: AtomicUsize,
}

/// A fork that was dropped. What it shared is held until nobody can see the fork any more: its drop is published, and no checkpoint of
/// a moment before it is under way, nor a snapshot open.
#[derive(Debug)]
pub(crate) struct DroppedFork {
    /// Of the commit that dropped it.
    pub(super) at: Version,
    pub(super) run: RunId,
    pub(super) first_version: Version,
    pub(super) chain: ChainHead,
    pub(super) shared_events: u64,
    /// Whether this process began it or took it over.
    pub(crate) adopted: bool,
    pub(super) fork: Arc<Fork>,
}

/// Which runs may be forks: one bit for many runs, never taken back. A reader that finds nothing in a run whose bit is set
/// asks the shard, which knows.
#[derive(Debug)]
pub struct ForkMarks([AtomicU64; 64]);

impl Default for ForkMarks {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 64])
    }
}

impl ForkMarks {
    fn place(run: RunId) -> (usize, u64) {
        let mut low = [0; 8];
        low.copy_from_slice(&run.as_bytes()[6..14]);
        let mixed = u64::from_le_bytes(low).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52;
        ((mixed >> 6) as usize, 1 << (mixed & 63))
    }

    pub(super) fn set(&self, run: RunId) {
        let (word, bit) = Self::place(run);
        // Release pairs with the Acquire in `may_be_fork`: who learned of the run sees its mark, which is set before the
        // run is published.
        self.0[word].fetch_or(bit, Ordering::Release);
    }

    /// Whether the run may be a fork; `false` is certain.
    #[inline]
    pub fn may_be_fork(&self, run: RunId) -> bool {
        let (word, bit) = Self::place(run);
        self.0[word].load(Ordering::Acquire) & bit != 0
    }
}

type Rows = Vec<(KeyBytes, Option<VersionedValue>)>;

impl ShardCore {
    /// Which runs may be forks, for readers.
    pub fn fork_marks(&self) -> Arc<ForkMarks> {
        self.fork_marks.clone()
    }

    /// What a run went on from at a version, where it was a fork then: also one that was dropped since, or that was made again.
    pub(super) fn fork_at(&self, run: RunId, at: Version) -> Option<&Fork> {
        match self.runs.get(&run).filter(|state| state.meta.first_version <= at) {
            Some(state) => state.fork.as_deref(),
            None => self
                .dropped_forks
                .iter()
                .find(|dropped| dropped.run == run && dropped.first_version <= at && at < dropped.at)
                .map(|dropped| &*dropped.fork),
        }
    }

    /// How many forks deep a run is.
    pub(super) fn fork_depth(&self, run: RunId) -> usize {
        self.runs.get(&run).and_then(|state| state.fork.as_ref()).map_or(0, |fork| fork.depth)
    }

    /// Makes a new run's state the state of a fork, where its meta says that it is one: it shares its parent as the parent is
    /// before the commit that makes the fork.
    pub(super) fn link_fork(&mut self, run: RunId, meta: &RunMeta, state: &mut RunState) {
        let Some(point) = meta.forked_from else { return };
        let version = Version(meta.first_version.0.saturating_sub(1));
        let retention = self.index.retain(point.run, version);
        self.note_changes_of(point.run, version);
        if in_mem_wal::planted::is_planted("shard_fork_holds_nothing") {
            self.index.release(&retention);
        }
        let (mut above, mut above_events, mut depth) = (None, 0, 1);
        let streams = OnceLock::new();
        if let Some(parent) = self.runs.get(&point.run) {
            state.chain = parent.chain;
            if let Some(of_parent) = &parent.streams {
                let _ = streams.set(of_parent.clone());
            }
            above.clone_from(&parent.fork);
            above_events = parent.shared_events;
            depth += above.as_ref().map_or(0, |fork: &Arc<Fork>| fork.depth);
        }
        let head = state.chain;
        state.shared_events = head.len;
        let parent = point.run;
        let gone = AtomicUsize::new(0);
        let fork = Fork { parent, version, retention, head, streams, above, above_events, depth, gone };
        state.fork = Some(Arc::new(fork));
        self.fork_marks.set(run);
    }

    /// Lets go of what dropped forks shared that nobody can see any more.
    pub(super) fn release_dropped_forks(&mut self) {
        let seen = self.published.min(self.index.unpinned_through());
        let seen = self.last_versions.moment().map_or(seen, |at| at.min(seen));
        while self.dropped_forks.front().is_some_and(|dropped| dropped.at <= seen) {
            let dropped = self.dropped_forks.pop_front();
            self.unlink_fork(dropped.map(|dropped| dropped.fork));
            self.index.set_oldest_left(self.dropped_forks.front().map(|dropped| dropped.at));
        }
    }

    /// A fork was dropped: what nobody shares but those who are gone is kept for snapshots only.
    pub(super) fn leave_fork(&mut self, dropped: DroppedFork) {
        let mut link = Some(&dropped.fork);
        while let Some(fork) = link {
            // Relaxed: the shard alone counts.
            let gone = fork.gone.fetch_add(1, Ordering::Relaxed) + 1;
            if gone < Arc::strong_count(fork) {
                break;
            }
            self.index.leave(&fork.retention);
            link = fork.above.as_ref();
        }
        self.dropped_forks.push_back(dropped);
        self.index.set_oldest_left(self.dropped_forks.front().map(|dropped| dropped.at));
    }

    /// Lets go of what a fork shared, unless others share it still.
    pub(super) fn unlink_fork(&mut self, fork: Option<Arc<Fork>>) {
        let mut link = fork;
        while let Some(fork) = link.and_then(|fork| {
            // One that is gone and shares it no more. Relaxed: the shard alone counts.
            let gone = fork.gone.load(Ordering::Relaxed);
            fork.gone.store(gone.saturating_sub(1), Ordering::Relaxed);
            Arc::into_inner(fork)
        }) {
            self.index.release(&fork.retention);
            self.forget_changes_of(fork.parent);
            link = fork.above;
        }
    }

    /// What a fork sees of a key that it has not written itself.
    pub(super) fn shared(&self, run: RunId, tag: Tag, user: &[u8], at: Version) -> Option<NodeView<'_>> {
        let mut fork = self.fork_at(run, at)?;
        if !is_shared(tag, user) {
            return None;
        }
        let hidden = hidden_key(tag, user);
        let (mut run, mut at) = (run, at);
        loop {
            let is_hidden = self.index.get_at(&self.hashed(run, Tag::Run, &hidden), at);
            if is_hidden.is_some_and(|node| node.value.is_some()) {
                return None;
            }
            (run, at) = (fork.parent, fork.version);
            if let Some(node) = self.index.get_at(&self.hashed(run, tag, user), at)
                && node.value.is_some()
            {
                return Some(node);
            }
            fork = fork.above.as_deref()?;
        }
    }

    /// Whether deleting the key in this run takes hiding what its parent has there.
    pub(super) fn must_hide(&self, run: RunId, tag: Tag, user: &[u8]) -> bool {
        self.shared(run, tag, user, self.version).is_some()
            && !in_mem_wal::planted::is_planted("shard_fork_hides_nothing")
    }

    /// A fork's log goes back to before an event that it hides.
    pub(super) fn note_hidden(&mut self, run: RunId, user: &[u8]) {
        let Some((Tag::Event, key)) = hidden_of(user) else { return };
        let Some(sequence) = event::event_sequence(key) else { return };
        let before = sequence
            .checked_sub(1)
            .and_then(|last| self.shared(run, Tag::Event, &event_key(last), self.version))
            .and_then(|node| event::split_stored(node.value?))
            .map_or(event::CHAIN_START, |(hash, _)| hash);
        let Some(state) = self.runs.get_mut(&run) else { return };
        if sequence < state.chain.len {
            state.chain = ChainHead { len: sequence, hash: before };
        }
        state.shared_events = state.shared_events.min(sequence);
    }

    /// The bounds of what hides keys of a range.
    pub(super) fn hidden_bounds(
        tag: Tag,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
    ) -> (Bound<KeyBytes>, Bound<KeyBytes>) {
        let lower = match lower {
            Bound::Included(key) => Bound::Included(hidden_key(tag, key)),
            Bound::Excluded(key) => Bound::Excluded(hidden_key(tag, key)),
            Bound::Unbounded => Bound::Included(hidden_key(tag, b"")),
        };
        let upper = match upper {
            Bound::Included(key) => Bound::Included(hidden_key(tag, key)),
            Bound::Excluded(key) => Bound::Excluded(hidden_key(tag, key)),
            Bound::Unbounded => Bound::Excluded(KeyBytes::new(&[HIDDEN_PREFIX, tag as u8 + 1])),
        };
        (lower, upper)
    }

    /// A page of a fork's keys: its own, and its parents' where neither it nor a fork between says otherwise.
    pub(super) fn scan_fork(&mut self, request: &ScanRequest, at: Version) -> Page {
        let mut layers: SmallVec<[(RunId, Version); 4]> = SmallVec::from_slice(&[(request.run, at)]);
        let mut fork = self.fork_at(request.run, at);
        while let Some(link) = fork {
            layers.push((link.parent, link.version));
            fork = link.above.as_deref();
        }
        let limit = request.limit.clamp(1, PAGE_LIMIT);
        // What the first layer that knows of a key says; nothing counts past the place where some layer's page ended.
        let mut merged: BTreeMap<KeyBytes, Option<VersionedValue>> = BTreeMap::new();
        let mut frontier: Option<KeyBytes> = None;
        let mut ends = |next: Option<KeyBytes>| {
            let Some(next) = next else { return };
            let nearer = match &frontier {
                None => true,
                Some(there) if request.reverse => next > *there,
                Some(there) => next < *there,
            };
            if nearer {
                frontier = Some(next);
            }
        };
        let shared = KeyBytes::new(&[SHARED_PREFIX]);
        for (depth, (run, at)) in layers.iter().enumerate() {
            let (lower, upper) = (request.lower.as_ref().map(|k| &**k), request.upper.as_ref().map(|k| &**k));
            let own_only = depth > 0 && request.tag == Tag::Run;
            let below = match lower {
                Bound::Included(key) | Bound::Excluded(key) => key < &*shared,
                Bound::Unbounded => true,
            };
            let from = if own_only && below { Bound::Included(&*shared) } else { lower };
            let (rows, next) = self.rows(*run, request.tag, (from, upper), request.reverse, *at, limit);
            ends(next);
            for (key, value) in rows {
                merged.entry(key).or_insert(value);
            }
            let bounds = Self::hidden_bounds(request.tag, lower, upper);
            let bounds = (bounds.0.as_ref().map(|k| &**k), bounds.1.as_ref().map(|k| &**k));
            let (hidden, next) = self.rows(*run, Tag::Run, bounds, request.reverse, *at, limit);
            ends(next.and_then(|key| hidden_of(&key).map(|(_, user)| KeyBytes::new(user))));
            for (key, _) in hidden {
                if let Some((_, user)) = hidden_of(&key) {
                    merged.entry(KeyBytes::new(user)).or_insert(None);
                }
            }
        }
        let within = |key: &KeyBytes| match &frontier {
            None => true,
            Some(there) if request.reverse => key >= there,
            Some(there) => key <= there,
        };
        let live = |(key, value): (KeyBytes, Option<VersionedValue>)| Some((key, value?));
        let mut entries: Vec<_> = if request.reverse {
            merged
                .into_iter()
                .rev()
                .take_while(|(key, _)| within(key))
                .filter_map(live)
                .take(limit + 1)
                .collect()
        } else {
            merged.into_iter().take_while(|(key, _)| within(key)).filter_map(live).take(limit + 1).collect()
        };
        if entries.len() > limit {
            entries.truncate(limit);
            frontier = entries.last().map(|(key, _)| key.clone());
        }
        Page { entries, next: frontier }
    }

    /// A page of one run's own rows; `None`: there is one, and it has expired.
    fn rows(
        &mut self,
        run: RunId,
        tag: Tag,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        at: Version,
        limit: usize,
    ) -> (Rows, Option<KeyBytes>) {
        let range = ScanRange::of_tag(run, tag, bounds.0, bounds.1);
        let direction = if reverse { Direction::Backwards } else { Direction::Forwards };
        let now = self.now;
        let mut rows = Vec::new();
        let limit = PageLimit { rows: limit, keys: PAGE_KEYS };
        let end = self.index.scan(&range, direction, at, limit, |row| {
            let value = value_of(&row.node, now);
            let live = value.is_some();
            rows.push((KeyBytes::from(row.key.user), value));
            live
        });
        let next = match end {
            PageEnd::Done => None,
            PageEnd::After(key) => Some(KeyBytes::from(key.user)),
        };
        (rows, next)
    }

    /// The forks, and forks of forks, that read something of a run, be it there or not.
    pub fn forks_sharing(&self, run: RunId) -> Vec<RunId> {
        let reads = |fork: &Arc<Fork>| {
            std::iter::successors(Some(fork), |fork| fork.above.as_ref()).any(|fork| fork.parent == run)
        };
        let forks = self.runs.iter().filter(|(_, state)| state.fork.as_ref().is_some_and(reads));
        forks.map(|(run, _)| *run).collect()
    }
}
