//! Opening with another number of shards moves every run to the shard that owns it, and loses nothing.

use super::{all, fill, quiet};

#[test]
fn every_run_is_there_and_versions_go_on_growing() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 12);
    let mut before = all(&db);
    db.close().expect("closes");
    for shards in [5, 1, 3] {
        let db = quiet(dir.path()).shards(shards).open().expect("opens");
        assert_eq!(all(&db), before);
        let stats = db.stats().expect("stats");
        assert_eq!(stats.shards.len(), shards);
        assert!(stats.notes.iter().any(|note| note.contains("re-routed 12 runs")), "{:?}", stats.notes);
        for (info, ..) in &before {
            let version = db.run(info.id).expect("is there").kv().put("more", shards as i64).expect("puts");
            assert!(version > info.last_version, "{version} after {}", info.last_version);
        }
        before = all(&db);
        db.close().expect("closes");
    }
    let db = quiet(dir.path()).shards(3).open().expect("opens");
    assert_eq!(db.stats().expect("stats").notes, Vec::<String>::new(), "said once");
}

#[test]
fn without_a_number_it_is_what_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    quiet(dir.path()).shards(3).open().expect("opens").close().expect("closes");
    let db = in_mem::Database::open(dir.path()).expect("opens");
    assert_eq!(db.stats().expect("stats").shards.len(), 3);
}

#[test]
fn a_shard_that_lost_its_first_checkpoint_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).keep_history(false).open().expect("opens");
    fill(&db, 4);
    db.close().expect("closes");
    quiet(dir.path()).keep_history(false).shards(1).open().expect("opens").close().expect("closes");
    let checkpoint = dir.path().join("gen-0002/shard-0000/0000000000000000.ckpt");
    std::fs::remove_file(checkpoint).expect("is there");
    let refused = in_mem::Database::open(dir.path());
    assert!(
        matches!(refused, Err(in_mem::Error::Open(in_mem::OpenError::CheckpointLost { .. }))),
        "{refused:?}"
    );
}
