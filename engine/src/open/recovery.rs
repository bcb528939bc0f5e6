//! Getting every shard's state back: the newest sound checkpoint, then the log behind it. Shards are recovered side by side.
//! Nothing that recovery does hinders doing it again: an interrupted one is simply repeated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use in_mem_model::{RunId, Timestamp, Version};
use in_mem_shard::core::{Log, ReplayError, ShardCore, effects_of};
use in_mem_wal::checkpoint::{list_checkpoints, prune_checkpoints, remove_unfinished};
use in_mem_wal::failpoint::{Failpoint, hit};
use in_mem_wal::{
    CheckpointInfo, CheckpointReader, LogError, Lsn, Manifest, Mode, ReadLog, RecordView, ShardLog, Storage,
    read_from_beginning,
};

use super::directory::{Directory, has_base_checkpoint};
use super::index;
use crate::checkpoint::ARCHIVE;
use crate::config::Config;
use crate::durability::Durability;
use crate::error::OpenError;
use crate::pinning;
use crate::progress::{RecoveryPhase, RecoveryProgress};

/// How many entries or transactions pass between two reports of progress.
const PROGRESS_EVERY_ITEMS: u64 = 16_384;

/// How many transactions are applied before what they superseded is given back.
const PUBLISH_EVERY_ITEMS: u64 = 256;

/// A shard's core with its state back, and what there was to say.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) core: ShardCore,
    pub(crate) notes: Vec<String>,
    /// The checkpoint it was loaded from.
    pub(crate) checkpoint: Option<CheckpointInfo>,
}

impl Recovered {
    pub(crate) fn new(core: ShardCore) -> Self {
        Self { core, notes: Vec::new(), checkpoint: None }
    }
}

/// Where one shard is, and how its log is kept.
struct ShardPlace<'a> {
    storage: &'a Arc<dyn Storage>,
    config: &'a Config,
    dir: PathBuf,
    shard: usize,
    shards: usize,
    seed: u64,
    /// Whether the log is made, not found.
    create: bool,
    /// Whether there must be a checkpoint.
    based: bool,
}

pub(crate) fn recover_all(
    directory: &Directory,
    storage: &Arc<dyn Storage>,
    config: &Config,
) -> Result<Vec<Recovered>, OpenError> {
    recover_generation(directory, &directory.manifest, storage, config)
}

/// Recovers the generation that this manifest names, be it written or not.
pub(crate) fn recover_generation(
    directory: &Directory,
    manifest: &Manifest,
    storage: &Arc<dyn Storage>,
    config: &Config,
) -> Result<Vec<Recovered>, OpenError> {
    let places: Vec<_> = (0..manifest.shard_count)
        .map(|shard| ShardPlace {
            storage,
            config,
            dir: Manifest::shard_dir(&directory.path, manifest.generation, shard),
            shard: usize::from(shard),
            shards: usize::from(manifest.shard_count),
            seed: manifest.salt_seed.wrapping_add(generation_salt(manifest.generation)),
            create: directory.is_new(),
            based: has_base_checkpoint(manifest),
        })
        .collect();
    recover_places(&places)
}

/// Two generations number their segments alike, and must not salt them alike.
pub(crate) fn generation_salt(generation: u64) -> u64 {
    generation.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// All shards are read before anything is changed in one of them: where one is refused, the others stay as they are.
fn recover_places(places: &[ShardPlace<'_>]) -> Result<Vec<Recovered>, OpenError> {
    let read: Vec<_> = side_by_side(places, read)?.into_iter().map(|read| Mutex::new(Some(read))).collect();
    side_by_side(places, |place| {
        let read = read[place.shard].lock().unwrap_or_else(PoisonError::into_inner).take();
        let reason = || "a shard was recovered twice".to_owned();
        read.ok_or_else(|| OpenError::Thread { shard: place.shard, reason: reason() })?.go_on(place)
    })
}

/// Does the work of every shard, each on a thread where there are cores for it.
fn side_by_side<R: Send>(
    places: &[ShardPlace<'_>],
    work: impl Fn(&ShardPlace<'_>) -> Result<R, OpenError> + Sync,
) -> Result<Vec<R>, OpenError> {
    let threads = pinning::available_cores().min(places.len());
    if threads <= 1 || !places[0].config.background {
        return places.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<R, OpenError>>>> = places.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Relaxed: only tells the threads apart; the results are handed over by their locks.
                while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(place)))
                        .unwrap_or_else(|panic| {
                            let reason = in_mem_shard::core::transaction::panic_message(&*panic).to_string();
                            let reason = format!("recovery panicked: {reason}");
                            Err(OpenError::Thread { shard: place.shard, reason })
                        });
                    *done[place.shard].lock().unwrap_or_else(PoisonError::into_inner) = Some(worked);
                }
            });
        }
    });
    done.into_iter()
        .enumerate()
        .map(|(shard, result)| {
            result.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(|| {
                Err(OpenError::Thread { shard, reason: "recovery gave no answer".to_owned() })
            })
        })
        .collect()
}

