//! Entries and the versions that hang from them: the memory readers walk.
//!
//! ```text
//! slot -> Node (newest) -> prev -> .. older
//!           | entry
//!           v
//!         Entry { head, run, tag, key bytes }
//! ```
//! A table slot points at the newest version, not at the entry: a get then waits for three dependent cache misses (slot,
//! node, the value's counter) and the entry's, needed to compare the key, overlaps with the others. The entry repeats
//! the head for the writer, which reaches it from the order.

use std::cell::Cell;

use super::key::KeyRef;
use crate::sync::{AtomicPtr, Ordering, UnsafeCell};
use in_mem_model::{RunId, Tag, Timestamp, Value, Version, VersionedValue};

/// One version of one key: a cache line.
#[repr(C, align(64))]
pub(super) struct Node {
    /// The next older version that anyone can still see. While the node is free: the next free node.
    pub(super) prev: AtomicPtr<Node>,
    body: UnsafeCell<Body>,
}

/// What a version says. Written while no reader can reach the node, read-only while one can.
#[repr(C)]
pub(super) struct Body {
    pub(super) version: u64,
    pub(super) timestamp: i64,
    /// [`NEVER`], or a time, which may lie before 1970.
    pub(super) expires_at: i64,
    pub(super) entry: *mut Entry,
    /// `None`: the key was deleted.
    pub(super) value: Option<Value>,
}

#[cfg(not(inmem_loom))]
const _: () = assert!(size_of::<Node>() == 64, "a version is one cache line");

impl Node {
    pub(super) fn vacant() -> Self {
        Self {
            prev: AtomicPtr::new(std::ptr::null_mut()),
            body: UnsafeCell::new(Body {
                version: 0,
                timestamp: 0,
                expires_at: NEVER,
                entry: std::ptr::null_mut(),
                value: None,
            }),
        }
    }

    /// Looks at the body.
    ///
    /// # Safety
    /// The node is linked, or was when the caller registered, and so is not written.
    #[inline(always)]
    pub(super) unsafe fn read<R>(&self, f: impl FnOnce(&Body) -> R) -> R {
        // SAFETY: nobody writes, says the caller.
        self.body.with(|body| f(unsafe { &*body }))
    }

    /// Changes the body.
    ///
    /// # Safety
    /// The caller is the writer, and no reader can reach the node.
    #[inline(always)]
    pub(super) unsafe fn write<R>(&self, f: impl FnOnce(&mut Body) -> R) -> R {
        // SAFETY: nobody else reads or writes, says the caller.
        self.body.with_mut(|body| f(unsafe { &mut *body }))
    }
}

/// The time of a version that does not expire.
pub(super) const NEVER: i64 = i64::MAX;

impl Body {
    /// When it expires.
    #[inline]
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        (self.expires_at != NEVER).then_some(Timestamp(self.expires_at))
    }

    /// The body as it is handed out; `None` for a deletion.
    #[inline]
    pub(super) fn to_versioned(&self) -> Option<VersionedValue> {
        Some(VersionedValue {
            value: self.value.clone()?,
            version: Version(self.version),
            timestamp: Timestamp(self.timestamp),
            expires_at: self.expires_at(),
        })
    }
}

/// Begins to fetch what a clone or a drop of the value will touch first: the counter in front of its contents. The miss
/// then overlaps with the work in between; a read-modify-write of a counter overlaps with nothing.
#[inline(always)]
pub(super) fn prefetch(value: Option<&Value>) {
    if let Some((counter, _)) = memory(value) {
        prefetch_line(counter);
    }
}

/// As [`prefetch`], for a value that is given back: with what follows the counter, into which the allocator's next owner will
/// write.
#[inline(always)]
pub(super) fn prefetch_to_free(value: Option<&Value>) {
    if let Some((counter, bytes)) = memory(value) {
        prefetch_line(counter);
        if bytes > LINE_BYTES {
            prefetch_line(counter.wrapping_add(LINE_BYTES));
        }
    }
}

/// Where the value's shared memory begins, and how much it is, the two counters in front included.
#[inline(always)]
fn memory(value: Option<&Value>) -> Option<(*const u8, usize)> {
    /// Strong and weak count come before the contents.
    const COUNTERS_BYTES: usize = 16;
    let (contents, bytes): (*const u8, usize) = match value? {
        Value::String(text) => (text.as_ptr(), text.len()),
        Value::Bytes(bytes) => (bytes.as_ptr(), bytes.len()),
        Value::Array(items) => (items.as_ptr().cast(), size_of_val(&**items)),
        _ => return None,
    };
    Some((contents.wrapping_sub(COUNTERS_BYTES), COUNTERS_BYTES + bytes))
}

