//! A segment that a checkpoint could not take out of the log, once, was forgotten: a prune said that it had erased a run, and the
//! log still held it.

use std::path::PathBuf;
use std::sync::Arc;

use in_mem::{Database, Durability, ManualClock, RetentionPolicy, RunId, RunStatus, Timestamp};
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::FaultKind;

const MARKER: &str = "marker-value-3f9c";
const RUN: RunId = RunId::from_bytes([1; 16]);

fn open(disk: &SimDisk, keep_history: bool) -> Database {
    Database::builder()
        .keep_history(keep_history)
        .path("/db")
        .shards(1)
        .segment_bytes(8 << 10)
        .durability(Durability::Strict)
        .clock(Arc::new(ManualClock::new(Timestamp(1_000))))
        .storage(Arc::new(disk.clone()))
        .background(false)
        .hash_seed(7)
        .open()
        .expect("opens")
}

fn filled(disk: &SimDisk, keep_history: bool) -> Database {
    let db = open(disk, keep_history);
    let run = db.new_run("marked").id(RUN).begin().expect("begins");
    for n in 0..40 {
        run.kv().put(format!("k{n}"), format!("{MARKER}{}", "x".repeat(700))).expect("puts");
    }
    db
}

/// The files of the log that have the marker; what the run is lies in the checkpoint.
fn logs_with_marker(disk: &SimDisk) -> Vec<PathBuf> {
    let is_log =
        |path: &PathBuf| path.extension().is_some_and(|e| ["wal", "idx", "tmp"].iter().any(|log| e == *log));
    let has = |path: &PathBuf| {
        let bytes = disk.contents(path).expect("is there");
        bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
    };
    disk.files().into_iter().filter(|path| is_log(path) && has(path)).collect()
}

#[test]
fn is_done_by_the_next_one() {
    fails_at_each_operation(true, 40);
}

#[test]
fn is_done_by_the_next_one_without_history() {
    fails_at_each_operation(false, 20);
}

fn fails_at_each_operation(keep_history: bool, least: usize) {
    let disk = SimDisk::new(1);
    let db = filled(&disk, keep_history);
    let before = disk.ops();
    db.checkpoint().expect("checkpoints");
    let operations = before + 1..=disk.ops();
    drop(db);
    let policy = RetentionPolicy { keep_newest: Some(0), history_only: true, ..RetentionPolicy::default() };
    let mut pruned = 0;
    for at in operations {
        let disk = SimDisk::new(1);
        let db = filled(&disk, keep_history);
        disk.fail(at, FaultKind::Eio, None, false);
        let checkpoint = db.checkpoint();
        disk.heal();
        if checkpoint.is_ok() || db.run(RUN).and_then(|run| run.end(RunStatus::Completed)).is_err() {
            continue;
        }
        if db.prune(&policy, false).is_ok() {
            pruned += 1;
            assert_eq!(logs_with_marker(&disk), Vec::<PathBuf>::new(), "a fault at operation {at}");
            drop(db);
            assert!(open(&disk, keep_history).replay(RUN).is_err(), "a fault at operation {at}");
        }
    }
    assert!(pruned > least, "{pruned}");
}
