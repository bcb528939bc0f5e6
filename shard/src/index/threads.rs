//! Which slot a thread registers its reads in.
//!
//! A thread claims a number when it first reads, keeps it until it exits, and then gives it back. The number is the
//! same for every index of the process; each index has one padded slot for it, which no other thread writes. That is
//! why a read needs no atomic read-modify-write.

#[cfg(not(inmem_loom))]
mod imp {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::super::limits::THREAD_SLOTS;

    /// Claimed numbers, a bit each.
    static CLAIMED: [AtomicU64; THREAD_SLOTS / 64] = [const { AtomicU64::new(0) }; THREAD_SLOTS / 64];
    /// One past the highest number ever claimed: how far a scan of the slots must go.
    static HIGH_WATER: AtomicUsize = AtomicUsize::new(0);

    const UNKNOWN: usize = usize::MAX;
    const NONE: usize = usize::MAX - 1;

    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
        static CLAIM: Claim = Claim(claim());
    }

    struct Claim(Option<usize>);

    impl Drop for Claim {
        fn drop(&mut self) {
            // Reads in later destructors of this thread do without a slot.
            NUMBER.set(NONE);
            if let Some(number) = self.0 {
                // Release pairs with the Acquire in `claim`: the next owner of the slot sees it idle.
                CLAIMED[number / 64].fetch_and(!(1 << (number % 64)), Ordering::Release);
            }
        }
    }

    fn claim() -> Option<usize> {
        for (index, word) in CLAIMED.iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != u64::MAX {
                let bit = (!bits).trailing_zeros();
                // Acquire pairs with the Release of the last owner.
                match word.compare_exchange_weak(bits, bits | 1 << bit, Ordering::Acquire, Ordering::Relaxed)
                {
                    Ok(_) => {
                        let number = index * 64 + bit as usize;
                        // Before the fence of this thread's first read, so that a scan which misses the slot because of
                        // an old mark comes before that fence, and the reader sees the scan's horizon.
                        HIGH_WATER.fetch_max(number + 1, Ordering::Relaxed);
                        return Some(number);
                    }
                    Err(now) => bits = now,
                }
            }
        }
        None
    }

    /// This thread's number, or `None` if all are taken or the thread is exiting.
    #[inline(always)]
    pub(crate) fn number() -> Option<usize> {
        let number = NUMBER.get();
        if number < THREAD_SLOTS { Some(number) } else { slow(number) }
    }

    #[cold]
    fn slow(number: usize) -> Option<usize> {
        if number == NONE {
            return None;
        }
        let claimed = CLAIM.try_with(|claim| claim.0).ok().flatten();
        match claimed {
            Some(number) => NUMBER.set(number),
            // Asks again only in another thread: a thread that came when all were taken stays without.
            None => NUMBER.set(NONE),
        }
        claimed
    }

    /// How many slots a scan must look at.
    #[inline]
    pub(crate) fn high_water() -> usize {
        HIGH_WATER.load(Ordering::Relaxed)
    }
}

#[cfg(inmem_loom)]
mod imp {
    use std::cell::Cell;

    loom::thread_local! {
        static NUMBER: Cell<Option<usize>> = Cell::new(None);
    }

    /// Models number their threads themselves.
    pub fn set_number(number: usize) {
        NUMBER.with(|cell| cell.set(Some(number)));
    }

    pub(crate) fn number() -> Option<usize> {
        NUMBER.with(Cell::get)
    }

    pub(crate) fn high_water() -> usize {
        super::super::limits::THREAD_SLOTS
    }
}

#[cfg(inmem_loom)]
pub use imp::set_number;
pub(crate) use imp::{high_water, number};