/// Bytes of a cache line, as far as anything here is tuned to it.
const LINE_BYTES: usize = 64;

/// Begins to fetch a cache line.
#[inline(always)]
pub(super) fn prefetch_line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch is a hint; it does not access memory and cannot fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// One key. The user's bytes follow the tag in the same allocation.
#[repr(C)]
pub(super) struct Entry {
    /// The newest version; only the writer reads or writes it. While the entry is free: the next free entry.
    pub(super) head: AtomicPtr<Node>,
    pub(super) canary: Canary,
    run: RunId,
    /// Bytes of the newest value as it is encoded, 0 for a deletion: what an overwrite takes off the run's count without
    /// waiting for the version. Only the writer's.
    pub(super) value_bytes: Cell<u32>,
    length: u16,
    tag: Tag,
}

/// Where the user's bytes begin in an entry.
const USER_OFFSET: usize = std::mem::offset_of!(Entry, tag) + 1;

impl Entry {
    /// Begins to fetch an entry whose user key has `length` bytes, of which a comparison needs all: entries follow each other
    /// closely, and many lie on two cache lines.
    #[inline(always)]
    pub(super) fn prefetch(entry: *const Self, length: usize) {
        let start: *const u8 = entry.cast();
        prefetch_line(start);
        prefetch_line(start.wrapping_add(USER_OFFSET - 1 + length.min(LINE_BYTES)));
    }

    /// Bytes of an entry whose user key has `length` bytes.
    pub(super) const fn bytes_for(length: usize) -> usize {
        let needed = USER_OFFSET + length;
        let least = size_of::<Entry>();
        let bytes = if needed > least { needed } else { least };
        bytes.next_multiple_of(8)
    }

    /// Makes an entry in fresh memory.
    ///
    /// # Safety
    /// `memory` has [`Entry::bytes_for`] the key's length, is aligned to 8 and not shared.
    pub(super) unsafe fn write(memory: *mut Self, key: &KeyRef<'_>, head: *mut Node, value_bytes: u32) {
        // SAFETY: the memory is large enough and ours; the header is written first, because its padding overlaps the
        // first of the user's bytes.
        unsafe {
            memory.write(Self {
                head: AtomicPtr::new(head),
                canary: Canary::new(),
                run: key.run,
                value_bytes: Cell::new(value_bytes),
                length: u16::try_from(key.user.len()).expect("user keys are shorter than 64 KiB"),
                tag: key.tag,
            });
            let user = memory.cast::<u8>().add(USER_OFFSET);
            user.copy_from_nonoverlapping(key.user.as_ptr(), key.user.len());
        }
    }

    /// The entry's key.
    ///
    /// # Safety
    /// `entry` is live for `'a`: linked, or reachable by a registered reader.
    #[inline(always)]
    pub(super) unsafe fn key<'a>(entry: *const Self) -> KeyRef<'a> {
        // SAFETY: the entry is live, its key was written before it was linked and never changes.
        unsafe {
            (*entry).canary.check();
            let user =
                std::slice::from_raw_parts(entry.cast::<u8>().add(USER_OFFSET), usize::from((*entry).length));
            KeyRef { run: (*entry).run, tag: (*entry).tag, user }
        }
    }

    /// The newest version.
    ///
    /// # Safety
    /// The caller is the writer and the entry is linked.
    #[inline(always)]
    pub(super) unsafe fn head(entry: *const Self) -> *mut Node {
        // SAFETY: the entry is live. Relaxed: only the writer stores it.
        unsafe { (*entry).head.load(Ordering::Relaxed) }
    }
}

/// Under loom, a tracked cell that the writer writes when it frees the memory around it: a reader that comes too late
/// is a race that the model reports. Otherwise nothing.
pub(super) struct Canary {
    #[cfg(inmem_loom)]
    cell: UnsafeCell<()>,
}

impl Canary {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            #[cfg(inmem_loom)]
            cell: UnsafeCell::new(()),
        }
    }

    /// A reader was here.
    #[inline(always)]
    pub(super) fn check(&self) {
        #[cfg(inmem_loom)]
        self.cell.with(|_| ());
    }

    /// The memory is free from here on.
    #[inline(always)]
    pub(super) fn kill(&self) {
        #[cfg(inmem_loom)]
        self.cell.with_mut(|_| ());
    }
}
