//! The trace of a run: a tree of spans.

use std::cell::RefCell;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use in_mem_engine::command::ScanRequest;
use in_mem_engine::span::{pack_span, unpack_span};
use in_mem_engine::{Condition, Span, SpanHead, SpanKind, SpanStatus};
use in_mem_model::{KeyBytes, Object, RunId, Tag, Timestamp, Value, Version, VersionedValue, limits};

use crate::{Error, Result, Run, SpanDraft, SpanEnd, SpanTree, Spans, WriteError};

thread_local! {
    /// Where spans are packed before the shard gets them; reused from span to span.
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How often an end is tried again when another writer changes the span at the same time.
const END_ATTEMPTS: usize = 100;

/// The trace of a run.
///
/// ```
/// # fn main() -> in_mem::Result<()> {
/// # use in_mem::{Database, SpanDraft, SpanKind};
/// let db = Database::in_memory()?;
/// let run = db.begin_run("trace")?;
/// let agent = run.traces().span(SpanDraft::new(SpanKind::Agent, "planner"))?;
/// run.traces().record(&SpanDraft::tool_call("search").parent(agent.id()).input("shards").output(2))?;
/// agent.finish()?;
/// assert_eq!(run.traces().query().kind(SpanKind::ToolCall).list()?[0].output.as_i64(), Some(2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Traces<'r> {
    pub(crate) run: &'r Run,
}

impl<'r> Traces<'r> {
    /// Records a span in one go; gives its id. Where the draft says no end it has just ended, where it says no status it
    /// went well.
    ///
    /// # Errors
    /// [`WriteError::ConditionFailed`] where an id that was given is taken, [`Error::TooLong`], [`Error::Value`]; nothing
    /// was recorded.
    pub fn record(&self, span: &SpanDraft) -> Result<Arc<str>> {
        self.put(span, true)
    }

