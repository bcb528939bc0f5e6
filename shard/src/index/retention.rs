//! A version of one run that outlives every snapshot: what a fork reads of its parent.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::epoch::EXPIRED;
use super::key::HashedKey;
use super::reader::{IndexReader, ReadError, is_alive, refusal, visible};
use crate::sync::{AtomicU64, Ordering};
use in_mem_model::{RunId, Timestamp, Version, VersionedValue};

/// Keeps one version of one run readable until the writer releases it. Clones are the same retention.
///
/// While there is none, retaining costs nothing; while there is one, the memory of superseded versions of the whole shard
/// is reused one collection later.
#[derive(Clone, Debug)]
pub struct Retention {
    reader: IndexReader,
    run: RunId,
    version: Version,
    /// The version, or `EXPIRED` once released: checked by readers as a pin is.
    state: Arc<AtomicU64>,
    /// Whether only snapshots need it. The writer alone asks.
    left: Arc<AtomicBool>,
}

impl Retention {
    pub(super) fn new(reader: IndexReader, run: RunId, version: Version) -> Self {
        Self { reader, run, version, state: Arc::new(AtomicU64::new(version.0)), left: Arc::default() }
    }

    /// The run it keeps.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The version it keeps.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What a key of the run was at the version; `None` if it was not there or deleted, or is expired now.
    ///
    /// # Errors
    /// [`ReadError::SnapshotExpired`] if the retention was released, and [`ReadError::NoThreadSlot`].
    pub fn get(
        &self,
        key: &HashedKey<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Option<VersionedValue>, ReadError> {
        debug_assert!(key.key.run == self.run, "a retention keeps its own run only");
        let (shared, version) = (&*self.reader.shared, self.version.0);
        let visit =
            shared.epoch.enter_at(&self.state, version).map_err(|refused| refusal(refused, version))?;
        // SAFETY: registered. While anything is retained, no collection frees a version that it has unlinked itself, so one
        // that missed this registration frees nothing that can still be reached.
        let value = unsafe { shared.table.find(key).and_then(|found| visible(found.node, version)) };
        drop(visit);
        Ok(value.filter(|value| is_alive(value, now)))
    }

    /// Writer: only snapshots need it from here on. Whether that is new.
    pub(super) fn leave(&self) -> bool {
        // Relaxed, as everywhere: only the writer uses it.
        !self.left.swap(true, std::sync::atomic::Ordering::Relaxed)
    }

    /// Writer: whether only snapshots need it.
    pub(super) fn is_left(&self) -> bool {
        self.left.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Writer: no read begins from here on. Ordered before the next scan by the fence there. Whether it was in force.
    pub(super) fn end(&self) -> bool {
        self.state.swap(EXPIRED, Ordering::AcqRel) != EXPIRED
    }
}
