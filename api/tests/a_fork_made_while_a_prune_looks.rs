//! A prune asks who holds a run, reads the log, and then erases: a fork that is made in between keeps its past. And what it notes
//! on the way is not forgotten before it is done.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use in_mem::{Database, Durability, ForkOptions, Point, RetentionPolicy, RunId, RunStatus};
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::{Op, OpKind};

#[path = "common/before_opening.rs"]
mod before_opening;

use before_opening::BeforeOpening;

/// A disk on which something happens, once, when a file whose name ends so is about to be opened.
#[derive(Clone)]
struct Before(BeforeOpening);

/// The note of an erase is about to be written: behind everything that was asked.
const THE_NOTE: &str = "ERASING.tmp";
/// The log is read: behind what is asked first.
const THE_LOG: &str = ".wal";

impl Before {
    fn new() -> Self {
        Self(BeforeOpening::new())
    }

    fn open(&self) -> Database {
        let builder = Database::builder().path("/db").shards(1).storage(Arc::new(self.0.clone()));
        builder.background(false).open().expect("opens")
    }

    fn at(&self, name: &'static str, then: impl FnOnce() -> io::Result<()> + Send + 'static) {
        self.0.once(move |path, _| path.to_string_lossy().ends_with(name), then);
    }

    /// A fork of this run, made before this file is opened.
    fn fork_at(&self, name: &'static str, db: &Database, parent: RunId) -> Arc<Mutex<Option<RunId>>> {
        let made = Arc::new(Mutex::new(None));
        let (db, note) = (db.clone(), made.clone());
        self.at(name, move || {
            let fork = db.fork(parent, Point::Now, ForkOptions::default()).expect("forks");
            *note.lock().expect("no panic") = Some(fork.id());
            Ok(())
        });
        made
    }

    fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let holds = |path: &PathBuf| {
            let bytes = self.0.disk.contents(path).expect("is there");
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        };
        self.0.disk.files().into_iter().filter(holds).collect()
    }
}

fn all() -> RetentionPolicy {
    RetentionPolicy { keep_newest: Some(0), ..RetentionPolicy::default() }
}

#[test]
fn keeps_its_past_until_it_is_gone() {
    let disk = Before::new();
    let db = disk.open();
    let parent = db.begin_run("parent").expect("begins");
    parent.kv().put("k", "of the parent").expect("puts");
    parent.end(RunStatus::Completed).expect("ends");
    let made = disk.fork_at(THE_NOTE, &db, parent.id());
    db.prune(&all(), false).expect("prunes");
    assert!(disk.0.has_happened());
    let fork = made.lock().expect("no panic").expect("was made");
    assert!(db.run(parent.id()).is_err(), "is gone");
    let check = |db: &Database| {
        assert!(db.run(fork).expect("is there").kv().exists("k").expect("reads"));
        assert!(db.replay(fork).expect("its past is whole").kv().exists("k"));
    };
    check(&db);
    drop(parent);
    db.close().expect("closes");
    let db = disk.open();
    check(&db);
    // It goes with the first prune behind the fork.
    db.run(fork).expect("is there").delete().expect("deletes");
    let report = db.prune(&all(), false).expect("prunes");
    assert_eq!(report.released.len(), 1);
    assert_eq!(disk.files_with("of the parent"), Vec::<PathBuf>::new());
}

/// A run that is gone, and an ended fork for which its past is kept.
fn held_for_a_fork(db: &Database) -> RunId {
    let fork = open_fork_of_a_run_that_is_gone(db);
    db.run(fork).and_then(|fork| fork.end(RunStatus::Completed)).expect("ends");
    fork
}

fn open_fork_of_a_run_that_is_gone(db: &Database) -> RunId {
    let gone = db.begin_run("gone").expect("begins");
    gone.kv().put("k", "of the one that is gone").expect("puts");
    let fork = gone.fork(ForkOptions::default()).expect("forks");
    fork.kv().put("own", "of the fork").expect("puts");
    gone.end(RunStatus::Completed).expect("ends");
    db.prune(&all(), false).expect("prunes");
    assert!(db.run(gone.id()).is_err(), "is gone");
    fork.id()
}

/// The prune took it off the list of what is kept, though it had just put it there anew: its past was never erased.
#[test]
fn keeps_what_was_kept_before_no_longer_than_that() {
    let disk = Before::new();
    let db = disk.open();
    let fork = held_for_a_fork(&db);
    let made = disk.fork_at(THE_NOTE, &db, fork);
    db.prune(&all(), false).expect("prunes");
    let again = made.lock().expect("no panic").expect("was made");
    assert!(db.replay(again).expect("its past is whole").kv().exists("k"));
    db.run(again).expect("is there").delete().expect("deletes");
    db.prune(&all(), false).expect("prunes");
    assert_eq!(disk.files_with("of the fork"), Vec::<PathBuf>::new());
    assert_eq!(disk.files_with("of the one that is gone"), Vec::<PathBuf>::new());
}

