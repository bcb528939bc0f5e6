//! The turn's token: one word that says who is the shard, and whether anything waits for it.
//!
//! Everything that can be missed between "the inbox is empty" and "the turn is released" is a bit of the same word
//! that the release compares: a sender pushes, then sets [`QUEUED`]; the holder's release is a compare-and-swap from
//! exactly `HELD`, so it fails if a command arrived since the holder last looked. No fence is needed, because all of
//! it is read-modify-writes of one word, which have one order.

use crate::sync::{AtomicU32, Mutex, Ordering, Thread, current, park, spin_loop};
use std::collections::VecDeque;

/// Somebody is in the turn.
const HELD: u32 = 1;
/// Something was put into the inbox since the holder last began to drain it.
const QUEUED: u32 = 2;
/// A thread is parked until the turn is released.
const TAKERS: u32 = 4;
/// The shard is closing: nobody but the closer takes the turn again.
const CLOSED: u32 = 8;

/// How often a blocking take looks again before it parks.
const TAKE_SPINS: u32 = if cfg!(inmem_loom) { 0 } else { 200 };

/// What a sender learned when it announced its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The holder of the turn sees the command before it can let go.
    Held,
    /// Nobody is in the turn; `first`: and nobody announced a command before, so waking someone is up to the caller.
    Free { first: bool },
    /// The shard closed; the command may be in the inbox, and nobody will come for it.
    Closed,
}

/// What stands between the holder and letting go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The turn is free.
    Done,
    /// Commands arrived: the turn is still held.
    Queued,
}

/// The word, and the threads parked for it.
#[derive(Debug)]
pub struct Token {
    word: AtomicU32,
    takers: Mutex<Takers>,
}

/// The threads parked for the turn, longest waiting first, each under a number of its own.
#[derive(Debug, Default)]
struct Takers {
    waiting: VecDeque<(u64, Thread)>,
    next: u64,
}

impl Takers {
    fn push(&mut self, thread: Thread) -> u64 {
        self.next += 1;
        self.waiting.push_back((self.next, thread));
        self.next
    }

    fn remove(&mut self, entry: u64) {
        self.waiting.retain(|(number, _)| *number != entry);
    }

    fn pop(&mut self) -> Option<Thread> {
        self.waiting.pop_front().map(|(_, thread)| thread)
    }
}

/// A lock that outlives a panic of one of its holders: what it protects is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> crate::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

impl Token {
    #[allow(clippy::new_without_default, reason = "made by the shard alone")]
    pub fn new() -> Self {
        Self { word: AtomicU32::new(0), takers: Mutex::new(Takers::default()) }
    }

    /// Takes the turn if it is free. `Some(queued)`: whether commands wait in the inbox.
    #[inline]
    pub fn try_take(&self) -> Option<bool> {
        // Acquire pairs with the Release in `try_release` and `leave`: what the last holder did is seen.
        match self.word.compare_exchange(0, HELD, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Some(false),
            Err(word) => self.try_take_from(word),
        }
    }

