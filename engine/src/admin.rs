//! What is done to a database that is not open: reading all of it without changing anything, and saving what can be read.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem_model::{RunId, Version};
use in_mem_shard::core::CheckpointItem;
use in_mem_shard::core::effect::EffectReader;
use in_mem_wal::checkpoint::list_checkpoints;
use in_mem_wal::{CheckpointReader, DiskStorage, Lsn, Manifest, Storage};
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
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
    /// Everything worth telling.
    pub problems: Vec<Problem>,
}

impl CheckReport {
    /// Whether nothing serious was found.
    pub fn sound(&self) -> bool {
        !self.problems.iter().any(|problem| problem.serious)
    }
}

/// Reads everything of a database that is not open: manifest, checkpoints and log, down to every value. Changes nothing.
///
/// # Errors
/// [`OpenError`]: there is no database there, somebody has it open, or its directory cannot be read. Damage is no
/// error but in the report.
pub fn check(path: &Path) -> Result<CheckReport, OpenError> {
    let _alone = Alone::be(path)?;
    check_on(&(Arc::new(DiskStorage) as Arc<dyn Storage>), path)
}

/// [`check`], on a storage of one's own.
///
/// # Errors
/// As [`check`].
pub fn check_on(storage: &Arc<dyn Storage>, path: &Path) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport { path: path.to_owned(), ..CheckReport::default() };
    let (generation, shards) = shards_of(&**storage, path, &mut report.problems)?;
    report.generation = generation;
    for shard in 0..shards {
        let dir = Manifest::shard_dir(path, generation, shard);
        report.problems.extend(lost_beginning(&**storage, path, generation, &dir));
        let checked = check_shard(&**storage, &dir, shard, &mut report.problems);
        report.shards.push(checked);
    }
    Ok(report)
}

/// The generation that counts and its number of shards: as the manifest says, or, where that is damaged, as the newest
/// directory shows that was finished.
fn shards_of(
    storage: &dyn Storage,
    path: &Path,
    problems: &mut Vec<Problem>,
) -> Result<(u64, u16), OpenError> {
    let list = |dir: &Path| storage.read_dir(dir).map_err(|source| OpenError::io("list", dir, source));
    let names = list(path)?;
    let what = match read_manifest(storage, path) {
        Ok(Some(manifest)) => return Ok((manifest.generation, manifest.shard_count)),
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
    Ok((generation, shards))
}

/// What is missing where a shard began with a checkpoint and there is none, however whole its log is.
fn lost_beginning(storage: &dyn Storage, path: &Path, generation: u64, shard: &Path) -> Option<Problem> {
    let based = match read_manifest(storage, path) {
        Ok(Some(manifest)) => has_base_checkpoint(&manifest),
        // All but the first do.
        _ => generation > FIRST_GENERATION,
    };
    let none = list_checkpoints(storage, shard).is_ok_and(|checkpoints| checkpoints.is_empty());
    (based && none).then(|| Problem {
        file: shard.to_owned(),
        offset: 0,
        bytes: 0,
        what: "the shard began with a checkpoint, and there is none: what it held before its log is missing"
            .to_owned(),
        serious: true,
    })
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

fn check_shard(storage: &dyn Storage, dir: &Path, shard: u16, problems: &mut Vec<Problem>) -> ShardCheck {
    let mut checked = ShardCheck { shard: usize::from(shard), ..ShardCheck::default() };
    let serious = |file: &Path, offset: u64, what: String| Problem {
        file: file.to_owned(),
        offset,
        bytes: 0,
        what,
        serious: true,
    };
    let mut covers: Option<Lsn> = None;
    match list_checkpoints(storage, dir) {
        Err(error) => problems.push(serious(dir, 0, error.to_string())),
        Ok(checkpoints) => {
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
        let mut effects = EffectReader::new(record.payload, RunId::from_bytes(record.run));
        loop {
            match effects.next() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => {
                    let what =
                        format!("the transaction at version {} cannot be read: {error}", record.version);
                    problems.push(serious(dir, record.position.offset, what));
                    return Ok(());
                }
            }
        }
    });
    if let Err(error) = read {
        problems.push(serious(dir, 0, error.to_string()));
    }
    checked
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

/// That nobody has the database open, without writing into it.
struct Alone(#[allow(dead_code, reason = "held for its lock")] Option<File>);

impl Alone {
    fn be(path: &Path) -> Result<Self, OpenError> {
        let lock = path.join("LOCK");
        let Ok(mut file) = File::open(&lock) else { return Ok(Self(None)) };
        match file.try_lock_shared() {
            Ok(()) => Ok(Self(Some(file))),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // For the message only.
                let _ = file.by_ref().take(32).read_to_string(&mut pid);
                Err(OpenError::Locked { path: path.to_owned(), pid: pid.trim().parse().ok() })
            }
            Err(TryLockError::Error(source)) => Err(OpenError::io("lock", &lock, source)),
        }
    }
}
