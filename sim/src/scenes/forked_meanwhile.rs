//! A fork is made while what it goes on from is pruned: of a run that nothing held, or of a fork whose own parent is gone.

use in_mem::{Point, RunId};

use super::{Told, well};
use crate::workload::Work;
use crate::workload::retention::{Amid, THE_LOG, THE_NOTE};

/// Forks of forks, each one's parent gone, below the one that goes while it is forked.
const DEPTH: u8 = 3;

impl Work<'_> {
    pub(super) fn forked_meanwhile(&mut self) -> Told {
        let mut run = self.a_run()?;
        for _ in 0..self.rng.u8(..DEPTH) {
            let fork = self.a_fork(run)?;
            self.write_to(fork)?;
            well(self.end_run(run))?;
            self.pause()?;
            // Held by the fork: it goes, and its past does not.
            self.prune_all(false, Amid::Nothing)?;
            run = fork;
        }
        well(self.end_run(run))?;
        self.pause()?;
        let at = if self.rng.bool() { THE_LOG } else { THE_NOTE };
        let history_only = self.rng.bool();
        self.prune_all(history_only, Amid::Fork(run, at))?;
        if self.rng.bool() {
            self.pause()?;
        }
        let forks = self.forks_of(run);
        for fork in &forks {
            well(self.replay_of(*fork))?;
        }
        if self.ledger.live.runs.contains_key(&run) {
            well(self.replay_of(run))?;
        }
        for fork in forks {
            if self.rng.bool() {
                self.write_to(fork)?;
                well(self.replay_of(fork))?;
            }
            self.let_go(fork)?;
        }
        self.pause()?;
        // All of its past goes with the last that held it.
        self.prune_all(false, Amid::Nothing)
    }

    /// A fork of this run as it is.
    fn a_fork(&mut self, run: RunId) -> Result<RunId, super::Stop> {
        let before = self.forks_of(run);
        let now = self.ledger.live.runs[&run].clone();
        well(self.fork_at(run, Point::Now, &now))?;
        let made = self.forks_of(run).into_iter().find(|fork| !before.contains(fork));
        made.ok_or_else(|| super::Stop::Wrong(format!("run {run} was forked, and its fork is not there")))
    }

    fn forks_of(&self, run: RunId) -> Vec<RunId> {
        let is_fork = |(id, of): (&RunId, &crate::model::ModelRun)| {
            (of.forked && of.parent == Some(run) && of.is_open()).then_some(*id)
        };
        self.ledger.live.runs.iter().filter_map(is_fork).collect()
    }
}
