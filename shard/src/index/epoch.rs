//! The commit version as the epoch: what readers register, and what the writer may therefore free.
//!
//! Two kinds of registration, both a version in a word that the writer scans:
//! - A **traversal slot**, one a thread, holds a version while the thread is inside the index. It protects memory: what
//!   was unlinked while version `s` was pending is freed once every slot is idle or at `s` or later.
//! - A **pin**, one a snapshot, holds a version between reads. It protects visibility only: versions that it can see
//!   stay linked. A read of a snapshot takes a traversal slot as well.
//!
//! **Why a reader and the writer cannot miss each other.** The reader stores its version, fences, and reads `horizon`
//! (or its pin); the writer stores `horizon` (or expires the pin), fences, and scans. The two fences are ordered one
//! way or the other. Reader first: the scan sees the registration. Writer first: the reader sees the new horizon; if that
//! is past its version it starts again, and if it is not, nothing that this collection frees can be reached from its
//! version, because everything freed was unlinked before the fence or is superseded at or before the horizon.

use std::sync::atomic::AtomicU64 as PlainU64;

use crossbeam_utils::CachePadded;

use super::limits::{MAX_PINS, THREAD_SLOTS};
use super::threads;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, fence};

/// Nothing is registered.
pub(super) const IDLE: u64 = u64::MAX;
/// The snapshot was taken away.
pub(super) const EXPIRED: u64 = u64::MAX - 1;

/// Registrations of one index.
pub(super) struct Epoch {
    /// The newest published version. On a line of its own: it changes with every commit.
    committed: CachePadded<AtomicU64>,
    /// No reader registers below this. Changes with every collection, so a read that only looks here seldom waits for the
    /// writer's cache line.
    horizon: CachePadded<AtomicU64>,
    slots: Box<[CachePadded<ThreadSlot>]>,
    pins: Box<[AtomicU64]>,
    /// One past the highest pin ever taken.
    pins_high_water: AtomicUsize,
}

/// One thread's place.
struct ThreadSlot {
    /// The version registered, or `IDLE`.
    active: AtomicU64,
    /// A version this thread has seen committed; only its thread uses it, so it needs no ordering.
    known: PlainU64,
}

/// A registered read: idle again when dropped.
pub(super) struct Visit<'a> {
    epoch: &'a Epoch,
    slot: &'a ThreadSlot,
    /// The version registered.
    pub(super) version: u64,
}

/// Why a read could not register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The thread has no slot, or is inside this index already.
    NoSlot,
    /// The snapshot was taken away.
    Expired,
}

/// What a scan found.
#[derive(Clone, Copy, Default)]
pub(super) struct Scan {
    /// What was committed. Whoever was not there yet registers here or later.
    pub(super) horizon: u64,
    /// No traversal is below this.
    pub(super) quiescent: u64,
    /// No pin is below this.
    pub(super) oldest_pin: u64,
    /// No registration at all is below this.
    pub(super) safe: u64,
}

impl Epoch {
    pub(super) fn new() -> Self {
        let idle_slot =
            || CachePadded::new(ThreadSlot { active: AtomicU64::new(IDLE), known: PlainU64::new(0) });
        Self {
            committed: CachePadded::new(AtomicU64::new(0)),
            horizon: CachePadded::new(AtomicU64::new(0)),
            slots: (0..THREAD_SLOTS).map(|_| idle_slot()).collect(),
            pins: (0..MAX_PINS).map(|_| AtomicU64::new(IDLE)).collect(),
            pins_high_water: AtomicUsize::new(0),
        }
    }

    /// The newest published version. Acquire pairs with the Release in `publish`: whoever learns of a version sees
    /// everything installed for it.
    #[inline]
    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Writer: makes everything installed up to `version` visible.
    #[inline]
    pub(super) fn publish(&self, version: u64) {
        let order =
            if cfg!(inmem_mutant = "relaxed_publish") { Ordering::Relaxed } else { Ordering::Release };
        self.committed.store(version, order);
    }

