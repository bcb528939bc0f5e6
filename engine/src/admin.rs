//! What is done to a database that is not open: reading all of it without changing anything, and saving what can be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem_model::codec::DecodeError;
use in_mem_model::{RunId, Version};
use in_mem_shard::core::effect::EffectReader;
use in_mem_shard::core::{CheckpointItem, effects_of};
use in_mem_wal::checkpoint::list_checkpoints;
use in_mem_wal::{
    CheckpointReader, DiskStorage, LogError, Lsn, Manifest, ReadLock, RecordView, Storage, check_history,
};
use serde::{Deserialize, Serialize};

use crate::checkpoint::ARCHIVE;
use crate::error::OpenError;
use crate::history::commits::kept_generations;
use crate::history::run_list::{self, ERASING, HELD, IMPORTING, RunList};
use crate::open::directory::{FIRST_GENERATION, has_base_checkpoint, read_manifest};

mod salvage;

pub use salvage::{SalvageReport, salvage, salvage_on};

/// The command that saves what can be read of the database in `path`.
pub fn salvage_command(path: &Path) -> String {
    in_mem_wal::salvage_command(&path.join(in_mem_wal::manifest::MANIFEST_NAME))
}

/// Something wrong, or worth knowing, about a file of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file.
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub file: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Bytes that could not be read; 0 where that is not the matter.
    pub bytes: u64,
    /// What it is.
    pub what: String,
    /// Whether opening would be refused for it, or something is lost; otherwise it is what a crash leaves.
    pub serious: bool,
}

impl From<in_mem_wal::Problem> for Problem {
    fn from(p: in_mem_wal::Problem) -> Self {
        Self { file: p.file, offset: p.offset, bytes: p.bytes, what: p.what, serious: p.serious }
    }
}

/// What was read of one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardCheck {
    /// Its number.
    pub shard: usize,
    /// Sound checkpoints.
    pub checkpoints: u64,
    /// Entries in them.
    pub checkpoint_entries: u64,
    /// Whole transactions in its log.
    pub transactions: u64,
    /// Segments of its log.
    pub segments: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How its log ends.
    pub end: Option<String>,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The database.
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub path: PathBuf,
    /// Which generation of shards counts.
    pub generation: u64,
    /// Each shard.
    pub shards: Vec<ShardCheck>,
    /// Everything worth telling of what the database is.
    pub problems: Vec<Problem>,
    /// What keeps the past of runs from being read, in the log, its archive and the generations kept for it. Opening does not miss it.
    pub history: Vec<Problem>,
}

impl CheckReport {
    /// Whether nothing serious was found.
    pub fn sound(&self) -> bool {
        self.can_be_opened() && !self.history.iter().any(|problem| problem.serious)
    }

    /// Whether nothing was found that opening is refused for.
    pub fn can_be_opened(&self) -> bool {
        !self.problems.iter().any(|problem| problem.serious)
    }
}

/// Reads everything of a database that is not open: manifest, checkpoints and log, down to every value; and its history, down to
/// every record. Changes nothing.
///
/// # Errors
/// [`OpenError`]: there is no database there, somebody has it open, or its directory cannot be read. Damage is no
/// error but in the report.
pub fn check(path: &Path) -> Result<CheckReport, OpenError> {
    let _nobody = ReadLock::acquire(path)?;
    check_on(&(Arc::new(DiskStorage) as Arc<dyn Storage>), path)
}

/// [`check`], on a storage of one's own.
///
/// # Errors
/// As [`check`].
pub fn check_on(storage: &Arc<dyn Storage>, path: &Path) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport { path: path.to_owned(), ..CheckReport::default() };
    let of = shards_of(&**storage, path, &mut report.problems)?;
    report.generation = of.generation;
    for shard in 0..of.shards {
        let dir = Manifest::shard_dir(path, of.generation, shard);
        let checked = check_shard(&**storage, &dir, shard, of.is_based, &mut report.problems);
        report.shards.push(checked);
    }
    let kept = kept_generations(&**storage, path).unwrap_or_default();
    for (generation, shards) in kept.into_iter().chain([(of.generation, of.shards)]) {
        for shard in 0..shards {
            let dir = Manifest::shard_dir(path, generation, shard);
            let dirs = [dir.clone(), dir.join(ARCHIVE)];
            match check_history(storage, &dirs, shard) {
                Ok(found) => report.history.extend(found.into_iter().map(Problem::from)),
                Err(error) => report.history.push(serious(&dir, 0, error.to_string())),
            }
        }
    }
    let damaged = |list: RunList| {
        let error = run_list::read(&**storage, path, list).err()?;
        Some(serious(&path.join(list.name), 0, error.to_string()))
    };
    // With it a database is not opened.
    report.problems.extend(damaged(IMPORTING));
    report.history.extend([ERASING, HELD].into_iter().filter_map(damaged));
    // What is told as a fault of the present need not be told twice.
    let CheckReport { problems, history, .. } = &mut report;
    history.retain(|past| !problems.iter().any(|present| present.serious && present.file == past.file));
    Ok(report)
}

fn serious(file: &Path, offset: u64, what: String) -> Problem {
    Problem { file: file.to_owned(), offset, bytes: 0, what, serious: true }
}

/// Which shards a database has.
struct Shards {
    generation: u64,
    shards: u16,
    /// Whether each of them began with a checkpoint.
    is_based: bool,
}

