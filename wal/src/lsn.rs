//! Log sequence numbers.

use std::fmt;

/// The number of a record in one shard's log.
///
/// Dense: the first record of a log is 1 and each further record, the log's own included, is one more. Zero means
/// "before the first record". A gap in the numbers is therefore always damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record of any log.
    pub const ZERO: Lsn = Lsn(0);

    /// The number after this one. No log comes to the last one, but the header of a hostile file may say so.
    #[must_use]
    pub const fn next(self) -> Lsn {
        Lsn(self.0.saturating_add(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
