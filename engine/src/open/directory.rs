//! A database's directory: whose it is, whether it may be opened, which generation of shards counts.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem_wal::failpoint::{Failpoint, hit};
use in_mem_wal::manifest::MANIFEST_NAME;
use in_mem_wal::{DirLock, LogError, Manifest, Storage, checkpoint};

use crate::config::Config;
use crate::error::OpenError;
use crate::history::run_list::IMPORTING;
use crate::image::UNFINISHED;
use crate::pinning;
use crate::routing::ROUTING_NAME;

/// The generation of a database that was never re-routed.
pub(crate) const FIRST_GENERATION: u64 = 1;

/// What a directory may hold before it is a database: what an interrupted creation or copy leaves, and what file systems put
/// into their roots.
const BEFORE_MANIFEST: [&str; 6] =
    ["LOCK", "MANIFEST.tmp", "lost+found", UNFINISHED, IMPORTING.name, "IMPORTING.tmp"];

/// The manifest's property that says that every shard of the generation began with a checkpoint, so that a shard without
/// one has lost it, however whole its log is.
const BASE_CHECKPOINT: &str = "base-checkpoint";

/// Prefix of the manifest's properties that name generations kept for their history; the value is their shard count.
pub(crate) const KEPT_GENERATION: &str = "kept-generation-";

/// A database's directory, locked.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) notes: Vec<String>,
    new: bool,
    /// Whether imports were cut off.
    pub(crate) is_importing: bool,
    /// Held as long as the database is open. None on a storage of the caller's own, which nobody else reaches.
    pub(crate) lock: Option<DirLock>,
}

fn io(attempted: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    move |source| OpenError::io(attempted, path, source)
}

/// The number in the name of a generation's directory.
fn generation_of(name: &str) -> Option<u64> {
    let number: u64 = name.strip_prefix("gen-")?.parse().ok()?;
    (format!("gen-{number:04}") == name).then_some(number)
}

/// The manifest of a directory, or why it is none of ours. `Ok(None)`: there may be a database made here.
pub(crate) fn read_manifest(storage: &dyn Storage, path: &Path) -> Result<Option<Manifest>, OpenError> {
    manifest_among(&names_in(storage, path)?, storage, path)
}

/// What is in a directory; nothing where there is none.
fn names_in(storage: &dyn Storage, path: &Path) -> Result<Vec<String>, OpenError> {
    match storage.read_dir(path) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(OpenError::NotADirectory { path: path.to_owned() })
        }
        Err(error) => Err(io("list", path)(error)),
    }
}

fn manifest_among(
    names: &[String],
    storage: &dyn Storage,
    path: &Path,
) -> Result<Option<Manifest>, OpenError> {
    if names.iter().any(|name| name == MANIFEST_NAME) {
        let manifest = Manifest::read(storage, path)?;
        if let Some(manifest) = &manifest {
            if manifest.routing_hash != ROUTING_NAME {
                return Err(OpenError::Routing {
                    path: path.to_owned(),
                    found: manifest.routing_hash.clone(),
                    known: ROUTING_NAME,
                });
            }
            if manifest.shard_count == 0 {
                let reason = "the manifest says that it has no shards".to_owned();
                return Err(OpenError::Setting { setting: "shards", reason });
            }
        }
        return Ok(manifest);
    }
    let stranger =
        |name: &&String| !BEFORE_MANIFEST.contains(&name.as_str()) && generation_of(name).is_none();
    if let Some(example) = names.iter().find(stranger) {
        return Err(OpenError::NotADatabase { path: path.to_owned(), example: example.clone() });
    }
    Ok(None)
}

impl Directory {
    /// Opens or makes the directory. Nothing is written into one that is something else's.
    pub(crate) fn open(path: &Path, storage: &Arc<dyn Storage>, config: &Config) -> Result<Self, OpenError> {
        // Before the lock, which is a file.
        read_manifest(&**storage, path)?;
        storage.create_dir_all(path).map_err(io("make the directory", path))?;
        let path = &*lasting(path, config.storage.is_none())?;
        let lock = if config.storage.is_none() { Some(DirLock::acquire(path)?) } else { None };
        // Again, now that nobody else can be making it.
        let names = names_in(&**storage, path)?;
        let found = manifest_among(&names, &**storage, path)?;
        let new = found.is_none();
        if !new && !in_mem_wal::planted::is_planted("engine_open_without_dir_sync") {
            // Whoever wrote the manifest may have been killed before it was durable under its name: a power cut would then bring
            // back the one before it, whose shards are removed here, or none.
            storage.sync_dir(path).map_err(io("sync the directory", path))?;
        }
        let manifest = match found {
            Some(manifest) => manifest,
            None => {
                refuse_orphans(&**storage, path)?;
                let shards = config.shards.unwrap_or_else(pinning::available_cores);
                Manifest {
                    shard_count: u16::try_from(shards).unwrap_or(u16::MAX),
                    routing_hash: ROUTING_NAME.to_owned(),
                    generation: FIRST_GENERATION,
                    salt_seed: config.hash_seed.unwrap_or_else(super::random_seed),
                    properties: std::collections::BTreeMap::new(),
                }
            }
        };
        let is_importing = names.iter().any(|name| name == IMPORTING.name);
        let mut directory =
            Self { path: path.to_owned(), manifest, notes: Vec::new(), new, is_importing, lock };
        if new {
            directory.remove_other_generations(&**storage)?;
        }
        Ok(directory)
    }

