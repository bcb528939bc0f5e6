//! An answer to come.

use super::commit::Wakes;
use super::hold::in_turn;
use super::shard::Inner;
use super::slot::{SlotRef, Waiter};
use super::{CallError, Core, Ticket, after};
use crate::sync::Arc;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The answer to a submitted command. Wait for it, await it (on any executor), or drop it: the command is run, and
/// becomes durable, all the same.
#[must_use = "a dropped Pending says nothing about whether the command succeeded"]
pub struct Pending<C: Core> {
    inner: Arc<Inner<C>>,
    from: From<C::Reply>,
}

enum From<R> {
    /// Run already; to be told when the ticket is durable. The waker that is registered for it.
    Ticket(R, Ticket, Option<Waker>),
    Slot(SlotRef),
    Taken,
}

// A reply is moved out, never pinned.
impl<C: Core> Unpin for Pending<C> {}

impl<C: Core> fmt::Debug for Pending<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.from {
            From::Ticket(..) => "Pending(run)",
            From::Slot(_) => "Pending(enqueued)",
            From::Taken => "Pending(taken)",
        })
    }
}

impl<C: Core> Pending<C> {
    pub(crate) fn answered(inner: Arc<Inner<C>>, reply: C::Reply, ticket: Ticket) -> Self {
        Self { inner, from: From::Ticket(reply, ticket, None) }
    }

    pub(crate) fn enqueued(inner: Arc<Inner<C>>, at: SlotRef) -> Self {
        Self { inner, from: From::Slot(at) }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn wait(mut self) -> Result<C::Reply, CallError> {
        self.wait_until(None).unwrap_or(Err(CallError::TimedOut))
    }

    /// Waits for the answer at most so long. None: not yet; wait again, or drop it.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<C::Reply, CallError>> {
        self.wait_until(after(timeout))
    }

    /// The answer, if it is there.
    pub fn try_take(&mut self) -> Option<Result<C::Reply, CallError>> {
        let ready = match &self.from {
            From::Ticket(_, ticket, _) => {
                self.inner.commit.is_durable(*ticket) || self.inner.commit.has_failed()
            }
            From::Slot(at) => self.inner.slots.is_ready(*at),
            From::Taken => true,
        };
        ready.then(|| self.take())
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Option<Result<C::Reply, CallError>> {
        match &self.from {
            From::Ticket(_, ticket, _) => match self.inner.wait_durable_until(*ticket, deadline) {
                Err(CallError::TimedOut) => return None,
                Err(CallError::Reentrant) => return Some(Err(CallError::Reentrant)),
                _ => {}
            },
            From::Slot(at) => {
                let at = *at;
                if in_turn() && !self.inner.slots.is_ready(at) {
                    return Some(Err(CallError::Reentrant));
                }
                if !self.inner.wait_slot(at, deadline) {
                    return None;
                }
            }
            From::Taken => {}
        }
        Some(self.take())
    }

    /// The answer, which is there.
    fn take(&mut self) -> Result<C::Reply, CallError> {
        match std::mem::replace(&mut self.from, From::Taken) {
            From::Ticket(reply, ticket, _) => {
                if self.inner.commit.is_durable(ticket) {
                    Ok(reply)
                } else {
                    Err(CallError::OutcomeUnknown)
                }
            }
            From::Slot(at) => self.inner.slots.take(at),
            From::Taken => Err(CallError::Taken),
        }
    }
}

impl<C: Core> Future for Pending<C> {
    type Output = Result<C::Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match &mut this.from {
            From::Ticket(_, ticket, registered) => {
                let waker = context.waker();
                if registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
                    if !this.inner.commit.is_durable(*ticket) && !this.inner.commit.has_failed() {
                        return Poll::Pending;
                    }
                } else if this.inner.commit.wait_as_task(*ticket, || Waiter::Task(waker.clone())).is_none() {
                    *registered = Some(waker.clone());
                    // After registering: a leader from here on wakes us; if there is none, the home thread leads.
                    if this.inner.commit.is_leaderless() {
                        this.inner.home.notify(&this.inner.counters);
                    }
                    return Poll::Pending;
                }
            }
            From::Slot(at) => {
                if !this.inner.slots.is_ready(*at)
                    && this.inner.slots.register(*at, Waiter::Task(context.waker().clone()))
                {
                    return Poll::Pending;
                }
            }
            From::Taken => {}
        }
        Poll::Ready(this.take())
    }
}

impl<C: Core> Drop for Pending<C> {
    fn drop(&mut self) {
        if let From::Slot(at) = self.from {
            self.inner.slots.abandon(at);
        }
    }
}

#[allow(dead_code, reason = "keeps the size of a wake list in one place")]
const _: () = assert!(size_of::<Wakes>() <= 320);
