//! Random work with every primitive.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use in_mem::EventDraft;
use in_mem::{
    Clock, Database, Error, ManualClock, Run, RunId, RunStatus, SpanDraft, SpanEnd, SpanKind, Timestamp,
    Value,
};
use in_mem_wal::SimDisk;

use crate::chronicle::Chronicle;
use crate::ledger::Ledger;
use crate::meanwhile;
use crate::model::Change;

mod breaking;
mod forks;
mod replay;
pub(crate) mod retention;
mod steps;

/// Runs that may be begun before one is ended or deleted; forks come on top.
const RUNS: usize = 6;
/// Runs and forks there may be at once.
const RUNS_AND_FORKS: usize = 12;
/// Ids, of each lineage, that are used again once their run is gone; and lineages that begin with one of them.
const IDS_USED_AGAIN: u8 = 8;
const ROUTINGS: u8 = 3;
/// Commits that are sent before the first is waited for.
const BATCH: usize = 6;

/// A database under test, with all that belongs to it.
#[derive(Debug)]
pub struct Work<'a> {
    /// The database.
    pub db: &'a Database,
    /// Its disk.
    pub disk: &'a SimDisk,
    /// Its clock.
    pub clock: &'a ManualClock,
    /// What is known of it.
    pub ledger: &'a mut Ledger,
    /// What is known beyond this opening.
    pub chronicle: &'a mut Chronicle,
    /// Whether operations fail now and then.
    pub faults: bool,
    /// Where the dice come from.
    pub rng: &'a mut Rng,
}

/// How one action ended.
#[derive(Debug)]
pub enum Did {
    /// Acknowledged.
    Well,
    /// The machine is gone: what was under way is in flight.
    MachineGone,
    /// Refused.
    Failed(Error),
    /// A log failed that the disk failed: the database has to be opened again.
    LogFailed,
}

fn key(rng: &mut Rng) -> Vec<u8> {
    let mut key = format!("{}{}", ["", "a/", "a/b/"][rng.usize(..3)], rng.u8(..10)).into_bytes();
    if rng.u8(..20) == 0 {
        key.resize(60, 255);
    }
    key
}

/// Bytes of the largest value: a commit of it takes several records, in several segments.
const LARGEST_VALUE_BYTES: usize = 16 << 10;

/// Any value; now and then one that takes several sectors, or several segments.
pub fn value(rng: &mut Rng) -> Value {
    match rng.u8(..9) {
        0 => Value::Null,
        1 => Value::from(rng.bool()),
        2..=4 => Value::from(rng.i64(-100..100)),
        5 => Value::from(rng.f64()),
        6 => Value::from("text".repeat(rng.usize(..40))),
        7 => {
            let len =
                if rng.u8(..16) == 0 { rng.usize(1_500..LARGEST_VALUE_BYTES) } else { rng.usize(..1_500) };
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            Value::from(bytes)
        }
        _ => in_mem::value!({ "k": [1, "two", null], "bytes": vec![3u8; 9] }),
    }
}

