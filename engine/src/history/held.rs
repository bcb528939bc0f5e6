//! Runs that are gone and whose past is kept for forks that go on from it. They are written down, so that their past goes once the
//! last of these forks has gone.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use in_mem_model::{RunId, Version};

use super::run_list::{HELD, read_ids, write_ids};
use crate::engine::Engine;
use crate::error::Error;

impl Engine {
    /// Of the runs written down: those that no fork holds any more once these are gone too, and those that one still does.
    pub(super) fn held_before(
        &self,
        going: &BTreeSet<RunId>,
    ) -> Result<(BTreeSet<RunId>, BTreeSet<RunId>), Error> {
        let (mut released, mut held) = (BTreeSet::new(), BTreeSet::new());
        for run in self.held()? {
            // Taken in again under its id, or never dropped: a run like any other.
            if self.run_info(run)?.is_some() || self.is_arriving(run)? {
                continue;
            }
            let forks = self.forks_that_hold(run)?;
            if forks.iter().all(|fork| going.contains(fork)) {
                released.insert(run)
            } else {
                held.insert(run)
            };
        }
        Ok((released, held))
    }

    /// Notes more of them.
    pub(super) fn add_held(&self, runs: &BTreeSet<RunId>) -> Result<(), Error> {
        let mut held = self.held()?;
        if !in_mem_wal::planted::is_planted("engine_held_forgets") {
            held.extend(runs);
        }
        self.write_held(&held)
    }

    /// These are erased: they are held no more.
    pub(super) fn remove_held(&self, runs: &BTreeSet<RunId>) -> Result<(), Error> {
        let held = self.held()?;
        let left: BTreeSet<RunId> = held.difference(runs).copied().collect();
        if left.len() == held.len() { Ok(()) } else { self.write_held(&left) }
    }

    fn held(&self) -> Result<BTreeSet<RunId>, Error> {
        let Some(path) = &self.path else { return Ok(BTreeSet::new()) };
        Ok(read_ids(&*self.storage, path, HELD)?)
    }

    pub(super) fn write_held(&self, runs: &BTreeSet<RunId>) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        Ok(write_ids(&*self.storage, path, HELD, runs)?)
    }

    /// Whether it is known that the log holds nothing of a run through its last version.
    pub(super) fn has_no_past(&self, run: RunId, last: Version) -> bool {
        let without = self.without_past.lock().unwrap_or_else(PoisonError::into_inner);
        without.get(&run) == Some(&last)
    }

    /// The log holds nothing of these runs any more.
    pub(super) fn note_without_past(&self, runs: &BTreeSet<RunId>) -> Result<(), Error> {
        for run in runs {
            if let Some(info) = self.run_info(*run)? {
                let mut without = self.without_past.lock().unwrap_or_else(PoisonError::into_inner);
                without.insert(*run, info.last_version);
            }
        }
        Ok(())
    }
}
