//! How much is measured.

use crate::figure::{Figure, Limit};

/// How much is measured. Only [`Scale::full`] is judged by the limits on time.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Whether limits on time are judged.
    pub is_judged: bool,
    /// The fewer keys.
    pub keys: usize,
    /// The more keys.
    pub many_keys: usize,
    /// Keys that a growing index reaches.
    pub growth_keys: usize,
    /// Interleaved rounds of everything that is compared.
    pub rounds: usize,
    /// Operations of a round.
    pub operations: usize,
    /// Rounds where each is long: threads, disk.
    pub long_rounds: usize,
    /// Operations of each thread, where several are at work.
    pub thread_operations: usize,
    /// Operations that are timed one by one, for the tail.
    pub timed_operations: usize,
    /// Puts after idling.
    pub idle_puts: usize,
    /// Commits of a round that waits for the disk.
    pub synced_commits: usize,
}

impl Scale {
    /// The scale that figures are published at.
    pub const fn full() -> Self {
        Self {
            is_judged: true,
            keys: 100_000,
            many_keys: 1_000_000,
            growth_keys: 4_000_000,
            // Long enough for a round to work in its own cache, and not in what the one before it left.
            rounds: 25,
            operations: 50_000,
            long_rounds: 9,
            thread_operations: 200_000,
            timed_operations: 200_000,
            idle_puts: 200,
            synced_commits: 200,
        }
    }

    /// A scale at which everything runs in seconds, and only what does not depend on time is judged.
    pub const fn smoke() -> Self {
        Self {
            is_judged: false,
            keys: 2_000,
            many_keys: 10_000,
            growth_keys: 40_000,
            rounds: 3,
            operations: 1_000,
            long_rounds: 3,
            thread_operations: 5_000,
            timed_operations: 5_000,
            idle_puts: 10,
            synced_commits: 64,
        }
    }

    /// A figure whose limit is on time or on memory: where it is too small to be judged, it only has to make sense.
    pub(crate) fn judged(&self, name: &str, value: f64, unit: &'static str, limit: Limit) -> Figure {
        Figure::limited(name, value, unit, if self.is_judged { limit } else { Limit::Sane })
    }
}