/// A shard that was read and can be opened; nothing was changed in it yet.
struct Read {
    core: ShardCore,
    log: ReadLog,
    checkpoint: Option<CheckpointInfo>,
    /// Where an older state stands in for a damaged checkpoint.
    note: Option<String>,
}

impl Read {
    /// Goes on from it: from here on the shard is changed.
    fn go_on(self, place: &ShardPlace<'_>) -> Result<Recovered, OpenError> {
        let Self { mut core, log, checkpoint, note } = self;
        let (log, report) = log.go_on()?;
        core.attach(Log::Wal(log));
        if checkpoint.is_some() && note.is_none() {
            // What an interrupted checkpoint left, and the one before this.
            remove_unfinished(&**place.storage, &place.dir)?;
            prune_checkpoints(&**place.storage, &place.dir, 1)?;
        }
        let torn = report.torn.map(|torn| {
            format!(
                "shard {}: the log ended in {} at byte {} in the middle of a write; {} bytes that were never synced were \
                 set aside in {}",
                place.shard,
                torn.file.display(),
                torn.offset,
                torn.bytes,
                torn.copy.display()
            )
        });
        Ok(Recovered { core, notes: torn.into_iter().chain(note).collect(), checkpoint })
    }
}

impl ShardPlace<'_> {
    fn tell(&self, phase: RecoveryPhase, items: u64, bytes: u64, bytes_total: Option<u64>) {
        if let Some(progress) = &self.config.progress {
            let (shard, shards) = (self.shard, self.shards);
            progress.tell(RecoveryProgress { shard, shards, phase, items, bytes_total, bytes });
        }
    }

    fn number(&self) -> Result<u16, OpenError> {
        u16::try_from(self.shard)
            .map_err(|_| OpenError::Thread { shard: self.shard, reason: "too many shards".to_owned() })
    }
}

fn read(place: &ShardPlace<'_>) -> Result<Read, OpenError> {
    if place.create {
        return with_log(place, ShardCore::new(index(place.config), Log::None), None, None, None);
    }
    let storage = &**place.storage;
    let checkpoints = match list_checkpoints(storage, &place.dir) {
        Ok(checkpoints) => checkpoints,
        Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(LogError::Missing { dir: place.dir.clone() }.into());
        }
        Err(error) => return Err(error.into()),
    };
    let mut damage: Option<(Lsn, LogError)> = None;
    for (covers, path) in &checkpoints {
        let (core, info) = match load(place, path) {
            Ok(loaded) => loaded,
            Err(LoadFailure::Damaged(error)) => {
                damage.get_or_insert((*covers, error));
                continue;
            }
            Err(LoadFailure::Refused(error)) => return Err(error),
        };
        let note = match damage {
            Some((newest, error)) => Some(stand_in(place, Some(info.covers), newest, error)?),
            None => None,
        };
        return with_log(place, core, Some(info), Some(info.covers), note);
    }
    if place.based && damage.is_none() {
        return Err(OpenError::CheckpointLost {
            source: Arc::new(LogError::NoCheckpoint { dir: place.dir.clone() }),
            instead: "the shard began with a checkpoint, and there is none".to_owned(),
        });
    }
    let note = match damage {
        Some((_, error)) if place.based && !in_mem_wal::planted::is_planted("engine_forget_base") => {
            return Err(OpenError::CheckpointLost {
                source: Arc::new(error),
                instead: "the shard began with a checkpoint, and no other is sound".to_owned(),
            });
        }
        Some((newest, error)) => match stand_in(place, None, newest, error) {
            Err(OpenError::CheckpointLost { source, instead }) => {
                return from_archive(place, newest, source, &instead);
            }
            note => Some(note?),
        },
        None => None,
    };
    with_log(place, ShardCore::new(index(place.config), Log::None), None, None, note)
}

/// The state that the only checkpoint held, which is damaged, out of the log from its first record on, as far as it was archived;
/// then the log behind it as if it had been sound.
fn from_archive(
    place: &ShardPlace<'_>,
    newest: Lsn,
    damage: Arc<LogError>,
    instead: &str,
) -> Result<Read, OpenError> {
    let mut core = ShardCore::new(index(place.config), Log::None);
    core.begin_recovery();
    let (archive, mut applied) = (place.dir.join(ARCHIVE), Applied::default());
    let read =
        read_from_beginning(&**place.storage, &place.dir, &archive, place.number()?, newest, &mut |record| {
            Ok(replay(place, &mut core, &record, &mut applied)?)
        });
    if let Err(error) = read {
        let instead = format!("{instead}; and the archive: {error}");
        return Err(OpenError::CheckpointLost { source: damage, instead });
    }
    let note = format!(
        "shard {}: {damage}; nothing is lost: opened from the log's beginning, out of its archive; write a new checkpoint",
        place.shard
    );
    with_log(place, core, None, Some(newest), Some(note))
}

