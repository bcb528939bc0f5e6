//! Random operations over all primitives, transactions and reopening, against a model so simple that it is right.
//!
//! `IN_MEM_RANDOM_OPS` says how many operations (over all modes), `IN_MEM_RANDOM_SEED` with which seed; a failure names its own.
//! What the modes with a log write goes to a simulated disk, whose syncs cost nothing, and for a few seeds to the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use in_mem::{
    Database, Error, Run, RunId, RunStatus, SpanDraft, SpanEnd, SpanKind, SpanStatus, Timestamp, Transaction,
    Value, Version, WriteError,
};

use crate::modes::Setup;

const DEFAULT_OPS: u64 = 12_000;
/// Operations between two seeds.
const OPS_PER_SEED: u64 = 2_000;
/// One seed in so many has the real disk; prime to the count of the modes, so that each mode has its turn.
const SEEDS_PER_REAL_DISK: u64 = 17;
/// Which of them: one of the default's, in the mode that waits for its syncs.
const ON_REAL_DISK: u64 = 5;

#[derive(Debug, Clone, PartialEq)]
struct ModelEvent {
    kind: String,
    stream: Option<String>,
    payload: Value,
}

#[derive(Debug, Clone, PartialEq)]
struct ModelSpan {
    kind: SpanKind,
    parent: Option<String>,
    start: i64,
    end: Option<i64>,
    status: SpanStatus,
    output: Value,
}

#[derive(Debug, Clone, Default)]
struct ModelRun {
    name: String,
    tags: BTreeSet<String>,
    parent: Option<RunId>,
    status: Option<RunStatus>,
    kv: BTreeMap<Vec<u8>, Value>,
    events: Vec<ModelEvent>,
    /// With the version that `cas` is to name.
    cells: BTreeMap<String, (Value, Version)>,
    spans: BTreeMap<String, ModelSpan>,
}

impl ModelRun {
    fn is_ended(&self) -> bool {
        self.status.is_some_and(RunStatus::is_ended)
    }
}

type Model = BTreeMap<RunId, ModelRun>;

fn key(rng: &mut fastrand::Rng) -> Vec<u8> {
    let prefix = ["", "a/", "a/b/", "\u{7f}\u{ff}"][rng.usize(..4)];
    let mut key = format!("{prefix}{}", rng.u8(..12)).into_bytes();
    if rng.u8(..20) == 0 {
        key.resize(60, 255);
    }
    key
}

fn value(rng: &mut fastrand::Rng) -> Value {
    match rng.u8(..7) {
        0 => Value::Null,
        1 => Value::from(rng.bool()),
        2 | 3 => Value::from(rng.i64(-100..100)),
        4 => Value::from(rng.f64()),
        5 => Value::from("text".repeat(rng.usize(..40))),
        _ => in_mem::value!({ "k": [1, "two", null], "bytes": vec![3u8; 9] }),
    }
}

fn is_ended_error<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Write(WriteError::RunEnded { .. }))), "{result:?}");
}

