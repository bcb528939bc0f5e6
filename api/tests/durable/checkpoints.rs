//! A checkpoint shortens the log and changes nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use in_mem::{Durability, RecoveryPhase};

use super::{all, fill, quiet};

#[test]
fn what_is_recovered_from_one_is_exactly_what_was_there() {
    for durability in [Durability::buffered(), Durability::Strict] {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || quiet(dir.path()).durability(durability).open().expect("opens");
        let db = open();
        fill(&db, 6);
        let gone = db.begin_run("gone").expect("begins");
        gone.kv().put("a", 1).expect("puts");
        gone.delete().expect("deletes");
        let written = db.checkpoint().expect("writes");
        assert!(written.iter().all(Option::is_some), "{written:?}");
        assert_eq!(db.checkpoint().expect("writes"), [None, None], "nothing has changed since");
        let before = all(&db);
        db.close().expect("closes");
        let db = open();
        assert_eq!(all(&db), before);
        fill(&db, 3);
        let before = all(&db);
        db.close().expect("closes");
        assert_eq!(all(&open()), before, "the checkpoint, and the log behind it");
    }
}

#[test]
fn the_log_before_it_is_let_go_or_archived() {
    for keep in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let db = quiet(dir.path()).keep_history(keep).shards(1).open().expect("opens");
        fill(&db, 60);
        let before = db.stats().expect("stats").shards[0].core.log_bytes;
        let written = db.checkpoint().expect("writes")[0].expect("written");
        let after = db.stats().expect("stats").shards[0].clone();
        assert!(written.segments_released > 0);
        assert!(after.core.log_bytes < before / 2, "{before} bytes before, {} after", after.core.log_bytes);
        assert_eq!(after.checkpoint, Some(written));
        assert_eq!(after.checkpoint_error, None);
        let archived = std::fs::read_dir(dir.path().join("gen-0001/shard-0000/archive"));
        assert_eq!(archived.map_or(0, Iterator::count) as u64 >= written.segments_released, keep);
        fill(&db, 60);
        db.checkpoint().expect("writes");
        let before = all(&db);
        db.close().expect("closes");
        assert_eq!(all(&quiet(dir.path()).shards(1).open().expect("opens")), before);
    }
}

#[test]
fn one_is_written_when_the_log_has_grown() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).shards(1).checkpoint_log_bytes(Some(256 << 10)).open().expect("opens");
    // Until it happens; the thread that writes it is another.
    while db.stats().expect("stats").shards[0].checkpoint.is_none() {
        fill(&db, 10);
    }
}

#[test]
fn one_is_written_when_its_time_has_come() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).checkpoint_interval(Some(Duration::from_millis(1))).open().expect("opens");
    fill(&db, 4);
    while db.stats().expect("stats").shards.iter().any(|shard| shard.checkpoint.is_none()) {
        std::thread::yield_now();
    }
}

#[test]
fn it_is_of_one_moment_while_others_write() {
    for durability in [Durability::buffered(), Durability::Strict] {
        let dir = tempfile::tempdir().expect("a directory");
        let db = quiet(dir.path()).shards(1).durability(durability).open().expect("opens");
        let run = db.begin_run("busy").expect("begins");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for n in 0..2_000i64 {
                    run.transaction(|tx| {
                        tx.kv().put(format!("a{}", n % 50), n)?;
                        tx.kv().put(format!("b{}", n % 50), n)?;
                        if n % 3 == 0 {
                            tx.kv().delete(format!("a{}", (n + 7) % 50))?;
                            tx.kv().delete(format!("b{}", (n + 7) % 50))?;
                        }
                        Ok(())
                    })
                    .expect("commits");
                }
            });
            while !writer.is_finished() {
                db.checkpoint().expect("writes");
            }
        });
        let before = all(&db);
        db.close().expect("closes");
        assert_eq!(all(&quiet(dir.path()).shards(1).open().expect("opens")), before);
    }
}

#[test]
fn recovery_tells_how_far_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 2);
    db.close().expect("closes");
    let (told, done) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (count, ended) = (told.clone(), done.clone());
    let db = quiet(dir.path()).on_progress(move |progress| {
        count.fetch_add(1, Ordering::Relaxed);
        if progress.phase == RecoveryPhase::Done {
            ended.lock().expect("no panic").push(progress.shard);
        }
    });
    db.open().expect("opens");
    let mut done = done.lock().expect("no panic").clone();
    done.sort_unstable();
    assert_eq!(done, [0, 1]);
    assert!(told.load(Ordering::Relaxed) >= 2);
}
