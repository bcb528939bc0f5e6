//! A replay writes indexes of the log. It writes none once the database is closed: another process may erase from the log by then.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use in_mem::{Database, Error, RunId};
use in_mem_wal::{File, OpenMode, SimDisk, Storage};

const RUN: RunId = RunId::from_bytes([1; 16]);

type Then = Box<dyn FnOnce() + Send>;

/// A disk on which something happens once, when an index is about to be written.
struct WhenIndexed {
    disk: SimDisk,
    then: Mutex<Option<Then>>,
}

impl std::fmt::Debug for WhenIndexed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WhenIndexed")
    }
}

impl Storage for WhenIndexed {
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
        let then = if path.to_string_lossy().ends_with(".idx.tmp") {
            self.then.lock().expect("no panic").take()
        } else {
            None
        };
        if let Some(then) = then {
            then();
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

fn indexes(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|path| path.extension().is_some_and(|end| end == "idx")).count()
}

/// A database with some archived segments that have no index yet.
fn archived(storage: &Arc<WhenIndexed>) -> Database {
    let small = Database::builder().path("/db").shards(1).segment_bytes(8 << 10).background(false);
    let db = small.storage(storage.clone()).open().expect("opens");
    let run = db.new_run("r").id(RUN).begin().expect("begins");
    for i in 0..20 {
        run.kv().put(format!("{i}"), "x".repeat(1_000)).expect("puts");
    }
    db.checkpoint().expect("written");
    assert_eq!(indexes(&storage.disk), 0);
    db
}

#[test]
fn a_close_waits_for_it() {
    let storage = Arc::new(WhenIndexed { disk: SimDisk::new(1), then: Mutex::default() });
    let db = archived(&storage);
    let closing: Arc<Mutex<Option<JoinHandle<bool>>>> = Arc::default();
    let (closes, begun) = (db.clone(), closing.clone());
    *storage.then.lock().expect("no panic") = Some(Box::new(move || {
        let closer = std::thread::spawn(move || closes.close().is_ok());
        // Time enough for a close that waits for nobody.
        for _ in 0..100_000 {
            assert!(!closer.is_finished(), "closed while an index is being written");
            std::thread::yield_now();
        }
        *begun.lock().expect("no panic") = Some(closer);
    }));
    let _ = db.replay(RUN);
    let closer = closing.lock().expect("no panic").take().expect("an index was written");
    assert!(closer.join().expect("no panic"));
}

#[test]
fn behind_a_close_there_is_none() {
    let storage = Arc::new(WhenIndexed { disk: SimDisk::new(1), then: Mutex::default() });
    let db = archived(&storage);
    let run = db.run(RUN).expect("there");
    db.close().expect("closes");
    for replayed in [db.replay(RUN).map(|_| ()), run.verify().map(|_| ())] {
        assert!(matches!(replayed, Err(Error::Closed)), "{replayed:?}");
    }
    assert_eq!(indexes(&storage.disk), 0);
}
