//! A database so simple that it is right: what every commit changes, and whether a real one shows the same.

use std::collections::BTreeMap;

use in_mem::{Database, Run, RunId, RunStatus, Tag, Timestamp, Value};

/// One change that a commit makes.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are what the primitives take")]
pub enum Change {
    /// A run begins.
    Begin { run: RunId, name: String, parent: Option<RunId>, life: u64, whole: bool },
    /// A run begins as another is, or was: its parent's content, and what is its own.
    Fork { run: RunId, of: Box<ModelRun> },
    /// A run moves on in its life, at this microsecond.
    Status { run: RunId, status: RunStatus, at: i64 },
    /// A run gets other tags.
    Tags { run: RunId, tags: Vec<String> },
    /// A run is deleted.
    Drop { run: RunId },
    /// A key is put; it expires at this microsecond.
    Put { run: RunId, key: Vec<u8>, value: Value, expires: Option<i64> },
    /// A key is deleted.
    Delete { run: RunId, key: Vec<u8> },
    /// An event is appended.
    Append { run: RunId, kind: String, stream: Option<String>, payload: Value },
    /// A cell is set.
    Set { run: RunId, cell: String, value: Value },
    /// A cell is deleted.
    Unset { run: RunId, cell: String },
    /// A span is recorded, started or ended.
    Span { run: RunId, id: String, start: i64, end: Option<i64>, parent: Option<String> },
    /// A durable step is recorded, together with its event.
    Step { run: RunId, place: Vec<u32>, step: ModelStep },
}

impl Change {
    /// Whose it is.
    pub fn run(&self) -> RunId {
        match self {
            Self::Begin { run, .. }
            | Self::Fork { run, .. }
            | Self::Status { run, .. }
            | Self::Tags { run, .. }
            | Self::Drop { run }
            | Self::Put { run, .. }
            | Self::Delete { run, .. }
            | Self::Append { run, .. }
            | Self::Set { run, .. }
            | Self::Unset { run, .. }
            | Self::Span { run, .. }
            | Self::Step { run, .. } => *run,
        }
    }
}

/// An event, as it was appended.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEvent {
    /// Its kind.
    pub kind: String,
    /// Its stream.
    pub stream: Option<String>,
    /// Its payload.
    pub payload: Value,
}

/// A span: its start, its end, its parent.
pub type ModelSpan = (i64, Option<i64>, Option<String>);

/// What is recorded of a durable step.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelStep {
    /// Its name.
    pub name: String,
    /// Its input.
    pub input: i64,
    /// What its effect gave.
    pub result: String,
}

/// The words for a step's place.
pub fn place_in_words(place: &[u32]) -> String {
    place.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

/// A run and all it holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelRun {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The run that began it.
    pub parent: Option<RunId>,
    /// Whether it was forked from that run.
    pub forked: bool,
    /// Which of all lives that runs have had is this: an id may be used again.
    pub life: u64,
    /// The runs, and their lives, that what it holds goes on from: its parent last.
    pub above: Vec<(RunId, u64)>,
    /// Whether the log has all of its past, unless it was erased.
    pub whole: bool,
    /// Where it stands.
    pub status: Option<RunStatus>,
    /// When it ended.
    pub ended: Option<i64>,
    /// Its pairs, with the microsecond they expire at.
    pub kv: BTreeMap<Vec<u8>, (Value, Option<i64>)>,
    /// Its events.
    pub events: Vec<ModelEvent>,
    /// Its cells.
    pub cells: BTreeMap<String, Value>,
    /// Its spans.
    pub spans: BTreeMap<String, ModelSpan>,
    /// Its recorded steps, by place.
    pub steps: BTreeMap<Vec<u32>, ModelStep>,
}

impl ModelRun {
    /// The value of a key at this moment.
    pub fn get(&self, key: &[u8], now: i64) -> Option<&Value> {
        self.kv.get(key).filter(|(_, expires)| expires.is_none_or(|at| at > now)).map(|(value, _)| value)
    }

    /// Whether it takes writes.
    pub fn is_open(&self) -> bool {
        self.status.is_some_and(|status| !status.is_ended())
    }
}

