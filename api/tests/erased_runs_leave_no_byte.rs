//! After a prune no file of the database holds a byte of what was pruned, but for what a fork holds, which the report names.

use std::io::{self, ErrorKind};
use std::path::Path;

use in_mem::{
    Database, Durability, Error, ForkOptions, HistoryError, Point, PruneReport, RetentionPolicy, RunStatus,
};

const MARKER: &str = "marker-value-3f9c";

/// The files below a directory that hold the bytes.
fn files_with(dir: &Path, bytes: &[u8]) -> Vec<String> {
    loop {
        match search(dir, bytes) {
            Ok(found) => return found,
            // Renamed or removed by the database's own threads since it was listed: it may be elsewhere now.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("reads: {error}"),
        }
    }
}

fn search(dir: &Path, bytes: &[u8]) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(search(&path, bytes)?);
        } else if std::fs::read(&path)?.windows(bytes.len()).any(|window| window == bytes) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

fn all_that_ended(history_only: bool) -> RetentionPolicy {
    RetentionPolicy { keep_newest: Some(0), history_only, ..RetentionPolicy::default() }
}

struct Settings {
    durability: Durability,
    keep_history: bool,
    reshard: bool,
}

impl Settings {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for durability in [Durability::Strict, Durability::buffered()] {
            for keep_history in [true, false] {
                for reshard in [true, false] {
                    all.push(Self { durability, keep_history, reshard });
                }
            }
        }
        all
    }

    fn open(&self, dir: &Path, shards: usize) -> Database {
        let builder = Database::builder().path(dir).durability(self.durability).shards(shards);
        builder.segment_bytes(64 << 10).keep_history(self.keep_history).open().expect("opens")
    }
}

/// A run full of markers, in a commit of its own, one larger than a segment, and one together with its child; and the child.
fn fill(db: &Database) -> (in_mem::RunId, in_mem::RunId) {
    let run = db.begin_run("marked").expect("begins");
    let child = run.child("child").expect("a child").begin().expect("begins");
    run.kv().put(format!("key-{MARKER}"), 1).expect("puts");
    run.kv().put("large", format!("{MARKER}{}", "x".repeat(200_000))).expect("puts");
    run.kv().put("gone", MARKER).expect("puts");
    run.kv().delete("gone").expect("deletes");
    run.events().append("e", MARKER).expect("appends");
    child
        .transaction(|tx| {
            tx.kv().put("mine", "stays")?;
            tx.kv_of(&run).put("theirs", MARKER)
        })
        .expect("commits");
    child.kv().put("after", 1).expect("puts");
    (run.id(), child.id())
}

#[test]
fn whole_runs() {
    for settings in Settings::all() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut db = settings.open(dir.path(), 2);
        let (run, child) = fill(&db);
        db.checkpoint().expect("checkpoints");
        db.run(run).expect("there").kv().put("more", MARKER).expect("puts");
        if settings.reshard {
            db.close().expect("closes");
            db = settings.open(dir.path(), 3);
            db.run(run).expect("there").kv().put("again", MARKER).expect("puts");
        }
        db.run(run).expect("there").end(RunStatus::Completed).expect("ends");
        let before = db.run(child).expect("there").kv().list("").expect("lists");
        assert!(!files_with(dir.path(), MARKER.as_bytes()).is_empty());
        let dry: PruneReport = db.prune(&all_that_ended(false), true).expect("says");
        let done = db.prune(&all_that_ended(false), false).expect("prunes");
        assert_eq!(dry.log_bytes, done.log_bytes);
        assert!(done.log_bytes > 0);
        if settings.keep_history {
            // And what the record of the deletion itself had in it.
            assert_eq!(done.log_bytes + 8, done.log_bytes_erased);
        }
        assert_eq!(files_with(dir.path(), MARKER.as_bytes()), [""; 0]);
        assert!(!dir.path().join("ERASING").exists());
        for round in 0..2 {
            assert!(db.run(run).is_err());
            assert!(matches!(db.replay(run), Err(Error::History(HistoryError::NoHistory { .. }))));
            let child = db.run(child).expect("there");
            assert_eq!(child.kv().list("").expect("lists"), before);
            if settings.keep_history {
                let verified = child.verify().expect("verifies");
                assert!(verified.is_same(), "{verified}");
            }
            drop(child);
            if round == 0 {
                db.close().expect("closes");
                db = settings.open(dir.path(), if settings.reshard { 3 } else { 2 });
            }
        }
    }
}

