//! Runs that arrive whole or not at all: while an import is under way its runs are hidden, and named in a file of the database's
//! directory. That the name is taken out of it, durably, is what ends the import; whatever finds a name there deletes the run.
//!
//! What is committed of them is in the log and in checkpoints like everything else: so the file is not a part of the log, and
//! neither checkpoints nor another number of shards have to know of it. A backup gets a file of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use in_mem_model::RunId;
use in_mem_wal::Storage;

use crate::engine::Engine;
use crate::error::{Error, OpenError};
use crate::history::run_list::{IMPORTING, read_ids, write_ids};

/// The imports that are under way, and what is left of those that failed.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    noted: Mutex<Noted>,
    /// How many runs may be hidden: where there are none, no shard is asked.
    hidden: AtomicUsize,
}

#[derive(Debug, Default)]
struct Noted {
    /// The runs that the file may name.
    all: BTreeSet<RunId>,
    /// Those of them whose import failed, and that could not be deleted yet.
    left: BTreeSet<RunId>,
    /// Whether it is not known if the file names all of them.
    is_in_doubt: bool,
}

impl Arrivals {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for whoever is writing the file; once the database is closed nobody begins to.
    pub(crate) fn wait(&self) {
        drop(self.noted());
    }
}

impl Engine {
    /// Whether a run is one that an import has begun and not ended: nobody sees it yet.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn is_arriving(&self, run: RunId) -> Result<bool, Error> {
        // Acquire: whoever has seen something of an arriving run sees that there is one.
        if self.arrivals.hidden.load(Ordering::Acquire) == 0 {
            return Ok(false);
        }
        self.handle(run).maintain(move |core| core.is_arriving(run))
    }

    /// Has `make` make these runs, of one lineage: all of them are seen when it has ended well, and when it failed none is
    /// there.
    pub(super) fn arrive(
        &self,
        runs: &[RunId],
        make: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(first) = runs.first() else { return make() };
        // First: from inside a turn it is refused, and nothing below may wait for a turn that this thread holds.
        self.sync()?;
        // What an import that failed has left, where it can be deleted by now.
        let _ = self.delete_left(&mut self.arrivals.noted());
        let ids = runs.to_vec();
        self.arrivals.hidden.fetch_add(runs.len(), Ordering::AcqRel);
        let begun = self.handle(*first).maintain(move |core| core.begin_arrival(&ids));
        if let Err(error) = begun.and_then(|taken| Ok(taken?)) {
            self.arrivals.hidden.fetch_sub(runs.len(), Ordering::AcqRel);
            return Err(error);
        }
        // From here on the ids are ours: each way out shows the runs, frees the ids, or leaves both to the next opening.
        let made = self.note_arrival(runs).and_then(|()| make()).and_then(|()| self.end_arrival(runs));
        if let Err(error) = made {
            let mut noted = self.arrivals.noted();
            if noted.all.contains(first) {
                noted.left.extend(runs);
                // What cannot be deleted now stays hidden. The error to tell is the import's.
                let _ = self.delete_left(&mut noted);
            } else {
                // Nothing was made.
                self.show(runs)?;
            }
            return Err(error);
        }
        self.show(runs)
    }

    /// Names the runs in the file, so that whatever opens the database next deletes them.
    fn note_arrival(&self, runs: &[RunId]) -> Result<(), Error> {
        // A run of the same id may have been deleted just now: where the file is kept that must not be lost, or what the next
        // opening deleted would be another.
        self.sync()?;
        let mut noted = self.arrivals.noted();
        let before = noted.all.clone();
        let with: BTreeSet<RunId> = before.iter().chain(runs).copied().collect();
        self.write_arriving(&mut noted, with).inspect_err(|_| {
            // Refused, so nothing is to be deleted. The file may name them already, where only a sync failed.
            let _ = self.write_arriving(&mut noted, before);
        })
    }

    /// All of the runs is in the log: takes them out of the file.
    fn end_arrival(&self, runs: &[RunId]) -> Result<(), Error> {
        self.sync()?;
        let mut noted = self.arrivals.noted();
        let rest: BTreeSet<RunId> = noted.all.iter().filter(|run| !runs.contains(run)).copied().collect();
        self.write_arriving(&mut noted, rest)
    }

    /// Deletes the runs of imports that failed, and frees their ids.
    fn delete_left(&self, noted: &mut Noted) -> Result<(), Error> {
        if noted.left.is_empty() {
            return Ok(());
        }
        if noted.is_in_doubt {
            // Half of them deleted, and no file that names them, would be half an import.
            let all = noted.all.clone();
            self.write_arriving(noted, all)?;
        }
        for run in noted.left.iter().copied() {
            self.handle(run).maintain(move |core| core.drop_arriving(run))??;
        }
        self.sync()?;
        let rest: BTreeSet<RunId> = noted.all.difference(&noted.left).copied().collect();
        self.write_arriving(noted, rest)?;
        let left: Vec<RunId> = std::mem::take(&mut noted.left).into_iter().collect();
        self.show(&left)
    }

    /// The runs are hidden no more, or their ids free.
    fn show(&self, runs: &[RunId]) -> Result<(), Error> {
        for (shard, handle) in self.shards.iter().enumerate() {
            let of: Vec<RunId> = runs.iter().copied().filter(|run| self.shard_of(*run) == shard).collect();
            if !of.is_empty() {
                let count = of.len();
                handle.maintain(move |core| core.arrived(&of))?;
                self.arrivals.hidden.fetch_sub(count, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    /// Has the file name these runs. Where it fails, it may name them or those that it named before: what is noted is all of them.
    fn write_arriving(&self, noted: &mut Noted, runs: BTreeSet<RunId>) -> Result<(), Error> {
        noted.is_in_doubt = true;
        noted.all.extend(&runs);
        if let Some(path) = &self.path {
            // Another process may have the directory then.
            if self.is_closed() {
                return Err(Error::Closed);
            }
            if runs.is_empty() {
                remove_arriving(&*self.storage, path)?;
            } else {
                write_ids(&*self.storage, path, IMPORTING, &runs)?;
            }
        }
        noted.all = runs;
        noted.is_in_doubt = false;
        Ok(())
    }

    /// Hides what imports left that were cut off.
    pub(crate) fn hide_left(&self, runs: BTreeSet<RunId>) -> Result<(), Error> {
        self.arrivals.hidden.fetch_add(runs.len(), Ordering::AcqRel);
        for run in runs.iter().copied() {
            self.handle(run).maintain(move |core| core.hide_arriving(&[run]))?;
        }
        *self.arrivals.noted() = Noted { all: runs.clone(), left: runs, is_in_doubt: false };
        Ok(())
    }

    /// Deletes what [`Engine::hide_left`] has hidden.
    pub(crate) fn finish_arrivals(&self) -> Result<(), Error> {
        self.delete_left(&mut self.arrivals.noted())
    }
}

/// The runs that an import had begun and not ended when the database was left.
pub(crate) fn read_arriving(storage: &dyn Storage, root: &Path) -> Result<BTreeSet<RunId>, OpenError> {
    read_ids(storage, root, IMPORTING)
}

fn remove_arriving(storage: &dyn Storage, root: &Path) -> Result<(), OpenError> {
    let path = root.join(IMPORTING.name);
    let remove = || {
        if storage.exists(&path)? {
            storage.remove(&path)?;
        }
        storage.sync_dir(root)
    };
    remove().map_err(|source| OpenError::io("remove", &path, source))
}

/// Gives a copy of the database the file that says which of its runs are there in part.
pub(crate) fn copy_arriving(
    storage: &dyn Storage,
    root: &Path,
    runs: &BTreeSet<RunId>,
) -> Result<(), OpenError> {
    if runs.is_empty() { Ok(()) } else { write_ids(storage, root, IMPORTING, runs) }
}
