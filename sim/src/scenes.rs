//! Short stories, played in the midst of random work, that lead through steps which come together too rarely by chance: each is
//! varied by its seed, and the ledger, the chronicle and what is replayed are held against each other as for any other work.

use fastrand::Rng;
use in_mem::{RetentionPolicy, RunId};

use crate::workload::retention::Amid;
use crate::workload::{Did, Work};

mod commit_cut;
mod forked_meanwhile;
mod made_anew;
mod release_failed;

/// Writes to a run that a story needs something of.
const WRITES: usize = 8;

/// Which story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// A fork is made while what it goes on from is pruned.
    ForkedMeanwhile,
    /// A run is made under the id of one whose erasing was cut off.
    MadeAnew,
    /// A checkpoint that failed did not let go of all of the log, and what it held is pruned.
    ReleaseFailed,
    /// The power goes in the midst of a commit that takes several segments.
    CommitCut,
}

/// Why a story does not go on.
enum Stop {
    /// An action did not end well.
    Did(Did),
    /// The database did something that it must not do.
    Wrong(String),
}

type Told = Result<(), Stop>;

fn well(did: Result<Did, String>) -> Told {
    match did {
        Ok(Did::Well) => Ok(()),
        Ok(did) => Err(Stop::Did(did)),
        Err(what) => Err(Stop::Wrong(what)),
    }
}

impl Scene {
    /// The story of a seed; most have none.
    pub(crate) fn of(rng: &mut Rng) -> Option<Self> {
        match rng.u8(..16) {
            0 | 1 => Some(Self::ForkedMeanwhile),
            2 => Some(Self::MadeAnew),
            3 => Some(Self::ReleaseFailed),
            4 => Some(Self::CommitCut),
            _ => None,
        }
    }

    /// Whether its database keeps the log that checkpoints cover: mostly so that what would be wrong shows.
    pub(crate) fn keeps_history(self, rng: &mut Rng) -> bool {
        match self {
            // In a replay.
            Self::ForkedMeanwhile => rng.u8(..4) > 0,
            Self::MadeAnew | Self::CommitCut => rng.bool(),
            // In a file that is to be used again.
            Self::ReleaseFailed => rng.u8(..4) == 0,
        }
    }

    /// Tells it once.
    ///
    /// # Errors
    /// As [`Work::act`].
    pub(crate) fn play(self, work: &mut Work<'_>) -> Result<Did, String> {
        // Of what another opening came to, where there was one: what it left undone is owed still.
        let told = if work.rng.u8(..3) == 0 { work.take_all_away() } else { Ok(()) };
        let told = told.and_then(|()| match self {
            Self::ForkedMeanwhile => work.forked_meanwhile(),
            Self::MadeAnew => work.made_anew(),
            Self::ReleaseFailed => work.release_failed(),
            Self::CommitCut => work.commit_cut(),
        });
        match told {
            Ok(()) => Ok(Did::Well),
            Err(Stop::Did(did)) => Ok(did),
            Err(Stop::Wrong(what)) => Err(format!("{self:?}: {what}")),
        }
    }
}

impl Work<'_> {
    /// A run that has something to lose.
    fn a_run(&mut self) -> Result<RunId, Stop> {
        let open: Vec<RunId> = self.open_runs();
        let parent = (!open.is_empty() && self.rng.u8(..3) == 0).then(|| open[self.rng.usize(..open.len())]);
        let id = self.new_id(parent);
        well(self.begin(id, parent))?;
        self.write_to(id)?;
        Ok(id)
    }

    /// Some of all that can be written to a run; something of it is found wherever it lies.
    fn write_to(&mut self, id: RunId) -> Told {
        let marked = self.rng.usize(..WRITES);
        for number in 0..=marked + self.rng.usize(..WRITES) {
            if number == marked {
                well(self.put_mark(id))?;
            } else if self.rng.u8(..6) == 0 {
                let open = self.open_runs();
                well(self.transaction(id, &open))?;
            } else {
                let run = self.db.run(id).map_err(|error| Stop::Wrong(format!("run {id}: {error}")))?;
                well(self.single(&run))?;
            }
        }
        Ok(())
    }

    /// Something else, or nothing, between two steps of a story.
    fn pause(&mut self) -> Told {
        match self.rng.u8(..6) {
            0 | 1 => well(self.maintenance()),
            2 => well(self.advance()),
            _ => Ok(()),
        }
    }

    /// Takes all ended runs away, or only their past.
    fn prune_all(&mut self, history_only: bool, amid: Amid) -> Told {
        let policy = RetentionPolicy { keep_newest: Some(0), history_only, ..RetentionPolicy::default() };
        well(self.prune_by(&policy, amid))
    }

    /// Lets go of a fork: it is deleted, or goes with the next prune.
    fn let_go(&mut self, fork: RunId) -> Told {
        if !self.ledger.live.runs.get(&fork).is_some_and(|run| run.is_open()) {
            return Ok(());
        }
        well(if self.rng.bool() { self.delete_run(fork) } else { self.end_run(fork) })
    }

    /// Lets go of all forks, and takes away what has ended: nothing that was pruned is held any more.
    fn take_all_away(&mut self) -> Told {
        let forks = self.ledger.live.runs.iter().filter(|(_, run)| run.forked).map(|(id, _)| *id);
        for fork in forks.collect::<Vec<_>>() {
            self.let_go(fork)?;
        }
        self.prune_all(false, Amid::Nothing)
    }
}
