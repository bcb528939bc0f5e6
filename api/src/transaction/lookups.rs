//! More that a transaction can look up: what is there without its values, backwards, and the events of a range.

use std::ops::{Bound, RangeBounds};

use in_mem_engine::command::ReadRange;
use in_mem_engine::event;
use in_mem_model::{KeyBytes, Tag, Value, Version};

use super::{TxEvents, TxKv, TxState};
use crate::{Event, Result};

impl TxKv<'_, '_> {
    /// The keys that start with `prefix`, in order; a key that another transaction adds or removes there is a conflict.
    ///
    /// # Errors
    /// As [`TxKv::list`].
    pub fn keys(&mut self, prefix: impl AsRef<[u8]>) -> Result<Vec<KeyBytes>> {
        Ok(self.list(prefix)?.into_iter().map(|(key, _)| key).collect())
    }

    /// How many keys start with `prefix`; a key that another transaction adds or removes there is a conflict.
    ///
    /// # Errors
    /// As [`TxKv::list`].
    pub fn count(&mut self, prefix: impl AsRef<[u8]>) -> Result<u64> {
        Ok(self.list(prefix)?.len() as u64)
    }

    /// All pairs in a range of keys, the last one first.
    ///
    /// # Errors
    /// As [`TxKv::list`].
    pub fn range_reverse<K: AsRef<[u8]>>(
        &mut self,
        keys: impl RangeBounds<K>,
    ) -> Result<Vec<(KeyBytes, Value)>> {
        let mut pairs = self.range(keys)?;
        pairs.reverse();
        Ok(pairs)
    }
}

impl TxState<'_, '_> {
    /// The committed version of the cell, for [`TxState::cas`]; `None`: there is none. What this transaction wrote has no version
    /// yet. Another writer of the cell is a conflict.
    ///
    /// # Errors
    /// As [`TxState::read`].
    pub fn version(&mut self, cell: impl AsRef<str>) -> Result<Option<Version>> {
        Ok(self.tx.get(self.run, Tag::State, cell.as_ref().as_bytes())?.map(|cell| cell.version))
    }
}

impl TxEvents<'_, '_> {
    /// The committed events with these numbers, in order; those of this transaction have no number yet. One that is appended there
    /// meanwhile is a conflict, so that a range without an end holds off every other event.
    ///
    /// # Errors
    /// As [`TxEvents::read`].
    pub fn range(&mut self, sequences: impl RangeBounds<u64>) -> Result<Vec<Event>> {
        let (run, tag, asked) = (self.tx.run, Tag::Event, self.run);
        let (first, end) = crate::stream::ends(&sequences);
        let key = |sequence| KeyBytes::from(&event::event_key(sequence)[..]);
        let (lower, upper) = (Bound::Included(key(first)), Bound::Excluded(key(end)));
        self.tx.writes.note_read()?;
        self.tx.check_lineage(asked)?;
        let stored = if first < end {
            self.tx.snapshot.scan_all(asked, tag, lower.clone(), upper.clone())?
        } else {
            Vec::new()
        };
        self.tx.ranges.push(ReadRange { run: asked, tag, lower, upper });
        let mut events = Vec::with_capacity(stored.len());
        for (key, stored) in stored {
            if let Some(sequence) = event::event_sequence(&key) {
                events.push(run.events().unpack(sequence, &stored)?);
            }
        }
        Ok(events)
    }
}
