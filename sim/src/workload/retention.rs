//! Retention: ended runs, or only their past, are taken away by a policy; with forks made between its steps, with faults, and with
//! a search through all files for what was to go.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use in_mem::{Error, HistoryError, Point, PruneReport, RetentionPolicy, RunId, Timestamp};
use in_mem_wal::OpenMode;
use in_mem_wal::storage::sim::FaultKind;

use super::{Did, Work};
use crate::crash::PATH;
use crate::meanwhile::{self, Opening};
use crate::model::{Change, ModelRun};

/// The log is read: behind what is asked first, before anything is done.
pub(crate) const THE_LOG: Opening = Opening { end: ".wal", mode: OpenMode::Read };
/// The note of an erase is written: behind what is held for forks was dropped, before the rest is.
pub(crate) const THE_NOTE: Opening = Opening { end: "ERASING.tmp", mode: OpenMode::Truncate };

/// What comes between the steps of a prune.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Amid {
    /// Nothing.
    Nothing,
    /// Now and then a fork, or a fault.
    Chance,
    /// A fork of this run, before a file whose name ends so is opened.
    Fork(RunId, Opening),
    /// A fault, so many operations behind the opening of the note.
    Fault(u64),
}

/// A fork that is made while a prune is under way.
struct Between {
    parent: RunId,
    fork: RunId,
    of: ModelRun,
    at: Opening,
    made: Rc<RefCell<Option<Result<(), Error>>>>,
}

