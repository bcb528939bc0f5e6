//! Transactions over a run and its children.

mod lookups;
mod state;

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::{Duration, Instant};

use in_mem_engine::Condition;
use in_mem_engine::command::{CommitRequest, Committed, ReadKey, ReadRange, RunChange, Write};
use in_mem_engine::event;
use in_mem_engine::{Snapshot, WritePending, WriteSet};
use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Value, Version, VersionedValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::state::TxState;
use crate::traces;
use crate::{
    BeginRun, Error, Event, EventDraft, Result, Run, RunStatus, Span, SpanDraft, SpanEnd, WriteError,
};

/// A transaction: reads see one moment, writes are kept back until the commit, own writes are seen.
#[derive(Debug)]
pub struct Transaction<'r> {
    run: &'r Run,
    snapshot: Snapshot<'r>,
    reads: Vec<ReadKey>,
    ranges: Vec<ReadRange>,
    /// What expires first of what was read.
    expires: Option<Box<(Timestamp, Key)>>,
    writes: WriteSet,
}

impl<'r> Transaction<'r> {
    /// How often [`Run::transaction`] runs its closure before it gives up.
    pub const ATTEMPTS: u32 = 100;

    pub(crate) fn begin(run: &'r Run) -> Result<Self> {
        let snapshot = run.engine.snapshot(run.id)?;
        Ok(Self {
            run,
            snapshot,
            reads: Vec::new(),
            ranges: Vec::new(),
            expires: None,
            writes: WriteSet::default(),
        })
    }

    pub(crate) fn run<T>(
        run: &'r Run,
        limit: Option<Duration>,
        mut body: impl FnMut(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let deadline = limit.map(|limit| (Instant::now(), limit));
        let mut attempt = 0;
        loop {
            let mut tx = Transaction::begin(run)?;
            let result = body(&mut tx)?;
            match tx.commit() {
                Ok(_) => return Ok(result),
                Err(error) => {
                    let Error::Write(WriteError::Conflict { found, .. }) = &error else { return Err(error) };
                    attempt += 1;
                    if attempt >= Self::ATTEMPTS {
                        return Err(error);
                    }
                    run.engine.wait_visible(run.id, *found)?;
                }
            }
            if let Some((since, limit)) = deadline
                && since.elapsed() >= limit
            {
                return Err(Error::Deadline(limit));
            }
            back_off(attempt as usize);
        }
    }

    /// The version it reads at.
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// The key-value pairs of its run.
    pub fn kv(&mut self) -> TxKv<'_, 'r> {
        let run = self.run.id;
        TxKv { tx: self, run }
    }

    /// The key-value pairs of a child, parent or sibling of its run.
    pub fn kv_of(&mut self, run: &Run) -> TxKv<'_, 'r> {
        TxKv { tx: self, run: run.id }
    }

    /// The event log of its run.
    pub fn events(&mut self) -> TxEvents<'_, 'r> {
        let run = self.run.id;
        TxEvents { tx: self, run }
    }

    /// The event log of a child, parent or sibling of its run.
    pub fn events_of(&mut self, run: &Run) -> TxEvents<'_, 'r> {
        TxEvents { tx: self, run: run.id }
    }

    /// The state cells of its run.
    pub fn state(&mut self) -> TxState<'_, 'r> {
        let run = self.run.id;
        TxState { tx: self, run }
    }

    /// The state cells of a child, parent or sibling of its run.
    pub fn state_of(&mut self, run: &Run) -> TxState<'_, 'r> {
        TxState { tx: self, run: run.id }
    }

    /// The trace of its run.
    pub fn traces(&mut self) -> TxTraces<'_, 'r> {
        let run = self.run.id;
        TxTraces { tx: self, run }
    }

    /// The trace of a child, parent or sibling of its run.
    pub fn traces_of(&mut self, run: &Run) -> TxTraces<'_, 'r> {
        TxTraces { tx: self, run: run.id }
    }

    /// Begins a child with this transaction; the handle can be written through it at once
    /// ([`Transaction::kv_of`] and the like), and by itself once the transaction is committed.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Value`], [`WriteError::OtherLineage`].
    pub fn begin_run(&mut self, run: BeginRun) -> Result<Run> {
        let (engine, request) = run.into_request()?;
        let id = request.run;
        if id.routing() != self.run.id.routing() {
            return Err(WriteError::OtherLineage { run: id, with: self.run.id }.into());
        }
        for (id, write) in request.writes {
            self.writes.push(id, write);
        }
        Ok(Run { engine, id, cursor: Arc::default() })
    }

    /// Ends the run with this transaction.
    pub fn end_run(&mut self, status: RunStatus) {
        let change = RunChange { status: Some(status), ..RunChange::default() };
        self.writes.push(self.run.id, Write::ChangeRun(Box::new(change)));
    }

    /// Ends the run with this transaction, saying why it failed or was cancelled, and when where that is not now: for
    /// imports.
    pub fn end_run_as(&mut self, status: RunStatus, error: Option<&str>, at: Option<Timestamp>) {
        let error = error.map(Arc::from);
        let change = RunChange { status: Some(status), error, at, ..RunChange::default() };
        self.writes.push(self.run.id, Write::ChangeRun(Box::new(change)));
    }

    pub(crate) fn write_first(&mut self, request: CommitRequest) {
        debug_assert!(self.writes.is_empty());
        for (run, write) in request.writes {
            self.writes.push(run, write);
        }
    }

    /// Gives the transaction up for a reason of the caller's: return what this gives.
    ///
    /// # Errors
    /// Always: [`Error::Aborted`].
    pub fn abort<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(Error::Aborted { reason: reason.into() })
    }