    /// Records several spans, all or none. Gives their ids.
    ///
    /// # Errors
    /// As [`Traces::record`], and [`WriteError::TransactionTooLarge`].
    pub fn record_many<'d>(&self, spans: impl IntoIterator<Item = &'d SpanDraft>) -> Result<Vec<Arc<str>>> {
        let now = self.run.engine.now();
        let mut writes = in_mem_engine::WriteSet::default();
        let mut ids = Vec::new();
        for span in spans {
            let mut body = Vec::new();
            span.pack(now, true, &mut body)?;
            let (id, condition) = span.id_and_condition();
            let value = Value::from(body);
            crate::transaction::check_pair(id.as_bytes(), &value)?;
            if writes.get(self.run.id, Tag::Trace, id.as_bytes()).is_some() {
                return Err(Error::DuplicateSpan { run: self.run.id, id });
            }
            writes.put(self.run.id, Tag::Trace, id.as_bytes(), value, None, condition)?;
            ids.push(id);
        }
        let mut request = in_mem_engine::command::CommitRequest::new(self.run.id);
        request.writes = writes.into_writes();
        self.run.engine.commit(request)?;
        Ok(ids)
    }

    /// Records a call of a tool in one go; gives the span's id.
    ///
    /// # Errors
    /// As [`Traces::record`].
    pub fn record_tool_call(
        &self,
        tool: impl Into<Arc<str>>,
        input: impl Into<Value>,
        output: impl Into<Value>,
    ) -> Result<Arc<str>> {
        self.record(&SpanDraft::tool_call(tool).input(input).output(output))
    }

    /// Records a call of a language model in one go; gives the span's id.
    ///
    /// # Errors
    /// As [`Traces::record`].
    pub fn record_model_call(
        &self,
        model: impl Into<Arc<str>>,
        input: impl Into<Value>,
        output: impl Into<Value>,
        input_tokens: u64,
        output_tokens: u64,
    ) -> Result<Arc<str>> {
        let draft = SpanDraft::model_call(model).input(input).output(output);
        self.record(&draft.tokens(input_tokens, output_tokens))
    }

    /// Records a choice: between what, and what was chosen; gives the span's id.
    ///
    /// # Errors
    /// As [`Traces::record`].
    pub fn record_decision(
        &self,
        name: impl Into<Arc<str>>,
        between: impl Into<Value>,
        chosen: impl Into<Value>,
    ) -> Result<Arc<str>> {
        self.record(&SpanDraft::new(SpanKind::Decision, name).input(between).output(chosen))
    }

    /// Records a look-up in a store of documents; gives the span's id.
    ///
    /// # Errors
    /// As [`Traces::record`].
    pub fn record_retrieval(
        &self,
        store: impl Into<Arc<str>>,
        query: impl Into<Value>,
        found: impl Into<Value>,
    ) -> Result<Arc<str>> {
        self.record(&SpanDraft::new(SpanKind::Retrieval, store).input(query).output(found))
    }

    /// Records a fault; gives the span's id.
    ///
    /// # Errors
    /// As [`Traces::record`].
    pub fn record_error(&self, name: impl Into<Arc<str>>, message: impl Into<Arc<str>>) -> Result<Arc<str>> {
        self.record(&SpanDraft::new(SpanKind::Error, name).failed(message))
    }

    /// Records a span that has begun; gives its id, for [`Traces::end_span`].
    ///
    /// # Errors
    /// As [`Traces::record`].
    pub fn start_span(&self, span: &SpanDraft) -> Result<Arc<str>> {
        self.put(span, false)
    }

    /// Ends a span that was begun.
    ///
    /// # Errors
    /// [`Error::UnknownSpan`], [`Error::SpanEnded`], and as [`Traces::record`].
    pub fn end_span(&self, id: impl AsRef<str>, end: SpanEnd) -> Result<()> {
        let id = id.as_ref();
        let engine = &self.run.engine;
        for attempt in 1.. {
            let stored = engine.get(self.run.id, Tag::Trace, id.as_bytes())?;
            let expected = stored.as_ref().map_or(Condition::Any, |s| Condition::Version(s.version));
            let packed = ended(self.run.id, id, stored.map(|s| s.value), end.clone(), engine.now())?;
            match engine.put(self.run.id, Tag::Trace, id.as_bytes(), packed, None, expected) {
                Ok(_) => break,
                Err(Error::Write(WriteError::ConditionFailed { found: Some(found), .. }))
                    if attempt < END_ATTEMPTS =>
                {
                    engine.wait_visible(self.run.id, found)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Begins a span that ends when the guard is finished or dropped.
    ///
    /// # Errors
    /// As [`Traces::record`].
    pub fn span(&self, span: SpanDraft) -> Result<SpanGuard<'r>> {
        let id = self.start_span(&span)?;
        Ok(SpanGuard { run: self.run, id, end: Some(SpanEnd::default()) })
    }

    /// The span with this id.
    ///
    /// # Errors
    /// [`Error::Malformed`] where what is stored is not a span, [`Error::Closed`].
    pub fn get(&self, id: impl AsRef<str>) -> Result<Option<Span>> {
        let id = id.as_ref();
        let stored = self.run.engine.get(self.run.id, Tag::Trace, id.as_bytes())?;
        stored.map(|stored| unpack(self.run.id, id, &stored)).transpose()
    }

    /// The spans, to be narrowed, ordered, paged and summed up.
    pub fn query(&self) -> Spans<'r> {
        Spans::new(self.run)
    }

    /// How many spans there are. Of a fork, they are counted one by one.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] where the run was deleted since.
    pub fn len(&self) -> Result<u64> {
        let info = self.run.info()?;
        if info.meta.forked_from.is_none() {
            return Ok(info.traces.entries);
        }
        // Those that it shares with its parent are not counted with its own.
        let run = self.run.id;
        let (lower, upper) = (Bound::Unbounded, Bound::Unbounded);
        let all =
            ScanRequest { run, tag: Tag::Trace, lower, upper, reverse: false, at: None, limit: usize::MAX };
        self.run.engine.snapshot(run)?.count(all)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`Traces::len`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The parts of a span, the first begun first.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Closed`].
    pub fn children(&self, id: impl AsRef<str>) -> Result<Vec<Span>> {
        self.query().parent(id.as_ref()).list()
    }

    /// The spans that a span is a part of, the nearest first. Ends where a parent is not recorded, or comes up again.
    ///
    /// # Errors
    /// As [`Traces::get`].
    pub fn ancestors(&self, id: impl AsRef<str>) -> Result<Vec<Span>> {
        let mut ancestors: Vec<Span> = Vec::new();
        let mut seen = std::collections::HashSet::from([Arc::<str>::from(id.as_ref())]);
        let mut next = self.get(id)?.and_then(|span| span.head.parent);
        while let Some(parent) = next.filter(|parent| seen.insert(parent.clone())) {
            let Some(span) = self.get(&parent)? else { break };
            next = span.head.parent.clone();
            ancestors.push(span);
        }
        Ok(ancestors)
    }

    /// All spans as a tree.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Closed`].
    pub fn tree(&self) -> Result<SpanTree> {
        Ok(SpanTree::of(self.query().list()?))
    }

    fn put(&self, span: &SpanDraft, ended: bool) -> Result<Arc<str>> {
        let (id, condition) = span.id_and_condition();
        let value = BODY.with_borrow_mut(|body| {
            body.clear();
            span.pack(self.run.engine.now(), ended, body)?;
            Ok::<_, Error>(Value::Bytes(Arc::from(&body[..])))
        })?;
        self.run.engine.put(self.run.id, Tag::Trace, id.as_bytes(), value, None, condition)?;
        Ok(id)
    }
}

/// A span that is under way. [`SpanGuard::finish`] ends it well, [`SpanGuard::fail`] with a fault. Dropped without either, it
/// ends with no status: nobody said how it went; or as failed, if it is dropped by a panic.
#[derive(Debug)]
#[must_use = "the span ends when the guard is dropped"]
pub struct SpanGuard<'r> {
    run: &'r Run,
    id: Arc<str>,
    /// `None` once it is written.
    end: Option<SpanEnd>,
}

