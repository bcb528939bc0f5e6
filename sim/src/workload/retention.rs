//! Retention: ended runs are taken away by a policy.

use in_mem::{Error, RetentionPolicy, RunId, Timestamp};

use super::{Did, Work};
use crate::model::Change;

impl Work<'_> {
    /// Prunes by a policy; which runs go is worked out here too.
    pub(super) fn prune(&mut self) -> Result<Did, String> {
        let now = self.now();
        let policy = RetentionPolicy {
            ended_before: self.rng.bool().then(|| Timestamp(now - self.rng.i64(..200))),
            keep_newest: self.rng.bool().then(|| self.rng.u64(..3)),
            ..RetentionPolicy::default()
        };
        let mut ended: Vec<(i64, RunId)> =
            self.ledger.live.runs.iter().filter_map(|(id, run)| Some((run.ended?, *id))).collect();
        ended.sort_unstable();
        let mut goes = Vec::new();
        let mut kept = 0;
        for (at, run) in ended.into_iter().rev() {
            let old = policy.ended_before.is_some_and(|limit| at < limit.0);
            if old || policy.keep_newest.is_some_and(|limit| kept >= limit) {
                goes.insert(0, run);
            } else {
                kept += 1;
            }
        }
        match self.db.prune(&policy, true) {
            _ if self.disk.crashed() => return Ok(Did::MachineGone),
            Err(error) => return Ok(Did::Failed(error)),
            Ok(report) => {
                let says: Vec<RunId> = report.runs.iter().map(|run| run.id).collect();
                if says != goes {
                    return Err(format!("{policy:?} takes {says:?} away, it should be {goes:?}"));
                }
                // Commits are made in this order: what forks hold first, then what is erased, each by id.
                let is_held =
                    |id: &RunId| report.runs.iter().any(|run| run.id == *id && !run.forks.is_empty());
                let (mut held, mut free): (Vec<RunId>, Vec<RunId>) = goes.into_iter().partition(is_held);
                held.sort_unstable();
                free.sort_unstable();
                goes = held.into_iter().chain(free).collect();
            }
        }
        for run in &goes {
            self.send(*run, vec![Change::Drop { run: *run }]);
        }
        let result = self.db.prune(&policy, false);
        if !self.disk.crashed() && result.is_err() {
            // One by one, until the first that was refused.
            let gone = |run: &RunId| matches!(self.db.run(*run), Err(Error::UnknownRun { .. }));
            let made = goes.iter().take_while(|run| gone(run)).count();
            self.ledger.acknowledge_first(made);
            self.ledger.keep(&goes[made..].iter().enumerate().map(|(n, _)| n == 0).collect::<Vec<_>>());
        }
        self.end(result)
    }
}
