//! One turn, from taking it to releasing it.

use super::commit::Wakes;
use super::shard::Inner;
use super::slot::SlotRef;
use super::stats::add_exclusive;
use super::token::Release;
use super::{CallError, Core, Maintenance, SyncFailed, Ticket};
use crate::sync::Cell;
use std::collections::VecDeque;

#[cfg(not(inmem_loom))]
crate::sync::thread_local! {
    static IN_TURN: Cell<bool> = const { Cell::new(false) };
}
#[cfg(inmem_loom)]
crate::sync::thread_local! {
    static IN_TURN: Cell<bool> = Cell::new(false);
}

/// Whether the calling thread is inside a shard's turn, any shard's.
#[inline]
pub(crate) fn in_turn() -> bool {
    IN_TURN.with(Cell::get)
}

fn mark(inside: bool) {
    IN_TURN.with(|mark| mark.set(inside));
}

/// The answer as a slot carries it.
pub(crate) type Answer<R> = Result<R, CallError>;

/// A command in the inbox, and where its answer goes.
pub(crate) struct Envelope<C: Core> {
    pub(crate) command: C::Command,
    pub(crate) at: SlotRef,
}

/// So many commands are taken out of the inbox before the first of them is run: what they wait for in memory is fetched
/// meanwhile.
const LOOK_AHEAD_OPS: usize = if cfg!(inmem_loom) { 2 } else { 8 };

/// What belongs to whoever holds the turn.
pub(crate) struct State<C: Core> {
    /// There until the shard is closed.
    pub(crate) core: Option<C>,
    /// Taken out of the inbox, looked ahead at, and not run yet. Empty whenever a drain has ended.
    taken: VecDeque<Envelope<C>>,
    /// Filled slots that wait for their ticket to be durable; tickets go up.
    held: VecDeque<(Ticket, SlotRef)>,
    /// Filled slots to be shown when the turn ends.
    done: Vec<SlotRef>,
    /// Whom to wake after the turn.
    wakes: Wakes,
    /// The command being run, in case it panics.
    running: Option<SlotRef>,
    /// A panic came through: nothing is run any more.
    pub(crate) poisoned: bool,
}

impl<C: Core> State<C> {
    pub(crate) fn new(core: C) -> Self {
        Self {
            core: Some(core),
            taken: VecDeque::with_capacity(LOOK_AHEAD_OPS),
            held: VecDeque::new(),
            done: Vec::new(),
            wakes: Wakes::new(),
            running: None,
            poisoned: false,
        }
    }
}

/// Who holds the turn, for the counters and the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A caller: runs at most `help_limit_ops` commands of others.
    Caller,
    /// The home thread.
    Home,
    /// The closer: no bound.
    Closer,
}

/// The turn, held.
pub(crate) struct Turn<'a, C: Core> {
    inner: &'a Inner<C>,
    holder: Holder,
    /// Commands of others that may still be run.
    budget_ops: usize,
    /// Whether the inbox may hold commands that were announced before the turn was taken.
    queued: bool,
    /// Answers were held back for a sync.
    held_back: bool,
    finished: bool,
}

/// What is to be done after a turn.
#[must_use]
pub(crate) struct After {
    /// Answers wait for a sync: somebody has to lead it.
    pub(crate) held_back: bool,
}

impl<'a, C: Core> Turn<'a, C> {
    /// Of a token just taken.
    #[inline]
    pub(crate) fn new(inner: &'a Inner<C>, holder: Holder, queued: bool) -> Self {
        mark(true);
        let budget_ops = match holder {
            Holder::Caller if inner.background => inner.help_limit_ops,
            // Without a home thread nobody would come for the rest.
            Holder::Caller | Holder::Closer => usize::MAX,
            Holder::Home => inner.batch_limit_ops,
        };
        let mut turn = Self { inner, holder, budget_ops, queued, held_back: false, finished: false };
        let counter = match holder {
            Holder::Home => &inner.counters.turns_home,
            Holder::Caller | Holder::Closer => &inner.counters.turns_inline,
        };
        add_exclusive(counter, 1);
        turn.begin();
        turn
    }

    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn state(&mut self) -> &mut State<C> {
        // SAFETY: the turn's token is held from before `new` until `finish` or `drop` let go of it, and only its
        // holder reaches the state. `&mut self` keeps two of these references from living at a time.
        self.inner.state.with_mut(|state| unsafe { &mut *state })
    }

    /// The core. Only before the shard is closed.
    #[inline]
    pub(crate) fn core(&mut self) -> &mut C {
        self.state()
            .core
            .as_mut()
            .expect("the core is there until the shard is closed, and then no turn is taken")
    }

    #[inline]
    pub(crate) fn is_poisoned(&mut self) -> bool {
        self.state().poisoned
    }

    fn begin(&mut self) {
        if !self.is_poisoned() {
            self.core().begin_turn();
        }
    }

