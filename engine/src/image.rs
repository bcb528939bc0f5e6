//! A whole database written at once, as checkpoints: what a change of the number of shards, a backup and a salvage make. It
//! counts when a manifest says so, which is the caller's last step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem_model::{RunId, Timestamp, Version};
use in_mem_wal::failpoint::{Failpoint, hit};
use in_mem_wal::limits::MIN_SEGMENT_BYTES;
use in_mem_wal::manifest::MANIFEST_NAME;
use in_mem_wal::{
    CheckpointInfo, CheckpointWriter, LogError, Lsn, Manifest, Mode, OpenMode, ShardLog, Storage,
};

use crate::error::OpenError;
use crate::history::run_list::IMPORTING;
use crate::open::directory::remove_tree;
use crate::open::recovery::generation_salt;
use crate::routing::shard_of;

/// The file, in the directory of a copy that is being made, that says so until its manifest is there. Without it, what is left of one
/// that was cut off early could not be told from the beginnings of an empty database. Beside a manifest it means nothing.
pub(crate) const UNFINISHED: &str = "UNFINISHED";

/// Makes a copy, which is a database of its own from when its manifest is there: `write` writes the generation that it names.
/// Where something fails, what was made is taken away again, as far as that can be done; one that is cut off is refused by name where
/// somebody opens it.
pub(crate) fn make_copy<T, E: From<OpenError>>(
    storage: &dyn Storage,
    to: &Path,
    on_file_system: bool,
    manifest: &Manifest,
    write: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mark = to.join(UNFINISHED);
    let begin = || {
        storage.open(&mark, OpenMode::Truncate)?.sync_data()?;
        storage.sync_dir(to)
    };
    let made = begin()
        .map_err(|source| OpenError::io("write", &mark, source).into())
        .and_then(|()| write())
        .and_then(|made| match manifest.write(storage, to) {
            Ok(()) => Ok(made),
            Err(error) => Err(OpenError::from(error).into()),
        });
    let all_away = made.is_ok() || take_away(storage, to, on_file_system, manifest).is_ok();
    if all_away {
        // Best effort: it means nothing any more.
        let _ = storage.remove(&mark);
    }
    made
}

/// Takes away what was made of a copy: its name first.
fn take_away(
    storage: &dyn Storage,
    to: &Path,
    on_file_system: bool,
    manifest: &Manifest,
) -> Result<(), OpenError> {
    let path = to.join(MANIFEST_NAME);
    let notes =
        [&path, &to.join(IMPORTING.name)].map(|path| [path.clone(), path.with_added_extension("tmp")]);
    let unname = || {
        for path in notes.as_flattened() {
            if storage.exists(path)? {
                storage.remove(path)?;
            }
        }
        storage.sync_dir(to)
    };
    unname().map_err(|source| OpenError::io("remove", &path, source))?;
    let generation = Manifest::generation_dir(to, manifest.generation);
    match storage.exists(&generation) {
        Ok(false) => Ok(()),
        _ => remove_tree(storage, &generation, on_file_system),
    }
}

/// Writes a generation of shards.
#[derive(Debug)]
pub(crate) struct ImageWriter {
    storage: Arc<dyn Storage>,
    dirs: Vec<PathBuf>,
    writers: Vec<CheckpointWriter>,
    seed: u64,
    pub(crate) entries: u64,
}

impl ImageWriter {
    /// Begins the generation that `manifest` will name, in the database's directory `root`. `moments`: what each shard
    /// stands at; `forks`: whether there are any.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        root: &Path,
        manifest: &Manifest,
        moments: &[(Version, Timestamp)],
        forks: bool,
    ) -> Result<Self, LogError> {
        let mut dirs = Vec::with_capacity(moments.len());
        let mut writers = Vec::with_capacity(moments.len());
        for (shard, (version, at)) in (0u16..manifest.shard_count).zip(moments) {
            let dir = Manifest::shard_dir(root, manifest.generation, shard);
            storage.create_dir_all(&dir).map_err(|source| LogError::Io {
                action: "make the directory",
                path: dir.clone(),
                source,
            })?;
            // It covers what is before the shard's first record: the log is new.
            let info =
                CheckpointInfo { shard, covers: Lsn::ZERO, version: version.0, timestamp: at.0, forks };
            writers.push(CheckpointWriter::create(storage.clone(), &dir, info)?);
            dirs.push(dir);
        }
        let seed = manifest.salt_seed.wrapping_add(generation_salt(manifest.generation));
        Ok(Self { storage, dirs, writers, seed, entries: 0 })
    }

    /// Adds an item to the shard that owns its run.
    pub(crate) fn push(&mut self, run: RunId, item: &[u8]) -> Result<(), LogError> {
        self.entries += 1;
        let shard = shard_of(run, self.writers.len());
        self.writers[shard].push(item)
    }

    /// Makes it durable: every shard's checkpoint, and a log that holds nothing yet. Gives the bytes.
    pub(crate) fn finish(self) -> Result<u64, LogError> {
        let mut bytes = 0;
        for (shard, (writer, dir)) in (0u16..).zip(self.writers.into_iter().zip(&self.dirs)) {
            bytes += writer.bytes();
            writer.finish()?;
            // Small: it holds nothing, and the next segment is as large as the settings say.
            let config = in_mem_wal::Config {
                segment_bytes: MIN_SEGMENT_BYTES,
                mode: Mode::Strict,
                shard,
                create: true,
            };
            let (log, _) =
                ShardLog::recover(self.storage.clone(), dir, config, self.seed, None, &mut |_| Ok(()))?;
            log.close()?;
            hit(Failpoint::ImageShard);
        }
        Ok(bytes)
    }
}
