//! The commits of one run, in order, out of the shard's log.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use in_mem_model::codec::Cursor;
use in_mem_model::{DecodeError, KeyBytes, RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::core::effect::{Effect, EffectReader};
use in_mem_shard::core::{effects_of, lineage_id};
use in_mem_wal::{Extent, HistoryReader, LogError, Manifest, OpenMode, RecordView, Seen, Storage};
use serde::{Deserialize, Serialize};

use super::error::HistoryError;
use crate::checkpoint::ARCHIVE;
use crate::engine::Engine;
use crate::error::Error;
use crate::open::directory::KEPT_GENERATION;
use crate::routing::shard_of;

/// How often the log is read again because something of it was let go meanwhile.
const MAX_READS: usize = 10;

/// One change that a commit made to the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyChange {
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
    pub changes: Vec<KeyChange>,
    /// Whether it deleted the whole run.
    pub dropped: bool,
}

/// The generations before the present one that are kept for their history, oldest first, each with its count of shards.
pub(crate) fn kept_generations(storage: &dyn Storage, path: &Path) -> Result<Vec<(u64, u16)>, LogError> {
    let manifest = Manifest::read(storage, path)?;
    let properties = manifest.map(|manifest| manifest.properties).unwrap_or_default();
    let mut kept: Vec<_> = properties
        .iter()
        .filter_map(|(name, shards)| {
            Some((name.strip_prefix(KEPT_GENERATION)?.parse().ok()?, shards.parse().ok()?))
        })
        .collect();
    kept.sort_unstable();
    Ok(kept)
}

/// Name of the note, in the directory of a shard that is kept for its history, of the last version that its log must hold.
fn end_name(version: Version) -> String {
    format!("{:016x}.end", version.0)
}

/// Notes through which version the log of a shard goes that is about to be kept for its history only.
pub(crate) fn note_kept_end(storage: &dyn Storage, dir: &Path, version: Version) -> Result<(), LogError> {
    let path = dir.join(end_name(version));
    let write = || {
        storage.open(&path, OpenMode::Truncate)?.sync_data()?;
        storage.sync_dir(dir)
    };
    write().map_err(|source| LogError::Io { action: "write", path: path.clone(), source })
}

/// What [`note_kept_end`] noted last; `None`: an older version kept it, which notes nothing.
fn kept_end(storage: &dyn Storage, dir: &Path) -> Result<Option<Version>, LogError> {
    let failed = |source| LogError::Io { action: "list", path: dir.to_owned(), source };
    let parse = |name: &String| {
        let version = Version(u64::from_str_radix(name.strip_suffix(".end")?, 16).ok()?);
        (end_name(version) == *name).then_some(version)
    };
    Ok(storage.read_dir(dir).map_err(failed)?.iter().filter_map(parse).max())
}