    /// Runs what waits in the inbox, up to the bound. Returns whether the inbox was seen empty, so that a command of
    /// the caller may be run next without overtaking its own earlier ones.
    #[inline]
    pub(crate) fn drain_first(&mut self) -> bool {
        !self.queued || self.drain()
    }

    /// Runs commands from the inbox up to the bound; whether it was seen empty.
    #[cold]
    pub(crate) fn drain(&mut self) -> bool {
        self.queued = false;
        self.inner.token.begin_drain();
        let empty = self.drain_unannounced();
        if !empty {
            // Whether anything is left is for the next holder to see.
            self.inner.token.leave_queued();
            self.queued = true;
        }
        empty
    }

    /// The same without touching the token's word, which then goes on saying that something was announced: for a
    /// holder that keeps the turn anyway.
    pub(crate) fn drain_unannounced(&mut self) -> bool {
        let mut ran = 0;
        // What is taken is run in any case: nobody else could come for it.
        let empty = loop {
            let empty = self.look_ahead();
            if cfg!(inmem_mutant = "turn_taken_left_behind") && self.budget_ops == 0 {
                break true;
            }
            let Some(envelope) = self.state().taken.pop_front() else { break empty };
            ran += 1;
            self.run(envelope);
        };
        let counters = &self.inner.counters;
        add_exclusive(&counters.commands_from_inbox, ran);
        if self.holder != Holder::Home {
            add_exclusive(&counters.commands_helped, ran);
        }
        empty
    }

    /// Takes commands out of the inbox, up to the bounds, for the core to look at before it runs them. Returns whether the inbox was
    /// seen empty.
    fn look_ahead(&mut self) -> bool {
        while self.state().taken.len() < LOOK_AHEAD_OPS {
            if self.budget_ops == 0 {
                return false;
            }
            let Some(envelope) = self.inner.inbox.try_recv() else { return true };
            self.budget_ops -= 1;
            let state = self.state();
            // Kept first: after a panic it is still to be refused.
            state.taken.push_back(envelope);
            if let (false, Some(core), Some(envelope)) = (state.poisoned, &state.core, state.taken.back()) {
                core.look_ahead(&envelope.command);
            }
        }
        false
    }

    fn run(&mut self, envelope: Envelope<C>) {
        let Envelope { command, at } = envelope;
        if self.is_poisoned() {
            self.answer(at, Err(CallError::Poisoned));
            return;
        }
        self.state().running = Some(at);
        let (reply, ticket) = self.core().execute(command);
        self.state().running = None;
        self.note(ticket);
        if self.inner.commit.is_durable(ticket) || cfg!(inmem_mutant = "turn_reply_before_sync") {
            self.answer(at, Ok(reply));
        } else if self.inner.commit.has_failed() {
            self.answer(at, Err(CallError::OutcomeUnknown));
        } else {
            self.inner.slots.fill(at, Ok(reply));
            self.state().held.push_back((ticket, at));
            self.held_back = true;
        }
    }

    fn answer(&mut self, at: SlotRef, answer: Answer<C::Reply>) {
        self.inner.slots.fill(at, answer);
        self.state().done.push(at);
    }

    /// A ticket was given out in this turn.
    #[inline]
    pub(crate) fn note(&mut self, ticket: Ticket) {
        if ticket.0 != 0 {
            self.inner.commit.raise_issued(ticket);
        }
    }

    /// Runs a command of the holder's own.
    #[inline]
    pub(crate) fn execute(&mut self, command: C::Command) -> (C::Reply, Ticket) {
        let (reply, ticket) = self.core().execute(command);
        self.note(ticket);
        (reply, ticket)
    }

    pub(crate) fn begin_sync(&mut self) -> Option<C::SyncJob> {
        if self.is_poisoned() { None } else { self.core().begin_sync() }
    }

    /// Takes the outcome of a sync: shows the answers it was holding back, or fails them.
    pub(crate) fn finish_sync(&mut self, job: C::SyncJob) {
        let outcome = if self.is_poisoned() { Err(SyncFailed) } else { self.core().finish_sync(job) };
        match outcome {
            Ok(durable) => {
                let before = self.inner.commit.durable();
                self.inner.commit.set_durable(durable);
                add_exclusive(&self.inner.counters.syncs, 1);
                add_exclusive(&self.inner.counters.tickets_synced, durable.0.saturating_sub(before));
                while let Some(&(ticket, at)) = self.state().held.front() {
                    if ticket > durable {
                        break;
                    }
                    let state = self.state();
                    state.held.pop_front();
                    state.done.push(at);
                }
            }
            Err(SyncFailed) => self.fail_held(CallError::OutcomeUnknown),
        }
    }

