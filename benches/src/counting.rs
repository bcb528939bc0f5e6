//! An allocator that counts, for the gates on allocations and on heap bytes.

#![allow(
    unsafe_code,
    reason = "the trait of an allocator is unsafe; this one hands everything on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counting while [`counted`] runs. Otherwise it costs one relaxed load a call, to what is
/// measured and to its baseline alike.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

/// What was allocated, by all threads together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that asked for memory, or for more of it.
    pub allocations: u64,
    /// Bytes asked for less bytes given back; what was allocated before and freed meanwhile counts against it.
    pub live_bytes: i64,
}

/// Counts what every thread allocates while `work` runs. One count at a time: a second one would start the first anew.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Counts) {
    // SeqCst: once a count, and the other threads' relaxed loads see it as soon as they synchronise with this one.
    ALLOCATIONS.store(0, Ordering::SeqCst);
    LIVE_BYTES.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    let result = work();
    COUNTING.store(false, Ordering::SeqCst);
    let allocations = ALLOCATIONS.load(Ordering::SeqCst);
    (result, Counts { allocations, live_bytes: LIVE_BYTES.load(Ordering::SeqCst) })
}

fn note(allocations: u64, bytes: i64) {
    // Relaxed throughout: counters that nothing is decided by until the threads have been waited for.
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call is handed on to the system's allocator unchanged; counting touches no memory but the counters.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: the caller's promise for this very call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: the caller's promise for this very call.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(0, -signed(layout.size()));
        // SAFETY: the caller's promise for this very call.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, signed(size) - signed(layout.size()));
        // SAFETY: the caller's promise for this very call.
        unsafe { System.realloc(memory, layout, size) }
    }
}
