//! Forks of runs as they are and as they were, of forks too.

use in_mem::{Error, ForkOptions, HistoryError, Point, RunId, RunStatus, Version};

use super::{Did, Work};
use crate::model::{Change, ModelRun};

impl Work<'_> {
    /// Forks any run, ended ones included.
    pub(super) fn fork(&mut self) -> Result<Did, String> {
        let all: Vec<RunId> = self.ledger.live.runs.keys().copied().collect();
        let parent = all[self.rng.usize(..all.len())];
        let (at, was) = match self.rng.u8(..5) {
            0 | 1 => (Point::Now, self.ledger.live.runs[&parent].clone()),
            dice => self.past(parent, dice == 2),
        };
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        let run = RunId::from_bytes(bytes).with_routing(parent.routing());
        let name = format!("fork-{}", self.rng.u8(..9));
        let tags: Vec<String> = (0..self.rng.u8(..3)).map(|n| format!("f{n}")).collect();
        let of = ModelRun {
            name: name.clone(),
            tags: tags.clone(),
            parent: Some(parent),
            forked: true,
            status: Some(RunStatus::Running),
            ended: None,
            ..was
        };
        self.send(run, vec![Change::Fork { run, of: Box::new(of) }]);
        let options = tags.iter().fold(ForkOptions::default().id(run).name(name), ForkOptions::tag);
        let made = self.db.fork(parent, at, options);
        if let Err(Error::History(cut)) = &made
            && !self.disk.crashed()
            && matches!(
                cut,
                HistoryError::NoLog { .. }
                    | HistoryError::NoHistory { .. }
                    | HistoryError::Erased { .. }
                    | HistoryError::Cut { .. }
                    | HistoryError::LetGo { .. }
                    | HistoryError::BeforeVersion { .. }
            )
        {
            if self.ledger.keep_history && self.ledger.begun_here(parent) {
                return Err(format!(
                    "run {parent} cannot be forked at {at:?}, though its log is whole: {cut}"
                ));
            }
            self.ledger.refuse(self.db)?;
            return Ok(Did::Well);
        }
        self.end(made)
    }

    /// A point of a run's past, and what the run was there: behind a commit, or behind an event.
    fn past(&mut self, run: RunId, by_event: bool) -> (Point, ModelRun) {
        let states = self.ledger.states_of(self.db, run);
        let events = states.last().map_or(0, |(_, last)| last.events.len());
        if by_event && events > 0 {
            let sequence = self.rng.usize(..events);
            if let Some(place) = states.iter().position(|(_, was)| was.events.len() > sequence)
                && (place > 0 || self.ledger.begun_here(run) && !states[0].1.forked)
            {
                return (Point::Event(sequence as u64), states[place].1.clone());
            }
        }
        let (version, was) = states[self.rng.usize(..states.len())].clone();
        (Point::Version(Version(version)), was)
    }
}
