//! Where the time comes from: the system's clock, or one that a test or the simulator turns by hand.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use in_mem_model::Timestamp;

/// A source of time. Read once per turn, never per operation.
pub trait Clock: Send + Sync + Debug + 'static {
    /// The time now, in microseconds since 1970 UTC.
    fn now(&self) -> Timestamp;
}

/// The operating system's wall clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).map_or(i64::MAX, |seconds| {
                seconds.saturating_mul(1_000_000).saturating_add(i64::from(after.subsec_micros()))
            }),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |m| -m),
        };
        Timestamp(micros)
    }
}

/// A clock that stands still until it is moved: for tests and the simulator.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.0)))
    }

    /// Moves the clock on by `micros` microseconds (or back, where negative).
    pub fn advance(&self, micros: i64) {
        // Relaxed: a plain counter; nothing is published through it.
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        // Relaxed: pairs with nothing, see `advance`.
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}
