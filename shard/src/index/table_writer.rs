//! How the writer changes the table: filling slots, splitting, merging and replacing segments, growing directories.

use std::ptr;

use super::arena::Arena;
use super::hash::Hasher;
use super::key::KeyRef;
use super::limits::{GROUP_SLOTS, MAX_DIRECTORY_BITS, SEGMENT_GROUPS_LOG2, SUBTABLE_BITS};
use super::node::{Entry, Node};
use super::table::{
    Found, KEPT_DIRECTORY_BITS, Retired, SUBTABLES, Segment, Table, create_directory, deleted,
    directory_bytes, directory_index, fingerprint, kept_bits, kept_hash, segment_bytes, subtable_index,
    tagged, untagged,
};
use crate::sync::Ordering;

/// The writer's side of the table.
pub(super) struct TableWriter {
    /// Most entries that one put has moved.
    pub(super) max_entries_moved: usize,
    /// Bytes of segments and directories in use.
    pub(super) bytes: usize,
    pub(super) retired: Vec<Retired>,
    scratch: Vec<(u64, *mut Node, *mut Entry)>,
}

impl TableWriter {
    pub(super) fn new() -> Self {
        let bytes = SUBTABLES * (segment_bytes(0) + directory_bytes(0));
        Self { max_entries_moved: 0, bytes, retired: Vec::new(), scratch: Vec::new() }
    }

    /// Makes `node` the newest version of a key that is in the table.
    #[inline]
    pub(super) fn update(&mut self, found: &Found, hash: u64, node: *mut Node) {
        // Only the writer retires segments, and it has not since it found this one. Release pairs with the Acquire of
        // readers: they see the node as it was written.
        let order = if cfg!(inmem_mutant = "relaxed_slot") { Ordering::Relaxed } else { Ordering::Release };
        // SAFETY: the slot is live.
        unsafe { (*found.slot).store(tagged(node, fingerprint(hash)), order) };
    }

    /// Adds a key that is not in the table.
    pub(super) fn insert(
        &mut self,
        table: &Table,
        arena: &mut Arena,
        hasher: &Hasher,
        hash: u64,
        node: *mut Node,
    ) {
        // SAFETY: the caller is the writer.
        let (mut segment, _) = unsafe { table.segment(hash) };
        let mut moved = 0;
        // SAFETY: live, as are the ones that take its place.
        while unsafe { Self::is_full(segment) } {
            // SAFETY: as above.
            moved += unsafe { self.make_room(table, arena, hasher, hash, segment) };
            // SAFETY: the caller is the writer.
            segment = unsafe { table.segment(hash) }.0;
        }
        self.max_entries_moved = self.max_entries_moved.max(moved);
        // SAFETY: live and not full; the node is the writer's.
        unsafe { Self::place(segment, hash, node, (*node).read(|body| body.entry)) };
    }

    /// Takes a key out of the table.
    pub(super) fn remove(
        &mut self,
        table: &Table,
        arena: &mut Arena,
        hasher: &Hasher,
        hash: u64,
        found: &Found,
    ) {
        // SAFETY: live: only the writer retires segments, and it has not since it found this one. Relaxed loads: only the
        // writer stores. Release stores are not needed for a word that points nowhere, but cost nothing.
        unsafe {
            let group = &(*found.group).slots;
            let has_empty = group.iter().any(|slot| slot.load(Ordering::Relaxed).is_null());
            let mut counts = (*found.segment).counts.get();
            counts.live -= 1;
            if has_empty {
                counts.filled -= 1;
            }
            let word = if has_empty { ptr::null_mut() } else { deleted() };
            (*found.slot).store(word, Ordering::Release);
            (*found.segment).counts.set(counts);
            self.shrink(table, arena, hasher, hash, found.segment);
        }
    }

    /// Slots that may be filled: seven eighths. Past that, searches get long.
    fn most_filled(groups_log2: u32) -> usize {
        ((GROUP_SLOTS << groups_log2) * 7 / 8).max(1)
    }

