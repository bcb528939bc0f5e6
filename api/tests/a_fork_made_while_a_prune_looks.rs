//! A prune asks who holds a run, reads the log, and then erases: a fork that is made in between keeps its past.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use in_mem::{Database, ForkOptions, Point, RetentionPolicy, RunStatus};
use in_mem_wal::{File, OpenMode, SimDisk, Storage};

type Then = Box<dyn FnOnce() + Send>;

/// The note of an erase: it is written behind everything that was asked.
const NOTE: &str = "ERASING.tmp";

/// A segment: the log is read behind the first look at who holds what.
const SEGMENT: &str = ".wal";

/// A disk on which something happens, once, when a file whose name ends so is about to be opened.
struct BeforeAFile {
    disk: SimDisk,
    ending: &'static str,
    then: Arc<Mutex<Option<Then>>>,
}

impl std::fmt::Debug for BeforeAFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeAFile")
    }
}

impl Storage for BeforeAFile {
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
        if path.to_string_lossy().ends_with(self.ending) {
            let then = self.then.lock().expect("no panic").take();
            if let Some(then) = then {
                then();
            }
        }
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

#[test]
fn keeps_its_past_until_it_is_gone() {
    let then: Arc<Mutex<Option<Then>>> = Arc::default();
    let disk = SimDisk::new(1);
    let storage = Arc::new(BeforeAFile { disk: disk.clone(), ending: NOTE, then: then.clone() });
    let open = || {
        let builder = Database::builder().path("/db").shards(1).storage(storage.clone());
        builder.background(false).open().expect("opens")
    };
    let db = open();
    let parent = db.begin_run("parent").expect("begins");
    parent.kv().put("k", "of the parent").expect("puts");
    parent.end(RunStatus::Completed).expect("ends");
    let made = Arc::new(Mutex::new(None));
    *then.lock().expect("no panic") = Some({
        let (db, made, parent) = (db.clone(), made.clone(), parent.id());
        Box::new(move || {
            let fork = db.fork(parent, Point::Now, ForkOptions::default()).expect("forks");
            *made.lock().expect("no panic") = Some(fork.id());
        })
    });
    let all = RetentionPolicy { keep_newest: Some(0), ..RetentionPolicy::default() };
    db.prune(&all, false).expect("prunes");
    let fork = made.lock().expect("no panic").expect("was made");
    assert!(db.run(parent.id()).is_err(), "is gone");
    let check = |db: &Database| {
        assert!(db.run(fork).expect("is there").kv().exists("k").expect("reads"));
        assert!(db.replay(fork).expect("its past is whole").kv().exists("k"));
    };
    check(&db);
    drop(parent);
    db.close().expect("closes");
    let db = open();
    check(&db);
    // It goes with the first prune behind the fork.
    db.run(fork).expect("is there").delete().expect("deletes");
    let report = db.prune(&all, false).expect("prunes");
    assert_eq!(report.released.len(), 1);
    let holds = |path: &std::path::PathBuf| {
        let bytes = disk.contents(path).expect("is there");
        bytes.windows(13).any(|window| window == b"of the parent")
    };
    assert_eq!(disk.files().into_iter().filter(holds).collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
}

/// A parent that is gone, whose past its fork holds, and a fork of that fork that is made while the fork is pruned: it goes on from
/// both, and both go with it.
#[test]
fn keeps_the_past_of_those_that_were_gone_before() {
    for (history_only, ending) in [(false, NOTE), (true, SEGMENT)] {
        let then: Arc<Mutex<Option<Then>>> = Arc::default();
        let disk = SimDisk::new(1);
        let storage = Arc::new(BeforeAFile { disk: disk.clone(), ending, then: then.clone() });
        let builder = Database::builder().path("/db").shards(1).storage(storage);
        let db = builder.background(false).open().expect("opens");
        let parent = db.begin_run("parent").expect("begins");
        parent.kv().put("k", "of the parent").expect("puts");
        let fork = db.fork(parent.id(), Point::Now, ForkOptions::default()).expect("forks");
        parent.end(RunStatus::Completed).expect("ends");
        fork.end(RunStatus::Completed).expect("ends");
        let keep = |newest| RetentionPolicy { keep_newest: Some(newest), ..RetentionPolicy::default() };
        db.prune(&keep(1), false).expect("prunes");
        assert!(db.run(parent.id()).is_err() && db.run(fork.id()).is_ok(), "the parent goes, its past stays");
        let made = Arc::new(Mutex::new(None));
        *then.lock().expect("no panic") = Some({
            let (db, made, fork) = (db.clone(), made.clone(), fork.id());
            Box::new(move || {
                let later = db.fork(fork, Point::Now, ForkOptions::default()).expect("forks");
                *made.lock().expect("no panic") = Some(later.id());
            })
        });
        db.prune(&RetentionPolicy { history_only, ..keep(0) }, false).expect("prunes");
        let later = db.run(made.lock().expect("no panic").expect("was made")).expect("is there");
        assert!(db.replay(later.id()).expect("its past is whole").kv().exists("k"), "{history_only}");
        later.delete().expect("deletes");
        let released = db.prune(&keep(0), false).expect("prunes").released;
        assert!(released.contains(&parent.id()), "history only: {history_only}: {released:?}");
        let holds = |path: &std::path::PathBuf| {
            let bytes = disk.contents(path).expect("is there");
            bytes.windows(13).any(|window| window == b"of the parent")
        };
        assert_eq!(disk.files().into_iter().find(holds), None, "history only: {history_only}");
    }
}
