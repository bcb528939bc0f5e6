//! The table readers look keys up in: 256 extendible hash tables of small segments.
//!
//! ```text
//! hash: | sub-table (8) | directory (0..=20) | ..  fingerprint (16) | .. group, start |
//!
//! directories[sub-table] -> [segment, segment, ..] -> groups of 8 slots -> newest version
//! ```
//! What makes it fit for one writer and readers without locks:
//! - A segment, once reachable, never moves an entry from slot to slot. When it is full its entries are copied into one
//!   or two new segments, the directory is pointed at them, and the old segment is retired as it is. A reader that
//!   still stands in it reads what was true when it came.
//! - A slot is one word: the address of the newest version with a fingerprint of the key in the sixteen bits above it.
//! - A key is looked for in its home group and, only if that is full, in the next. A slot is emptied only in a group
//!   that has another empty slot; otherwise it is marked deleted, so a search never stops short.
//! - No put moves more than two segments' worth of entries; only a sub-table's small directory doubles.

use std::ptr;

use super::arena::Arena;
use super::key::HashedKey;
use super::limits::{GROUP_SLOTS, SEGMENT_GROUPS_LOG2, SUBTABLE_BITS};
use super::node::{Canary, Entry, Node, prefetch, prefetch_line};
use crate::sync::{AtomicPtr, Ordering};

pub(super) const SUBTABLES: usize = 1 << SUBTABLE_BITS;

/// Address bits of a user pointer on the machines this runs on; what is above them is ours.
const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: usize = (1 << ADDRESS_BITS) - 1;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the index keeps sixteen bits above a 48-bit address and needs 64-bit pointers");

/// Puts `tag` above the address.
///
/// # Panics
/// If the system handed out an address above 48 bits. Linux does so only to programs that ask for it (five-level paging
/// needs a hint to `mmap`), and Windows and macOS never do.
#[inline(always)]
pub(super) fn tagged<T>(pointer: *mut T, tag: u16) -> *mut T {
    assert!(pointer.addr() <= ADDRESS_MASK, "the index needs memory below 2^48");
    pointer.map_addr(|address| address | (tag as usize) << ADDRESS_BITS)
}

#[inline(always)]
pub(super) fn untagged<T>(pointer: *mut T) -> (*mut T, u16) {
    (pointer.map_addr(|address| address & ADDRESS_MASK), (pointer.addr() >> ADDRESS_BITS) as u16)
}

/// A slot whose key is gone but that a search must pass.
#[inline(always)]
pub(super) fn deleted() -> *mut Node {
    ptr::without_provenance_mut(1)
}

/// Sixteen bits of the hash that neither choose the segment nor the group; never zero, which empty and deleted slots have.
#[inline(always)]
pub(super) fn fingerprint(hash: u64) -> u16 {
    ((hash >> 16) as u16).max(1)
}

/// Of the hash, what [`fingerprint`] leaves out and a segment that is copied needs: the home group's bits, and the
/// directory's first ten.
#[inline(always)]
pub(super) fn kept_bits(hash: u64) -> u16 {
    ((hash << SUBTABLE_BITS >> (64 - KEPT_DIRECTORY_BITS)) as u16) << SEGMENT_GROUPS_LOG2
        | (hash as u16 & ((1 << SEGMENT_GROUPS_LOG2) - 1))
}

pub(super) const KEPT_DIRECTORY_BITS: u32 = 16 - SEGMENT_GROUPS_LOG2;

/// A hash in the sub-table of `hash` that has these bits; others are zero.
#[inline(always)]
pub(super) fn kept_hash(hash: u64, print: u16, kept: u16) -> u64 {
    let subtable = hash & !(u64::MAX >> SUBTABLE_BITS);
    let directory = u64::from(kept >> SEGMENT_GROUPS_LOG2) << (64 - SUBTABLE_BITS - KEPT_DIRECTORY_BITS);
    subtable | directory | u64::from(print) << 16 | u64::from(kept & ((1 << SEGMENT_GROUPS_LOG2) - 1))
}

/// A cache line of slots, and beside it the line that says which entry each slot's key has, with [`kept_bits`] above the
/// address. Readers only ever prefetch from the second: a search that waits for the newest version would otherwise wait for
/// the entry behind it again. What counts for them is the version's own pointer, so a reader that meets a slot in change
/// loses time and nothing else. The writer, who alone changes both lines, finds keys by the second without waiting for
/// their versions, and copies segments by it without looking at either.
#[repr(C, align(64))]
pub(super) struct Group {
    pub(super) slots: [AtomicPtr<Node>; GROUP_SLOTS],
    pub(super) entries: [AtomicPtr<Entry>; GROUP_SLOTS],
}