    /// Commits it.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where something that it read has changed, [`WriteError::TransactionTooLarge`]; nothing was written
    /// then.
    pub fn commit(self) -> Result<Committed> {
        let Self { run, snapshot, reads, ranges, expires, writes, .. } = self;
        if writes.is_empty() {
            // What it read was one state; there is nothing to order against others.
            return Ok(Committed { version: snapshot.version(), ..Committed::default() });
        }
        let request = CommitRequest {
            run: run.id,
            snapshot: Some(snapshot.version()),
            reads,
            ranges,
            expires,
            writes: writes.into_writes(),
        };
        run.engine.commit_read_at(request, snapshot)
    }

    fn get(&mut self, run: RunId, tag: Tag, key: &[u8]) -> Result<Option<VersionedValue>> {
        self.check_lineage(run)?;
        let read = self.snapshot.get(run, tag, key)?;
        self.writes.note_read()?;
        self.reads.push(ReadKey { key: Key::new(run, tag, key) });
        if let Some(at) = read.as_ref().and_then(|read| read.expires_at) {
            self.note_expiry(run, tag, key, at);
        }
        Ok(read)
    }

    fn note_expiry(&mut self, run: RunId, tag: Tag, key: &[u8], at: Timestamp) {
        if self.expires.as_ref().is_none_or(|first| at < first.0) {
            self.expires = Some(Box::new((at, Key::new(run, tag, key))));
        }
    }

    fn get_own(&mut self, run: RunId, tag: Tag, key: &[u8]) -> Result<Option<Value>> {
        Ok(self.get_own_expiring(run, tag, key)?.map(|(value, _)| value))
    }

    /// The value, and when it expires.
    fn get_own_expiring(
        &mut self,
        run: RunId,
        tag: Tag,
        key: &[u8],
    ) -> Result<Option<(Value, Option<Timestamp>)>> {
        match self.writes.get(run, tag, key) {
            Some(WritePending::Put(value, expires_at)) => Ok(Some((value.clone(), expires_at))),
            Some(WritePending::Deleted) => Ok(None),
            None => Ok(self.get(run, tag, key)?.map(|read| (read.value, read.expires_at))),
        }
    }

    /// A condition on what the transaction has written itself does not reach the shard, which knows the first write's only.
    fn check_own(&self, run: RunId, tag: Tag, key: &[u8], expected: Condition) -> Result<()> {
        let holds = match (self.writes.get(run, tag, key), expected) {
            (None, _) | (_, Condition::Any) => true,
            (Some(own), Condition::Absent) => own == WritePending::Deleted,
            (Some(own), Condition::Present) => own != WritePending::Deleted,
            // What is not committed has no version.
            (Some(_), Condition::Version(_)) => false,
        };
        if holds {
            return Ok(());
        }
        let key = Box::new(Key::new(run, tag, key));
        Err(WriteError::ConditionFailed { key, expected, found: None }.into())
    }