/// The generation that counts and its number of shards: as the manifest says, or, where that is damaged, as the newest
/// directory shows that was finished.
fn shards_of(storage: &dyn Storage, path: &Path, problems: &mut Vec<Problem>) -> Result<Shards, OpenError> {
    let list = |dir: &Path| storage.read_dir(dir).map_err(|source| OpenError::io("list", dir, source));
    let names = list(path)?;
    let what = match read_manifest(storage, path) {
        Ok(Some(manifest)) => {
            return Ok(Shards {
                generation: manifest.generation,
                shards: manifest.shard_count,
                is_based: has_base_checkpoint(&manifest),
            });
        }
        Ok(None) => "there is no manifest".to_owned(),
        Err(error @ OpenError::Log(_)) => error.to_string(),
        Err(error) => return Err(error),
    };
    let mut generations: Vec<u64> =
        names.iter().filter_map(|name| name.strip_prefix("gen-")?.parse().ok()).collect();
    generations.sort_unstable();
    let newest = generations.last().copied();
    // One that a change of the number of shards was cut off in the middle of is not what counts.
    let whole = generations
        .into_iter()
        .rev()
        .find(|generation| !is_unfinished(storage, &Manifest::generation_dir(path, *generation)));
    let Some(generation) = whole.or(newest) else {
        return Err(OpenError::NotADatabase {
            path: path.to_owned(),
            example: names.first().cloned().unwrap_or_else(|| "no file at all".to_owned()),
        });
    };
    let file = path.join(in_mem_wal::manifest::MANIFEST_NAME);
    problems.push(Problem { file, offset: 0, bytes: 0, what, serious: true });
    let shards = list(&Manifest::generation_dir(path, generation))?
        .iter()
        .filter_map(|name| name.strip_prefix("shard-")?.parse::<u16>().ok())
        .max()
        .map_or(0, |last| last.saturating_add(1));
    // Those behind the first are made of checkpoints.
    Ok(Shards { generation, shards, is_based: generation > FIRST_GENERATION })
}

/// Whether a generation is one that was being written: of some shard there is no more than the beginning of its first checkpoint,
/// or of all of them nothing.
fn is_unfinished(storage: &dyn Storage, generation: &Path) -> bool {
    let (mut any, mut begun) = (false, false);
    for shard in storage.read_dir(generation).unwrap_or_default() {
        let files = storage.read_dir(&generation.join(shard)).unwrap_or_default();
        let is_there = files.iter().any(|file| file.ends_with(".wal") || file.ends_with(".ckpt"));
        any |= is_there;
        begun |= !is_there && files.iter().any(|file| file.ends_with(".ckpt.part"));
    }
    begun || !any
}

fn check_shard(
    storage: &dyn Storage,
    dir: &Path,
    shard: u16,
    is_based: bool,
    problems: &mut Vec<Problem>,
) -> ShardCheck {
    let mut checked = ShardCheck { shard: usize::from(shard), ..ShardCheck::default() };
    let mut covers: Option<Lsn> = None;
    match list_checkpoints(storage, dir) {
        Err(error) => problems.push(serious(dir, 0, error.to_string())),
        Ok(checkpoints) => {
            if is_based && checkpoints.is_empty() {
                let missing = LogError::NoCheckpoint { dir: dir.to_owned() };
                problems.push(serious(dir, 0, missing.to_string()));
            }
            for (at, path) in checkpoints {
                match check_checkpoint(storage, &path, shard, &mut checked) {
                    Ok(()) => covers = covers.or(Some(at)),
                    Err(what) => problems.push(serious(&path, 0, what)),
                }
            }
        }
    }
    match in_mem_wal::check(storage, dir, shard, covers) {
        Err(error) => problems.push(serious(dir, 0, error.to_string())),
        Ok(log) => {
            checked.segments = log.segments;
            checked.bytes += log.bytes;
            checked.end = log.end.map(|end| end.to_string());
            problems.extend(log.problems.into_iter().map(Problem::from));
        }
    }
    // The bytes are as they were written; are they what this version writes?
    let read = in_mem_wal::salvage(storage, dir, &mut |record| {
        checked.transactions += 1;
        let readable = effects_of(&record).map_err(|error| error.to_string()).and_then(|payload| {
            readable(payload, RunId::from_bytes(record.run)).map_err(|error| error.to_string())
        });
        if let Err(error) = readable {
            let what = format!("the transaction at version {} cannot be read: {error}", record.version);
            problems.push(serious(&segment_of(dir, &record), record.position.offset, what));
        }
        Ok(())
    });
    if let Err(error) = read {
        problems.push(serious(dir, 0, error.to_string()));
    }
    checked
}

fn segment_of(dir: &Path, record: &RecordView<'_>) -> PathBuf {
    dir.join(in_mem_wal::segment_name(record.position.segment))
}

fn readable(payload: &[u8], run: RunId) -> Result<(), DecodeError> {
    let mut effects = EffectReader::new(payload, run);
    while effects.next()?.is_some() {}
    Ok(())
}

fn check_checkpoint(
    storage: &dyn Storage,
    path: &Path,
    shard: u16,
    checked: &mut ShardCheck,
) -> Result<(), String> {
    let mut reader = CheckpointReader::open(storage, path, shard).map_err(|error| error.to_string())?;
    let version = Version(reader.info().version);
    let mut entries = 0;
    while let Some(entry) = reader.next_entry().map_err(|error| error.to_string())? {
        let item = CheckpointItem::decode(entry).map_err(|error| error.to_string())?;
        let newest = item.version();
        if newest > version {
            return Err(format!("an entry of version {newest} in a checkpoint at {version}"));
        }
        entries += 1;
    }
    checked.checkpoints += 1;
    checked.checkpoint_entries += entries;
    checked.bytes += reader.progress().1;
    Ok(())
}