impl<'r> SpanGuard<'r> {
    /// The span's id: the parent of its parts.
    pub fn id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// Begins a part of it.
    ///
    /// # Errors
    /// As [`Traces::record`].
    pub fn child(&self, span: SpanDraft) -> Result<SpanGuard<'r>> {
        self.run.traces().span(span.parent(self.id.clone()))
    }

    /// Says more of it, to be written at its end.
    pub fn note(&mut self, more: impl FnOnce(SpanEnd) -> SpanEnd) {
        self.end = self.end.take().map(more);
    }

    /// What it gave.
    pub fn output(&mut self, output: impl Into<Value>) {
        self.note(|end| end.output(output));
    }

    /// How many tokens the model read and wrote.
    pub fn tokens(&mut self, input: u64, output: u64) {
        self.note(|end| end.tokens(input, output));
    }

    /// What it cost, in US dollars.
    pub fn cost_usd(&mut self, cost: f64) {
        self.note(|end| end.cost_usd(cost));
    }

    /// Anything else, under a name of its own.
    pub fn attribute(&mut self, name: impl Into<Arc<str>>, value: impl Into<Value>) {
        self.note(|end| end.attribute(name, value));
    }

    /// Ends it well.
    ///
    /// # Errors
    /// As [`Traces::end_span`].
    pub fn finish(mut self) -> Result<()> {
        self.write(SpanStatus::Ok, None)
    }

    /// Ends it with a fault.
    ///
    /// # Errors
    /// As [`Traces::end_span`].
    pub fn fail(mut self, message: impl Into<Arc<str>>) -> Result<()> {
        self.write(SpanStatus::Failed, Some(message.into()))
    }

    fn write(&mut self, status: SpanStatus, message: Option<Arc<str>>) -> Result<()> {
        let Some(end) = self.end.take() else { return Ok(()) };
        let status = if end.status == SpanStatus::Unset { status } else { end.status };
        let message = message.or(end.message);
        self.run.traces().end_span(&*self.id, SpanEnd { status, message, ..end })
    }
}

impl Drop for SpanGuard<'_> {
    fn drop(&mut self) {
        // Nobody is left to tell of an error; `finish` and `fail` are for those who want to know.
        let _ = if std::thread::panicking() {
            self.write(SpanStatus::Failed, Some(Arc::from("panicked")))
        } else {
            self.write(SpanStatus::Unset, None)
        };
    }
}

