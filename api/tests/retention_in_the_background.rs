//! A database that was opened with policies carries them out by itself, as a prune by hand does; and a prune says what it leaves.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use in_mem::{
    Database, Error, ForkOptions, HistoryError, ManualClock, Namespace, Point, RetentionPolicy, RunId,
    RunStatus, Timestamp,
};

const MARKER: &str = "a-marker-that-nothing-else-holds";

fn files_with(dir: &Path, what: &str) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found += files_with(&path, what);
        } else {
            let bytes = fs::read(&path).expect("reads");
            found += usize::from(bytes.windows(what.len()).any(|window| window == what.as_bytes()));
        }
    }
    found
}

fn ended(db: &Database, namespace: &Namespace, status: RunStatus) -> RunId {
    let run = db.new_run("ended").namespace(namespace.clone()).begin().expect("begins");
    run.kv().put("k", MARKER).expect("puts");
    run.end(status).expect("ends");
    run.id()
}

fn ids(db: &Database) -> Vec<RunId> {
    db.runs().list().expect("lists").iter().map(|run| run.id).collect()
}

#[test]
fn each_policy_takes_what_it_says_at_opening_and_again_and_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::new(Timestamp(1_000_000));
    let (ours, theirs) = (
        Namespace::new("ours", "app", "agent").expect("sound"),
        Namespace::new("theirs", "app", "agent").expect("sound"),
    );
    let builder = || Database::builder().path(dir.path()).clock(Arc::new(clock.clone())).shards(2);
    let db = builder().open().expect("opens");
    let old = ended(&db, &ours, RunStatus::Completed);
    let failed = ended(&db, &theirs, RunStatus::Failed);
    let completed = ended(&db, &theirs, RunStatus::Completed);
    clock.advance(60_000_000);
    let young = ended(&db, &ours, RunStatus::Completed);
    let at_work = db.new_run("at work").namespace(ours).begin().expect("begins").id();
    db.close().expect("closes");
    let db = builder()
        .retention(RetentionPolicy {
            older_than: Some(Duration::from_secs(30)),
            tenant: Some("ours".into()),
            ..RetentionPolicy::default()
        })
        .retention(RetentionPolicy {
            keep_newest: Some(0),
            tenant: Some("theirs".into()),
            status: vec![RunStatus::Failed],
            ..RetentionPolicy::default()
        })
        .retention_interval(Duration::from_millis(1))
        .open()
        .expect("opens");
    let rounds = || db.stats().expect("there").retention.expect("is kept");
    while rounds().runs < 2 {
        std::thread::yield_now();
    }
    let left = ids(&db);
    assert!(!left.contains(&old) && !left.contains(&failed), "{left:?}");
    assert!([completed, young, at_work].iter().all(|run| left.contains(run)), "{left:?}");
    // As time goes on, so do the runs.
    clock.advance(60_000_000);
    while ids(&db).contains(&young) || rounds().runs < 3 {
        std::thread::yield_now();
    }
    let stats = rounds();
    assert_eq!((stats.runs, stats.error), (3, None));
    assert!(stats.log_bytes_erased > 0);
    assert!(ids(&db).contains(&completed) && ids(&db).contains(&at_work));
    db.close().expect("closes");
}

