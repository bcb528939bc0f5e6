//! A checkpoint fails while it lets go of the log that it covers, and what was in that log is pruned: no file of it may be left.

use in_mem::RunId;
use in_mem_wal::storage::sim::{FaultKind, OpKind};

use super::{Told, well};
use crate::workload::retention::Amid;
use crate::workload::{Did, Work};

/// Writes that fill some segments.
const WRITES: std::ops::Range<usize> = 12..40;
/// Bytes of a value that takes some sectors.
const BYTES: std::ops::Range<usize> = 500..1_500;
/// The disk fails from one of so many operations of the checkpoint on.
const OPERATIONS: u64 = 60;

impl Work<'_> {
    pub(super) fn release_failed(&mut self) -> Told {
        let run = self.a_run()?;
        for _ in 0..self.rng.u8(1..3) {
            self.fill_segments(run)?;
            well(self.checkpoint_that_fails())?;
            if self.rng.bool() {
                self.write_to(run)?;
            }
        }
        well(self.end_run(run))?;
        let history_only = self.rng.bool();
        self.prune_all(history_only, Amid::Nothing)?;
        let is_left = self.ledger.live.runs.contains_key(&run);
        if is_left { well(self.replay_of(run)) } else { Ok(()) }
    }

    /// Among large values, some that are found again.
    fn fill_segments(&mut self, run: RunId) -> Told {
        for _ in 0..self.rng.usize(WRITES) {
            well(self.put_mark(run))?;
            well(self.put_large(run, BYTES))?;
        }
        Ok(())
    }

    fn checkpoint_that_fails(&mut self) -> Result<Did, String> {
        let kinds = [OpKind::SyncDir, OpKind::SyncDir, OpKind::Rename, OpKind::Remove];
        let from = self.disk.ops() + 1 + self.rng.u64(..OPERATIONS);
        self.disk.fail(from, FaultKind::Eio, Some(kinds[self.rng.usize(..kinds.len())]), true);
        let result = self.db.checkpoint().map(drop);
        self.end_maintenance(result, false, true)
    }
}