/// The header of a segment; its groups follow. Only the writer uses the counts.
#[repr(C, align(64))]
pub(super) struct Segment {
    /// Hash bits, below the sub-table's, that all keys here have in common. Never changes.
    pub(super) depth: u32,
    pub(super) groups_log2: u32,
    pub(super) canary: Canary,
    pub(super) counts: std::cell::Cell<Counts>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    /// Slots with an entry.
    pub(super) live: u32,
    /// Slots that are not empty: entries and deleted marks.
    pub(super) filled: u32,
}

/// One place of a directory: the segment, with the size of its group array as a power of two above the address.
pub(super) struct DirectoryCell {
    pub(super) segment: AtomicPtr<Segment>,
    canary: Canary,
}

/// Memory that the table no longer refers to, but a reader may.
pub(super) enum Retired {
    /// A segment and nothing it points at.
    Segment(*mut Segment),
    /// A directory of 2^depth places.
    Directory(*mut DirectoryCell, u32),
}

/// What readers see of the table; the writer changes it through [`TableWriter`].
pub(super) struct Table {
    /// The directory, with its depth above the address.
    pub(super) directories: [AtomicPtr<DirectoryCell>; SUBTABLES],
}

/// A slot with a key's newest version.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) slot: *const AtomicPtr<Node>,
    pub(super) group: *const Group,
    pub(super) segment: *mut Segment,
    pub(super) node: *mut Node,
    pub(super) entry: *mut Entry,
}

pub(super) fn segment_bytes(groups_log2: u32) -> usize {
    size_of::<Segment>() + (size_of::<Group>() << groups_log2)
}

pub(super) fn directory_bytes(depth: u32) -> usize {
    size_of::<DirectoryCell>() << depth
}

impl Segment {
    pub(super) fn create(arena: &mut Arena, depth: u32, groups_log2: u32) -> *mut Self {
        let segment = arena.allocate_segment(groups_log2, segment_bytes(groups_log2)).cast::<Self>();
        // SAFETY: fresh memory of that size; header and groups are written before anyone sees them.
        unsafe {
            segment.write(Self {
                depth,
                groups_log2,
                canary: Canary::new(),
                counts: std::cell::Cell::new(Counts::default()),
            });
            for index in 0..1 << groups_log2 {
                let empty = Group {
                    slots: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
                    entries: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
                };
                Self::groups(segment).add(index).write(empty);
            }
            segment
        }
    }

    #[inline(always)]
    pub(super) fn groups(segment: *mut Self) -> *mut Group {
        // In bounds: the groups follow the header in one allocation.
        segment.wrapping_add(1).cast()
    }

    /// # Safety
    /// Nobody can reach the segment.
    unsafe fn destroy(arena: &mut Arena, segment: *mut Self) {
        // SAFETY: made by `create`; atomics need no drop.
        unsafe {
            (*segment).canary.kill();
            arena.free_segment((*segment).groups_log2, segment.cast());
        }
    }

    /// Every entry's newest version.
    ///
    /// # Safety
    /// The segment is live for the length of the iteration.
    pub(super) unsafe fn nodes(segment: *mut Self) -> impl Iterator<Item = *mut Node> {
        // SAFETY: live, says the caller; `groups_log2` never changes.
        let count = unsafe { 1_usize << (*segment).groups_log2 };
        (0..count * GROUP_SLOTS).filter_map(move |index| {
            // SAFETY: in bounds. Acquire pairs with the writer's Release of the slot.
            let word = unsafe {
                let group = Self::groups(segment).add(index / GROUP_SLOTS);
                (&(*group).slots)[index % GROUP_SLOTS].load(Ordering::Acquire)
            };
            let (node, print) = untagged(word);
            (print != 0).then_some(node)
        })
    }
}

pub(super) fn create_directory(
    arena: &mut Arena,
    depth: u32,
    mut segment_at: impl FnMut(usize) -> *mut Segment,
) -> *mut DirectoryCell {
    let (memory, is_reused) = arena.allocate_directory(depth, directory_bytes(depth));
    let directory = memory.cast::<DirectoryCell>();
    for index in 0..1 << depth {
        let segment = segment_at(index);
        // SAFETY: within memory of that size, which nobody has been shown yet or which was a directory of this depth before. In the
        // second case a hint may yet look at its cells, so that they are stored to, and not written anew. Relaxed: the hint
        // follows no pointer; for all others the directory is released as a whole.
        unsafe {
            let cell = directory.add(index);
            if is_reused {
                (*cell).segment.store(segment, Ordering::Relaxed);
            } else {
                cell.write(DirectoryCell { segment: AtomicPtr::new(segment), canary: Canary::new() });
            }
        }
    }
    directory
}

