//! Opening a database: its directory, its manifest, its shards, each recovered on a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use in_mem_model::{RunId, Timestamp, Version};
use in_mem_shard::Actor;
use in_mem_shard::core::{Log, ReplayError, ShardCore};
use in_mem_shard::index::{IndexConfig, IndexWriter};
use in_mem_shard::turn::{Options, Shard};
use in_mem_wal::{DiskStorage, Mode, ShardLog, Storage};

use crate::config::Config;
use crate::durability::Durability;
use crate::engine::{Engine, ShardHandle};
use crate::error::{Error, OpenError};
use crate::history::commits::LogPlaces;
use crate::pinning;

/// A shard's core with its state back, and what there was to say.
struct Recovered {
    core: ShardCore,
    note: Option<String>,
}

impl Engine {
    /// A database that lives in memory only.
    ///
    /// # Errors
    /// [`OpenError`]: a setting cannot be, a thread could not be started.
    pub fn in_memory(config: Config) -> Result<Self, Error> {
        config.check()?;
        let shards = config.shards.unwrap_or_else(pinning::available_cores);
        let config = Config { durability: Durability::InMemory, ..config };
        let cores = (0..shards)
            .map(|_| Recovered { core: ShardCore::new(index(&config), Log::None), note: None })
            .collect();
        start(config, cores, None, None)
    }

    /// Opens the database in a directory, making it where there is none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, config: Config) -> Result<Self, Error> {
        config.check()?;
        let storage: Arc<dyn Storage> = config.storage.clone().unwrap_or_else(|| Arc::new(DiskStorage));
        let directory = Directory::open(path, &*storage, &config)?;
        let recovered = recover_all(&directory, &storage, &config)?;
        let logs = LogPlaces {
            storage,
            shards: (0..directory.shards).map(|shard| directory.shard(shard)).collect(),
        };
        start(config, recovered, Some(directory), Some(logs))
    }
}

fn index(config: &Config) -> IndexWriter {
    let seed = config.hash_seed.unwrap_or_else(|| {
        use std::hash::{BuildHasher, Hasher, RandomState};
        RandomState::new().build_hasher().finish()
    });
    let mut settings = IndexConfig::new(seed);
    settings.snapshot_bytes_limit = config.snapshot_limit_bytes;
    IndexWriter::new(settings)
}

/// A database's directory, locked.
struct Directory {
    path: PathBuf,
    shards: usize,
    seed: u64,
}

impl Directory {
    fn open(path: &Path, storage: &dyn Storage, config: &Config) -> Result<Self, OpenError> {
        storage.create_dir_all(path).map_err(|source| OpenError::Io {
            attempted: "make the directory",
            path: path.to_owned(),
            source: Arc::new(source),
        })?;
        Ok(Self {
            path: path.to_owned(),
            shards: config.shards.unwrap_or_else(pinning::available_cores),
            seed: 42,
        })
    }

    fn shard(&self, shard: usize) -> PathBuf {
        self.path.join(format!("gen-0001/shard-{shard:04}"))
    }
}

fn recover_all(
    directory: &Directory,
    storage: &Arc<dyn Storage>,
    config: &Config,
) -> Result<Vec<Recovered>, OpenError> {
    if directory.shards == 1 || !config.background {
        return (0..directory.shards)
            .map(|shard| recover(directory, shard, storage.clone(), config))
            .collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..directory.shards)
            .map(|shard| scope.spawn(move || recover(directory, shard, storage.clone(), config)))
            .collect();
        threads
            .into_iter()
            .enumerate()
            .map(|(shard, thread)| {
                thread.join().unwrap_or_else(|panic| {
                    let reason = in_mem_shard::core::transaction::panic_message(&*panic).to_string();
                    Err(OpenError::Thread { shard, reason: format!("recovery panicked: {reason}") })
                })
            })
            .collect()
    })
}

fn recover(
    directory: &Directory,
    shard: usize,
    storage: Arc<dyn Storage>,
    config: &Config,
) -> Result<Recovered, OpenError> {
    let mut core = ShardCore::new(index(config), Log::None);
    let mode = if config.durability == Durability::Strict { Mode::Strict } else { Mode::Buffered };
    let shard_number =
        u16::try_from(shard).map_err(|_| OpenError::Thread { shard, reason: "too many".to_owned() })?;
    let log_config =
        in_mem_wal::Config { segment_bytes: config.segment_bytes, mode, shard: shard_number, create: true };
    let mut refused: Option<ReplayError> = None;
    let seed = directory.seed.wrapping_add(shard as u64);
    let recovered =
        ShardLog::recover(storage, &directory.shard(shard), log_config, seed, None, &mut |record| {
            let (run, at) = (RunId::from_bytes(record.run), Timestamp(record.timestamp));
            core.replay(run, Version(record.version), at, record.payload).map_err(|error| {
                refused = Some(error.clone());
                error.into()
            })
        });
    let (log, report) = match (recovered, refused) {
        (_, Some(source)) => return Err(OpenError::Replay { shard, source }),
        (Err(error), None) => return Err(error.into()),
        (Ok(recovered), None) => recovered,
    };
    core.attach(Log::Wal(log));
    let note = report.torn.map(|torn| {
        format!(
            "shard {shard}: the log ended in {} at byte {} in the middle of a write; {} bytes that were never synced were set \
             aside in {}",
            torn.file.display(),
            torn.offset,
            torn.bytes,
            torn.copy.display()
        )
    });
    Ok(Recovered { core, note })
}

/// Starts every shard.
fn start(
    config: Config,
    recovered: Vec<Recovered>,
    directory: Option<Directory>,
    logs: Option<LogPlaces>,
) -> Result<Engine, Error> {
    let plan = pinning::plan(config.pinning, recovered.len());
    let (sync_interval_ms, sync_bytes) = match config.durability {
        Durability::Buffered { interval, bytes } => {
            (Some(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1)), bytes)
        }
        Durability::InMemory | Durability::Strict => (None, u64::MAX),
    };
    let mut notes = Vec::new();
    let mut shards = Vec::with_capacity(recovered.len());
    for (shard, (Recovered { mut core, note }, pinned)) in recovered.into_iter().zip(&plan.cores).enumerate()
    {
        notes.extend(note);
        let reader = core.index_mut().reader();
        let forks = core.fork_marks();
        let pinned = *pinned;
        let options = Options {
            execution: config.execution,
            inbox_capacity: config.inbox_capacity,
            sync_interval_ms,
            background: config.background,
            thread_name: format!("in-mem-shard-{shard}"),
            on_home_start: pinned.map(|core| -> Box<dyn FnOnce() + Send> {
                Box::new(move || {
                    core_affinity::set_for_current(core);
                })
            }),
            ..Options::default()
        };
        let actor = Actor::new(core, config.clock.clone(), sync_bytes);
        let turn = Shard::start(actor, options)
            .map_err(|error| OpenError::Thread { shard, reason: error.to_string() })?;
        shards.push(ShardHandle { turn, reader, forks });
    }
    Ok(Engine {
        shards,
        clock: config.clock,
        durability: config.durability,
        snapshot_limit_bytes: config.snapshot_limit_bytes,
        path: directory.as_ref().map(|d| d.path.clone()),
        logs,
        unpinned: plan.reason,
        notes,
        closed: AtomicBool::new(false),
    })
}
