//! The one seam through which disk, simulated disk and injected faults come.
//!
//! Everything below the log goes through [`Storage`] and [`File`]: the real disk ([`DiskStorage`]) and a simulated
//! one with a crash model ([`SimDisk`]). Nothing here knows what a record is.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::failpoint::{Failpoint, hit};

mod disk;
mod mapped;
pub mod sim;

pub use disk::DiskStorage;
pub use sim::SimDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; reading only.
    Read,
    /// It must exist; reading and writing.
    ReadWrite,
    /// It is made empty, whether it existed or not.
    Truncate,
}

/// A file system, as far as the log needs one.
///
/// Durability: [`File::sync_data`] makes a file's bytes and length durable, and [`Storage::sync_dir`] the names in a
/// directory. Neither implies the other.
pub trait Storage: Send + Sync + Debug {
    /// Makes the directory and its parents, durably.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory (files and directories), sorted.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, replacing what had that name, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; [`io::ErrorKind::Unsupported`] where there is no such thing.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync + Debug {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Sets the length; what is new reads as zeroes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes all bytes written or stored so far, and the length, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the bytes of this range durable, others only if the system likes. Of a mapped file this leaves the pages
    /// outside the range ready for stores, where a sync of the whole file would make each of them fault again.
    fn sync_range(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let _ = (offset, bytes);
        self.sync_data()
    }
    /// Makes the pages of a mapped range ready for stores without a fault. A hint: it may do nothing.
    fn prefault(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }
    /// Whether some of its bytes have no room on the disk yet, such as zeroes that a copy left out.
    fn has_holes(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// Maps the first `len` bytes for writing. They must have been written before (not only `set_len`): see
    /// [`Mapped::store`].
    fn map(&self, len: u64) -> io::Result<Box<dyn Mapped>>;
}

/// A mapped region of a file.
pub trait Mapped: Send + Debug {
    /// Copies `bytes` to `offset` of the region; visible to readers of the file, also after this process dies, and
    /// durable after the next [`File::sync_data`].
    ///
    /// Cannot fail: the region's blocks were allocated and written when the segment was prepared, so that no store
    /// needs room on the disk. A bus error would need the file to be cut short by someone else while it is
    /// locked, a failing device that can no longer read back a page dropped from memory, or a file system that
    /// moves blocks on overwrite and is full; see `docs/wal-format.md`.
    ///
    /// # Panics
    /// If the range is outside the region: that is a bug of the caller.
    fn store(&mut self, offset: u64, bytes: &[u8]);
}

/// Reads exactly `buf.len()` bytes or fails with `UnexpectedEof`.
pub(crate) fn read_exact_at(file: &dyn File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let n = file.read_at(offset, buf)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += n as u64;
        buf = &mut buf[n..];
    }
    Ok(())
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_all(file: &dyn File, limit: u64) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    if len > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{len} bytes is over the limit of {limit}"),
        ));
    }
    let mut buf = vec![0; len as usize];
    read_exact_at(file, 0, &mut buf)?;
    Ok(buf)
}

/// Writes a small file so that a crash leaves either the old or the new one: temporary file, sync, rename, sync of
/// the directory.
pub(crate) fn write_atomically(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_added_extension("tmp");
    let file = storage.open(&tmp, OpenMode::Truncate)?;
    file.write_at(0, bytes)?;
    hit(Failpoint::ReplaceWritten);
    if !crate::planted::is_planted("wal_file_without_sync") {
        file.sync_data()?;
    }
    hit(Failpoint::ReplaceSynced);
    drop(file);
    storage.rename(&tmp, path)?;
    hit(Failpoint::ReplaceRenamed);
    if crate::planted::is_planted("wal_rename_without_dir_sync") {
        return Ok(());
    }
    storage.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    hit(Failpoint::Replaced);
    Ok(())
}