#[test]
fn a_round_that_takes_nothing_writes_nothing() {
    for history_only in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let policy = RetentionPolicy { keep_newest: Some(0), history_only, ..RetentionPolicy::default() };
        let open = || {
            let builder = Database::builder().path(dir.path()).background(false).shards(1);
            builder.retention(policy.clone()).open().expect("opens")
        };
        let db = open();
        let run = ended(&db, &Namespace::default(), RunStatus::Completed);
        db.begin_run("at work").expect("begins");
        let reports = db.retain().expect("retains");
        assert_eq!(reports[0].runs.iter().map(|run| run.id).collect::<Vec<_>>(), [run]);
        assert!(reports[0].log_bytes_erased > 0);
        // What is said before is what goes; and of a run that is dropped, the commit that drops it.
        let (said, erased) = (reports[0].log_bytes, reports[0].log_bytes_erased);
        assert!(
            if history_only { erased == said } else { erased > said && erased < said + 64 },
            "{said}, {erased}"
        );
        let checkpoint = |db: &Database| db.stats().expect("there").shards[0].checkpoint.map(|it| it.version);
        let before = checkpoint(&db);
        assert!(before.is_some());
        db.begin_run("another").expect("begins");
        for _ in 0..3 {
            let report = db.retain().expect("retains").remove(0);
            assert_eq!((report.runs.len(), report.log_bytes, report.log_bytes_erased), (0, 0, 0));
        }
        assert_eq!(checkpoint(&db), before, "no checkpoint was needed");
        db.close().expect("closes");
        // Another process does not know that its past is gone, and finds nothing of it.
        let db = open();
        let before = checkpoint(&db);
        for round in 0..2 {
            let report = db.retain().expect("retains").remove(0);
            assert_eq!(report.runs.len(), usize::from(history_only && round == 0));
            assert_eq!(report.log_bytes_erased, 0);
        }
        assert_eq!(checkpoint(&db), before);
        assert_eq!(ids(&db).contains(&run), history_only);
        if history_only {
            // What is written of it since is past again.
            db.run(run).expect("there").end(RunStatus::Archived).expect("archives");
            let report = db.retain().expect("retains").remove(0);
            assert_eq!(report.runs.len(), 1);
            assert!(report.log_bytes_erased > 0);
        }
    }
}

#[test]
fn the_past_that_a_fork_holds_is_not_counted_as_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = RetentionPolicy { keep_newest: Some(0), history_only: true, ..RetentionPolicy::default() };
    let builder = Database::builder().path(dir.path()).background(false).shards(1);
    let db = builder.retention(policy).open().expect("opens");
    let run = ended(&db, &Namespace::default(), RunStatus::Completed);
    let fork = db.fork(run, Point::Now, ForkOptions::default()).expect("forks");
    for _ in 0..2 {
        assert_eq!(db.retain().expect("retains")[0].runs[0].forks, [fork.id()]);
        let stats = db.stats().expect("there");
        assert_eq!(stats.retention.expect("is kept").runs, 0);
        assert_eq!(stats.shards[0].checkpoint, None);
    }
    fork.delete().expect("deletes");
    assert!(db.retain().expect("retains")[0].log_bytes_erased > 0);
    assert_eq!(db.stats().expect("there").retention.expect("is kept").runs, 1);
}

#[test]
fn what_was_kept_for_a_fork_goes_once_the_fork_has_gone() {
    for reopened in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut db = Database::open(dir.path()).expect("opens");
        let run = db.begin_run("parent").expect("begins");
        run.kv().put("k", MARKER).expect("puts");
        let fork = run.fork(ForkOptions::default()).expect("forks");
        let fork_of_fork = fork.fork(ForkOptions::default()).expect("forks");
        run.end(RunStatus::Completed).expect("ends");
        let (parent, fork, last) = (run.id(), fork.id(), fork_of_fork.id());
        drop((run, fork_of_fork));
        let policy = RetentionPolicy { keep_newest: Some(0), ..RetentionPolicy::default() };
        let report = db.prune(&policy, false).expect("prunes");
        assert_eq!((report.runs[0].id, report.released.len()), (parent, 0));
        assert!(report.runs[0].forks.contains(&fork) && report.runs[0].forks.contains(&last));
        assert!(files_with(dir.path(), MARKER) > 0);
        db.run(fork).expect("there").delete().expect("deletes");
        let report = db.prune(&policy, false).expect("prunes");
        assert_eq!(report.released, [], "a fork of the fork holds it still");
        assert!(db.run(last).expect("there").verify().expect("replays").is_same());
        if reopened {
            db.close().expect("closes");
            db = Database::open(dir.path()).expect("opens");
        }
        // One that goes with the prune.
        db.run(last).expect("there").end(RunStatus::Failed).expect("ends");
        let said = db.prune(&policy, true).expect("says");
        let report = db.prune(&policy, false).expect("prunes");
        assert_eq!((&said.released, said.log_bytes), (&report.released, report.log_bytes));
        assert_eq!(report.released, [parent]);
        assert!(report.log_bytes_erased > 0);
        assert_eq!(files_with(dir.path(), MARKER), 0);
        assert_eq!(db.prune(&policy, false).expect("prunes").released, []);
    }
}

