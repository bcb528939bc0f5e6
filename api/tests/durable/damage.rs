//! Damage is named; what can be read is saved; neither touches the original.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use in_mem::{Database, Error, ForkOptions, OpenError, Point, RetentionPolicy, RunStatus, admin};

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
    let to = dir.path().join("to");
    let saved = admin::salvage(&path, &to).expect("saves");
    assert_eq!(saved.runs, 1);
    let db = Database::open(&to).expect("opens");
    assert_eq!(db.run(run.id()).expect("is there").kv().count("").expect("counts"), 401);
}

fn archive(path: &Path) -> Vec<PathBuf> {
    with(path, "wal").into_iter().filter(|segment| segment.to_string_lossy().contains("archive")).collect()
}

/// One whose log lies in the archive, with the only checkpoint damaged: runs, forks, one that is gone, and a commit that begins in the
/// archive and ends behind it.
fn archived(path: &Path, keep_history: bool) -> Database {
    let db = quiet(path).shards(1).keep_history(keep_history).open().expect("opens");
    fill(&db, 40);
    let run = db.begin_run("parent").expect("begins");
    run.kv().put("k", 1).expect("puts");
    let fork = db.fork(run.id(), Point::Now, ForkOptions::default()).expect("forks");
    fork.kv().put("k", 2).expect("puts");
    db.begin_run("gone").expect("begins").delete().expect("deletes");
    run.kv().put("large", vec![7u8; 150_000]).expect("puts");
    let ended = db.begin_run("ended").expect("begins");
    ended.kv().put("k", 1).expect("puts");
    ended.end(RunStatus::Completed).expect("ends");
    db
}

/// Damages its only checkpoint; gives what it held, and the log behind it.
fn damaged(path: &Path, db: Database) -> Vec<super::Told> {
    fill(&db, 2);
    let held = all(&db);
    db.close().expect("closes");
    let checkpoints = with(path, "ckpt");
    assert_eq!(checkpoints.len(), 1);
    flip(&checkpoints[0], 5_000);
    held
}

#[test]
fn a_damaged_checkpoint_is_made_up_for_by_the_archive() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    let db = archived(path, true);
    db.checkpoint().expect("writes");
    assert!(archive(path).len() > 2);
    let run = db.begin_run("later").expect("begins");
    run.kv().put("k", 3).expect("puts");
    let before = damaged(path, db);
    let open = || Database::open(path).expect("opens");
    let first = open();
    assert_eq!(all(&first), before);
    let notes = first.stats().expect("stats").notes;
    assert!(notes.iter().any(|note| note.contains("nothing is lost")), "{notes:?}");
    for found in first.runs().list().expect("lists") {
        assert!(first.run(found.id).expect("is there").verify().expect("verifies").is_same());
    }
    // As often as need be, until there is a checkpoint.
    first.close().expect("closes");
    let again = open();
    assert_eq!(all(&again), before);
    again.checkpoint().expect("writes");
    again.close().expect("closes");
    let mended = open();
    assert_eq!(all(&mended), before);
    assert_eq!(mended.stats().expect("stats").notes, Vec::<String>::new());
    assert_eq!(mended.run(run.id()).expect("is there").kv().count("").expect("counts"), 1);
}

/// What is not the log from its beginning does not stand in: nothing erased comes back, and nothing is left out.
#[test]
fn an_archive_that_is_not_whole_makes_up_for_nothing() {
    type Then = fn(&Path, &Database);
    let cases: [(&str, Then); 4] = [
        ("whole", |_, _| {}),
        ("a run's past was erased", |_, db| {
            let policy =
                RetentionPolicy { keep_newest: Some(0), history_only: true, ..RetentionPolicy::default() };
            assert!(db.prune(&policy, false).expect("prunes").log_bytes_erased > 0);
        }),
        ("a segment is missing", |path, _| fs::remove_file(&archive(path)[1]).expect("removes")),
        ("a segment is damaged", |path, _| flip(&archive(path)[1], 5_000)),
    ];
    for (name, then) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let db = archived(dir.path(), true);
        db.checkpoint().expect("writes");
        then(dir.path(), &db);
        damaged(dir.path(), db);
        let before = files(dir.path());
        match Database::open(dir.path()) {
            Ok(_) => assert_eq!(name, "whole"),
            Err(error) => {
                assert!(matches!(error, Error::Open(OpenError::CheckpointLost { .. })), "{name}: {error}");
                assert!(name != "whole", "{error}");
                assert_eq!(
                    name == "a run's past was erased",
                    error.to_string().contains("erased"),
                    "{name}: {error}"
                );
                assert_eq!(files(dir.path()), before, "{name}: is left alone");
            }
        }
    }
    // Let go of for a while.
    let dir = tempfile::tempdir().expect("a directory");
    for keep_history in [true, false, true] {
        let db = archived(dir.path(), keep_history);
        db.checkpoint().expect("writes");
        db.close().expect("closes");
    }
    damaged(dir.path(), Database::open(dir.path()).expect("opens"));
    let refused = Database::open(dir.path()).expect_err("is refused");
    assert!(matches!(refused, Error::Open(OpenError::CheckpointLost { .. })), "{refused}");
}

