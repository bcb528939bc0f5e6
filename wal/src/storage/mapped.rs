//! The mapped segment: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::fs;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

use super::Mapped;

/// A shared, writable mapping of the start of a file.
#[derive(Debug)]
pub(super) struct MappedFile {
    map: MmapRaw,
}

impl MappedFile {
    pub(super) fn new(file: &fs::File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // Mapping past the end of a file is a bus error at the first store there, so it is refused here.
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than the mapping"));
        }
        let map = MmapOptions::new().len(len).map_raw(file)?;
        // Page faults are taken here, outside the shard's turn. A kernel that does not know the advice (before
        // 5.14) takes them at the stores instead: slower, not wrong.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::PopulateWrite);
        Ok(Self { map })
    }
}

impl Mapped for MappedFile {
    fn store(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len() as u64);
        assert!(end.is_some_and(|end| end <= self.map.len() as u64), "store outside the mapping");
        // SAFETY: the range was checked to lie inside the mapping, which lives as long as `self`. `&mut self` is the
        // only handle that stores through it, no reference into the mapping is ever made, and `bytes` is ordinary
        // memory that cannot overlap it. The file is not shortened while mapped: segments keep their length.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.map.as_mut_ptr().add(offset as usize),
                bytes.len(),
            );
        }
    }
}
