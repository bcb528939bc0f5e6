//! A checkpoint that panics in the background is said to have failed, and the next one is written all the same.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use in_mem::Database;
use in_mem_wal::{File, OpenMode, SimDisk, Storage};

/// A disk that panics where the first checkpoint is begun.
#[derive(Debug)]
struct Panics(SimDisk, AtomicBool);

impl Storage for Panics {
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
        let is_checkpoint = path.extension().is_some_and(|end| end == "part");
        assert!(!is_checkpoint || self.1.swap(true, Ordering::Relaxed), "the first checkpoint");
        self.0.open(path, mode)
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

#[test]
fn is_not_the_last_one() {
    let db = Database::builder()
        .path("/db")
        .shards(1)
        .storage(Arc::new(Panics(SimDisk::new(1), AtomicBool::new(false))))
        .checkpoint_interval(Some(Duration::from_millis(1)))
        .open()
        .expect("opens");
    let run = db.begin_run("written to").expect("begins");
    let shard = || db.stats().expect("there").shards.remove(0);
    let mut said = None;
    while shard().checkpoint.is_none() {
        run.kv().put("k", 1).expect("goes on");
        said = said.or(shard().checkpoint_error);
    }
    assert!(said.is_none_or(|said| said.contains("panicked")));
    while shard().checkpoint_error.is_some() {
        run.kv().put("k", 2).expect("goes on");
    }
    db.close().expect("closes");
}
