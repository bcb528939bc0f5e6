//! The home thread: the default holder of the turn.
//!
//! Inline, it sleeps while callers run the shard themselves, and wakes for what nobody else does: commands left over,
//! syncs nobody leads, the sync interval, maintenance, background jobs. Pinned, it is the only holder, and spins for a
//! while before it parks.

use super::hold::{Holder, Turn};
use super::shard::Inner;
use super::spin::Spin;
use super::stats::{Counters, add};
use super::{Core, Execution, Maintenance, SyncJob, after};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Thread, current, park, park_timeout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[cfg(not(inmem_loom))]
type JoinHandle = std::thread::JoinHandle<()>;
#[cfg(inmem_loom)]
type JoinHandle = loom::thread::JoinHandle<()>;

/// What others know of the home thread.
#[derive(Debug)]
pub(crate) struct HomeLink {
    thread: OnceLock<Thread>,
    /// Somebody wants it to look round; cleared when it begins to. One wake-up a batch, however many want it.
    notified: AtomicBool,
    stop: AtomicBool,
    handle: Mutex<Option<JoinHandle>>,
}

impl HomeLink {
    pub(crate) fn new() -> Self {
        Self {
            thread: OnceLock::new(),
            notified: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            handle: Mutex::new(None),
        }
    }

    /// Has it look round, if there is one.
    pub(crate) fn notify(&self, counters: &Counters) {
        // Seen as set: the thread has not begun to look since, and will. AcqRel pairs with the clearing in `rest`.
        if !self.notified.swap(true, Ordering::AcqRel) {
            self.wake(counters);
        }
    }

    /// Wakes it whatever was said before.
    pub(crate) fn wake(&self, counters: &Counters) {
        // Before the thread put itself here it looks at `notified` and at the inbox.
        if let Some(thread) = self.thread.get() {
            add(&counters.home_wakes, 1);
            thread.unpark();
        }
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // A read-modify-write, as in the thread's loops: either the thread's next one sees `stop`, or it came before
        // this, and then the thread is in its place to be woken.
        self.notified.swap(true, Ordering::AcqRel);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        let handle = self.handle.lock().unwrap_or_else(|broken| broken.into_inner()).take();
        if let Some(handle) = handle {
            // A panic there has been told to everyone who waited.
            let _ = handle.join();
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// Starts the home thread of a shard.
pub(crate) fn start<C: Core>(
    inner: &Arc<Inner<C>>,
    name: String,
    on_start: Option<Box<dyn FnOnce() + Send>>,
) -> std::io::Result<()> {
    let shard = Arc::clone(inner);
    let run = move || {
        if let Some(on_start) = on_start {
            on_start();
        }
        let _ = shard.home.thread.set(current());
        let mut home = Home { inner: &shard, next_maintain: Some(Instant::now()), next_sync: None };
        // A panic has poisoned the shard, or was in a job; someone has to go on refusing what arrives.
        while catch_unwind(AssertUnwindSafe(|| match shard.execution {
            Execution::Inline => home.run_inline(),
            Execution::Pinned => home.run_pinned(),
        }))
        .is_err()
        {}
    };
    #[cfg(not(inmem_loom))]
    let handle = std::thread::Builder::new().name(name).spawn(run)?;
    #[cfg(inmem_loom)]
    let handle = {
        drop(name);
        loom::thread::spawn(run)
    };
    *inner.home.handle.lock().unwrap_or_else(|broken| broken.into_inner()) = Some(handle);
    Ok(())
}

/// How long the pinned home thread stays away from the turn for another thread that is parked for it.
const TAKER_GRACE: Duration = Duration::from_micros(200);

struct Home<'a, C: Core> {
    inner: &'a Inner<C>,
    next_maintain: Option<Instant>,
    next_sync: Option<Instant>,
}

impl<C: Core> Home<'_, C> {
    fn run_inline(&mut self) {
        let inner = self.inner;
        self.schedule_sync();
        loop {
            // Before looking: what is wanted from here on sets it again.
            let notified = inner.home.notified.swap(false, Ordering::AcqRel);
            if inner.home.is_stopping() {
                return;
            }
            self.run_leftovers();
            while inner.commit.is_leaderless() && inner.commit.try_lead() {
                while inner.lead_once(!inner.home.is_stopping()) {
                    self.run_leftovers();
                }
            }
            if notified || is_due(self.next_maintain) {
                self.maintain();
            }
            if is_due(self.next_sync) {
                if inner.commit.try_lead() {
                    inner.lead();
                }
                self.schedule_sync();
            }
            if inner.token.has_leftovers() || inner.commit.is_leaderless() {
                continue;
            }
            self.rest();
        }
    }

    fn run_leftovers(&self) {
        if self.inner.token.has_leftovers()
            && let Some(turn) = self.inner.enter_blocking(Holder::Home)
        {
            let _ = turn.finish();
        }
    }

    /// Parks until woken or until something is due.
    fn rest(&self) {
        if self.inner.home.notified.load(Ordering::Acquire) {
            return;
        }
        match [self.next_maintain, self.next_sync].into_iter().flatten().min() {
            None => park(),
            Some(due) => {
                let wait = due.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    park_timeout(wait);
                }
            }
        }
    }

