//! The past of a run, with the reading half of a run's own calls.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use in_mem_engine::event::{self, ChainHead};
use in_mem_engine::{
    Commit, Digest, Event, HistoryError, KeyMoment, Point, RunMeta, Span, Usage, Verification, View,
};
use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version, VersionedValue, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::kv::{key_bounds, prefix_bounds};
use crate::{Database, Error, Result, Run, SpanTree};

/// A run as it was after one of its commits. Read from the log and from nothing else; never changes, whatever becomes of the
/// run.
///
/// ```
/// # fn main() -> in_mem::Result<()> {
/// # let dir = tempfile::tempdir().expect("a directory");
/// let db = in_mem::Database::open(dir.path())?;
/// let run = db.begin_run("remember")?;
/// let first = run.kv().put("plan", "walk")?;
/// run.kv().put("plan", "take the bus")?;
///
/// let then = run.at(first)?;
/// assert_eq!(then.kv().get("plan"), Some("walk".into()));
/// assert_eq!(run.kv().get("plan")?, Some("take the bus".into()));
/// assert!(run.verify()?.is_same());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RunAt {
    view: View,
}

/// What is known of a run at one point of its past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMoment {
    /// Its id.
    pub id: RunId,
    /// What was known of it as a whole.
    #[serde(flatten)]
    pub meta: RunMeta,
    /// The version of its last commit then.
    pub last_version: Version,
    /// When that was.
    pub timestamp: Timestamp,
    /// How many commits it had made.
    pub commits: u64,
    /// What it held in KV.
    pub kv: Usage,
    /// What it held in events.
    pub events: Usage,
    /// What it held in state cells.
    pub state: Usage,
    /// What it held in traces.
    pub traces: Usage,
}

impl Database {
    /// A run as its log says it is. Go to another point of its past with [`RunAt::at`].
    ///
    /// # Errors
    /// [`crate::HistoryError`]: there is no log, or it does not reach back to the run's beginning.
    pub fn replay(&self, run: RunId) -> Result<RunAt> {
        Ok(RunAt { view: self.engine().view(run, Point::Now)? })
    }
}

impl Run {
    /// The run as it was at a version, at a time, or behind an event ([`Point`]).
    ///
    /// # Errors
    /// [`crate::HistoryError`]: there is no log, or the run was not there then.
    pub fn at(&self, point: impl Into<Point>) -> Result<RunAt> {
        Ok(RunAt { view: self.engine.view(self.id, point.into())? })
    }

    /// What the run knew when this event was appended: the state behind the commit that appended it.
    ///
    /// # Errors
    /// [`crate::HistoryError::NoEvent`], and as [`Run::at`].
    pub fn at_event(&self, sequence: u64) -> Result<RunAt> {
        self.at(Point::Event(sequence))
    }

    /// What the run knew when it made a call: the state behind the commit that first recorded this span.
    ///
    /// # Errors
    /// [`crate::HistoryError::NoSpan`], and as [`Run::at`].
    pub fn at_span(&self, id: impl AsRef<str>) -> Result<RunAt> {
        let id = id.as_ref();
        let timeline = Arc::new(self.engine.timeline(self.id)?);
        let Some(version) = timeline.first_written(Tag::Trace, id.as_bytes()) else {
            return Err(HistoryError::NoSpan { run: self.id, span: id.to_owned() }.into());
        };
        Ok(RunAt { view: View::new(timeline, Point::Version(version))? })
    }

    /// Its commits, oldest first, each with what it changed.
    ///
    /// # Errors
    /// As [`Run::at`].
    pub fn commits(&self) -> Result<Vec<Commit>> {
        self.engine.commits(self.id)
    }

    /// Every value that a key had, oldest first, with the versions that wrote them.
    ///
    /// # Errors
    /// As [`Run::at`].
    pub fn key_history(&self, key: impl AsRef<[u8]>) -> Result<Vec<KeyMoment>> {
        Ok(self.engine.timeline(self.id)?.key_history(Tag::Kv, key.as_ref()))
    }

