//! A backup is a database of its own, of one moment, taken while the original goes on.

use in_mem::{Database, Durability, Error, OpenError};

use super::{all, fill, quiet};

#[test]
fn it_opens_anywhere_and_holds_what_was_there() {
    for durability in [Durability::buffered(), Durability::Strict] {
        let dir = tempfile::tempdir().expect("a directory");
        let db = quiet(&dir.path().join("db")).durability(durability).open().expect("opens");
        fill(&db, 8);
        db.checkpoint().expect("writes");
        fill(&db, 2);
        let before = all(&db);
        let copy = dir.path().join("copy");
        let report = db.backup(&copy).expect("copies");
        assert!(report.entries > 0 && report.bytes > 0);
        fill(&db, 1);
        let restored = Database::open(&copy).expect("opens");
        assert_eq!(all(&restored), before);
        fill(&restored, 1);
        restored.close().expect("closes");
        assert_eq!(all(&Database::open(&copy).expect("opens")).len(), before.len() + 1);
    }
}

#[test]
fn one_in_memory_can_be_backed_up_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::in_memory().expect("opens");
    fill(&db, 3);
    db.backup(dir.path()).expect("copies");
    assert_eq!(all(&Database::open(dir.path()).expect("opens")), all(&db));
}

#[test]
fn it_never_writes_over_anything() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    let refused = db.backup(dir.path());
    assert!(matches!(refused, Err(Error::Open(OpenError::NotEmpty { .. }))), "{refused:?}");
}

/// A prune, an opening with other shards and a salvage all take what is in the directory for the database's own.
#[test]
fn one_inside_the_database_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 1);
    for inside in [dir.path().join("copy"), dir.path().join("deep/../deeper/copy")] {
        let refused = db.backup(&inside);
        assert!(matches!(refused, Err(Error::Open(OpenError::Inside { .. }))), "{refused:?}");
    }
    assert!(!dir.path().join("copy").exists() && !dir.path().join("deeper").exists());
}

#[test]
fn one_that_never_ended_is_not_taken_for_a_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(&dir.path().join("db")).open().expect("opens");
    fill(&db, 1);
    let copy = dir.path().join("copy");
    db.backup(&copy).expect("copies");
    std::fs::remove_file(copy.join("MANIFEST")).expect("is there");
    let refused = Database::open(&copy);
    assert!(matches!(refused, Err(Error::Open(OpenError::ManifestMissing { .. }))), "{refused:?}");
}