/// The effects of a record that are on `run`.
pub(super) fn effects_on<'a>(
    record: &RecordView<'a>,
    run: RunId,
    mut apply: impl FnMut(Effect<'a>),
) -> Result<usize, DecodeError> {
    let payload = effects_of(record)
        .map_err(|_| Cursor::new(record.payload).refuse("only a newer in-mem knows this kind of record"))?;
    let mut reader = EffectReader::new(payload, RunId::from_bytes(record.run));
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
    /// Reads the records of a run that are visible now, oldest first, into what `begin` makes. Gives that, and the version through
    /// which.
    pub(super) fn read_records<T>(
        &self,
        run: RunId,
        begin: impl Fn() -> T,
        apply: impl Fn(&mut T, &RecordView<'_>) -> Result<(), DecodeError>,
    ) -> Result<(T, Version), Error> {
        let mut reads = 1;
        loop {
            let mut into = begin();
            match self.read_records_once(run, |record| apply(&mut into, record)) {
                // A checkpoint let go of it meanwhile, which keeps no history: what is left is read from its beginning.
                Err(Error::History(HistoryError::Log(error)))
                    if reads < MAX_READS && self.is_let_go(&error) =>
                {
                    reads += 1;
                }
                read => return read.map(|through| (into, through)),
            }
        }
    }

    /// Whether an error is of a segment that is not there any more, or whose blocks are used for another.
    fn is_let_go(&self, error: &LogError) -> bool {
        match error {
            LogError::Damaged { file, .. } => matches!(self.storage.exists(file), Ok(false)),
            error => error.is_gone(),
        }
    }

    fn read_records_once(
        &self,
        run: RunId,
        mut apply: impl FnMut(&RecordView<'_>) -> Result<(), DecodeError>,
    ) -> Result<Version, Error> {
        let shard = self.shard_of(run);
        let past = self.past.read().unwrap_or_else(PoisonError::into_inner);
        // A close waits for who reads already; from then on the files are somebody else's, and no index is written beside them.
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let dirs = self.checkpointer.dirs();
        let (Some(path), Some(dir)) = (&self.path, dirs.get(shard)) else {
            return Err(HistoryError::NoLog { run }.into());
        };
        // What is visible is in the log: a commit is shown behind its record, and where it waits for the disk, behind its
        // sync. What is in the log behind it is nobody's to see yet.
        let through = self.shards[shard].reader.committed();
        let mut malformed = None;
        let both = [*run.as_bytes(), *lineage_id(run).as_bytes()];
        // Whoever chose a run's id may have chosen its lineage's: each record once.
        let ids = if both[0] == both[1] { &both[..1] } else { &both[..] };
        let mut visit = |record: RecordView<'_>| {
            apply(&record).map_err(|source| {
                malformed = Some(HistoryError::Payload { run, version: Version(record.version), source });
                "a record's payload".into()
            })
        };
        let mut read = |dir: &Path, through: u64, seen: &mut Seen| {
            let places = vec![dir.to_owned(), dir.join(ARCHIVE)];
            HistoryReader::new(self.storage.clone(), places).runs_again(seen, ids, through, &mut visit)
        };
        // Taken out, so that two that read at a time do not wait for each other: the second one looks for itself.
        let known = || past[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = std::mem::take(&mut *known());
        let mut cut_short = None;
        let extent = (|| {
            let earlier = self.unbroken_places(path, dir, run)?;
            for dir in earlier.iter().rev() {
                let found = read(dir, u64::MAX, &mut Seen::default())?.last_version;
                // Nobody goes on with that log: that its last records are missing would look like its end.
                if let Some(expected) =
                    kept_end(&*self.storage, dir)?.filter(|end| 0 < found && found < end.0)
                {
                    cut_short =
                        Some(HistoryError::KeptShort { dir: dir.clone(), expected, found: Version(found) });
                    return Ok(Extent::default());
                }
            }
            let extent = read(dir, through.0, &mut seen)?;
            if !earlier.is_empty() && extent.first_lsn > 1 {
                // Its beginning was let go after that was looked at: what was read of those before it is no history.
                return Err(LogError::Missing { dir: dir.clone() });
            }
            Ok(extent)
        })();
        let mut known = known();
        if seen.is_ahead_of(&known) {
            *known = seen;
        }
        drop(known);
        let extent = match (extent, malformed.or(cut_short)) {
            (_, Some(error)) => return Err(error.into()),
            (extent, None) => extent.map_err(HistoryError::from)?,
        };
        if extent.last_version < through.0 && extent.last_version > 0 {
            let found = Version(extent.last_version);
            return Err(HistoryError::Short { shard, expected: through, found }.into());
        }
        Ok(through)
    }

    /// The directories of the kept generations' logs that a run's log goes on from, the newest first: up to the last gap. Where a
    /// generation was not kept, or the beginning of its log was let go, what comes before is not what the run was when it went on.
    pub(super) fn unbroken_places(
        &self,
        path: &Path,
        dir: &Path,
        run: RunId,
    ) -> Result<Vec<PathBuf>, LogError> {
        let mut places = Vec::new();
        let manifest = Manifest::read(&*self.storage, path)?;
        let (mut later, mut place) = (manifest.map_or(0, |manifest| manifest.generation), dir.to_owned());
        for (generation, shards) in kept_generations(&*self.storage, path)?.into_iter().rev() {
            let dirs = vec![place.clone(), place.join(ARCHIVE)];
            let first_lsn = HistoryReader::new(self.storage.clone(), dirs).first_lsn()?;
            if generation + 1 != later || first_lsn > 1 {
                break;
            }
            let shard = u16::try_from(shard_of(run, usize::from(shards))).unwrap_or(0);
            (later, place) = (generation, Manifest::shard_dir(path, generation, shard));
            places.push(place.clone());
        }
        Ok(places)
    }

    /// The commits of a run, oldest first, as they are in the log.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn commits(&self, run: RunId) -> Result<Vec<Commit>, Error> {
        let (all, _) = self.read_records(run, Vec::new, |all, record| {
            let mut commit = Commit {
                version: Version(record.version),
                timestamp: Timestamp(record.timestamp),
                changes: Vec::new(),
                dropped: false,
            };
            let found = effects_on(record, run, |effect| match effect {
                Effect::Put { tag, key, value, expires_at } => {
                    commit.changes.push(KeyChange {
                        tag,
                        key: KeyBytes::new(key),
                        value: Some(value),
                        expires_at,
                    });
                }
                Effect::Delete { tag, key } => {
                    commit.changes.push(KeyChange {
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