/// One write to one primitive, as a transaction makes it and as the model does.
fn write_in(
    tx: &mut Transaction<'_>,
    on: &Run,
    model: &mut ModelRun,
    rng: &mut fastrand::Rng,
) -> Result<(), Error> {
    match rng.u8(..8) {
        0 | 1 => {
            let (key, value) = (key(rng), value(rng));
            tx.kv_of(on).put(&key, value.clone())?;
            assert_eq!(tx.kv_of(on).get(&key)?.as_ref(), Some(&value), "its own write");
            model.kv.insert(key, value);
        }
        2 => {
            let key = key(rng);
            assert_eq!(tx.kv_of(on).get(&key)?.as_ref(), model.kv.get(&key));
            assert_eq!(tx.kv_of(on).delete(&key)?, model.kv.remove(&key).is_some());
        }
        3 => {
            let found = tx.kv_of(on).list("a/")?;
            let expected: Vec<_> = model.kv.iter().filter(|(k, _)| k.starts_with(b"a/")).collect();
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(expected).all(|((k, v), (mk, mv))| **k == **mk && v == mv));
        }
        4 => {
            let payload = value(rng);
            tx.events_of(on).append("in tx", payload.clone())?;
            model.events.push(ModelEvent { kind: "in tx".into(), stream: None, payload });
        }
        5 => {
            let cell = format!("c{}", rng.u8(..4));
            let value = value(rng);
            tx.state_of(on).set(&cell, value.clone())?;
            // Its version is read back when the transaction is committed.
            model.cells.insert(cell, (value, Version(0)));
        }
        6 => {
            let id = format!("tx{}", rng.u32(..));
            let start = rng.i64(..1_000_000);
            let draft = SpanDraft::new(SpanKind::Chain, "in tx").id(&*id).start(Timestamp(start));
            tx.traces_of(on).start(&draft)?;
            let span = ModelSpan {
                kind: SpanKind::Chain,
                parent: None,
                start,
                end: None,
                status: SpanStatus::Unset,
                output: Value::Null,
            };
            model.spans.insert(id, span);
        }
        _ => {
            let key = key(rng);
            match model.kv.get(&key) {
                None | Some(Value::Int(_)) => {
                    let sum = tx.kv_of(on).increment(&key, 3)?;
                    let before = model.kv.get(&key).and_then(Value::as_i64).unwrap_or(0);
                    assert_eq!(sum, before + 3);
                    model.kv.insert(key, Value::from(sum));
                }
                Some(_) => assert!(tx.kv_of(on).increment(&key, 3).is_err()),
            }
        }
    }
    Ok(())
}

fn transaction(db: &Database, id: RunId, model: &mut Model, rng: &mut fastrand::Rng) {
    let run = db.run(id).expect("is there");
    // A relative of the run: its parent or a child, where there is one that is not ended.
    let relative = model
        .iter()
        .find(|(other, m)| (m.parent == Some(id) || model[&id].parent == Some(**other)) && !m.is_ended())
        .map(|(other, _)| *other);
    let writes = rng.usize(1..6);
    let give_up = rng.u8(..4) == 0;
    let mut staged = model.clone();
    let outcome = run.transaction(|tx| {
        for _ in 0..writes {
            let on = relative.filter(|_| rng.bool()).unwrap_or(id);
            write_in(tx, &db.run(on)?, staged.get_mut(&on).expect("known"), rng)?;
        }
        if give_up { tx.abort("on purpose") } else { Ok(()) }
    });
    match outcome {
        Ok(()) => {
            assert!(!give_up);
            for run_id in [Some(id), relative].into_iter().flatten() {
                let run = db.run(run_id).expect("is there");
                for (cell, (_, version)) in &mut staged.get_mut(&run_id).expect("known").cells {
                    if *version == Version(0) {
                        *version = run.state().read(cell).unwrap().expect("set").version;
                    }
                }
            }
            *model = staged;
        }
        Err(Error::Aborted { .. }) => assert!(give_up),
        Err(error) => panic!("{error}"),
    }
}

