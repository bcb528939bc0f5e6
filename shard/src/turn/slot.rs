//! Reply slots: where the answer to a command from the inbox is left for whoever asked.
//!
//! A slot has two owners, the asker and the answerer, and goes back to the free list when both are done with it: the
//! asker by taking the answer, or by abandoning it; the answerer by answering. Whoever comes second frees it. So no
//! handle to a slot that serves another command can exist, and an abandoned slot is never written by an answer to the
//! command before. The generation in the word says so as an assertion: every handle carries the one it was given.
//!
//! Slots are allocated in chunks that double, up to a limit, and reused: the steady state allocates nothing.

use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, Thread, UnsafeCell};
use std::sync::OnceLock;
use std::task::Waker;

/// On its way; nobody waits yet.
const PENDING: u32 = 0;
/// The asker is parked, or its task suspended; its handle is in `waiter`.
const WAITING: u32 = 1;
/// The answer is in `value`.
const READY: u32 = 2;
/// The asker went away: the answerer frees the slot.
const ABANDONED: u32 = 3;
/// In the free list.
const FREE: u32 = 4;
const STATE_MASK: u32 = 7;
const GENERATION_ONE: u32 = 8;

/// Slots of the first chunk; each further chunk is as large as all before it.
const FIRST_CHUNK_SLOTS: u32 = if cfg!(inmem_loom) { 2 } else { 256 };
const CHUNKS_MAX: usize = 20;

/// Whom to wake when an answer, or durability, has come.
#[derive(Clone, Debug)]
pub enum Waiter {
    /// A parked thread.
    Thread(Thread),
    /// A suspended task.
    Task(Waker),
}

impl Waiter {
    pub fn wake(self) {
        match self {
            Waiter::Thread(thread) => thread.unpark(),
            Waiter::Task(waker) => waker.wake(),
        }
    }
}

/// One owner's handle to a slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotRef {
    index: u32,
    generation: u32,
}

/// One slot, alone on its cache line: asker and answerer are on different cores.
#[derive(Debug)]
#[repr(align(64))]
struct Slot<T> {
    word: AtomicU32,
    next: AtomicU32,
    value: UnsafeCell<Option<T>>,
    waiter: Mutex<Option<Waiter>>,
}

/// All slots of a shard.
#[derive(Debug)]
pub struct Slots<T> {
    /// Free list: a count of changes in the upper half (so that a popped and re-pushed head is not mistaken for an
    /// unchanged one), index + 1 in the lower.
    free: AtomicU64,
    chunks: [OnceLock<Box<[Slot<T>]>>; CHUNKS_MAX],
    growing: Mutex<u32>,
    limit_slots: u32,
}

// SAFETY: `value` is the only part that is not `Sync` by itself. It is written by the answerer alone while the state is
// PENDING, WAITING or ABANDONED, and read by the asker alone after it saw READY (Acquire, pairing with the Release of
// `publish`), or by the side that frees the slot, after the other side is done with it.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Slots<T> {}

/// Every slot is in use and the limit is reached.
#[derive(Debug)]
pub struct Exhausted;

impl<T> Slots<T> {
    pub fn new(limit_slots: u32) -> Self {
        let slots = Self {
            free: AtomicU64::new(0),
            chunks: [const { OnceLock::new() }; CHUNKS_MAX],
            growing: Mutex::new(0),
            limit_slots: limit_slots.max(FIRST_CHUNK_SLOTS),
        };
        // Cannot fail: the limit allows for one chunk.
        let _ = slots.grow();
        slots
    }

    fn slot(&self, index: u32) -> &Slot<T> {
        let position = index + FIRST_CHUNK_SLOTS;
        let chunk = position.ilog2() - FIRST_CHUNK_SLOTS.ilog2();
        let offset = position - (FIRST_CHUNK_SLOTS << chunk);
        &self.chunks[chunk as usize].get().expect("an index is handed out after its chunk")[offset as usize]
    }

    #[cold]
    fn grow(&self) -> Result<(), Exhausted> {
        let mut chunks = self.growing.lock().unwrap_or_else(|broken| broken.into_inner());
        if self.free.load(Ordering::Acquire) as u32 != 0 {
            return Ok(()); // somebody grew or freed meanwhile
        }
        let chunk = *chunks as usize;
        let size = FIRST_CHUNK_SLOTS << chunk;
        let first = size - FIRST_CHUNK_SLOTS;
        if chunk == CHUNKS_MAX || first >= self.limit_slots {
            return Err(Exhausted);
        }
        let fresh = (0..size).map(|_| Slot {
            word: AtomicU32::new(FREE),
            next: AtomicU32::new(0),
            value: UnsafeCell::new(None),
            waiter: Mutex::new(None),
        });
        let _ = self.chunks[chunk].set(fresh.collect());
        *chunks += 1;
        for index in (first..first + size).rev() {
            self.push_free(index);
        }
        Ok(())
    }

