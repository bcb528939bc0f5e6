//! The handle to a shard: how commands get in and answers out.

use super::commit::GroupCommit;
use super::hold::{Answer, Envelope, Holder, State, Turn, in_turn, wake_all};
use super::home::{self, HomeLink};
use super::inbox::{Full, Inbox};
use super::pending::Pending;
use super::slot::{SlotRef, Slots, Waiter};
use super::spin::Spin;
use super::stats::{Counters, TurnStats, add};
use super::token::{Announced, Token};
use super::{
    BackgroundJob, CallError, CloseError, Core, Execution, Handover, Maintenance, Options, StartError,
    SubmitError, SyncJob, Ticket, after,
};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, UnsafeCell, current, park, park_timeout};
use crossbeam_utils::CachePadded;
use std::fmt;
use std::time::{Duration, Instant};

/// Longest wait for room before a sender looks again whether it can make some itself.
const ROOM_RECHECK: Duration = Duration::from_millis(1);

/// The shard was not idle, or cannot be used from here; the closure comes back unused.
pub struct NotInline<F>(pub F);

impl<F> fmt::Debug for NotInline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotInline")
    }
}

/// One shard: a core and everything that drives it. Share it in an `Arc`; dropping it closes it.
pub struct Shard<C: Core> {
    pub(crate) inner: Arc<Inner<C>>,
}

impl<C: Core> fmt::Debug for Shard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("execution", &self.inner.execution)
            .field("stats", &self.stats())
            .finish()
    }
}

pub(crate) struct Inner<C: Core> {
    pub(crate) token: CachePadded<Token>,
    pub(crate) state: CachePadded<UnsafeCell<State<C>>>,
    pub(crate) inbox: Inbox<Envelope<C>>,
    pub(crate) slots: Slots<Answer<C::Reply>>,
    pub(crate) commit: GroupCommit,
    pub(crate) home: HomeLink,
    pub(crate) counters: Counters,
    /// Callers' spins; the home thread has its own.
    spin: Spin,
    /// Set when a panic came through a turn, for those that do not take one.
    pub(crate) poisoned: AtomicBool,
    /// Held while the shard is being closed; true: it is closed.
    closing: Mutex<bool>,
    pub(crate) execution: Execution,
    pub(crate) handover: Handover,
    pub(crate) background: bool,
    pub(crate) help_limit_ops: usize,
    pub(crate) batch_limit_ops: usize,
    pub(crate) maintain_budget_ops: usize,
    pub(crate) spin_limit_pauses: u32,
    pub(crate) sync_interval: Option<Duration>,
}

// SAFETY: the state is the only part that is not `Sync` by itself; it is reached through `Turn` alone, which exists once
// per taken token, and taking the token (Acquire) pairs with releasing it (Release). Core, commands and replies are Send.
#[allow(unsafe_code)]
unsafe impl<C: Core> Sync for Inner<C> {}
// SAFETY: as above; nothing in it belongs to a thread.
#[allow(unsafe_code)]
unsafe impl<C: Core> Send for Inner<C> {}

impl<C: Core> Shard<C> {
    /// Starts driving `core`.
    ///
    /// # Errors
    /// The home thread could not be started, or an option makes no sense.
    pub fn start(core: C, options: Options) -> Result<Self, StartError> {
        if options.inbox_capacity == 0 {
            return Err(StartError::Options("inbox_capacity has to be at least one command"));
        }
        if options.batch_limit_ops == 0 || options.help_limit_ops == 0 {
            return Err(StartError::Options(
                "help_limit_ops and batch_limit_ops have to be at least one command",
            ));
        }
        if options.execution == Execution::Pinned && !options.background {
            return Err(StartError::Options("Pinned execution needs the home thread: leave background on"));
        }
        let inner = Arc::new(Inner {
            token: CachePadded::new(Token::new()),
            state: CachePadded::new(UnsafeCell::new(State::new(core))),
            inbox: Inbox::new(options.inbox_capacity),
            slots: Slots::new(options.reply_slots_limit),
            commit: GroupCommit::new(options.background),
            home: HomeLink::new(),
            counters: Counters::default(),
            spin: Spin::new(options.spin_limit_pauses),
            poisoned: AtomicBool::new(false),
            closing: Mutex::new(false),
            execution: options.execution,
            handover: options.handover,
            background: options.background,
            help_limit_ops: options.help_limit_ops,
            batch_limit_ops: options.batch_limit_ops,
            maintain_budget_ops: options.maintain_budget_ops,
            spin_limit_pauses: options.spin_limit_pauses,
            sync_interval: options.sync_interval_ms.map(Duration::from_millis),
        });
        if options.background {
            home::start(&inner, options.thread_name, options.on_home_start).map_err(StartError::Thread)?;
        }
        Ok(Self { inner })
    }