    /// Every value that a state cell had, oldest first.
    ///
    /// # Errors
    /// As [`Run::at`].
    pub fn cell_history(&self, cell: impl AsRef<str>) -> Result<Vec<KeyMoment>> {
        Ok(self.engine.timeline(self.id)?.key_history(Tag::State, cell.as_ref().as_bytes()))
    }

    /// Replays the run from its log and compares it with what it is, key by key.
    ///
    /// # Errors
    /// As [`Run::at`]. A difference is no error: [`Verification::mismatch`] names it.
    pub fn verify(&self) -> Result<Verification> {
        self.engine.verify(self.id)
    }

    /// The digests of what the run holds now.
    ///
    /// # Errors
    /// [`crate::SnapshotError`], [`Error::Closed`].
    pub fn digest(&self) -> Result<Digest> {
        self.engine.digest(self.id)
    }
}

impl RunAt {
    /// The run's id.
    pub fn id(&self) -> RunId {
        self.view.timeline().run()
    }

    /// The same run at another point.
    ///
    /// # Errors
    /// [`crate::HistoryError`] where it was not there then.
    pub fn at(&self, point: impl Into<Point>) -> Result<Self> {
        Ok(Self { view: self.view.at(point.into())? })
    }

    /// The version of the last commit that is in it.
    pub fn version(&self) -> Version {
        self.view.version()
    }

    /// When that commit was made. It is "now" for values that expire.
    pub fn timestamp(&self) -> Timestamp {
        self.view.timestamp()
    }

    /// How many commits are in it.
    pub fn place(&self) -> usize {
        self.view.place()
    }

    /// How many commits there are in all.
    pub fn commits(&self) -> usize {
        self.view.timeline().len()
    }

    /// The last commit that is in it, with what it changed.
    pub fn commit(&self) -> Commit {
        self.view.commit()
    }

    /// Goes on by one commit; says whether there was one. Of an earlier life of the run that cannot be shown any more (what it was a
    /// fork of was erased), all are passed over.
    pub fn step_forward(&mut self) -> bool {
        self.view.step_forward()
    }

    /// Goes back by one commit; says whether there was one before. Passes over what [`RunAt::step_forward`] passes over.
    pub fn step_back(&mut self) -> bool {
        self.view.step_back()
    }

    /// Its key-value pairs then.
    pub fn kv(&self) -> KvAt<'_> {
        KvAt { view: &self.view }
    }

    /// Its event log then.
    pub fn events(&self) -> EventsAt<'_> {
        EventsAt { view: &self.view }
    }

    /// Its state cells then.
    pub fn state(&self) -> StateAt<'_> {
        StateAt { view: &self.view }
    }

    /// Its traces then.
    pub fn traces(&self) -> TracesAt<'_> {
        TracesAt { view: &self.view }
    }

    /// What was known of it, and what it held.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] where it had been deleted.
    pub fn info(&self) -> Result<RunMoment> {
        let id = self.id();
        let meta = self.view.meta().ok_or(Error::UnknownRun { run: id })?;
        let usage = |tag| {
            self.view.scan(tag, Bound::Unbounded, Bound::Unbounded).iter().fold(
                Usage::default(),
                |sum, (key, value)| Usage {
                    entries: sum.entries + 1,
                    bytes: sum.bytes + (key.len() + codec::encoded_len(&value.value)) as u64,
                },
            )
        };
        Ok(RunMoment {
            id,
            meta,
            last_version: self.version(),
            timestamp: self.timestamp(),
            commits: self.place() as u64,
            kv: usage(Tag::Kv),
            events: usage(Tag::Event),
            state: usage(Tag::State),
            traces: usage(Tag::Trace),
        })
    }

    /// The digests of the state then.
    pub fn digest(&self) -> Digest {
        self.view.digest()
    }

    /// The engine's view below.
    pub fn view(&self) -> &View {
        &self.view
    }
}

/// The key-value pairs of a run at one point.
#[derive(Debug, Clone, Copy)]
pub struct KvAt<'v> {
    view: &'v View,
}

fn pairs(entries: Vec<(KeyBytes, VersionedValue)>) -> Vec<(KeyBytes, Value)> {
    entries.into_iter().map(|(key, value)| (key, value.value)).collect()
}

