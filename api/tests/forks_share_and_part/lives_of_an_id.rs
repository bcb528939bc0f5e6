//! An id is used again: a run that was deleted and made again, as a fork or not, has a past in each of its lives.

use super::*;

/// The log of a run under whose id there was another before: what that went on from was taken for what this one does.
#[test]
fn a_run_made_again_under_its_id_has_the_past_of_its_own_life() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    parent.kv().put("k", 1).expect("puts");
    parent.events().append("n", 1).expect("appends");
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    fork.kv().put("own", 2).expect("puts");
    let (id, then, was) = (fork.id(), version(&fork), read(&fork));
    fork.delete().expect("deletes");
    // No fork any more.
    let plain = db.new_run("plain").id(id).begin().expect("begins");
    plain.kv().put("plain", 3).expect("puts");
    assert!(plain.verify().expect("verifies").is_same());
    assert_eq!(replayed(&plain, Point::Now), read(&plain));
    plain.delete().expect("deletes");
    // And one again, of a later version.
    parent.kv().put("k", 4).expect("puts");
    let fork = parent.fork(ForkOptions::default().id(id)).expect("forks");
    fork.events().append("n", 5).expect("appends");
    assert_eq!(replayed(&fork, Point::Now), read(&fork));
    assert!(fork.verify().expect("verifies").is_same());
    let again = fork_at(&db, &fork, Point::Version(version(&fork)));
    assert_eq!(read(&again), read(&fork));
    assert_eq!(replayed(&fork, Point::Event(0)).kv["k"], Value::from(1), "the parent's");
    assert_eq!(replayed(&fork, Point::Event(1)), read(&fork));
    // The first of its lives is still what it was.
    assert_eq!(replayed(&fork, Point::Version(then)), was);
    assert_eq!(read(&fork_at(&db, &fork, Point::Version(then))), was);
    let gone = Point::Version(Version(then.0 + 1));
    assert_eq!(replayed(&fork, gone), Model::default());
}

/// Found by the simulator (seed 30000678): what a prune had left of an earlier life was taken for the rest of the run, whose own past
/// is whole.
#[test]
fn a_run_made_again_behind_a_life_whose_past_was_erased_has_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let run = db.begin_run("run").expect("begins");
    run.events().append("n", 1).expect("appends");
    let (id, before) = (run.id(), version(&run));
    run.end(RunStatus::Completed).expect("ends");
    let policy = RetentionPolicy { keep_newest: Some(0), history_only: true, ..RetentionPolicy::default() };
    db.prune(&policy, false).expect("prunes");
    run.delete().expect("deletes");
    let run = db.new_run("again").id(id).begin().expect("begins");
    run.kv().put("k", 1).expect("puts");
    let then = version(&run);
    run.kv().put("k", 2).expect("puts");
    assert!(run.verify().expect("verifies").is_same());
    assert_eq!(replayed(&run, Point::Now), read(&run));
    assert_eq!(read(&fork_at(&db, &run, Point::Version(then))).kv["k"], Value::from(1));
    let erased = run.at(Point::Version(before)).map(drop).expect_err("is gone");
    assert!(
        matches!(erased, Error::History(HistoryError::Erased { .. } | HistoryError::BeforeVersion { .. })),
        "{erased}"
    );
}

/// Found by the simulator (seed 50006202): where one life could not be shown, because what it was a fork of had been erased, none before
/// it was.
#[test]
fn a_life_before_one_whose_base_was_erased_is_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let run = db.begin_run("run").expect("begins");
    let begun = version(&run);
    run.kv().put("k", 1).expect("puts");
    let (id, first) = (run.id(), version(&run));
    run.delete().expect("deletes");
    let parent = db
        .new_run("parent")
        .id(RunId::from_bytes([9; 16]).with_routing(id.routing()))
        .begin()
        .expect("begins");
    parent.kv().put("k", 2).expect("puts");
    let run = parent.fork(ForkOptions::default().id(id)).expect("forks");
    run.kv().put("own", 2).expect("puts");
    let second = version(&run);
    run.delete().expect("deletes");
    parent.end(RunStatus::Completed).expect("ends");
    let policy = RetentionPolicy { keep_newest: Some(0), ..RetentionPolicy::default() };
    db.prune(&policy, false).expect("prunes");
    let run = db.new_run("again").id(id).begin().expect("begins");
    run.kv().put("k", 3).expect("puts");
    let k = |n: i64| BTreeMap::from([("k".to_owned(), Value::from(n))]);
    assert_eq!(replayed(&run, Point::Now).kv, k(3));
    assert_eq!(replayed(&run, Point::Version(first)).kv, k(1));
    let lost = run.at(Point::Version(second)).map(drop).expect_err("is gone");
    assert!(
        matches!(&lost, Error::History(HistoryError::Erased { run, .. } | HistoryError::NoHistory { run }) if *run == parent.id()),
        "{lost}"
    );
    // Steps pass over it: the first life begins, and puts, and is deleted.
    let mut at = run.at(Point::Now).expect("replays");
    let mut seen = vec![at.version()];
    while at.step_back() {
        seen.push(at.version());
    }
    assert_eq!((seen.len(), seen[4]), (5, begun), "{seen:?}");
    assert!(seen.iter().all(|at| *at <= Version(first.0 + 1) || *at > second), "{seen:?}");
    let mut forth = vec![at.version()];
    while at.step_forward() {
        forth.push(at.version());
    }
    seen.reverse();
    assert_eq!(forth, seen);
}

