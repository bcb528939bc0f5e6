//! Faults of the disk in the midst of maintenance, behind which the database goes on: as it is, or opened again.

use in_mem_wal::storage::sim::FaultKind;

use super::{Did, Work};

/// The fault hits one of so many operations from now.
const OPERATIONS: u64 = 60;

impl Work<'_> {
    /// Now and then, an operation that is to come fails, or all from there on. Says whether.
    pub(super) fn begin_fault(&mut self) -> bool {
        if !self.faults || self.rng.u8(..4) > 0 {
            return false;
        }
        let kind = [FaultKind::Eio, FaultKind::Enospc][self.rng.usize(..2)];
        let number = self.disk.ops() + 1 + self.rng.u64(..OPERATIONS);
        self.disk.fail(number, kind, None, self.rng.u8(..4) == 0);
        true
    }

    /// The disk is well again. What the fault made fail is no refusal of the database's; where a log failed, there is no going on.
    pub(crate) fn end_fault(&mut self, breaks: bool, did: Did) -> Result<Did, String> {
        if !breaks {
            return Ok(did);
        }
        self.disk.heal();
        if !matches!(did, Did::Failed(_)) {
            return Ok(did);
        }
        let stats = self.db.stats().map_err(|error| format!("stats: {error}"))?;
        let is_poisoned = stats.shards.iter().any(|shard| shard.core.poisoned.is_some());
        Ok(if is_poisoned || self.ledger.stuck().is_some() { Did::LogFailed } else { Did::Well })
    }
}
