//! Forks of runs as they are and as they were, of forks too.

use in_mem::{Error, ForkOptions, Point, RunId, RunStatus, Version};

use super::replay::is_gone;
use super::{Did, Work};
use crate::model::{Change, ModelRun};

impl Work<'_> {
    /// Forks any run, ended ones included.
    pub(super) fn fork(&mut self) -> Result<Did, String> {
        let all: Vec<RunId> = self.ledger.live.runs.keys().copied().collect();
        let parent = all[self.rng.usize(..all.len())];
        let now = self.ledger.live.runs[&parent].clone();
        match self.rng.u8(..5) {
            0 | 1 => self.fork_at(parent, Point::Now, &now),
            dice => {
                let (at, was) = self.past(parent, &now, dice == 2);
                self.fork_at(parent, at, &was)
            }
        }
    }

    /// Forks a run as it is, or as it was at a point of its past, when it held this.
    pub(crate) fn fork_at(&mut self, parent: RunId, at: Point, was: &ModelRun) -> Result<Did, String> {
        let now = self.ledger.live.runs[&parent].clone();
        let has_past = self.chronicle.has_past(parent, &now) && self.chronicle.has_past(parent, was);
        let (run, of, options) = self.plan_fork(parent, &now, was);
        if at != Point::Now {
            self.chronicle.spread(parent, &now);
        }
        self.send(run, vec![Change::Fork { run, of: Box::new(of) }]);
        let made = self.db.fork(parent, at, options);
        if let Err(Error::History(cut)) = &made
            && !self.disk.crashed()
            && is_gone(cut)
        {
            if has_past {
                return Err(format!(
                    "run {parent} cannot be forked at {at:?}, though its log is whole: {cut}"
                ));
            }
            self.ledger.refuse(self.db)?;
            return Ok(Did::Well);
        }
        self.end(made)
    }

    /// A fork of a run that holds this now, as it was when it held that: its id, what it holds, and how it is asked for.
    pub(super) fn plan_fork(
        &mut self,
        parent: RunId,
        now: &ModelRun,
        was: &ModelRun,
    ) -> (RunId, ModelRun, ForkOptions) {
        let run = self.new_id(Some(parent));
        self.chronicle.owed.remove(&run);
        let name = format!("fork-{}", self.rng.u8(..9));
        let tags: Vec<String> = (0..self.rng.u8(..3)).map(|n| format!("f{n}")).collect();
        let mut above = now.above.clone();
        above.push((parent, now.life));
        let of = ModelRun {
            name: name.clone(),
            tags: tags.clone(),
            parent: Some(parent),
            forked: true,
            life: self.chronicle.new_life(),
            above,
            whole: self.chronicle.has_past(parent, now),
            status: Some(RunStatus::Running),
            ended: None,
            ..was.clone()
        };
        let options = tags.iter().fold(ForkOptions::default().id(run).name(name), ForkOptions::tag);
        (run, of, options)
    }

    /// A point of a run's past, and what the run was there: behind a commit, or behind an event of its present life.
    fn past(&mut self, run: RunId, now: &ModelRun, by_event: bool) -> (Point, ModelRun) {
        let mut states = self.ledger.states_of(self.db, run);
        let events = now.events.len();
        if by_event && events > 0 {
            let sequence = self.rng.usize(..events);
            let mut own =
                states.iter().filter_map(|(_, was)| was.as_ref()).filter(|was| was.life == now.life);
            let first = own.next().map_or(0, |first| first.events.len());
            // What was appended before the first state that is known, nobody knows the run of.
            if sequence >= first
                && let Some(was) = own.find(|was| was.events.len() > sequence)
            {
                return (Point::Event(sequence as u64), was.clone());
            }
        }
        // A fork of an earlier life that had events is refused.
        let is_had = |was: &ModelRun| was.life == now.life || was.events.is_empty();
        states.retain(|(_, was)| was.as_ref().is_some_and(is_had));
        let place = self.rng.usize(..states.len().max(1));
        match states.into_iter().nth(place) {
            Some((version, Some(was))) => (Point::Version(Version(version)), was),
            _ => (Point::Now, now.clone()),
        }
    }
}
