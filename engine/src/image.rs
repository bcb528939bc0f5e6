//! A whole database written at once, as checkpoints: what a change of the number of shards, a backup and a salvage make. It
//! counts when a manifest says so, which is the caller's last step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem_model::{RunId, Timestamp, Version};
use in_mem_wal::failpoint::{Failpoint, hit};
use in_mem_wal::limits::MIN_SEGMENT_BYTES;
use in_mem_wal::{CheckpointInfo, CheckpointWriter, LogError, Lsn, Manifest, Mode, ShardLog, Storage};

use crate::open::recovery::generation_salt;
use crate::routing::shard_of;

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
