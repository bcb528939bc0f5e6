//! How long a leader lets the next batch gather before it syncs.
//!
//! Those whose commits the last sync made durable are likely to commit again at once, but they have to be woken first.
//! A leader that syncs with what is there splits them in two halves that take turns, each waiting for the other's
//! sync; one that waits for them, for a fraction of a sync, takes them all along. Whether that pays is learned: a wait
//! that brought nothing halves the next one.

use crate::sync::{spin_loop, yield_now};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest silence that a leader listens into, when its waits have been paying off: about as long as a parked thread
/// takes to come back.
const PATIENCE_LIMIT: Duration = Duration::from_micros(80);

/// Shorter than this is not worth a try.
const PATIENCE_FLOOR: Duration = Duration::from_micros(4);

/// Once waits are not worth a try, one in so many syncs tries again: others may be committing by then.
const RETRY_SYNCS: u64 = 16;

/// Longest wait in all, in syncs: what gathers meanwhile is acknowledged that much later.
const WAIT_LIMIT_SYNCS: u32 = 2;

/// Pauses between two looks at the clock.
const LOOK_PAUSES: u32 = 16;

/// Experience with waiting. Only the leader touches it, so `Relaxed` throughout: leadership is handed on under a lock.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Tickets that were out when the last sync ended: those it made durable, and those that came meanwhile.
    expected: AtomicU64,
    sync_nanos: AtomicU64,
    patience_nanos: AtomicU64,
    untried: AtomicU64,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self {
            expected: AtomicU64::new(0),
            sync_nanos: AtomicU64::new(0),
            patience_nanos: AtomicU64::new(nanos(PATIENCE_LIMIT)),
            untried: AtomicU64::new(0),
        }
    }

    /// A sync ended: it took so long, and so many tickets were out.
    pub(crate) fn learn(&self, took: Duration, tickets_out: u64) {
        self.sync_nanos.store(nanos(took), Ordering::Relaxed);
        self.expected.store(tickets_out, Ordering::Relaxed);
    }

    /// Waits until as many tickets are `out` as were at the end of the last sync, or no more seem to come.
    pub(crate) fn wait(&self, out: impl Fn() -> u64) {
        let expected = self.expected.load(Ordering::Relaxed);
        // Looked at once: more may be out a moment later than are expected.
        let found = out();
        if cfg!(inmem_loom) || found >= expected {
            return;
        }
        let patience = self.patience_nanos.load(Ordering::Relaxed);
        let mut silence = Duration::from_nanos(patience);
        if silence < PATIENCE_FLOOR {
            let untried = self.untried.load(Ordering::Relaxed) + 1;
            self.untried.store(untried % RETRY_SYNCS, Ordering::Relaxed);
            if untried < RETRY_SYNCS {
                return;
            }
            // A short try would miss those who have to be woken, for ever.
            silence = PATIENCE_LIMIT;
        }
        let sync = Duration::from_nanos(self.sync_nanos.load(Ordering::Relaxed));
        let gathered = listen(expected, silence.min(sync), sync * WAIT_LIMIT_SYNCS, out);
        // Half of who was missed is enough to go on with: all of them come by chance only.
        let paid = (gathered - found) * 2 >= expected - found;
        let next = if paid { nanos(PATIENCE_LIMIT) } else { patience / 2 };
        self.patience_nanos.store(next, Ordering::Relaxed);
    }
}

/// Until `expected` are out, or nothing came for as long as `silence`, or `limit` has passed. How many are out then.
fn listen(expected: u64, silence: Duration, limit: Duration, out: impl Fn() -> u64) -> u64 {
    let begun = Instant::now();
    let mut heard = begun;
    let mut seen = out();
    loop {
        // Whoever is to be heard may need this core.
        yield_now();
        for _ in 0..LOOK_PAUSES {
            spin_loop();
        }
        let now = Instant::now();
        let found = out();
        if found > seen {
            seen = found;
            heard = now;
        }
        if seen >= expected || now - heard >= silence || now - begun >= limit {
            return seen;
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(inmem_loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Waits with `coming` tickets that arrive one a look, on top of one that is there. How often it looked.
    fn looks(gather: &Gather, expected: u64, coming: u64) -> u64 {
        // A sync of no length: silence is over at once.
        gather.learn(Duration::from_nanos(1), expected);
        let looks = Cell::new(0);
        gather.wait(|| {
            looks.set(looks.get() + 1);
            1 + (looks.get() - 1).min(coming)
        });
        looks.get()
    }

    #[test]
    fn who_was_alone_does_not_wait() {
        let gather = Gather::new();
        assert_eq!(looks(&gather, 0, 0), 1, "the first sync");
        assert_eq!(looks(&gather, 1, 0), 1);
    }

    /// They came between two looks, of which one was compared and the other subtracted.
    #[test]
    fn more_may_come_at_once_than_are_expected() {
        let gather = Gather::new();
        gather.learn(Duration::from_nanos(1), 2);
        let looks = Cell::new(0);
        gather.wait(|| {
            looks.set(looks.get() + 1);
            if looks.get() == 1 { 1 } else { 100 }
        });
        assert!(looks.get() > 1, "it waited");
    }

    #[test]
    fn waits_in_vain_die_out_and_one_that_pays_brings_them_back() {
        let gather = Gather::new();
        let waits = |looks: u64| looks > 1;
        assert!(waits(looks(&gather, 100, 0)));
        while waits(looks(&gather, 100, 0)) {}
        let mut skipped = 1;
        while !waits(looks(&gather, 2, 1)) {
            skipped += 1;
        }
        assert_eq!(skipped, RETRY_SYNCS - 1, "tried again once in so many syncs");
        assert!(waits(looks(&gather, 2, 1)), "that one paid");
    }
}
