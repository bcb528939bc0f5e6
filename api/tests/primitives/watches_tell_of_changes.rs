//! A watch tells of every committed change, or says that it missed some.

use std::time::Duration;

use in_mem::{Change, Error, Value, Version, Watch, WriteError};

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
    modes::in_every_mode(|db, _| {
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
    });
}

#[test]
fn a_watch_begins_at_any_version_that_is_kept() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("watched").expect("begins");
        let other = db.begin_run("other").expect("begins");
        let first = run.kv().put("k/0", 0).expect("puts");
        let mut always = run.kv().watch("k/", 1_000).expect("watches");
        let mut versions = vec![first];
        for n in 1..40 {
            other.kv().put("k/0", n).expect("puts");
            run.state().set("k/0", n).expect("sets");
            run.kv().put("elsewhere", n).expect("puts");
            versions.push(match n % 3 {
                0 => run.kv().put(format!("k/{}", n % 4), n).expect("puts"),
                1 => {
                    run.kv().increment("k/0", 1).expect("counts");
                    run.kv().get_versioned("k/0").unwrap().expect("there").version
                }
                _ => {
                    run.kv().put("k/1", n).expect("puts");
                    assert!(run.kv().delete("k/1").expect("deletes"));
                    run.info().expect("there").last_version
                }
            });
        }
        let mut all = Vec::new();
        while let Some(change) = always.try_next().expect("not lagged") {
            all.push(change);
        }
        assert!(all.len() > 39, "{}", all.len());
        let check = |run: &in_mem::Run, from: Version, live: i64| {
            let mut watch = run.kv().watch_from("k/", from, 1_000).expect("all of it is kept");
            assert_eq!(watch.version(), from);
            run.kv().put("k/live", live).expect("puts");
            for change in all.iter().filter(|change| change.version > from) {
                assert_eq!(
                    watch.next_within(LIMIT).expect("not lagged").as_ref(),
                    Some(change),
                    "from {from}"
                );
            }
            // What was put live by those before, then its own.
            for before in 0..=live {
                assert_eq!(next(&mut watch), change("k/live", before));
            }
            assert_eq!(watch.try_next().expect("not lagged"), None);
        };
        for (live, from) in versions.iter().enumerate() {
            check(&run, *from, live as i64);
        }
        // Of a database on disk the log reaches back behind the first watch, and behind a restart.
        if db.stats().expect("counts").path.is_some() {
            let (id, live) = (run.id(), versions.len() as i64);
            drop((always, run, other));
            let db = reopen(db);
            check(&db.resume(id).expect("there"), first, live);
        }
    });
}

#[test]
fn what_neither_memory_nor_the_log_has_is_lagged_and_says_from_where_it_can_be_had() {
    let db = modes::in_memory();
    let run = db.begin_run("watched").expect("begins");
    let first = run.kv().put("k", 0).expect("puts");
    let second = run.kv().put("k", 1).expect("puts");
    let late = run.kv().watch_from("", first, 10);
    let Err(Error::Write(WriteError::Lagged { missed, oldest, .. })) = late else { panic!("{late:?}") };
    assert_eq!((missed, oldest), (Version(first.0 + 1), Some(second)));
    let mut watch = run.kv().watch_from("", second, 10).expect("watches");
    run.kv().put("k", 2).expect("puts");
    assert_eq!(next(&mut watch), change("k", 2));
}

#[test]
fn one_that_fell_behind_goes_on_from_what_it_read_last() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("watched").expect("begins");
        let mut watch = run.kv().watch("", 3).expect("watches");
        for n in 0..100 {
            run.kv().put("k", n).expect("puts");
        }
        let (mut seen, mut read) = (watch.version(), Vec::new());
        let mut lags = 0;
        while read.len() < 100 {
            match watch.next_within(LIMIT) {
                Ok(Some(change)) => {
                    seen = change.version;
                    read.push(change.value.and_then(|value| value.as_i64()).expect("a number"));
                }
                Err(Error::Write(WriteError::Lagged { oldest: None, .. })) => {
                    lags += 1;
                    watch = run.kv().watch_from("", seen, 3).expect("all of it is kept");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(lags, 1);
        assert_eq!(read, (0..100).collect::<Vec<_>>());
    });
}

