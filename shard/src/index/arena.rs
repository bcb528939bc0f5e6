//! Where nodes and entries come from: slabs carved up front, and free lists that only the writer touches.
//!
//! A slab is never given back before the index is dropped, so a pointer into one always points at memory of the same
//! kind. Overwriting keys in a steady state allocates nothing.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::HashSet;
use std::ptr;

use super::key::KeyRef;
use super::limits::SLAB_BYTES;
use super::node::{Entry, Node};
use crate::sync::Ordering;

/// Entries up to this many bytes come from slabs, in classes of eight bytes; larger ones are allocated one by one.
const SLAB_ENTRY_BYTES: usize = 512;

/// The writer's memory.
pub(super) struct Arena {
    node_slabs: Vec<Slab>,
    entry_slabs: Vec<Slab>,
    free_nodes: *mut Node,
    free_entries: [*mut Entry; SLAB_ENTRY_BYTES / 8 + 1],
    /// Entries too large for a slab, to be found again when the index is dropped.
    large_entries: HashSet<*mut Entry>,
    /// Under loom freed memory is kept as it is until the end, so that a late reader meets its killed canary.
    #[cfg(inmem_loom)]
    dead: Vec<*mut Node>,
    pub(super) mapped_bytes: usize,
    pub(super) live_nodes: usize,
}

struct Slab {
    memory: *mut u8,
    layout: Layout,
    used: usize,
}

impl Slab {
    fn new(bytes: usize) -> Self {
        // Slabs of the full size are aligned to their size: a huge page each where the system hands those out.
        let alignment = if bytes == SLAB_BYTES.1 { bytes.next_power_of_two() } else { 64 };
        let layout = Layout::from_size_align(bytes, alignment).expect("slab sizes are small powers of two");
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        Self { memory, layout, used: 0 }
    }

    /// The next `bytes`, if they fit.
    fn carve(&mut self, bytes: usize) -> Option<*mut u8> {
        if self.used + bytes > self.layout.size() {
            return None;
        }
        // SAFETY: within the slab.
        let memory = unsafe { self.memory.add(self.used) };
        self.used += bytes;
        Some(memory)
    }
}

fn carve(slabs: &mut Vec<Slab>, bytes: usize, mapped_bytes: &mut usize) -> *mut u8 {
    if let Some(memory) = slabs.last_mut().and_then(|slab| slab.carve(bytes)) {
        return memory;
    }
    let size = slabs.last().map_or(SLAB_BYTES.0, |last| (last.layout.size() * 2).min(SLAB_BYTES.1));
    slabs.push(Slab::new(size));
    *mapped_bytes += size;
    slabs.last_mut().and_then(|slab| slab.carve(bytes)).expect("a fresh slab holds the largest piece")
}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            node_slabs: Vec::new(),
            entry_slabs: Vec::new(),
            free_nodes: ptr::null_mut(),
            free_entries: [ptr::null_mut(); SLAB_ENTRY_BYTES / 8 + 1],
            large_entries: HashSet::new(),
            #[cfg(inmem_loom)]
            dead: Vec::new(),
            mapped_bytes: 0,
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
        let node = carve(&mut self.node_slabs, size_of::<Node>(), &mut self.mapped_bytes).cast::<Node>();
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
    pub(super) fn allocate_entry(&mut self, key: &KeyRef<'_>, head: *mut Node) -> *mut Entry {
        let bytes = Entry::bytes_for(key.user.len());
        let entry = if bytes > SLAB_ENTRY_BYTES {
            let layout = large_entry_layout(bytes);
            // SAFETY: the layout's size is not zero.
            let memory = unsafe { alloc(layout) };
            if memory.is_null() {
                handle_alloc_error(layout);
            }
            self.mapped_bytes += bytes;
            self.large_entries.insert(memory.cast());
            memory.cast::<Entry>()
        } else {
            let free = &mut self.free_entries[bytes / 8];
            let entry = *free;
            if entry.is_null() {
                carve(&mut self.entry_slabs, bytes, &mut self.mapped_bytes).cast::<Entry>()
            } else {
                // SAFETY: entries on the free list are ours alone; the link is kept where the head was.
                *free = unsafe { Entry::head(entry) }.cast::<Entry>();
                entry
            }
        };
        // SAFETY: the memory fits the key, is aligned to 8 and ours alone.
        unsafe { Entry::write(entry, key, head) };
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
            self.mapped_bytes -= bytes;
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
        for slab in &self.node_slabs {
            for at in (0..slab.used).step_by(size_of::<Node>()) {
                // SAFETY: everything below `used` was carved into initialised nodes; nobody is left to use them.
                unsafe { ptr::drop_in_place(slab.memory.add(at).cast::<Node>()) };
            }
        }
        for slab in self.node_slabs.iter().chain(&self.entry_slabs) {
            // SAFETY: allocated with this layout in `Slab::new`; entries need no drop.
            unsafe { dealloc(slab.memory, slab.layout) };
        }
    }
}
