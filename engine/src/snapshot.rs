//! One moment of a shard, to be read at leisure.

use std::ops::Bound;

use in_mem_model::{KeyBytes, RunId, Tag, Version, VersionedValue};
use in_mem_shard::core::PAGE_LIMIT;
use in_mem_shard::core::command::ScanRequest;
use in_mem_shard::index::{HashedKey, IndexReader, KeyRef, Pin, ReadError};

use crate::engine::Engine;
use crate::error::{Error, SnapshotError};

/// One moment of the shard that a run lives on. What is overwritten meanwhile is kept for it, so hold it no longer than
/// it is needed.
#[derive(Debug)]
pub struct Snapshot<'e> {
    engine: &'e Engine,
    pin: Pin<&'e IndexReader>,
    shard: usize,
}

impl<'e> Snapshot<'e> {
    pub(crate) fn new(engine: &'e Engine, pin: Pin<&'e IndexReader>, shard: usize) -> Self {
        Self { engine, pin, shard }
    }

    /// The version it shows.
    pub fn version(&self) -> Version {
        self.pin.version()
    }

    /// The value of a key then. Expired values are absent as of now, not then.
    ///
    /// # Errors
    /// [`SnapshotError::Expired`].
    pub fn get(&self, run: RunId, tag: Tag, key: &[u8]) -> Result<Option<VersionedValue>, Error> {
        debug_assert_eq!(self.engine.shard_of(run), self.shard, "a snapshot is of one shard");
        let hashed = self.hashed(run, tag, key);
        match self.pin.get(&hashed, || self.engine.now()) {
            Ok(Some(value)) => Ok(Some(value)),
            Ok(None) if !self.engine.may_be_fork(run) => Ok(None),
            Err(ReadError::SnapshotExpired { .. }) => Err(self.expired()),
            // A fork may see its parent's; or more threads than reader slots: the shard looks for us, at the pinned version.
            _ => {
                let key = KeyBytes::new(key);
                let request = ScanRequest {
                    run,
                    tag,
                    lower: Bound::Included(key.clone()),
                    upper: Bound::Included(key),
                    reverse: false,
                    at: None,
                    limit: 1,
                };
                Ok(self.scan(request)?.0.pop().map(|(_, value)| value))
            }
        }
    }

    #[inline]
    fn hashed<'k>(&self, run: RunId, tag: Tag, key: &'k [u8]) -> HashedKey<'k> {
        let reader = self.pin.reader();
        reader.hashed(reader.run_hash(&run), KeyRef::new(run, tag, key))
    }

    /// Begins to fetch what a write of the key will look at first.
    #[inline]
    pub fn prefetch(&self, run: RunId, tag: Tag, key: &[u8]) {
        self.pin.reader().prefetch(&self.hashed(run, tag, key));
    }

    /// The entries of a range then, at most `request.limit` of them, and whether there may be more.
    ///
    /// # Errors
    /// [`SnapshotError::Expired`], [`Error::Closed`].
    pub fn scan(&self, mut request: ScanRequest) -> Result<(Vec<(KeyBytes, VersionedValue)>, bool), Error> {
        let limit = request.limit;
        let mut entries = Vec::new();
        request.at = Some(self.version());
        loop {
            request.limit = (limit - entries.len()).min(PAGE_LIMIT);
            let page = self.engine.scan_page(self.shard, request.clone())?;
            entries.extend(page.entries);
            // Checked behind the page: what a page shows was held by the pin while it was read.
            if self.pin.is_expired() {
                return Err(self.expired());
            }
            let Some(next) = page.next else { return Ok((entries, false)) };
            if entries.len() >= limit {
                return Ok((entries, true));
            }
            if request.reverse {
                request.upper = Bound::Excluded(next);
            } else {
                request.lower = Bound::Excluded(next);
            }
        }
    }

    /// How many live keys there were in a range then.
    ///
    /// # Errors
    /// As [`Snapshot::scan`].
    pub fn count(&self, mut request: ScanRequest) -> Result<u64, Error> {
        request.at = Some(self.version());
        let keys = self.engine.count(request)?;
        // As for a page: what was counted was held if the pin still holds.
        if self.pin.is_expired() { Err(self.expired()) } else { Ok(keys) }
    }

    /// All entries of a range then.
    ///
    /// # Errors
    /// As [`Snapshot::scan`].
    pub fn scan_all(
        &self,
        run: RunId,
        tag: Tag,
        lower: Bound<KeyBytes>,
        upper: Bound<KeyBytes>,
    ) -> Result<Vec<(KeyBytes, VersionedValue)>, Error> {
        let request = ScanRequest { run, tag, lower, upper, reverse: false, at: None, limit: usize::MAX };
        Ok(self.scan(request)?.0)
    }

    /// Whether everything that was read of it so far was held.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.pin.is_expired() { Err(self.expired()) } else { Ok(()) }
    }

    fn expired(&self) -> Error {
        SnapshotError::Expired { limit_bytes: self.engine.snapshot_limit_bytes() }.into()
    }
}