/// Its parent's past was kept for it, and what that goes on from was not.
#[test]
fn keeps_all_of_its_past_where_only_the_past_goes() {
    let disk = Before::new();
    let db = disk.open();
    let fork = held_for_a_fork(&db);
    let made = disk.fork_at(THE_LOG, &db, fork);
    db.prune(&RetentionPolicy { history_only: true, ..all() }, false).expect("prunes");
    let again = made.lock().expect("no panic").expect("was made");
    assert!(db.replay(again).expect("its past is whole").kv().exists("k"));
    assert!(db.replay(fork).expect("its past is whole").kv().exists("k"));
    // All of it goes with the last that held it.
    db.run(again).expect("is there").delete().expect("deletes");
    db.prune(&all(), false).expect("prunes");
    assert_eq!(disk.files_with("of the fork"), Vec::<PathBuf>::new());
    assert_eq!(disk.files_with("of the one that is gone"), Vec::<PathBuf>::new());
}

/// Found by a scene of the simulator: a run that was begun meanwhile under the id of one whose past is released was deleted as if
/// it were that one.
#[test]
fn a_run_made_under_the_id_of_one_that_was_kept_is_not_taken_for_it() {
    for history_only in [false, true] {
        for moment in [THE_LOG, THE_NOTE] {
            let disk = Before::new();
            let db = disk.open();
            let fork = held_for_a_fork(&db);
            let gone =
                db.run(fork).and_then(|fork| fork.info()).expect("is there").meta.parent.expect("has one");
            let (at_work, made) = (db.clone(), Arc::new(Mutex::new(false)));
            let note = made.clone();
            disk.at(moment, move || {
                let anew = at_work.new_run("anew").id(gone).begin().expect("begins");
                anew.kv().put("k", "anew").expect("puts");
                *note.lock().expect("no panic") = true;
                Ok(())
            });
            let report = db.prune(&RetentionPolicy { history_only, ..all() }, false).expect("prunes");
            assert_eq!(report.released, [gone]);
            assert!(*made.lock().expect("no panic"));
            let check = |db: &Database| {
                let anew = db.run(gone).unwrap_or_else(|error| panic!("{moment}, {history_only}: {error}"));
                assert!(anew.kv().exists("k").expect("reads"));
                assert!(anew.verify().expect("its past is whole").is_same());
            };
            check(&db);
            db.close().expect("closes");
            check(&disk.open());
        }
    }
}

/// As the one before: the run that is to go is deleted meanwhile, and another begun under its id.
#[test]
fn a_run_made_under_the_id_of_one_that_is_to_go_is_not_taken_for_it() {
    for moment in [THE_LOG, THE_NOTE] {
        let disk = Before::new();
        let db = disk.open();
        let run = db.begin_run("to go").expect("begins");
        run.end(RunStatus::Completed).expect("ends");
        let (id, at_work) = (run.id(), db.clone());
        disk.at(moment, move || {
            run.delete().expect("deletes");
            at_work.new_run("anew").id(id).begin().and_then(|anew| anew.kv().put("k", 1)).expect("begins");
            Ok(())
        });
        db.prune(&all(), false).expect("prunes");
        let check = |db: &Database| assert!(db.run(id).expect("is there").kv().exists("k").expect("reads"));
        check(&db);
        db.close().expect("closes");
        check(&disk.open());
    }
}

/// Found by a scene of the simulator: without history there was no log to erase, and the checkpoint that had held the values for the
/// fork stayed.
#[test]
fn what_was_kept_for_a_fork_leaves_the_checkpoint_too() {
    let disk = Before::new();
    let builder = Database::builder().path("/db").shards(1).segment_bytes(8 << 10).keep_history(false);
    let db = builder.storage(Arc::new(disk.0.clone())).background(false).open().expect("opens");
    let fork = db.run(open_fork_of_a_run_that_is_gone(&db)).expect("is there");
    let other = db.begin_run("other").expect("begins");
    for n in 0..40 {
        other.kv().put(format!("k{n}"), "x".repeat(700)).expect("puts");
    }
    db.checkpoint().expect("checkpoints");
    fork.delete().expect("deletes");
    let report = db.prune(&all(), false).expect("prunes");
    assert_eq!((report.released.len(), report.log_bytes), (1, 0));
    assert_eq!(disk.files_with("of the one that is gone"), Vec::<PathBuf>::new());
}