    /// # Safety
    /// The caller is the writer, and the segments are live, as is what their slots point at.
    unsafe fn is_full(segment: *mut Segment) -> bool {
        // SAFETY: live, says the caller.
        unsafe { (*segment).counts.get().filled as usize >= Self::most_filled((*segment).groups_log2) }
    }

    /// Puts a node into the first free slot of its search. The segment has one.
    unsafe fn place(segment: *mut Segment, hash: u64, node: *mut Node, entry_of: *mut Entry) {
        // SAFETY: live, says the caller; the index stays within the groups.
        unsafe {
            let mask = (1_usize << (*segment).groups_log2) - 1;
            let mut index = hash as usize & mask;
            loop {
                let group = &*Segment::groups(segment).add(index);
                for (slot, entry) in group.slots.iter().zip(&group.entries) {
                    let word = slot.load(Ordering::Relaxed);
                    if word.is_null() || word == deleted() {
                        let mut counts = (*segment).counts.get();
                        counts.live += 1;
                        counts.filled += u32::from(word.is_null());
                        (*segment).counts.set(counts);
                        // Relaxed: to readers a hint, see `Group`.
                        entry.store(tagged(entry_of, kept_bits(hash)), Ordering::Relaxed);
                        // Release pairs with the Acquire of readers.
                        slot.store(tagged(node, fingerprint(hash)), Ordering::Release);
                        return;
                    }
                }
                index = (index + 1) & mask;
            }
        }
    }

    /// Copies a full segment into a larger one, a clean one, or two halves. Returns how many entries moved.
    ///
    /// # Safety
    /// The caller is the writer, and the segments are live, as is what their slots point at.
    unsafe fn make_room(
        &mut self,
        table: &Table,
        arena: &mut Arena,
        hasher: &Hasher,
        hash: u64,
        segment: *mut Segment,
    ) -> usize {
        // SAFETY: live, says the caller.
        let (depth, groups_log2, live) =
            unsafe { ((*segment).depth, (*segment).groups_log2, (*segment).counts.get().live as usize) };
        if live <= Self::most_filled(groups_log2) / 2 {
            // Half of what fills it is deleted marks.
            // SAFETY: passed on.
            unsafe { self.rebuild(table, arena, hasher, hash, &[segment], (depth, groups_log2)) }
        } else if groups_log2 < SEGMENT_GROUPS_LOG2 || depth >= MAX_DIRECTORY_BITS {
            // SAFETY: passed on.
            unsafe { self.rebuild(table, arena, hasher, hash, &[segment], (depth, groups_log2 + 1)) }
        } else {
            // SAFETY: passed on.
            unsafe { self.split(table, arena, hasher, hash, segment) }
        }
    }

    /// Reads what is to be moved into segments of this depth and size, with what of its hashes is needed there. `hash` is of
    /// the sub-table.
    ///
    /// # Safety
    /// The caller is the writer, and the segments are live, as is what their slots point at.
    unsafe fn gather(
        &mut self,
        hasher: &Hasher,
        sources: &[*mut Segment],
        hash: u64,
        (depth, groups_log2): (u32, u32),
    ) {
        self.scratch.clear();
        if depth <= KEPT_DIRECTORY_BITS && groups_log2 <= SEGMENT_GROUPS_LOG2 && cfg!(not(inmem_loom)) {
            for &source in sources {
                // SAFETY: live, says the caller; the groups follow the header. Relaxed: only the writer stores.
                let groups = unsafe {
                    std::slice::from_raw_parts(Segment::groups(source), 1 << (*source).groups_log2)
                };
                for (slot, entry) in groups.iter().flat_map(|group| group.slots.iter().zip(&group.entries)) {
                    let (node, print) = untagged(slot.load(Ordering::Relaxed));
                    if print != 0 {
                        let (entry, kept) = untagged(entry.load(Ordering::Relaxed));
                        self.scratch.push((kept_hash(hash, print, kept), node, entry));
                    }
                }
            }
            return;
        }
        // Two passes, so that the cache misses of the first overlap.
        for &source in sources {
            // SAFETY: live, says the caller; so are its nodes and their entries.
            unsafe {
                self.scratch.extend(Segment::nodes(source).map(|node| (0, node, ptr::null_mut())));
            }
        }
        for (hash, node, entry) in &mut self.scratch {
            // SAFETY: as above.
            unsafe {
                *entry = (**node).read(|body| body.entry);
                let KeyRef { run, tag, user } = Entry::key(*entry);
                *hash = hasher.key(hasher.run(&run), tag, user);
            }
        }
    }