fn step(db: &Database, model: &mut Model, rng: &mut fastrand::Rng) {
    if model.is_empty() || (model.len() < 12 && rng.u8(..100) < 3) {
        let name = format!("run-{}", rng.u8(..5));
        let parent = model.iter().filter(|_| rng.u8(..3) == 0).map(|(id, _)| *id).next();
        let begin = match parent {
            Some(parent) => db.run(parent).unwrap().child(&name).unwrap(),
            None => db.new_run(&name),
        };
        let tags: BTreeSet<String> = (0..rng.u8(..3)).map(|_| format!("t{}", rng.u8(..3))).collect();
        let run = begin.tags(&tags).begin().expect("begins");
        let fresh = ModelRun { name, tags, parent, status: Some(RunStatus::Running), ..ModelRun::default() };
        model.insert(run.id(), fresh);
        return;
    }
    let id = *model.keys().nth(rng.usize(..model.len())).expect("one of them");
    let run = db.run(id).expect("is there");
    let own = model.get_mut(&id).expect("known");
    let ended = own.is_ended();
    match rng.u8(..100) {
        0..=19 => {
            let (key, value) = (key(rng), value(rng));
            let put = run.kv().put(&key, value.clone());
            if ended {
                return is_ended_error(put);
            }
            put.expect("puts");
            own.kv.insert(key, value);
        }
        20..=27 => {
            let key = key(rng);
            let deleted = run.kv().delete(&key);
            if ended {
                return is_ended_error(deleted);
            }
            assert_eq!(deleted.expect("deletes"), own.kv.remove(&key).is_some());
        }
        28..=33 if !ended => {
            let key = key(rng);
            match own.kv.get(&key) {
                None | Some(Value::Int(_)) => {
                    let sum = run.kv().increment(&key, 2).expect("counts");
                    assert_eq!(sum, own.kv.get(&key).and_then(Value::as_i64).unwrap_or(0) + 2);
                    own.kv.insert(key, Value::from(sum));
                }
                Some(_) => {
                    let refused = run.kv().increment(&key, 2);
                    assert!(
                        matches!(refused, Err(Error::Write(WriteError::NotAnInteger { .. }))),
                        "{refused:?}"
                    );
                }
            }
        }
        34..=37 if !ended => {
            let (key, value) = (key(rng), value(rng));
            let was_put = run.kv().put_if_absent(&key, value.clone()).expect("puts");
            assert_eq!(was_put, !own.kv.contains_key(&key));
            own.kv.entry(key).or_insert(value);
        }
        38..=45 => {
            let key = key(rng);
            assert_eq!(run.kv().get(&key).unwrap().as_ref(), own.kv.get(&key));
        }
        46..=57 => {
            let kind = ["x", "y"][rng.usize(..2)];
            let stream = (rng.u8(..3) == 0).then(|| format!("s{}", rng.u8(..2)));
            let payload = value(rng);
            let appended = match &stream {
                Some(stream) => run.events().stream(stream).append(kind, payload.clone()),
                None => run.events().append(kind, payload.clone()),
            };
            if ended {
                return is_ended_error(appended);
            }
            assert_eq!(appended.expect("appends"), own.events.len() as u64);
            own.events.push(ModelEvent { kind: kind.into(), stream, payload });
        }
        58..=65 if !ended => {
            let cell = format!("c{}", rng.u8(..4));
            let value = value(rng);
            match (own.cells.get(&cell), rng.bool()) {
                (Some((_, version)), true) => {
                    let stale = run.state().cas(&cell, Version(version.0 - 1), value.clone());
                    assert!(
                        matches!(stale, Err(Error::Write(WriteError::ConditionFailed { .. }))),
                        "{stale:?}"
                    );
                    let version = run.state().cas(&cell, *version, value.clone()).expect("swaps");
                    own.cells.insert(cell, (value, version));
                }
                (Some(_), false) => {
                    assert!(run.state().init(&cell, 1).is_err());
                    assert!(run.state().delete(&cell).expect("deletes"));
                    own.cells.remove(&cell);
                }
                (None, _) => {
                    let version = run.state().init(&cell, value.clone()).expect("makes");
                    own.cells.insert(cell, (value, version));
                }
            }
        }
        66..=73 if !ended => {
            let id = format!("sp{}", rng.u8(..40));
            let start = rng.i64(..1_000_000);
            let kind =
                [SpanKind::ToolCall, SpanKind::ModelCall, SpanKind::from("other")][rng.usize(..3)].clone();
            let parent = rng.bool().then(|| format!("sp{}", rng.u8(..40)));
            let mut draft = SpanDraft::new(kind.clone(), "n").id(&*id).start(Timestamp(start));
            if let Some(parent) = &parent {
                draft = draft.parent(&**parent);
            }
            let is_whole = rng.bool();
            let recorded = if is_whole {
                run.traces().record(&draft.end(Timestamp(start + 5)))
            } else {
                run.traces().start_span(&draft)
            };
            if own.spans.contains_key(&id) {
                assert!(
                    matches!(recorded, Err(Error::Write(WriteError::ConditionFailed { .. }))),
                    "{recorded:?}"
                );
                return;
            }
            recorded.expect("records");
            let end = is_whole.then_some(start + 5);
            let status = if is_whole { SpanStatus::Ok } else { SpanStatus::Unset };
            own.spans.insert(id, ModelSpan { kind, parent, start, end, status, output: Value::Null });
        }
        74..=78 if !ended => {
            let id = format!("sp{}", rng.u8(..40));
            let output = value(rng);
            let end = SpanEnd::failed("f").output(output.clone()).at(Timestamp(2_000_000));
            let ended = run.traces().end_span(&id, end);
            match own.spans.get_mut(&id) {
                None => assert!(matches!(ended, Err(Error::UnknownSpan { .. })), "{ended:?}"),
                Some(ModelSpan { end: Some(_), .. }) => {
                    assert!(matches!(ended, Err(Error::SpanEnded { .. })), "{ended:?}");
                }
                Some(span) => {
                    ended.expect("ends");
                    (span.end, span.status, span.output) = (Some(2_000_000), SpanStatus::Failed, output);
                }
            }
        }
        79..=93 if !ended => transaction(db, id, model, rng),
        94 => {
            let to = RunStatus::ALL[rng.usize(1..RunStatus::ALL.len())];
            let from = own.status.expect("known");
            // Runs that are ended are of little use to what follows: few of them.
            if !to.is_ended() || rng.u8(..4) == 0 {
                let changed = run.end(to);
                assert_eq!(changed.is_ok(), from.may_become(to), "{from} -> {to}: {changed:?}");
                if changed.is_ok() {
                    own.status = Some(to);
                }
            }
        }
        95 if rng.u8(..4) == 0 => {
            run.delete().expect("deletes");
            model.remove(&id);
        }
        _ => check_run(db, id, own),
    }
}

