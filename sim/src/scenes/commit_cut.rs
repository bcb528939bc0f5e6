//! The power goes in the midst of a commit that takes several segments: none of it may be left, also not for what is written behind it.

use super::{Told, well};
use crate::workload::Work;

/// Bytes of a value that takes several segments.
const BYTES: std::ops::Range<usize> = 9_000..16_000;
/// Such commits, during one of which the power goes.
const COMMITS: u8 = 3;
/// It goes before one of so many operations.
const OPERATIONS: u64 = 40;

impl Work<'_> {
    pub(super) fn commit_cut(&mut self) -> Told {
        let run = self.a_run()?;
        self.pause()?;
        self.disk.crash_before(self.disk.ops() + 1 + self.rng.u64(..OPERATIONS));
        for _ in 0..COMMITS {
            well(self.put_large(run, BYTES))?;
        }
        Ok(())
    }
}