    fn put(&mut self, run: RunId, tag: Tag, key: &[u8], value: Value, condition: Condition) -> Result<()> {
        self.put_until(run, tag, key, value, None, condition)
    }

    fn put_until(
        &mut self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        value: Value,
        expires_at: Option<Timestamp>,
        condition: Condition,
    ) -> Result<()> {
        check_pair(key, &value)?;
        self.check_own(run, tag, key, condition)?;
        // On its way while the closure goes on.
        self.snapshot.prefetch(run, tag, key);
        Ok(self.writes.put(run, tag, key, value, expires_at, condition)?)
    }

    fn delete(&mut self, run: RunId, tag: Tag, key: &[u8]) -> Result<bool> {
        let was_there = self.get_own(run, tag, key)?.is_some();
        if was_there {
            self.writes.delete(run, tag, key, Condition::Any)?;
        }
        Ok(was_there)
    }

    /// Of another lineage the snapshot shows nothing, which must not pass for there being nothing.
    fn check_lineage(&self, run: RunId) -> Result<()> {
        if run.routing() == self.run.id.routing() {
            Ok(())
        } else {
            Err(WriteError::OtherLineage { run, with: self.run.id }.into())
        }
    }

    fn scan(
        &mut self,
        run: RunId,
        tag: Tag,
        lower: Bound<KeyBytes>,
        upper: Bound<KeyBytes>,
    ) -> Result<Vec<(KeyBytes, Value)>> {
        self.check_lineage(run)?;
        self.writes.note_read()?;
        let below = self.snapshot.scan_all(run, tag, lower.clone(), upper.clone())?;
        let own = self.writes.range(run, tag, lower.as_ref().map(|k| &**k), upper.as_ref().map(|k| &**k));
        let first = below.iter().filter_map(|(key, read)| Some((read.expires_at?, key))).min();
        let first = first.map(|(at, key)| (at, key.clone()));
        let mut merged: std::collections::BTreeMap<KeyBytes, Value> =
            below.into_iter().map(|(key, value)| (key, value.value)).collect();
        for (key, pending) in own {
            match pending {
                WritePending::Put(value, _) => {
                    merged.insert(key, value.clone());
                }
                WritePending::Deleted => {
                    merged.remove(&key);
                }
            }
        }
        if let Some((at, key)) = first {
            self.note_expiry(run, tag, &key, at);
        }
        self.ranges.push(ReadRange { run, tag, lower, upper });
        Ok(merged.into_iter().collect())
    }
}

/// The key-value pairs of a run, inside a transaction.
#[derive(Debug)]
pub struct TxKv<'t, 'r> {
    tx: &'t mut Transaction<'r>,
    run: RunId,
}

