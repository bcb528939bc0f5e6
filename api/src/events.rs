//! The event log of a run.

use std::cell::RefCell;
use std::ops::RangeBounds;
use std::sync::Arc;

use in_mem_engine::Event;
use in_mem_engine::command::{Command, Reply};
use in_mem_engine::event::{self, ChainHead};
use in_mem_model::{Tag, Timestamp, Value, VersionedValue, limits};
use smallvec::SmallVec;

use crate::{Error, Pending, Result, Run, Stream, Subscription};

thread_local! {
    /// Where events are packed before the shard gets them; reused from event to event.
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Gives a buffer to pack into. It is taken out meanwhile: an append may take a turn, a turn may run closures of others, and
/// one that appends has to be told that it must not, rather than meet the buffer in use.
fn with_body<R>(pack: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut body = BODY.take();
    body.clear();
    let result = pack(&mut body);
    BODY.set(body);
    result
}

/// The most events that an iteration reads together.
const MOST_READ_AHEAD: u64 = 32;

/// An event to append.
#[derive(Debug, Clone)]
pub struct EventDraft {
    kind: String,
    stream: Option<String>,
    occurred_at: Option<Timestamp>,
    payload: Value,
}

impl EventDraft {
    /// An event of this kind, saying this.
    pub fn new(kind: impl Into<String>, payload: impl Into<Value>) -> Self {
        Self { kind: kind.into(), stream: None, occurred_at: None, payload: payload.into() }
    }

    /// In this named stream, too: a stream has an order of its own inside the run's.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// When it happened, where that is not now.
    pub fn occurred_at(mut self, at: Timestamp) -> Self {
        self.occurred_at = Some(at);
        self
    }

    pub(crate) fn pack(&self, body: &mut Vec<u8>) -> Result<()> {
        check_kind(&self.kind)?;
        if let Some(stream) = &self.stream {
            check_kind(stream)?;
        }
        self.payload.check()?;
        event::pack_body(&self.kind, self.stream.as_deref(), self.occurred_at, &self.payload, body);
        Ok(())
    }
}

pub(crate) fn check_kind(kind: &str) -> Result<()> {
    if kind.len() > limits::MAX_EVENT_KIND_BYTES {
        return Err(Error::TooLong {
            what: "an event's kind or stream, in bytes,",
            limit: limits::MAX_EVENT_KIND_BYTES,
        });
    }
    Ok(())
}

/// The event log of a run: append-only, one order, no gaps; each event's hash vouches for all before it.
#[derive(Debug, Clone, Copy)]
pub struct Events<'r> {
    pub(crate) run: &'r Run,
}

impl<'r> Events<'r> {
    /// Appends an event; gives its number, counted from 0.
    ///
    /// # Errors
    /// [`Error`]; nothing was appended.
    pub fn append(&self, kind: impl AsRef<str>, payload: impl Into<Value>) -> Result<u64> {
        let (kind, payload) = (kind.as_ref(), payload.into());
        check_kind(kind)?;
        payload.check()?;
        with_body(|body| {
            event::pack_body(kind, None, None, &payload, body);
            self.run.engine.append(self.run.id, body)
        })
    }

    /// Appends an event with a stream or a time of its own.
    ///
    /// # Errors
    /// [`Error`]; nothing was appended.
    pub fn append_draft(&self, draft: &EventDraft) -> Result<u64> {
        with_body(|body| {
            draft.pack(body)?;
            self.run.engine.append(self.run.id, body)
        })
    }

