//! The commits of one run, in order, out of the shard's log.

use std::path::PathBuf;
use std::sync::Arc;

use in_mem_model::{DecodeError, KeyBytes, RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::core::effect::{Effect, EffectReader};
use in_mem_shard::core::lineage_id;
use in_mem_wal::{HistoryReader, RecordView, Storage};
use serde::{Deserialize, Serialize};

use super::error::HistoryError;
use crate::engine::Engine;
use crate::error::Error;

/// One change that a commit made to the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The primitive.
    pub tag: Tag,
    /// The user's key bytes.
    pub key: KeyBytes,
    /// The value from then on; `None`: deleted.
    pub value: Option<Value>,
    /// When the value stops being there.
    pub expires_at: Option<Timestamp>,
}

/// One commit, as far as it is the run's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its version.
    pub version: Version,
    /// When.
    pub timestamp: Timestamp,
    /// What it changed, in the order in which it was written.
    pub changes: Vec<Change>,
    /// Whether it deleted the whole run.
    pub dropped: bool,
}

/// Where the logs of a database lie.
#[derive(Debug)]
pub(crate) struct LogPlaces {
    pub(crate) storage: Arc<dyn Storage>,
    /// Each shard's directory.
    pub(crate) shards: Vec<PathBuf>,
}

/// Where a shard keeps the segments that its log no longer needs, where history is kept.
pub(crate) const ARCHIVE: &str = "archive";

/// The effects of a record that are on `run`.
pub(super) fn effects_on<'a>(
    record: &RecordView<'a>,
    run: RunId,
    mut apply: impl FnMut(Effect<'a>),
) -> Result<usize, DecodeError> {
    let mut reader = EffectReader::new(record.payload, RunId::from_bytes(record.run));
    let mut found = 0;
    while let Some((on, effect)) = reader.next()? {
        if on == run {
            apply(effect);
            found += 1;
        }
    }
    Ok(found)
}

impl Engine {
    /// Reads the records of a run that are visible now, oldest first. Gives the version through which.
    pub(super) fn read_records(
        &self,
        run: RunId,
        mut apply: impl FnMut(&RecordView<'_>) -> Result<(), DecodeError>,
    ) -> Result<Version, Error> {
        let shard = self.shard_of(run);
        let Some(places) = &self.logs else { return Err(HistoryError::NoLog { run }.into()) };
        // What is visible is in the log: a commit is shown behind its record, and where it waits for the disk, behind its
        // sync. What is in the log behind it is nobody's to see yet.
        let through = self.shards[shard].reader.committed();
        let dir = &places.shards[shard];
        let mut reader = HistoryReader::new(places.storage.clone(), vec![dir.clone(), dir.join(ARCHIVE)]);
        let mut malformed = None;
        let ids = [*run.as_bytes(), *lineage_id(run).as_bytes()];
        let extent = reader.runs(&ids, through.0, &mut |record| {
            apply(&record).map_err(|source| {
                malformed = Some(HistoryError::Payload { run, version: Version(record.version), source });
                "a record's payload".into()
            })
        });
        let extent = match (extent, malformed) {
            (_, Some(error)) => return Err(error.into()),
            (extent, None) => extent.map_err(HistoryError::from)?,
        };
        if extent.last_version < through.0 && extent.last_version > 0 {
            let found = Version(extent.last_version);
            return Err(HistoryError::Short { shard, expected: through, found }.into());
        }
        Ok(through)
    }

    /// The commits of a run, oldest first, as they are in the log.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn commits(&self, run: RunId) -> Result<Vec<Commit>, Error> {
        let mut all = Vec::new();
        self.read_records(run, |record| {
            let mut commit = Commit {
                version: Version(record.version),
                timestamp: Timestamp(record.timestamp),
                changes: Vec::new(),
                dropped: false,
            };
            let found = effects_on(record, run, |effect| match effect {
                Effect::Put { tag, key, value, expires_at } => {
                    commit.changes.push(Change {
                        tag,
                        key: KeyBytes::new(key),
                        value: Some(value),
                        expires_at,
                    });
                }
                Effect::Delete { tag, key } => {
                    commit.changes.push(Change {
                        tag,
                        key: KeyBytes::new(key),
                        value: None,
                        expires_at: None,
                    });
                }
                Effect::DropRun => commit.dropped = true,
            })?;
            if found > 0 {
                all.push(commit);
            }
            Ok(())
        })?;
        Ok(all)
    }
}
