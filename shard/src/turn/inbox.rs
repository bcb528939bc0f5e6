//! The bounded inbox of a shard: crossbeam's channel, or under loom a small stand-in.
//!
//! crossbeam-channel is not loom-aware, so the models run against a queue behind a lock. What that leaves unchecked is
//! crossbeam's own ordering: that a command whose `send` returned is found by every later `try_recv`, and that its
//! bytes are seen whole. The stand-in promises exactly that and no more (its lock orders nothing that the token's
//! word does not order as well, except pushes with pops), and the stress tests run the real one.

use std::time::Instant;

/// Why a command was not put into the inbox; gives it back.
#[derive(Debug)]
pub struct Full<T>(pub T);

pub use imp::Inbox;

#[cfg(not(inmem_loom))]
mod imp {
    use super::{Full, Instant};
    use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};

    #[derive(Debug)]
    pub struct Inbox<T> {
        sender: Sender<T>,
        receiver: Receiver<T>,
    }

    impl<T> Inbox<T> {
        pub fn new(capacity: usize) -> Self {
            let (sender, receiver) = bounded(capacity);
            Self { sender, receiver }
        }

        /// Puts it in unless the inbox is full.
        #[inline]
        pub fn try_send(&self, item: T) -> Result<(), Full<T>> {
            match self.sender.try_send(item) {
                Ok(()) => Ok(()),
                // Both ends live as long as the inbox.
                Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Err(Full(item)),
            }
        }

        /// Waits for room until the deadline.
        pub fn send_until(&self, item: T, deadline: Instant) -> Result<(), Full<T>> {
            match self.sender.send_deadline(item, deadline) {
                Ok(()) => Ok(()),
                Err(SendTimeoutError::Timeout(item) | SendTimeoutError::Disconnected(item)) => {
                    Err(Full(item))
                }
            }
        }

        #[inline]
        pub fn try_recv(&self) -> Option<T> {
            self.receiver.try_recv().ok()
        }

        #[inline]
        pub fn is_empty(&self) -> bool {
            self.receiver.is_empty()
        }

        pub fn len(&self) -> usize {
            self.receiver.len()
        }
    }
}

#[cfg(inmem_loom)]
mod imp {
    use super::{Full, Instant};
    use crate::sync::Mutex;
    use std::collections::VecDeque;

    #[derive(Debug)]
    pub struct Inbox<T> {
        queue: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> Inbox<T> {
        pub fn new(capacity: usize) -> Self {
            Self { queue: Mutex::new(VecDeque::new()), capacity }
        }

        pub fn try_send(&self, item: T) -> Result<(), Full<T>> {
            let mut queue = self.queue.lock().unwrap();
            if queue.len() == self.capacity {
                return Err(Full(item));
            }
            queue.push_back(item);
            Ok(())
        }

        pub fn send_until(&self, item: T, _deadline: Instant) -> Result<(), Full<T>> {
            crate::sync::yield_now();
            self.try_send(item)
        }

        pub fn try_recv(&self) -> Option<T> {
            self.queue.lock().unwrap().pop_front()
        }

        pub fn is_empty(&self) -> bool {
            self.queue.lock().unwrap().is_empty()
        }

        pub fn len(&self) -> usize {
            self.queue.lock().unwrap().len()
        }
    }
}