    /// Runs `f` as the shard, now, on this thread, if the shard is idle: no allocation, no hand-over. What this
    /// thread submitted before is run before.
    ///
    /// `f` works on the core directly: a write that has to be durable gets its ticket from the core, and the caller
    /// gives it to [`wait_durable`](Self::wait_durable) or [`ensure_durable`](Self::ensure_durable); before that nobody knows that a sync is wanted.
    ///
    /// # Errors
    /// The shard is busy, pinned, closed or poisoned, or this thread is inside a turn: `f` comes back. Give the command
    /// to [`call`](Self::call) or [`submit`](Self::submit), which wait or say why not.
    #[inline]
    pub fn try_inline<F, R>(&self, f: F) -> Result<R, NotInline<F>>
    where
        F: FnOnce(&mut C) -> R,
    {
        let Some(mut turn) = self.inner.enter() else { return Err(NotInline(f)) };
        if turn.is_poisoned() || !turn.drain_first() {
            self.inner.settle(turn, true);
            return Err(NotInline(f));
        }
        let result = f(turn.core());
        self.inner.settle(turn, true);
        Ok(result)
    }

    /// Gives the shard a command without waiting for its answer. Runs it here if the shard is idle. It is run, and
    /// becomes durable, whether or not the answer is waited for.
    ///
    /// `deadline`: how long to wait for room in a full inbox; zero: not at all; None: as long as it takes.
    ///
    /// # Errors
    /// The command was not accepted and will not be run.
    pub fn submit(&self, command: C::Command, deadline: Option<Duration>) -> Result<Pending<C>, SubmitError> {
        let command = match self.inner.run_here(command) {
            Ok(answered) => {
                let (reply, ticket, held_back) = answered?;
                self.ensure_durable(ticket);
                if held_back {
                    self.inner.see_to_sync(true);
                }
                return Ok(Pending::answered(Arc::clone(&self.inner), reply, ticket));
            }
            Err(command) => command,
        };
        let at = self.inner.enqueue(command, deadline.and_then(after))?;
        Ok(Pending::enqueued(Arc::clone(&self.inner), at))
    }

    /// Gives the shard a command and waits for its answer, durable if it has to be.
    ///
    /// `deadline`: how long to wait for room and for the answer together; None: as long as it takes.
    ///
    /// # Errors
    /// See [`CallError`]; on `TimedOut` and `OutcomeUnknown` the command was run or will be, on the others not.
    pub fn call(&self, command: C::Command, deadline: Option<Duration>) -> Result<C::Reply, CallError> {
        let command = match self.inner.run_here(command) {
            Ok(answered) => {
                let (reply, ticket, held_back) = answered?;
                if held_back && ticket.0 == 0 {
                    self.inner.see_to_sync(true);
                }
                let deadline = deadline.filter(|_| ticket.0 != 0).and_then(after);
                self.inner.wait_durable_until(ticket, deadline)?;
                return Ok(reply);
            }
            Err(command) => command,
        };
        let deadline = deadline.and_then(after);
        let at = self.inner.enqueue(command, deadline)?;
        if self.inner.wait_slot(at, deadline) {
            self.inner.slots.take(at)
        } else {
            self.inner.slots.abandon(at);
            Err(CallError::TimedOut)
        }
    }

    /// Waits until everything through `ticket` is durable, leading the sync if nobody else does.
    ///
    /// # Errors
    /// `OutcomeUnknown`: the sync failed or the shard was poisoned or closed first. `Reentrant`.
    #[inline]
    pub fn wait_durable(&self, ticket: Ticket) -> Result<(), CallError> {
        self.inner.wait_durable_until(ticket, None)
    }

    /// Sees to it that everything through `ticket` becomes durable, without waiting. (Without a home thread that is up
    /// to the next `step` or wait.)
    #[inline]
    pub fn ensure_durable(&self, ticket: Ticket) {
        if !self.inner.commit.is_durable(ticket) {
            self.inner.commit.raise_issued(ticket);
            if self.inner.commit.is_leaderless() {
                self.inner.home.notify(&self.inner.counters);
            }
        }
    }