fn scan(
    view: &View,
    tag: Tag,
    bounds: &(Bound<KeyBytes>, Bound<KeyBytes>),
) -> Vec<(KeyBytes, VersionedValue)> {
    view.scan(tag, bounds.0.as_ref().map(|k| &**k), bounds.1.as_ref().map(|k| &**k))
}

impl KvAt<'_> {
    /// The value of a key then.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        self.get_versioned(key).map(|v| v.value)
    }

    /// The value of a key then, with its version and times.
    pub fn get_versioned(&self, key: impl AsRef<[u8]>) -> Option<VersionedValue> {
        self.view.get(Tag::Kv, key.as_ref())
    }

    /// The value of a key then, as a type of the caller's.
    ///
    /// # Errors
    /// [`Error::Serde`] where the value is not of that type.
    pub fn get_as<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.get(key).map(|v| v.deserialize().map_err(Error::from)).transpose()
    }

    /// Whether the key was there.
    pub fn exists(&self, key: impl AsRef<[u8]>) -> bool {
        self.get(key).is_some()
    }

    /// All pairs whose key starts with `prefix`, in the order of their keys.
    pub fn list(&self, prefix: impl AsRef<[u8]>) -> Vec<(KeyBytes, Value)> {
        pairs(scan(self.view, Tag::Kv, &prefix_bounds(prefix.as_ref())))
    }

    /// The keys that start with `prefix`.
    pub fn keys(&self, prefix: impl AsRef<[u8]>) -> Vec<KeyBytes> {
        self.list(prefix).into_iter().map(|(key, _)| key).collect()
    }

    /// How many keys start with `prefix`.
    pub fn count(&self, prefix: impl AsRef<[u8]>) -> usize {
        self.list(prefix).len()
    }

    /// All pairs in a range of keys, in order.
    pub fn range<K: AsRef<[u8]>>(&self, keys: impl RangeBounds<K>) -> Vec<(KeyBytes, Value)> {
        pairs(scan(self.view, Tag::Kv, &key_bounds(&keys)))
    }

    /// As [`KvAt::range`], from the last key to the first.
    pub fn range_reverse<K: AsRef<[u8]>>(&self, keys: impl RangeBounds<K>) -> Vec<(KeyBytes, Value)> {
        let mut all = self.range(keys);
        all.reverse();
        all
    }

    /// Every value that a key had until then, oldest first.
    pub fn history(&self, key: impl AsRef<[u8]>) -> Vec<KeyMoment> {
        self.view.key_history(Tag::Kv, key.as_ref())
    }
}

/// The event log of a run at one point.
#[derive(Debug, Clone, Copy)]
pub struct EventsAt<'v> {
    view: &'v View,
}

impl EventsAt<'_> {
    fn unpack(&self, sequence: u64, stored: &VersionedValue) -> Result<Event> {
        event::unpack(sequence, stored.version, stored.timestamp, &stored.value).map_err(|error| {
            let run = self.view.timeline().run();
            Error::Malformed { what: "an event", run, reason: error.to_string() }
        })
    }

    /// The event with this number.
    ///
    /// # Errors
    /// [`Error::Malformed`] where what is stored is not an event.
    pub fn read(&self, sequence: u64) -> Result<Option<Event>> {
        let stored = self.view.get(Tag::Event, &event::event_key(sequence));
        stored.map(|stored| self.unpack(sequence, &stored)).transpose()
    }

    /// The events with these numbers, in order.
    ///
    /// # Errors
    /// As [`EventsAt::read`].
    pub fn range(&self, sequences: impl RangeBounds<u64>) -> Result<Vec<Event>> {
        let own = |bound: Bound<&u64>| bound.map(|s| KeyBytes::new(&event::event_key(*s)));
        let bounds = (own(sequences.start_bound()), own(sequences.end_bound()));
        scan(self.view, Tag::Event, &bounds)
            .iter()
            .filter_map(|(key, stored)| Some(self.unpack(event::event_sequence(key)?, stored)))
            .collect()
    }

    /// All events of this kind, in order.
    ///
    /// # Errors
    /// As [`EventsAt::read`].
    pub fn of_kind(&self, kind: impl AsRef<str>) -> Result<Vec<Event>> {
        let mut all = self.range(..)?;
        all.retain(|event| &*event.kind == kind.as_ref());
        Ok(all)
    }

    /// The newest `count` events, the newest first.
    ///
    /// # Errors
    /// As [`EventsAt::read`].
    pub fn last(&self, count: u64) -> Result<Vec<Event>> {
        let mut all = self.range(self.len().saturating_sub(count)..)?;
        all.reverse();
        Ok(all)
    }

    /// How many events there were.
    pub fn len(&self) -> u64 {
        let all = self.view.scan(Tag::Event, Bound::Unbounded, Bound::Unbounded);
        all.last().and_then(|(key, _)| event::event_sequence(key)).map_or(0, |last| last + 1)
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The end of the chain then.
    ///
    /// # Errors
    /// As [`EventsAt::read`].
    pub fn head(&self) -> Result<ChainHead> {
        let Some(last) = self.len().checked_sub(1) else { return Ok(ChainHead::default()) };
        Ok(self.read(last)?.map_or_else(ChainHead::default, |e| ChainHead { len: last + 1, hash: e.hash }))
    }
}

