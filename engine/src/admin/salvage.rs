//! Saving what can be read of a damaged database into a new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem_model::{RunId, Timestamp, Version};
use in_mem_shard::core::{CheckpointItem, Log, ShardCore, effects_of};
use in_mem_wal::checkpoint::list_checkpoints;
use in_mem_wal::{CheckpointReader, DirLock, DiskStorage, LogError, Lsn, Manifest, ReadLock, Storage};
use serde::{Deserialize, Serialize};

use super::{Problem, Shards, readable, segment_of, serious, shards_of};
use crate::backup::{lies_in, refuse_what_is_there};
use crate::checkpoint::ARCHIVE;
use crate::config::Config;
use crate::error::OpenError;
use crate::history::run_list::IMPORTING;
use crate::history::{copy_arriving, read_arriving};
use crate::image::{ImageWriter, make_copy};
use crate::open::directory::{FIRST_GENERATION, based_on_checkpoints};
use crate::open::reshard::write_core;
use crate::open::{index, random_seed};
use crate::routing::ROUTING_NAME;

/// What could be saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageReport {
    /// The new database.
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub path: PathBuf,
    /// Runs saved.
    pub runs: u64,
    /// Entries saved.
    pub entries: u64,
    /// Entries that came from checkpoints.
    pub from_checkpoints: u64,
    /// Transactions that came from the log.
    pub from_log: u64,
    /// What could not be read, and what is missing between what could.
    pub lost: Vec<Problem>,
}

/// Writes what can be read of the database in `from` into a new one in `to`, which is empty or not there yet. `from` stays as
/// it is.
///
/// Where something is missing, what comes out is not a state that the database ever had: later transactions may build
/// on lost ones. The report lists what is missing.
///
/// # Errors
/// [`OpenError`]: there is no database in `from`, somebody has it open, there is something in `to`, or it lies in `from`, the disk
/// refused. What is refused makes nothing, and what failed is taken away again.
pub fn salvage(from: &Path, to: &Path) -> Result<SalvageReport, OpenError> {
    let _nobody = ReadLock::acquire(from)?;
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage);
    refuse_what_is_there(&*storage, to)?;
    shards_of(&*storage, from, &mut Vec::new())?;
    if lies_in(to, from) {
        return Err(OpenError::Inside { path: to.to_owned(), of: from.to_owned() });
    }
    storage.create_dir_all(to).map_err(|source| OpenError::io("make the directory", to, source))?;
    let mut lock = DirLock::acquire(to)?;
    lock.announce()?;
    salvage_into(&storage, from, to, true)
}

/// [`salvage`], on a storage of one's own.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_on(storage: &Arc<dyn Storage>, from: &Path, to: &Path) -> Result<SalvageReport, OpenError> {
    salvage_into(storage, from, to, false)
}

fn salvage_into(
    storage: &Arc<dyn Storage>,
    from: &Path,
    to: &Path,
    on_file_system: bool,
) -> Result<SalvageReport, OpenError> {
    refuse_what_is_there(&**storage, to)?;
    let mut report = SalvageReport { path: to.to_owned(), ..SalvageReport::default() };
    let Shards { generation, shards, is_based } = shards_of(&**storage, from, &mut report.lost)?;
    let arriving = read_arriving(&**storage, from).unwrap_or_else(|error| {
        let what = format!("{error}; runs whose import was cut off are saved as if they were whole");
        report.lost.push(Problem {
            file: from.join(IMPORTING.name),
            offset: 0,
            bytes: 0,
            what,
            serious: true,
        });
        Default::default()
    });
    let mut cores = Vec::with_capacity(usize::from(shards));
    for shard in 0..shards {
        let dir = Manifest::shard_dir(from, generation, shard);
        cores.push(read_shard(&**storage, &dir, shard, is_based, &mut report)?);
    }
    let manifest = based_on_checkpoints(Manifest {
        shard_count: shards,
        routing_hash: ROUTING_NAME.to_owned(),
        generation: FIRST_GENERATION,
        salt_seed: random_seed(),
        properties: std::collections::BTreeMap::new(),
    });
    let version = cores.iter().map(ShardCore::version).max().unwrap_or_default();
    let moments: Vec<_> = cores.iter().map(|core| (version, core.now())).collect();
    let forks = cores.iter().any(ShardCore::has_forks);
    storage.create_dir_all(to).map_err(|source| OpenError::io("make the directory", to, source))?;
    make_copy(&**storage, to, on_file_system, &manifest, || {
        let mut image = ImageWriter::create(storage.clone(), to, &manifest, &moments, forks)?;
        for (shard, core) in cores.iter_mut().enumerate() {
            report.runs += write_core(core, shard, &mut |run, item| image.push(run, item))?;
        }
        report.entries = image.entries - report.runs;
        image.finish()?;
        copy_arriving(&**storage, to, &arriving)
    })?;
    Ok(report)
}