/// All runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// By id.
    pub runs: BTreeMap<RunId, ModelRun>,
}

impl Model {
    /// Makes one change. A run that is not there is made: the workload begins runs before it writes to them.
    pub fn apply(&mut self, change: &Change) {
        if let Change::Drop { run } = change {
            self.runs.remove(run);
            return;
        }
        let run = self.runs.entry(change.run()).or_default();
        match change.clone() {
            Change::Begin { name, parent, life, whole, .. } => {
                let status = Some(RunStatus::Running);
                *run = ModelRun { name, parent, status, life, whole, ..ModelRun::default() };
            }
            Change::Fork { of, .. } => *run = *of,
            Change::Status { status, at, .. } => {
                run.status = Some(status);
                run.ended = status.is_ended().then_some(at);
            }
            Change::Tags { tags, .. } => run.tags = tags,
            Change::Drop { .. } => {}
            Change::Put { key, value, expires, .. } => {
                run.kv.insert(key, (value, expires));
            }
            Change::Delete { key, .. } => {
                run.kv.remove(&key);
            }
            Change::Append { kind, stream, payload, .. } => {
                run.events.push(ModelEvent { kind, stream, payload })
            }
            Change::Set { cell, value, .. } => {
                run.cells.insert(cell, value);
            }
            Change::Unset { cell, .. } => {
                run.cells.remove(&cell);
            }
            Change::Span { id, start, end, parent, .. } => {
                run.spans.insert(id, (start, end, parent));
            }
            Change::Step { place, step, .. } => {
                let says = vec![Value::from(place_in_words(&place)), Value::from(step.name.clone())];
                let payload = Value::from(says);
                run.events.push(ModelEvent { kind: "step".to_owned(), stream: None, payload });
                run.steps.insert(place, step);
            }
        }
    }

    /// Makes all of them.
    pub fn apply_all(&mut self, changes: &[Change]) {
        changes.iter().for_each(|change| self.apply(change));
    }

    /// Whether the database shows these pairs.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn compare_pairs(&self, db: &Database, now: i64) -> Result<(), String> {
        self.runs.iter().try_for_each(|(id, run)| {
            let handle = db.run(*id).map_err(|error| error.to_string())?;
            compare_pairs(&handle, run, now).map_err(|what| format!("run {id}: {what}"))
        })
    }

    /// Whether the database shows these runs, all they hold, and no other run. The first difference otherwise.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn compare(&self, db: &Database, now: i64) -> Result<(), String> {
        let shown = db.runs().with_memories().list().map_err(|error| format!("listing runs: {error}"))?;
        for info in &shown {
            if !self.runs.contains_key(&info.id) {
                return Err(format!("run {} ({}) is there and should not be", info.id, info.meta.name));
            }
        }
        self.runs.iter().try_for_each(|(id, run)| {
            compare_run(db, *id, run, now).map_err(|what| format!("run {id} ({}): {what}", run.name))
        })
    }
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}

/// The first pair that differs.
fn same_pairs(what: &str, found: &[(Vec<u8>, Value)], expected: &[(Vec<u8>, Value)]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let show = |pair: Option<&(Vec<u8>, Value)>| {
        pair.map_or("nothing".to_owned(), |(key, value)| {
            let value: String = format!("{value:?}").chars().take(40).collect();
            format!("{} = {value}", String::from_utf8_lossy(key))
        })
    };
    Err(format!("{what}, pair {at}: found {}, expected {}", show(found.get(at)), show(expected.get(at))))
}

fn compare_pairs(run: &Run, model: &ModelRun, now: i64) -> Result<(), String> {
    let pairs = run.kv().list("").map_err(|error| error.to_string())?;
    let found: Vec<(Vec<u8>, Value)> = pairs.into_iter().map(|(key, value)| (key.to_vec(), value)).collect();
    let expected: Vec<(Vec<u8>, Value)> = model
        .kv
        .keys()
        .filter_map(|key| model.get(key, now).map(|value| (key.clone(), value.clone())))
        .collect();
    same_pairs("kv", &found, &expected).map_err(|what| {
        let ends: Vec<_> = model
            .kv
            .iter()
            .filter_map(|(key, (_, at))| at.map(|at| (String::from_utf8_lossy(key), at - now)))
            .collect();
        format!("{what} (keys that end, and in how many microseconds: {ends:?})")
    })
}

