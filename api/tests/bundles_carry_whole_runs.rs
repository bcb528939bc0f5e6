//! A bundle carries a run, its children and its forks with all their commits to another database: the same content, the same
//! chains, the same past; and whatever is done to its bytes, it is taken in whole or not at all.

use in_mem::{
    BundleError, Database, Error, ForkOptions, ManualClock, Point, Run, RunId, RunStatus, Timestamp, Value,
    WriteError,
};

fn database() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(3).segment_bytes(64 << 10).open().expect("opens");
    (dir, db)
}

fn lineage(db: &Database) -> (Run, Run, Run) {
    let run = db.begin_run("exported").expect("begins");
    for n in 0..300 {
        run.kv().put(format!("k{:02}", n % 40), n).expect("puts");
        if n % 10 == 0 {
            run.events().append("n", n).expect("appends");
        }
    }
    let child = run.child("child").expect("there").begin().expect("begins");
    run.transaction(|tx| {
        tx.kv_of(&child).put("from", "parent")?;
        tx.kv().put("to", "child")
    })
    .expect("commits");
    let fork = run.fork(ForkOptions::default().name("fork")).expect("forks");
    fork.kv().delete("k01").expect("deletes");
    fork.events().append("own", 1).expect("appends");
    run.kv().put("k02", "behind the fork").expect("puts");
    let _: i64 = run.step("ask", "x", || Ok::<_, Error>(5)).expect("steps");
    run.end(RunStatus::Completed).expect("ends");
    (run, child, fork)
}

fn same_past(a: &Run, b: &Run) {
    assert_eq!(a.digest().expect("reads").content, b.digest().expect("reads").content);
    assert_eq!(a.events().head().expect("there"), b.events().head().expect("there"));
    let verified = b.verify().expect("verifies");
    assert!(verified.is_same(), "{verified}");
    let (a, b) = (a.at(Point::Now).expect("replays"), b.at(Point::Now).expect("replays"));
    assert_eq!(a.commits(), b.commits());
    for (a, b) in a.every().zip(b.every()) {
        assert_eq!(a.digest().content, b.digest().content);
        assert_eq!(a.timestamp(), b.timestamp());
    }
}

#[test]
fn a_lineage_arrives_as_it_left() {
    let (_dir, there) = database();
    let (run, child, fork) = lineage(&there);
    let bundle = there.export(run.id()).expect("exports");
    for new_ids in [false, true] {
        let (dir, here) = database();
        here.begin_run("already here").expect("begins").kv().put("x", 1).expect("puts");
        let report = here.import(&bundle, new_ids).expect("imports");
        assert_eq!(report.runs.len(), 3);
        let id = |of: RunId| report.runs.iter().find(|(there, _)| *there == of).expect("in it").1;
        assert_eq!(id(run.id()) == run.id(), !new_ids);
        for of in [&run, &child, &fork] {
            same_past(of, &here.run(id(of.id())).expect("there"));
        }
        let meta = here.run(id(fork.id())).expect("there").info().expect("there").meta;
        assert_eq!(meta.forked_from.expect("a fork").run, id(run.id()));
        assert_eq!(meta.parent, Some(id(run.id())));
        if !new_ids {
            let again = here.import(&bundle, false);
            assert!(matches!(again, Err(Error::Write(WriteError::RunExists { .. }))), "{again:?}");
        }
        here.close().expect("closes");
        let here = Database::builder().path(dir.path()).open().expect("opens");
        for of in [&run, &child, &fork] {
            same_past(of, &here.run(id(of.id())).expect("there"));
        }
    }
}

#[test]
fn a_fork_brings_what_it_shares() {
    let (_dir, there) = database();
    let (run, _, fork) = lineage(&there);
    let bundle = there.export(fork.id()).expect("exports");
    let (_other, here) = database();
    let report = here.import(&bundle, true).expect("imports");
    assert_eq!(report.runs[0].0, fork.id());
    let arrived = here.run(report.runs[0].1).expect("there");
    same_past(&fork, &arrived);
    assert_eq!(arrived.kv().get("k02").expect("reads"), Some(Value::from(282)), "as it was at the fork");
    assert_eq!(run.kv().get("k02").expect("reads"), Some(Value::from("behind the fork")));
}