    /// Replaces the segments around `hash` by one of a depth and size.
    ///
    /// # Safety
    /// The caller is the writer, and the segments are live, as is what their slots point at.
    unsafe fn rebuild(
        &mut self,
        table: &Table,
        arena: &mut Arena,
        hasher: &Hasher,
        hash: u64,
        sources: &[*mut Segment],
        (depth, groups_log2): (u32, u32),
    ) -> usize {
        // SAFETY: passed on.
        unsafe { self.gather(hasher, sources, hash, (depth, groups_log2)) };
        let target = self.create_segment(arena, depth, groups_log2);
        for &(hash, node, entry) in &self.scratch {
            // SAFETY: fresh, and large enough for all.
            unsafe { Self::place(target, hash, node, entry) };
        }
        self.point_at(table, hash, target);
        for &source in sources {
            self.retire_segment(source);
        }
        self.scratch.len()
    }

    /// Replaces a segment by two, by the next bit of the hash.
    ///
    /// # Safety
    /// The caller is the writer, and the segments are live, as is what their slots point at.
    unsafe fn split(
        &mut self,
        table: &Table,
        arena: &mut Arena,
        hasher: &Hasher,
        hash: u64,
        segment: *mut Segment,
    ) -> usize {
        // SAFETY: live, says the caller.
        let (depth, groups_log2) = unsafe { ((*segment).depth, (*segment).groups_log2) };
        // SAFETY: passed on.
        unsafe { self.gather(hasher, &[segment], hash, (depth + 1, groups_log2)) };
        let halves = [0, 1].map(|_| self.create_segment(arena, depth + 1, groups_log2));
        let bit = 63 - SUBTABLE_BITS - depth;
        for &(hash, node, entry) in &self.scratch {
            // SAFETY: fresh, and as large as what they share.
            unsafe { Self::place(halves[(hash >> bit & 1) as usize], hash, node, entry) };
        }
        let (_, directory_depth) = untagged(table.directories[subtable_index(hash)].load(Ordering::Relaxed));
        if u32::from(directory_depth) == depth {
            self.resize_directory(table, arena, hash, depth + 1);
        }
        for (value, half) in (0..).zip(halves) {
            self.point_at(table, hash & !(1 << bit) | value << bit, half);
        }
        self.retire_segment(segment);
        self.scratch.len()
    }

    /// After a removal: merges two sparse halves, or gives a sparse lone segment fewer slots.
    ///
    /// # Safety
    /// The caller is the writer, and the segments are live, as is what their slots point at.
    unsafe fn shrink(
        &mut self,
        table: &Table,
        arena: &mut Arena,
        hasher: &Hasher,
        hash: u64,
        segment: *mut Segment,
    ) {
        // SAFETY: live, says the caller.
        let (depth, groups_log2, live) =
            unsafe { ((*segment).depth, (*segment).groups_log2, (*segment).counts.get().live as usize) };
        let slots = GROUP_SLOTS << groups_log2;
        if live >= (slots / 4).max(1) {
            return;
        }
        let moved = if depth == 0 {
            if groups_log2 == 0 || live >= slots / 8 {
                return;
            }
            // SAFETY: passed on.
            unsafe { self.rebuild(table, arena, hasher, hash, &[segment], (depth, groups_log2 - 1)) }
        } else {
            let sibling_hash = hash ^ 1 << (64 - SUBTABLE_BITS - depth);
            // SAFETY: the caller is the writer.
            let (sibling, _) = unsafe { table.segment(sibling_hash) };
            // SAFETY: live.
            let (sibling_depth, sibling_live) =
                unsafe { ((*sibling).depth, (*sibling).counts.get().live as usize) };
            // Well below what would split it again, so that a key that comes and goes moves nothing.
            if sibling_depth != depth || live + sibling_live > slots / 2 {
                return;
            }
            // SAFETY: passed on; both halves are live.
            let moved = unsafe {
                self.rebuild(
                    table,
                    arena,
                    hasher,
                    hash,
                    &[segment, sibling],
                    (depth - 1, SEGMENT_GROUPS_LOG2),
                )
            };
            self.shrink_directory(table, arena, hash);
            moved
        };
        self.max_entries_moved = self.max_entries_moved.max(moved);
    }

