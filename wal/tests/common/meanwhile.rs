//! A disk on which something happens between two looks at a directory, or at a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use in_mem_wal::{File, OpenMode, SimDisk, Storage};

type Then = Box<dyn FnOnce(&SimDisk) + Send>;

/// A disk on which something happens once, before or after a directory was listed.
pub(crate) struct Meanwhile {
    disk: SimDisk,
    /// Before so many more listings, counted from 0.
    then: Mutex<(u32, Option<Then>)>,
    is_after: bool,
    /// Instead: when this file was opened.
    opened: Option<PathBuf>,
}

impl Meanwhile {
    /// After the first listing.
    pub(crate) fn new(disk: SimDisk, then: impl FnOnce(&SimDisk) + Send + 'static) -> Arc<Self> {
        Self::after(1, disk, then)
    }

    /// After the `nth` listing, from 1.
    pub(crate) fn after(nth: u32, disk: SimDisk, then: impl FnOnce(&SimDisk) + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            disk,
            then: Mutex::new((nth - 1, Some(Box::new(then)))),
            is_after: true,
            opened: None,
        })
    }

    /// Before the `nth` listing, from 1.
    pub(crate) fn before(nth: u32, disk: SimDisk, then: impl FnOnce(&SimDisk) + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            disk,
            then: Mutex::new((nth - 1, Some(Box::new(then)))),
            is_after: false,
            opened: None,
        })
    }

    /// As soon as this file was opened.
    pub(crate) fn opened(
        file: PathBuf,
        disk: SimDisk,
        then: impl FnOnce(&SimDisk) + Send + 'static,
    ) -> Arc<Self> {
        let then = Mutex::new((0, Some(Box::new(then) as Then)));
        Arc::new(Self { disk, then, is_after: true, opened: Some(file) })
    }

    /// Whether it has happened.
    pub(crate) fn has_happened(&self) -> bool {
        self.then.lock().expect("no panic").1.is_none()
    }

    fn happen(&self) {
        let mut then = self.then.lock().expect("no panic");
        let now = if then.0 == 0 { then.1.take() } else { None };
        then.0 = then.0.saturating_sub(1);
        drop(then);
        if let Some(now) = now {
            now(&self.disk);
        }
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
        if !self.is_after && self.opened.is_none() {
            self.happen();
        }
        let names = self.disk.read_dir(path);
        if self.is_after && self.opened.is_none() {
            self.happen();
        }
        names
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, mode);
        if self.opened.as_deref() == Some(path) {
            self.happen();
        }
        file
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
