//! A run is made under the id of one whose erasing was cut off: what finishes that, a prune or an opening, must not take it.

use super::{Told, well};
use crate::workload::Work;
use crate::workload::retention::Amid;

/// The fault hits one of so many operations behind the opening of the note: that of the note itself, of the deletions, or of the erasing.
const OPERATIONS: u64 = 80;

impl Work<'_> {
    pub(super) fn made_anew(&mut self) -> Told {
        let run = self.a_run()?;
        well(self.end_run(run))?;
        if self.rng.u8(..3) == 0 {
            let other = self.a_run()?;
            well(self.end_run(other))?;
        }
        self.pause()?;
        let behind = 1 + self.rng.u64(..OPERATIONS);
        self.prune_all(false, Amid::Fault(behind))?;
        if self.ledger.live.runs.contains_key(&run) {
            return Ok(());
        }
        let parent = self.open_runs().into_iter().find(|of| of.routing() == run.routing() && self.rng.bool());
        well(self.begin(run, parent))?;
        self.write_to(run)?;
        self.pause()?;
        match self.rng.u8(..4) {
            0 => {}
            1 | 2 => {
                let history_only = self.rng.bool();
                self.prune_all(history_only, Amid::Nothing)?;
            }
            // An opening finishes it, where the power goes now.
            _ => self.disk.crash_before(self.disk.ops()),
        }
        well(self.replay_of(run))
    }
}