    fn schedule_sync(&mut self) {
        self.next_sync = self.inner.sync_interval.and_then(after);
    }

    /// One round of maintenance; what is more to do is due at once, after others had their turn.
    fn maintain(&mut self) {
        let wants_sync = match self.inner.maintain_once(Holder::Home) {
            None => false,
            Some((maintenance, job, wants_sync)) => {
                self.schedule_maintain(maintenance);
                if let Some(job) = job {
                    job();
                }
                wants_sync
            }
        };
        if wants_sync && self.inner.commit.try_lead() {
            self.inner.lead();
            self.schedule_sync();
        }
    }

    fn schedule_maintain(&mut self, maintenance: Maintenance) {
        self.next_maintain =
            if maintenance.more { Some(Instant::now()) } else { maintenance.next.and_then(after) };
    }

    fn run_pinned(&mut self) {
        let inner = self.inner;
        let spin = Spin::new(inner.spin_limit_pauses);
        self.schedule_sync();
        loop {
            let Some(mut turn) = inner.enter_blocking(Holder::Home) else { return };
            while !inner.home.is_stopping() {
                let emptied = turn.drain_unannounced();
                let wants_sync = !turn.is_poisoned() && turn.core().wants_sync();
                if inner.commit.has_unsynced() || wants_sync || is_due(self.next_sync) {
                    self.sync_pinned(&mut turn);
                }
                self.maintain_pinned(&mut turn);
                turn.pause();
                let arrived = !emptied || spin.wait(|| !inner.inbox.is_empty() || inner.home.is_stopping());
                turn.resume();
                if !arrived {
                    break;
                }
                if inner.token.has_takers() {
                    break;
                }
            }
            inner.home.notified.swap(false, Ordering::AcqRel);
            // What was announced since the last drain is run before the turn is free; after that, whoever announces
            // first wakes this thread.
            let _ = turn.finish();
            if inner.home.is_stopping() {
                return;
            }
            if inner.token.has_takers() {
                // Somebody wants the turn itself (a sync by hand): give it the time to wake up.
                park_timeout(TAKER_GRACE);
                continue;
            }
            if inner.token.has_leftovers() || inner.commit.is_leaderless() {
                continue;
            }
            self.rest();
        }
    }

    /// A sync between two batches: the next one gathers in the inbox meanwhile.
    fn sync_pinned(&mut self, turn: &mut Turn<'_, C>) {
        if self.inner.commit.try_lead() {
            turn.next();
            if let Some(mut job) = turn.begin_sync() {
                job.run();
                turn.finish_sync(job);
            }
            self.inner.end_lead(false);
        }
        self.schedule_sync();
    }

    fn maintain_pinned(&mut self, turn: &mut Turn<'_, C>) {
        if turn.is_poisoned() {
            return;
        }
        if turn.core().wants_home() || is_due(self.next_maintain) {
            let maintenance = turn.maintain();
            self.schedule_maintain(maintenance);
            let job = turn.core().background();
            if let Some(job) = job {
                turn.next();
                job();
            }
        }
    }
}

fn is_due(at: Option<Instant>) -> bool {
    at.is_some_and(|at| Instant::now() >= at)
}
