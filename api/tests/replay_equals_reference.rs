//! For random workloads over all primitives, with prunes of other runs, reopenings and crashes between: the replay at every version is what a model of the
//! database said at that version.

use std::collections::BTreeMap;
use std::sync::Arc;

use in_mem::{
    Database, Durability, KeyBytes, ManualClock, Point, RetentionPolicy, Run, RunStatus, Timestamp, Value,
    Version,
};
use in_mem_wal::SimDisk;

/// What a run holds, as the simplest thing that could say so.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    kv: BTreeMap<Vec<u8>, Value>,
    cells: BTreeMap<String, Value>,
    events: Vec<(String, Value)>,
}

struct Recorded {
    version: Version,
    at: Timestamp,
    model: Model,
}

fn value(rng: &mut fastrand::Rng) -> Value {
    match rng.u8(0..6) {
        0 => Value::Null,
        1 => Value::from(rng.i64(..)),
        2 => Value::from("text".repeat(rng.usize(0..20))),
        3 => Value::from(vec![rng.u8(..); rng.usize(0..3_000)]),
        4 => in_mem::value!({ "a": [1, 2, 3], "b": "c" }),
        _ => Value::from(rng.f64()),
    }
}

/// One random commit; gives the version at which it can be seen, or `None` where nothing was changed.
fn act(rng: &mut fastrand::Rng, run: &Run, other: &Run, model: &mut Model) -> Option<Version> {
    let key = format!("key-{}", rng.u8(0..30));
    let cell = format!("cell-{}", rng.u8(0..5));
    match rng.u8(0..8) {
        0..=2 => {
            let value = value(rng);
            model.kv.insert(key.clone().into_bytes(), value.clone());
            Some(run.kv().put(&key, value).expect("puts"))
        }
        3 => {
            let there = run.kv().delete(&key).expect("deletes");
            assert_eq!(there, model.kv.remove(key.as_bytes()).is_some());
            there.then(|| run.info().expect("there").last_version)
        }
        4 => {
            let payload = value(rng);
            run.events().append("note", payload.clone()).expect("appends");
            model.events.push(("note".to_owned(), payload));
            Some(run.info().expect("there").last_version)
        }
        5 => {
            let value = value(rng);
            model.cells.insert(cell.clone(), value.clone());
            Some(run.state().set(&cell, value).expect("sets"))
        }
        6 => {
            let (value, payload) = (value(rng), value(rng));
            run.transaction(|tx| {
                tx.kv().put(&key, value.clone())?;
                tx.events().append("tx", payload.clone())?;
                tx.state().set(&cell, 1)
            })
            .expect("commits");
            model.kv.insert(key.into_bytes(), value);
            model.events.push(("tx".to_owned(), payload));
            model.cells.insert(cell, Value::from(1));
            Some(run.info().expect("there").last_version)
        }
        _ => {
            // Begun by the other run: the commit is under neither's name alone.
            let value = value(rng);
            other
                .transaction(|tx| {
                    tx.kv().put("noise", 1)?;
                    tx.kv_of(run).put(&key, value.clone())
                })
                .expect("commits");
            model.kv.insert(key.into_bytes(), value);
            Some(run.info().expect("there").last_version)
        }
    }
}

fn check(run: &Run, history: &[Recorded]) {
    let replay = run.at(Point::Now).expect("replays");
    for Recorded { version, at, model } in history {
        for then in [replay.at(*version).expect("was there"), replay.at(*at).expect("was there")] {
            let kv: BTreeMap<Vec<u8>, Value> =
                then.kv().list("").into_iter().map(|(key, value)| (key.to_vec(), value)).collect();
            assert_eq!(kv, model.kv, "at {version}");
            let cells: BTreeMap<String, Value> = then
                .state()
                .list("")
                .into_iter()
                .map(|(key, value)| (key.as_str().expect("text").to_owned(), value.value))
                .collect();
            assert_eq!(cells, model.cells, "at {version}");
            let events: Vec<_> = then
                .events()
                .range(..)
                .expect("sound")
                .into_iter()
                .map(|event| (event.kind.to_string(), event.payload))
                .collect();
            assert_eq!(events, model.events, "at {version}");
            assert_eq!(then.events().len(), model.events.len() as u64);
            for key in model.kv.keys() {
                assert_eq!(then.kv().get(key).as_ref(), model.kv.get(key));
            }
        }
    }
    let verified = run.verify().expect("verifies");
    assert!(verified.is_same(), "{verified}");
}