#[test]
fn history_only() {
    for settings in Settings::all() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut db = settings.open(dir.path(), 2);
        let run = db.begin_run("kept").expect("begins");
        run.kv().put("k", format!("old {MARKER}")).expect("puts");
        run.kv().put("k", "new").expect("puts");
        run.end(RunStatus::Completed).expect("ends");
        let id = run.id();
        drop(run);
        if settings.reshard {
            db.close().expect("closes");
            db = settings.open(dir.path(), 3);
        }
        db.prune(&all_that_ended(true), false).expect("prunes");
        assert_eq!(files_with(dir.path(), MARKER.as_bytes()), [""; 0]);
        let refused = db.replay(id);
        // Where no log is kept, it was let go before there was anything to erase.
        match refused {
            Err(Error::History(HistoryError::Erased { .. })) => assert!(settings.keep_history),
            Err(Error::History(HistoryError::LetGo { .. })) => assert!(!settings.keep_history),
            other => panic!("{other:?}"),
        }
        db.close().expect("closes");
        db = settings.open(dir.path(), 2);
        let run = db.run(id).expect("there");
        assert_eq!(run.kv().get("k").expect("reads"), Some("new".into()));
        // What is known of the run is written again: that is not its beginning.
        run.end(RunStatus::Archived).expect("archives");
        let refused = run.at(Point::Now);
        match refused {
            Err(Error::History(HistoryError::Erased { .. })) => assert!(settings.keep_history),
            Err(Error::History(HistoryError::Cut { .. })) => assert!(!settings.keep_history),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_fork_keeps_what_it_shares_and_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path()).expect("opens");
    let run = db.begin_run("parent").expect("begins");
    run.kv().put("k", MARKER).expect("puts");
    let fork = run.fork(ForkOptions::default()).expect("forks");
    run.end(RunStatus::Completed).expect("ends");
    let report = db.prune(&all_that_ended(false), false).expect("prunes");
    assert_eq!(report.runs[0].forks, [fork.id()]);
    assert_eq!(report.log_bytes, 0);
    assert!(db.run(run.id()).is_err());
    assert_eq!(fork.kv().get("k").expect("reads"), Some(MARKER.into()));
    assert!(fork.verify().expect("verifies").is_same());
    // Both at once: nothing holds anything.
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path()).expect("opens");
    let run = db.begin_run("parent").expect("begins");
    run.kv().put("k", MARKER).expect("puts");
    let fork = run.fork(ForkOptions::default()).expect("forks");
    run.end(RunStatus::Completed).expect("ends");
    fork.end(RunStatus::Completed).expect("ends");
    let report = db.prune(&all_that_ended(false), false).expect("prunes");
    assert!(report.runs.iter().all(|run| run.forks.is_empty()));
    assert_eq!(files_with(dir.path(), MARKER.as_bytes()), [""; 0]);
}

/// A replay keeps a run's commits beside the index of each segment in which they lie far apart.
#[test]
fn what_replays_keep_beside_the_log_goes_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { durability: Durability::buffered(), keep_history: true, reshard: false };
    let db = settings.open(dir.path(), 1);
    let (run, other) = (db.begin_run("marked").expect("begins"), db.begin_run("other").expect("begins"));
    for n in 0..200 {
        run.kv().put(format!("key-{n}"), MARKER).expect("puts");
        for m in 0..10 {
            other.kv().put(format!("key-{m}"), "x".repeat(500)).expect("puts");
        }
    }
    // In segments of the log's own, and in the archive.
    db.replay(run.id()).expect("replays");
    db.checkpoint().expect("checkpoints");
    for n in 0..200 {
        run.kv().put(format!("again-{n}"), MARKER).expect("puts");
        other.kv().put("key-0", "x".repeat(5_000)).expect("puts");
    }
    db.replay(run.id()).expect("replays");
    let kept = files_with(dir.path(), MARKER.as_bytes());
    assert!(kept.iter().filter(|file| file.ends_with(".idx")).count() > 20, "{kept:?}");
    run.end(RunStatus::Completed).expect("ends");
    db.prune(&all_that_ended(false), false).expect("prunes");
    assert_eq!(files_with(dir.path(), MARKER.as_bytes()), [""; 0]);
    assert!(other.verify().expect("verifies").is_same());
    assert_eq!(files_with(dir.path(), MARKER.as_bytes()), [""; 0]);
}

/// Found by the simulator (seed 70010492): a checkpoint that a kill had cut off, and behind it another number of shards. Nobody looked
/// into what was kept of the former one.
#[test]
fn a_checkpoint_that_was_cut_off_before_another_number_of_shards_leaves_nothing() {
    let settings = Settings { durability: Durability::Strict, keep_history: true, reshard: true };
    let dir = tempfile::tempdir().expect("a directory");
    let db = settings.open(dir.path(), 2);
    let (run, _) = fill(&db);
    db.close().expect("closes");
    let db = settings.open(dir.path(), 3);
    let log = files_with(&dir.path().join("gen-0001"), MARKER.as_bytes()).remove(0);
    std::fs::write(Path::new(&log).with_file_name("00000000000000ff.ckpt.part"), MARKER).expect("writes");
    db.run(run).expect("there").end(RunStatus::Completed).expect("ends");
    db.prune(&all_that_ended(false), false).expect("prunes");
    assert_eq!(files_with(dir.path(), MARKER.as_bytes()), [""; 0]);
}

/// Found by the simulator (seed 70023956): the log held nothing of the run any more, so nothing was looked for.
#[test]
fn a_past_that_lies_in_what_was_set_aside_only_is_erased() {
    let settings = Settings { durability: Durability::Strict, keep_history: false, reshard: false };
    let dir = tempfile::tempdir().expect("a directory");
    let db = settings.open(dir.path(), 1);
    let run = db.begin_run("marked").expect("begins");
    run.kv().put("k", MARKER).expect("puts");
    run.kv().delete("k").expect("deletes");
    run.end(RunStatus::Completed).expect("ends");
    db.checkpoint().expect("checkpoints");
    let shard = dir.path().join("gen-0001/shard-0000");
    for name in ["0000000000000001-00001050.tail", "0000000000000001.old.tmp"] {
        std::fs::write(shard.join(name), MARKER).expect("writes");
    }
    let report = db.prune(&all_that_ended(true), false).expect("prunes");
    assert_eq!((report.runs.len(), report.log_bytes_erased), (1, 0));
    assert_eq!(files_with(dir.path(), MARKER.as_bytes()), [""; 0]);
    assert_eq!(run.status().expect("is there"), RunStatus::Completed);
}
