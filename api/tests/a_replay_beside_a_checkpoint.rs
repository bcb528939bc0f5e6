//! Without `keep_history` a checkpoint lets go of log that a replay may be about to read: the replay says that it was let go, as
//! one that begins behind the checkpoint does, and not that a file is missing.

use std::path::Path;
use std::sync::Arc;

use in_mem::{Database, Error, HistoryError, Run, Version, WriteError};
use in_mem_wal::OpenMode;

#[path = "common/before_opening.rs"]
mod before_opening;

use before_opening::BeforeOpening;

/// A run whose log fills some segments, and what lets go of them while the next replay reads.
fn run_and_disk() -> (Database, Run, BeforeOpening) {
    let disk = BeforeOpening::new();
    let db = Database::builder()
        .path("/db")
        .shards(1)
        .segment_bytes(8 << 10)
        .keep_history(false)
        .storage(Arc::new(disk.clone()))
        .background(false)
        .open()
        .expect("opens");
    let run = db.begin_run("read").expect("begins");
    for n in 0..60 {
        run.kv().put("k", vec![n; 500]).expect("puts");
    }
    assert_eq!(run.commits().expect("all there").len(), 61);
    let (of, last) = (db.clone(), run.clone());
    // The next index of a segment that is looked for.
    let is_index =
        |path: &Path, mode| mode == OpenMode::Read && path.extension().is_some_and(|end| end == "idx");
    disk.once(is_index, move || {
        assert!(of.checkpoint().expect("writes")[0].is_some_and(|written| written.segments_released > 2));
        last.kv().put("k", "behind the checkpoint").expect("puts");
        Ok(())
    });
    (db, run, disk)
}

#[test]
fn what_is_let_go_while_it_is_read_is_said_to_be_let_go() {
    let (_db, run, disk) = run_and_disk();
    let refused = run.verify().expect_err("its beginning is gone");
    assert!(disk.has_happened());
    assert!(
        matches!(refused, Error::History(HistoryError::Cut { .. } | HistoryError::LetGo { .. })),
        "{refused}"
    );
    let (_db, run, disk) = run_and_disk();
    let commits = run.commits().expect("what is left is a list of commits");
    assert!(disk.has_happened());
    let versions: Vec<Version> = commits.iter().map(|commit| commit.version).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]) && versions.len() < 61, "{versions:?}");
}

#[test]
fn a_watch_from_what_is_let_go_meanwhile_is_told_that_it_lags() {
    let (_db, run, disk) = run_and_disk();
    let begun = run.info().expect("there").meta.first_version;
    let refused = run.kv().watch_from("", begun, 8).expect_err("the changes are gone");
    assert!(disk.has_happened());
    assert!(matches!(refused, Error::Write(WriteError::Lagged { .. })), "{refused}");
}
