//! How two states of runs differ: keys, cells, traces, and the first event at which they went different ways.
//!
//! - `apart`: of two states that share a past, only what may differ is looked at.
//! - [`spans`]: traces, laid beside each other by their structure.
//! - [`values`]: how values differ, part by part.
//! - `text`: a diff for people.

mod apart;
pub mod spans;
mod text;
pub mod values;

use std::ops::Bound;
use std::sync::Arc;

use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version, VersionedValue};
use in_mem_shard::core::event::{self, Event};
use in_mem_shard::core::span::{Span, unpack_span};
use serde::{Deserialize, Serialize};

use self::spans::TraceDiff;
use self::values::{ValueDiff, diff_values};
use super::timeline::{Point, View};
use crate::engine::Engine;
use crate::error::Error;
use crate::snapshot::Snapshot;

/// The most events shown before the first that differs, unless asked for more.
pub const DEFAULT_CONTEXT_EVENTS: usize = 3;

/// One of the two states that were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The run.
    pub run: RunId,
    /// The version as of which.
    pub version: Version,
}

/// How a key differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyDiff {
    /// The key.
    pub key: KeyBytes,
    /// What it holds in the first; `None`: nothing.
    pub a: Option<Value>,
    /// What it holds in the second; `None`: nothing.
    pub b: Option<Value>,
    /// Where the two values differ, where both hold one.
    pub parts: Vec<ValueDiff>,
}

/// The first event at which the two went different ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Its number.
    pub sequence: u64,
    /// The events before it, which both have, oldest first.
    pub context: Vec<Event>,
    /// The first's event; `None`: its log ends there.
    pub a: Option<Event>,
    /// The second's event; `None`: its log ends there.
    pub b: Option<Event>,
    /// Where what the two say differs.
    pub parts: Vec<ValueDiff>,
}

/// How two states differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The first state.
    pub a: Side,
    /// The second state.
    pub b: Side,
    /// Key-value pairs that differ, by key.
    pub kv: Vec<KeyDiff>,
    /// State cells that differ, by name.
    pub state: Vec<KeyDiff>,
    /// Spans, laid beside each other.
    pub traces: TraceDiff,
    /// How many events each has.
    pub events: (u64, u64),
    /// Where their events go different ways; `None`: they do not.
    pub divergence: Option<Divergence>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.kv.is_empty() && self.state.is_empty() && self.traces.is_empty() && self.divergence.is_none()
    }
}

type Entries = Vec<(KeyBytes, VersionedValue)>;

/// A state to be compared: of a live run, or of a view.
struct State {
    side: Side,
    kv: Entries,
    state: Entries,
    traces: Vec<Span>,
    events: Vec<Event>,
}

fn unpack_event(run: RunId, key: &KeyBytes, stored: &VersionedValue) -> Result<Event, Error> {
    let sequence = event::event_sequence(key).unwrap_or(u64::MAX);
    event::unpack(sequence, stored.version, stored.timestamp, &stored.value)
        .map_err(|error| Error::Malformed { what: "an event", run, reason: error.to_string() })
}

fn unpack_events(run: RunId, entries: &Entries) -> Result<Vec<Event>, Error> {
    entries.iter().map(|(key, stored)| unpack_event(run, key, stored)).collect()
}

fn unpack_trace(run: RunId, key: &KeyBytes, stored: &VersionedValue) -> Result<Span, Error> {
    let malformed = |reason: String| Error::Malformed { what: "a span", run, reason };
    let id = key.as_str().ok_or_else(|| malformed("its id is not UTF-8".to_owned()))?;
    unpack_span(id, stored).map_err(|error| malformed(error.to_string()))
}

fn unpack_spans(run: RunId, entries: &Entries) -> Result<Vec<Span>, Error> {
    entries.iter().map(|(key, stored)| unpack_trace(run, key, stored)).collect()
}

impl State {
    fn of_view(view: &View) -> Result<Self, Error> {
        let all = |tag| view.scan(tag, Bound::Unbounded, Bound::Unbounded);
        let run = view.timeline().run();
        Ok(Self {
            side: Side { run, version: view.version() },
            kv: all(Tag::Kv),
            state: all(Tag::State),
            traces: unpack_spans(run, &all(Tag::Trace))?,
            events: unpack_events(run, &all(Tag::Event))?,
        })
    }

    fn of_live(snapshot: &Snapshot<'_>, run: RunId) -> Result<Self, Error> {
        let all = |tag| snapshot.scan_all(run, tag, Bound::Unbounded, Bound::Unbounded);
        Ok(Self {
            side: Side { run, version: snapshot.version() },
            kv: all(Tag::Kv)?,
            state: all(Tag::State)?,
            traces: unpack_spans(run, &all(Tag::Trace)?)?,
            events: unpack_events(run, &all(Tag::Event)?)?,
        })
    }
}

/// How a key differs, if it does.
fn diff_key(key: KeyBytes, a: Option<VersionedValue>, b: Option<VersionedValue>) -> Option<KeyDiff> {
    let (a, b) = (a.map(|a| a.value), b.map(|b| b.value));
    if a == b {
        return None;
    }
    let parts = match (&a, &b) {
        (Some(a), Some(b)) => diff_values(a, b),
        _ => Vec::new(),
    };
    Some(KeyDiff { key, a, b, parts })
}

