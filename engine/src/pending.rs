//! A reply that is under way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use in_mem_shard::Actor;
use in_mem_shard::core::command::Reply;
use in_mem_shard::turn;

use crate::error::Error;

/// A reply that is under way.
pub struct PendingReply {
    inner: turn::Pending<Actor>,
}

impl fmt::Debug for PendingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PendingReply {
    pub(crate) fn new(inner: turn::Pending<Actor>) -> Self {
        Self { inner }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] where the log failed, [`Error::Closed`], [`Error::Reentrant`].
    pub fn wait(self) -> Result<Reply, Error> {
        self.inner.wait().map_err(|error| crate::engine::call_error(error, None))
    }

    /// Waits for the reply at most so long.
    ///
    /// # Errors
    /// As [`PendingReply::wait`], and [`Error::Deadline`].
    pub fn wait_timeout(mut self, limit: Duration) -> Result<Reply, Error> {
        match self.inner.wait_timeout(limit) {
            Some(reply) => reply.map_err(|error| crate::engine::call_error(error, Some(limit))),
            None => Err(Error::Deadline(limit)),
        }
    }
}

impl Future for PendingReply {
    type Output = Result<Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        Pin::new(&mut this.inner)
            .poll(context)
            .map(|reply| reply.map_err(|error| crate::engine::call_error(error, None)))
    }
}
