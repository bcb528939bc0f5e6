//! What another thread does while a log is being synced or a prune looks, done by the one thread that there is: so that it is repeated.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;

use in_mem_wal::storage::Mapped;
use in_mem_wal::{File, OpenMode, SimDisk, Storage};

type Deed = Box<dyn FnOnce()>;

/// Before what something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// A segment is synced.
    Sync,
    /// A file is opened.
    Open(Opening),
}

/// The opening of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Whose name ends so.
    pub(crate) end: &'static str,
    /// For this: one that is written is not one that a crash left and that is only measured.
    pub(crate) mode: OpenMode,
}

thread_local! {
    static DEED: RefCell<Option<(Moment, Deed)>> = const { RefCell::new(None) };
}

/// This thread's next sync of a segment does this first.
pub(crate) fn at_next_sync(deed: impl FnOnce() + 'static) {
    DEED.with(|next| *next.borrow_mut() = Some((Moment::Sync, Box::new(deed))));
}

/// The next such opening by this thread happens behind this.
pub(crate) fn at_next_opening(opening: Opening, deed: impl FnOnce() + 'static) {
    DEED.with(|next| *next.borrow_mut() = Some((Moment::Open(opening), Box::new(deed))));
}

/// Nothing is to be done any more.
pub(crate) fn forget() {
    DEED.with(|next| *next.borrow_mut() = None);
}

fn happen(now: impl Fn(Moment) -> bool) {
    // Taken out first: what it does may sync.
    let deed = DEED.with(|next| next.borrow_mut().take_if(|(moment, _)| now(*moment)));
    if let Some((_, deed)) = deed {
        deed();
    }
}

/// A simulated disk on which something happens during a sync, or before a file is opened.
#[derive(Debug)]
pub(crate) struct Meanwhile(pub(crate) SimDisk);

#[derive(Debug)]
struct Watched {
    file: Arc<dyn File>,
    is_segment: bool,
}

impl Storage for Meanwhile {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.read_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let is_it = |of: Opening| mode == of.mode && path.to_string_lossy().ends_with(of.end);
        happen(|moment| matches!(moment, Moment::Open(of) if is_it(of)));
        // Also under the temporary name that a segment is made by.
        let is_segment = path.to_string_lossy().contains(".wal");
        Ok(Arc::new(Watched { file: self.0.open(path, mode)?, is_segment }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
}

impl File for Watched {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.sync_range(0, u64::MAX)
    }
    fn sync_range(&self, offset: u64, bytes: u64) -> io::Result<()> {
        if self.is_segment {
            happen(|moment| moment == Moment::Sync);
        }
        self.file.sync_range(offset, bytes)
    }
    fn map(&self, len: u64) -> io::Result<Box<dyn Mapped>> {
        self.file.map(len)
    }
}
