//! Why the past of a run is not in the log: it was erased, or let go, or never there.

use in_mem_model::{RunId, Version};
use in_mem_wal::oldest_version;

use super::error::HistoryError;
use crate::checkpoint::ARCHIVE;
use crate::engine::Engine;
use crate::error::Error;

impl Engine {
    /// Why the log has nothing of a run.
    pub(super) fn why_gone(&self, run: RunId) -> Result<HistoryError, Error> {
        let Some(info) = self.run_info(run)? else { return Ok(HistoryError::NoHistory { run }) };
        let through = info.last_version;
        Ok(if self.log_reaches(run, through)? {
            HistoryError::Erased { run, through }
        } else {
            HistoryError::LetGo { run, through }
        })
    }

    /// Why what the log has of a run does not begin with its beginning.
    pub(super) fn why_cut(&self, run: RunId, oldest: Version) -> Result<HistoryError, Error> {
        let before = Version(oldest.0.saturating_sub(1));
        // Of a life that is over it is not known where it began.
        let begins = self.run_info(run)?.map_or(before, |info| info.meta.first_version.min(before));
        Ok(if self.log_reaches(run, begins)? {
            HistoryError::Erased { run, through: before }
        } else {
            HistoryError::Cut { run, oldest }
        })
    }

    /// Whether the log that a run's commits are in reaches back to a version: what is not there of it was erased. An erased commit
    /// leaves its version.
    fn log_reaches(&self, run: RunId, version: Version) -> Result<bool, Error> {
        let _still = self.past.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dirs = self.checkpointer.dirs();
        let (Some(path), Some(dir)) = (&self.path, dirs.get(self.shard_of(run))) else { return Ok(false) };
        let mut places = vec![dir.clone()];
        places.extend(self.unbroken_places(path, dir, run).map_err(HistoryError::from)?);
        for place in places {
            let dirs = vec![place.clone(), place.join(ARCHIVE)];
            let oldest = oldest_version(&self.storage, dirs).map_err(HistoryError::from)?;
            if oldest.is_some_and(|oldest| oldest <= version.0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
