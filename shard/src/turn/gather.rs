//! How long to let the next batch gather before it is synced, and how those wait who are in it.
//!
//! Those whose commits the last sync made durable are likely to commit again at once, but they have to come back first.
//! A leader that syncs with what is there splits them in two halves that take turns, each waiting for the other's
//! sync; one that waits for them, for a fraction of a sync, takes them all along. Whether that pays is learned: a wait
//! that brought nothing halves the next one.
//!
//! A crowd waits differently from a few. Its threads keep each other from running, so whoever completes the batch
//! leads it at once, and need not wait until the one that waits for it gets a core again. And they give their cores away
//! instead of sleeping while a short sync goes on: to be passed over a few times takes a fraction of what it takes to
//! sleep and be woken. Unless another kind of work takes a core for as long as the scheduler lets it: then they sleep.

use crate::sync::yield_now;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest silence to listen into, when waits have been paying off: about as long as a parked thread takes to come back.
const PATIENCE_LIMIT: Duration = Duration::from_micros(80);

/// Shorter than this is not worth a try.
const PATIENCE_FLOOR: Duration = Duration::from_micros(4);

/// Once waits are not worth a try, one in so many syncs tries again: others may be committing by then.
const RETRY_SYNCS: u64 = 16;

/// Longest wait in all, in syncs: what gathers meanwhile is acknowledged that much later.
const WAIT_LIMIT_SYNCS: u32 = 2;

/// How long a waiting thread goes on giving its core away, in syncs: one may have begun before it came, and its own follows.
const YIELD_LIMIT_SYNCS: u32 = 3;

/// So many commits in flight are a crowd.
const CROWD: u64 = 12;

/// A core that was given away and comes back later than this was given to work of another kind.
const AWAY_LIMIT: Duration = Duration::from_micros(1500);

/// Then waiters sleep for so many syncs before they try again.
const ASLEEP_SYNCS: u64 = 64;

/// The longest sync that is waited for awake: behind a longer one, being woken is the smaller part.
const AWAKE_SYNC_LIMIT: Duration = Duration::from_micros(300);

/// Experience with waiting. Policy only: nothing is published through it, so `Relaxed` throughout.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Without a home thread one thread does everything: nobody would come.
    gathers: bool,
    /// Tickets that were out when the last sync ended: those it made durable, and those that came meanwhile.
    expected: AtomicU64,
    sync_nanos: AtomicU64,
    patience_nanos: AtomicU64,
    untried: AtomicU64,
    /// So many syncs are still to be slept through.
    asleep_syncs: AtomicU64,
}

impl Gather {
    pub(crate) fn new(gathers: bool) -> Self {
        Self {
            // The models have several threads and, most of them, no home thread.
            gathers: gathers || cfg!(inmem_loom),
            // A model has no time for many syncs: it expects two commits from the beginning.
            expected: AtomicU64::new(if cfg!(inmem_loom) { 2 } else { 0 }),
            sync_nanos: AtomicU64::new(0),
            patience_nanos: AtomicU64::new(nanos(PATIENCE_LIMIT)),
            untried: AtomicU64::new(0),
            asleep_syncs: AtomicU64::new(0),
        }
    }

    /// A sync ended: it took so long, and so many tickets were out.
    pub(crate) fn learn(&self, took: Duration, tickets_out: u64) {
        self.sync_nanos.store(nanos(took), Ordering::Relaxed);
        self.expected.store(tickets_out, Ordering::Relaxed);
        let asleep = self.asleep_syncs.load(Ordering::Relaxed);
        self.asleep_syncs.store(asleep.saturating_sub(1), Ordering::Relaxed);
    }

    /// Whether many commit at once.
    pub(crate) fn is_crowd(&self) -> bool {
        cfg!(inmem_loom) || self.expected.load(Ordering::Relaxed) >= CROWD
    }

    /// Whether as many tickets are out as were at the end of the last sync.
    pub(crate) fn is_complete(&self, out: u64) -> bool {
        out >= self.expected.load(Ordering::Relaxed)
    }

    /// Whether more seem to come, and waits for them have been paying off.
    pub(crate) fn is_worth_it(&self, out: u64) -> bool {
        if !self.gathers || self.is_complete(out) {
            return false;
        }
        if self.patience() >= PATIENCE_FLOOR {
            return true;
        }
        let untried = self.untried.load(Ordering::Relaxed) + 1;
        self.untried.store(untried % RETRY_SYNCS, Ordering::Relaxed);
        untried >= RETRY_SYNCS
    }

    /// Waits until as many tickets are `out` as were at the end of the last sync, or no more seem to come, or it is `over`.
    pub(crate) fn listen(&self, out: impl Fn() -> u64, over: impl Fn() -> bool) {
        if cfg!(inmem_loom) {
            // A model has no clock: patience may be over at any moment.
            return yield_now();
        }
        let expected = self.expected.load(Ordering::Relaxed);
        let found = out();
        // Looked at once: more may be out a moment later than are expected.
        if found >= expected {
            return;
        }
        let patience = self.patience();
        // A short try would miss those who have to be woken, for ever.
        let silence = if patience < PATIENCE_FLOOR { PATIENCE_LIMIT } else { patience };
        let sync = self.sync_time();
        let gathered = listen(expected, silence.min(sync), sync * WAIT_LIMIT_SYNCS, out, over);
        // Half of who was missed is enough to go on with: all of them come by chance only.
        let paid = gathered.saturating_sub(found) * 2 >= expected - found;
        let next = if paid { PATIENCE_LIMIT } else { patience / 2 };
        self.patience_nanos.store(nanos(next), Ordering::Relaxed);
    }

