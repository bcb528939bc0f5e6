//! Starting the shards that recovery gave back, and what runs beside them.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use in_mem_shard::Actor;
use in_mem_shard::turn::{Options, Shard};
use in_mem_wal::Storage;

use super::directory::Directory;
use super::recovery::Recovered;
use crate::checkpoint::{Checkpointer, Intervals, Wake, Worker, wake_channel};
use crate::config::Config;
use crate::durability::Durability;
use crate::engine::{Engine, ShardHandle};
use crate::error::{Error, OpenError};
use crate::pinning;

/// How often a Strict shard's home thread looks whether the log is idle and its last group still lacks a witness.
const STRICT_MARK_INTERVAL_MS: u64 = 1_000;

/// What the worker is to do, once the engine is whole.
pub(crate) struct Background {
    due: Option<Intervals>,
    wakes: (Sender<Wake>, Receiver<Wake>),
}

impl Background {
    /// Starts the worker, where there is something for it to do.
    ///
    /// # Errors
    /// [`OpenError::Thread`].
    pub(crate) fn begin(self, engine: &Engine) -> Result<(), Error> {
        let Some(due) = self.due else { return Ok(()) };
        let failed =
            |error| OpenError::Thread { shard: 0, reason: format!("the checkpoint thread: {error}") };
        let worker = Worker::start(engine.for_worker(), due, self.wakes).map_err(failed)?;
        *engine.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
        Ok(())
    }
}

/// Starts every shard.
pub(crate) fn start(
    config: Config,
    recovered: Vec<Recovered>,
    storage: Arc<dyn Storage>,
    directory: Option<Directory>,
    mut notes: Vec<String>,
) -> Result<(Engine, Background), Error> {
    let plan = pinning::plan(config.pinning, recovered.len());
    let (sync_interval_ms, sync_bytes) = match config.durability {
        Durability::Buffered { interval, bytes } => {
            (Some(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1)), bytes)
        }
        Durability::Strict => (Some(STRICT_MARK_INTERVAL_MS), u64::MAX),
        Durability::InMemory => (None, u64::MAX),
    };
    let wakes = wake_channel();
    let mut shards = Vec::with_capacity(recovered.len());
    let mut loaded_from = Vec::with_capacity(recovered.len());
    for (shard, (recovered, pinned)) in recovered.into_iter().zip(&plan.cores).enumerate() {
        let Recovered { mut core, notes: said, checkpoint } = recovered;
        notes.extend(said);
        loaded_from.push(checkpoint);
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
        let mut actor = Actor::new(core, config.clock.clone(), sync_bytes);
        if let Some(limit_bytes) = config.checkpoint_log_bytes
            && config.background
        {
            let wake = wakes.0.clone();
            actor.on_log_growth(limit_bytes, move || {
                // Full: it will look round anyway. Gone: it ends before the shards do.
                let _ = wake.try_send(Wake);
            });
        }
        let turn = Shard::start(actor, options)
            .map_err(|error| OpenError::Thread { shard, reason: error.to_string() })?;
        shards.push(ShardHandle { turn, reader, forks });
    }
    let shards: Arc<[ShardHandle]> = shards.into();
    let checkpointer = Arc::new(Checkpointer::new(
        &config,
        shards.clone(),
        storage.clone(),
        directory.as_ref(),
        loaded_from,
    ));
    let has_directory = directory.is_some();
    let salt_seed = directory.as_ref().map(|directory| directory.manifest.salt_seed);
    let on_file_system = config.storage.is_none();
    let (path, lock) = directory.map_or((None, None), |directory| (Some(directory.path), directory.lock));
    let past = shards.iter().map(|_| Mutex::default()).collect();
    let engine = Engine {
        shards,
        clock: config.clock,
        durability: config.durability,
        snapshot_limit_bytes: config.snapshot_limit_bytes,
        path,
        storage,
        unpinned: plan.reason,
        notes,
        closed: Arc::default(),
        arrivals: Arc::default(),
        checkpointer,
        past: Arc::new(std::sync::RwLock::new(past)),
        pruning: Arc::default(),
        retention: config.retention.into(),
        retained: Arc::default(),
        without_past: Arc::default(),
        is_workers: false,
        salt_seed,
        on_file_system,
        worker: Mutex::new(None),
        lock: Mutex::new(lock),
    };
    let checkpoints =
        has_directory && (config.checkpoint_interval.is_some() || config.checkpoint_log_bytes.is_some());
    let retains = !engine.retention.is_empty();
    let due = (config.background && (checkpoints || retains)).then(|| Intervals {
        checkpoints: config.checkpoint_interval.filter(|_| has_directory),
        retention: retains.then_some(config.retention_interval),
    });
    Ok((engine, Background { due, wakes }))
}
