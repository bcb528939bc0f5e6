//! Erasing the past of runs: the log is sealed, a checkpoint takes its place, and every segment behind it that holds a commit
//! of theirs is written anew without it.
//!
//! What is to be erased is written down first, in [`ERASING`], and taken away last: an erase that is interrupted is finished by the
//! next opening.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use in_mem_model::{Key, KeyBytes, RunId, Tag, Version};
use in_mem_shard::core::command::{CommitRequest, ReadKey, Write};
use in_mem_shard::core::effect::{Effect, EffectReader, EffectWriter};
use in_mem_shard::core::error::WriteError;
use in_mem_shard::core::lineage_id;
use in_mem_wal::checkpoint::list_checkpoints;
use in_mem_wal::{
    Erased, Fate, LogError, Manifest, OpenMode, Storage, erase, has_set_aside, remove_set_aside,
};

use super::commits::kept_generations;
use super::error::HistoryError;
use super::run_list::{self, ERASING};
use crate::checkpoint::ARCHIVE;
use crate::engine::Engine;
use crate::error::{Error, OpenError};
use crate::routing::shard_of;

/// What becomes of one record when these runs' past is erased.
fn fate(
    runs: &BTreeSet<RunId>,
    run: &[u8; 16],
    payload: Option<&[u8]>,
) -> Result<Fate, in_mem_wal::ApplyError> {
    let of = RunId::from_bytes(*run);
    // A run may have been given its lineage's id: then only the payload tells its own commits from those over several runs.
    if runs.contains(&of) && of != lineage_id(of) {
        return Ok(Fate::Erase);
    }
    // A commit on several runs of a lineage: only what is theirs goes.
    if of != lineage_id(of) || !runs.iter().any(|run| lineage_id(*run) == of) {
        return Ok(Fate::Keep);
    }
    let Some(payload) = payload else { return Ok(Fate::Ask) };
    let mut kept = Vec::new();
    let (mut gone, mut stays) = (0, 0);
    let mut writer = EffectWriter::new(&mut kept, of);
    let mut reader = EffectReader::new(payload, of);
    while let Some((on, effect)) = reader.next()? {
        if runs.contains(&on) {
            gone += 1;
            continue;
        }
        stays += 1;
        writer.on(on);
        match effect {
            Effect::Put { tag, key, value, expires_at } => writer.put(tag, key, &value, expires_at),
            Effect::Delete { tag, key } => writer.delete(tag, key),
            Effect::DropRun => writer.drop_run(),
        }
    }
    Ok(match (gone, stays) {
        (0, _) => Fate::Keep,
        (_, 0) => Fate::Erase,
        _ => Fate::Replace(kept),
    })
}

/// Whether a run that was begun at this version is not what was to go: made anew under the id since.
fn is_another(begun: Version, now: Version) -> bool {
    let is_another = now != Version(0) && now != begun;
    is_another && !in_mem_wal::planted::is_planted("engine_erase_whoever_has_the_id")
}

fn add(total: &mut Erased, some: Erased) {
    total.records += some.records;
    total.bytes += some.bytes;
    total.segments += some.segments;
    total.left += some.left;
}

/// Bytes of all files in a directory and those below it.
pub(super) fn disk_bytes(storage: &dyn Storage, dir: &Path) -> u64 {
    let names = storage.read_dir(dir).unwrap_or_default();
    let each = names.iter().map(|name| {
        let path = dir.join(name);
        match storage.read_dir(&path) {
            Ok(_) => disk_bytes(storage, &path),
            // Gone since it was listed, or not ours to read: it counts for nothing.
            Err(_) => storage.open(&path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0),
        }
    });
    each.sum()
}

