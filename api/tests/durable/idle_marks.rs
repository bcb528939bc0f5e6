//! An idle log vouches for its last group: damage to it is then told from a write that a crash cut off.

use std::sync::Arc;

use in_mem::{Database, Durability, Error, OpenError};
use in_mem_wal::SimDisk;

#[test]
fn damage_to_the_last_commit_is_found_once_the_log_was_idle() {
    for durability in [Durability::buffered(), Durability::Strict] {
        let disk = SimDisk::new(1);
        let open = |disk: &SimDisk| {
            Database::builder()
                .path("/db")
                .shards(1)
                .durability(durability)
                .segment_bytes(64 << 10)
                .storage(Arc::new(disk.clone()))
                .background(false)
                .open()
        };
        let db = open(&disk).expect("opens");
        let run = db.begin_run("idle").expect("begins");
        run.kv().put("marker", "find-me-in-the-log").expect("puts");
        // What home threads do by themselves: a sync, and one when nothing has come since.
        db.sync().expect("syncs");
        db.step().expect("steps");
        let image = disk.crash(1);
        let path =
            image.files().into_iter().find(|p| p.extension().is_some_and(|e| e == "wal")).expect("a log");
        let mut bytes = image.contents(&path).expect("is there");
        let needle = b"find-me-in-the-log";
        let at = bytes.windows(needle.len()).position(|w| w == needle).expect("is there");
        bytes[at] ^= 1;
        image.put(&path, bytes);
        let refused = open(&image);
        assert!(matches!(refused, Err(Error::Open(OpenError::Log(_)))), "{refused:?}");
    }
}