#[test]
fn a_damaged_bundle_changes_nothing() {
    let (_dir, there) = database();
    let (run, ..) = lineage(&there);
    let bundle = there.export(run.id()).expect("exports");
    let here = Database::in_memory().expect("opens");
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..300 {
        let mut bytes = bundle.clone();
        match round % 3 {
            0 => bytes.truncate(rng.usize(0..bytes.len())),
            1 => {
                let at = rng.usize(0..bytes.len());
                bytes[at] ^= 1 << rng.u8(0..8);
            }
            _ => {
                let at = rng.usize(0..bytes.len());
                bytes[at..].iter_mut().take(20).for_each(|byte| *byte = rng.u8(..));
            }
        }
        // A few bytes of the header mean nothing; whatever else differs is found.
        match here.import(&bytes, true) {
            Err(Error::Bundle(_)) => {}
            Ok(_) => assert!(bytes[..10] == bundle[..10] && bytes[12..] == bundle[12..], "round {round}"),
            Err(other) => panic!("round {round}: {other}"),
        }
    }
    let newer = [&bundle[..8], &[9, 0][..], &bundle[10..]].concat();
    assert!(matches!(here.import(&newer, true), Err(Error::Bundle(BundleError::NewerFormat { found: 9 }))));
}

/// With its hash the stored event is a little larger than a value may be, and the bundle that held it was refused as damaged.
#[test]
fn the_largest_event_travels() {
    let (_dir, there) = database();
    let run = there.begin_run("large").expect("begins");
    let payload = Value::from(vec![7u8; in_mem::limits::MAX_VALUE_BYTES - 16]);
    run.events().append("large", payload.clone()).expect("appends");
    let bundle = there.export(run.id()).expect("exports");
    let (_dir, here) = database();
    here.import(&bundle, false).expect("imports");
    let run = here.run(run.id()).expect("there");
    assert_eq!(run.events().read(0).expect("reads").expect("there").payload, payload);
}

/// Both found the ids free, and each wrote over what the other had made.
#[test]
fn of_two_imports_of_one_bundle_at_once_one_is_refused() {
    let (_dir, there) = database();
    let (run, ..) = lineage(&there);
    let bundle = there.export(run.id()).expect("exports");
    let expected = run.digest().expect("reads").content;
    for _ in 0..100 {
        let here = Database::in_memory().expect("opens");
        let start = std::sync::Barrier::new(2);
        let import = || {
            start.wait();
            here.import(&bundle, false)
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(import));
            both.map(|one| one.join().expect("no panic")).into()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let imported = here.run(run.id()).expect("there");
        assert_eq!(imported.digest().expect("reads").content, expected);
        assert!(imported.events().verify_chain().expect("reads").is_intact());
    }
}

/// Opened again, the shard took the last record's time for now: every time to live was over at once.
#[test]
fn a_bundle_from_the_far_future_is_refused() {
    let far = ManualClock::new(Timestamp(Timestamp::now().0 + 400 * 86_400_000_000));
    let dir = tempfile::tempdir().expect("a directory");
    let builder = Database::builder().path(dir.path()).clock(std::sync::Arc::new(far));
    let there = builder.open().expect("opens");
    let run = there.begin_run("ahead").expect("begins");
    let bundle = there.export(run.id()).expect("exports");
    let (_dir, here) = database();
    let refused = here.import(&bundle, false);
    let Err(Error::Bundle(error)) = &refused else { panic!("{refused:?}") };
    assert!(matches!(error, BundleError::FromTheFuture { .. }), "{error}");
    assert_eq!(here.runs().count().expect("counts"), 0);
}

/// An export that no import would take must be refused while the runs are there.
#[test]
fn more_runs_than_a_bundle_may_have_are_refused_by_the_export() {
    let db = Database::in_memory().expect("opens");
    let of = db.begin_run("of many").expect("begins");
    for _ in 0..65_536 {
        of.child("one").expect("there").begin().expect("begins");
    }
    let refused = db.export(of.id()).expect_err("too many");
    assert!(
        matches!(refused, Error::Bundle(BundleError::TooManyRuns { run }) if run == of.id()),
        "{refused}"
    );
}