/// A bug: a check read neither the archive nor the generations that are kept for their history, and called them sound.
#[test]
fn a_past_that_cannot_be_read_is_found_by_a_check_and_hinders_no_opening() {
    type Then = fn(&Path);
    let cases: [(&str, Then); 6] = [
        ("whole", |_| {}),
        ("damaged", |path| flip(&archive(path)[1], 5_000)),
        ("missing", |path| fs::remove_file(&archive(path)[1]).expect("removes")),
        ("without a start", |path| flip(&archive(path)[0], 4_100)),
        ("of another length", |path| {
            let file = fs::OpenOptions::new().write(true).open(&archive(path)[1]).expect("opens");
            file.set_len(5_000).expect("cuts");
        }),
        ("an earlier generation", |path| fs::remove_dir_all(path.join("gen-0001")).expect("removes")),
    ];
    for (name, then) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let db = archived(dir.path(), true);
        db.checkpoint().expect("writes");
        db.close().expect("closes");
        let db = quiet(dir.path()).shards(2).open().expect("opens");
        fill(&db, 40);
        let held = all(&db);
        db.checkpoint().expect("writes");
        db.close().expect("closes");
        then(dir.path());
        let before = files(dir.path());
        let report = admin::check(dir.path()).expect("reads");
        assert_eq!(files(dir.path()), before, "{name}: is left alone");
        assert!(report.can_be_opened() && report.problems.is_empty(), "{name}: {report:?}");
        assert_eq!(report.sound(), name == "whole", "{name}: {report:?}");
        for problem in &report.history {
            let named = problem.file.starts_with(dir.path()) && problem.what.contains("salvage");
            assert!(named && problem.serious, "{name}: {problem:?}");
        }
        assert_eq!(all(&Database::open(dir.path()).expect("opens")), held, "{name}");
    }
}

const MARKER: &str = "behind-the-checkpoint";

/// The segments that hold the marker.
fn with_marker(path: &Path) -> Vec<PathBuf> {
    let holds = |file: &PathBuf| {
        let bytes = fs::read(file).expect("reads");
        bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
    };
    with(path, "wal").into_iter().filter(holds).collect()
}

/// A bug: what opening is refused for was sound to a check, and nothing was lost to a salvage, which saved what was left.
#[test]
fn what_is_missing_is_missed_by_check_and_salvage_too() {
    type Files = fn(&Path) -> Vec<PathBuf>;
    let cases: [(&str, Files, bool); 3] = [
        ("the checkpoint that the log goes on from", |path| with(path, "ckpt"), false),
        ("the log behind the checkpoint", |path| with(path, "wal"), true),
        // Not one that the checkpoint covers, which may be there or not be by then.
        ("the segment behind the checkpoint", with_marker, true),
    ];
    for (name, files_of, checkpointed) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("db");
        let db = quiet(&path).shards(2).keep_history(false).open().expect("opens");
        fill(&db, 10);
        db.close().expect("closes");
        // Made anew out of checkpoints, behind which the log begins with its first record.
        let db = quiet(&path).shards(1).keep_history(false).open().expect("opens");
        if checkpointed {
            fill(&db, 30);
            db.checkpoint().expect("writes");
        }
        fill(&db, 2);
        db.begin_run("marked").expect("begins").kv().put("k", MARKER).expect("puts");
        db.close().expect("closes");
        let gone = files_of(&path);
        assert!(!gone.is_empty(), "{name}");
        gone.iter().for_each(|file| fs::remove_file(file).expect("removes"));
        let refused = Database::open(&path).expect_err("is refused").to_string();
        assert!(refused.contains("in-mem salvage"), "{name}: {refused}");
        assert_eq!(
            name.starts_with("the checkpoint"),
            refused.contains("there is no checkpoint"),
            "{refused}"
        );
        let report = admin::check(&path).expect("reads");
        assert!(!report.can_be_opened(), "{name}: {report:?}");
        let saved = admin::salvage(&path, &dir.path().join("to")).expect("saves");
        assert!(saved.lost.iter().any(|lost| lost.serious), "{name}: {saved:?}");
    }
}
