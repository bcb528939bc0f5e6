//! A write that is under way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use in_mem_engine::PendingReply;
use in_mem_engine::command::Reply;

use crate::Result;

/// A write that is under way: wait for it with [`Pending::wait`], or `.await` it in any executor. Writes of one thread
/// to one run are carried out in the order in which they were begun. Dropping it does not undo the write.
#[must_use = "the write goes on, but only this says whether it was made"]
#[derive(Debug)]
pub struct Pending<T> {
    reply: PendingReply,
    read: fn(Reply) -> Result<T>,
}

impl<T> Pending<T> {
    pub(crate) fn new(reply: PendingReply, read: fn(Reply) -> Result<T>) -> Self {
        Self { reply, read }
    }

    /// Waits until the write is as durable as the mode promises.
    ///
    /// # Errors
    /// Why it was refused, or [`crate::Error::OutcomeUnknown`] where the log failed meanwhile.
    pub fn wait(self) -> Result<T> {
        (self.read)(self.reply.wait()?)
    }

    /// Waits at most so long.
    ///
    /// # Errors
    /// As [`Pending::wait`], and [`crate::Error::Deadline`]; the write goes on then.
    pub fn wait_timeout(self, limit: Duration) -> Result<T> {
        (self.read)(self.reply.wait_timeout(limit)?)
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let read = self.read;
        Pin::new(&mut self.reply).poll(context).map(|reply| read(reply?))
    }
}
