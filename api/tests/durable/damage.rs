//! Damage is named; what can be read is saved; neither touches the original.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use in_mem::{Database, Error, OpenError, admin};

use super::{all, fill, quiet};

fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![path.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.insert(path.clone(), fs::read(path).expect("reads"));
            }
        }
    }
    files
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).expect("reads");
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).expect("writes");
}

fn with(path: &Path, extension: &str) -> Vec<PathBuf> {
    files(path).into_keys().filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn a_sound_database_is_said_to_be_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 5);
    db.checkpoint().expect("writes");
    fill(&db, 5);
    db.close().expect("closes");
    let before = files(dir.path());
    let report = admin::check(dir.path()).expect("reads");
    assert!(report.sound(), "{:?}", report.problems);
    assert_eq!(report.problems, []);
    assert_eq!(report.shards.len(), 2);
    assert!(
        report.shards.iter().all(|s| s.checkpoints == 1 && s.checkpoint_entries > 0 && s.transactions > 0)
    );
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_damaged_log_is_refused_checked_and_salvaged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let db = quiet(&path).shards(1).open().expect("opens");
    fill(&db, 8);
    db.close().expect("closes");
    let whole = all(&quiet(&path).shards(1).open().expect("opens"));
    flip(&with(&path, "wal")[0], 20_000);
    let refused = quiet(&path).shards(1).open().expect_err("is refused");
    assert!(matches!(refused, Error::Open(OpenError::Log(_))), "{refused}");
    assert!(refused.to_string().contains("salvage"), "{refused}");
    let before = files(&path);
    let report = admin::check(&path).expect("reads");
    assert!(!report.sound());
    let to = dir.path().join("saved");
    let saved = admin::salvage(&path, &to).expect("saves");
    assert!(!saved.lost.is_empty());
    assert_eq!(files(&path), before, "the original is as it was");
    let found = all(&Database::open(&to).expect("opens"));
    assert_eq!(saved.runs, found.len() as u64);
    assert!(found.len() >= whole.len() - 1, "{} of {} runs", found.len(), whole.len());
    assert!(matches!(admin::salvage(&path, &to), Err(OpenError::NotEmpty { .. })));
}

#[test]
fn nothing_is_lost_in_salvaging_what_is_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let db = quiet(&path).keep_history(false).open().expect("opens");
    fill(&db, 30);
    db.checkpoint().expect("writes");
    fill(&db, 3);
    let before = all(&db);
    db.close().expect("closes");
    let saved = admin::salvage(&path, &dir.path().join("saved")).expect("saves");
    assert_eq!(saved.lost, []);
    assert_eq!(all(&Database::open(dir.path().join("saved")).expect("opens")), before);
}

#[test]
fn a_damaged_checkpoint_is_made_up_for_by_the_log_or_else_refused() {
    for log_is_there in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let db = quiet(dir.path()).shards(1).keep_history(false);
        let db = if log_is_there { db.segment_bytes(16 << 20) } else { db }.open().expect("opens");
        fill(&db, 40);
        db.checkpoint().expect("writes");
        fill(&db, 2);
        let before = all(&db);
        db.close().expect("closes");
        flip(&with(dir.path(), "ckpt")[0], 5_000);
        assert!(!admin::check(dir.path()).expect("reads").sound());
        let opened = Database::open(dir.path());
        if log_is_there {
            let db = opened.expect("opens");
            assert_eq!(all(&db), before);
            let notes = db.stats().expect("stats").notes;
            assert!(notes.iter().any(|note| note.contains("nothing is lost")), "{notes:?}");
        } else {
            let refused = opened.expect_err("is refused");
            assert!(matches!(refused, Error::Open(OpenError::CheckpointLost { .. })), "{refused}");
        }
    }
}

/// The whole log was in the archive, and of 400 pairs 19 were saved.
#[test]
fn what_a_damaged_checkpoint_held_is_saved_out_of_the_archive() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let db = quiet(&path).shards(1).open().expect("opens");
    let run = db.begin_run("old").expect("begins");
    for n in 0..400 {
        run.kv().put(format!("k{n}"), vec![7u8; 400]).expect("puts");
    }
    db.checkpoint().expect("checkpoints");
    run.kv().put("behind", 1).expect("puts");
    db.close().expect("closes");
    flip(&with(&path, "ckpt")[0], 20);
    let refused = Database::open(&path);
    assert!(matches!(refused, Err(Error::Open(_))), "{refused:?}");
    let to = dir.path().join("to");
    let saved = admin::salvage(&path, &to).expect("saves");
    assert_eq!(saved.runs, 1);
    let db = Database::open(&to).expect("opens");
    assert_eq!(db.run(run.id()).expect("is there").kv().count("").expect("counts"), 401);
}
