//! Group commit: who leads a sync, and who waits for which ticket.
//!
//! The leader is whoever waits first: it begins a sync in a turn, does the I/O outside, and finishes it in a turn,
//! while others append the next batch. When it is done and more commits wait, it wakes one of their threads to lead
//! (or the home thread, if only tasks wait). Threads that wait as long as it takes do so at one gate, which is opened once
//! a sync: whoever comes through and is not done leads, or waits for the next one. Where the next batch is worth waiting for
//! ([`gather`](super::gather)), the first who comes lets it gather, and the one who completes it leads. This file keeps the books; `lead` does the work.

use super::gather::Gather;
use super::slot::Waiter;
use super::{CallError, Ticket};
use crate::sync::{AtomicBool, AtomicU64, Gate, Mutex, MutexGuard, Ordering};
use smallvec::SmallVec;
use std::time::Duration;

/// Waiters to be woken outside the turn and outside the lock.
pub(crate) type Wakes = SmallVec<[Waiter; 8]>;

#[derive(Debug)]
pub(crate) struct GroupCommit {
    /// Highest ticket known to be given to a command.
    issued: AtomicU64,
    /// Everything through this ticket is durable; written by the leader.
    durable: AtomicU64,
    /// A sync failed, or the shard was poisoned: what is not durable now never will be.
    failed: AtomicBool,
    books: Mutex<Books>,
    gate: Gate,
    gather: Gather,
}

#[derive(Debug, Default)]
struct Books {
    leading: bool,
    /// Nobody leads, but a thread that waits at the gate lets the batch gather: it leads when its patience is over, unless
    /// another was quicker.
    gathering: bool,
    next_entry: u64,
    waiting: Vec<Entry>,
    /// The highest ticket that is waited for at the gate as it is; 0: nobody waits there.
    at_gate: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    ticket: Ticket,
    waiter: Waiter,
}

/// What a waiter is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The ticket is durable, or never will be.
    Over(Result<(), CallError>),
    /// It is the leader now.
    Lead,
    /// It is registered under this number and will be woken, to be done or to lead.
    Wait(u64),
}

/// What a waiter that comes to the gate is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AtGate {
    /// The ticket is durable, or never will be.
    Over(Result<(), CallError>),
    /// It is the leader now.
    Lead,
    /// It is to let the batch gather ([`GroupCommit::gather_at_gate`]), which may make it the leader, and to come again.
    Gather(u32),
    /// It is to wait until the gate, which has this number, opens, and to come again.
    Wait(u32),
}

/// Who is to lead when more commits wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    /// A waiting thread; if there is none, the home thread.
    WaiterOrHome,
    /// The home thread.
    Home,
    /// A waiting thread; if there is none, the leader itself, since there is no home thread: those who wait for a slot
    /// may be parked.
    WaiterOrSelf,
}

/// What the end of a sync asks of the leader.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Still the leader, because more waits and it asked to go on.
    pub(crate) lead_on: bool,
    /// More waits, and no thread was found to lead.
    pub(crate) leaderless: bool,
    /// The gate is to be opened.
    pub(crate) opens: bool,
    /// In this order.
    pub(crate) wakes: Wakes,
}

