//! `check`, `backup` and `salvage`.

mod common;

use std::{fs, path::Path};

use common::{fails, json_lines, ok};
use in_mem::Database;

/// A database with a hundred values in one run.
fn database(path: &Path) -> String {
    let db = Database::builder().path(path).shards(1).segment_bytes(1 << 20).open().expect("opens");
    let run = db.begin_run("r").expect("begins");
    for i in 0..100 {
        run.kv().put(format!("key {i:03}"), "x".repeat(1_000)).expect("puts");
    }
    let id = run.id().to_string();
    drop(run);
    db.close().expect("closes");
    id
}

/// Changes a byte in the middle of the log.
fn damage(dir: &Path) {
    let mut dirs = vec![dir.to_owned()];
    let mut largest = (0, None);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("reads") {
            let entry = entry.expect("an entry");
            let meta = entry.metadata().expect("is there");
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if let Ok(bytes) = fs::read(entry.path()) {
                let used = bytes.iter().filter(|b| **b == b'x').count();
                if used > largest.0 {
                    largest = (used, Some(entry.path()));
                }
            }
        }
    }
    let file = largest.1.expect("a file with the values in it");
    let mut bytes = fs::read(&file).expect("reads");
    let middle = bytes.windows(7).position(|w| w == b"key 050").expect("the fiftieth value");
    bytes[middle + 100] ^= 1;
    fs::write(&file, bytes).expect("writes");
}

#[test]
fn a_sound_database_is_sound_and_so_is_its_copy() {
    let dir = tempfile::tempdir().expect("a directory");
    let (db, copy) = (dir.path().join("db"), dir.path().join("copy"));
    let run = database(&db);
    assert!(ok(&db, &["check"]).contains("sound"));
    ok(&db, &["backup", copy.to_str().expect("a name")]);
    assert_eq!(json_lines(&ok(&copy, &["check", "--json"]))[0]["sound"], true);
    assert_eq!(ok(&copy, &["get", &run, "key 050"]), ok(&db, &["get", &run, "key 050"]));
    let said = fails(&db, 1, &["backup", copy.to_str().expect("a name")]);
    assert!(said.contains("copy"), "what is there is not written over: {said}");
    let salvaged = dir.path().join("salvaged");
    ok(&db, &["salvage", db.to_str().expect("a name"), salvaged.to_str().expect("a name")]);
    let said = fails(&dir.path().join("missing"), 1, &["check"]);
    assert!(said.contains("there is no database at"), "{said}");
}

#[test]
fn damage_is_found_refused_and_what_is_left_is_saved() {
    let dir = tempfile::tempdir().expect("a directory");
    let (db, saved) = (dir.path().join("db"), dir.path().join("saved"));
    let run = database(&db);
    damage(&db);
    let out = common::on(&db, &["check"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(common::text(&out.stdout).contains("damaged"), "{}", common::text(&out.stdout));
    let said = fails(&db, 1, &["runs"]);
    let names = [db.to_str().expect("a name"), saved.to_str().expect("a name")];
    let command = format!("in-mem salvage {} TO", names[0]);
    assert!(said.contains(&command), "opening says what to do: {said}");
    assert!(
        common::text(&out.stdout).contains(&command),
        "and so does a check: {}",
        common::text(&out.stdout)
    );
    let salvaged = common::on(&db, &["salvage", names[0], names[1], "--json"]);
    assert_eq!(salvaged.status.code(), Some(3), "saved, but something is lost");
    let report = json_lines(&common::text(&salvaged.stdout)).remove(0);
    assert!(report["lost"].as_array().is_some_and(|lost| !lost.is_empty()), "{report}");
    let again = dir.path().join("again");
    let salvaged = common::on(&db, &["salvage", names[0], again.to_str().expect("a name")]);
    assert_eq!(salvaged.status.code(), Some(3));
    let (listed, count) = (common::text(&salvaged.stdout), report["lost"].as_array().map_or(0, Vec::len));
    assert_eq!(listed.lines().filter(|line| line.contains(".wal")).count(), count, "all of it: {listed}");
    assert_eq!(ok(&saved, &["get", &run, "key 010"]).len(), 1_001);
    assert_eq!(ok(&saved, &["get", &run, "key 090"]).len(), 1_001);
    fails(&saved, 1, &["get", &run, "key 050"]);
}