impl Engine {
    /// How much of the log is the past of these runs, and how much of that cannot be erased.
    pub(super) fn past_of(&self, runs: &BTreeSet<RunId>) -> Result<Erased, Error> {
        let Some(path) = self.path.as_ref().filter(|_| !runs.is_empty()) else {
            return Ok(Erased::default());
        };
        let mut total = Erased::default();
        let _one = self.checkpointer.hold_off();
        let _still = self.past.read().unwrap_or_else(PoisonError::into_inner);
        // Nothing is changed yet: a close need not wait for all of the log to be read.
        let mut judge = |run: &[u8; 16], payload: Option<&[u8]>| {
            if self.is_closed() {
                Err("the database is being closed".into())
            } else {
                fate(runs, run, payload)
            }
        };
        let mut places = self.places_of(path, runs)?;
        places.extend(self.checkpointer.dirs().iter().cloned());
        for dir in places {
            let dirs = vec![dir.clone(), dir.join(ARCHIVE)];
            match erase(&self.storage, dirs, true, &mut judge) {
                Err(_) if self.is_closed() => return Err(Error::Closed),
                erased => add(&mut total, erased.map_err(HistoryError::from)?),
            }
        }
        Ok(total)
    }

    /// The directories of kept generations' shards that these runs were on, the oldest generation first.
    fn places_of(&self, path: &Path, runs: &BTreeSet<RunId>) -> Result<Vec<std::path::PathBuf>, Error> {
        let mut places = Vec::new();
        for (generation, shards) in kept_generations(&*self.storage, path).map_err(HistoryError::from)? {
            let on = runs.iter().map(|run| shard_of(*run, usize::from(shards)));
            let on: BTreeSet<u16> = on.map(|shard| u16::try_from(shard).unwrap_or(0)).collect();
            places.extend(on.into_iter().map(|shard| Manifest::shard_dir(path, generation, shard)));
        }
        Ok(places)
    }

    /// Erases the past of these runs, each begun at the version that stands with it, 0 where it is gone already; with `whole`, the
    /// runs too. What has been begun under one's id since is left as it is. Afterwards no file of the database holds a byte of it,
    /// but for commits over several runs that are larger than a segment. Gives what was erased, and of which runs.
    pub(super) fn erase_runs(
        &self,
        runs: &BTreeMap<RunId, Version>,
        whole: bool,
    ) -> Result<(Erased, BTreeSet<RunId>), Error> {
        self.erase_noted(runs, whole, false)
    }

    fn erase_noted(
        &self,
        noted: &BTreeMap<RunId, Version>,
        whole: bool,
        is_resumed: bool,
    ) -> Result<(Erased, BTreeSet<RunId>), Error> {
        let Some(path) = &self.path else {
            let runs = self.drop_runs(noted, whole).map_err(|(_, error)| error)?;
            return Ok((Erased::default(), runs));
        };
        if noted.is_empty() {
            return Ok((Erased::default(), BTreeSet::new()));
        }
        // The note is finished by whatever opening finds it: no commit before it may be lost where it is kept.
        self.sync()?;
        // One that is resumed has its note, which must outlast that it cannot be written again.
        if !is_resumed {
            write_intent(&*self.storage, path, noted, whole)?;
        }
        let mut gone = match self.drop_runs(noted, whole) {
            Ok(runs) => runs,
            Err((dropped, error)) => {
                // Refused before anything was done: no later opening may do it. What was begun, or may have been, is finished by
                // one.
                let is_refused =
                    dropped == 0 && !is_resumed && !matches!(error, Error::OutcomeUnknown { .. });
                return Err(if is_refused { take_back_intent(&*self.storage, path, error) } else { error });
            }
        };
        // Asked again, now that nobody can fork them any more: a fork may have been made since it was asked first.
        if whole && !in_mem_wal::planted::is_planted("engine_erase_asks_once") {
            let mut held = BTreeSet::new();
            for run in &gone {
                if !self.forks_that_hold(*run)?.is_empty() {
                    held.insert(*run);
                }
            }
            gone.retain(|run| !held.contains(run));
            if !held.is_empty() {
                self.add_held(&held)?;
                // Nothing of theirs is erased, and so no log retired: the note must not go before what it was finished by is kept.
                self.sync()?;
            }
        }
        let erased = self.erase_past(path, &gone)?;
        self.remove_held(&gone)?;
        remove_intent(&*self.storage, path)?;
        Ok((erased, gone))
    }