impl TxKv<'_, '_> {
    /// The value of a key.
    ///
    /// # Errors
    /// [`crate::SnapshotError::Expired`].
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.tx.get_own(self.run, Tag::Kv, key.as_ref())
    }

    /// Puts a value.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::Value`], [`WriteError::TransactionTooLarge`]; the transaction is as it was before.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl Into<Value>) -> Result<()> {
        self.tx.put(self.run, Tag::Kv, key.as_ref(), value.into(), Condition::Any)
    }

    /// The values of several keys, in the order of the keys.
    ///
    /// # Errors
    /// As [`TxKv::get`].
    pub fn get_many<K: AsRef<[u8]>>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// Puts several pairs; of two with one key the later holds.
    ///
    /// # Errors
    /// As [`TxKv::put`]; the pairs before the one that was refused stay in the transaction.
    pub fn put_many<K: AsRef<[u8]>, V: Into<Value>>(
        &mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        pairs.into_iter().try_for_each(|(key, value)| self.put(key, value))
    }

    /// Puts a value that stops being there after a while, counted from this call. The transaction itself sees it until it
    /// commits.
    ///
    /// # Errors
    /// As [`TxKv::put`].
    pub fn put_with_ttl(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl Into<Value>,
        ttl: Duration,
    ) -> Result<()> {
        let expires_at = self.tx.run.engine.now().saturating_add(ttl);
        let value = value.into();
        self.tx.put_until(self.run, Tag::Kv, key.as_ref(), value, Some(expires_at), Condition::Any)
    }

    /// The value of a key as a type of the caller's.
    ///
    /// # Errors
    /// [`Error::Serde`] where the value is not of that type, and as [`TxKv::get`].
    pub fn get_as<T: DeserializeOwned>(&mut self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.get(key)?.map(|v| v.deserialize().map_err(Error::from)).transpose()
    }

    /// Puts anything that serde can serialize.
    ///
    /// # Errors
    /// [`Error::Serde`] where it cannot be a value, and as [`TxKv::put`].
    pub fn put_as<T: Serialize + ?Sized>(&mut self, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        self.put(key, Value::from_serialize(value)?)
    }

    /// Whether the key is there.
    ///
    /// # Errors
    /// As [`TxKv::get`].
    pub fn exists(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// Puts a value where there is none; says whether it did.
    ///
    /// # Errors
    /// As [`TxKv::get`] and [`TxKv::put`].
    pub fn put_if_absent(&mut self, key: impl AsRef<[u8]>, value: impl Into<Value>) -> Result<bool> {
        let key = key.as_ref();
        let absent = !self.exists(key)?;
        if absent {
            self.put(key, value)?;
        }
        Ok(absent)
    }

    /// Counts an integer up by `by` (or down); absent counts as 0. Gives the sum, which expires when the value did. Unlike outside a transaction, another
    /// writer of the key is a conflict.
    ///
    /// # Errors
    /// [`WriteError::NotAnInteger`], [`WriteError::Overflow`], and as [`TxKv::get`].
    pub fn increment(&mut self, key: impl AsRef<[u8]>, by: i64) -> Result<i64> {
        let key = key.as_ref();
        let at = || Box::new(Key::new(self.run, Tag::Kv, key));
        let (sum, expires_at) = match self.tx.get_own_expiring(self.run, Tag::Kv, key)? {
            None => (by, None),
            Some((Value::Int(now), expires_at)) => {
                (now.checked_add(by).ok_or_else(|| WriteError::Overflow { key: at(), by })?, expires_at)
            }
            Some((other, _)) => {
                return Err(WriteError::NotAnInteger { key: at(), found: other.kind() }.into());
            }
        };
        self.tx.put_until(self.run, Tag::Kv, key, sum.into(), expires_at, Condition::Any)?;
        Ok(sum)
    }

    /// Deletes a key; says whether it was there.
    ///
    /// # Errors
    /// [`crate::SnapshotError::Expired`].
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.tx.delete(self.run, Tag::Kv, key.as_ref())
    }

    /// All pairs whose key starts with `prefix`; a pair that another transaction adds or removes there is a conflict.
    ///
    /// # Errors
    /// [`crate::SnapshotError::Expired`].
    pub fn list(&mut self, prefix: impl AsRef<[u8]>) -> Result<Vec<(KeyBytes, Value)>> {
        let (lower, upper) = crate::kv::prefix_bounds(prefix.as_ref());
        self.tx.scan(self.run, Tag::Kv, lower, upper)
    }

    /// All pairs in a range of keys.
    ///
    /// # Errors
    /// As [`TxKv::list`].
    pub fn range<K: AsRef<[u8]>>(&mut self, keys: impl RangeBounds<K>) -> Result<Vec<(KeyBytes, Value)>> {
        let (lower, upper) = crate::kv::key_bounds(&keys);
        self.tx.scan(self.run, Tag::Kv, lower, upper)
    }
}

/// The event log of a run, inside a transaction.
#[derive(Debug)]
pub struct TxEvents<'t, 'r> {
    tx: &'t mut Transaction<'r>,
    run: RunId,
}

