//! What other threads do: gets, snapshots, and walks over everything at a snapshot. No locks, no waiting.

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::arena::Arena;
use super::epoch::{Epoch, Refused};
use super::hash::{Hasher, RunHash};
use super::key::{HashedKey, KeyRef};
use super::node::{Entry, Node};
use super::table::Table;
use crate::sync::Ordering;
use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Version, VersionedValue};
use smallvec::SmallVec;

/// What the writer and its readers share.
pub(super) struct Shared {
    pub(super) table: Table,
    pub(super) epoch: Epoch,
    pub(super) hasher: Hasher,
    /// The writer's memory, which it leaves behind when it goes before its readers.
    inheritance: Mutex<Option<Arena>>,
}

// SAFETY: the table's pointers lead to memory of the index's arena. Readers follow them only while registered (hints look at
// directories only, of which they read atomics), and what they reach is either atomic or not written; the rest is the one
// writer's. Values are `Send + Sync`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(seed: u64, arena: &mut Arena) -> Self {
        Self {
            table: Table::new(arena),
            epoch: Epoch::new(),
            hasher: Hasher::new(seed),
            inheritance: Mutex::default(),
        }
    }

    /// Keeps the writer's memory until the last reader is gone.
    pub(super) fn inherit(&self, arena: Option<Arena>) {
        *self.inheritance.lock().unwrap_or_else(PoisonError::into_inner) = arena;
    }
}

/// Why a read gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The thread has no slot: 512 others have one, or it is exiting, or it is inside a read of this index. The shard
    /// answers instead.
    #[error("this thread cannot read without the shard: all reader slots are taken; ask the shard")]
    NoThreadSlot,
    /// The snapshot held more than the limit and was taken away.
    #[error("the snapshot at version {} expired: it held too much memory; take a new one and keep it for less long", version.0)]
    SnapshotExpired {
        /// The snapshot's version.
        version: Version,
    },
}

/// All snapshots that a shard can have open are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} snapshots are open on this shard, which is the limit; drop some")]
pub struct TooManySnapshots {
    /// The limit.
    pub limit: usize,
}

/// A lock-free reader of one shard's index. Clones are cheap and read the same index.
#[derive(Clone)]
pub struct IndexReader {
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for IndexReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexReader")
            .field("committed", &self.shared.epoch.committed())
            .finish_non_exhaustive()
    }
}

