//! A fork begins as its parent is, or was; what is written to one never shows in the other; and both are what a model that
//! copies everything says, also in replay, and after reopening.

use std::collections::BTreeMap;
use std::sync::Arc;

use in_mem::{
    Database, Durability, Error, ForkOptions, HistoryError, ManualClock, Point, RetentionPolicy, Run, RunId,
    RunStatus, Timestamp, Value, Version, WriteError,
};

mod lives_of_an_id;

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    kv: BTreeMap<String, Value>,
    cells: BTreeMap<String, Value>,
    events: Vec<i64>,
}

fn read(run: &Run) -> Model {
    let text = |key: &in_mem::KeyBytes| key.as_str().expect("text").to_owned();
    Model {
        kv: run.kv().list("").expect("lists").iter().map(|(k, v)| (text(k), v.clone())).collect(),
        cells: run.state().list("").expect("lists").iter().map(|(k, v)| (text(k), v.value.clone())).collect(),
        events: run.events().range(..).expect("reads").iter().filter_map(|e| e.payload.as_i64()).collect(),
    }
}

fn replayed(run: &Run, at: Point) -> Model {
    let at = run.at(at).expect("replays");
    let text = |key: &in_mem::KeyBytes| key.as_str().expect("text").to_owned();
    Model {
        kv: at.kv().list("").iter().map(|(k, v)| (text(k), v.clone())).collect(),
        cells: at.state().list("").iter().map(|(k, v)| (text(k), v.value.clone())).collect(),
        events: at.events().range(..).expect("reads").iter().filter_map(|e| e.payload.as_i64()).collect(),
    }
}

fn act(rng: &mut fastrand::Rng, run: &Run, model: &mut Model) {
    let key = format!("key-{:02}", rng.u8(0..25));
    let n = rng.i64(0..1_000_000);
    match rng.u8(0..8) {
        0..=2 => {
            run.kv().put(&key, n).expect("puts");
            model.kv.insert(key, Value::from(n));
        }
        3 | 4 => {
            assert_eq!(run.kv().delete(&key).expect("deletes"), model.kv.remove(&key).is_some(), "{key}");
        }
        5 => {
            assert_eq!(run.events().append("n", n).expect("appends"), model.events.len() as u64);
            model.events.push(n);
        }
        6 => {
            run.state().set(&key, n).expect("sets");
            model.cells.insert(key, Value::from(n));
        }
        _ => {
            let there = model.kv.get(&key).cloned();
            run.transaction(|tx| {
                assert_eq!(tx.kv().get(&key)?, there);
                tx.kv().delete(&key)?;
                tx.kv().put("from-tx", n)?;
                tx.events().append("n", n)
            })
            .expect("commits");
            model.kv.remove(&key);
            model.kv.insert("from-tx".to_owned(), Value::from(n));
            model.events.push(n);
        }
    }
}

fn version(run: &Run) -> Version {
    run.info().expect("there").last_version
}

