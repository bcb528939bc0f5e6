//! Runs that an import has begun and not ended: they have their ids, and nobody sees them. Whoever imports says when all of them is
//! there; a shard that is opened is told of those that an earlier process left.

use in_mem_model::{RunId, Version};

use super::ShardCore;
use super::effect::EffectWriter;
use super::error::WriteError;

impl ShardCore {
    /// Takes ids for runs that are to arrive: until [`ShardCore::arrived`] nobody sees them, begins them or writes to them.
    ///
    /// # Errors
    /// [`WriteError::RunExists`], [`WriteError::RunArriving`] where one is taken; none was taken then.
    pub fn begin_arrival(&mut self, runs: &[RunId]) -> Result<(), WriteError> {
        runs.iter().try_for_each(|run| self.check_free(*run))?;
        self.hide_arriving(runs);
        Ok(())
    }

    /// Hides runs that are there in part, from an import that was cut off.
    pub fn hide_arriving(&mut self, runs: &[RunId]) {
        self.arriving.extend(runs);
    }

    /// The runs are whole and seen from here on; or, where they were deleted, their ids are free.
    pub fn arrived(&mut self, runs: &[RunId]) {
        for run in runs {
            self.arriving.remove(run);
        }
    }

    /// Deletes what there is of a run that is arriving. It stays hidden, and its id taken.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub fn drop_arriving(&mut self, run: RunId) -> Result<Option<Version>, WriteError> {
        if !self.is_arriving(run) || !self.runs.contains_key(&run) {
            return Ok(None);
        }
        let mut payload = std::mem::take(&mut self.payload);
        EffectWriter::new(&mut payload, run).drop_run();
        let logged = self.log_commit(run, false, &payload);
        self.payload = payload;
        let version = logged?;
        self.install_drop(run, version);
        self.finish_commit(version);
        Ok(Some(version))
    }

    /// The runs that are arriving, those that nothing has come of among them.
    pub fn arriving(&self) -> Vec<RunId> {
        self.arriving.iter().copied().collect()
    }

    /// Whether the run is one that nobody sees yet.
    #[inline]
    pub fn is_arriving(&self, run: RunId) -> bool {
        !self.arriving.is_empty() && self.arriving.contains(&run)
    }

    /// Refuses an id that a run has, or is to have.
    pub(super) fn check_free(&self, run: RunId) -> Result<(), WriteError> {
        if self.is_arriving(run) {
            Err(WriteError::RunArriving { run })
        } else if self.runs.contains_key(&run) {
            Err(WriteError::RunExists { run })
        } else {
            Ok(())
        }
    }

    /// How many runs there are to be seen.
    pub(super) fn runs_seen(&self) -> usize {
        let hidden = self.arriving.iter().filter(|run| self.runs.contains_key(*run)).count();
        self.runs.len() - hidden
    }

    /// Refuses a run that is not there for anybody.
    pub(super) fn check_seen(&self, run: RunId) -> Result<(), WriteError> {
        if self.runs.contains_key(&run) && !self.is_arriving(run) {
            Ok(())
        } else {
            Err(WriteError::UnknownRun { run })
        }
    }
}