    /// Whether everything through `ticket` is durable.
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        self.inner.commit.is_durable(ticket)
    }

    /// Syncs what is unsynced, now, and waits for it: at the latest when this returns, everything that was answered
    /// before the call is durable.
    ///
    /// # Errors
    /// As [`wait_durable`](Self::wait_durable).
    pub fn sync(&self) -> Result<(), CallError> {
        if in_turn() {
            return Err(CallError::Reentrant);
        }
        if !self.inner.lead_blocking() {
            return Err(CallError::Closed);
        }
        self.inner.lead();
        if self.inner.commit.has_failed() { Err(CallError::OutcomeUnknown) } else { Ok(()) }
    }

    /// Does, on this thread, what the home thread does in one round: commands left in the inbox, due maintenance, one
    /// sync. For shards started without a home thread: deterministic.
    pub fn step(&self) -> Maintenance {
        if in_turn() {
            return Maintenance::default();
        }
        let Some((maintenance, job, _)) = self.inner.maintain_once(Holder::Caller) else {
            return Maintenance::default();
        };
        if let Some(job) = job {
            job();
        }
        if self.inner.commit.try_lead() {
            self.inner.lead();
        }
        maintenance
    }

    /// Whether every command is run by the home thread, on another core than the caller's.
    #[inline]
    pub fn is_pinned(&self) -> bool {
        self.inner.execution == Execution::Pinned
    }

    /// Whether a panic came through a turn.
    pub fn is_poisoned(&self) -> bool {
        self.inner.poisoned.load(Ordering::Acquire)
    }

    /// Whether a sync failed.
    pub fn has_sync_failed(&self) -> bool {
        self.inner.commit.has_failed()
    }

    /// What the turns did so far.
    pub fn stats(&self) -> TurnStats {
        self.inner.counters.read(self.inner.inbox.len())
    }

    /// Closes the shard: every accepted command is run, what has to be durable is synced, every answer is given, the
    /// home thread ends. Later commands get `Closed`. Returns the core, which may be poisoned or have failed syncing.
    ///
    /// # Errors
    /// It was closed before, or this thread is inside a turn.
    pub fn close(&self) -> Result<C, CloseError> {
        self.inner.close()
    }
}

impl<C: Core> Drop for Shard<C> {
    fn drop(&mut self) {
        // Closed before, or nothing to be told: whoever wants the core closes by hand.
        let _ = self.inner.close();
    }
}

