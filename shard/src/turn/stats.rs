//! Counters of what turns did.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a shard's turns did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnStats {
    /// Turns taken by callers.
    pub turns_inline: u64,
    /// Turns taken by the home thread.
    pub turns_home: u64,
    /// Commands run from the inbox.
    pub commands_from_inbox: u64,
    /// Of these, by callers.
    pub commands_helped: u64,
    /// Times a caller parked.
    pub parks: u64,
    /// Times the home thread was woken.
    pub home_wakes: u64,
    /// Syncs finished.
    pub syncs: u64,
    /// Tickets made durable by them: by `syncs` it is the mean batch, where tickets count commits.
    pub tickets_synced: u64,
    /// Commands in the inbox now.
    pub inbox_len: u64,
}

/// The counters; std's atomics under loom as well, since nothing is decided by them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) turns_inline: AtomicU64,
    pub(crate) turns_home: AtomicU64,
    pub(crate) commands_from_inbox: AtomicU64,
    pub(crate) commands_helped: AtomicU64,
    pub(crate) parks: AtomicU64,
    pub(crate) home_wakes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) tickets_synced: AtomicU64,
}

/// By the only writer at the time (the holder of the turn): cheaper than a read-modify-write.
#[inline]
pub(crate) fn add_exclusive(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// By anybody.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn read(&self, inbox_len: usize) -> TurnStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TurnStats {
            turns_inline: read(&self.turns_inline),
            turns_home: read(&self.turns_home),
            commands_from_inbox: read(&self.commands_from_inbox),
            commands_helped: read(&self.commands_helped),
            parks: read(&self.parks),
            home_wakes: read(&self.home_wakes),
            syncs: read(&self.syncs),
            tickets_synced: read(&self.tickets_synced),
            inbox_len: inbox_len as u64,
        }
    }
}
