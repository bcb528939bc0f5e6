//! `docs/wal-format.md` is enough to read a whole database in another language: a reader in Python, which knows nothing else, finds
//! every pair of every run, out of checkpoints and logs, and out of the past alone.

use std::path::Path;
use std::process::Command;

use in_mem::{Database, ForkOptions, RetentionPolicy, RunId, RunStatus, Value};

use super::{fill, quiet};

/// What the reader says, line by line; `None` where there is no Python.
fn read(db: &Path, past: bool) -> Option<Vec<String>> {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wal/tests/other_language/read_database.py");
    let mut command = Command::new("python3");
    // Nothing is to be left beside the sources.
    command.arg("-B").arg(script).arg(db).args(past.then_some("past"));
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every pair of every run that is wanted, in the reader's words.
fn pairs(db: &Database, wanted: impl Fn(RunId) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for info in db.runs().list().expect("lists").into_iter().filter(|info| wanted(info.id)) {
        for (key, value) in db.run(info.id).expect("is there").kv().list("").expect("lists") {
            let value = match value {
                Value::Bytes(bytes) => hex(&bytes),
                Value::Int(int) => int.to_string(),
                other => panic!("{other:?}"),
            };
            lines.push(format!("{} {} {value}", hex(info.id.as_bytes()), String::from_utf8_lossy(&key)));
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_whole_database_and_its_past() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    let db = quiet(path).open().expect("opens");
    fill(&db, 12);
    let parent = db.begin_run("parent").expect("begins");
    for n in -300i64..300 {
        parent.kv().put(format!("k{n}"), n * n * n * 1_000).expect("puts");
    }
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    let of_fork = fork.fork(ForkOptions::default()).expect("forks");
    fork.kv().put("k1", 7).expect("puts");
    fork.kv().delete("k2").expect("deletes");
    parent.kv().put("k1", 8).expect("puts");
    parent.kv().delete("k3").expect("deletes");
    of_fork.kv().put("k4", vec![7u8; 200_000]).expect("puts");
    let forks = [fork.id(), of_fork.id()];
    let no_fork = |run: RunId| !forks.contains(&run);
    let ended = db.begin_run("ended").expect("begins");
    ended.kv().put("k", 1).expect("puts");
    ended.end(RunStatus::Completed).expect("ends");
    db.checkpoint().expect("writes");
    fill(&db, 5);
    parent.kv().put("k5", 9).expect("puts");
    db.begin_run("gone").expect("begins").delete().expect("deletes");
    let ended_id = ended.id();
    drop((parent, fork, of_fork, ended));
    db.close().expect("closes");
    // Of another number of shards, twice; then with a past from which something was erased.
    for (shards, erase) in [(2, false), (3, false), (1, false), (1, true)] {
        let db = quiet(path).shards(shards).open().expect("opens");
        fill(&db, 4);
        if erase {
            let policy = RetentionPolicy { keep_newest: Some(0), ..RetentionPolicy::default() };
            assert_eq!(db.prune(&policy, false).expect("prunes").runs.len(), 1);
        }
        db.checkpoint().expect("writes");
        fill(&db, 2);
        let (present, past) = (pairs(&db, |_| true), pairs(&db, no_fork));
        db.close().expect("closes");
        let Some(found) = read(path, false) else { return };
        assert!(found == present, "{shards} shards: the present is read otherwise");
        let found = read(path, true).expect("as before");
        let of_forks = forks.map(|fork| hex(fork.as_bytes()));
        let found: Vec<_> = found
            .into_iter()
            .filter(|line| !of_forks.iter().any(|fork| line.starts_with(fork.as_str())))
            .collect();
        assert!(found == past, "{shards} shards: the past is read otherwise");
        assert_eq!(found.iter().any(|line| line.starts_with(&hex(ended_id.as_bytes()))), !erase);
    }
}