fn diff_entries(a: Entries, b: Entries) -> Vec<KeyDiff> {
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    let mut found = Vec::new();
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return found,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((x, _)), Some((y, _))) => x.cmp(y),
        };
        let mut key = KeyBytes::default();
        let mut take = |side: Option<(KeyBytes, VersionedValue)>| {
            side.map(|(of, value)| {
                key = of;
                value
            })
        };
        let x = if order.is_le() { take(a.next()) } else { None };
        let y = if order.is_ge() { take(b.next()) } else { None };
        found.extend(diff_key(key, x, y));
    }
}

/// Whether two events say the same, whenever they were said.
fn says_same(a: &Event, b: &Event) -> bool {
    a.kind == b.kind && a.stream == b.stream && a.payload == b.payload
}

fn first_divergence(a: &[Event], b: &[Event], context: usize) -> Option<Divergence> {
    let same = a.iter().zip(b).take_while(|(a, b)| says_same(a, b)).count();
    if same == a.len() && same == b.len() {
        return None;
    }
    let context = a[same.saturating_sub(context)..same].to_vec();
    Some(parted(context, a.get(same).cloned(), b.get(same).cloned()))
}

/// Two runs went different ways behind `context`.
fn parted(context: Vec<Event>, a: Option<Event>, b: Option<Event>) -> Divergence {
    let parts = match (&a, &b) {
        (Some(a), Some(b)) => diff_values(&a.payload, &b.payload),
        _ => Vec::new(),
    };
    let sequence = a.as_ref().or(b.as_ref()).map_or(0, |event| event.sequence);
    Divergence { sequence, context, a, b, parts }
}

fn diff_states(a: State, b: State, context: usize) -> Diff {
    Diff {
        a: a.side,
        b: b.side,
        kv: diff_entries(a.kv, b.kv),
        state: diff_entries(a.state, b.state),
        traces: TraceDiff::of(a.traces, b.traces, false),
        events: (a.events.len() as u64, b.events.len() as u64),
        divergence: first_divergence(&a.events, &b.events, context),
    }
}

impl View {
    /// How this state differs from another, with so many events before the first that differs. Two points of one timeline cost what was
    /// changed between them; otherwise both are read whole.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn diff(&self, other: &View, context_events: usize) -> Result<Diff, Error> {
        if Arc::ptr_eq(self.timeline(), other.timeline()) {
            return apart::diff_points((self, self.timestamp()), (other, other.timestamp()), context_events);
        }
        Ok(diff_states(State::of_view(self)?, State::of_view(other)?, context_events))
    }
}

impl Engine {
    /// How two runs differ, or two points of one. [`Point::Now`] is read from what is there, every other point from the log.
    ///
    /// A fork and its parent, two forks of one run and so on cost what they wrote since they parted, however much they share, unless
    /// the database was opened again from a checkpoint that holds what they shared twice. Two points of one run cost the run's log and
    /// what was changed between them. Otherwise both states are read whole.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`super::HistoryError`] for points of the past.
    pub fn diff(&self, a: (RunId, Point), b: (RunId, Point), context_events: usize) -> Result<Diff, Error> {
        if (a.1, b.1) == (Point::Now, Point::Now) {
            return self.diff_live(a.0, b.0, context_events);
        }
        if a.0 == b.0 {
            let now = self.view(a.0, Point::Now)?;
            // What had expired by now has expired for a run as it is.
            let at = |point: Point| {
                let view = now.at(point)?;
                let time = view.timestamp();
                Ok::<_, Error>((view, if point == Point::Now { time.max(self.now()) } else { time }))
            };
            let ((a, at_a), (b, at_b)) = (at(a.1)?, at(b.1)?);
            return apart::diff_points((&a, at_a), (&b, at_b), context_events);
        }
        let state = |(run, at): (RunId, Point)| match at {
            Point::Now => {
                self.run_info(run)?.ok_or(Error::UnknownRun { run })?;
                State::of_live(&self.snapshot(run)?, run)
            }
            past => State::of_view(&self.view(run, past)?),
        };
        Ok(diff_states(state(a)?, state(b)?, context_events))
    }

    fn diff_live(&self, a: RunId, b: RunId, context_events: usize) -> Result<Diff, Error> {
        for run in [a, b] {
            self.run_info(run)?.ok_or(Error::UnknownRun { run })?;
        }
        let snapshot = self.snapshot(a)?;
        let is_one_shard = self.shard_of(a) == self.shard_of(b);
        if is_one_shard && let Some(diff) = self.diff_apart(&snapshot, a, b, context_events)? {
            return Ok(diff);
        }
        let one = State::of_live(&snapshot, a)?;
        let other = if is_one_shard { snapshot } else { self.snapshot(b)? };
        Ok(diff_states(one, State::of_live(&other, b)?, context_events))
    }
}

impl Divergence {
    /// The time of the last event that both have.
    pub fn parted_at(&self) -> Option<Timestamp> {
        self.context.last().map(|event| event.timestamp)
    }
}
