//! Looking for spans.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use in_mem_engine::{Span, SpanCursor, SpanKind, SpanOrder, SpanQuery, SpanStatus, SpanTotals};
use in_mem_model::Timestamp;

use crate::{Result, Run};

/// The spans of a run: narrowed, ordered, paged, summed up. The first query of a run builds its indexes, in turns that let
/// others through; from then on they are kept up.
#[derive(Debug, Clone)]
#[must_use = "a query lists nothing until `list`, `page`, `count` or `totals` is called"]
pub struct Spans<'r> {
    run: &'r Run,
    query: SpanQuery,
}

impl<'r> Spans<'r> {
    pub(crate) fn new(run: &'r Run) -> Self {
        Self { run, query: SpanQuery::default() }
    }

    /// Only those of this kind; called again, those of any of them.
    pub fn kind(mut self, kind: impl Into<SpanKind>) -> Self {
        self.query.filter.kinds.push(kind.into());
        self
    }

    /// Only those of this name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.query.filter.name = Some(name.into());
        self
    }

    /// Only those with this tag; called again, those with all of them.
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.query.filter.tags.push(tag.into());
        self
    }

    /// Only those with this status; called again, those with any of them.
    pub fn status(mut self, status: SpanStatus) -> Self {
        self.query.filter.status.push(status);
        self
    }

    /// Only those that failed.
    pub fn failed(self) -> Self {
        self.status(SpanStatus::Failed)
    }

    /// Only those of this language model.
    pub fn model(mut self, model: impl Into<Arc<str>>) -> Self {
        self.query.filter.model = Some(model.into());
        self
    }

    /// Only those begun at or after.
    pub fn started_from(mut self, at: Timestamp) -> Self {
        self.query.filter.start_from = Some(at);
        self
    }

    /// Only those begun before.
    pub fn started_before(mut self, at: Timestamp) -> Self {
        self.query.filter.start_before = Some(at);
        self
    }

    /// Only those that took at least so long, to the microsecond. Spans under way have no duration yet.
    pub fn took_at_least(mut self, duration: Duration) -> Self {
        self.query.filter.min_duration_micros = Some(micros(duration));
        self
    }

    /// Only those that took at most so long, to the microsecond.
    pub fn took_at_most(mut self, duration: Duration) -> Self {
        self.query.filter.max_duration_micros = Some(micros(duration));
        self
    }

    /// Only the parts of this span.
    pub fn parent(mut self, id: impl Into<Arc<str>>) -> Self {
        self.query.filter.parent = Some(id.into());
        self
    }

    /// Only those that are part of no other.
    pub fn roots(mut self) -> Self {
        self.query.filter.root = Some(true);
        self
    }

    /// Only those under way.
    pub fn running(mut self) -> Self {
        self.query.filter.ended = Some(false);
        self
    }

    /// In this order. Default: the first begun first.
    pub fn order(mut self, order: SpanOrder) -> Self {
        self.query.order = order;
        self
    }

    /// All of them.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`], [`crate::Error::Closed`].
    pub fn list(&self) -> Result<Vec<Span>> {
        Ok(self.page(None, usize::MAX)?.0)
    }

    /// A page of at most `limit` spans behind the cursor, and the cursor of the next page where there may be one.
    ///
    /// # Errors
    /// As [`Spans::list`].
    pub fn page(&self, after: Option<SpanCursor>, limit: usize) -> Result<(Vec<Span>, Option<SpanCursor>)> {
        let mut spans = Vec::new();
        let mut query = SpanQuery { after, ..self.query.clone() };
        while spans.len() < limit {
            query.limit = limit - spans.len();
            let page = self.run.engine.spans(self.run.id, &query)?;
            for (id, stored) in &page.spans {
                spans.push(crate::traces::unpack_key(self.run.id, id, stored)?);
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        Ok((spans, query.after))
    }

    /// The first of them.
    ///
    /// # Errors
    /// As [`Spans::list`].
    pub fn first(&self) -> Result<Option<Span>> {
        Ok(self.page(None, 1)?.0.pop())
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn count(&self) -> Result<u64> {
        Ok(self.totals()?.values().map(|totals| totals.spans).sum())
    }

    /// What they come to, by kind: their number, tokens, cost and time.
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn totals(&self) -> Result<BTreeMap<SpanKind, SpanTotals>> {
        let mut totals: BTreeMap<SpanKind, SpanTotals> = BTreeMap::new();
        let mut query = SpanQuery { limit: 0, ..self.query.clone() };
        loop {
            let page = self.run.engine.spans(self.run.id, &query)?;
            for (kind, some) in page.totals {
                totals.entry(kind).or_default().add(&some);
            }
            query.after = page.next;
            if query.after.is_none() {
                return Ok(totals);
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
