//! A disk on which something happens between two steps of the engine.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use in_mem_wal::{File, OpenMode, SimDisk, Storage};

type IsIt = Box<dyn Fn(&Path, OpenMode) -> bool + Send>;
type Then = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A disk on which something happens once, when a certain file is about to be opened.
#[derive(Clone)]
pub(crate) struct BeforeOpening {
    pub(crate) disk: SimDisk,
    then: Arc<Mutex<Option<(IsIt, Then)>>>,
}

impl BeforeOpening {
    pub(crate) fn new() -> Self {
        Self { disk: SimDisk::new(1), then: Arc::default() }
    }

    /// Before the next opening of which `is_it` says so, does this. Where it fails, so does the opening.
    pub(crate) fn once(
        &self,
        is_it: impl Fn(&Path, OpenMode) -> bool + Send + 'static,
        then: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) {
        *self.then.lock().expect("no panic") = Some((Box::new(is_it), Box::new(then)));
    }

    /// Whether nothing waits to be done.
    pub(crate) fn has_happened(&self) -> bool {
        self.then.lock().expect("no panic").is_none()
    }
}

impl fmt::Debug for BeforeOpening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BeforeOpening")
    }
}

impl Storage for BeforeOpening {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.read_dir(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        // Taken out first: what it does may open files.
        let then = self.then.lock().expect("no panic").take_if(|(is_it, _)| is_it(path, mode));
        if let Some((_, then)) = then {
            then()?;
        }
        self.disk.open(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
}
