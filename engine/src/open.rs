//! Opening a database: its directory, its manifest, its shards, each recovered on a thread of its own.
//!
//! A directory is a database from the moment its manifest is there, and the manifest is the last thing that is made: so
//! whatever a crash leaves of a creation has no manifest and no commit, and is completed by the next opening.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use in_mem_model::RunId;
use in_mem_shard::core::{Log, ShardCore};
use in_mem_shard::index::{IndexConfig, IndexWriter};
use in_mem_wal::{DiskStorage, Storage, finish_archiving};

use crate::checkpoint::ARCHIVE;
use crate::config::Config;
use crate::durability::Durability;
use crate::engine::Engine;
use crate::error::{Error, OpenError};
use crate::history::read_arriving;
use crate::pinning;

pub(crate) mod directory;
pub(crate) mod recovery;
pub(crate) mod reshard;
mod start;

use directory::Directory;
use recovery::{Recovered, recover_all};

impl Engine {
    /// A database that lives in memory only.
    ///
    /// # Errors
    /// [`OpenError`]: a setting cannot be, a thread could not be started.
    pub fn in_memory(config: Config) -> Result<Self, Error> {
        config.check()?;
        let shards = config.shards.unwrap_or_else(pinning::available_cores);
        let config = Config { durability: Durability::InMemory, ..config };
        let cores = (0..shards).map(|_| Recovered::new(ShardCore::new(index(&config), Log::None))).collect();
        let storage: Arc<dyn Storage> = config.storage.clone().unwrap_or_else(|| Arc::new(DiskStorage));
        let (engine, background) = start::start(config, cores, storage, None, Vec::new())?;
        background.begin(&engine)?;
        Ok(engine)
    }

    /// Opens the database in a directory, making it where there is none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, config: Config) -> Result<Self, Error> {
        config.check()?;
        if config.durability == Durability::InMemory {
            let reason =
                "a database in a directory is Buffered or Strict; one in memory has no path".to_owned();
            return Err(OpenError::Setting { setting: "durability", reason }.into());
        }
        let storage: Arc<dyn Storage> = config.storage.clone().unwrap_or_else(|| Arc::new(DiskStorage));
        let mut directory = Directory::open(path, &storage, &config)?;
        let mut notes = std::mem::take(&mut directory.notes);
        for dir in directory.shard_dirs() {
            finish_archiving(&*storage, &dir, &dir.join(ARCHIVE))
                .map_err(|source| OpenError::Log(Arc::new(source)))?;
        }
        let arriving = match directory.is_importing {
            true => read_arriving(&*storage, path)?,
            false => BTreeSet::new(),
        };
        let mut recovered = recover_all(&directory, &storage, &config)?;
        directory.take_over(&*storage)?;
        if directory.is_new() {
            // The logs are there and hold nothing: from here on it is a database.
            directory.write_manifest(&*storage)?;
        }
        if let Some(shards) = config.shards
            && shards != recovered.len()
        {
            notes.extend(recovered.iter_mut().flat_map(|shard| std::mem::take(&mut shard.notes)));
            recovered = reshard::reshard(&mut directory, recovered, shards, &storage, &config, &mut notes)?;
        }
        let (mut engine, background) = start::start(config, recovered, storage, Some(directory), notes)?;
        let note = engine.end_imports(arriving)?;
        engine.notes.extend(note);
        let finished = {
            let _one = engine.pruning.lock().unwrap_or_else(PoisonError::into_inner);
            engine.finish_erase()
        };
        let note = match finished {
            Ok(None) => None,
            Ok(Some(runs)) => {
                Some(format!("erasing {runs} runs was interrupted before, and is finished now"))
            }
            // The database is whole; what is left to erase waits for the next opening.
            Err(error) => {
                Some(format!("erasing runs was interrupted before, and could not be finished: {error}"))
            }
        };
        engine.notes.extend(note);
        // Behind it: the first round of retention erases, too.
        background.begin(&engine)?;
        Ok(engine)
    }
}

impl Engine {
    /// Deletes the runs of imports that were cut off. Says what is to be noted of it.
    fn end_imports(&self, runs: BTreeSet<RunId>) -> Result<Option<String>, Error> {
        if runs.is_empty() {
            return Ok(None);
        }
        let count = runs.len();
        self.hide_left(runs)?;
        Ok(Some(match self.finish_arrivals() {
            Ok(()) => format!("an import was cut off before: its {count} runs are deleted now"),
            // Nobody sees them; what is left to delete waits for the next import or opening.
            Err(error) => {
                format!(
                    "an import was cut off before: its {count} runs are hidden, and could not be deleted: {error}"
                )
            }
        }))
    }
}

pub(crate) fn index(config: &Config) -> IndexWriter {
    let seed = config.hash_seed.unwrap_or_else(random_seed);
    let mut settings = IndexConfig::new(seed);
    settings.snapshot_bytes_limit = config.snapshot_limit_bytes;
    IndexWriter::new(settings)
}

/// A number that differs from process to process.
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