fn check_run(db: &Database, id: RunId, model: &ModelRun) {
    let run = db.run(id).expect("is there");
    let info = run.info().unwrap();
    assert_eq!((&*info.meta.name, Some(info.meta.status)), (&*model.name, model.status));
    assert_eq!(info.meta.parent, model.parent);
    let kv = run.kv().list("").unwrap();
    assert_eq!(kv.len(), model.kv.len());
    for ((key, value), (model_key, model_value)) in kv.iter().zip(&model.kv) {
        assert_eq!((&**key, value), (&model_key[..], model_value));
    }
    let mut backwards = run.kv().range_reverse::<&[u8]>(..).unwrap();
    backwards.reverse();
    assert_eq!(backwards, kv);
    let prefixed = model.kv.keys().filter(|k| k.starts_with(b"a/")).count() as u64;
    assert_eq!(run.kv().count("a/").unwrap(), prefixed);
    let events = run.events().range(..).unwrap();
    let mut places: BTreeMap<String, u64> = BTreeMap::new();
    assert_eq!(events.len(), model.events.len());
    for (event, expected) in events.iter().zip(&model.events) {
        let stream = expected.stream.as_ref().map(|name| {
            let place = places.entry(name.clone()).or_default();
            *place += 1;
            (name.as_str().into(), *place - 1)
        });
        assert_eq!(
            (&*event.kind, &event.stream, &event.payload),
            (&*expected.kind, &stream, &expected.payload)
        );
    }
    for (stream, len) in places {
        assert_eq!(run.events().stream(&stream).range(..).unwrap().len() as u64, len);
    }
    assert!(run.events().verify_chain().unwrap().is_intact());
    let cells = run.state().list("").unwrap();
    assert_eq!(cells.len(), model.cells.len());
    for ((cell, found), (name, (value, version))) in cells.iter().zip(&model.cells) {
        assert_eq!((cell.as_str(), &found.value, found.version), (Some(&**name), value, *version));
    }
    let spans = run.traces().query().list().unwrap();
    assert_eq!(spans.len(), model.spans.len());
    for span in &spans {
        let found = ModelSpan {
            kind: span.kind.clone(),
            parent: span.parent.as_deref().map(str::to_owned),
            start: span.start.0,
            end: span.end.map(|t| t.0),
            status: span.status,
            output: span.output.clone(),
        };
        assert_eq!(&found, &model.spans[&*span.id]);
    }
    let failed = model.spans.values().filter(|s| s.status == SpanStatus::Failed).count() as u64;
    assert_eq!(run.traces().query().failed().count().unwrap(), failed);
    let counts = (info.kv.entries, info.events.entries, info.state.entries, info.traces.entries);
    let expected = (kv.len() as u64, events.len() as u64, cells.len() as u64, spans.len() as u64);
    assert_eq!(counts, expected);
}