    /// Appends several events, all or none, one behind the other. Gives their numbers.
    ///
    /// # Errors
    /// [`crate::WriteError::TransactionTooLarge`], and the rest of [`Error`]; nothing was appended.
    pub fn append_many<'d>(&self, drafts: impl IntoIterator<Item = &'d EventDraft>) -> Result<Vec<u64>> {
        let mut writes = in_mem_engine::WriteSet::default();
        for draft in drafts {
            let mut body = Vec::new();
            draft.pack(&mut body)?;
            writes.append(self.run.id, body)?;
        }
        let mut request = in_mem_engine::command::CommitRequest::new(self.run.id);
        request.writes = writes.into_writes();
        Ok(self.run.engine.commit(request)?.sequences)
    }

    /// Begins to append an event without waiting for it.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Closed`]; nothing was begun.
    pub fn append_async(&self, kind: impl AsRef<str>, payload: impl Into<Value>) -> Result<Pending<u64>> {
        let mut body = Vec::new();
        EventDraft::new(kind.as_ref(), payload).pack(&mut body)?;
        let command = Command::Append { run: self.run.id, body };
        Ok(Pending::new(self.run.engine.submit(self.run.id, command)?, |reply| match reply {
            Reply::Appended(_, sequence) => Ok(sequence),
            other => Err(in_mem_engine::unexpected(other)),
        }))
    }

    /// The event with this number.
    ///
    /// # Errors
    /// [`Error::Malformed`] where what is stored is not an event.
    pub fn read(&self, sequence: u64) -> Result<Option<Event>> {
        match self.run.engine.get(self.run.id, Tag::Event, &event::event_key(sequence))? {
            Some(stored) => self.unpack(sequence, &stored).map(Some),
            None => Ok(None),
        }
    }

    /// The events with these numbers, in order.
    ///
    /// # Errors
    /// As [`Events::read`].
    pub fn range(&self, sequences: impl RangeBounds<u64>) -> Result<Vec<Event>> {
        self.iter_range(sequences).collect()
    }

    /// The events with these numbers, the last one first.
    ///
    /// # Errors
    /// As [`Events::read`].
    pub fn range_reverse(&self, sequences: impl RangeBounds<u64>) -> Result<Vec<Event>> {
        let (first, end) = crate::stream::ends(&sequences);
        let end = end.min(self.len()?);
        (first..end).rev().filter_map(|s| self.read(s).transpose()).collect()
    }

    /// A named stream: a part of the log with an order of its own.
    pub fn stream(&self, name: impl AsRef<str>) -> Stream<'r> {
        Stream::new(self.run, name.as_ref())
    }

    /// The events from this number on: those that are there, then those that are appended.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`crate::WriteError::TooManyWatchers`], [`Error::Closed`].
    pub fn subscribe(&self, from: u64) -> Result<Subscription> {
        Subscription::begin(self.run, from)
    }

    /// All events of this kind, in order.
    ///
    /// # Errors
    /// As [`Events::read`].
    pub fn of_kind(&self, kind: impl AsRef<str>) -> Result<Vec<Event>> {
        let kind = kind.as_ref();
        self.iter().filter(|e| e.as_ref().map_or(true, |e| &*e.kind == kind)).collect()
    }

    /// The newest `count` events, the newest first.
    ///
    /// # Errors
    /// As [`Events::read`].
    pub fn last(&self, count: u64) -> Result<Vec<Event>> {
        let len = self.len()?;
        (len.saturating_sub(count)..len).rev().filter_map(|s| self.read(s).transpose()).collect()
    }

    /// All events, one after the other; those that are appended meanwhile follow.
    pub fn iter(&self) -> EventIter<'r> {
        self.iter_range(..)
    }

    /// The events with these numbers, one after the other.
    pub fn iter_range(&self, sequences: impl RangeBounds<u64>) -> EventIter<'r> {
        let (next, end) = crate::stream::ends(&sequences);
        EventIter { events: Events { run: self.run }, next, end, kind: None, ahead: Vec::new(), batch: 1 }
    }

    /// How many events there are.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] where the run was deleted since.
    pub fn len(&self) -> Result<u64> {
        Ok(self.head()?.len)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`Events::len`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The end of the chain: how many events there are, and the hash that vouches for them.
    ///
    /// # Errors
    /// As [`Events::len`].
    pub fn head(&self) -> Result<ChainHead> {
        self.run.engine.chain(self.run.id)?.ok_or(Error::UnknownRun { run: self.run.id })
    }

    pub(crate) fn unpack(&self, sequence: u64, stored: &VersionedValue) -> Result<Event> {
        self.unpack_sharing(sequence, stored, None)
    }

    fn unpack_sharing(
        &self,
        sequence: u64,
        stored: &VersionedValue,
        kind: Option<&Arc<str>>,
    ) -> Result<Event> {
        event::unpack_sharing(sequence, stored.version, stored.timestamp, &stored.value, kind).map_err(
            |error| Error::Malformed { what: "an event", run: self.run.id, reason: error.to_string() },
        )
    }
}

/// Events, one after the other.
#[derive(Debug)]
pub struct EventIter<'r> {
    events: Events<'r>,
    next: u64,
    end: u64,
    /// The kind of the event before: most events are of the kind of one before them.
    kind: Option<Arc<str>>,
    /// What was read ahead, the last one first.
    ahead: Vec<Option<VersionedValue>>,
    /// How many were read together: more each time, so that whoever wants one event does not pay for many.
    batch: u64,
}

impl EventIter<'_> {
    /// Reads the next events together, up to the first that is not there.
    fn read_ahead(&mut self) -> Result<()> {
        let count = self.batch.min(self.end - self.next);
        self.batch = (self.batch * 2).min(MOST_READ_AHEAD);
        let keys: SmallVec<[_; MOST_READ_AHEAD as usize]> =
            (self.next..self.next + count).map(event::event_key).collect();
        let run = self.events.run;
        run.engine.get_each(run.id, Tag::Event, &keys, &mut self.ahead)?;
        // What is not there yet may be when it is its turn.
        let there = self.ahead.iter().take_while(|stored| stored.is_some()).count();
        self.ahead.truncate(there.max(1));
        self.ahead.reverse();
        Ok(())
    }

    fn read_next(&mut self) -> Result<Option<Event>> {
        if self.ahead.is_empty() {
            self.read_ahead()?;
        }
        match self.ahead.pop().flatten() {
            Some(stored) => self.events.unpack_sharing(self.next, &stored, self.kind.as_ref()).map(Some),
            None => Ok(None),
        }
    }
}

impl Iterator for EventIter<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let event = self.read_next().transpose();
        match &event {
            Some(Ok(event)) => {
                self.next += 1;
                if self.kind.as_ref().is_none_or(|kind| !Arc::ptr_eq(kind, &event.kind)) {
                    self.kind = Some(event.kind.clone());
                }
            }
            _ => self.end = self.next,
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_in_use_is_in_nobodys_way() {
        with_body(|outer| {
            outer.push(1);
            with_body(|inner| inner.push(2));
            assert_eq!(*outer, [1]);
        });
    }
}
