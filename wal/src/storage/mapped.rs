//! The mapped segment: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

use super::Mapped;

/// A shared, writable mapping of the start of a file. Syncs and hints go through `&self` from any thread; stores only
/// through the one [`MappedFile`].
#[derive(Debug)]
pub(super) struct Region {
    map: MmapRaw,
}

impl Region {
    pub(super) fn new(file: &fs::File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // Mapping past the end of a file is a bus error at the first store there, so it is refused here.
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than the mapping"));
        }
        Ok(Region { map: MmapOptions::new().len(len).map_raw(file)? })
    }

    fn range(&self, offset: u64, bytes: u64) -> Option<(usize, usize)> {
        let start = usize::try_from(offset).ok().filter(|o| *o < self.map.len())?;
        Some((start, bytes.min((self.map.len() - start) as u64) as usize))
    }

    /// Makes a range of the file durable: on Linux the same as `fdatasync`, with only the range's pages written. `None`
    /// if the range is not inside the mapping.
    pub(super) fn sync(&self, offset: u64, bytes: u64) -> Option<io::Result<()>> {
        let (start, len) = self.range(offset, bytes).filter(|(_, len)| *len as u64 == bytes)?;
        Some(self.map.flush_range(start, len))
    }

    /// A kernel that does not know the advice (before 5.14) takes the faults at the stores: slower, not wrong.
    pub(super) fn prefault(&self, offset: u64, bytes: u64) {
        #[cfg(target_os = "linux")]
        if let Some((start, len)) = self.range(offset, bytes) {
            let _ = self.map.advise_range(memmap2::Advice::PopulateWrite, start, len);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, bytes);
    }
}

/// The one handle that stores into a [`Region`].
#[derive(Debug)]
pub(super) struct MappedFile {
    region: Arc<Region>,
}

impl MappedFile {
    pub(super) fn new(region: Arc<Region>) -> Self {
        MappedFile { region }
    }
}

impl Mapped for MappedFile {
    fn store(&mut self, offset: u64, bytes: &[u8]) {
        let map = &self.region.map;
        let end = offset.checked_add(bytes.len() as u64);
        assert!(end.is_some_and(|end| end <= map.len() as u64), "store outside the mapping");
        // SAFETY: the range was checked to lie inside the mapping, which lives as long as the region that `self`
        // holds. `&mut self` is the only handle that stores into it, and no reference into the mapping is ever made:
        // syncs and hints on other threads only pass its addresses to the system. `bytes` is ordinary memory that
        // cannot overlap it. The file is not shortened while mapped: segments keep their length.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.as_mut_ptr().add(offset as usize), bytes.len());
        }
    }
}
