//! Waiting until a commit is durable, and leading the sync that makes it so. The books are kept in `commit`.

use super::commit::{AtGate, Next, Successor};
use super::hold::{Holder, in_turn, wake_all};
use super::shard::Inner;
use super::slot::Waiter;
use super::stats::add;
use super::{CallError, Core, Handover, SyncJob, Ticket};
use crate::sync::{current, park, park_timeout};
use std::time::Instant;

impl<C: Core> Inner<C> {
    /// After a turn that held back answers: who waits for them may be parked.
    #[cold]
    pub(crate) fn see_to_sync(&self, by_home: bool) {
        if !self.commit.is_leaderless() {
            return;
        }
        if by_home && self.background {
            self.home.notify(&self.counters);
        } else if !self.background && self.commit.try_lead() {
            self.lead();
        }
    }

    #[inline]
    pub(crate) fn wait_durable_until(
        &self,
        ticket: Ticket,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        if self.commit.is_durable(ticket) { Ok(()) } else { self.wait_durable_slow(ticket, deadline) }
    }

    fn wait_durable_slow(&self, ticket: Ticket, deadline: Option<Instant>) -> Result<(), CallError> {
        if in_turn() {
            return Err(CallError::Reentrant);
        }
        self.commit.raise_issued(ticket);
        let Some(deadline) = deadline else { return self.wait_durable_at_gate(ticket) };
        let mut entry = None;
        loop {
            match self.commit.wait_or_lead(ticket, entry, || Waiter::Thread(current())) {
                Next::Over(over) => return over,
                Next::Lead => {
                    entry = None;
                    self.lead();
                }
                Next::Wait(number) => {
                    entry = Some(number);
                    add(&self.counters.parks, 1);
                    let now = Instant::now();
                    if now >= deadline {
                        if self.commit.deregister(number) {
                            self.home.notify(&self.counters);
                        }
                        return if self.commit.is_durable(ticket) {
                            Ok(())
                        } else {
                            Err(CallError::TimedOut)
                        };
                    }
                    park_timeout(deadline - now);
                }
            }
        }
    }

    fn wait_durable_at_gate(&self, ticket: Ticket) -> Result<(), CallError> {
        loop {
            match self.commit.come_to_gate(ticket) {
                AtGate::Over(over) => return over,
                AtGate::Lead => self.lead(),
                AtGate::Gather(number) => {
                    // Gathered already: the first sync without waiting again.
                    if self.commit.gather_at_gate(number) && self.sync_once(false) {
                        self.lead();
                    }
                }
                AtGate::Wait(number) => {
                    if !self.commit.yield_at_gate(number) {
                        add(&self.counters.parks, 1);
                        self.commit.wait_at_gate(number);
                    }
                }
            }
        }
    }

    /// Becomes the leader, waiting for the one before. False: closed.
    pub(crate) fn lead_blocking(&self) -> bool {
        let mut entry = None;
        loop {
            if self.token.is_closed() {
                return false;
            }
            match self.commit.lead_for_good(entry, || Waiter::Thread(current())) {
                None => return true,
                some => entry = some,
            }
            // Again, now that it is registered: a shard that closed before has woken everyone, and nobody comes after.
            if !self.token.is_closed() {
                park();
            }
        }
    }

    /// Leads: one sync, and more if nobody can be found to follow.
    pub(crate) fn lead(&self) {
        while self.lead_once(false) {}
    }

    /// One sync, by its leader, who lets the batch gather first. `go_on`: stays the leader if more waits. Returns whether it
    /// has to lead on.
    pub(crate) fn lead_once(&self, go_on: bool) -> bool {
        self.commit.gather();
        self.sync_once(go_on)
    }

    fn sync_once(&self, go_on: bool) -> bool {
        let mut guard = LeadGuard { inner: self, done: false };
        let durable_before = self.commit.durable();
        if let Some(mut turn) = self.enter_blocking(Holder::Caller) {
            let job = turn.begin_sync();
            let broken = job.is_none() && self.commit.has_unsynced();
            if broken {
                // The core says there is nothing to sync, though tickets are out: nobody will ever know.
                turn.fail_held(CallError::OutcomeUnknown);
            }
            let _ = turn.finish();
            if let Some(mut job) = job {
                let begun = Instant::now();
                job.run();
                let took = begun.elapsed();
                if let Some(mut turn) = self.enter_blocking(Holder::Caller) {
                    turn.finish_sync(job);
                    // Answers held back in this turn are for the next leader, whom `end_lead` names.
                    let _ = turn.finish();
                }
                self.commit.learn(took, durable_before);
            }
        }
        guard.done = true;
        self.end_lead(go_on)
    }

    pub(crate) fn end_lead(&self, go_on: bool) -> bool {
        let successor = match self.handover {
            _ if !self.background => Successor::WaiterOrSelf,
            Handover::Home => Successor::Home,
            Handover::Waiter => Successor::WaiterOrHome,
        };
        let ended = self.commit.end_lead(go_on, successor);
        if ended.leaderless {
            self.home.notify(&self.counters);
        }
        if ended.opens {
            self.commit.open_gate();
        }
        wake_all(ended.wakes);
        ended.lead_on
    }
}

/// A panic in a sync job, which is not in a turn: nobody knows what is durable.
struct LeadGuard<'a, C: Core> {
    inner: &'a Inner<C>,
    done: bool,
}

impl<C: Core> Drop for LeadGuard<'_, C> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Some(mut turn) = self.inner.enter_blocking(Holder::Caller) {
            turn.fail_held(CallError::OutcomeUnknown);
            let _ = turn.finish();
        }
        self.inner.end_lead(false);
    }
}