/// The packed form of a span once it has ended.
pub(crate) fn ended(
    run: RunId,
    id: &str,
    stored: Option<Value>,
    end: SpanEnd,
    now: Timestamp,
) -> Result<Value> {
    let Some(stored) = stored else { return Err(Error::UnknownSpan { run, id: id.into() }) };
    let Span { mut head, input, output, attributes, .. } = unpack(run, id, &unversioned(stored))?;
    if head.end.is_some() {
        return Err(Error::SpanEnded { run, id: id.into() });
    }
    head.end = Some(end.at.unwrap_or(now));
    head.status = end.status;
    head.message = end.message.or(head.message);
    head.model = end.model.or(head.model);
    head.input_tokens = end.input_tokens.or(head.input_tokens);
    head.output_tokens = end.output_tokens.or(head.output_tokens);
    head.cost_usd = end.cost_usd.or(head.cost_usd);
    head.tags.extend(end.tags);
    let output = end.output.unwrap_or(output);
    check(&head, [&input, &output])?;
    let had = attributes.iter().filter(|(name, _)| !end.attributes.iter().any(|(n, _)| **n == **name));
    let attributes: Vec<(Arc<str>, Value)> = had
        .map(|(name, value)| (Arc::<str>::from(name), value.clone()))
        .chain(end.attributes.iter().cloned())
        .collect();
    let attributes = Object::from_iter(attributes);
    check_attributes(&attributes)?;
    let mut body = Vec::new();
    pack_span(&head, &input, &output, Some(&attributes), &mut body);
    Ok(Value::from(body))
}

pub(crate) fn unpack(run: RunId, id: &str, stored: &VersionedValue) -> Result<Span> {
    unpack_span(id, stored).map_err(|error| Error::Malformed {
        what: "a span",
        run,
        reason: error.to_string(),
    })
}

pub(crate) fn unpack_key(run: RunId, id: &KeyBytes, stored: &VersionedValue) -> Result<Span> {
    unpack(run, &String::from_utf8_lossy(id), stored)
}

/// A value that is not committed yet.
pub(crate) fn unversioned(value: Value) -> VersionedValue {
    VersionedValue { value, version: Version(0), timestamp: Timestamp(0), expires_at: None }
}

pub(crate) fn check(head: &SpanHead, values: [&Value; 2]) -> Result<()> {
    let limit = limits::MAX_SPAN_NAME_BYTES;
    if head.name.len() > limit || head.kind.as_str().len() > limit {
        return Err(Error::TooLong { what: "a span's name or kind, in bytes,", limit });
    }
    if !head.tags.is_empty() {
        crate::run::check_tags(&head.tags)?;
    }
    if let Some(cost) = head.cost_usd.filter(|cost| !cost.is_finite()) {
        return Err(Error::Cost { cost });
    }
    for value in values {
        value.check()?;
    }
    Ok(())
}

/// Refuses attributes that cannot be kept: as a whole, since that is how they are read back.
pub(crate) fn check_attributes(attributes: &Object) -> Result<()> {
    Ok(Value::Object(attributes.clone()).check()?)
}

/// An id that no span of this process has: 16 hexadecimal digits, growing, so that later spans sort behind earlier ones.
pub(crate) fn assign_id() -> Arc<str> {
    /// Finer than any one process can count in a microsecond, so that a later process starts behind.
    const IDS_PER_MICROSECOND: u64 = 1 << 12;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only that every caller gets another number matters.
    let mut id = NEXT.fetch_add(1, Ordering::Relaxed);
    if id < IDS_PER_MICROSECOND {
        let start =
            Timestamp::now().0.unsigned_abs() * IDS_PER_MICROSECOND + fastrand::u64(..IDS_PER_MICROSECOND);
        NEXT.fetch_max(start + 1, Ordering::Relaxed);
        id = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    let mut text = [0u8; 16];
    for (place, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(id >> (60 - 4 * place) & 0xf) as usize];
    }
    Arc::from(std::str::from_utf8(&text).unwrap_or_default())
}