#[test]
fn the_replay_at_every_version_is_what_the_model_said() {
    let (mut prunes, mut crashes) = (0, 0);
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().expect("a directory");
        let clock = ManualClock::new(Timestamp(1_000_000));
        let durability = if seed % 3 == 0 { Durability::Strict } else { Durability::buffered() };
        // Segments so small that most of the history is in sealed ones.
        let open_with = |disk: &Option<SimDisk>, shards| {
            let builder = Database::builder().path(dir.path()).durability(durability).shards(shards);
            let builder = builder.segment_bytes(64 << 10).clock(Arc::new(clock.clone()));
            match disk {
                Some(disk) => builder.storage(Arc::new(disk.clone())).background(false),
                None => builder,
            }
            .open()
            .expect("opens")
        };
        // Half of them on a disk whose power can be cut.
        let mut disk = (seed % 2 == 1).then(|| SimDisk::new(seed));
        let mut db = open_with(&disk, 2);
        let id = db.begin_run("replayed").expect("begins").id();
        let other = db.run(id).expect("there").child("other").expect("there").begin().expect("begins").id();
        let mut noise = db.begin_run("noise").expect("begins").id();
        let mut model = Model::default();
        let mut history = Vec::new();
        for _ in 0..200 {
            clock.advance(10);
            let run = db.run(id).expect("there");
            let other = db.run(other).expect("there");
            if let Some(version) = act(&mut rng, &run, &other, &mut model) {
                history.push(Recorded { version, at: Timestamp(clock_now(&clock)), model: model.clone() });
            }
            db.run(noise).expect("there").kv().put(format!("{}", rng.u16(..)), "noise").expect("puts");
            if rng.u8(0..60) == 0 {
                db.checkpoint().expect("checkpoints");
            }
            if rng.u8(0..60) == 0 {
                drop((run, other));
                db.close().expect("closes");
                db = open_with(&disk, rng.usize(1..4));
            }
            if rng.u8(0..60) == 0 {
                // The commits before it, in the same segments, are erased.
                let gone = db.run(noise).expect("there");
                gone.end(RunStatus::Completed).expect("ends");
                let policy = RetentionPolicy { keep_newest: Some(0), ..RetentionPolicy::default() };
                let report = db.prune(&policy, false).expect("prunes");
                assert_eq!(report.runs.iter().map(|run| run.id).collect::<Vec<_>>(), [noise]);
                noise = db.begin_run("noise").expect("begins").id();
                prunes += 1;
            }
            if rng.u8(0..60) == 0
                && let Some(power) = &mut disk
            {
                db.sync().expect("syncs");
                // Before the handles, whose end would close the log, are dropped.
                let after = if rng.bool() { power.kill() } else { power.crash(rng.u64(..)) };
                power.crash_before(power.ops());
                *power = after;
                db = open_with(&disk, rng.usize(1..4));
                crashes += 1;
            }
        }
        check(&db.run(id).expect("there"), &history);
        db.run(id).expect("there").end(RunStatus::Completed).expect("ends");
        db.close().expect("closes");
        db = open_with(&disk, 2);
        check(&db.run(id).expect("there"), &history);
    }
    assert!(prunes > 10 && crashes > 5, "{prunes}, {crashes}");
}

fn clock_now(clock: &ManualClock) -> i64 {
    use in_mem::Clock;
    clock.now().0
}

#[test]
fn stepping_shows_each_commit_with_what_it_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path()).expect("opens");
    let run = db.begin_run("steps").expect("begins");
    run.kv().put("a", 1).expect("puts");
    run.kv().put("a", 2).expect("puts");
    run.kv().delete("a").expect("deletes");
    run.events().append("note", "x").expect("appends");
    let mut at = db.replay(run.id()).expect("replays");
    assert_eq!((at.place(), at.commits()), (5, 5));
    assert!(!at.step_forward());
    let mut seen = Vec::new();
    loop {
        let commit = at.commit();
        assert_eq!(commit.version, at.version());
        seen.push((commit.changes.len(), at.kv().get("a").and_then(|v| v.as_i64())));
        if !at.step_back() {
            break;
        }
    }
    assert_eq!(seen, [(1, None), (1, None), (1, Some(2)), (1, Some(1)), (1, None)]);
    assert!(at.step_forward());
    assert_eq!(at.kv().get("a"), Some(Value::from(1)));
    let values: Vec<_> = run.key_history("a").expect("reads").into_iter().map(|m| m.value).collect();
    assert_eq!(values, [Some(Value::from(1)), Some(Value::from(2)), None]);
    assert_eq!(run.at_event(0).expect("there").place(), 5);
    assert_eq!(run.commits().expect("reads").len(), 5);
    assert_eq!(run.commits().expect("reads")[1].changes[0].key, KeyBytes::from("a"));
    assert_eq!(at.every().map(|at| at.place()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn what_cannot_be_shown_is_said() {
    use in_mem::{Error, HistoryError};
    let memory = Database::in_memory().expect("opens");
    let run = memory.begin_run("no log").expect("begins");
    assert!(matches!(run.at(Point::Now), Err(Error::History(HistoryError::NoLog { .. }))));
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path()).expect("opens");
    let run = db.begin_run("short").expect("begins");
    let refused = |point: Point| match run.at(point) {
        Err(Error::History(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(Point::Version(Version(0))), HistoryError::BeforeVersion { .. }));
    assert!(matches!(refused(Point::Version(Version(1 << 40))), HistoryError::AfterVersion { .. }));
    assert!(matches!(refused(Point::Time(Timestamp(5))), HistoryError::BeforeTime { .. }));
    assert!(matches!(refused(Point::Event(0)), HistoryError::NoEvent { len: 0, .. }));
    let nobody = in_mem::RunId::from_bytes([9; 16]);
    assert!(matches!(db.replay(nobody), Err(Error::History(HistoryError::NoHistory { .. }))));
}