impl Work<'_> {
    /// Prunes by a policy; which runs go is worked out here too.
    pub(super) fn prune(&mut self) -> Result<Did, String> {
        let now = self.now();
        let policy = RetentionPolicy {
            ended_before: self.rng.bool().then(|| Timestamp(now - self.rng.i64(..200))),
            keep_newest: (self.rng.u8(..4) > 0).then(|| self.rng.u64(..4) / 2),
            history_only: self.rng.u8(..3) == 0,
            ..RetentionPolicy::default()
        };
        self.prune_by(&policy, Amid::Chance)
    }

    /// Prunes by this policy.
    pub(crate) fn prune_by(&mut self, policy: &RetentionPolicy, amid: Amid) -> Result<Did, String> {
        if !self.ledger.half_erased().is_empty() {
            match self.finish_erase()? {
                Did::Well => {}
                did => return Ok(did),
            }
        }
        let goes = self.goes(policy);
        let report = match self.db.prune(policy, true) {
            _ if self.disk.crashed() => return Ok(Did::MachineGone),
            Err(error) => return Ok(Did::Failed(error)),
            Ok(report) => report,
        };
        self.judge(policy, &report, &goes)?;
        // Commits are made in this order: what forks hold first, then what is erased, each by id.
        let by_holders = |is_held: bool| -> BTreeSet<RunId> {
            report.runs.iter().filter(|run| run.forks.is_empty() != is_held).map(|run| run.id).collect()
        };
        let (held, free) = (by_holders(true), by_holders(false));
        let between = self.plan_between(policy, &report, amid);
        let fork = |at| between.as_ref().filter(|between: &&Between| between.at == at);
        let fork_of =
            |between: &Between| vec![Change::Fork { run: between.fork, of: Box::new(between.of.clone()) }];
        let drops = |runs: &BTreeSet<RunId>| -> Vec<RunId> {
            runs.iter().copied().filter(|_| !policy.history_only).collect()
        };
        let mut place = None;
        let first = self.ledger.sent();
        for (at, runs) in [(THE_LOG, drops(&held)), (THE_NOTE, drops(&free))] {
            if let Some(between) = fork(at) {
                place = Some(self.ledger.sent());
                self.send(between.fork, fork_of(between));
            }
            runs.iter().for_each(|run| self.send(*run, vec![Change::Drop { run: *run }]));
        }
        let breaks = match amid {
            Amid::Chance => between.is_none() && self.begin_fault(),
            Amid::Fault(behind) => {
                let disk = self.disk.clone();
                meanwhile::at_next_opening(THE_NOTE, move || {
                    disk.fail(disk.ops() + behind, FaultKind::Eio, None, false);
                });
                true
            }
            Amid::Nothing | Amid::Fork(..) => false,
        };
        let due = self.due(&free);
        // What goes is erased by this, or by another prune once no fork holds it.
        if report.log_bytes_left == 0 {
            let (db, ledger) = (self.db, &*self.ledger);
            let runs = drops(&held).into_iter().chain(drops(&free));
            self.chronicle.owe(runs, |run| ledger.was_opened_with(db, run));
        } else {
            self.is_left(free.iter().chain(&report.released));
        }
        self.chronicle.finish_notes(&self.ledger.live);
        let result = self.db.prune(policy, false);
        meanwhile::forget();
        if result.is_ok() {
            self.chronicle.finished_notes();
        } else {
            self.chronicle.note(free.iter().chain(&report.released).copied());
        }
        if let (Some(between), Some(place)) = (&between, place) {
            let made = between.made.borrow();
            if matches!(&*made, None | Some(Err(Error::UnknownRun { .. }))) {
                self.ledger.unsend_at(place);
            }
            if let (Some(Err(error)), false) = (&*made, self.disk.crashed())
                && !matches!(error, Error::UnknownRun { .. })
            {
                return Err(format!("run {} cannot be forked while it is pruned: {error}", between.parent));
            }
        }
        let fork_id = between.as_ref().map(|between| between.fork);
        let is_made = between.as_ref().is_some_and(|between| matches!(&*between.made.borrow(), Some(Ok(()))));
        let kept = between.filter(|between| is_made && !(policy.history_only && between.at == THE_NOTE));
        let mut erased: BTreeSet<RunId> = free.iter().chain(&report.released).copied().collect();
        erased.extend(due);
        if let Some(kept) = &kept {
            erased.retain(|run| kept.of.above.iter().all(|(above, _)| above != run));
        }
        // A fork may have been made under the id of one that was gone: that is not what was to go.
        erased.retain(|run| !is_made || Some(*run) != fork_id);
        erased.iter().for_each(|run| self.chronicle.lose_past(*run));
        let mut left = Vec::new();
        if !self.disk.crashed() && result.is_err() {
            // One by one, until the first that was refused.
            let gone = |run: &RunId| matches!(self.db.run(*run), Err(Error::UnknownRun { .. }));
            let all: Vec<RunId> = drops(&held).into_iter().chain(drops(&free)).collect();
            let made = all.iter().take_while(|run| gone(run)).count();
            // Behind the first that was erased, or may have been, the note stays; and one that could not be taken back may be there.
            let is_begun = made > held.len()
                || (made == held.len() && matches!(result, Err(Error::OutcomeUnknown { .. })))
                || matches!(result, Err(Error::History(HistoryError::EraseMayFollow { .. })));
            left.extend(all[made..].iter().filter(|run| is_begun && free.contains(run)).copied());
            self.ledger.acknowledge_first(first + made);
            self.ledger.keep(&all[made..].iter().enumerate().map(|(n, _)| n == 0).collect::<Vec<_>>());
        }
        self.ledger.half_erase(left);
        let is_whole = result.as_ref().is_ok_and(|report| report.log_bytes_left == 0);
        let did = self.end(result)?;
        let did = self.end_fault(breaks, did)?;
        if is_whole && matches!(did, Did::Well) {
            self.look_for_erased(erased)?;
        }
        Ok(did)
    }

    /// Nothing that was to go is in a file.
    fn look_for_erased(&mut self, mut erased: BTreeSet<RunId>) -> Result<(), String> {
        self.chronicle.owed.retain(|run| !erased.contains(run));
        // Where only the past of a fork went, a checkpoint has what it goes on from, also what it does not show.
        erased.retain(|run| self.holders(*run).is_empty());
        self.chronicle.look_for_erased(self.disk, Path::new(PATH), &erased, &self.ledger.live)
    }

    /// Of the runs that prunes were to take away: those that are gone, and that nothing holds once these go.
    fn due(&self, going: &BTreeSet<RunId>) -> Vec<RunId> {
        let is_there = |run: &RunId| self.ledger.live.runs.contains_key(run);
        let owed = self.chronicle.owed.iter().copied();
        owed.filter(|run| !is_there(run) && self.holders(*run).is_subset(going)).collect()
    }

    /// Of these a prune says that something stays: commits that are larger than a segment.
    fn is_left<'r>(&mut self, runs: impl Iterator<Item = &'r RunId>) {
        runs.for_each(|run| {
            self.chronicle.owed.remove(run);
        });
    }

    /// What a prune that failed left undone, the next one does first.
    fn finish_erase(&mut self) -> Result<Did, String> {
        match self.db.prune(&RetentionPolicy::default(), true) {
            _ if self.disk.crashed() => return Ok(Did::MachineGone),
            Err(error) => return Ok(Did::Failed(error)),
            Ok(report) if report.log_bytes_left > 0 => self.is_left(report.released.iter()),
            Ok(_) => {}
        }
        let (first, runs) = (self.ledger.sent(), self.ledger.half_erased());
        for run in &runs {
            self.send(*run, vec![Change::Drop { run: *run }]);
        }
        self.chronicle.finish_notes(&self.ledger.live);
        let result = self.db.prune(&RetentionPolicy::default(), false);
        if result.is_ok() {
            self.chronicle.finished_notes();
        }
        if result.is_ok() && !self.disk.crashed() {
            // The note of one that was refused may not have come to the disk.
            for (place, _) in runs.iter().enumerate().rev().filter(|(_, run)| self.db.run(**run).is_ok()) {
                self.ledger.unsend_at(first + place);
            }
        }
        if result.is_ok() {
            self.ledger.half_erase(Vec::new());
        }
        self.end(result)
    }

    /// Which runs a policy takes, the one that ended first first.
    fn goes(&self, policy: &RetentionPolicy) -> Vec<RunId> {
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
        goes
    }

    /// Whether what a dry run says is what there is to take, and names those who hold it.
    fn judge(&self, policy: &RetentionPolicy, report: &PruneReport, goes: &[RunId]) -> Result<(), String> {
        let says: Vec<RunId> = report.runs.iter().map(|run| run.id).collect();
        // Of one that has no past there is nothing to take; and it counts as kept.
        let has_past = |run: &&RunId| self.chronicle.has_past(**run, &self.ledger.live.runs[*run]);
        let is_right = if policy.history_only {
            let missing = goes.iter().filter(has_past).find(|run| !says.contains(run));
            missing.is_none() || policy.keep_newest.is_some()
        } else {
            says == goes
        };
        if !is_right {
            return Err(format!("{policy:?} takes {says:?} away, it should be {goes:?}"));
        }
        for run in &report.runs {
            let life = self.ledger.live.runs[&run.id].life;
            let going = |fork: &RunId| !policy.history_only && says.contains(fork);
            let forks = self
                .ledger
                .live
                .runs
                .iter()
                .filter(|(id, of)| of.above.contains(&(run.id, life)) && !going(id));
            for (fork, _) in forks {
                if !run.forks.contains(fork) {
                    return Err(format!(
                        "run {} is held by its fork {fork}, of which nothing is said",
                        run.id
                    ));
                }
            }
            let holders = self.holders(run.id);
            if let Some(fork) = run.forks.iter().find(|fork| !holders.contains(fork)) {
                return Err(format!("run {} is not held by {fork}", run.id));
            }
        }
        for run in &report.released {
            if let Some(fork) = self.holders(*run).into_iter().find(|fork| !says.contains(fork)) {
                return Err(format!("run {run} is released, and its fork {fork} is there"));
            }
        }
        Ok(())
    }

    /// The forks that are there and go on from any run that has had this id, and their forks.
    fn holders(&self, run: RunId) -> BTreeSet<RunId> {
        let mut holders = BTreeSet::new();
        loop {
            let before = holders.len();
            for (id, of) in self.ledger.live.runs.iter().filter(|(_, of)| of.forked) {
                let is_of = |of: RunId| of == run || holders.contains(&of);
                if of.parent.is_some_and(is_of) || of.above.iter().any(|(above, _)| *above == run) {
                    holders.insert(*id);
                }
            }
            if holders.len() == before {
                return holders;
            }
        }
    }

    /// The fork that comes between; by chance, mostly of what is about to go.
    fn plan_between(
        &mut self,
        policy: &RetentionPolicy,
        report: &PruneReport,
        amid: Amid,
    ) -> Option<Between> {
        let (parent, at) = match amid {
            Amid::Nothing | Amid::Fault(_) => return None,
            Amid::Fork(parent, at) => (parent, at),
            Amid::Chance => {
                let says: Vec<RunId> = report.runs.iter().map(|run| run.id).collect();
                if says.is_empty() || self.rng.u8(..3) > 0 {
                    return None;
                }
                let all: Vec<RunId> =
                    if self.rng.u8(..4) > 0 { says } else { self.ledger.live.runs.keys().copied().collect() };
                (all[self.rng.usize(..all.len())], if self.rng.bool() { THE_LOG } else { THE_NOTE })
            }
        };
        let now = self.ledger.live.runs[&parent].clone();
        let (fork, mut of, options) = self.plan_fork(parent, &now, &now);
        // Nobody asks again behind the note whether the past of what stays is held.
        of.whole &= !(policy.history_only && at == THE_NOTE);
        let made = Rc::new(RefCell::new(None));
        let (db, note) = (self.db.clone(), made.clone());
        meanwhile::at_next_opening(at, move || {
            let made = db.fork(parent, Point::Now, options);
            // What is noted is finished by any opening, also where a power cut takes what was committed since the prune synced.
            let result = made.and_then(|_| db.sync());
            *note.borrow_mut() = Some(result);
        });
        Some(Between { parent, fork, of, at, made })
    }
}
