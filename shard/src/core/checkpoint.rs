//! A checkpoint, as the core takes part in it: it names the moment, and tells of each run what its entries alone do not.
//! The entries themselves are read from a pin, outside the turn, while the shard goes on.
//!
//! What entries do not tell is a run's last version: a deletion leaves no entry behind. So while a checkpoint is under way the
//! core keeps, of each run that changes, the version it had at the checkpoint's moment.

use std::collections::VecDeque;

use hashbrown::HashMap;
use in_mem_model::{RunId, Timestamp, Version};
use in_mem_wal::Lsn;
use rustc_hash::FxBuildHasher;

use super::ShardCore;
use super::run_index::RunCursor;

/// The moment that a checkpoint is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointMoment {
    /// The last version it holds: the one published.
    pub version: Version,
    /// The log's last record that it covers.
    pub covers: Lsn,
    /// When.
    pub timestamp: Timestamp,
    /// Whether there are forks, which share something.
    pub forks: bool,
}

/// Why no checkpoint can begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// One is under way.
    #[error("a checkpoint of this shard is under way")]
    UnderWay,
    /// The log failed: what is published may not be what survives.
    #[error("the log failed ({reason}); reopen the database to recover")]
    Poisoned {
        /// What failed.
        reason: String,
    },
}

/// A page of runs with the version each had last at the checkpoint's moment, and where the next page starts.
pub type RunMarks = (Vec<(RunId, Version)>, Option<RunCursor>);

/// The last versions that runs had, as far as they are needed and no longer what the runs themselves say.
#[derive(Debug, Default)]
pub(crate) struct LastVersions {
    /// The moment of the checkpoint under way.
    at: Option<Version>,
    /// What runs that changed since had at that moment; zero: the run was not there.
    stashed: HashMap<RunId, Version, FxBuildHasher>,
    /// Changes that are installed and not published, oldest first: a checkpoint may begin before they are. Empty where the
    /// log does not wait for the disk.
    unpublished: VecDeque<(Version, RunId, Version)>,
}

impl LastVersions {
    /// The moment of the checkpoint under way.
    pub(crate) fn moment(&self) -> Option<Version> {
        self.at
    }

    /// A run goes from one last version to another.
    #[inline]
    pub(crate) fn changes(&mut self, run: RunId, from: Version, to: Version, waits_for_disk: bool) {
        if let Some(at) = self.at
            && from <= at
            && to > at
        {
            // The first change after the moment is the one that counts: a run may be deleted and made again.
            self.stashed.entry(run).or_insert(from);
        }
        if waits_for_disk {
            self.unpublished.push_back((to, run, from));
        }
    }

    /// The runs that unpublished commits changed, with the version each had last before.
    pub(crate) fn unpublished_runs(&self) -> Vec<(RunId, Version)> {
        let mut runs: Vec<(RunId, Version)> = Vec::new();
        for &(_, run, from) in &self.unpublished {
            if !runs.iter().any(|(known, _)| *known == run) {
                runs.push((run, from));
            }
        }
        runs
    }

    /// Everything through this version is published.
    pub(crate) fn published(&mut self, through: Version) {
        while self.unpublished.front().is_some_and(|(version, ..)| *version <= through) {
            self.unpublished.pop_front();
        }
    }
}

impl ShardCore {
    /// Begins a checkpoint: of what is published now. A pin taken in the same turn shows its entries.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn begin_checkpoint(&mut self) -> Result<CheckpointMoment, BeginError> {
        if self.last_versions.at.is_some() {
            return Err(BeginError::UnderWay);
        }
        if let Some(reason) = self.log.poisoned() {
            return Err(BeginError::Poisoned { reason });
        }
        let covers = match self.log.wal() {
            None => Lsn::ZERO,
            // A sync that ends publishes what it covered, in one turn: so the two agree at every turn's end.
            Some(log) if self.log.waits_for_disk() => log.synced_lsn(),
            Some(log) => log.last_lsn(),
        };
        self.last_versions.at = Some(self.published);
        for &(_, run, from) in &self.last_versions.unpublished {
            self.last_versions.stashed.entry(run).or_insert(from);
        }
        Ok(CheckpointMoment { version: self.published, covers, timestamp: self.now, forks: self.has_forks() })
    }

    /// A page of the runs, each with the version it had last at the checkpoint's moment.
    pub fn checkpoint_runs(&self, after: Option<RunCursor>, limit: usize) -> RunMarks {
        let places = self.run_index.places_after(after, limit);
        let next = if places.len() < limit { None } else { places.last().cloned() };
        let marks = places
            .iter()
            .filter_map(|place| {
                let stashed = self.last_versions.stashed.get(&place.id).copied();
                let last = stashed.or_else(|| self.runs.get(&place.id).map(|state| state.last_version))?;
                (last > Version(0)).then_some((place.id, last))
            })
            .collect();
        (marks, next)
    }

    /// Ends the checkpoint, and tells of the runs that changed since its moment: some of them may be gone by now.
    pub fn end_checkpoint(&mut self) -> Vec<(RunId, Version)> {
        self.last_versions.at = None;
        self.release_dropped_forks();
        std::mem::take(&mut self.last_versions.stashed)
            .into_iter()
            .filter(|(_, last)| *last > Version(0))
            .collect()
    }
}