#[test]
fn a_commit_over_several_runs_that_is_larger_than_a_segment_is_left_and_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).segment_bytes(64 << 10).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    let child = parent.child("child").expect("there").begin().expect("begins");
    let large = || vec![7u8; 100_000];
    parent
        .transaction(|tx| {
            tx.kv().put("large", large())?;
            tx.kv_of(&child).put("marked", MARKER)
        })
        .expect("commits");
    // Of one that is the parent's alone nothing is the child's.
    parent.kv().put("alone", large()).expect("puts");
    child.end(RunStatus::Completed).expect("ends");
    let policy = RetentionPolicy { keep_newest: Some(0), ..RetentionPolicy::default() };
    for dry_run in [true, false] {
        let report = db.prune(&policy, dry_run).expect("prunes");
        assert_eq!(report.runs.len(), 1);
        assert!((100_000..110_000).contains(&report.log_bytes_left), "{}", report.log_bytes_left);
    }
    assert!(files_with(dir.path(), MARKER) > 0, "as was said");
}

#[test]
fn what_was_erased_and_what_was_let_go_are_different_errors() {
    let small = |keep: bool, dir: &Path| {
        let builder = Database::builder().path(dir).shards(1).segment_bytes(64 << 10);
        builder.keep_history(keep).open().expect("opens")
    };
    let gone = |db: &Database, run: RunId| match db.run(run).expect("there").at(Point::Now) {
        Err(Error::History(error)) => error,
        other => panic!("{other:?}"),
    };
    let dir = tempfile::tempdir().expect("a directory");
    let db = small(true, dir.path());
    let run = ended(&db, &Namespace::default(), RunStatus::Completed);
    let policy = RetentionPolicy { keep_newest: Some(0), history_only: true, ..RetentionPolicy::default() };
    db.prune(&policy, false).expect("prunes");
    let error = gone(&db, run);
    assert!(matches!(error, HistoryError::Erased { .. }), "{error}");
    assert!(error.to_string().contains("import a bundle"), "{error}");
    db.run(run).expect("there").end(RunStatus::Archived).expect("archives");
    let error = gone(&db, run);
    assert!(matches!(error, HistoryError::Erased { .. }), "{error}");

    let dir = tempfile::tempdir().expect("a directory");
    let db = small(false, dir.path());
    let run = ended(&db, &Namespace::default(), RunStatus::Completed);
    let noise = db.begin_run("noise").expect("begins");
    for _ in 0..10 {
        noise.kv().put("k", vec![1u8; 50_000]).expect("puts");
    }
    db.checkpoint().expect("writes");
    let error = gone(&db, run);
    assert!(matches!(error, HistoryError::LetGo { .. }), "{error}");
    assert!(error.to_string().contains("keep_history"), "{error}");
    db.run(run).expect("there").end(RunStatus::Archived).expect("archives");
    let error = gone(&db, run);
    assert!(matches!(error, HistoryError::Cut { .. }), "{error}");
    assert!(error.to_string().contains("keep_history"), "{error}");
}

/// So long an interval that it never ends is one way to say "only at opening"; it ended the worker, and with it the checkpoints.
#[test]
fn an_interval_without_end_ends_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder()
        .path(dir.path())
        .shards(1)
        .checkpoint_interval(Some(Duration::from_millis(1)))
        .retention(RetentionPolicy { keep_newest: Some(100), ..RetentionPolicy::default() })
        .retention_interval(Duration::MAX)
        .open()
        .expect("opens");
    while db.stats().expect("counts").retention.is_none_or(|retention| retention.rounds == 0) {
        std::thread::yield_now();
    }
    db.begin_run("written").expect("begins");
    while db.stats().expect("counts").shards[0].checkpoint.is_none() {
        std::thread::yield_now();
    }
}