/// Its events were written anew at the time of the fork, and their hashes were over their own: the fork's chain was broken.
#[test]
fn a_fork_of_an_earlier_life_with_events_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let run = db.begin_run("run").expect("begins");
    run.kv().put("k", 1).expect("puts");
    let (id, before) = (run.id(), version(&run));
    run.events().append("n", 1).expect("appends");
    let with = version(&run);
    run.delete().expect("deletes");
    let run = db.new_run("again").id(id).begin().expect("begins");
    run.events().append("n", 2).expect("appends");
    let refused = db.fork(id, Point::Version(with), ForkOptions::default()).map(|_| ());
    let refused = refused.expect_err("is refused").to_string();
    assert!(refused.contains("was deleted and made again") && refused.contains("replay"), "{refused}");
    let fork = fork_at(&db, &run, Point::Version(before));
    assert_eq!(fork.kv().get("k").expect("reads"), Some(Value::from(1)));
    assert!(fork.events().is_empty().expect("reads"));
    fork.events().append("n", 3).expect("appends");
    assert!(fork.events().verify_chain().expect("reads").is_intact());
}

/// A fork goes on from what its parent was, whatever is under the parent's id by now: the fork's own fork, say.
#[test]
fn a_fork_has_its_past_whatever_became_of_its_parent() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    parent.kv().put("k", 1).expect("puts");
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    fork.kv().put("k", 2).expect("puts");
    let id = parent.id();
    parent.delete().expect("deletes");
    let again = fork.fork(ForkOptions::default().id(id)).expect("forks");
    again.kv().put("own", 3).expect("puts");
    for run in [&fork, &again] {
        assert!(run.verify().expect("verifies").is_same());
        assert_eq!(replayed(run, Point::Now), read(run));
    }
}

/// What a run shared in a life before this one may be erased.
#[test]
fn a_run_made_again_does_not_depend_on_what_it_shared_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    parent.kv().put("k", 1).expect("puts");
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    let (id, then) = (fork.id(), version(&fork));
    fork.delete().expect("deletes");
    parent.end(RunStatus::Completed).expect("ends");
    let all = in_mem::RetentionPolicy { keep_newest: Some(0), ..Default::default() };
    assert_eq!(db.prune(&all, false).expect("prunes").runs.len(), 1);
    let run = db.new_run("again").id(id).begin().expect("begins");
    run.kv().put("own", 2).expect("puts");
    assert!(run.verify().expect("verifies").is_same());
    assert_eq!(replayed(&run, Point::Now), read(&run));
    assert!(matches!(run.at(then), Err(Error::History(_))), "its parent is not there to be read");
    let mut view = run.at(Point::Now).expect("replays");
    while view.step_back() {}
    assert!(view.version() > then);
}

fn on_disk(disk: &in_mem_wal::SimDisk) -> Database {
    let builder = Database::builder().path("/db").shards(1).storage(std::sync::Arc::new(disk.clone()));
    builder.background(false).open().expect("opens")
}

/// A run that is a fork of its own fork, since its id was used again: whoever went from forks to their forks never came to an end.
#[test]
fn a_run_made_anew_as_a_fork_of_its_fork_is_pruned_and_exported() {
    let db = on_disk(&in_mem_wal::SimDisk::new(1));
    let (a, b) =
        (in_mem::RunId::from_bytes([1; 16]), in_mem::RunId::from_bytes([2; 16]).with_routing(0x0101));
    let run = db.new_run("a").id(a).begin().expect("begins");
    let fork = run.fork(ForkOptions::default().id(b)).expect("forks");
    run.delete().expect("deletes");
    let again = fork.fork(ForkOptions::default().id(a)).expect("forks");
    assert!(db.export(again.id()).is_err(), "it was made again");
    assert_eq!(db.engine().forks_of(a).expect("lists"), [(b, 1)]);
    again.end(in_mem::RunStatus::Completed).expect("ends");
    let policy = in_mem::RetentionPolicy { keep_newest: Some(0), ..Default::default() };
    let report = db.prune(&policy, false).expect("prunes");
    assert_eq!(report.runs.len(), 1);
}

/// The log finds a run's commits under its id and under its lineage's: where these are the same, each came twice.
#[test]
fn a_run_with_its_lineages_id_has_each_commit_once() {
    let db = on_disk(&in_mem_wal::SimDisk::new(1));
    let id = in_mem::RunId::from_bytes([0; 16]).with_routing(7);
    let run = db.new_run("lineage").id(id).begin().expect("begins");
    let child = run.child("child").expect("a child").begin().expect("begins");
    let both = |n: i64| {
        let put = |tx: &mut in_mem::Transaction<'_>| {
            tx.kv().put("k", n)?;
            tx.kv_of(&child).put("k", n)
        };
        run.transaction(put).expect("commits");
    };
    both(1);
    run.events().append("e", 1).expect("appends");
    both(2);
    assert_eq!(run.commits().expect("reads").len(), 4);
    let fork = db.fork(id, in_mem::Point::Event(0), ForkOptions::default()).expect("forks");
    assert!(fork.events().verify_chain().expect("checks").is_intact());
    fork.delete().expect("deletes");
    run.end(in_mem::RunStatus::Completed).expect("ends");
    let policy = in_mem::RetentionPolicy { keep_newest: Some(0), ..Default::default() };
    db.prune(&policy, false).expect("prunes");
    // What was its child's of their commits stays.
    assert_eq!(child.key_history("k").expect("reads").len(), 2);
}