    /// What is held will never be durable, as far as anybody can say.
    pub(crate) fn fail_held(&mut self, error: CallError) {
        let wakes = self.inner.commit.fail();
        self.state().wakes.extend(wakes);
        while let Some((_, at)) = self.state().held.pop_front() {
            self.answer(at, Err(error));
        }
    }

    pub(crate) fn maintain(&mut self) -> Maintenance {
        let budget_ops = self.inner.maintain_budget_ops;
        if self.is_poisoned() { Maintenance::default() } else { self.core().maintain(budget_ops) }
    }

    /// Ends the turn for the core and shows the answers, without letting go. Returns whom to wake.
    fn end(&mut self) {
        if !self.is_poisoned() {
            self.core().end_turn();
        }
        self.show();
    }

    fn show(&mut self) {
        let state = self.state();
        if state.done.is_empty() {
            return;
        }
        let mut done = std::mem::take(&mut state.done);
        for at in done.drain(..) {
            if let Some(waiter) = self.inner.slots.publish(at) {
                self.state().wakes.push(waiter);
            }
        }
        self.state().done = done; // with its capacity
    }

    /// By the home thread that keeps the token: ends this turn, wakes, and begins the next.
    pub(crate) fn next(&mut self) {
        self.pause();
        self.resume();
    }

    /// The first half of [`Turn::next`]: for a holder that has nothing to run for a while.
    pub(crate) fn pause(&mut self) {
        self.end();
        let wakes = std::mem::take(&mut self.state().wakes);
        // A waker runs code of an executor.
        mark(false);
        wake_all(wakes);
        mark(true);
    }

    /// The second half: a turn's time is read when there is something to run, and not before it was waited for.
    pub(crate) fn resume(&mut self) {
        self.budget_ops = self.inner.batch_limit_ops;
        self.held_back = false;
        self.begin();
    }

    /// Lets go of the turn, after running what arrived meanwhile (up to the bound).
    #[inline]
    pub(crate) fn finish(mut self) -> After {
        let mut notify_home = false;
        loop {
            if self.queued && self.budget_ops > 0 {
                self.drain();
            }
            self.end();
            let has_wakes = !self.state().wakes.is_empty();
            if has_wakes {
                return self.finish_waking();
            }
            if !self.is_poisoned() && self.core().wants_home() {
                notify_home = true;
            }
            match self.inner.token.try_release() {
                Release::Done => break,
                Release::Queued if self.budget_ops > 0 => {
                    self.queued = true;
                    self.begin();
                }
                Release::Queued => {
                    self.inner.token.leave();
                    notify_home = true;
                    break;
                }
            }
        }
        self.left(notify_home)
    }

    /// The rest of `finish` when threads wait to be woken: takes the list out before letting go.
    #[cold]
    fn finish_waking(mut self) -> After {
        let mut wakes = Wakes::new();
        let notify_home = loop {
            wakes.append(&mut self.state().wakes);
            let wanted = !self.is_poisoned() && self.core().wants_home();
            match self.inner.token.try_release() {
                Release::Done => break wanted,
                Release::Queued if self.budget_ops > 0 => {
                    self.begin();
                    self.drain();
                    self.end();
                }
                Release::Queued => {
                    self.inner.token.leave();
                    break true;
                }
            }
        };
        let after = self.left(notify_home);
        wake_all(wakes);
        after
    }

    fn left(&mut self, notify_home: bool) -> After {
        self.finished = true;
        mark(false);
        if notify_home && self.holder != Holder::Home {
            self.inner.home.notify(&self.inner.counters);
        }
        After { held_back: self.held_back }
    }

    /// By the closer: shows what is to be shown, takes the core, and keeps the token for ever.
    pub(crate) fn finish_closed(mut self) -> Option<C> {
        self.end();
        let core = self.state().core.take();
        let wakes = std::mem::take(&mut self.state().wakes);
        self.finished = true;
        mark(false);
        wake_all(wakes);
        core
    }
}

impl<C: Core> Drop for Turn<'_, C> {
    /// Only a panic comes here unfinished: the core may be in any state, so nothing is run in it again; everyone who
    /// waits is told, and the turn is released.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.state().poisoned = true;
        if let Some(at) = self.state().running.take() {
            // It may have been logged before it panicked.
            self.answer(at, Err(CallError::OutcomeUnknown));
        }
        self.fail_held(CallError::OutcomeUnknown);
        self.inner.poisoned.store(true, crate::sync::Ordering::Release);
        self.budget_ops = usize::MAX;
        let mut wakes = Wakes::new();
        loop {
            self.drain(); // refuses everything
            self.show();
            wakes.append(&mut self.state().wakes);
            if self.inner.token.try_release() == Release::Done {
                break;
            }
        }
        self.finished = true;
        mark(false);
        wake_all(wakes);
    }
}

pub(crate) fn wake_all(wakes: Wakes) {
    for waiter in wakes {
        waiter.wake();
    }
}
