//! A log and its archive have more files than a process may have open, and are opened, replayed and written on all the same.

use std::path::Path;
use std::process::Command;

use in_mem::{Database, RunId, value};

const CHILD: &str = "IN_MEM_TEST_FEW_FILES_DIR";
const SHARDS: usize = 4;
const RUNS: u8 = 8;
const KEYS: u64 = 30;
/// A third of the segments that there are.
const MOST_OPEN: u64 = 64;

fn open(dir: &Path) -> Database {
    let small = Database::builder().path(dir).shards(SHARDS).segment_bytes(8 << 10);
    small.checkpoint_interval(None).checkpoint_log_bytes(None).open().expect("opens")
}

fn ids() -> impl Iterator<Item = RunId> {
    (1..=RUNS).map(|n| RunId::from_bytes([n; 16]))
}

fn segments_below(dir: &Path) -> u64 {
    let each = std::fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").path());
    each.map(|path| {
        if path.is_dir() {
            segments_below(&path)
        } else {
            u64::from(path.extension().is_some_and(|e| e == "wal"))
        }
    })
    .sum()
}

fn assert_whole(db: &Database) {
    for id in ids() {
        let run = db.run(id).expect("there");
        for key in 0..KEYS {
            assert_eq!(run.kv().get(format!("{key}")).expect("reads"), Some(value!("x".repeat(2 << 10))));
        }
    }
}

/// What the child does: whose limit this is.
fn use_it(dir: &Path) {
    let db = open(dir);
    assert_whole(&db);
    db.checkpoint().expect("written: all but a few segments go to the archive");
    for again in [false, true] {
        for id in ids() {
            let verified = db.run(id).expect("there").verify().expect("replayed");
            assert_eq!(verified.mismatch, None, "{id}, again: {again}");
        }
    }
    for id in ids() {
        db.run(id).expect("there").kv().put("more", 1).expect("put");
    }
    db.close().expect("closes");
}

#[test]
fn more_segments_than_files_may_be_open() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return use_it(Path::new(&dir));
    }
    let temp = tempfile::tempdir().expect("a directory");
    let db = open(temp.path());
    for id in ids() {
        let run = db.new_run("r").id(id).begin().expect("begins");
        for key in 0..KEYS {
            run.kv().put(format!("{key}"), "x".repeat(2 << 10)).expect("put");
        }
    }
    db.close().expect("closes");
    drop(db);
    assert!(segments_below(temp.path()) > 3 * MOST_OPEN, "{} segments", segments_below(temp.path()));
    let limited =
        format!("ulimit -n {MOST_OPEN} && exec \"$0\" --exact more_segments_than_files_may_be_open");
    let me = std::env::current_exe().expect("a path");
    let done =
        Command::new("sh").args(["-c", &limited]).arg(me).env(CHILD, temp.path()).output().expect("runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let db = open(temp.path());
    assert_whole(&db);
    db.close().expect("closes");
}