    #[cold]
    fn try_take_from(&self, mut word: u32) -> Option<bool> {
        loop {
            if word & (HELD | CLOSED) != 0 {
                return None;
            }
            match self.word.compare_exchange(word, word | HELD, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(word & QUEUED != 0),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the turn, parking until it is free. None: the shard closed.
    pub fn take(&self) -> Option<bool> {
        #[allow(clippy::reversed_empty_ranges, reason = "a model does not spin")]
        for _ in 0..TAKE_SPINS {
            if let Some(queued) = self.try_take() {
                return Some(queued);
            }
            if self.is_closed() {
                return None;
            }
            spin_loop();
        }
        loop {
            let entry = lock(&self.takers).push(current());
            // After the push, so that a holder that sees the bit finds the thread; the holder's release compares it.
            let word = self.word.fetch_or(TAKERS, Ordering::AcqRel);
            if word & (HELD | CLOSED) == HELD {
                park();
            }
            // A wake-up may have been meant for something else: the entry must not stay behind and swallow one that
            // another thread needs.
            lock(&self.takers).remove(entry);
            if let Some(queued) = self.try_take() {
                return Some(queued);
            }
            if self.is_closed() {
                return None;
            }
        }
    }

    /// Whether a caller that waits for something else could take the turn and find work.
    #[inline]
    pub fn has_leftovers(&self) -> bool {
        self.word.load(Ordering::Relaxed) & (HELD | QUEUED | CLOSED) == QUEUED
    }

    /// Whether a thread is parked for the turn.
    #[inline]
    pub fn has_takers(&self) -> bool {
        self.word.load(Ordering::Relaxed) & TAKERS != 0
    }

    pub fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// After a push: tells the holder, or says that there is none.
    #[inline]
    pub fn announce(&self) -> Announced {
        // Release: whoever clears or sees the bit finds the command in the inbox. Acquire pairs with `close`.
        let word = self.word.fetch_or(QUEUED, Ordering::AcqRel);
        if word & CLOSED != 0 {
            Announced::Closed
        } else if word & HELD != 0 {
            Announced::Held
        } else {
            Announced::Free { first: word & QUEUED == 0 }
        }
    }

    /// By the holder, before it drains: what is announced from here on is announced anew.
    pub fn begin_drain(&self) {
        // Acquire pairs with `announce`: the commands announced before are in the inbox.
        self.word.fetch_and(!QUEUED, Ordering::AcqRel);
    }

    /// By the holder, when it stops draining with commands left.
    pub fn leave_queued(&self) {
        self.word.fetch_or(QUEUED, Ordering::Release);
    }

    /// By the holder: lets go unless commands arrived since `begin_drain`.
    #[inline]
    pub fn try_release(&self) -> Release {
        let order =
            if cfg!(inmem_mutant = "turn_release_relaxed") { Ordering::Relaxed } else { Ordering::Release };
        match self.word.compare_exchange(HELD, 0, order, Ordering::Relaxed) {
            Ok(_) => Release::Done,
            Err(word) => self.try_release_from(word),
        }
    }

    #[cold]
    fn try_release_from(&self, mut word: u32) -> Release {
        loop {
            if cfg!(inmem_mutant = "turn_release_unconditional") && word & QUEUED == 0 {
                self.word.fetch_and(!HELD, Ordering::Release);
                break;
            }
            if word & QUEUED != 0 && !cfg!(inmem_mutant = "turn_release_without_recheck") {
                return Release::Queued;
            }
            // From exactly the word that was looked at: with an unconditional clearing of HELD, a command announced
            // just now would count on a holder that does not look again.
            match self.word.compare_exchange(word, word & !HELD, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & TAKERS != 0 {
            self.wake_taker();
        }
        Release::Done
    }

    /// By the holder: lets go whatever waits, and wakes one thread that is parked for the turn.
    pub fn leave(&self) {
        // A taker that sets its bit after this sees no HELD and takes the turn itself.
        if self.word.fetch_and(!HELD, Ordering::Release) & TAKERS != 0 {
            self.wake_taker();
        }
    }

    /// Wakes the longest waiting taker. Not under the turn: waking is slower than a command.
    fn wake_taker(&self) {
        let taker = {
            let mut takers = lock(&self.takers);
            let taker = takers.pop();
            if takers.waiting.is_empty() {
                // Under the lock: a taker pushes first and sets the bit after, so this never clears one that counts
                // without its thread having been popped, except the one that is about to set it itself.
                self.word.fetch_and(!TAKERS, Ordering::AcqRel);
            }
            taker
        };
        if let Some(taker) = taker {
            taker.unpark();
        }
    }

    /// By the holder: nobody takes the turn again. Returns whether commands were announced before.
    pub fn close(&self) -> bool {
        self.word.fetch_or(CLOSED, Ordering::AcqRel) & QUEUED != 0
    }

    /// After `close`: wakes everyone parked for the turn, so that they see it.
    pub fn wake_all(&self) {
        while let Some(taker) = lock(&self.takers).pop() {
            taker.unpark();
        }
    }
}
