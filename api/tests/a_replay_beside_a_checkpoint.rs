//! Without `keep_history` a checkpoint lets go of log that a replay may be about to read: the replay says that it was let go, as
//! one that begins behind the checkpoint does, and not that a file is missing.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use in_mem::{Database, Error, HistoryError, Run, Version, WriteError};
use in_mem_wal::{File, OpenMode, SimDisk, Storage};

type Deed = Box<dyn FnOnce() + Send>;

/// A disk on which something happens before the next index of a segment is looked for.
#[derive(Clone)]
struct Meanwhile(SimDisk, Arc<Mutex<Option<Deed>>>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
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
        if mode == OpenMode::Read && path.extension().is_some_and(|end| end == "idx") {
            // Taken out first: what it does opens files.
            let deed = self.1.lock().expect("no panic").take();
            if let Some(deed) = deed {
                deed();
            }
        }
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

/// A run whose log fills some segments, and what lets go of them while the next replay reads.
fn run_and_disk() -> (Database, Run, Meanwhile) {
    let disk = Meanwhile(SimDisk::new(1), Arc::default());
    let db = Database::builder()
        .path("/db")
        .shards(1)
        .segment_bytes(8 << 10)
        .keep_history(false)
        .storage(Arc::new(disk.clone()))
        .background(false)
        .open()
        .expect("opens");
    let run = db.begin_run("read").expect("begins");
    for n in 0..60 {
        run.kv().put("k", vec![n; 500]).expect("puts");
    }
    assert_eq!(run.commits().expect("all there").len(), 61);
    let (of, last) = (db.clone(), run.clone());
    *disk.1.lock().expect("no panic") = Some(Box::new(move || {
        assert!(of.checkpoint().expect("writes")[0].is_some_and(|written| written.segments_released > 2));
        last.kv().put("k", "behind the checkpoint").expect("puts");
    }));
    (db, run, disk)
}

fn has_happened(disk: &Meanwhile) -> bool {
    disk.1.lock().expect("no panic").is_none()
}

#[test]
fn what_is_let_go_while_it_is_read_is_said_to_be_let_go() {
    let (_db, run, disk) = run_and_disk();
    let refused = run.verify().expect_err("its beginning is gone");
    assert!(has_happened(&disk));
    assert!(
        matches!(refused, Error::History(HistoryError::Cut { .. } | HistoryError::LetGo { .. })),
        "{refused}"
    );
    let (_db, run, disk) = run_and_disk();
    let commits = run.commits().expect("what is left is a list of commits");
    assert!(has_happened(&disk));
    let versions: Vec<Version> = commits.iter().map(|commit| commit.version).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]) && versions.len() < 61, "{versions:?}");
}

#[test]
fn a_watch_from_what_is_let_go_meanwhile_is_told_that_it_lags() {
    let (_db, run, disk) = run_and_disk();
    let begun = run.info().expect("there").meta.first_version;
    let refused = run.kv().watch_from("", begun, 8).expect_err("the changes are gone");
    assert!(has_happened(&disk));
    assert!(matches!(refused, Error::Write(WriteError::Lagged { .. })), "{refused}");
}
