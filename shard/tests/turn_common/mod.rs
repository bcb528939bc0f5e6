//! A small core for the tests of turns: a list of numbers, a log that counts, syncs that can fail.

#![allow(dead_code, missing_docs, missing_debug_implementations, unreachable_pub)]

use in_mem_shard::turn::{BackgroundJob, Core, Maintenance, SyncFailed, SyncJob, Ticket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake};

pub enum Command {
    /// Adds (sender, number); answered at once with how many there are.
    Add(u64, u64),
    /// The same, answered when synced, with the ticket.
    AddSynced(u64, u64),
    /// Answers what the clock showed when the turn began.
    Time,
    /// Panics.
    Panic,
    /// Runs this inside the turn.
    Run(Box<dyn FnOnce() + Send>),
}

#[derive(Debug, Default)]
pub struct Disk {
    /// Everything through this lsn was synced.
    pub synced: AtomicU64,
    pub syncs: AtomicU64,
    pub fails: AtomicBool,
    pub panics: AtomicBool,
    /// How many syncs have begun.
    pub begun: AtomicU64,
    busy: Mutex<()>,
    /// How much was done in the background.
    pub prepared: AtomicU64,
}

impl Disk {
    /// No sync ends as long as this is held.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many syncs have begun.
    pub fn wait_for_syncs(&self, begun: u64) {
        while self.begun.load(Ordering::SeqCst) < begun {
            std::thread::yield_now();
        }
    }
}

#[derive(Debug, Default)]
pub struct List {
    pub items: Vec<(u64, u64)>,
    pub lsn: u64,
    pub in_turn: bool,
    pub syncing: bool,
    pub disk: Arc<Disk>,
    pub expire: usize,
    pub clock: Arc<AtomicU64>,
    pub now: u64,
    /// Background jobs to ask for.
    pub to_prepare: u64,
}

pub struct Job {
    through: u64,
    disk: Arc<Disk>,
    ok: bool,
}

impl SyncJob for Job {
    fn run(&mut self) {
        std::thread::yield_now();
        self.disk.begun.fetch_add(1, Ordering::SeqCst);
        drop(self.disk.hold());
        assert!(!self.disk.panics.load(Ordering::SeqCst), "asked to");
        self.ok = !self.disk.fails.load(Ordering::SeqCst);
        if self.ok {
            self.disk.synced.fetch_max(self.through, Ordering::SeqCst);
            self.disk.syncs.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Core for List {
    type Command = Command;
    type Reply = u64;
    type SyncJob = Job;

    fn begin_turn(&mut self) {
        assert!(!self.in_turn);
        self.in_turn = true;
        self.now = self.clock.load(Ordering::SeqCst);
    }

    fn execute(&mut self, command: Command) -> (u64, Ticket) {
        assert!(self.in_turn);
        match command {
            Command::Add(sender, number) => {
                self.items.push((sender, number));
                (self.items.len() as u64, Ticket::NOW)
            }
            Command::AddSynced(sender, number) => {
                self.items.push((sender, number));
                self.lsn += 1;
                (self.lsn, Ticket(self.lsn))
            }
            Command::Time => (self.now, Ticket::NOW),
            Command::Panic => panic!("asked to"),
            Command::Run(run) => {
                run();
                (0, Ticket::NOW)
            }
        }
    }

    fn end_turn(&mut self) {
        assert!(self.in_turn);
        self.in_turn = false;
    }

    fn begin_sync(&mut self) -> Option<Job> {
        assert!(!self.syncing);
        if self.disk.synced.load(Ordering::SeqCst) >= self.lsn {
            return None;
        }
        self.syncing = true;
        Some(Job { through: self.lsn, disk: Arc::clone(&self.disk), ok: false })
    }

    fn finish_sync(&mut self, job: Job) -> Result<Ticket, SyncFailed> {
        assert!(std::mem::replace(&mut self.syncing, false));
        if job.ok { Ok(Ticket(job.through)) } else { Err(SyncFailed) }
    }

    fn maintain(&mut self, budget_ops: usize) -> Maintenance {
        self.expire = self.expire.saturating_sub(budget_ops);
        Maintenance { more: self.expire > 0, next: None }
    }

    fn background(&mut self) -> Option<BackgroundJob> {
        self.to_prepare = self.to_prepare.checked_sub(1)?;
        let disk = Arc::clone(&self.disk);
        Some(Box::new(move || {
            disk.prepared.fetch_add(1, Ordering::SeqCst);
        }))
    }
}

/// Every sender's numbers are 0, 1, 2, .. and there are `each` of each.
pub fn assert_fifo_once(items: &[(u64, u64)], senders: u64, each: u64) {
    let mut next = vec![0; senders as usize];
    for &(sender, number) in items {
        assert_eq!(next[sender as usize], number, "sender {sender} out of order, lost or doubled");
        next[sender as usize] += 1;
    }
    assert!(next.iter().all(|&count| count == each), "lost commands: {next:?}");
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