    /// Points every place that belongs to the segment at it.
    fn point_at(&mut self, table: &Table, hash: u64, segment: *mut Segment) {
        let (directory, directory_depth) =
            untagged(table.directories[subtable_index(hash)].load(Ordering::Relaxed));
        // SAFETY: just made by the caller, and so live.
        let (depth, groups_log2) = unsafe { ((*segment).depth, (*segment).groups_log2) };
        let places = 1_usize << (u32::from(directory_depth) - depth);
        let first = directory_index(hash, depth) * places;
        for index in first..first + places {
            // SAFETY: within the directory. Release pairs with the Acquire in `Table::segment`: readers see the segment
            // filled.
            unsafe {
                let word = tagged(segment, groups_log2 as u16);
                let order = if cfg!(inmem_mutant = "relaxed_segment") {
                    Ordering::Relaxed
                } else {
                    Ordering::Release
                };
                (*directory.add(index)).segment.store(word, order);
            }
        }
    }

    /// Doubles or halves a sub-table's directory.
    fn resize_directory(&mut self, table: &Table, arena: &mut Arena, hash: u64, depth: u32) {
        let cell = &table.directories[subtable_index(hash)];
        let (old, old_depth) = untagged(cell.load(Ordering::Relaxed));
        let old_depth = u32::from(old_depth);
        let new = create_directory(arena, depth, |index| {
            let from =
                if depth > old_depth { index >> (depth - old_depth) } else { index << (old_depth - depth) };
            // SAFETY: within the old directory.
            unsafe { (*old.add(from)).segment.load(Ordering::Relaxed) }
        });
        self.bytes += directory_bytes(depth);
        // Release pairs with the Acquire in `Table::segment`: readers see the directory filled.
        cell.store(tagged(new, depth as u16), Ordering::Release);
        self.bytes -= directory_bytes(old_depth);
        self.retired.push(Retired::Directory(old, old_depth));
    }

    /// Halves the directory while no segment needs its last bit.
    fn shrink_directory(&mut self, table: &Table, arena: &mut Arena, hash: u64) {
        let (directory, depth) = untagged(table.directories[subtable_index(hash)].load(Ordering::Relaxed));
        let depth = u32::from(depth);
        // SAFETY: within the directory; the segments are live.
        let needed = (0..1 << depth).any(|index| unsafe {
            let (segment, _) = untagged((*directory.add(index)).segment.load(Ordering::Relaxed));
            (*segment).depth == depth
        });
        if depth > 0 && !needed {
            self.resize_directory(table, arena, hash, depth - 1);
        }
    }

    fn create_segment(&mut self, arena: &mut Arena, depth: u32, groups_log2: u32) -> *mut Segment {
        self.bytes += segment_bytes(groups_log2);
        Segment::create(arena, depth, groups_log2)
    }

    fn retire_segment(&mut self, segment: *mut Segment) {
        // SAFETY: still allocated; the writer reads what never changes.
        self.bytes -= segment_bytes(unsafe { (*segment).groups_log2 });
        self.retired.push(Retired::Segment(segment));
    }
}