/// A run that is released counted as one that had been deleted: the note of the refused prune stayed, and the next opening carried
/// it out.
#[test]
fn a_prune_that_finds_no_room_is_refused_for_good_where_it_also_releases() {
    let open = |disk: &SimDisk| {
        let builder = Database::builder().path("/db").shards(1).segment_bytes(8 << 10);
        let builder = builder.durability(Durability::Strict).storage(Arc::new(disk.clone()));
        builder.background(false).open().expect("opens")
    };
    let [gone, fork] = [1, 2].map(|byte| RunId::from_bytes([byte; 16]).with_routing(1));
    let mut refused = 0;
    // So that at one length or another the record of the deletion is the first that does not fit.
    for (puts, len) in (0..50).flat_map(|puts| [0, 24, 48].map(|len| (puts, len))) {
        let disk = SimDisk::new(1);
        let db = open(&disk);
        let parent = db.new_run("gone").id(gone).begin().expect("begins");
        parent.kv().put("k", 1).expect("puts");
        let forked = parent.fork(ForkOptions::default().id(fork)).expect("forks");
        parent.end(RunStatus::Completed).expect("ends");
        db.prune(&all(), false).expect("prunes");
        for _ in 0..6 {
            forked.kv().put("long", "x".repeat(900)).expect("puts");
        }
        for _ in 0..puts {
            forked.kv().put("fill", "f".repeat(len)).expect("puts");
        }
        forked.end(RunStatus::Completed).expect("ends");
        // For the note, and not for a segment.
        let used: usize =
            disk.files().iter().filter_map(|path| disk.contents(path)).map(|file| file.len()).sum();
        disk.set_capacity(Some(used as u64 + 100));
        disk.record_ops();
        let pruned = db.prune(&all(), false);
        let is_note = |op: &Op| op.kind == OpKind::Rename && op.path.ends_with("ERASING.tmp");
        if pruned.is_ok() || db.run(fork).is_err() || !disk.recorded_ops().iter().any(is_note) {
            continue;
        }
        refused += 1;
        disk.set_capacity(None);
        let image = disk.kill();
        disk.crash_before(disk.ops());
        let db = open(&image);
        assert!(db.run(fork).is_ok(), "{pruned:?}; then {:?}", db.stats().expect("counts").notes);
    }
    assert!(refused > 0);
}

/// The note of what is to be erased was taken for one that was just refused, and removed.
#[test]
fn an_erase_is_not_forgotten_where_its_end_fails_twice() {
    let disk = Before::new();
    let db = disk.open();
    let run = db.begin_run("erased").expect("begins");
    run.kv().put("k", "what is to go").expect("puts");
    run.end(RunStatus::Completed).expect("ends");
    let refuse = || Err(io::Error::other("refused"));
    let (noted, then) = (disk.clone(), refuse);
    // Behind the note: the first segment that is opened is that which the log goes on in, or that is written anew.
    disk.at(THE_NOTE, move || {
        noted.at(THE_LOG, then);
        Ok(())
    });
    db.prune(&all(), false).expect_err("is refused");
    assert!(db.run(run.id()).is_err(), "is gone");
    drop(run);
    db.close().ok();
    assert!(!disk.files_with("what is to go").is_empty(), "it was cut off");
    disk.at(THE_NOTE, refuse);
    let db = disk.open();
    db.close().expect("closes");
    disk.at("nothing", || Ok(()));
    let db = disk.open();
    assert_eq!(disk.files_with("what is to go"), Vec::<PathBuf>::new());
    db.close().expect("closes");
}

/// Found by the simulator (seed 63): an opening finished a prune whose runs are all held by forks, and took its note away before
/// what it had deleted was durable. It showed them as gone, and a power cut brought them back.
#[test]
fn what_an_opening_deleted_for_a_prune_stays_deleted() {
    let mut shown = 0;
    for cut in 1..60 {
        let disk = Before::new();
        let db = disk.open();
        let parent = db.begin_run("parent").expect("begins");
        parent.kv().put("k", 1).expect("puts");
        parent.end(RunStatus::Completed).expect("ends");
        let made = disk.fork_at(THE_NOTE, &db, parent.id());
        db.sync().expect("syncs");
        disk.0.disk.crash_before(disk.0.disk.ops() + cut);
        let pruned = db.prune(&all(), false);
        let Some(fork) = *made.lock().expect("no panic") else { continue };
        if pruned.is_ok() {
            break;
        }
        let killed = disk.0.disk.kill();
        let open = |disk: &SimDisk| {
            let builder = Database::builder().path("/db").shards(1).storage(Arc::new(disk.clone()));
            builder.background(false).open().expect("opens")
        };
        let db = open(&killed);
        if db.run(parent.id()).is_ok() || db.run(fork).is_err() {
            continue;
        }
        shown += 1;
        for seed in 1..=8 {
            let db = open(&killed.crash(seed));
            assert!(db.run(parent.id()).is_err(), "cut off before operation {cut}, seed {seed}");
        }
    }
    assert!(shown > 0);
}