    /// That it is known to be sound, and is this process's to change from here on.
    pub(crate) fn take_over(&mut self, storage: &dyn Storage) -> Result<(), OpenError> {
        if let Some(lock) = &mut self.lock {
            lock.announce()?;
        }
        if self.new { Ok(()) } else { self.remove_other_generations(storage) }
    }

    /// Whether the manifest is yet to be written.
    pub(crate) fn is_new(&self) -> bool {
        self.new
    }

    pub(crate) fn write_manifest(&mut self, storage: &dyn Storage) -> Result<(), OpenError> {
        self.manifest.write(storage, &self.path)?;
        self.new = false;
        Ok(())
    }

    pub(crate) fn shard_dirs(&self) -> Vec<PathBuf> {
        (0..self.manifest.shard_count)
            .map(|shard| Manifest::shard_dir(&self.path, self.manifest.generation, shard))
            .collect()
    }

    /// The manifest of a new generation, which begins with checkpoints.
    pub(crate) fn next_generation(&self, shards: usize, keep_history: bool) -> Manifest {
        let mut next = based_on_checkpoints(Manifest {
            shard_count: u16::try_from(shards).unwrap_or(u16::MAX),
            generation: self.manifest.generation + 1,
            ..self.manifest.clone()
        });
        if keep_history {
            next.properties.insert(
                format!("{KEPT_GENERATION}{:04}", self.manifest.generation),
                self.manifest.shard_count.to_string(),
            );
        }
        next
    }

    /// Removes generations that do not count: what an interrupted re-routing left, before or after its decisive step.
    pub(crate) fn remove_other_generations(&mut self, storage: &dyn Storage) -> Result<(), OpenError> {
        for name in storage.read_dir(&self.path).map_err(io("list", &self.path))? {
            let Some(generation) = generation_of(&name) else { continue };
            let kept = self.manifest.properties.contains_key(&format!("{KEPT_GENERATION}{generation:04}"));
            if kept || (generation == self.manifest.generation && !self.new) {
                continue;
            }
            remove_tree(storage, &self.path.join(&name), self.lock.is_some())?;
        }
        Ok(())
    }
}

/// The name of a directory that goes on meaning it when the process goes to another working directory, or a link on the way to it
/// is turned elsewhere: files of the next segment must not go into whatever database the old name leads to by then.
pub(crate) fn lasting(path: &Path, on_file_system: bool) -> Result<PathBuf, OpenError> {
    if on_file_system { path.canonicalize().map_err(io("find", path)) } else { Ok(path.to_owned()) }
}

/// Whether every shard of the generation must have a checkpoint.
pub(crate) fn has_base_checkpoint(manifest: &Manifest) -> bool {
    manifest.properties.contains_key(BASE_CHECKPOINT)
}

/// Says that every shard of the generation begins with a checkpoint.
pub(crate) fn based_on_checkpoints(mut manifest: Manifest) -> Manifest {
    manifest.properties.insert(BASE_CHECKPOINT.to_owned(), "1".to_owned());
    manifest
}

/// A directory without a manifest may be a creation that was interrupted, which has committed nothing. One that has is a
/// database whose manifest is gone, or a backup that never ended: not to be mistaken for an empty one.
fn refuse_orphans(storage: &dyn Storage, path: &Path) -> Result<(), OpenError> {
    let unfinished = path.join(UNFINISHED);
    if storage.exists(&unfinished).map_err(io("look for", &unfinished))? {
        return Err(OpenError::ManifestMissing { path: path.to_owned(), example: unfinished });
    }
    for name in storage.read_dir(path).map_err(io("list", path))? {
        if generation_of(&name).is_none() {
            continue;
        }
        let generation = path.join(name);
        for shard in storage.read_dir(&generation).map_err(io("list", &generation))? {
            let dir = generation.join(&shard);
            if !shard.starts_with("shard-") {
                continue;
            }
            let checkpoints = checkpoint::list_checkpoints(storage, &dir)?;
            let mut example = checkpoints.first().map(|(_, path)| path.clone());
            if example.is_none() {
                let report = in_mem_wal::salvage(storage, &dir, &mut |_| Ok(()))?;
                if report.transactions > 0 {
                    example = Some(dir.clone());
                }
            }
            if let Some(example) = example {
                return Err(OpenError::ManifestMissing { path: path.to_owned(), example });
            }
        }
    }
    Ok(())
}

/// Removes a directory with all it holds, durably. Where directories themselves cannot be removed they stay, empty.
pub(crate) fn remove_tree(storage: &dyn Storage, path: &Path, on_file_system: bool) -> Result<(), OpenError> {
    for name in storage.read_dir(path).map_err(io("list", path))? {
        let inner = path.join(name);
        if storage.read_dir(&inner).is_ok() {
            remove_tree(storage, &inner, on_file_system)?;
        } else {
            storage.remove(&inner).map_err(io("remove", &inner))?;
            hit(Failpoint::ReshardRemoving);
        }
    }
    storage.sync_dir(path).map_err(io("sync the directory", path))?;
    // An empty directory means nothing to anybody: that it may come back after a crash, or stay, does no harm.
    if on_file_system {
        let _ = std::fs::remove_dir(path);
    }
    Ok(())
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Locked { dir, pid } => Self::Locked { path: dir, pid },
            LogError::Io { action, path, source } if source.kind() == ErrorKind::PermissionDenied => {
                Self::io(action, &path, source)
            }
            error => Self::Log(Arc::new(error)),
        }
    }
}
