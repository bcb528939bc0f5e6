//! How two states of runs differ: keys, cells, traces, and the first event at which they went different ways.

use std::fmt;
use std::ops::Bound;

use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version, VersionedValue};
use in_mem_shard::core::event::{self, Event};
use serde::{Deserialize, Serialize};

use super::timeline::{Point, View};
use crate::engine::Engine;
use crate::error::Error;

/// The most events shown before the first that differs, unless asked for more.
pub const DEFAULT_CONTEXT_EVENTS: usize = 3;

/// The most bytes of a value that the text form shows.
const SHOWN_VALUE_BYTES: usize = 120;

/// One of the two states that were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The run.
    pub run: RunId,
    /// The version as of which.
    pub version: Version,
}

/// How one part of a value differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueDiff {
    /// Where in the value, such as `.steps[2].name`; empty: the value itself.
    pub path: String,
    /// What is there in the first; `None`: nothing.
    pub a: Option<Value>,
    /// What is there in the second; `None`: nothing.
    pub b: Option<Value>,
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
    /// Entries of traces that differ, by key.
    pub traces: Vec<KeyDiff>,
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

/// Where two values differ, part by part: fields by name, items by place.
pub fn diff_values(a: &Value, b: &Value) -> Vec<ValueDiff> {
    let mut parts = Vec::new();
    walk(&mut String::new(), Some(a), Some(b), &mut parts);
    parts
}

fn walk(path: &mut String, a: Option<&Value>, b: Option<&Value>, parts: &mut Vec<ValueDiff>) {
    if a == b {
        return;
    }
    let len = path.len();
    match (a, b) {
        (Some(Value::Object(x)), Some(Value::Object(y))) => {
            let (mut x, mut y) = (x.iter().peekable(), y.iter().peekable());
            loop {
                let (name, a, b) = match (x.peek(), y.peek()) {
                    (None, None) => break,
                    (Some((n, a)), None) => (*n, Some(*a), None),
                    (None, Some((n, b))) => (*n, None, Some(*b)),
                    (Some((n, a)), Some((m, b))) => match n.cmp(m) {
                        std::cmp::Ordering::Less => (*n, Some(*a), None),
                        std::cmp::Ordering::Greater => (*m, None, Some(*b)),
                        std::cmp::Ordering::Equal => (*n, Some(*a), Some(*b)),
                    },
                };
                if a.is_some() {
                    x.next();
                }
                if b.is_some() {
                    y.next();
                }
                path.push('.');
                path.push_str(name);
                walk(path, a, b, parts);
                path.truncate(len);
            }
        }
        (Some(Value::Array(x)), Some(Value::Array(y))) => {
            for place in 0..x.len().max(y.len()) {
                path.push_str(&format!("[{place}]"));
                walk(path, x.get(place), y.get(place), parts);
                path.truncate(len);
            }
        }
        _ => parts.push(ValueDiff { path: path.clone(), a: a.cloned(), b: b.cloned() }),
    }
}

type Entries = Vec<(KeyBytes, VersionedValue)>;

/// A state to be compared: of a live run, or of a view.
struct State {
    side: Side,
    kv: Entries,
    state: Entries,
    traces: Entries,
    events: Vec<Event>,
}

fn unpack_all(run: RunId, entries: Entries) -> Result<Vec<Event>, Error> {
    let unpack = |(key, stored): (KeyBytes, VersionedValue)| {
        let sequence = event::event_sequence(&key).unwrap_or(u64::MAX);
        event::unpack(sequence, stored.version, stored.timestamp, &stored.value)
            .map_err(|error| Error::Malformed { what: "an event", run, reason: error.to_string() })
    };
    entries.into_iter().map(unpack).collect()
}

impl State {
    fn of_view(view: &View) -> Result<Self, Error> {
        let all = |tag| view.scan(tag, Bound::Unbounded, Bound::Unbounded);
        let run = view.timeline().run();
        Ok(Self {
            side: Side { run, version: view.version() },
            kv: all(Tag::Kv),
            state: all(Tag::State),
            traces: all(Tag::Trace),
            events: unpack_all(run, all(Tag::Event))?,
        })
    }

    fn of_live(engine: &Engine, run: RunId) -> Result<Self, Error> {
        engine.run_info(run)?.ok_or(Error::UnknownRun { run })?;
        let snapshot = engine.snapshot(run)?;
        let all = |tag| snapshot.scan_all(run, tag, Bound::Unbounded, Bound::Unbounded);
        Ok(Self {
            side: Side { run, version: snapshot.version() },
            kv: all(Tag::Kv)?,
            state: all(Tag::State)?,
            traces: all(Tag::Trace)?,
            events: unpack_all(run, all(Tag::Event)?)?,
        })
    }
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
                value.value
            })
        };
        let x = if order.is_le() { take(a.next()) } else { None };
        let y = if order.is_ge() { take(b.next()) } else { None };
        if x != y {
            let parts = match (&x, &y) {
                (Some(x), Some(y)) => diff_values(x, y),
                _ => Vec::new(),
            };
            found.push(KeyDiff { key, a: x, b: y, parts });
        }
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
    let (x, y) = (a.get(same).cloned(), b.get(same).cloned());
    let parts = match (&x, &y) {
        (Some(x), Some(y)) => diff_values(&x.payload, &y.payload),
        _ => Vec::new(),
    };
    let sequence = x.as_ref().or(y.as_ref()).map_or(same as u64, |event| event.sequence);
    Some(Divergence { sequence, context: a[same.saturating_sub(context)..same].to_vec(), a: x, b: y, parts })
}

