//! History is kept for a while, not kept for a while, and kept again: what is told of a run is right, or it is said that the log
//! does not reach back. A replay that left out the commits between was taken for what the run was.

use std::path::Path;

use in_mem::{Builder, Database, Error, HistoryError, Run, RunId};

fn builder(path: &Path, keep_history: bool) -> Builder {
    Database::builder()
        .path(path)
        .segment_bytes(64 << 10)
        .checkpoint_interval(None)
        .checkpoint_log_bytes(None)
        .keep_history(keep_history)
}

fn fill(run: &Run, prefix: &str) {
    for n in 0..400 {
        run.kv().put(format!("{prefix}{n}"), vec![7u8; 400]).expect("puts");
    }
}

fn begun(db: &Database) -> RunId {
    let run = db.begin_run("old").expect("begins");
    run.kv().put("a", 1).expect("puts");
    run.id()
}

fn assert_let_go(db: &Database, id: RunId) {
    for refused in [db.replay(id).map(drop), db.run(id).and_then(|run| run.verify()).map(drop)] {
        let said =
            matches!(&refused, Err(Error::History(HistoryError::Cut { .. } | HistoryError::LetGo { .. })));
        assert!(said, "{refused:?}");
    }
}

#[test]
fn runs_begun_behind_a_gap_replay_and_older_ones_say_that_they_were_let_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = builder(dir.path(), true).shards(1).open().expect("opens");
    let old = begun(&db);
    fill(&db.run(old).expect("there"), "a");
    db.checkpoint().expect("checkpoints");
    db.close().expect("closes");
    let db = builder(dir.path(), false).open().expect("opens");
    fill(&db.run(old).expect("there"), "b");
    db.checkpoint().expect("checkpoints");
    db.close().expect("closes");
    let db = builder(dir.path(), true).open().expect("opens");
    let new = db.begin_run("new").expect("begins");
    fill(&new, "n");
    db.checkpoint().expect("checkpoints");
    assert!(new.verify().expect("verifies").is_same());
    assert_let_go(&db, old);
}

#[test]
fn a_generation_that_was_not_kept_is_a_gap() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = builder(dir.path(), true).shards(1).open().expect("opens");
    let old = begun(&db);
    db.close().expect("closes");
    let db = builder(dir.path(), true).shards(2).open().expect("opens");
    db.run(old).expect("there").kv().put("b", 2).expect("puts");
    assert!(db.run(old).expect("there").verify().expect("verifies").is_same(), "no gap yet");
    db.close().expect("closes");
    let db = builder(dir.path(), false).shards(3).open().expect("opens");
    let run = db.run(old).expect("there");
    run.kv().put("c", 3).expect("puts");
    assert_eq!(run.kv().count("").expect("counts"), 3);
    assert_let_go(&db, old);
    let new = db.begin_run("new").expect("begins");
    new.kv().put("n", 1).expect("puts");
    assert!(new.verify().expect("verifies").is_same());
}

#[test]
fn a_generation_whose_beginning_was_let_go_is_a_gap() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = builder(dir.path(), true).shards(1).open().expect("opens");
    let old = begun(&db);
    db.close().expect("closes");
    builder(dir.path(), true).shards(2).open().and_then(|db| db.close()).expect("opens and closes");
    let db = builder(dir.path(), false).open().expect("opens");
    let run = db.run(old).expect("there");
    fill(&run, "b");
    db.checkpoint().expect("checkpoints");
    run.kv().put("c", 3).expect("puts");
    assert_let_go(&db, old);
}