fn check(db: &Database, model: &Model) {
    for (id, own) in model {
        check_run(db, *id, own);
    }
    let listed: BTreeSet<RunId> = db.runs().list().unwrap().iter().map(|r| r.id).collect();
    assert_eq!(listed, model.keys().copied().collect());
    for tag in ["t0", "t1", "t2"] {
        let expected = model.values().filter(|m| m.tags.contains(tag)).count() as u64;
        assert_eq!(db.runs().tag(tag).count().unwrap(), expected);
    }
    let running = model.values().filter(|m| m.status == Some(RunStatus::Running)).count() as u64;
    assert_eq!(db.runs().status(RunStatus::Running).count().unwrap(), running);
}

fn run_seed(setup: Setup, seed: u64, ops: u64, is_on_real_disk: bool) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let simulated = in_mem_wal::SimDisk::new(seed);
    let open = || {
        if is_on_real_disk {
            setup.open(dir.path())
        } else {
            setup.open_on(Arc::new(simulated.clone()), std::path::Path::new("/db"))
        }
    };
    let mut db = open();
    let mut model = Model::new();
    for _ in 0..ops {
        if setup.is_durable() && rng.u16(..1_000) == 0 {
            db.close().expect("closes");
            db = open();
            check(&db, &model);
        }
        step(&db, &mut model, &mut rng);
    }
    check(&db, &model);
    if setup.is_durable() {
        db.close().expect("closes");
        check(&open(), &model);
    }
}

#[test]
fn random_operations_do_what_a_simple_model_does() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let ops: u64 = number("IN_MEM_RANDOM_OPS").unwrap_or(DEFAULT_OPS);
    let first_seed: u64 = number("IN_MEM_RANDOM_SEED").unwrap_or(1);
    let setups = Setup::all();
    let (mut done, mut on_real_disk) = (0, 0);
    for n in 0..ops.div_ceil(OPS_PER_SEED) {
        let seed = first_seed + n;
        // The seed decides on the mode and the disk, too, so that it is all there is to know of a failure.
        let setup = setups[seed as usize % setups.len()];
        let is_on_real_disk = setup.is_durable() && seed % SEEDS_PER_REAL_DISK == ON_REAL_DISK;
        let ops = OPS_PER_SEED.min(ops - n * OPS_PER_SEED);
        let outcome = std::panic::catch_unwind(|| run_seed(setup, seed, ops, is_on_real_disk));
        if let Err(panic) = outcome {
            eprintln!("failed in {setup:?} with IN_MEM_RANDOM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
        done += ops;
        on_real_disk += if is_on_real_disk { ops } else { 0 };
    }
    assert_eq!(done, ops);
    println!("{done} operations, {on_real_disk} of them on the real disk");
}