/// Transactions applied, and the bytes of their payloads.
#[derive(Default)]
struct Applied {
    items: u64,
    bytes: u64,
}

/// Applies one transaction of the log.
fn replay(
    place: &ShardPlace<'_>,
    core: &mut ShardCore,
    record: &RecordView<'_>,
    applied: &mut Applied,
) -> Result<(), ReplayError> {
    applied.items += 1;
    applied.bytes += record.payload.len() as u64;
    if applied.items.is_multiple_of(PROGRESS_EVERY_ITEMS) {
        place.tell(RecoveryPhase::Log, applied.items, applied.bytes, None);
    }
    let (run, at) = (RunId::from_bytes(record.run), Timestamp(record.timestamp));
    if applied.items.is_multiple_of(PUBLISH_EVERY_ITEMS) {
        core.publish(core.version());
    }
    core.replay_unpublished(run, Version(record.version), at, effects_of(record)?)
}

/// Whether an older checkpoint (or none) and the log lose nothing of what a damaged checkpoint held. Looked at before anything
/// is changed.
fn stand_in(
    place: &ShardPlace<'_>,
    covers: Option<Lsn>,
    newest: Lsn,
    damage: LogError,
) -> Result<String, OpenError> {
    let report = in_mem_wal::check(&**place.storage, &place.dir, place.number()?, covers)?;
    let instead = if let Some(problem) = report.problems.iter().find(|p| p.serious) {
        problem.what.clone()
    } else if report.last_lsn < newest {
        format!("the log ends at record {}, the checkpoint covered through {newest}", report.last_lsn)
    } else {
        let from =
            covers.map_or_else(|| "the log alone".to_owned(), |covers| format!("the one at record {covers}"));
        return Ok(format!(
            "shard {}: {damage}; nothing is lost: opened from {from}, with the log behind it; write a new checkpoint",
            place.shard
        ));
    };
    Err(OpenError::CheckpointLost { source: Arc::new(damage), instead })
}

enum LoadFailure {
    /// Another checkpoint may do.
    Damaged(LogError),
    Refused(OpenError),
}

impl From<LogError> for LoadFailure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Damaged { .. } => Self::Damaged(error),
            error => Self::Refused(error.into()),
        }
    }
}

fn load(place: &ShardPlace<'_>, path: &Path) -> Result<(ShardCore, CheckpointInfo), LoadFailure> {
    let number = place.number().map_err(LoadFailure::Refused)?;
    let mut reader = CheckpointReader::open(&**place.storage, path, number)?;
    let info = reader.info();
    let mut core = ShardCore::new(index(place.config), Log::None);
    core.begin_recovery();
    let mut items = 0u64;
    while let Some(entry) = reader.next_entry()? {
        core.load(entry).map_err(|source| {
            LoadFailure::Refused(OpenError::Checkpoint { path: path.to_owned(), source })
        })?;
        items += 1;
        if items.is_multiple_of(PROGRESS_EVERY_ITEMS) {
            let (bytes, total) = reader.progress();
            place.tell(RecoveryPhase::Checkpoint, items, bytes, Some(total));
        }
    }
    core.loaded(Version(info.version), Timestamp(info.timestamp));
    hit(Failpoint::RecoverLoaded);
    Ok((core, info))
}

/// Applies the log behind what the core holds: that of the checkpoint, or what was come by otherwise.
fn with_log(
    place: &ShardPlace<'_>,
    mut core: ShardCore,
    checkpoint: Option<CheckpointInfo>,
    from: Option<Lsn>,
    note: Option<String>,
) -> Result<Read, OpenError> {
    let config = place.config;
    let mode = if config.durability == Durability::Strict { Mode::Strict } else { Mode::Buffered };
    let log_config = in_mem_wal::Config {
        segment_bytes: config.segment_bytes,
        mode,
        shard: place.number()?,
        create: place.create,
    };
    core.begin_recovery();
    let mut refused: Option<ReplayError> = None;
    let mut applied = Applied::default();
    let read =
        ShardLog::read(place.storage.clone(), &place.dir, log_config, place.seed, from, &mut |record| {
            replay(place, &mut core, &record, &mut applied).map_err(|error| {
                refused = Some(error.clone());
                error.into()
            })
        });
    let log = match (read, refused) {
        (Err(LogError::Apply { file, offset, .. }), Some(source)) => {
            return Err(OpenError::Replay { file, offset, shard: place.shard, source });
        }
        (Err(error), _) => return Err(error.into()),
        (Ok(log), _) => log,
    };
    core.end_recovery();
    let Applied { items, bytes } = applied;
    place.tell(RecoveryPhase::Done, items, bytes, Some(bytes));
    Ok(Read { core, log, checkpoint, note })
}