impl<C: Core> Inner<C> {
    /// Takes the turn if it is free and this thread may.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Turn<'_, C>> {
        if self.execution == Execution::Pinned || in_turn() {
            return None;
        }
        let queued = self.token.try_take()?;
        Some(Turn::new(self, Holder::Caller, queued))
    }

    /// Takes the turn, waiting for it. None: closed.
    pub(crate) fn enter_blocking(&self, holder: Holder) -> Option<Turn<'_, C>> {
        let queued = self.token.take()?;
        Some(Turn::new(self, holder, queued))
    }

    /// Finishes a caller's turn. If it held back answers of others, somebody will lead their sync.
    #[inline]
    fn settle(&self, turn: Turn<'_, C>, by_home: bool) {
        if turn.finish().held_back {
            self.see_to_sync(by_home);
        }
    }

    /// Runs a command on this thread if the shard is idle; gives it back otherwise. The `bool`: answers to others
    /// were held back for a sync, which somebody has to see to.
    #[inline]
    #[allow(clippy::type_complexity, reason = "run here and answered or refused, or given back")]
    fn run_here(
        &self,
        command: C::Command,
    ) -> Result<Result<(C::Reply, Ticket, bool), SubmitError>, C::Command> {
        let Some(mut turn) = self.enter() else {
            return if in_turn() { Ok(Err(SubmitError::Reentrant)) } else { Err(command) };
        };
        if turn.is_poisoned() {
            self.settle(turn, true);
            return Ok(Err(SubmitError::Poisoned));
        }
        if !turn.drain_first() {
            self.settle(turn, true);
            return Err(command);
        }
        let (reply, ticket) = turn.execute(command);
        let held_back = turn.finish().held_back;
        Ok(Ok((reply, ticket, held_back)))
    }

    /// Puts a command into the inbox and makes sure that somebody comes for it.
    fn enqueue(&self, command: C::Command, deadline: Option<Instant>) -> Result<SlotRef, SubmitError> {
        if in_turn() {
            return Err(SubmitError::Reentrant);
        }
        if self.token.is_closed() {
            return Err(SubmitError::Closed);
        }
        if self.poisoned.load(Ordering::Relaxed) {
            return Err(SubmitError::Poisoned);
        }
        let at = self.slots.allocate().map_err(|_| SubmitError::Busy)?;
        let mut envelope = Envelope { command, at };
        while let Err(Full(back)) = self.inbox.try_send(envelope) {
            let refused = if self.token.is_closed() {
                Some(SubmitError::Closed)
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                Some(SubmitError::Busy)
            } else {
                None
            };
            if let Some(refused) = refused {
                self.slots.give_back(at);
                return Err(refused);
            }
            // Room is made by whoever holds the turn; if nobody does, here.
            if let Some(mut turn) = self.enter() {
                turn.drain();
                self.settle(turn, true);
                envelope = back;
                continue;
            }
            self.home.notify(&self.counters);
            let recheck = Instant::now() + ROOM_RECHECK;
            match self.inbox.send_until(back, deadline.map_or(recheck, |deadline| deadline.min(recheck))) {
                Ok(()) => break,
                Err(Full(back)) => envelope = back,
            }
        }
        match self.token.announce() {
            Announced::Held => {}
            Announced::Free { first } => {
                if let Some(turn) = self.enter() {
                    self.settle(turn, true);
                } else if first && self.execution == Execution::Pinned {
                    self.home.wake(&self.counters);
                }
                // Otherwise another thread took the turn after the announcement, and drains before it lets go.
            }
            Announced::Closed if cfg!(inmem_mutant = "turn_close_strands") => {}
            Announced::Closed => {
                drop(self.closing.lock().unwrap_or_else(|broken| broken.into_inner()));
                self.refuse_leftovers();
            }
        }
        Ok(at)
    }

    /// After the shard is closed: answers what came too late.
    fn refuse_leftovers(&self) {
        while let Some(envelope) = self.inbox.try_recv() {
            self.slots.fill(envelope.at, Err(CallError::Closed));
            if let Some(waiter) = self.slots.publish(envelope.at) {
                waiter.wake();
            }
        }
    }

    /// Waits until the slot is answered, helping and leading meanwhile. False: the deadline passed first.
    pub(crate) fn wait_slot(&self, at: SlotRef, deadline: Option<Instant>) -> bool {
        let inline = self.execution == Execution::Inline && !in_turn();
        loop {
            if self.slots.is_ready(at) {
                return true;
            }
            if inline {
                if self.token.has_leftovers()
                    && let Some(turn) = self.enter()
                {
                    self.settle(turn, false);
                    continue;
                }
                if self.commit.is_leaderless() && self.commit.try_lead() {
                    self.lead();
                    continue;
                }
            }
            if self.spin.wait(|| self.slots.is_ready(at) || (inline && self.token.has_leftovers())) {
                continue;
            }
            if !self.slots.register(at, Waiter::Thread(current())) {
                return true;
            }
            add(&self.counters.parks, 1);
            match deadline {
                None => park(),
                Some(deadline) => {
                    let now = Instant::now();
                    if now >= deadline {
                        return self.slots.is_ready(at);
                    }
                    park_timeout(deadline - now);
                }
            }
        }
    }

    /// One round of maintenance in a turn; the job it asks for, and whether it asks for a sync. None: closed.
    pub(crate) fn maintain_once(&self, holder: Holder) -> Option<(Maintenance, Option<BackgroundJob>, bool)> {
        let mut turn = self.enter_blocking(holder)?;
        turn.drain_first();
        let maintenance = turn.maintain();
        let (job, wants_sync) = if turn.is_poisoned() {
            (None, false)
        } else {
            (turn.core().background(), turn.core().wants_sync())
        };
        let _ = turn.finish();
        Some((maintenance, job, wants_sync))
    }

    fn close(&self) -> Result<C, CloseError> {
        if in_turn() {
            return Err(CloseError::Reentrant);
        }
        let mut closed = self.closing.lock().unwrap_or_else(|broken| broken.into_inner());
        if *closed {
            return Err(CloseError::Closed);
        }
        self.home.stop();
        if !self.lead_blocking() {
            return Err(CloseError::Closed);
        }
        let Some(mut turn) = self.enter_blocking(Holder::Closer) else { return Err(CloseError::Closed) };
        // Whoever announced a command before this is drained below; whoever does after sees it and waits for us.
        self.token.close();
        turn.drain();
        while !self.commit.has_failed() {
            let Some(mut job) = turn.begin_sync() else { break };
            job.run();
            turn.finish_sync(job);
            if !self.commit.has_unsynced() {
                break;
            }
        }
        if self.commit.has_unsynced() {
            turn.fail_held(CallError::OutcomeUnknown);
        }
        let core = turn.finish_closed();
        // Everyone who waits for a ticket has it or never will.
        wake_all(self.commit.fail());
        self.token.wake_all();
        self.refuse_leftovers();
        *closed = true;
        drop(closed);
        core.ok_or(CloseError::Closed)
    }
}