    /// In a crowd: gives the core away until `done`, for as long as a short sync takes. False: it is time to sleep.
    pub(crate) fn yield_until(&self, done: impl Fn() -> bool) -> bool {
        let sync = self.sync_time();
        let asleep = self.asleep_syncs.load(Ordering::Relaxed) > 0 || sync > AWAKE_SYNC_LIMIT;
        if cfg!(inmem_loom) || asleep || !self.is_crowd() {
            return done();
        }
        let begun = Instant::now();
        let mut before = begun;
        while !done() {
            if before - begun >= sync * YIELD_LIMIT_SYNCS {
                return false;
            }
            yield_now();
            let now = Instant::now();
            if now - before > AWAY_LIMIT {
                self.asleep_syncs.store(ASLEEP_SYNCS, Ordering::Relaxed);
            }
            before = now;
        }
        true
    }

    fn patience(&self) -> Duration {
        Duration::from_nanos(self.patience_nanos.load(Ordering::Relaxed))
    }

    fn sync_time(&self) -> Duration {
        Duration::from_nanos(self.sync_nanos.load(Ordering::Relaxed))
    }
}

/// Until `expected` are out, or nothing came for as long as `silence`, or `limit` has passed, or it is `over`. How many were
/// seen to be out.
fn listen(
    expected: u64,
    silence: Duration,
    limit: Duration,
    out: impl Fn() -> u64,
    over: impl Fn() -> bool,
) -> u64 {
    let begun = Instant::now();
    let mut heard = begun;
    let mut seen = out();
    loop {
        // Whoever is to be heard may need this core.
        yield_now();
        let now = Instant::now();
        let found = out();
        if found > seen {
            seen = found;
            heard = now;
        }
        if seen >= expected || over() || now - heard >= silence || now - begun >= limit {
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

    /// Waits with `coming` tickets that arrive one a look, on top of one that is there. Whether it waited at all.
    fn waits(gather: &Gather, expected: u64, coming: u64) -> bool {
        // A sync of no length: silence is over at once.
        gather.learn(Duration::from_nanos(1), expected);
        let worth_it = gather.is_worth_it(1);
        if worth_it {
            let looks = Cell::new(0);
            gather.listen(|| 1 + looks.replace(looks.get() + 1).min(coming), || false);
        }
        worth_it
    }

    #[test]
    fn who_was_alone_does_not_wait() {
        let gather = Gather::new(true);
        assert!(!waits(&gather, 0, 0), "the first sync");
        assert!(!waits(&gather, 1, 0));
        assert!(waits(&gather, 2, 0));
    }

    #[test]
    fn where_one_thread_does_everything_nobody_is_waited_for() {
        assert!(!waits(&Gather::new(false), 100, 0));
    }

    #[test]
    fn a_wait_ends_when_another_led() {
        let gather = Gather::new(true);
        // At each look there is one more, so that there is no silence, however long this thread does not run.
        gather.learn(Duration::from_secs(3600), u64::MAX);
        let (looks, coming) = (Cell::new(0), Cell::new(0));
        gather.listen(
            || {
                coming.set(coming.get() + 1);
                coming.get()
            },
            || {
                looks.set(looks.get() + 1);
                looks.get() == 3
            },
        );
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn only_a_crowd_and_only_a_short_sync_is_waited_for_awake() {
        let gather = Gather::new(true);
        gather.learn(AWAKE_SYNC_LIMIT + Duration::from_nanos(1), CROWD);
        assert!(!gather.yield_until(|| false), "it would wait for ever otherwise");
        let looks = Cell::new(0);
        gather.learn(AWAKE_SYNC_LIMIT, CROWD);
        assert!(gather.yield_until(|| {
            looks.set(looks.get() + 1);
            looks.get() == 2
        }));
        gather.learn(Duration::from_nanos(1), CROWD);
        assert!(!gather.yield_until(|| false), "and not for longer than a few syncs");
        gather.learn(AWAKE_SYNC_LIMIT, CROWD - 1);
        assert!(!gather.yield_until(|| false), "a few sleep at once");
    }

    /// They came between two looks, of which one was compared and the other subtracted.
    #[test]
    fn more_may_come_at_once_than_are_expected() {
        let gather = Gather::new(true);
        gather.learn(Duration::from_nanos(1), 2);
        let looks = Cell::new(0);
        let out = || {
            looks.set(looks.get() + 1);
            if looks.get() == 1 { 1 } else { 100 }
        };
        gather.listen(out, || false);
        assert!(looks.get() > 1, "it waited");
    }

    #[test]
    fn waits_in_vain_die_out_and_one_that_pays_brings_them_back() {
        let gather = Gather::new(true);
        assert!(waits(&gather, 100, 0));
        while waits(&gather, 100, 0) {}
        let mut skipped = 1;
        while !waits(&gather, 2, 1) {
            skipped += 1;
        }
        assert_eq!(skipped, RETRY_SYNCS - 1, "tried again once in so many syncs");
        assert!(waits(&gather, 2, 1), "that one paid");
    }
}