impl Work<'_> {
    fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// Ends an action: what was sent is acknowledged, in flight, or refused.
    pub(crate) fn end<T>(&mut self, result: Result<T, Error>) -> Result<Did, String> {
        if self.disk.crashed() {
            return Ok(Did::MachineGone);
        }
        match result {
            Ok(_) => self.ledger.acknowledge(self.db).map(|()| Did::Well),
            Err(error) => {
                self.ledger.refuse(self.db)?;
                Ok(Did::Failed(error))
            }
        }
    }

    pub(crate) fn send(&mut self, run: RunId, changes: Vec<Change>) {
        self.ledger.send(self.db, run, changes);
    }

    /// Does one thing.
    ///
    /// # Errors
    /// In words: the database did something that it must not do. An error that it returned is no such thing.
    pub fn act(&mut self) -> Result<Did, String> {
        let open = self.open_runs();
        if open.is_empty() || (self.ledger.live.runs.len() < RUNS && self.rng.u8(..100) < 6) {
            return self.begin_run(&open);
        }
        let id = open[self.rng.usize(..open.len())];
        match self.rng.u8(..100) {
            0..=6 => self.maintenance(),
            7..=9 => self.advance(),
            10..=24 => self.transaction(id, &open),
            25..=31 => self.batch(id),
            32..=37 => self.life(id),
            58..=60 => self.replay(),
            38..=45 if self.ledger.live.runs.len() < RUNS_AND_FORKS => self.fork(),
            46..=48 => self.agent(id),
            49..=54 => self.prune(),
            55..=57 => self.during_a_sync(id),
            _ => {
                let run = match self.db.run(id) {
                    Ok(run) => run,
                    Err(error) => return Err(format!("run {id} is not found: {error}")),
                };
                self.single(&run)
            }
        }
    }

    /// The runs that take writes.
    pub(crate) fn open_runs(&self) -> Vec<RunId> {
        self.ledger.live.runs.iter().filter(|(_, run)| run.is_open()).map(|(id, _)| *id).collect()
    }

    /// Writes one thing; no maintenance and no time.
    ///
    /// # Errors
    /// As [`Work::act`].
    pub fn write(&mut self) -> Result<Did, String> {
        let open = self.open_runs();
        let Some(id) = open.first().copied() else { return self.begin_run(&open) };
        if self.rng.u8(..4) == 0 {
            return self.transaction(id, &open);
        }
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        self.single(&run)
    }

    fn begin_run(&mut self, open: &[RunId]) -> Result<Did, String> {
        let parent = (!open.is_empty() && self.rng.bool()).then(|| open[self.rng.usize(..open.len())]);
        let id = self.new_id(parent);
        self.begin(id, parent)
    }

    /// Begins a run with this id, which no run has: a child of `parent`, where there is one.
    pub(crate) fn begin(&mut self, id: RunId, parent: Option<RunId>) -> Result<Did, String> {
        let name = format!("run-{}", self.rng.u8(..9));
        let tags: Vec<String> = (0..self.rng.u8(..3)).map(|n| format!("t{n}")).collect();
        // What is not erased of one before it stays now, until this one goes.
        self.chronicle.owed.remove(&id);
        let begin = match parent {
            Some(parent) => self.db.run(parent).and_then(|run| run.child(&name)),
            None => Ok(self.db.new_run(&name)),
        };
        let begin = match begin {
            Ok(begin) => begin,
            Err(error) => return Ok(Did::Failed(error)),
        };
        let (life, whole) = (self.chronicle.new_life(), self.ledger.keep_history);
        let changes = vec![
            Change::Begin { run: id, name, parent, life, whole },
            Change::Tags { run: id, tags: tags.clone() },
        ];
        self.send(id, changes);
        let result = begin.id(id).tags(tags).begin();
        self.end(result)
    }

    /// An id that no run has, in its parent's shard: a fresh one, or one of a few, which another run may have had.
    pub(crate) fn new_id(&mut self, parent: Option<RunId>) -> RunId {
        let routing = parent.map_or_else(|| u16::from(self.rng.u8(..ROUTINGS)), RunId::routing);
        for _ in 0..IDS_USED_AGAIN {
            let id = RunId::from_bytes([self.rng.u8(..IDS_USED_AGAIN); 16]).with_routing(routing);
            if !self.ledger.live.runs.contains_key(&id) {
                return id;
            }
        }
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        RunId::from_bytes(bytes).with_routing(routing)
    }

    /// A value for this run; now and then one that is found again wherever it lies.
    fn value_for(&mut self, run: RunId) -> Value {
        if self.rng.u8(..4) == 0 { self.chronicle.new_mark(run) } else { value(self.rng) }
    }

    pub(crate) fn single(&mut self, run: &Run) -> Result<Did, String> {
        let (id, now) = (run.id(), self.now());
        let own = self.ledger.live.runs[&id].clone();
        match self.rng.u8(..12) {
            0..=2 => {
                let value = self.value_for(id);
                self.put(run, value)
            }
            3 => {
                let (key, value) = (key(self.rng), self.value_for(id));
                let ttl = self.rng.u64(1..50) * 2 + 1;
                let expires = Some(now + i64::try_from(ttl).unwrap_or(1));
                self.send(id, vec![Change::Put { run: id, key: key.clone(), value: value.clone(), expires }]);
                let result = run.kv().put_with_ttl(key, value, Duration::from_micros(ttl));
                self.end(result)
            }
            4 => {
                let key = key(self.rng);
                let expected = own.get(&key, now).is_some();
                if !expected {
                    // Whether a delete of nothing is a commit is the engine's own affair: it is not asked.
                    return Ok(Did::Well);
                }
                self.send(id, vec![Change::Delete { run: id, key: key.clone() }]);
                let result = run.kv().delete(&key);
                if !self.disk.crashed() && matches!(result, Ok(false)) {
                    return Err(format!("key {key:?} was not there to delete"));
                }
                self.end(result)
            }
            5 => {
                let key = key(self.rng);
                let before = match own.get(&key, now) {
                    None => 0,
                    Some(Value::Int(before)) => *before,
                    Some(_) => return Ok(Did::Well),
                };
                // Counting leaves the time that a key ends as it was.
                let expires = own.get(&key, now).and_then(|_| own.kv[&key].1);
                self.send(
                    id,
                    vec![Change::Put { run: id, key: key.clone(), value: Value::from(before + 3), expires }],
                );
                let result = run.kv().increment(&key, 3);
                self.end(result)
            }
            6 | 7 => {
                let stream = self.rng.bool().then(|| format!("s{}", self.rng.u8(..2)));
                let payload = self.value_for(id);
                let mut draft = EventDraft::new("happened", payload.clone());
                if let Some(stream) = &stream {
                    draft = draft.stream(stream);
                }
                self.send(id, vec![Change::Append { run: id, kind: "happened".into(), stream, payload }]);
                let result = run.events().append_draft(&draft);
                self.end(result)
            }
            8 | 9 => {
                let cell = format!("c{}", self.rng.u8(..4));
                if own.cells.contains_key(&cell) && self.rng.u8(..3) == 0 {
                    self.send(id, vec![Change::Unset { run: id, cell: cell.clone() }]);
                    let result = run.state().delete(&cell);
                    return self.end(result);
                }
                let value = self.value_for(id);
                self.send(id, vec![Change::Set { run: id, cell: cell.clone(), value: value.clone() }]);
                let result = run.state().set(&cell, value);
                self.end(result)
            }
            _ => {
                let span = format!("sp{}", self.rng.u8(..20));
                match own.spans.get(&span) {
                    Some((start, None, parent)) => {
                        let (start, end) = (*start, *start + 9);
                        let parent = parent.clone();
                        self.send(
                            id,
                            vec![Change::Span { run: id, id: span.clone(), start, end: Some(end), parent }],
                        );
                        let result = run.traces().end_span(&span, SpanEnd::ok().at(Timestamp(end)));
                        self.end(result)
                    }
                    Some(_) => Ok(Did::Well),
                    None => {
                        let parent = self.rng.bool().then(|| format!("sp{}", self.rng.u8(..20)));
                        let mut draft =
                            SpanDraft::new(SpanKind::ToolCall, "n").id(&*span).start(Timestamp(now));
                        if let Some(parent) = &parent {
                            draft = draft.parent(&**parent);
                        }
                        let end = self.rng.bool().then_some(now + 5);
                        self.send(id, vec![Change::Span { run: id, id: span, start: now, end, parent }]);
                        let result = match end {
                            Some(end) => run.traces().record(&draft.end(Timestamp(end))),
                            None => run.traces().start_span(&draft),
                        };
                        self.end(result)
                    }
                }
            }
        }
    }

    fn put(&mut self, run: &Run, value: Value) -> Result<Did, String> {
        let (id, key) = (run.id(), key(self.rng));
        self.send(id, vec![Change::Put { run: id, key: key.clone(), value: value.clone(), expires: None }]);
        let result = run.kv().put(key, value);
        self.end(result)
    }

    /// Puts a value that is found again wherever it lies.
    pub(crate) fn put_mark(&mut self, id: RunId) -> Result<Did, String> {
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        let mark = self.chronicle.new_mark(id);
        self.put(&run, mark)
    }

    /// Puts a value of so many bytes.
    pub(crate) fn put_large(&mut self, id: RunId, bytes: Range<usize>) -> Result<Did, String> {
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        let mut bytes = vec![0; self.rng.usize(bytes)];
        self.rng.fill(&mut bytes);
        self.put(&run, Value::from(bytes))
    }

    pub(crate) fn transaction(&mut self, id: RunId, open: &[RunId]) -> Result<Did, String> {
        let relative = open.iter().copied().find(|other| *other != id && other.routing() == id.routing());
        let mut changes = Vec::new();
        for _ in 0..self.rng.usize(1..6) {
            let run = relative.filter(|_| self.rng.bool()).unwrap_or(id);
            changes.push(match self.rng.u8(..6) {
                // Whether a delete of nothing is a commit is the engine's own affair: it is not asked.
                4 | 5 => {
                    let own = &self.ledger.live.runs[&run];
                    let key = key(self.rng);
                    let cell = format!("c{}", self.rng.u8(..4));
                    if own.get(&key, self.clock.now().0).is_some() {
                        Change::Delete { run, key }
                    } else if own.cells.contains_key(&cell) {
                        Change::Unset { run, cell }
                    } else {
                        Change::Set { run, cell, value: Value::Null }
                    }
                }
                0 => Change::Append { run, kind: "in tx".into(), stream: None, payload: self.value_for(run) },
                1 => Change::Set { run, cell: format!("c{}", self.rng.u8(..4)), value: self.value_for(run) },
                _ => Change::Put { run, key: key(self.rng), value: self.value_for(run), expires: None },
            });
        }
        self.send(id, changes.clone());
        let db = self.db;
        let result = db.run(id).and_then(|run| {
            run.transaction(|tx| {
                for change in &changes {
                    let on = db.run(change.run())?;
                    match change {
                        Change::Append { kind, payload, .. } => {
                            tx.events_of(&on).append(kind, payload.clone())?
                        }
                        Change::Set { cell, value, .. } => tx.state_of(&on).set(cell, value.clone())?,
                        Change::Put { key, value, .. } => tx.kv_of(&on).put(key, value.clone())?,
                        Change::Delete { key, .. } => tx.kv_of(&on).delete(key).map(drop)?,
                        Change::Unset { cell, .. } => tx.state_of(&on).delete(cell).map(drop)?,
                        _ => {}
                    }
                }
                Ok(())
            })
        });
        self.end(result)
    }

    fn batch(&mut self, id: RunId) -> Result<Did, String> {
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        let mut sent = Vec::new();
        for _ in 0..self.rng.usize(2..=BATCH) {
            let (key, value) = (key(self.rng), value(self.rng));
            self.send(
                id,
                vec![Change::Put { run: id, key: key.clone(), value: value.clone(), expires: None }],
            );
            sent.push(run.kv().put_async(key, value));
        }
        let results: Vec<_> = sent.into_iter().map(|sent| sent.and_then(in_mem::Pending::wait)).collect();
        // Some may have been made where others were refused.
        let refused = |result: &Result<_, Error>| matches!(result, Err(error) if !matches!(error, Error::OutcomeUnknown { .. }));
        if !self.disk.crashed() && results.iter().any(refused) {
            self.ledger.keep(&results.iter().map(|result| !refused(result)).collect::<Vec<_>>());
        }
        let error = results.iter().find_map(|result| result.as_ref().err().cloned());
        match results.into_iter().find(|result| matches!(result, Err(Error::OutcomeUnknown { .. }))) {
            Some(unknown) => self.end(unknown),
            None => match (self.end(Ok(()))?, error) {
                (Did::Well, Some(error)) => Ok(Did::Failed(error)),
                (did, _) => Ok(did),
            },
        }
    }

    /// A commit that comes while the one before it is being synced: behind it, and not under its sync.
    fn during_a_sync(&mut self, id: RunId) -> Result<Did, String> {
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        let [first, second] = [(); 2].map(|()| (key(self.rng), value(self.rng)));
        for (key, value) in [&first, &second] {
            let (key, value) = (key.clone(), value.clone());
            self.send(id, vec![Change::Put { run: id, key, value, expires: None }]);
        }
        let shard = self.db.engine().shard_of(id);
        let version = move |db: &Database| db.stats().map(|stats| stats.shards[shard].core.version);
        let before = version(self.db).map_err(|error| format!("stats: {error}"))?;
        let late = Rc::new(RefCell::new(None));
        meanwhile::at_next_sync({
            let (late, db, run) = (late.clone(), self.db.clone(), run.clone());
            // Not where the sync is of something else, such as a segment that the first has yet to go to.
            move || {
                if version(&db).is_ok_and(|now| now > before) {
                    *late.borrow_mut() = Some(run.kv().put_async(second.0, second.1));
                }
            }
        });
        let put = run.kv().put(first.0, first.1);
        // Where a commit alone is no reason to sync.
        let synced = if put.is_ok() { self.db.sync() } else { Ok(()) };
        meanwhile::forget();
        // `None`: there was nothing to sync, or not by this thread. Refused: the sync was one within a turn.
        let late = late.take().and_then(Result::ok);
        if self.disk.crashed() {
            return Ok(Did::MachineGone);
        }
        if late.is_none() {
            self.ledger.unsend();
        }
        let did = match (put, late) {
            (Ok(_), Some(late)) => {
                self.ledger.acknowledge_first(1);
                // Acknowledged by itself: nothing else of the log is synced between its answer and what comes next.
                self.end(late.wait())?
            }
            (put, _) => self.end(put)?,
        };
        match (did, synced) {
            (Did::Well, Err(error)) => Ok(Did::Failed(error)),
            (did, _) => Ok(did),
        }
    }

    fn life(&mut self, id: RunId) -> Result<Did, String> {
        if self.rng.u8(..3) == 0 {
            return self.delete_run(id);
        }
        if self.rng.bool() {
            let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
            let tags: Vec<String> = (0..self.rng.u8(..4)).map(|n| format!("u{n}")).collect();
            self.send(id, vec![Change::Tags { run: id, tags: tags.clone() }]);
            let result = run.set_tags(tags);
            return self.end(result);
        }
        self.end_run(id)
    }

    /// Deletes a run, whose past stays in the log.
    pub(crate) fn delete_run(&mut self, id: RunId) -> Result<Did, String> {
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        self.send(id, vec![Change::Drop { run: id }]);
        self.chronicle.owed.remove(&id);
        let result = run.delete();
        self.end(result)
    }

    /// Ends a run.
    pub(crate) fn end_run(&mut self, id: RunId) -> Result<Did, String> {
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        let status = [RunStatus::Completed, RunStatus::Failed][self.rng.usize(..2)];
        self.send(id, vec![Change::Status { run: id, status, at: self.now() }]);
        let result = run.end(status);
        self.end(result)
    }

    pub(crate) fn advance(&mut self) -> Result<Did, String> {
        // By an even number, where the times to live are odd: no key ends at the very moment it is looked at.
        self.clock.advance(self.rng.i64(1..40) * 2);
        Ok(Did::Well)
    }

    pub(crate) fn maintenance(&mut self) -> Result<Did, String> {
        let dice = self.rng.u8(..8);
        let breaks = self.begin_fault();
        let result = match dice {
            0..=2 => self.db.step(),
            3 | 4 => self.db.sync(),
            5 | 6 => self.db.checkpoint().map(|_| ()),
            _ => {
                let to = format!("/backup-{}", self.rng.u32(..));
                let result = self.db.backup(&to).map(|_| ());
                if result.is_ok() && !self.disk.crashed() {
                    self.chronicle.backups.push((to, self.ledger.live.clone()));
                }
                result
            }
        };
        // A step syncs, a sync does, and a checkpoint syncs the logs of the shards that it writes.
        self.end_maintenance(result, dice <= 4, breaks)
    }

    /// Ends what changes nothing that a run holds; with `syncs`, what was acknowledged is on the disk behind it.
    pub(crate) fn end_maintenance(
        &mut self,
        result: Result<(), Error>,
        syncs: bool,
        breaks: bool,
    ) -> Result<Did, String> {
        if self.disk.crashed() {
            return Ok(Did::MachineGone);
        }
        self.ledger.expired(self.db)?;
        let did = match result {
            Ok(()) => {
                if syncs {
                    self.ledger.synced();
                }
                Did::Well
            }
            Err(error) => Did::Failed(error),
        };
        self.end_fault(breaks, did)
    }
}