fn check(run: &Run, model: &Model) {
    assert_eq!(read(run), *model);
    for n in 0..25 {
        let key = format!("key-{n:02}");
        assert_eq!(run.kv().get(&key).expect("reads"), model.kv.get(&key).cloned());
        assert_eq!(run.state().read(&key).expect("reads").map(|v| v.value), model.cells.get(&key).cloned());
    }
    let backwards: Vec<_> =
        run.kv().range_reverse::<&str>(..).expect("lists").into_iter().map(|(k, _)| k).collect();
    let mut forwards: Vec<_> = model.kv.keys().cloned().collect();
    forwards.reverse();
    assert_eq!(backwards.iter().map(|k| k.as_str().expect("text").to_owned()).collect::<Vec<_>>(), forwards);
    let (mut after, mut paged) = (None, Vec::new());
    loop {
        let page = run.kv().page("key", after.as_ref(), 3).expect("lists");
        assert!(page.entries.len() <= 3);
        paged.extend(page.entries.into_iter().map(|(key, _)| key.as_str().expect("text").to_owned()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = model.kv.keys().filter(|key| key.starts_with("key")).cloned().collect();
    assert_eq!(paged, expected);
    assert_eq!(run.events().len().expect("there"), model.events.len() as u64);
}

#[test]
fn forks_are_what_copies_would_be() {
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().expect("a directory");
        let durability = if seed % 3 == 0 { Durability::Strict } else { Durability::buffered() };
        let open_with = |shards| {
            let builder = Database::builder().path(dir.path()).durability(durability);
            builder.shards(shards).segment_bytes(128 << 10).open().expect("opens")
        };
        let open = || open_with(2);
        let mut db = open();
        let root = db.begin_run("root").expect("begins").id();
        let mut all: Vec<(RunId, Model)> = vec![(root, Model::default())];
        // What each run was at some of its versions.
        let mut past: Vec<(usize, Version, Model)> = Vec::new();
        for step in 0..250 {
            let which = rng.usize(0..all.len());
            let run = db.run(all[which].0).expect("there");
            act(&mut rng, &run, &mut all[which].1);
            if rng.u8(0..4) == 0 {
                past.push((which, version(&run), all[which].1.clone()));
            }
            if step % 25 == 20 {
                let (at, model) = match past.get(rng.usize(0..past.len().max(1))) {
                    Some((of, at, model)) if rng.bool() && *of == which => {
                        (Point::Version(*at), model.clone())
                    }
                    _ => (Point::Now, all[which].1.clone()),
                };
                let fork = db.fork(run.id(), at, ForkOptions::default().name("fork")).expect("forks");
                check(&fork, &model);
                let meta = fork.info().expect("there").meta;
                assert_eq!(meta.parent, Some(run.id()));
                assert_eq!(meta.forked_from.expect("a fork").run, run.id());
                all.push((fork.id(), model));
            }
            if rng.u8(0..60) == 0 {
                db.checkpoint().expect("checkpoints");
            }
            if rng.u8(0..80) == 0 {
                drop(run);
                db.close().expect("closes");
                db = open_with(rng.usize(1..4));
            }
        }
        for round in 0..3 {
            if round == 1 {
                db.checkpoint().expect("checkpoints");
            }
            for (id, model) in &all {
                let run = db.run(*id).expect("there");
                check(&run, model);
                assert_eq!(replayed(&run, Point::Now), *model);
                let verified = run.verify().expect("verifies");
                assert!(verified.is_same(), "{verified}");
            }
            for (which, at, model) in &past {
                let run = db.run(all[*which].0).expect("there");
                assert_eq!(replayed(&run, Point::Version(*at)), *model);
            }
            db.close().expect("closes");
            db = if round == 1 { open_with(5) } else { open() };
        }
    }
}

#[test]
fn a_fork_of_the_past_takes_back_what_came_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path()).expect("opens");
    let run = db.begin_run("past").expect("begins");
    run.kv().put("a", 1).expect("puts");
    run.events().append("n", 0).expect("appends");
    let _: i64 = run.step("first", 1, || Ok::<_, Error>(10)).expect("steps");
    let then = version(&run);
    run.kv().put("a", 2).expect("puts");
    run.kv().put("b", 2).expect("puts");
    run.events().append("n", 1).expect("appends");
    let _: i64 = run.step("second", 2, || Ok::<_, Error>(20)).expect("steps");
    let fork = db.fork(run.id(), then, ForkOptions::default()).expect("forks");
    assert_eq!(fork.kv().list("").expect("lists"), [("a".into(), Value::from(1))]);
    assert_eq!(fork.info().expect("there").meta.forked_from.expect("a fork").version, then);
    // The event and the step's own; the fork goes on behind them, and the parent does not notice.
    assert_eq!(fork.events().len().expect("there"), 2);
    assert_eq!(fork.events().append("n", 7).expect("appends"), 2);
    assert_eq!(fork.events().read(2).expect("reads").expect("there").payload, Value::from(7));
    assert_eq!(run.events().len().expect("there"), 4);
    // The steps that were taken are taken; those behind may come out otherwise.
    assert_eq!(fork.step("first", 1, || Ok::<_, Error>(0)).expect("recorded"), 10);
    assert_eq!(fork.step("another", 3, || Ok::<_, Error>(30)).expect("steps"), 30);
    let head = fork.events().head().expect("there");
    drop((fork, run));
    let (id, fork) = (db.runs().list().expect("lists")[0].id, db.runs().list().expect("lists")[1].id);
    db.close().expect("closes");
    let db = Database::open(dir.path()).expect("opens");
    assert_eq!(db.run(fork).expect("there").events().head().expect("there"), head);
    assert!(db.run(fork).expect("there").verify().expect("verifies").is_same());
    assert_eq!(db.run(id).expect("there").kv().get("a").expect("reads"), Some(Value::from(2)));
}