/// The state cells of a run at one point.
#[derive(Debug, Clone, Copy)]
pub struct StateAt<'v> {
    view: &'v View,
}

impl StateAt<'_> {
    /// The cell's value and version then.
    pub fn read(&self, cell: impl AsRef<str>) -> Option<VersionedValue> {
        self.view.get(Tag::State, cell.as_ref().as_bytes())
    }

    /// Whether the cell was there.
    pub fn exists(&self, cell: impl AsRef<str>) -> bool {
        self.read(cell).is_some()
    }

    /// All cells whose name starts with `prefix`, by name.
    pub fn list(&self, prefix: impl AsRef<str>) -> Vec<(KeyBytes, VersionedValue)> {
        scan(self.view, Tag::State, &prefix_bounds(prefix.as_ref().as_bytes()))
    }

    /// Every value that a cell had until then, oldest first.
    pub fn history(&self, cell: impl AsRef<str>) -> Vec<KeyMoment> {
        self.view.key_history(Tag::State, cell.as_ref().as_bytes())
    }
}

/// The traces of a run at one point.
#[derive(Debug, Clone, Copy)]
pub struct TracesAt<'v> {
    view: &'v View,
}

impl TracesAt<'_> {
    /// The span with this id, as it was then.
    ///
    /// # Errors
    /// [`Error::Malformed`] where what is stored is not a span.
    pub fn get(&self, id: impl AsRef<str>) -> Result<Option<Span>> {
        let run = self.view.timeline().run();
        let stored = self.view.get(Tag::Trace, id.as_ref().as_bytes());
        stored.map(|stored| crate::traces::unpack(run, id.as_ref(), &stored)).transpose()
    }

    /// All spans, by id.
    ///
    /// # Errors
    /// As [`TracesAt::get`].
    pub fn list(&self) -> Result<Vec<Span>> {
        let run = self.view.timeline().run();
        let all = self.view.scan(Tag::Trace, Bound::Unbounded, Bound::Unbounded);
        all.iter().map(|(id, stored)| crate::traces::unpack_key(run, id, stored)).collect()
    }

    /// All spans, each below the one it belongs to.
    ///
    /// # Errors
    /// As [`TracesAt::get`].
    pub fn tree(&self) -> Result<SpanTree> {
        Ok(SpanTree::of(self.list()?))
    }
}

impl From<View> for RunAt {
    fn from(view: View) -> Self {
        Self { view }
    }
}

impl RunAt {
    /// The points of the run's past, one for each commit, oldest first.
    pub fn every(&self) -> impl Iterator<Item = RunAt> + use<> {
        let timeline = Arc::clone(self.view.timeline());
        (0..timeline.len()).filter_map(move |place| {
            let version = timeline.commit_version(place)?;
            View::new(timeline.clone(), Point::Version(version)).ok().map(Self::from)
        })
    }
}