    /// Registers a read of the newest state.
    #[inline]
    pub(super) fn enter(&self) -> Result<Visit<'_>, Refused> {
        let slot = self.slot()?;
        let version = slot.known.load(std::sync::atomic::Ordering::Relaxed);
        let mut visit = Visit { epoch: self, slot, version };
        visit.register(version);
        if self.horizon_passed(version) {
            visit.refresh();
        }
        Ok(visit)
    }

    /// Registers a read at a pin's version.
    #[inline]
    pub(super) fn enter_pinned(&self, pin: usize, version: u64) -> Result<Visit<'_>, Refused> {
        self.enter_at(&self.pins[pin], version)
    }

    /// Registers a read at a version that `keeper` keeps visible for as long as it holds it.
    #[inline]
    pub(super) fn enter_at(&self, keeper: &AtomicU64, version: u64) -> Result<Visit<'_>, Refused> {
        let slot = self.slot()?;
        let visit = Visit { epoch: self, slot, version };
        visit.register(version);
        // The load comes after the fence in `register`: either the writer's scan sees the registration, or this sees that
        // the keeper let go before the scan.
        let still = keeper.load(Ordering::Acquire) == version;
        if still || cfg!(inmem_mutant = "skip_pin_recheck") { Ok(visit) } else { Err(Refused::Expired) }
    }

    #[inline]
    fn slot(&self) -> Result<&ThreadSlot, Refused> {
        let slot = &*self.slots[threads::number().ok_or(Refused::NoSlot)?];
        // Only this thread stores here, so Relaxed reads its own last store.
        if slot.active.load(Ordering::Relaxed) == IDLE { Ok(slot) } else { Err(Refused::NoSlot) }
    }

    #[inline]
    fn horizon_passed(&self, version: u64) -> bool {
        // Relaxed: ordered by the fences before it and before the scan.
        !cfg!(inmem_mutant = "skip_horizon_recheck") && self.horizon.load(Ordering::Relaxed) > version
    }

    /// Takes a pin at the newest published version: its place and the version. `None` if all are taken.
    #[inline]
    pub(super) fn pin(&self) -> Option<(usize, u64)> {
        let mut version = self.committed();
        let index = self.claim_pin(version)?;
        let pin = &self.pins[index];
        loop {
            if !cfg!(inmem_mutant = "skip_pin_fence") {
                fence(Ordering::SeqCst);
            }
            if !self.horizon_passed(version) {
                return Some((index, version));
            }
            version = self.committed();
            // Release: as for a slot, this lets go of the older version.
            pin.store(version, Ordering::Release);
        }
    }

    #[inline]
    fn claim_pin(&self, version: u64) -> Option<usize> {
        // Threads start at different lines, so that two that take snapshots all the time do not share one.
        const PINS_PER_LINE: usize = 16;
        let start = threads::number().unwrap_or(0) * PINS_PER_LINE % MAX_PINS;
        for index in (start..MAX_PINS).chain(0..start) {
            let pin = &self.pins[index];
            // Acquire pairs with the Release of the last owner, so that its reads are over.
            if pin.load(Ordering::Relaxed) == IDLE
                && pin.compare_exchange(IDLE, version, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                // Before the fence in `pin`: a scan that misses this mark comes before it.
                if self.pins_high_water.load(Ordering::Relaxed) <= index {
                    self.pins_high_water.fetch_max(index + 1, Ordering::Relaxed);
                }
                return Some(index);
            }
        }
        None
    }

    /// Gives a pin back, expired or not.
    #[inline]
    pub(super) fn unpin(&self, index: usize) {
        // Release pairs with the Acquire of the scan and of the next owner.
        self.pins[index].store(IDLE, Ordering::Release);
    }

    /// Whether the pin still protects the version.
    pub(super) fn is_pinned(&self, index: usize, version: u64) -> bool {
        self.pins[index].load(Ordering::Acquire) == version
    }

    /// Writer: moves the horizon to what is published and collects every registration into `versions`, sorted, the
    /// horizon among them.
    pub(super) fn scan(&self, versions: &mut Vec<u64>) -> Scan {
        // Relaxed: the writer stores it.
        let horizon = self.committed.load(Ordering::Relaxed);
        // Readers that see this horizon and reload `committed` find at least as much there: the same thread stored that
        // before. Release pairs with nothing that the fences would not do.
        self.horizon.store(horizon, Ordering::Release);
        if !cfg!(inmem_mutant = "skip_scan_fence") {
            fence(Ordering::SeqCst);
        }
        versions.clear();
        let mut quiescent = horizon;
        for slot in &self.slots[..threads::high_water()] {
            // Acquire pairs with the Release of a slot that became idle or moved on: its reads are over.
            let version = slot.active.load(Ordering::Acquire);
            if version != IDLE {
                quiescent = quiescent.min(version);
                versions.push(version);
            }
        }
        let mut oldest_pin = horizon;
        for pin in &self.pins[..self.pins_high_water.load(Ordering::Relaxed)] {
            // Acquire pairs with the Release of `unpin`.
            let version = pin.load(Ordering::Acquire);
            if version < EXPIRED {
                oldest_pin = oldest_pin.min(version);
                versions.push(version);
            }
        }
        versions.push(horizon);
        if versions.len() > 1 {
            versions.sort_unstable();
            versions.dedup();
        }
        Scan { horizon, quiescent, oldest_pin, safe: versions[0] }
    }

    /// Writer: takes the pins at `version` away. They count until the next scan. Returns how many there were.
    pub(super) fn expire(&self, version: u64) -> usize {
        let pins = &self.pins[..self.pins_high_water.load(Ordering::Relaxed)];
        let expire = |pin: &&AtomicU64| {
            // A pin given back and taken again at the same version meanwhile is as old, and goes as well.
            pin.compare_exchange(version, EXPIRED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        pins.iter().filter(expire).count()
    }

    /// Pins that are taken.
    pub(super) fn pins_in_use(&self) -> usize {
        self.pins.iter().filter(|pin| pin.load(Ordering::Relaxed) != IDLE).count()
    }
}

impl Visit<'_> {
    #[inline(always)]
    fn register(&self, version: u64) {
        // Release: moving on lets go of the older version, so reads under it come before. The fence orders the store
        // before every load of the read; it pairs with the one in `scan`.
        self.slot.active.store(version, Ordering::Release);
        if !cfg!(inmem_mutant = "skip_read_fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// Moves the read on to the newest published version. What was read before must be let go of.
    #[cold]
    pub(super) fn refresh(&mut self) {
        loop {
            self.version = self.epoch.committed();
            self.slot.known.store(self.version, std::sync::atomic::Ordering::Relaxed);
            self.register(self.version);
            if !self.epoch.horizon_passed(self.version) {
                return;
            }
        }
    }
}

impl Drop for Visit<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release pairs with the Acquire of the scan: this read's loads come before.
        self.slot.active.store(IDLE, Ordering::Release);
    }
}