/// The seam between what was there and what is being committed: writers go on all the while.
#[test]
fn a_watch_from_the_past_has_no_gap_and_nothing_twice_while_others_write() {
    const CHANGES: i64 = 3_000;
    modes::in_every_mode(|db, _| {
        // Where every commit waits for the disk, fewer do.
        let is_strict = db.stats().expect("counts").durability == in_mem::Durability::Strict;
        let changes = if is_strict { CHANGES / 20 } else { CHANGES };
        let run = db.begin_run("watched").expect("begins");
        let first = run.kv().put("n", -1).expect("puts");
        let kept =
            db.stats().expect("counts").path.is_none().then(|| run.kv().watch("", 1).expect("watches"));
        std::thread::scope(|scope| {
            let write = |n| assert!(run.kv().put("n", n).expect("puts") > first);
            let writer = scope.spawn(move || (0..changes).for_each(write));
            while !writer.is_finished() {
                let mut watch = run.kv().watch_from("", first, CHANGES as usize).expect("all of it is kept");
                for n in 0..changes {
                    assert_eq!(next(&mut watch), change("n", n));
                }
            }
        });
        drop(kept);
    });
}

#[test]
fn a_run_made_again_under_its_id_has_nothing_of_the_one_before() {
    modes::in_every_mode(|db, _| {
        let id = in_mem::RunId::generate(in_mem::Timestamp(1));
        let run = db.new_run("first").id(id).begin().expect("begins");
        let _kept = run.kv().watch("", 10).expect("watches");
        let first = run.kv().put("k", "old").expect("puts");
        run.delete().expect("deletes");
        let run = db.new_run("second").id(id).begin().expect("begins");
        let _kept = run.kv().watch("", 10).expect("watches");
        run.kv().put("k", "new").expect("puts");
        match run.kv().watch_from("", Version(first.0 - 1), 10) {
            Ok(mut watch) => assert_eq!(next(&mut watch), change("k", "new")),
            Err(error) => {
                assert!(db.stats().expect("counts").path.is_none(), "{error}");
                assert!(matches!(error, Error::Write(WriteError::Lagged { .. })), "{error}");
            }
        }
    });
}

#[test]
fn a_log_that_was_let_go_says_from_where_a_watch_can_begin() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = || {
        in_mem::Database::builder()
            .path(dir.path())
            .keep_history(false)
            .segment_bytes(1 << 20)
            .shards(1)
            .open()
            .expect("opens")
    };
    let db = open();
    let run = db.begin_run("watched").expect("begins");
    let first = run.kv().put("k", 0).expect("puts");
    for n in 1..40 {
        run.kv().put("k", vec![n as u8; 100_000]).expect("puts");
    }
    db.checkpoint().expect("writes");
    run.kv().put("k", 41).expect("puts");
    db.checkpoint().expect("writes");
    let id = run.id();
    drop(run);
    db.close().expect("closes");
    let db = open();
    let run = db.resume(id).expect("there");
    run.kv().put("k", 42).expect("puts");
    let late = run.kv().watch_from("", first, 10);
    let Err(Error::Write(WriteError::Lagged { oldest: Some(oldest), .. })) = late else { panic!("{late:?}") };
    assert!(oldest > first);
    let mut watch = run.kv().watch_from("", oldest, 1_000).expect("so far it reaches back");
    let mut last = None;
    while let Some(change) = watch.try_next().expect("not lagged") {
        assert!(change.version > oldest);
        last = change.value;
    }
    assert_eq!(last, Some(Value::from(42)));
}

#[test]
fn a_watch_ends_with_its_run_and_with_the_database() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("watched").expect("begins");
        let kept = db.begin_run("kept").expect("begins");
        let (mut watch, mut on_kept) = (run.kv().watch("", 2).unwrap(), kept.kv().watch("", 2).unwrap());
        run.delete().expect("deletes");
        assert!(watch.next().is_none());
        kept.kv().put("k", 1).expect("puts");
        db.close().expect("closes");
        assert_eq!(next(&mut on_kept), change("k", 1));
        assert!(on_kept.next().is_none());
    });
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

#[test]
fn a_watch_from_a_version_that_is_yet_to_come_is_refused() {
    // Of another database, or lost in a power cut: to wait for it would pass over all that is committed on the way.
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("watched").expect("begins");
        let read = run.kv().put("k", 1).expect("puts");
        for from in [read.0 + 1, u64::MAX] {
            let refused = run.kv().watch_from("", Version(from), 8);
            assert!(
                matches!(refused, Err(Error::Write(WriteError::WatchFromFuture { last, .. })) if last == read),
                "{refused:?}"
            );
        }
        let mut watch = run.kv().watch_from("", read, 8).expect("watches");
        run.kv().put("k", 2).expect("puts");
        assert!(watch.try_next().expect("reads").is_some());
    });
}