impl TxEvents<'_, '_> {
    /// Appends an event at the commit, which gives it its number.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Value`], [`WriteError::TransactionTooLarge`]; the transaction is as it was before.
    pub fn append(&mut self, kind: impl AsRef<str>, payload: impl Into<Value>) -> Result<()> {
        self.append_draft(&EventDraft::new(kind.as_ref(), payload))
    }

    /// Appends an event with a stream or a time of its own.
    ///
    /// # Errors
    /// As [`TxEvents::append`].
    pub fn append_draft(&mut self, draft: &EventDraft) -> Result<()> {
        let mut body = Vec::new();
        draft.pack(&mut body)?;
        Ok(self.tx.writes.append(self.run, body)?)
    }

    /// A committed event; those of this transaction have no number yet.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`crate::SnapshotError::Expired`].
    pub fn read(&mut self, sequence: u64) -> Result<Option<Event>> {
        let run = self.tx.run;
        let stored = self.tx.get(self.run, Tag::Event, &event::event_key(sequence))?;
        stored.map(|stored| run.events().unpack(sequence, &stored)).transpose()
    }
}

/// The trace of a run, inside a transaction.
#[derive(Debug)]
pub struct TxTraces<'t, 'r> {
    tx: &'t mut Transaction<'r>,
    run: RunId,
}

impl TxTraces<'_, '_> {
    /// Records a span that has ended; gives its id.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Value`], [`WriteError::TransactionTooLarge`], [`Error::DuplicateSpan`] where this transaction has
    /// a span of that id already; the commit fails with [`WriteError::ConditionFailed`] where an id that was given is taken.
    pub fn record(&mut self, span: &SpanDraft) -> Result<Arc<str>> {
        self.put(span, true)
    }

    /// Records a span that has begun; gives its id.
    ///
    /// # Errors
    /// As [`TxTraces::record`].
    pub fn start(&mut self, span: &SpanDraft) -> Result<Arc<str>> {
        self.put(span, false)
    }

    /// Ends a span that was begun.
    ///
    /// # Errors
    /// [`Error::UnknownSpan`], [`Error::SpanEnded`], and as [`TxTraces::record`].
    pub fn end(&mut self, id: impl AsRef<str>, end: SpanEnd) -> Result<()> {
        let id = id.as_ref();
        let stored = self.tx.get_own(self.run, Tag::Trace, id.as_bytes())?;
        let packed = traces::ended(self.run, id, stored, end, self.tx.run.engine.now())?;
        self.tx.put(self.run, Tag::Trace, id.as_bytes(), packed, Condition::Any)
    }

    /// A span, those of this transaction included.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`crate::SnapshotError::Expired`].
    pub fn get(&mut self, id: impl AsRef<str>) -> Result<Option<Span>> {
        let id = id.as_ref();
        let value = self.tx.get_own(self.run, Tag::Trace, id.as_bytes())?;
        value.map(|value| traces::unpack(self.run, id, &traces::unversioned(value))).transpose()
    }

    fn put(&mut self, span: &SpanDraft, ended: bool) -> Result<Arc<str>> {
        let mut body = Vec::new();
        span.pack(self.tx.run.engine.now(), ended, &mut body)?;
        let (id, condition) = span.id_and_condition();
        if matches!(self.tx.writes.get(self.run, Tag::Trace, id.as_bytes()), Some(WritePending::Put(..))) {
            return Err(Error::DuplicateSpan { run: self.run, id });
        }
        self.tx.put(self.run, Tag::Trace, id.as_bytes(), Value::from(body), condition)?;
        Ok(id)
    }
}

/// Refuses a pair that cannot be stored.
pub(crate) fn check_pair(key: &[u8], value: &Value) -> Result<()> {
    in_mem_engine::check_key(key)?;
    value.check()?;
    Ok(())
}

/// Waits a little before the next try, the longer the more tries there were; jittered, so that two that met once do not
/// meet again.
pub(crate) fn back_off(attempt: usize) {
    const LONGEST_MICROS: u64 = 1_000;
    if attempt <= 2 {
        std::thread::yield_now();
        return;
    }
    let most = (1u64 << attempt.min(10)).min(LONGEST_MICROS);
    std::thread::sleep(Duration::from_micros(fastrand::u64(1..=most)));
}
