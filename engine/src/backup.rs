//! A consistent copy of a live database.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use in_mem_model::Version;
use in_mem_wal::failpoint::{Failpoint, hit};
use in_mem_wal::{DirLock, LogError, Manifest};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Held;
use crate::engine::Engine;
use crate::error::{Error, OpenError};
use crate::history::copy_arriving;
use crate::image::{ImageWriter, make_copy};
use crate::open::directory::{FIRST_GENERATION, based_on_checkpoints, lasting};
use crate::open::random_seed;
use crate::routing::ROUTING_NAME;

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// Where it is.
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub path: PathBuf,
    /// The version of each shard that it holds.
    pub versions: Vec<Version>,
    /// Its entries, what is said of runs included.
    pub entries: u64,
    /// Its bytes.
    pub bytes: u64,
}

impl Engine {
    /// Writes a copy of the database, as it is now, into a directory that is empty or not there yet, while the database goes
    /// on. The copy is a database of its own. It holds the state of all runs, not the log they came from.
    ///
    /// Each shard is copied as of one moment: no transaction is half there.
    ///
    /// # Errors
    /// [`OpenError::NotEmpty`], [`OpenError::Inside`], [`Error::Checkpoint`], what the disk says: what was written of the copy is taken away
    /// again. A copy that was cut off has no manifest, and is refused by name where somebody opens it.
    pub fn backup(&self, to: &Path) -> Result<BackupReport, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let storage = &self.storage;
        refuse_what_is_there(&**storage, to)?;
        // What opens, prunes and tidies the database takes every file in its directory for its own.
        if let Some(of) = self.path().filter(|of| self.on_file_system && lies_in(to, of)) {
            return Err(OpenError::Inside { path: to.to_owned(), of: of.to_owned() }.into());
        }
        let io = |error: LogError| Error::Open(error.into());
        storage.create_dir_all(to).map_err(|source| OpenError::io("make the directory", to, source))?;
        let given = to;
        let to = &*lasting(to, self.on_file_system)?;
        let mut lock = if self.on_file_system { Some(DirLock::acquire(to).map_err(io)?) } else { None };
        if let Some(lock) = &mut lock {
            lock.announce().map_err(io)?;
        }
        // Again, now that nobody else can be making one there.
        refuse_what_is_there(&**storage, to)?;
        let _no_checkpoint = self.checkpointer.hold_off();
        // All of them first: the moments are as close together as they can be.
        let held: Vec<Held<'_>> = self
            .shards
            .iter()
            .enumerate()
            .map(|(shard, handle)| Held::begin(handle, shard))
            .collect::<Result<_, _>>()?;
        hit(Failpoint::BackupHeld);
        let manifest = based_on_checkpoints(Manifest {
            shard_count: u16::try_from(held.len()).unwrap_or(u16::MAX),
            routing_hash: ROUTING_NAME.to_owned(),
            generation: FIRST_GENERATION,
            // Another database from here on: its log must not be taken for the original's.
            salt_seed: self.salt_seed.map_or_else(random_seed, |seed| seed.wrapping_add(1)),
            properties: std::collections::BTreeMap::new(),
        });
        let moments: Vec<_> = held.iter().map(|held| (held.moment.version, held.moment.timestamp)).collect();
        let arriving = held.iter().flat_map(|held| held.arriving.iter().copied()).collect();
        let forks = held.iter().any(|held| held.moment.forks);
        let (entries, bytes) = make_copy(&**storage, to, self.on_file_system, &manifest, || {
            let mut image =
                ImageWriter::create(storage.clone(), to, &manifest, &moments, forks).map_err(io)?;
            for held in held {
                held.write(self.checkpointer.stopping(), &mut |run, item| image.push(run, item))?;
            }
            hit(Failpoint::BackupWritten);
            let entries = image.entries;
            let bytes = image.finish().map_err(io)?;
            hit(Failpoint::BackupImage);
            if self.checkpointer.stopping().load(Ordering::Relaxed) {
                return Err(Error::Closed);
            }
            copy_arriving(&**storage, to, &arriving)?;
            Ok((entries, bytes))
        })?;
        hit(Failpoint::BackupDone);
        let versions = moments.into_iter().map(|(version, _)| version).collect();
        Ok(BackupReport { path: given.to_owned(), versions, entries, bytes })
    }
}

/// Whether a path, which need not be there, is in a directory that is.
pub(crate) fn lies_in(path: &Path, directory: &Path) -> bool {
    // Links and `..` are resolved as far as there is something: behind that there is nothing they could lead to.
    let there = path.ancestors().find_map(|ancestor| {
        let named = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        named.canonicalize().ok()
    });
    matches!((there, directory.canonicalize()), (Some(there), Ok(directory)) if there.starts_with(&directory))
}

/// Refuses a path where there is something already.
pub(crate) fn refuse_what_is_there(storage: &dyn in_mem_wal::Storage, to: &Path) -> Result<(), OpenError> {
    match storage.read_dir(to) {
        Ok(names) => match names.into_iter().find(|name| name != "LOCK" && name != "lost+found") {
            Some(example) => Err(OpenError::NotEmpty { path: to.to_owned(), example }),
            None => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io("list", to, error)),
    }
}