impl IndexReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The run's part of the hash, to be kept by a handle on the run.
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

    /// Begins to fetch what a look-up or an installation of the key meets first, for callers who have something else to do
    /// before. A hint, at any time and by anybody.
    #[inline]
    pub fn prefetch(&self, key: &HashedKey<'_>) {
        self.shared.table.prefetch(key.hash);
    }

    /// The newest version published.
    #[must_use]
    pub fn committed(&self) -> Version {
        Version(self.shared.epoch.committed())
    }

    /// The newest published version of a key; `None` if it is not there, deleted, or expired. `now` is asked only for
    /// values that expire.
    ///
    /// # Errors
    /// [`ReadError::NoThreadSlot`].
    #[inline]
    pub fn get_latest(
        &self,
        key: &HashedKey<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Option<VersionedValue>, ReadError> {
        // The read may use a version that this thread has seen committed earlier, `v`. If the newest version of the key is
        // at or before `v`, then it is published, and it was the newest when the slot was read: the answer, as of then. If
        // the key has no newest version, it was absent then. Otherwise the read moves on to what is published now and looks
        // again, as a snapshot would: the answer is what was visible when `committed` was loaded.
        let mut visit = self.shared.epoch.enter().map_err(|refused| refusal(refused, 0))?;
        // SAFETY: registered.
        let Some(mut found) = (unsafe { self.shared.table.find(key) }) else { return Ok(None) };
        // SAFETY: read from the table while registered: not freed, and not written.
        let newest = unsafe { (*found.node).read(|body| body.version) };
        if newest > visit.version {
            visit.refresh();
            // SAFETY: registered, anew: nothing found before is used.
            let Some(again) = (unsafe { self.shared.table.find(key) }) else { return Ok(None) };
            found = again;
        }
        // SAFETY: found under this registration.
        let value = unsafe { visible(found.node, visit.version) };
        drop(visit);
        Ok(value.filter(|value| is_alive(value, now)))
    }

    /// As [`IndexReader::get_latest`] of each of these keys, but what one waits for in memory the others wait for, too: for keys
    /// that are read one after the other. Answers go behind what `values` holds, in the keys' order.
    ///
    /// # Errors
    /// [`ReadError::NoThreadSlot`]; then there is no answer.
    pub fn get_latest_each(
        &self,
        keys: &[HashedKey<'_>],
        now: impl Fn() -> Timestamp,
        values: &mut Vec<Option<VersionedValue>>,
    ) -> Result<(), ReadError> {
        let mut visit = self.shared.epoch.enter().map_err(|refused| refusal(refused, 0))?;
        let table = &self.shared.table;
        let mut found: SmallVec<[_; 32]> = SmallVec::new();
        for key in keys {
            table.prefetch(key.hash);
        }
        for key in keys {
            // SAFETY: registered.
            unsafe { table.prefetch_found(key) };
        }
        // Which version may be read is argued in `get_latest`; if one key is newer, all are looked up again.
        // SAFETY: registered.
        found.extend(keys.iter().map(|key| unsafe { table.find(key) }));
        // SAFETY: read from the table while registered: not freed, and not written.
        let newest = found.iter().flatten().map(|f| unsafe { (*f.node).read(|body| body.version) }).max();
        if newest.is_some_and(|newest| newest > visit.version) {
            visit.refresh();
            found.clear();
            // SAFETY: registered, anew: nothing found before is used.
            found.extend(keys.iter().map(|key| unsafe { table.find(key) }));
        }
        values.extend(found.iter().map(|found| {
            // SAFETY: found under this registration.
            let value = found.as_ref().and_then(|found| unsafe { visible(found.node, visit.version) });
            value.filter(|value| is_alive(value, &now))
        }));
        Ok(())
    }

    /// Takes a snapshot of everything published.
    ///
    /// # Errors
    /// [`TooManySnapshots`].
    #[inline]
    pub fn pin(&self) -> Result<Pin, TooManySnapshots> {
        let Some((index, version)) = self.shared.epoch.pin() else {
            return Err(TooManySnapshots { limit: super::MAX_PINS });
        };
        Ok(Pin { reader: self.clone(), index, version })
    }

    /// As [`IndexReader::pin`], for no longer than this reader is borrowed.
    ///
    /// # Errors
    /// [`TooManySnapshots`].
    #[inline]
    pub fn pin_borrowed(&self) -> Result<Pin<&Self>, TooManySnapshots> {
        let Some((index, version)) = self.shared.epoch.pin() else {
            return Err(TooManySnapshots { limit: super::MAX_PINS });
        };
        Ok(Pin { reader: self, index, version })
    }
}

/// A snapshot: what was published when it was taken stays readable until it is dropped, or expires.
pub struct Pin<R: Borrow<IndexReader> = IndexReader> {
    reader: R,
    index: usize,
    version: u64,
}

impl<R: Borrow<IndexReader>> fmt::Debug for Pin<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").field("version", &self.version).finish_non_exhaustive()
    }
}

/// One row of [`Pin::iterate`].
#[derive(Clone, Debug)]
pub struct OwnedRow {
    /// The run.
    pub run: RunId,
    /// Which of the run's primitives.
    pub tag: Tag,
    /// The user's key.
    pub user: KeyBytes,
    /// What is stored there; whether it has expired is not looked at.
    pub value: VersionedValue,
}

/// How far a walk over everything has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cursor(u64);

impl<R: Borrow<IndexReader>> Pin<R> {
    /// The version the snapshot sees.
    #[must_use]
    pub fn version(&self) -> Version {
        Version(self.version)
    }

