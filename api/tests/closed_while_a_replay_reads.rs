//! A replay writes indexes of the log. It writes none once the database is closed: another process may erase from the log by then.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use in_mem::{Database, Error, RunId};
use in_mem_wal::SimDisk;

#[path = "common/before_opening.rs"]
mod before_opening;

use before_opening::BeforeOpening;

const RUN: RunId = RunId::from_bytes([1; 16]);

fn indexes(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|path| path.extension().is_some_and(|end| end == "idx")).count()
}

/// A database with some archived segments that have no index yet.
fn archived(storage: &BeforeOpening) -> Database {
    let small = Database::builder().path("/db").shards(1).segment_bytes(8 << 10).background(false);
    let db = small.storage(Arc::new(storage.clone())).open().expect("opens");
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
    let storage = BeforeOpening::new();
    let db = archived(&storage);
    let closing: Arc<Mutex<Option<JoinHandle<bool>>>> = Arc::default();
    let (closes, begun) = (db.clone(), closing.clone());
    let is_index_made = |path: &Path, _| path.to_string_lossy().ends_with(".idx.tmp");
    storage.once(is_index_made, move || {
        let closer = std::thread::spawn(move || closes.close().is_ok());
        // Time enough for a close that waits for nobody.
        for _ in 0..100_000 {
            assert!(!closer.is_finished(), "closed while an index is being written");
            std::thread::yield_now();
        }
        *begun.lock().expect("no panic") = Some(closer);
        Ok(())
    });
    let _ = db.replay(RUN);
    assert!(storage.has_happened());
    let closer = closing.lock().expect("no panic").take().expect("an index was written");
    assert!(closer.join().expect("no panic"));
}

#[test]
fn behind_a_close_there_is_none() {
    let storage = BeforeOpening::new();
    let db = archived(&storage);
    let run = db.run(RUN).expect("there");
    db.close().expect("closes");
    for replayed in [db.replay(RUN).map(|_| ()), run.verify().map(|_| ())] {
        assert!(matches!(replayed, Err(Error::Closed)), "{replayed:?}");
    }
    assert_eq!(indexes(&storage.disk), 0);
}