/// The place in a directory of `depth` that belongs to the hash.
#[inline(always)]
pub(super) fn directory_index(hash: u64, depth: u32) -> usize {
    // Two shifts, because one by 64 is not allowed.
    ((hash << SUBTABLE_BITS) >> 1 >> (63 - depth)) as usize
}

#[inline(always)]
pub(super) fn subtable_index(hash: u64) -> usize {
    (hash >> 1 >> (63 - SUBTABLE_BITS)) as usize
}

impl Table {
    pub(super) fn new(arena: &mut Arena) -> Self {
        let directories = std::array::from_fn(|_| {
            let segment = tagged(Segment::create(arena, 0, 0), 0);
            AtomicPtr::new(create_directory(arena, 0, |_| segment))
        });
        Self { directories }
    }

    /// The segment that holds the hash.
    ///
    /// # Safety
    /// The caller is the writer or a registered reader, for as long as it uses the result.
    #[inline(always)]
    pub(super) unsafe fn segment(&self, hash: u64) -> (*mut Segment, u16) {
        // Acquire pairs with the Release in `TableWriter::resize_directory`.
        let (directory, depth) = untagged(self.directories[subtable_index(hash)].load(Ordering::Acquire));
        // SAFETY: a directory of that depth has a place for every hash, and is not freed under the caller.
        let cell = unsafe { &*directory.add(directory_index(hash, u32::from(depth))) };
        cell.canary.check();
        // Acquire pairs with the Release in `TableWriter::point_at`.
        let (segment, groups_log2) = untagged(cell.segment.load(Ordering::Acquire));
        // SAFETY: as above.
        unsafe { (*segment).canary.check() };
        (segment, groups_log2)
    }

    /// Looks a key up.
    ///
    /// # Safety
    /// As for [`Table::segment`].
    #[inline]
    pub(super) unsafe fn find(&self, wanted: &HashedKey<'_>) -> Option<Found> {
        let length = wanted.key.user.len();
        let entry_of = |hint: &AtomicPtr<Entry>, node: *mut Node| {
            if cfg!(not(inmem_loom)) {
                // Relaxed: a hint, see `Group`; nothing for a model to explore.
                Entry::prefetch(untagged(hint.load(Ordering::Relaxed)).0, length);
            }
            // SAFETY: the slot was read after registering, so what it points at is not freed under the caller.
            unsafe {
                (*node).read(|body| {
                    // A get clones the value.
                    prefetch(body.value.as_ref());
                    body.entry
                })
            }
        };
        // SAFETY: passed on.
        unsafe { self.search(wanted, entry_of) }
    }

    /// Looks a key up for the writer, without waiting for the version found: it is on its way.
    ///
    /// # Safety
    /// The caller is the writer.
    #[inline]
    pub(super) unsafe fn find_for_writer(&self, wanted: &HashedKey<'_>) -> Option<Found> {
        let length = wanted.key.user.len();
        let entry_of = |entry: &AtomicPtr<Entry>, node: *mut Node| {
            prefetch_line(node.cast());
            // Relaxed: only the writer stores it.
            let entry = untagged(entry.load(Ordering::Relaxed)).0;
            Entry::prefetch(entry, length);
            entry
        };
        // SAFETY: passed on; to the writer, what stands beside a slot is the entry of its key.
        unsafe { self.search(wanted, entry_of) }
    }