    /// Whether the snapshot was taken away.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        !self.reader().shared.epoch.is_pinned(self.index, self.version)
    }

    /// The reader the snapshot was taken with.
    #[must_use]
    pub fn reader(&self) -> &IndexReader {
        self.reader.borrow()
    }

    /// What a key was when the snapshot was taken; `None` if it was not there or deleted, or is expired now.
    ///
    /// # Errors
    /// [`ReadError::SnapshotExpired`] and [`ReadError::NoThreadSlot`].
    #[inline]
    pub fn get(
        &self,
        key: &HashedKey<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Option<VersionedValue>, ReadError> {
        let shared = &*self.reader().shared;
        let visit = shared
            .epoch
            .enter_pinned(self.index, self.version)
            .map_err(|refused| refusal(refused, self.version))?;
        // SAFETY: registered, and the pin held after that: whatever is visible at its version stays linked, and whatever is
        // unlinked stays allocated, until `visit` is dropped.
        let value = unsafe { shared.table.find(key).and_then(|found| visible(found.node, self.version)) };
        drop(visit);
        Ok(value.filter(|value| is_alive(value, now)))
    }

    /// Shows the next rows of everything visible in the snapshot, in no particular order; each exactly once over the whole
    /// walk, whatever is written meanwhile. Begin with the default cursor; `None` ends the walk.
    ///
    /// Rows come a table segment at a time, so up to 512 more than `rows` may come. The visitor runs outside the index
    /// and may read.
    ///
    /// # Errors
    /// [`ReadError::SnapshotExpired`] and [`ReadError::NoThreadSlot`]; what was shown before stands.
    pub fn iterate(
        &self,
        cursor: Cursor,
        rows: usize,
        mut visit: impl FnMut(OwnedRow),
    ) -> Result<Option<Cursor>, ReadError> {
        let shared = &*self.reader().shared;
        let mut page = Vec::new();
        let mut shown = 0;
        let mut at = cursor.0;
        loop {
            let registration = shared
                .epoch
                .enter_pinned(self.index, self.version)
                .map_err(|refused| refusal(refused, self.version))?;
            // SAFETY: registered.
            let next = unsafe {
                shared.table.visit_segment(at, |node| {
                    // Found while registered: not freed, and its entry neither.
                    let key = Entry::key((*node).read(|body| body.entry));
                    // After a merge the segment begins before the cursor.
                    let hash = shared.hasher.key(shared.hasher.run(&key.run), key.tag, key.user);
                    if hash >= at
                        && let Some(value) = visible(node, self.version)
                    {
                        page.push(OwnedRow {
                            run: key.run,
                            tag: key.tag,
                            user: KeyBytes::new(key.user),
                            value,
                        });
                    }
                })
            };
            drop(registration);
            shown += page.len();
            page.drain(..).for_each(&mut visit);
            match next {
                None => return Ok(None),
                Some(next) if shown >= rows => return Ok(Some(Cursor(next))),
                Some(next) => at = next,
            }
        }
    }
}

impl<R: Borrow<IndexReader>> Drop for Pin<R> {
    fn drop(&mut self) {
        self.reader().shared.epoch.unpin(self.index);
    }
}

#[cold]
pub(super) fn refusal(refused: Refused, version: u64) -> ReadError {
    match refused {
        Refused::NoSlot => ReadError::NoThreadSlot,
        Refused::Expired => ReadError::SnapshotExpired { version: Version(version) },
    }
}

#[inline]
pub(super) fn is_alive(value: &VersionedValue, now: impl FnOnce() -> Timestamp) -> bool {
    value.expires_at.is_none_or(|at| now() < at)
}

/// A copy of the newest version at or before `at`; `None` if there is none or it is a deletion.
///
/// # Safety
/// The caller is registered at `at` and found `node` under that registration.
#[inline]
pub(super) unsafe fn visible(mut node: *mut Node, at: u64) -> Option<VersionedValue> {
    while !node.is_null() {
        // SAFETY: from the table or from a linked version, under the registration: not freed, and not written.
        let seen = unsafe { (*node).read(|body| (body.version <= at).then(|| body.to_versioned())) };
        match seen {
            Some(version) => return version,
            // SAFETY: as above. Acquire pairs with the Release that unlinked a version from here.
            None => node = unsafe { (*node).prev.load(Ordering::Acquire) },
        }
    }
    None
}