/// One shard, from the newest checkpoint that can be read at all and every transaction of the log that can be.
fn read_shard(
    storage: &dyn Storage,
    dir: &Path,
    shard: u16,
    is_based: bool,
    report: &mut SalvageReport,
) -> Result<ShardCore, OpenError> {
    let config = Config::default();
    let mut core = ShardCore::new(index(&config), Log::None);
    let checkpoints = match list_checkpoints(storage, dir) {
        Ok(checkpoints) => checkpoints,
        Err(error) => {
            report.lost.push(serious(dir, 0, error.to_string()));
            return Ok(core);
        }
    };
    if is_based && checkpoints.is_empty() {
        // However whole the log behind it is.
        let missing = LogError::NoCheckpoint { dir: dir.to_owned() };
        report.lost.push(serious(dir, 0, missing.to_string()));
    }
    // A whole one, where there is one; of damaged ones, what comes before the damage.
    let mut parts: Vec<Part> = Vec::new();
    let mut whole = None;
    for (_, path) in checkpoints {
        let mut reader = match CheckpointReader::open(storage, &path, shard) {
            Ok(reader) => reader,
            Err(error) => {
                report.lost.push(serious(&path, 0, error.to_string()));
                continue;
            }
        };
        let info = reader.info();
        let mut items = Vec::new();
        let damage = loop {
            match reader.next_entry() {
                Ok(Some(item)) => items.push(item.to_vec()),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let part = Part { version: Version(info.version), at: Timestamp(info.timestamp), items };
        match damage {
            None => {
                whole = Some((info.covers, part));
                break;
            }
            Some(error) => {
                let what = format!("{error}; {} entries before it are saved", part.items.len());
                report.lost.push(serious(&path, 0, what));
                parts.push(part);
            }
        }
    }
    let covers = whole.as_ref().map_or(Lsn::ZERO, |(covers, _)| *covers);
    let mut dirs = vec![dir.to_owned()];
    if whole.is_none() {
        // No checkpoint takes the place of what was archived.
        dirs.push(dir.join(ARCHIVE));
    }
    let source = Source { storage, dir, dirs, covers };
    let mut through = Version(0);
    if let Some((_, part)) = whole {
        load(&mut core, &part, dir, report);
        through = part.version;
    }
    // Oldest first: the log up to each, then what it holds, so that for every key the newest that is left comes last.
    for part in parts.iter().rev() {
        replay(&source, &mut core, through, part.version, report)?;
        load(&mut core, part, dir, report);
        through = part.version;
    }
    replay(&source, &mut core, through, Version(u64::MAX), report)?;
    Ok(core)
}

/// What could be read of one checkpoint.
struct Part {
    version: Version,
    at: Timestamp,
    items: Vec<Vec<u8>>,
}

/// A shard's log, and what a whole checkpoint makes up for of it.
struct Source<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    dirs: Vec<PathBuf>,
    covers: Lsn,
}

fn load(core: &mut ShardCore, part: &Part, dir: &Path, report: &mut SalvageReport) {
    for item in &part.items {
        match CheckpointItem::decode(item) {
            Ok(item) => report.from_checkpoints += u64::from(core.load_newer(item)),
            Err(error) => report.lost.push(Problem {
                file: dir.to_owned(),
                offset: 0,
                bytes: item.len() as u64,
                what: format!("an entry of the checkpoint at version {}: {error}", part.version),
                serious: true,
            }),
        }
    }
    core.loaded(part.version, part.at);
}

/// Applies the transactions of the log behind one version and through another.
fn replay(
    source: &Source<'_>,
    core: &mut ShardCore,
    after: Version,
    through: Version,
    report: &mut SalvageReport,
) -> Result<(), OpenError> {
    let mut unreadable = Vec::new();
    let mut applied = 0;
    let read =
        in_mem_wal::check::salvage_after(source.storage, &source.dirs, source.covers, &mut |record| {
            let version = Version(record.version);
            if version <= after || version > through || version <= core.version() {
                return Ok(());
            }
            let run = RunId::from_bytes(record.run);
            // First all of it: a transaction is applied whole or not at all.
            let outcome = effects_of(&record).map_err(|error| error.to_string()).and_then(|payload| {
                let at = Timestamp(record.timestamp);
                readable(payload, run).map_err(|error| error.to_string())?;
                core.replay(run, version, at, payload).map_err(|error| error.to_string())
            });
            match outcome {
                Ok(()) => applied += 1,
                Err(what) => unreadable.push(Problem {
                    file: segment_of(source.dir, &record),
                    offset: record.position.offset,
                    bytes: record.payload.len() as u64,
                    what: format!("the transaction at version {version}: {what}"),
                    serious: true,
                }),
            }
            Ok(())
        })?;
    report.from_log += applied;
    if through == Version(u64::MAX) {
        report.lost.extend(read.lost.into_iter().map(Problem::from));
    }
    report.lost.extend(unreadable);
    Ok(())
}
