//! A watch tells of every committed change, or says that it missed some.

use std::time::Duration;

use in_mem::{Change, Error, Value, Watch, WriteError};

use crate::modes;

/// Long enough that a change that is on its way arrives.
const LIMIT: Duration = Duration::from_secs(60);

fn next(watch: &mut Watch) -> (String, Option<Value>) {
    let Change { key, value, .. } = watch.next_within(LIMIT).expect("not lagged").expect("a change comes");
    (key.as_str().expect("text").to_owned(), value)
}

fn change(key: &str, value: impl Into<Value>) -> (String, Option<Value>) {
    (key.to_owned(), Some(value.into()))
}

#[test]
fn changes_come_in_the_order_of_their_commits() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("watched").expect("begins");
        let other = db.begin_run("other").expect("begins");
        run.kv().put("a/0", 0).expect("puts");
        let mut watch = run.kv().watch("a/", 100).expect("watches");
        run.kv().put("a/1", 1).expect("puts");
        run.kv().put("b/1", 1).expect("puts");
        other.kv().put("a/1", 7).expect("puts");
        run.state().set("a/1", 9).expect("sets");
        let version = run.kv().put("a/2", 2).expect("puts");
        run.kv().delete("a/0").expect("deletes");
        run.kv().increment("a/2", 5).expect("counts");
        run.transaction(|tx| {
            tx.kv().put("a/3", 3)?;
            tx.kv().put("a/4", 4)
        })
        .expect("commits");
        assert_eq!(next(&mut watch), change("a/1", 1));
        let second = watch.next_within(LIMIT).unwrap().unwrap();
        assert_eq!((second.key.as_str(), second.version), (Some("a/2"), version));
        assert_eq!(next(&mut watch), ("a/0".to_owned(), None));
        assert_eq!(next(&mut watch), change("a/2", 7));
        assert_eq!(next(&mut watch), change("a/3", 3));
        assert_eq!(next(&mut watch), change("a/4", 4));
        assert_eq!(watch.try_next().expect("not lagged"), None);
    });
}

#[test]
fn a_change_is_visible_when_it_is_told_of() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("watched").expect("begins");
        let mut watch = run.kv().watch("", 1_000).expect("watches");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..50 {
                    run.kv().put("n", n).expect("puts");
                }
            });
            for n in 0..50 {
                assert_eq!(next(&mut watch), change("n", n));
                assert!(run.kv().get("n").unwrap().unwrap().as_i64() >= Some(n));
            }
        });
    });
}

#[test]
fn a_watcher_that_falls_behind_is_told_so() {
    let db = modes::in_memory();
    let run = db.begin_run("watched").expect("begins");
    let mut watch = run.kv().watch("", 2).expect("watches");
    run.kv().put("k", 0).expect("puts");
    run.kv().put("k", 1).expect("puts");
    let third = run.kv().put("k", 2).expect("puts");
    run.kv().put("k", 3).expect("puts");
    assert_eq!(next(&mut watch), change("k", 0));
    assert_eq!(next(&mut watch), change("k", 1));
    let lagged = watch.try_next();
    let Err(Error::Write(WriteError::Lagged { missed, .. })) = lagged else { panic!("{lagged:?}") };
    assert_eq!(missed, third);
    assert!(watch.is_ended());
    assert!(watch.next().is_none());
}

#[test]
fn a_watch_may_begin_at_a_version_as_long_as_nothing_changed_since() {
    let db = modes::in_memory();
    let run = db.begin_run("watched").expect("begins");
    let other = db.begin_run("other").expect("begins");
    let first = run.kv().put("k", 0).expect("puts");
    other.kv().put("k", 0).expect("puts");
    let mut watch = run.kv().watch_from("", first, 10).expect("watches");
    run.kv().put("k", 1).expect("puts");
    assert_eq!(next(&mut watch), change("k", 1));
    let late = run.kv().watch_from("", first, 10);
    assert!(matches!(late, Err(Error::Write(WriteError::Lagged { .. }))), "{late:?}");
}

#[test]
fn a_watch_ends_with_its_run_and_with_the_database() {
    let db = modes::in_memory();
    let run = db.begin_run("watched").expect("begins");
    let kept = db.begin_run("kept").expect("begins");
    let (mut watch, mut on_kept) = (run.kv().watch("", 2).unwrap(), kept.kv().watch("", 2).unwrap());
    run.delete().expect("deletes");
    assert!(watch.next().is_none());
    kept.kv().put("k", 1).expect("puts");
    db.close().expect("closes");
    assert_eq!(next(&mut on_kept), change("k", 1));
    assert!(on_kept.next().is_none());
}

#[test]
fn what_expires_is_told_of_as_deleted() {
    let clock = in_mem::ManualClock::new(in_mem::Timestamp(1_000_000));
    let db = in_mem::Database::builder()
        .durability(in_mem::Durability::InMemory)
        .clock(std::sync::Arc::new(clock.clone()))
        .background(false)
        .shards(1)
        .open()
        .expect("opens");
    let run = db.begin_run("ttl").expect("begins");
    let mut watch = run.kv().watch("", 10).expect("watches");
    run.kv().put_with_ttl("k", 1, Duration::from_secs(1)).expect("puts");
    clock.advance(1_000_000);
    db.step().expect("steps");
    assert_eq!(next(&mut watch), change("k", 1));
    assert_eq!(next(&mut watch), ("k".to_owned(), None));
}

#[test]
fn a_watch_is_not_told_of_what_was_there_when_it_began() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = in_mem::Database::builder()
        .path(dir.path())
        .durability(in_mem::Durability::Strict)
        .segment_bytes(1 << 20)
        .background(false)
        .shards(1)
        .open()
        .expect("opens");
    let run = db.begin_run("watched").expect("begins");
    let mut first = run.kv().watch("", 10).expect("watches");
    // Installed, and noted for the first watch; not published before its sync.
    let put = run.kv().put_async("k", 1).expect("begins");
    let mut second = run.kv().watch("", 10).expect("watches");
    let version = put.wait().expect("puts");
    assert!(second.version() >= version);
    assert_eq!(next(&mut first), change("k", 1));
    assert_eq!(second.try_next().expect("not lagged"), None, "it is behind the version the watch began at");
    run.kv().put("k", 2).expect("puts");
    assert_eq!(next(&mut second), change("k", 2));
}