    /// Finishes what an interrupted erase began.
    pub(crate) fn finish_erase(&self) -> Result<Option<usize>, Error> {
        let Some(path) = &self.path else { return Ok(None) };
        let Some((noted, whole)) = read_intent(&*self.storage, path)? else { return Ok(None) };
        let mut runs = BTreeMap::new();
        for (run, begun) in noted {
            let now = self.begun_at(run)?;
            let begun = begun.unwrap_or(now);
            if !is_another(begun, now) {
                runs.insert(run, begun);
            }
        }
        if runs.is_empty() {
            remove_intent(&*self.storage, path)?;
        }
        self.erase_noted(&runs, whole, true)?;
        Ok(Some(runs.len()))
    }

    /// The version that a run was begun at; 0: it is not there.
    fn begun_at(&self, run: RunId) -> Result<Version, Error> {
        Ok(self.run_info(run)?.map_or(Version(0), |info| info.meta.first_version))
    }

    /// Of these runs, those under whose ids there is no other now; with `whole`, they are deleted. Where one is refused, says how
    /// many were deleted before it.
    fn drop_runs(
        &self,
        runs: &BTreeMap<RunId, Version>,
        whole: bool,
    ) -> Result<BTreeSet<RunId>, (usize, Error)> {
        let mut same = BTreeSet::new();
        let mut dropped = 0;
        for (run, begun) in runs {
            let is_same = if whole {
                self.drop_begun_at(*run, *begun)
            } else {
                self.begun_at(*run).map(|now| !is_another(*begun, now))
            };
            if is_same.map_err(|error| (dropped, error))? {
                same.insert(*run);
                dropped += usize::from(*begun != Version(0));
            }
        }
        Ok(same)
    }

