//! A disk on which something happens between two looks at a directory.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use in_mem_wal::{File, OpenMode, SimDisk, Storage};

type Then = Box<dyn FnOnce(&SimDisk) + Send>;

/// A disk on which something happens once, after directories were listed so many times.
pub(crate) struct Meanwhile {
    disk: SimDisk,
    /// Listings that are left until then.
    left: AtomicUsize,
    then: Mutex<Option<Then>>,
}

impl Meanwhile {
    pub(crate) fn new(disk: SimDisk, then: impl FnOnce(&SimDisk) + Send + 'static) -> Arc<Self> {
        Self::after(disk, 1, then)
    }

    pub(crate) fn after(
        disk: SimDisk,
        listings: usize,
        then: impl FnOnce(&SimDisk) + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { disk, left: AtomicUsize::new(listings), then: Mutex::new(Some(Box::new(then))) })
    }
}

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl Storage for Meanwhile {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = self.disk.read_dir(path);
        // Relaxed: tests list from one thread.
        let is_due = self.left.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_due && let Some(then) = self.then.lock().expect("no panic").take() {
            then(&self.disk);
        }
        names
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.disk.open(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
}
