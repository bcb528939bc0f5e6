//! Named streams inside a run's event log, and being told of events as they are appended.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::{Duration, Instant};

use in_mem_engine::command::StreamRequest;
use in_mem_engine::watch::{WatchEnd, WatchReceiver, WatchRequest, doorbell_channel};
use in_mem_model::{KeyBytes, Tag, Value};

use crate::{Event, EventDraft, Result, Run};

/// A named stream of a run's events: a part of the log with an order of its own. Every event of it is in the run's log, too.
#[derive(Debug, Clone)]
pub struct Stream<'r> {
    run: &'r Run,
    name: Arc<str>,
}

impl<'r> Stream<'r> {
    pub(crate) fn new(run: &'r Run, name: &str) -> Self {
        Self { run, name: Arc::from(name) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends an event to the stream; gives its number in the run's log. Its place in the stream is in [`Event::stream`].
    ///
    /// # Errors
    /// [`crate::Error`]; nothing was appended.
    pub fn append(&self, kind: impl AsRef<str>, payload: impl Into<Value>) -> Result<u64> {
        let draft = EventDraft::new(kind.as_ref(), payload).stream(&*self.name);
        self.run.events().append_draft(&draft)
    }

    /// The event at this place of the stream, counted from 0.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`], [`crate::Error::Closed`].
    pub fn read(&self, place: u64) -> Result<Option<Event>> {
        match self.numbers(place, 1)?.0.first() {
            Some(sequence) => self.run.events().read(*sequence),
            None => Ok(None),
        }
    }

    /// The events at these places of the stream, in its order.
    ///
    /// # Errors
    /// As [`Stream::read`].
    pub fn range(&self, places: impl RangeBounds<u64>) -> Result<Vec<Event>> {
        let (mut next, end) = ends(&places);
        let mut events = Vec::new();
        while next < end {
            let limit = usize::try_from(end - next).unwrap_or(usize::MAX);
            let (numbers, _) = self.numbers(next, limit)?;
            if numbers.is_empty() {
                break;
            }
            next += numbers.len() as u64;
            for sequence in numbers {
                events.extend(self.run.events().read(sequence)?);
            }
        }
        Ok(events)
    }

    /// How many events the stream has.
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn len(&self) -> Result<u64> {
        Ok(self.numbers(0, 0)?.1)
    }

    /// Whether it has none.
    ///
    /// # Errors
    /// As [`Stream::len`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    fn numbers(&self, from: u64, limit: usize) -> Result<(Vec<u64>, u64)> {
        self.run.engine.stream(StreamRequest { run: self.run.id, stream: self.name.clone(), from, limit })
    }
}

/// The first number of a range, and the one behind its last.
pub(crate) fn ends(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let first = match range.start_bound() {
        Bound::Included(s) => *s,
        Bound::Excluded(s) => s.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(s) => s.saturating_add(1),
        Bound::Excluded(s) => *s,
        Bound::Unbounded => u64::MAX,
    };
    (first, end)
}

/// A run's events from a number on: those that are there, then those that are appended, each once and in order. It reads
/// the log itself, so it never misses one, however late it comes. As an iterator it waits for the next event; it ends when
/// the run is deleted or the database closed. It is a handle of the database, which is not closed by dropping the others while
/// this one waits: [`crate::Database::close`] ends it.
#[derive(Debug)]
pub struct Subscription {
    run: Run,
    next: u64,
    bell: WatchReceiver,
}

impl Subscription {
    pub(crate) fn begin(run: &Run, from: u64) -> Result<Self> {
        let (sender, bell) = doorbell_channel();
        let prefix = KeyBytes::default();
        run.engine.watch(WatchRequest { run: run.id, tag: Tag::Event, prefix, from: None, sender })?;
        Ok(Self { run: run.clone(), next: from, bell })
    }

    /// The number of the event that comes next.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next event, if there is one already.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`], [`crate::Error::Closed`].
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        let event = self.run.events().read(self.next)?;
        self.next += u64::from(event.is_some());
        Ok(event)
    }

    /// The next event, waited for at most so long; `None` where none came.
    ///
    /// # Errors
    /// As [`Subscription::try_next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Event>> {
        // A limit that reaches beyond what the clock can show is none.
        let until = Instant::now().checked_add(limit);
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if self.bell.recv(left).is_err() {
                // The time is over or the run is gone: what came between is told all the same.
                return self.try_next();
            }
        }
    }
}

impl Iterator for Subscription {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.try_next() {
                Ok(None) => {}
                Err(crate::Error::Closed) => return None,
                other => return other.transpose(),
            }
            // The bell was set up before the first look, so what is appended behind the look rings it.
            match self.bell.recv(None) {
                Ok(_) => {}
                Err(WatchEnd::Closed) => return self.try_next().ok().flatten().map(Ok),
                Err(_) => return None,
            }
        }
    }
}
