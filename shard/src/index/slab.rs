//! Slabs: large pieces of memory, carved into small ones of one kind.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use memmap2::MmapMut;

use super::limits::SLAB_BYTES;

/// A growing list of slabs. Memory comes zeroed or not, aligned to 64 for pieces that are multiples of it, and is given
/// back when the list is dropped.
#[derive(Default)]
pub(super) struct Slabs {
    slabs: Vec<Slab>,
}

struct Slab {
    memory: *mut u8,
    size: usize,
    used: usize,
    source: Source,
}

enum Source {
    Heap(Layout),
    /// Mapped, so that the system can be asked for huge pages: a random access to a million keys otherwise pays for a walk
    /// of the page tables with each miss. The mapping is twice the slab, of which the aligned half is used; the rest is
    /// never touched and takes no memory.
    Mapped(#[expect(dead_code, reason = "unmaps when dropped")] MmapMut),
}

impl Slab {
    fn new(size: usize) -> Self {
        if size == SLAB_BYTES.1
            && let Some(slab) = Self::map(size)
        {
            return slab;
        }
        let layout = Layout::from_size_align(size, 64).expect("slab sizes are small powers of two");
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        Self { memory, size, used: 0, source: Source::Heap(layout) }
    }

    /// A slab on huge pages, where the system has them to give.
    fn map(size: usize) -> Option<Self> {
        if cfg!(inmem_loom) {
            return None;
        }
        let mut mapping = MmapMut::map_anon(2 * size).ok()?;
        let padding = mapping.as_ptr().align_offset(size);
        let memory = mapping.as_mut_ptr().wrapping_add(padding);
        // Advice only: without it the slab is slower, not wrong.
        #[cfg(target_os = "linux")]
        let _ = mapping.advise_range(memmap2::Advice::HugePage, padding, size);
        Some(Self { memory, size, used: 0, source: Source::Mapped(mapping) })
    }

    /// The next `bytes`, if they fit.
    fn carve(&mut self, bytes: usize) -> Option<*mut u8> {
        if self.used + bytes > self.size {
            return None;
        }
        // SAFETY: within the slab.
        let memory = unsafe { self.memory.add(self.used) };
        self.used += bytes;
        Some(memory)
    }
}

impl Slabs {
    /// A fresh piece.
    pub(super) fn carve(&mut self, bytes: usize) -> *mut u8 {
        if let Some(memory) = self.slabs.last_mut().and_then(|slab| slab.carve(bytes)) {
            return memory;
        }
        let doubled = self.slabs.last().map_or(SLAB_BYTES.0, |last| last.size * 2);
        let size = doubled.clamp(bytes.next_power_of_two(), SLAB_BYTES.1.max(bytes.next_power_of_two()));
        self.slabs.push(Slab::new(size));
        self.slabs.last_mut().and_then(|slab| slab.carve(bytes)).expect("a fresh slab holds the piece")
    }

    /// All pieces carved so far, if all were of `bytes`.
    pub(super) fn carved(&self, bytes: usize) -> impl Iterator<Item = *mut u8> {
        self.slabs.iter().flat_map(move |slab| {
            let memory = slab.memory;
            (0..slab.used / bytes).map(move |index| memory.wrapping_add(index * bytes))
        })
    }

    /// Bytes of all slabs.
    pub(super) fn bytes(&self) -> usize {
        self.slabs.iter().map(|slab| slab.size).sum()
    }
}

impl Drop for Slabs {
    fn drop(&mut self) {
        for slab in &self.slabs {
            if let Source::Heap(layout) = slab.source {
                // SAFETY: allocated with this layout in `Slab::new`.
                unsafe { dealloc(slab.memory, layout) };
            }
        }
    }
}
