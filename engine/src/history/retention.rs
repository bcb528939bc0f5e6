//! Retention in the background: the policies that a database was opened with, carried out by its worker as a prune by hand is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use in_mem_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::prune::PruneReport;
use crate::engine::Engine;
use crate::error::Error;

/// What retention has done since the database was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionStats {
    /// How often the policies were carried out.
    pub rounds: u64,
    /// When that was last.
    pub last: Option<Timestamp>,
    /// Runs taken away, or whose past was.
    pub runs: u64,
    /// Bytes of log that were erased.
    pub log_bytes_erased: u64,
    /// Why the last round failed, where it did.
    pub error: Option<String>,
}

impl Engine {
    /// The same database, for the worker: it shares everything but what ends with the database.
    pub(crate) fn for_worker(&self) -> Self {
        Self {
            shards: self.shards.clone(),
            clock: self.clock.clone(),
            durability: self.durability,
            snapshot_limit_bytes: self.snapshot_limit_bytes,
            path: self.path.clone(),
            unpinned: None,
            notes: Vec::new(),
            closed: self.closed.clone(),
            arrivals: self.arrivals.clone(),
            storage: self.storage.clone(),
            checkpointer: self.checkpointer.clone(),
            past: self.past.clone(),
            pruning: self.pruning.clone(),
            retention: self.retention.clone(),
            retained: self.retained.clone(),
            without_past: self.without_past.clone(),
            is_workers: true,
            salt_seed: self.salt_seed,
            on_file_system: self.on_file_system,
            worker: Mutex::new(None),
            lock: Mutex::new(None),
        }
    }

    /// As [`Engine::retain`], by the worker: a panic must not end the checkpoints that the same thread writes.
    pub(crate) fn retain_or_say_why(&self) {
        if catch_unwind(AssertUnwindSafe(|| drop(self.retain()))).is_err() {
            let mut stats = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
            stats.error = Some("it panicked; the next round tries again".to_owned());
        }
    }

    /// Carries out the policies that the database was opened with, now, one after the other. The worker does so by itself.
    ///
    /// # Errors
    /// As [`Engine::prune`]; the policies behind the one that failed wait for the next time.
    pub fn retain(&self) -> Result<Vec<PruneReport>, Error> {
        let mut reports = Vec::with_capacity(self.retention.len());
        let mut outcome = Ok(());
        for policy in &*self.retention {
            // What is under way is carried out to its end, or finished by the next opening.
            if self.is_closed() {
                outcome = Err(Error::Closed);
                break;
            }
            match self.prune(policy, false) {
                Ok(report) => reports.push(report),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let mut stats = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        stats.rounds += 1;
        stats.last = Some(self.now());
        // Of a run that forks hold, the past stays.
        let taken = |report: &PruneReport| {
            report.runs.iter().filter(|run| !report.history_only || run.forks.is_empty()).count() as u64
        };
        stats.runs += reports.iter().map(taken).sum::<u64>();
        stats.log_bytes_erased += reports.iter().map(|report| report.log_bytes_erased).sum::<u64>();
        stats.error = outcome.as_ref().err().map(ToString::to_string);
        drop(stats);
        outcome.map(|()| reports)
    }
}
