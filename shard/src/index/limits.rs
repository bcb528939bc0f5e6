//! The index's bounds. Under loom they shrink, so that a model of two operations reaches splits and full tables.

#[cfg(not(inmem_loom))]
mod sizes {
    /// Leading hash bits that choose a sub-table (2^8 of them).
    pub(crate) const SUBTABLE_BITS: u32 = 8;
    /// Slots in one group: a cache line of pointers.
    pub(crate) const GROUP_SLOTS: usize = 8;
    /// Groups in a full-sized segment, as a power of two: 2^6 groups of 8 are 512 slots.
    pub(crate) const SEGMENT_GROUPS_LOG2: u32 = 6;
    /// Threads that may read at the same time without asking the shard.
    pub(crate) const THREAD_SLOTS: usize = 512;
    /// Snapshots that may be open at the same time on one shard.
    pub const MAX_PINS: usize = 1024;
    /// Publications between two collections. Few, so that versions and values come to be used again while they are still in
    /// the nearest cache; not fewer, because a collection costs a fence and has readers fetch the horizon anew.
    pub const COLLECT_INTERVAL_COMMITS: u32 = 32;
    /// Bytes of a new slab: the first, and the most.
    pub(crate) const SLAB_BYTES: (usize, usize) = (4 << 10, 2 << 20);
}

#[cfg(inmem_loom)]
mod sizes {
    pub(crate) const SUBTABLE_BITS: u32 = 0;
    pub(crate) const GROUP_SLOTS: usize = 2;
    pub(crate) const SEGMENT_GROUPS_LOG2: u32 = 0;
    pub(crate) const THREAD_SLOTS: usize = 2;
    /// See above.
    pub const MAX_PINS: usize = 2;
    /// See above.
    pub const COLLECT_INTERVAL_COMMITS: u32 = 1;
    pub(crate) const SLAB_BYTES: (usize, usize) = (1 << 10, 1 << 10);
}

pub use sizes::{COLLECT_INTERVAL_COMMITS, MAX_PINS};
pub(crate) use sizes::{GROUP_SLOTS, SEGMENT_GROUPS_LOG2, SLAB_BYTES, SUBTABLE_BITS, THREAD_SLOTS};

/// Deepest directory of a sub-table, in bits. Past it (a million segments, or keys made to collide) a segment grows
/// instead of splitting.
pub(crate) const MAX_DIRECTORY_BITS: u32 = 20;

/// How many installations a superseded value is fetched after its version is.
pub(crate) const PREFETCH_DISTANCE: usize = 8;

/// Entries in one block of the order before it is split.
pub(crate) const ORDER_BLOCK_ENTRIES: usize = 256;

/// Steps that any collection may take; on top come two for every version installed since the last one, so that
/// reclamation keeps up.
pub(crate) const COLLECT_STEPS: usize = 256;

/// Bytes that superseded versions may hold for the sake of snapshots before the oldest snapshots expire, unless told.
pub const DEFAULT_SNAPSHOT_BYTES: usize = 256 << 20;