    fn push_free(&self, index: u32) {
        let slot = self.slot(index);
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            slot.next.store(head as u32, Ordering::Relaxed);
            let next = ((head >> 32).wrapping_add(1) << 32) | u64::from(index + 1);
            // Release pairs with the Acquire in `pop_free`: the next owner sees the slot as it was left.
            match self.free.compare_exchange_weak(head, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pop_free(&self) -> Option<u32> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            let after = self.slot(index).next.load(Ordering::Relaxed);
            let next = ((head >> 32).wrapping_add(1) << 32) | u64::from(after);
            match self.free.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    /// A slot for one command: the asker's handle and the answerer's are the same value.
    pub fn allocate(&self) -> Result<SlotRef, Exhausted> {
        loop {
            if let Some(index) = self.pop_free() {
                let slot = self.slot(index);
                let generation = slot.word.load(Ordering::Relaxed) & !STATE_MASK;
                slot.word.store(generation | PENDING, Ordering::Relaxed);
                return Ok(SlotRef { index, generation });
            }
            self.grow()?;
        }
    }

    /// After both owners are done.
    fn free(&self, at: SlotRef) {
        let slot = self.slot(at.index);
        slot.word.store(at.generation.wrapping_add(GENERATION_ONE) | FREE, Ordering::Relaxed);
        self.push_free(at.index);
    }

    fn assert_generation(word: u32, at: SlotRef) {
        assert_eq!(word & !STATE_MASK, at.generation, "a reply slot was reused while somebody still held it");
    }

    /// By the asker, when the command was not accepted after all: no answerer ever heard of the slot.
    pub fn give_back(&self, at: SlotRef) {
        self.free(at);
    }

    /// By the answerer: leaves the answer without showing it (it may not be durable yet).
    #[inline]
    #[allow(unsafe_code)]
    pub fn fill(&self, at: SlotRef, value: T) {
        // SAFETY: until `publish` the answerer is the only one to touch the value; see the impl of Sync.
        self.slot(at.index).value.with_mut(|cell| unsafe { *cell = Some(value) });
    }

    /// By the answerer, once, after `fill`: shows the answer. Returns whom to wake.
    #[inline]
    pub fn publish(&self, at: SlotRef) -> Option<Waiter> {
        let slot = self.slot(at.index);
        let order = if cfg!(inmem_mutant = "turn_slot_publish_relaxed") {
            Ordering::Relaxed
        } else {
            Ordering::AcqRel
        };
        // Release pairs with the Acquire of the asker's look; Acquire with its hand-over of `waiter`, or of the slot.
        let word = slot.word.swap(at.generation | READY, order);
        Self::assert_generation(word, at);
        match word & STATE_MASK {
            PENDING => None,
            WAITING => slot.waiter.lock().unwrap_or_else(|broken| broken.into_inner()).take(),
            _ => {
                debug_assert_eq!(word & STATE_MASK, ABANDONED);
                self.clear(at);
                self.free(at);
                None
            }
        }
    }

    #[allow(unsafe_code)]
    fn clear(&self, at: SlotRef) -> Option<T> {
        // SAFETY: the caller is the last owner of the slot.
        self.slot(at.index).value.with_mut(|cell| unsafe { (*cell).take() })
    }

    /// By the asker: whether the answer is there.
    #[inline]
    pub fn is_ready(&self, at: SlotRef) -> bool {
        let word = self.slot(at.index).word.load(Ordering::Acquire);
        Self::assert_generation(word, at);
        word & STATE_MASK == READY
    }

    /// By the asker, after `is_ready`: takes the answer and ends both ownerships.
    pub fn take(&self, at: SlotRef) -> T {
        let value = self.clear(at);
        self.free(at);
        value.expect("a ready slot holds an answer")
    }

    /// By the asker, before it parks or suspends: `false` means the answer is there already.
    pub fn register(&self, at: SlotRef, waiter: Waiter) -> bool {
        let slot = self.slot(at.index);
        let mut place = slot.waiter.lock().unwrap_or_else(|broken| broken.into_inner());
        *place = Some(waiter);
        // Under the lock: an answerer that finds WAITING takes the waiter that is registered now.
        match slot.word.compare_exchange(
            at.generation | PENDING,
            at.generation | WAITING,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => true,
            Err(word) => {
                Self::assert_generation(word, at);
                if word & STATE_MASK == WAITING {
                    return true; // an earlier registration: the waiter in place was exchanged
                }
                *place = None;
                false
            }
        }
    }

    /// By the asker: does not want the answer any more.
    pub fn abandon(&self, at: SlotRef) {
        let slot = self.slot(at.index);
        if cfg!(inmem_mutant = "turn_slot_abandon_frees") {
            self.free(at);
            return;
        }
        // Release hands the slot to the answerer; Acquire takes the answer over in order to drop it.
        let word = slot.word.swap(at.generation | ABANDONED, Ordering::AcqRel);
        Self::assert_generation(word, at);
        match word & STATE_MASK {
            READY => {
                self.clear(at);
                self.free(at);
            }
            WAITING => {
                slot.waiter.lock().unwrap_or_else(|broken| broken.into_inner()).take();
            }
            _ => {}
        }
    }
}