    /// Goes through the slots whose fingerprint is the key's; `entry_of` says whose they are.
    ///
    /// # Safety
    /// As for [`Table::segment`]; `entry_of` gives an entry that is not freed under the caller.
    #[inline(always)]
    unsafe fn search(
        &self,
        wanted: &HashedKey<'_>,
        entry_of: impl Fn(&AtomicPtr<Entry>, *mut Node) -> *mut Entry,
    ) -> Option<Found> {
        let HashedKey { key, hash } = wanted;
        // SAFETY: passed on.
        let (segment, groups_log2) = unsafe { self.segment(*hash) };
        let mask = (1_usize << groups_log2) - 1;
        let print = fingerprint(*hash);
        let mut index = *hash as usize & mask;
        for _ in 0..=mask {
            // SAFETY: in bounds of the segment's groups.
            let group = unsafe { Segment::groups(segment).add(index) };
            // Both lines at once: the second is asked for only when the first has been looked through.
            prefetch_line(group.cast::<u8>().wrapping_add(size_of::<[AtomicPtr<Node>; GROUP_SLOTS]>()));
            // Acquire pairs with the writer's Release of the slot, and so with all that it wrote into the node before.
            // SAFETY: as above.
            let words: [*mut Node; GROUP_SLOTS] =
                std::array::from_fn(|slot| unsafe { (&(*group).slots)[slot].load(Ordering::Acquire) });
            let (mut matches, mut has_empty) = (0_u32, false);
            for (slot, word) in words.iter().enumerate() {
                matches |= u32::from((word.addr() >> ADDRESS_BITS) as u16 == print) << slot;
                has_empty |= word.is_null();
            }
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize;
                matches &= matches - 1;
                let (node, _) = untagged(words[slot]);
                // SAFETY: in bounds.
                let beside = unsafe { &(&(*group).entries)[slot] };
                let entry = entry_of(beside, node);
                // SAFETY: not freed under the caller.
                if unsafe { Entry::key(entry) } == *key {
                    // SAFETY: in bounds.
                    let slot = unsafe { &raw const (&(*group).slots)[slot] };
                    return Some(Found { slot, group, segment, node, entry });
                }
            }
            if has_empty {
                return None;
            }
            index = (index + 1) & mask;
        }
        None
    }

    /// Begins to fetch what a search for the hash looks at first. A hint that anybody may take, registered or not: it looks at
    /// directories only, which stay directories of their depth once they are retired, and follows nothing that they hold. One
    /// that is out of date has the wrong lines fetched.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if cfg!(inmem_loom) {
            return;
        }
        // Acquire pairs with the Release in `TableWriter::resize_directory`: what is a directory was written as one before.
        let (directory, depth) = untagged(self.directories[subtable_index(hash)].load(Ordering::Acquire));
        // SAFETY: a directory of that depth has a place for every hash. Its memory is the arena's, which lives as long as this
        // table can be reached, and is only ever used for directories of that depth; cells are only stored to, once written.
        let cell = unsafe { &*directory.add(directory_index(hash, u32::from(depth))) };
        // Relaxed: the segment may be gone; only its address is used.
        let (segment, groups_log2) = untagged(cell.segment.load(Ordering::Relaxed));
        let group = Segment::groups(segment).wrapping_add(hash as usize & ((1 << groups_log2) - 1));
        prefetch_line(group.cast());
        prefetch_line(group.cast::<u8>().wrapping_add(64));
    }

    /// Begins to fetch the version and the entry that a search for the key will most likely end at.
    ///
    /// # Safety
    /// As for [`Table::segment`].
    #[inline]
    pub(super) unsafe fn prefetch_found(&self, wanted: &HashedKey<'_>) {
        let hash = wanted.hash;
        // SAFETY: passed on.
        let (segment, groups_log2) = unsafe { self.segment(hash) };
        // SAFETY: in bounds of the segment's groups.
        let group = unsafe { &*Segment::groups(segment).add(hash as usize & ((1 << groups_log2) - 1)) };
        for (slot, entry) in group.slots.iter().zip(&group.entries) {
            // Relaxed: a hint; what is found here is looked for again.
            let (node, print) = untagged(slot.load(Ordering::Relaxed));
            if print == fingerprint(hash) {
                prefetch_line(node.cast());
                Entry::prefetch(untagged(entry.load(Ordering::Relaxed)).0, wanted.key.user.len());
            }
        }
    }

    /// Shows the newest versions in the segment that holds the hash, and returns the first hash past that segment, or
    /// `None` after the last one.
    ///
    /// # Safety
    /// The caller is a registered reader.
    pub(super) unsafe fn visit_segment(&self, hash: u64, mut visit: impl FnMut(*mut Node)) -> Option<u64> {
        // SAFETY: passed on.
        let (segment, _) = unsafe { self.segment(hash) };
        // SAFETY: the segment is live under a registered reader; its depth never changes.
        let bits = SUBTABLE_BITS + unsafe { (*segment).depth };
        // SAFETY: as above.
        unsafe { Segment::nodes(segment) }.for_each(&mut visit);
        let past = u64::MAX.checked_shr(bits).unwrap_or(0);
        (hash | past).checked_add(1)
    }
}

impl Retired {
    /// Gives the memory back.
    ///
    /// # Safety
    /// No reader can be standing on it.
    pub(super) unsafe fn free(self, arena: &mut Arena) {
        match self {
            // SAFETY: unreachable, says the caller.
            Self::Segment(segment) => unsafe { Segment::destroy(arena, segment) },
            Self::Directory(directory, depth) => {
                for index in 0..1 << depth {
                    // SAFETY: as above; within the directory.
                    unsafe { (*directory.add(index)).canary.kill() };
                }
                arena.free_directory(depth, directory.cast());
            }
        }
    }
}