impl GroupCommit {
    /// `gathers`: whether others may commit while a leader waits for them.
    pub(crate) fn new(gathers: bool) -> Self {
        Self {
            issued: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            books: Mutex::new(Books::default()),
            gate: Gate::default(),
            gather: Gather::new(gathers),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// A ticket was given out: somebody will have to sync. By a turn before it is released, or by a caller that ran its
    /// command inline and got the ticket from the core.
    pub(crate) fn raise_issued(&self, ticket: Ticket) {
        if self.issued.load(Ordering::Relaxed) < ticket.0 {
            self.issued.fetch_max(ticket.0, Ordering::AcqRel);
        }
    }

    pub(crate) fn is_durable(&self, ticket: Ticket) -> bool {
        // Acquire pairs with the Release in `set_durable`: what the sync published is seen.
        ticket.0 == 0 || self.durable.load(Ordering::Acquire) >= ticket.0
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The highest ticket given out.
    pub(crate) fn issued(&self) -> u64 {
        self.issued.load(Ordering::Acquire)
    }

    /// How many tickets wait for a sync, where tickets count commits.
    pub(crate) fn tickets_out(&self) -> u64 {
        self.issued().saturating_sub(self.durable())
    }

    /// By the leader, inside its turn.
    pub(crate) fn set_durable(&self, ticket: Ticket) {
        self.durable.store(ticket.0, Ordering::Release);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether commits wait for a sync, as far as one can see without a lock.
    pub(crate) fn has_unsynced(&self) -> bool {
        self.issued.load(Ordering::Acquire) > self.durable.load(Ordering::Acquire) && !self.has_failed()
    }

    /// What is not durable now never will be. Returns everyone who waits.
    pub(crate) fn fail(&self) -> Wakes {
        self.failed.store(true, Ordering::Release);
        let mut books = self.books();
        books.at_gate = 0;
        books.gathering = false;
        self.gate.advance();
        self.gate.wake_all();
        books.waiting.drain(..).map(|entry| entry.waiter).collect()
    }

    fn state_of(&self, ticket: Ticket) -> Option<Result<(), CallError>> {
        if self.is_durable(ticket) {
            return Some(Ok(()));
        }
        if self.has_failed() {
            // The failure may have followed a sync that made it durable: look again, in that order.
            return Some(if self.is_durable(ticket) { Ok(()) } else { Err(CallError::OutcomeUnknown) });
        }
        None
    }

    /// A thread that waits for `ticket`: done, leader, or registered. `entry`: the registration it has from before.
    pub(crate) fn wait_or_lead(
        &self,
        ticket: Ticket,
        entry: Option<u64>,
        waiter: impl FnOnce() -> Waiter,
    ) -> Next {
        if let (Some(over), None) = (self.state_of(ticket), entry) {
            return Next::Over(over);
        }
        let mut books = self.books();
        if let Some(over) = self.state_of(ticket) {
            books.remove(entry);
            return Next::Over(over);
        }
        if !books.leading {
            books.lead();
            books.remove(entry);
            return Next::Lead;
        }
        if let Some(number) = entry.filter(|&number| books.waiting.iter().any(|entry| entry.number == number))
        {
            return Next::Wait(number);
        }
        Next::Wait(books.register(ticket, waiter()))
    }

    /// A thread that waits for `ticket` as long as it takes: done, leader, or to wait at the gate.
    pub(crate) fn come_to_gate(&self, ticket: Ticket) -> AtGate {
        // Whoever comes through the gate mostly is done, and needs no lock to see it.
        if let Some(over) = self.state_of(ticket) {
            return AtGate::Over(over);
        }
        let mut books = self.books();
        if let Some(over) = self.state_of(ticket) {
            return AtGate::Over(over);
        }
        let gathers = !books.leading
            && self.gather.is_crowd()
            && if books.gathering {
                !self.gather.is_complete(self.tickets_out())
            } else {
                self.gather.is_worth_it(self.tickets_out())
            };
        if !books.leading && !gathers {
            books.lead();
            return AtGate::Lead;
        }
        books.at_gate = books.at_gate.max(ticket.0);
        // Under the lock: a leader that ends from here on opens the gate that this waits at.
        let number = self.gate.number();
        if gathers && !std::mem::replace(&mut books.gathering, true) {
            return AtGate::Gather(number);
        }
        AtGate::Wait(number)
    }

    /// By the thread that was told to: lets the batch gather, as long as nobody leads it. Whether it has become the leader;
    /// if not, somebody else has, and opens the gate.
    pub(crate) fn gather_at_gate(&self, number: u32) -> bool {
        self.gather.listen(|| self.tickets_out(), || self.gate.number() != number);
        let mut books = self.books();
        if cfg!(inmem_mutant = "turn_gathered_by_nobody") {
            return false;
        }
        // Its own gathering: one that began behind a sync of others has another number.
        let leads = books.gathering && self.gate.number() == number;
        if leads {
            books.lead();
        }
        leads
    }

    /// By a leader who did not come to the gate: waits while the batch gathers, if that is worth it.
    pub(crate) fn gather(&self) {
        if !cfg!(inmem_loom) && self.gather.is_worth_it(self.tickets_out()) {
            self.gather.listen(|| self.tickets_out(), || false);
        }
    }

    /// By the leader: its sync took so long, and this was durable before.
    pub(crate) fn learn(&self, took: Duration, durable_before: u64) {
        self.gather.learn(took, self.issued().saturating_sub(durable_before));
    }

    /// Gives the core away until the gate that had this number is opened, for about as long as a sync takes. False: it is
    /// time to sleep.
    pub(crate) fn yield_at_gate(&self, number: u32) -> bool {
        self.gather.yield_until(|| self.gate.number() != number)
    }

    /// Sleeps until the gate that had this number is opened.
    pub(crate) fn wait_at_gate(&self, number: u32) {
        let seen = if cfg!(inmem_mutant = "turn_gate_read_late") { self.gate.number() } else { number };
        self.gate.wait(seen);
    }

    /// By a leader that ended, outside the turn and the lock: lets those go who wait.
    pub(crate) fn open_gate(&self) {
        self.gate.wake_all();
    }

    /// A task that waits for `ticket`: over, or registered; it never leads, since leading blocks.
    pub(crate) fn wait_as_task(
        &self,
        ticket: Ticket,
        waiter: impl FnOnce() -> Waiter,
    ) -> Option<Result<(), CallError>> {
        let mut books = self.books();
        let over = self.state_of(ticket);
        if over.is_none() {
            books.register(ticket, waiter());
        }
        over
    }

    /// Gives up waiting. Returns whether nobody leads although commits wait, so that the home thread has to.
    pub(crate) fn deregister(&self, entry: u64) -> bool {
        let mut books = self.books();
        books.remove(Some(entry));
        !books.is_led() && self.has_unsynced()
    }

    /// Becomes the leader if there is none.
    pub(crate) fn try_lead(&self) -> bool {
        let mut books = self.books();
        let free = !books.leading;
        books.lead();
        free
    }

    /// Whether commits wait and nobody leads, nor will without being asked.
    pub(crate) fn is_leaderless(&self) -> bool {
        self.has_unsynced() && !self.books().is_led()
    }

    /// By the leader, outside the turn: whom to wake, and who leads on.
    pub(crate) fn end_lead(&self, go_on: bool, successor: Successor) -> Ended {
        let mut books = self.books();
        let more = self.has_unsynced();
        let durable = self.durable();
        let failed = self.has_failed();
        let mut wakes = Wakes::new();
        let mut leaderless = more && !go_on;
        if cfg!(inmem_mutant = "turn_lead_without_successor") {
            leaderless = false;
        }
        // Whoever of them asks first leads.
        leaderless &= books.at_gate <= durable;
        if leaderless && successor != Successor::Home {
            // First, so that the disk is idle for as short as can be. It stays registered: it may find that another
            // thread was quicker to lead.
            let next = books
                .waiting
                .iter()
                .find(|entry| entry.ticket.0 > durable && matches!(entry.waiter, Waiter::Thread(_)));
            if let Some(next) = next {
                wakes.push(next.waiter.clone());
                leaderless = false;
            }
        }
        let lead_on = more && (go_on || (leaderless && successor == Successor::WaiterOrSelf));
        leaderless &= !lead_on;
        books.leading = lead_on;
        let opens = books.at_gate > 0;
        if opens {
            books.at_gate = 0;
            self.gate.advance();
        }
        books.waiting.retain_mut(|entry| {
            // The closer waits for leadership itself.
            let closer = entry.ticket.0 == u64::MAX && !lead_on;
            let stays = entry.ticket.0 > durable && !failed && !closer;
            if !stays {
                wakes.push(entry.waiter.clone());
            }
            stays
        });
        Ended { lead_on, leaderless, opens, wakes }
    }

    /// By the closer: waits as a thread that nothing ever satisfies, until it leads. None: it leads; the others have
    /// to be given time. It never gives leadership back.
    pub(crate) fn lead_for_good(&self, entry: Option<u64>, waiter: impl FnOnce() -> Waiter) -> Option<u64> {
        let mut books = self.books();
        books.remove(entry);
        if !books.leading {
            books.lead();
            return None;
        }
        Some(books.register(Ticket(u64::MAX), waiter()))
    }
}

impl Books {
    fn lead(&mut self) {
        self.leading = true;
        self.gathering = false;
    }

    fn is_led(&self) -> bool {
        self.leading || self.gathering
    }

    fn register(&mut self, ticket: Ticket, waiter: Waiter) -> u64 {
        self.next_entry += 1;
        let number = self.next_entry;
        self.waiting.push(Entry { number, ticket, waiter });
        number
    }

    fn remove(&mut self, entry: Option<u64>) {
        if let Some(number) = entry
            && let Some(at) = self.waiting.iter().position(|entry| entry.number == number)
        {
            self.waiting.remove(at);
        }
    }
}
