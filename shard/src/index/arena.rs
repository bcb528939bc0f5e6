//! Where nodes, entries and the table's parts come from: slabs carved up front, and free lists that only the writer touches.
//!
//! A slab is never given back before the index is dropped, so a pointer into one always points at memory of the same
//! kind. That is what lets a hint look at directories without a registration, see [`Table`](super::table::Table). Overwriting keys in a steady state allocates nothing.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::HashSet;
use std::ptr;

use super::key::KeyRef;
use super::limits::{MAX_DIRECTORY_BITS, SEGMENT_GROUPS_LOG2};
use super::node::{Entry, Node};
use super::slab::Slabs;
use crate::sync::Ordering;

/// Entries up to this many bytes come from slabs, in classes of eight bytes; larger ones are allocated one by one.
const SLAB_ENTRY_BYTES: usize = 512;

/// Sizes of segments that are reused: all up to the full size.
const SEGMENT_CLASSES: usize = SEGMENT_GROUPS_LOG2 as usize + 1;

/// The writer's memory.
pub(super) struct Arena {
    node_slabs: Slabs,
    entry_slabs: Slabs,
    segment_slabs: Slabs,
    directory_slabs: Slabs,
    free_nodes: *mut Node,
    free_entries: [*mut Entry; SLAB_ENTRY_BYTES / 8 + 1],
    /// Entries too large for a slab, to be found again when the index is dropped.
    large_entries: HashSet<*mut Entry>,
    /// Under loom freed memory is kept as it is until the end, so that a late reader meets its killed canary.
    #[cfg(inmem_loom)]
    dead: Vec<*mut Node>,
    large_bytes: usize,
    /// Free segments by the power of two of their groups.
    free_segments: [Vec<*mut u8>; SEGMENT_CLASSES],
    /// Free directories by their depth.
    free_directories: [Vec<*mut u8>; MAX_DIRECTORY_BITS as usize + 1],
    pub(super) live_nodes: usize,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            node_slabs: Slabs::default(),
            entry_slabs: Slabs::default(),
            segment_slabs: Slabs::default(),
            directory_slabs: Slabs::default(),
            free_nodes: ptr::null_mut(),
            free_entries: [ptr::null_mut(); SLAB_ENTRY_BYTES / 8 + 1],
            large_entries: HashSet::new(),
            #[cfg(inmem_loom)]
            dead: Vec::new(),
            large_bytes: 0,
            free_segments: Default::default(),
            free_directories: Default::default(),
            live_nodes: 0,
        }
    }

    /// A node that nobody else knows of.
    #[inline]
    pub(super) fn allocate_node(&mut self) -> *mut Node {
        self.live_nodes += 1;
        let node = self.free_nodes;
        if node.is_null() {
            return self.carve_node();
        }
        // SAFETY: nodes on the free list are ours alone. Relaxed: nobody else reads the link.
        self.free_nodes = unsafe { (*node).prev.load(Ordering::Relaxed) };
        node
    }

    #[cold]
    fn carve_node(&mut self) -> *mut Node {
        let node = self.node_slabs.carve(size_of::<Node>()).cast::<Node>();
        // SAFETY: fresh memory of the right size; slabs are aligned to 64 and nodes are multiples of it.
        unsafe { node.write(Node::vacant()) };
        node
    }

    /// Drops the node's value and takes the node back.
    ///
    /// # Safety
    /// The node came from this arena, is linked nowhere, and no reader can be standing on it.
    #[inline]
    pub(super) unsafe fn free_node(&mut self, node: *mut Node) {
        self.live_nodes -= 1;
        // SAFETY: the node is ours alone again.
        unsafe { (*node).write(|body| body.value = None) };
        #[cfg(inmem_loom)]
        self.dead.push(node);
        #[cfg(not(inmem_loom))]
        {
            // SAFETY: as above. Relaxed: nobody else reads the link.
            unsafe { (*node).prev.store(self.free_nodes, Ordering::Relaxed) };
            self.free_nodes = node;
        }
    }

    /// An entry for `key` whose newest version is `head`.
    pub(super) fn allocate_entry(
        &mut self,
        key: &KeyRef<'_>,
        head: *mut Node,
        value_bytes: u32,
    ) -> *mut Entry {
        let bytes = Entry::bytes_for(key.user.len());
        let entry = if bytes > SLAB_ENTRY_BYTES {
            let layout = large_entry_layout(bytes);
            // SAFETY: the layout's size is not zero.
            let memory = unsafe { alloc(layout) };
            if memory.is_null() {
                handle_alloc_error(layout);
            }
            self.large_bytes += bytes;
            self.large_entries.insert(memory.cast());
            memory.cast::<Entry>()
        } else {
            let free = &mut self.free_entries[bytes / 8];
            let entry = *free;
            if entry.is_null() {
                self.entry_slabs.carve(bytes).cast::<Entry>()
            } else {
                // SAFETY: entries on the free list are ours alone; the link is kept where the head was.
                *free = unsafe { Entry::head(entry) }.cast::<Entry>();
                entry
            }
        };
        // SAFETY: the memory fits the key, is aligned to 8 and ours alone.
        unsafe { Entry::write(entry, key, head, value_bytes) };
        entry
    }

    /// Takes an entry back.
    ///
    /// # Safety
    /// As for [`Arena::free_node`].
    pub(super) unsafe fn free_entry(&mut self, entry: *mut Entry) {
        // SAFETY: the entry is ours alone again, and still as it was written.
        let bytes = unsafe { Entry::bytes_for(Entry::key(entry).user.len()) };
        // SAFETY: as above.
        unsafe { (*entry).canary.kill() };
        if cfg!(inmem_loom) {
            return;
        }
        if bytes > SLAB_ENTRY_BYTES {
            self.large_bytes -= bytes;
            self.large_entries.remove(&entry);
            // SAFETY: allocated with this layout in `allocate_entry`.
            unsafe { dealloc(entry.cast(), large_entry_layout(bytes)) };
        } else {
            let free = &mut self.free_entries[bytes / 8];
            // SAFETY: ours alone. Relaxed: nobody else reads the link.
            unsafe { (*entry).head.store((*free).cast(), Ordering::Relaxed) };
            *free = entry;
        }
    }

    /// Memory for a segment of `bytes`, aligned to a cache line.
    pub(super) fn allocate_segment(&mut self, groups_log2: u32, bytes: usize) -> *mut u8 {
        let free = self.free_segments.get_mut(groups_log2 as usize).and_then(Vec::pop);
        free.unwrap_or_else(|| self.segment_slabs.carve(bytes))
    }

    /// Takes a segment's memory back.
    pub(super) fn free_segment(&mut self, groups_log2: u32, memory: *mut u8) {
        // Segments past the classes exist only where keys were made to collide; they stay until the end.
        if cfg!(not(inmem_loom))
            && let Some(free) = self.free_segments.get_mut(groups_log2 as usize)
        {
            free.push(memory);
        }
    }

    /// Memory for a directory of `bytes`, and whether it was one of this depth before: then a hint may yet look at it.
    pub(super) fn allocate_directory(&mut self, depth: u32, bytes: usize) -> (*mut u8, bool) {
        match self.free_directories[depth as usize].pop() {
            Some(memory) => (memory, true),
            None => (self.directory_slabs.carve(bytes), false),
        }
    }

    /// Takes a directory's memory back. It is used for directories of the same depth and for nothing else.
    pub(super) fn free_directory(&mut self, depth: u32, memory: *mut u8) {
        if cfg!(not(inmem_loom)) {
            self.free_directories[depth as usize].push(memory);
        }
    }

    /// Bytes of slabs and of entries too large for them.
    pub(super) fn bytes(&self) -> usize {
        let slabs = [&self.node_slabs, &self.entry_slabs, &self.segment_slabs, &self.directory_slabs];
        slabs.map(Slabs::bytes).iter().sum::<usize>() + self.large_bytes
    }
}

fn large_entry_layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("user keys are far smaller than the address space")
}

impl Drop for Arena {
    fn drop(&mut self) {
        for &entry in &self.large_entries {
            // SAFETY: allocated with this layout in `allocate_entry`; nobody is left to use it.
            unsafe {
                let bytes = Entry::bytes_for(Entry::key(entry).user.len());
                dealloc(entry.cast(), large_entry_layout(bytes));
            }
        }
        for node in self.node_slabs.carved(size_of::<Node>()) {
            // SAFETY: every piece carved was initialised as a node; nobody is left to use it. Entries and segments need no
            // drop.
            unsafe { ptr::drop_in_place(node.cast::<Node>()) };
        }
    }
}