/// Replayed from the log, the commit that makes the fork took back its parent's last events before the fork was one at all: its chain
/// ended in nothing, and what was appended next broke it.
#[test]
fn a_fork_of_the_past_that_appended_nothing_has_its_chain_after_reopening() {
    let (dir, db, forked) = fork_of_a_past();
    let (id, head) = (forked.id(), forked.events().head().expect("there"));
    assert_eq!(head.len, 3);
    drop(forked);
    db.close().expect("closes");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let forked = db.run(id).expect("there");
    assert_eq!(forked.events().head().expect("there"), head);
    forked.events().append("n", 30).expect("appends");
    assert!(forked.events().verify_chain().expect("reads").is_intact());
    assert!(forked.verify().expect("verifies").is_same());
}

#[test]
fn a_fork_outlives_its_parent_and_its_parents_values() {
    let clock = ManualClock::new(Timestamp(1_000_000));
    let builder = Database::builder().durability(Durability::InMemory).shards(1).background(false);
    let db = builder.clock(Arc::new(clock.clone())).open().expect("opens");
    let run = db.begin_run("parent").expect("begins");
    for n in 0..500 {
        run.kv().put(format!("k{n:03}"), n).expect("puts");
    }
    run.kv().put_with_ttl("short", 1, std::time::Duration::from_secs(1)).expect("puts");
    let fork = run.fork(ForkOptions::default()).expect("forks");
    let fork_of_fork = fork.fork(ForkOptions::default()).expect("forks");
    assert!(fork.kv().exists("short").expect("reads"));
    clock.advance(2_000_000);
    db.step().expect("steps");
    assert!(!fork_of_fork.kv().exists("short").expect("reads"));
    run.delete().expect("deletes");
    let other = db.begin_run("other").expect("begins");
    // Commits enough for the shard to free whatever nobody needs.
    for n in 0..5_000 {
        other.kv().put("x", n).expect("puts");
    }
    for run in [&fork, &fork_of_fork] {
        assert_eq!(run.kv().count("k").expect("counts"), 500);
        assert_eq!(run.kv().get("k123").expect("reads"), Some(Value::from(123)));
    }
    fork.delete().expect("deletes");
    for n in 0..5_000 {
        other.kv().put("x", n).expect("puts");
    }
    assert_eq!(fork_of_fork.kv().count("k").expect("counts"), 500);
    fork_of_fork.delete().expect("deletes");
    for n in 0..20_000 {
        other.kv().put("x", n).expect("puts");
    }
    let stats = db.stats().expect("there").shards[0].core.entries;
    assert!(stats < 100, "{stats} entries are held, though nobody needs them");
}

#[test]
fn conditions_and_conflicts_see_through_a_fork() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("parent").expect("begins");
    run.kv().put("a", 5).expect("puts");
    let cell = run.state().init("cell", 1).expect("makes");
    let fork = run.fork(ForkOptions::default()).expect("forks");
    assert!(!fork.kv().put_if_absent("a", 1).expect("sees it"));
    assert_eq!(fork.kv().increment("a", 1).expect("counts"), 6);
    assert!(matches!(fork.state().init("cell", 2), Err(Error::Write(WriteError::ConditionFailed { .. }))));
    fork.state().cas("cell", cell, 3).expect("is at the parent's version");
    assert_eq!(run.state().read("cell").expect("reads").expect("there").value, Value::from(1));
    // A delete of what the parent holds conflicts with whoever read it, or listed where it was.
    run.kv().put("late", 1).expect("puts");
    assert_eq!(fork.kv().get("late").expect("reads"), None, "written behind the fork");
    let second = run.fork(ForkOptions::default()).expect("forks");
    for listed in [false, true] {
        let key = if listed { "a" } else { "late" };
        let mut tx = second.begin().expect("begins");
        if listed {
            tx.kv().list("a").expect("lists");
        } else {
            assert!(tx.kv().get(key).expect("reads").is_some());
        }
        tx.kv().put("z", 1).expect("puts");
        assert!(second.kv().delete(key).expect("deletes"));
        let refused = tx.commit();
        assert!(matches!(refused, Err(Error::Write(WriteError::Conflict { .. }))), "{refused:?}");
    }
    let early = fork.info().expect("there").meta;
    assert_eq!(early.status, RunStatus::Running);
}

#[test]
fn forks_of_forks_end_at_their_limit() {
    let db = Database::in_memory().expect("opens");
    let mut run = db.begin_run("root").expect("begins");
    for depth in 0..64 {
        run.kv().put(format!("k{depth:02}"), depth).expect("puts");
        run = run.fork(ForkOptions::default()).expect("forks");
    }
    assert_eq!(run.kv().count("").expect("counts"), 64);
    assert_eq!(run.kv().get("k00").expect("reads"), Some(Value::from(0)));
    let refused = run.fork(ForkOptions::default());
    assert!(matches!(refused, Err(Error::Write(WriteError::ForkTooDeep { limit: 64, .. }))), "{refused:?}");
    let refused = db.fork(RunId::from_bytes([9; 16]), Point::Now, ForkOptions::default());
    assert!(matches!(refused, Err(Error::UnknownRun { .. })));
}

