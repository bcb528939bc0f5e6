//! How long to spin before parking.
//!
//! A spinning wait is answered in under a microsecond, a parked one in eighty; but a spin that does not end in an
//! answer takes the core from the thread it waits for. So: a short spin always; a long one only while fewer threads
//! of this process spin than there are cores to spare, and only as long as long spins have been paying off.

use crate::sync::spin_loop;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Free of any condition: about a microsecond and a half.
const SHORT_SPIN_PAUSES: u32 = 60;

/// Threads of this process in a long spin. Policy only: nothing is published through it.
static LONG_SPINNERS: AtomicU32 = AtomicU32::new(0);

fn long_spinners_limit() -> u32 {
    static LIMIT: OnceLock<u32> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        u32::try_from(cores.saturating_sub(1)).unwrap_or(u32::MAX)
    })
}

/// One place's experience with spinning.
#[derive(Debug)]
pub(crate) struct Spin {
    /// How long the next long spin may be, in pauses.
    current_pauses: AtomicU32,
    limit_pauses: u32,
}

impl Spin {
    pub(crate) fn new(limit_pauses: u32) -> Self {
        Self { current_pauses: AtomicU32::new(limit_pauses), limit_pauses }
    }

    /// Spins until `done`, or until it is time to park (`false`).
    #[inline]
    pub(crate) fn wait(&self, mut done: impl FnMut() -> bool) -> bool {
        if cfg!(inmem_loom) || self.limit_pauses == 0 {
            return done();
        }
        for _ in 0..SHORT_SPIN_PAUSES.min(self.limit_pauses) {
            if done() {
                return true;
            }
            spin_loop();
        }
        self.wait_long(done)
    }

    #[cold]
    fn wait_long(&self, mut done: impl FnMut() -> bool) -> bool {
        if LONG_SPINNERS.fetch_add(1, Ordering::Relaxed) >= long_spinners_limit() {
            LONG_SPINNERS.fetch_sub(1, Ordering::Relaxed);
            return done();
        }
        let pauses = self.current_pauses.load(Ordering::Relaxed);
        let mut paid = false;
        for _ in 0..pauses {
            if done() {
                paid = true;
                break;
            }
            spin_loop();
        }
        LONG_SPINNERS.fetch_sub(1, Ordering::Relaxed);
        // Up at once, since a park that could have been a spin is the dearer mistake; down by half.
        let next = if paid { self.limit_pauses } else { (pauses / 2).max(SHORT_SPIN_PAUSES) };
        self.current_pauses.store(next, Ordering::Relaxed);
        paid
    }
}