    /// Deletes a run that was begun at this version; `false`: under its id there is another now, which stays.
    pub(super) fn drop_begun_at(&self, run: RunId, begun: Version) -> Result<bool, Error> {
        loop {
            // Held until the run is gone: by it the shard knows that it is no other yet.
            let snapshot = self.snapshot(run)?;
            let now = self.begun_at(run)?;
            if now == Version(0) || is_another(begun, now) {
                return Ok(now == Version(0));
            }
            let mut request = CommitRequest::new(run);
            request.snapshot = Some(snapshot.version());
            let user = KeyBytes::default();
            request.reads.push(ReadKey { key: Key { run, tag: Tag::Run, user } });
            request.writes.push((run, Write::DropRun));
            match self.commit_read_at(request, snapshot) {
                Err(Error::Write(WriteError::Conflict { found, .. })) => self.wait_visible(run, found)?,
                // An interrupted erase had come further.
                Ok(_) | Err(Error::UnknownRun { .. }) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether something was set aside of the logs that these runs were on, which may hold what the logs do not.
    pub(super) fn has_set_aside(&self, runs: &BTreeSet<RunId>) -> Result<bool, Error> {
        let Some(path) = &self.path else { return Ok(false) };
        let mut places = self.places_of(path, runs)?;
        places.extend(runs.iter().map(|run| self.checkpointer.dirs()[self.shard_of(*run)].clone()));
        for dir in places.into_iter().flat_map(|dir| [dir.join(ARCHIVE), dir]) {
            if has_set_aside(&*self.storage, &dir).map_err(HistoryError::from)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn erase_past(&self, path: &Path, runs: &BTreeSet<RunId>) -> Result<Erased, Error> {
        let storage = &self.storage;
        let mut judge = |run: &[u8; 16], payload: Option<&[u8]>| fate(runs, run, payload);
        let mut total = Erased::default();
        // The oldest first: of a run whose erasing is given up halfway, since another has its id by then, the beginning is missing,
        // and what is left is not taken for what it was.
        for dir in self.places_of(path, runs)? {
            let _alone = self.past.write().unwrap_or_else(PoisonError::into_inner);
            let io = |error: LogError| Error::from(HistoryError::from(error));
            // Nobody opens a kept generation: its checkpoints are of no use to its history.
            for (_, checkpoint) in list_checkpoints(&**storage, &dir).map_err(io)? {
                let failed = |source| OpenError::io("remove", &checkpoint, source);
                storage.remove(&checkpoint).map_err(failed)?;
            }
            remove_set_aside(&**storage, &dir).map_err(io)?;
            remove_set_aside(&**storage, &dir.join(ARCHIVE)).map_err(io)?;
            let dirs = vec![dir.clone(), dir.join(ARCHIVE)];
            add(&mut total, erase(storage, dirs, false, &mut judge).map_err(io)?);
        }
        let shards: BTreeSet<usize> = runs.iter().map(|run| self.shard_of(*run)).collect();
        for shard in shards {
            let dir = self.checkpointer.dirs()[shard].clone();
            let _one = self.checkpointer.retire_log(shard)?;
            let mut alone = self.past.write().unwrap_or_else(PoisonError::into_inner);
            // What was seen of segments that are written anew holds no more.
            alone[shard] = Mutex::default();
            remove_set_aside(&**storage, &dir).map_err(HistoryError::from)?;
            remove_set_aside(&**storage, &dir.join(ARCHIVE)).map_err(HistoryError::from)?;
            add(
                &mut total,
                erase(storage, vec![dir.join(ARCHIVE)], false, &mut judge).map_err(HistoryError::from)?,
            );
        }
        Ok(total)
    }
}

/// Flags of the note: the runs are to go with their past; with each run stands the version it was begun at.
const WHOLE: u8 = 1;
const WITH_VERSIONS: u8 = 2;

fn write_intent(
    storage: &dyn Storage,
    root: &Path,
    runs: &BTreeMap<RunId, Version>,
    whole: bool,
) -> Result<(), Error> {
    let mut bytes = vec![if whole { WHOLE | WITH_VERSIONS } else { WITH_VERSIONS }];
    for (run, begun) in runs {
        bytes.extend_from_slice(run.as_bytes());
        bytes.extend_from_slice(&begun.0.to_le_bytes());
    }
    // It may be there already where it is refused: only the sync of the directory failed.
    run_list::write(storage, root, ERASING, &bytes)
        .map_err(|error| take_back_intent(storage, root, error.into()))
}

/// Of an erase that was refused before anything was done, no later opening may find the note and do what was refused. Gives why it was
/// refused; and where the note may be there all the same, that.
fn take_back_intent(storage: &dyn Storage, root: &Path, refused: Error) -> Error {
    let path = root.join(ERASING.name);
    // By its bytes first, since its name may come back with a power cut where the directory cannot be synced.
    let emptied = run_list::make_void(storage, root, ERASING);
    let removed = storage.remove(&path).and_then(|()| storage.sync_dir(root));
    match (emptied, removed) {
        (Ok(()), _) | (_, Ok(())) => refused,
        (Err(source), Err(_)) => {
            HistoryError::EraseMayFollow { path, refused: refused.to_string(), source: Arc::new(source) }
                .into()
        }
    }
}

/// The runs, each with the version it was begun at where that was noted, and whether they are to go whole.
#[allow(clippy::type_complexity, reason = "read in one place")]
fn read_intent(
    storage: &dyn Storage,
    root: &Path,
) -> Result<Option<(BTreeMap<RunId, Option<Version>>, bool)>, OpenError> {
    let Some(bytes) = run_list::read(storage, root, ERASING)? else { return Ok(None) };
    let (flags, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let each = if flags & WITH_VERSIONS == 0 { 16 } else { 24 };
    let runs = rest.chunks_exact(each).filter_map(|noted| {
        let (run, begun) = noted.split_at(16);
        let begun = begun.try_into().ok().map(|begun| Version(u64::from_le_bytes(begun)));
        Some((RunId::from_bytes(run.try_into().ok()?), begun))
    });
    Ok(Some((runs.collect(), flags & WHOLE != 0)))
}

fn remove_intent(storage: &dyn Storage, root: &Path) -> Result<(), OpenError> {
    let path = root.join(ERASING.name);
    storage
        .remove(&path)
        .and_then(|()| storage.sync_dir(root))
        .map_err(|source| OpenError::io("remove", &path, source))
}