/// Found by the simulator. A fork of the past begins by taking back the events that its parent has since appended; a fork of that
/// fork, at one of its own events, took this for the event, and got the run as it was before it.
#[test]
fn a_fork_at_an_event_of_a_fork_has_that_event() {
    let (_dir, db, forked) = fork_of_a_past();
    let own = forked.events().append("n", 30).expect("appends");
    assert_eq!(own, 3, "in the place of its parent's");
    forked.kv().put("k", "the fork's").expect("puts");
    forked.events().append("n", 40).expect("appends");
    forked.kv().put("k", "later").expect("puts");
    let again = fork_at(&db, &forked, Point::Event(own));
    let expected = Model { events: vec![0, 1, 2, 30], kv: kv("2"), ..Model::default() };
    assert_eq!(read(&again), expected);
    assert_eq!(replayed(&again, Point::Now), expected);
    assert_eq!(replayed(&forked, Point::Event(own)), expected);
}

/// Found by the simulator. What changed since an event from before the fork is what the fork changed, and what its parent did in
/// between: not the fork's own changes alone.
#[test]
fn a_fork_at_an_event_from_before_its_parents_fork_takes_back_what_came_between() {
    let (_dir, db, forked) = fork_of_a_past();
    forked.kv().put("own", 1).expect("puts");
    let again = fork_at(&db, &forked, Point::Event(1));
    let expected = Model { events: vec![0, 1], kv: kv("1"), ..Model::default() };
    assert_eq!(read(&again), expected);
    assert_eq!(replayed(&again, Point::Now), expected);
    assert_eq!(replayed(&forked, Point::Event(1)), expected);
}

fn kv(value: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("k".to_owned(), Value::from(value))])
}

/// A fork, at its event 2, of a run with five events; the key "k" was written before each with its number.
fn fork_of_a_past() -> (tempfile::TempDir, Database, Run) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    for n in 0..5 {
        parent.kv().put("k", n.to_string()).expect("puts");
        parent.events().append("n", n).expect("appends");
    }
    let forked = db.fork(parent.id(), Point::Event(2), ForkOptions::default()).expect("forks");
    (dir, db, forked)
}

fn fork_at(db: &Database, run: &Run, at: Point) -> Run {
    let fork = db.fork(run.id(), at, ForkOptions::default()).expect("forks");
    assert!(fork.verify().expect("verifies").is_same());
    fork
}

/// Its own keys were there, and those that it shared were not.
#[test]
fn a_snapshot_sees_all_of_a_fork_that_was_dropped_since() {
    let db = Database::builder().durability(Durability::InMemory).shards(1).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    parent.kv().put("shared", 1).expect("puts");
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    fork.kv().put("own", 2).expect("puts");
    let mut tx = fork.begin().expect("begins");
    fork.delete().expect("deletes");
    let noise = db.begin_run("noise").expect("begins");
    for n in 0..200 {
        parent.kv().put("shared", n).expect("puts");
        noise.kv().put("n", n).expect("puts");
        assert_eq!(tx.kv().get("shared").expect("reads"), Some(Value::from(1)));
        assert_eq!(tx.kv().get("own").expect("reads"), Some(Value::from(2)));
    }
    let keys: Vec<_> = tx.kv().list("").expect("lists").into_iter().map(|(_, value)| value).collect();
    assert_eq!(keys, [Value::from(2), Value::from(1)]);
    drop(tx);
    assert!(matches!(db.run(fork.id()), Err(Error::UnknownRun { .. })));
}

/// One snapshot showed two states: the parent as it was, and through a fork that was made later, as it is.
#[test]
fn a_snapshot_sees_nothing_of_a_fork_that_was_made_since() {
    let db = Database::builder().durability(Durability::InMemory).shards(1).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    parent.kv().put("k", 1).expect("puts");
    let mut tx = parent.begin().expect("begins");
    parent.kv().put("k", 2).expect("puts");
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    assert_eq!(tx.kv().get("k").expect("reads"), Some(Value::from(1)));
    assert_eq!(tx.kv_of(&fork).get("k").expect("reads"), None);
    assert!(tx.kv_of(&fork).list("").expect("lists").is_empty());
    assert_eq!(fork.kv().get("k").expect("reads"), Some(Value::from(2)));
}
