//! Figures with a limit. A gate that falls short is reported as such; limits are never loosened to make one pass.

mod allocations;
mod durable;
mod events;
mod history;
mod idle;
mod maps;
mod memory;
mod pipeline;
mod recovery;
mod runs;
mod spans;
mod steps;
mod tail;
mod threads;
mod transactions;

use crate::figure::Figure;
use crate::scale::Scale;

/// Why a gate could not be measured.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a group of gates gives.
pub(crate) type Figures = Result<Vec<Figure>, Error>;

/// Gates that are measured together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Its name: the first part of its gates' names.
    pub name: &'static str,
    run: fn(&Scale) -> Figures,
}

impl Group {
    /// Measures them.
    ///
    /// # Errors
    /// What the database or the disk said.
    pub fn run(&self, scale: &Scale) -> Result<Vec<Figure>, Error> {
        (self.run)(scale)
    }
}

/// All groups, in the order in which they are measured.
pub const GROUPS: &[Group] = &[
    Group { name: "get", run: maps::get },
    Group { name: "put", run: maps::put },
    Group { name: "layers", run: maps::layers },
    Group { name: "snapshot", run: maps::snapshot },
    Group { name: "idle", run: idle::measure },
    Group { name: "allocations", run: allocations::measure },
    Group { name: "tail", run: tail::measure },
    Group { name: "threads", run: threads::measure },
    Group { name: "transaction", run: transactions::measure },
    Group { name: "pipeline", run: pipeline::measure },
    Group { name: "growth", run: memory::growth },
    Group { name: "heap", run: memory::heap },
    Group { name: "strict", run: durable::strict },
    Group { name: "buffered", run: durable::buffered },
    Group { name: "checkpoint", run: durable::checkpoint },
    Group { name: "log", run: recovery::log_bytes },
    Group { name: "recovery", run: recovery::recovery },
    Group { name: "events", run: events::measure },
    Group { name: "spans", run: spans::measure },
    Group { name: "steps", run: steps::measure },
    Group { name: "runs", run: runs::measure },
    Group { name: "replay", run: history::replay },
    Group { name: "fork", run: history::fork },
    Group { name: "diff", run: history::diff },
];