fn compare_run(db: &Database, id: RunId, model: &ModelRun, now: i64) -> Result<(), String> {
    let words = |error: in_mem::Error| error.to_string();
    let run = db.run(id).map_err(words)?;
    let info = run.info().map_err(words)?;
    same("name", &*info.meta.name, &*model.name)?;
    same("status", Some(info.meta.status), model.status)?;
    same("parent", info.meta.parent, model.parent)?;
    let tags: Vec<String> = info.meta.tags.iter().map(|tag| (**tag).to_owned()).collect();
    same("tags", &tags, &model.tags)?;

    compare_pairs(&run, model, now)?;

    let events = run.events().iter().collect::<in_mem::Result<Vec<_>>>().map_err(words)?;
    same("number of events", events.len(), model.events.len())?;
    // A fork is charged for what it has written itself.
    if !model.forked {
        same("usage of events", info.events.entries, model.events.len() as u64)?;
        same("number of spans", info.traces.entries, model.spans.len() as u64)?;
    }
    same("length of the chain", run.events().len().map_err(words)?, model.events.len() as u64)?;
    for (event, expected) in events.iter().zip(&model.events) {
        same("event's kind", &*event.kind, &*expected.kind)?;
        same("event's stream", event.stream.as_ref().map(|(name, _)| &**name), expected.stream.as_deref())?;
        same("event's payload", &event.payload, &expected.payload)?;
    }
    if let in_mem::ChainCheck::Broken(fault) = run.events().verify_chain().map_err(words)? {
        return Err(format!("its chain of events is broken: {fault}"));
    }
    let streamed = model.events.iter().filter(|event| event.stream.as_deref() == Some("s0")).count() as u64;
    same("length of a stream", run.events().stream("s0").len().map_err(words)?, streamed)?;

    let cells = run.state().list("").map_err(words)?;
    let found: Vec<(Vec<u8>, Value)> =
        cells.into_iter().map(|(cell, value)| (cell.to_vec(), value.value)).collect();
    let expected: Vec<(Vec<u8>, Value)> =
        model.cells.iter().map(|(cell, value)| (cell.clone().into_bytes(), value.clone())).collect();
    same_pairs("cells", &found, &expected)?;

    for (span_id, (start, end, parent)) in &model.spans {
        let span =
            run.traces().get(span_id).map_err(words)?.ok_or_else(|| format!("span {span_id} is gone"))?;
        same("span's start", span.head.start, Timestamp(*start))?;
        same("span's end", span.head.end, end.map(Timestamp))?;
        same("span's parent", span.head.parent.as_deref(), parent.as_deref())?;
    }
    let listed = run.traces().query().list().map_err(words)?.len();
    same("number of spans listed", listed, model.spans.len())?;
    compare_steps(db, id, model)
}

/// Whether the recorded steps are there, no others, and give their results back without their effects.
fn compare_steps(db: &Database, id: RunId, model: &ModelRun) -> Result<(), String> {
    let words = |error: in_mem::Error| error.to_string();
    for (place, step) in &model.steps {
        let mut key = vec![2];
        place.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
        let found = db.engine().get(id, Tag::Run, &key).map_err(words)?.map(|stored| stored.value);
        let recorded =
            vec![Value::from(step.name.clone()), Value::from(step.input), Value::from(step.result.clone())];
        same("step", found, Some(Value::from(recorded)))?;
    }
    let run = db.run(id).map_err(words)?;
    let mut next = 0;
    while let Some(step) = model.steps.get(&vec![next]) {
        let again = || Err::<String, _>("the effect ran again");
        let given = run.step(&step.name, step.input, again).map_err(words)?;
        same("step's result", &*given, &*step.result)?;
        next += 1;
    }
    let left = model.steps.range(vec![next]..).next().is_some();
    // A handle that took no step has nothing to finish.
    if next > 0 {
        same("whether a step is left", run.finish_steps().is_err(), left)?;
    }
    Ok(())
}