fn diff_states(a: State, b: State, context: usize) -> Diff {
    Diff {
        a: a.side,
        b: b.side,
        kv: diff_entries(a.kv, b.kv),
        state: diff_entries(a.state, b.state),
        traces: diff_entries(a.traces, b.traces),
        events: (a.events.len() as u64, b.events.len() as u64),
        divergence: first_divergence(&a.events, &b.events, context),
    }
}

impl View {
    /// How this state differs from another, with so many events before the first that differs.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn diff(&self, other: &View, context_events: usize) -> Result<Diff, Error> {
        Ok(diff_states(State::of_view(self)?, State::of_view(other)?, context_events))
    }
}

impl Engine {
    /// How two runs differ, or two points of one: [`Point::Now`] is read from what is there, every other point from the log.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`super::HistoryError`] for points of the past.
    pub fn diff(&self, a: (RunId, Point), b: (RunId, Point), context_events: usize) -> Result<Diff, Error> {
        let state = |(run, at): (RunId, Point)| match at {
            Point::Now => State::of_live(self, run),
            past => State::of_view(&self.view(run, past)?),
        };
        Ok(diff_states(state(a)?, state(b)?, context_events))
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "(nothing)".to_owned() };
    let mut text = value.to_json().to_string();
    if text.len() > SHOWN_VALUE_BYTES {
        let end = (0..=SHOWN_VALUE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let more = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("... ({more} bytes more)"));
    }
    text
}

fn write_part(f: &mut fmt::Formatter<'_>, indent: &str, part: &ValueDiff) -> fmt::Result {
    let path = if part.path.is_empty() { "(value)" } else { &part.path };
    writeln!(f, "{indent}{path}")?;
    writeln!(f, "{indent}  - {}", shown(part.a.as_ref()))?;
    writeln!(f, "{indent}  + {}", shown(part.b.as_ref()))
}

fn write_keys(f: &mut fmt::Formatter<'_>, what: &str, keys: &[KeyDiff]) -> fmt::Result {
    if keys.is_empty() {
        return Ok(());
    }
    let count = |wanted: fn(&KeyDiff) -> bool| keys.iter().filter(|key| wanted(key)).count();
    let (added, removed) = (count(|key| key.a.is_none()), count(|key| key.b.is_none()));
    writeln!(f, "{what}: {added} added, {removed} removed, {} changed", keys.len() - added - removed)?;
    for key in keys {
        match (&key.a, &key.b) {
            (None, b) => writeln!(f, "  + {}  {}", key.key, shown(b.as_ref()))?,
            (a, None) => writeln!(f, "  - {}  {}", key.key, shown(a.as_ref()))?,
            _ => {
                writeln!(f, "  ~ {}", key.key)?;
                key.parts.iter().try_for_each(|part| write_part(f, "      ", part))?;
            }
        }
    }
    Ok(())
}

fn write_event(f: &mut fmt::Formatter<'_>, mark: char, event: &Event) -> fmt::Result {
    writeln!(f, "  {mark} {:>5}  {}  {}", event.sequence, event.kind, shown(Some(&event.payload)))
}

impl fmt::Display for Diff {
    /// The difference for people, the first state marked `-`, the second `+`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "- {} at version {} ({} events)", self.a.run, self.a.version, self.events.0)?;
        writeln!(f, "+ {} at version {} ({} events)", self.b.run, self.b.version, self.events.1)?;
        if self.is_empty() {
            return writeln!(f, "no difference");
        }
        if let Some(Divergence { sequence, context, a, b, parts }) = &self.divergence {
            writeln!(f, "events: the same up to number {sequence}, then")?;
            context.iter().try_for_each(|event| write_event(f, ' ', event))?;
            match a {
                Some(event) => write_event(f, '-', event)?,
                None => writeln!(f, "  - (ends here)")?,
            }
            match b {
                Some(event) => write_event(f, '+', event)?,
                None => writeln!(f, "  + (ends here)")?,
            }
            parts.iter().try_for_each(|part| write_part(f, "      ", part))?;
        }
        write_keys(f, "keys", &self.kv)?;
        write_keys(f, "cells", &self.state)?;
        write_keys(f, "traces", &self.traces)
    }
}

impl Divergence {
    /// The time of the last event that both have.
    pub fn parted_at(&self) -> Option<Timestamp> {
        self.context.last().map(|event| event.timestamp)
    }
}
