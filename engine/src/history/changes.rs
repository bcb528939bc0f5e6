//! Watches that begin in the past: what the shard keeps in memory first, and behind that the run's log.

use in_mem_model::{KeyBytes, RunId, Tag, Version, limits};
use in_mem_shard::core::effect::Effect;
use in_mem_shard::core::error::WriteError;
use in_mem_shard::core::watch::{Change, WatchReceiver, WatchRequest, watch_channel};

use super::commits::effects_on;
use crate::engine::Engine;
use crate::error::Error;

/// A watch that has begun.
#[derive(Debug)]
pub struct Watching {
    /// It tells of every change after this version.
    pub since: Version,
    /// Those of them that were made before it began; the others come through the receiver.
    pub before: Vec<Change>,
    /// What is committed from then on.
    pub receiver: WatchReceiver,
}

impl Engine {
    /// Watches a run's keys that start with `prefix`: every change after the version `from`, or from now on. At most
    /// `capacity` changes wait to be read. Changes that the shard does not keep in memory are read from the log, which costs
    /// the run's size.
    ///
    /// # Errors
    /// [`WriteError::Lagged`] where neither reaches back, [`Error::UnknownRun`], [`WriteError::TooManyWatchers`],
    /// [`Error::History`], [`Error::TooLong`], [`Error::Closed`].
    pub fn watch_keys(
        &self,
        run: RunId,
        tag: Tag,
        prefix: KeyBytes,
        from: Option<Version>,
        capacity: usize,
    ) -> Result<Watching, Error> {
        // The buffer is made whole at once: what nobody could mean must not be asked of the allocator.
        let limit = limits::MAX_WATCH_CAPACITY;
        if capacity > limit {
            return Err(Error::TooLong { what: "the capacity of a watch, in changes,", limit });
        }
        let begin = |from| {
            let (sender, receiver) = watch_channel(capacity);
            let (since, before) =
                self.watch(WatchRequest { run, tag, prefix: prefix.clone(), from, sender })?;
            Ok(Watching { since, before, receiver })
        };
        let (from, lagged) = match (begin(from), from) {
            (Err(error @ Error::Write(WriteError::Lagged { .. })), Some(from)) => (from, error),
            (other, _) => return other,
        };
        if self.path().is_none() {
            return Err(lagged);
        }
        // It listens first and reads the log up to where it listens from: no change lies between, and none is told twice.
        let mut live = begin(None)?;
        live.before = self.changes_between(run, tag, &prefix, from, live.since)?;
        live.since = from;
        Ok(live)
    }

    /// The changes after one version up to another, out of the log.
    fn changes_between(
        &self,
        run: RunId,
        tag: Tag,
        prefix: &[u8],
        from: Version,
        through: Version,
    ) -> Result<Vec<Change>, Error> {
        let begins = self.run_info(run)?.ok_or(Error::UnknownRun { run })?.meta.first_version;
        let begin = || (None, Vec::<Change>::new());
        let ((first, changes), _) = self.read_records(run, begin, |(first, changes), record| {
            let version = Version(record.version);
            // A run of the same id that was there before has nothing to do with this one.
            if version < begins || version > through {
                return Ok(());
            }
            effects_on(record, run, |effect| {
                first.get_or_insert(version);
                let (on, key, value) = match effect {
                    Effect::Put { tag, key, value, .. } => (tag, key, Some(value)),
                    Effect::Delete { tag, key } => (tag, key, None),
                    Effect::DropRun => return,
                };
                if on == tag && version > from && key.starts_with(prefix) {
                    changes.push(Change { key: KeyBytes::new(key), value, version });
                }
            })?;
            Ok(())
        })?;
        // The log holds all of the run behind its first commit there.
        let oldest = match first {
            Some(first) if first == begins => return Ok(changes),
            Some(first) => Version(first.0 - 1),
            None => through,
        };
        if oldest <= from {
            return Ok(changes);
        }
        Err(WriteError::Lagged { run, missed: Version(from.0 + 1), oldest: Some(oldest) }.into())
    }
}
