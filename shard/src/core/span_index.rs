//! The secondary indexes over the spans of one run. Derived from the stored spans: they cost no log bytes. They are built by
//! the first query, some spans a turn, and kept up from then on; a run that nobody asks about pays nothing for them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;
use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, VersionedValue};
use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};

use super::ShardCore;
use super::command::ScanRequest;
use super::span::{SpanHead, SpanKind, SpanStatus, unpack_head};
use crate::index::{Direction, PageEnd, PageLimit, ScanRange};

/// The most spans that one turn looks at to build the index or to answer a query.
pub const SPANS_PER_TURN: usize = 4_096;

/// Which spans are meant. Every condition that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanFilter {
    /// One of these kinds (any, where empty).
    pub kinds: Vec<SpanKind>,
    /// This name.
    pub name: Option<Arc<str>>,
    /// All of these tags.
    pub tags: Vec<Arc<str>>,
    /// One of these (any, where empty).
    pub status: Vec<SpanStatus>,
    /// Begun at or after.
    pub start_from: Option<Timestamp>,
    /// Begun before.
    pub start_before: Option<Timestamp>,
    /// Took at least so long, in microseconds. A span under way has no duration yet.
    pub min_duration_micros: Option<u64>,
    /// Took at most so long, in microseconds.
    pub max_duration_micros: Option<u64>,
    /// Parts of this span.
    pub parent: Option<Arc<str>>,
    /// Parts of no span (or: of some span).
    pub root: Option<bool>,
    /// This language model.
    pub model: Option<Arc<str>>,
    /// Ended (or: under way).
    pub ended: Option<bool>,
}

impl SpanFilter {
    /// Whether this span is meant.
    pub fn matches(&self, head: &SpanHead) -> bool {
        let duration = head.duration_micros();
        (self.kinds.is_empty() || self.kinds.contains(&head.kind))
            && self.name.as_ref().is_none_or(|n| *n == head.name)
            && self.tags.iter().all(|t| head.tags.contains(t))
            && (self.status.is_empty() || self.status.contains(&head.status))
            && self.start_from.is_none_or(|t| head.start >= t)
            && self.start_before.is_none_or(|t| head.start < t)
            && self.min_duration_micros.is_none_or(|d| duration.is_some_and(|found| found >= d))
            && self.max_duration_micros.is_none_or(|d| duration.is_some_and(|found| found <= d))
            && self.parent.as_ref().is_none_or(|p| head.parent.as_ref() == Some(p))
            && self.root.is_none_or(|r| r == head.parent.is_none())
            && self.model.as_ref().is_none_or(|m| head.model.as_ref() == Some(m))
            && self.ended.is_none_or(|e| e == head.end.is_some())
    }
}

/// In what order spans are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpanOrder {
    /// The first begun first.
    #[default]
    Start,
    /// The last begun first.
    StartDescending,
    /// The one that took longest first; those under way last.
    Slowest,
}

/// Where a page ended: the next one starts behind it. Stable: spans recorded meanwhile do not shift it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SpanCursor {
    /// The start of the page's last span, in microseconds, or the duration where that is the order.
    pub at: i64,
    /// Its id.
    pub id: Arc<str>,
}

/// Which spans to list, and how.
#[derive(Debug, Clone, Default)]
pub struct SpanQuery {
    /// Which.
    pub filter: SpanFilter,
    /// In what order.
    pub order: SpanOrder,
    /// Behind this place.
    pub after: Option<SpanCursor>,
    /// At most so many spans; with 0 they are summed up and none is listed.
    pub limit: usize,
}

/// What spans come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanTotals {
    /// How many there are.
    pub spans: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Tokens that models read.
    pub input_tokens: u64,
    /// Tokens that models wrote.
    pub output_tokens: u64,
    /// What they cost, in US dollars.
    pub cost_usd: f64,
    /// How long those that ended took, in microseconds, one added to the other.
    pub duration_micros: u64,
}

impl SpanTotals {
    fn add_span(&mut self, head: &SpanHead) {
        self.spans += 1;
        self.failed += u64::from(head.status == SpanStatus::Failed);
        self.input_tokens = self.input_tokens.saturating_add(head.input_tokens.unwrap_or(0));
        self.output_tokens = self.output_tokens.saturating_add(head.output_tokens.unwrap_or(0));
        // One that was recorded before such were refused must not make the sum no number.
        self.cost_usd += head.cost_usd.filter(|cost| cost.is_finite()).unwrap_or(0.0);
        self.duration_micros = self.duration_micros.saturating_add(head.duration_micros().unwrap_or(0));
    }

    /// Adds what other spans come to.
    pub fn add(&mut self, other: &Self) {
        self.spans += other.spans;
        self.failed += other.failed;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_usd += other.cost_usd;
        self.duration_micros = self.duration_micros.saturating_add(other.duration_micros);
    }
}

/// What one turn found.
#[derive(Debug, Clone, Default)]
pub struct SpanPage {
    /// The spans, in order.
    pub spans: Vec<(KeyBytes, VersionedValue)>,
    /// With a limit of 0: what those looked at come to, by kind.
    pub totals: BTreeMap<SpanKind, SpanTotals>,
    /// Where to go on; `None` (and `building` unset): there is nothing behind.
    pub next: Option<SpanCursor>,
    /// The index is still being built: ask again.
    pub building: bool,
}

/// `(start, id)`, or `(duration, id)` in the set by duration.
type Place = (i64, Arc<str>);
type Places = BTreeSet<Place>;

/// The indexes over one run's spans.
#[derive(Debug, Default)]
pub(crate) struct SpanIndex {
    /// Up to which key the stored spans have been taken in; `None` once all are.
    building: Option<KeyBytes>,
    built: bool,
    /// Boxed: a map that grows moves what it holds.
    heads: HashMap<Arc<str>, Box<SpanHead>, FxBuildHasher>,
    by_start: Places,
    by_duration: Places,
    by_kind: BTreeMap<SpanKind, Places>,
    by_name: BTreeMap<Arc<str>, Places>,
    by_tag: BTreeMap<Arc<str>, Places>,
    by_status: BTreeMap<SpanStatus, Places>,
    by_parent: BTreeMap<Arc<str>, Places>,
}

fn duration_place(head: &SpanHead) -> i64 {
    head.duration_micros().map_or(-1, |d| i64::try_from(d).unwrap_or(i64::MAX))
}

impl SpanIndex {
    /// A span was written or, with `None`, deleted.
    pub(crate) fn note(&mut self, user: &[u8], value: Option<&Value>) {
        if !self.built && self.building.as_ref().is_none_or(|reached| user > &**reached) {
            // The build comes by here yet.
            return;
        }
        self.take_in(user, value);
    }

    fn take_in(&mut self, user: &[u8], value: Option<&Value>) {
        let Ok(id) = std::str::from_utf8(user) else { return };
        if let Some((id, head)) = self.heads.remove_entry(id) {
            self.unlink(&id, &head);
        }
        let Some(head) = value.and_then(|value| unpack_head(value).ok()) else { return };
        let id: Arc<str> = Arc::from(id);
        let place = (head.start.0, id.clone());
        self.by_start.insert(place.clone());
        self.by_duration.insert((duration_place(&head), id.clone()));
        self.by_kind.entry(head.kind.clone()).or_default().insert(place.clone());
        self.by_name.entry(head.name.clone()).or_default().insert(place.clone());
        for tag in &head.tags {
            self.by_tag.entry(tag.clone()).or_default().insert(place.clone());
        }
        if let Some(parent) = &head.parent {
            self.by_parent.entry(parent.clone()).or_default().insert(place.clone());
        }
        self.by_status.entry(head.status).or_default().insert(place);
        self.heads.insert(id, Box::new(head));
    }

    fn unlink(&mut self, id: &Arc<str>, head: &SpanHead) {
        let place = (head.start.0, id.clone());
        self.by_start.remove(&place);
        self.by_duration.remove(&(duration_place(head), id.clone()));
        take(&mut self.by_kind, &head.kind, &place);
        take(&mut self.by_name, &head.name, &place);
        for tag in &head.tags {
            take(&mut self.by_tag, tag, &place);
        }
        if let Some(parent) = &head.parent {
            take(&mut self.by_parent, parent, &place);
        }
        take(&mut self.by_status, &head.status, &place);
    }

    /// The smallest set that holds all that the filter can mean; `None`: it is empty.
    fn narrowest(&self, filter: &SpanFilter) -> Option<&Places> {
        let mut named: Vec<Option<&Places>> = Vec::new();
        if let [kind] = &filter.kinds[..] {
            named.push(self.by_kind.get(kind));
        }
        if let Some(name) = &filter.name {
            named.push(self.by_name.get(name));
        }
        if let Some(parent) = &filter.parent {
            named.push(self.by_parent.get(parent));
        }
        if let [status] = filter.status[..] {
            named.push(self.by_status.get(&status));
        }
        named.extend(filter.tags.iter().map(|tag| self.by_tag.get(tag)));
        named.into_iter().min_by_key(|set| set.map_or(0, BTreeSet::len)).unwrap_or(Some(&self.by_start))
    }

    /// Calls `each` with the spans meant, in order, until it says stop or so many were looked at; gives the place it
    /// reached where there may be more.
    fn walk(
        &self,
        query: &SpanQuery,
        mut each: impl FnMut(&Arc<str>, &SpanHead) -> bool,
    ) -> Option<SpanCursor> {
        let slowest = query.order == SpanOrder::Slowest;
        let set = if slowest { &self.by_duration } else { self.narrowest(&query.filter)? };
        let after = query.after.as_ref().map(|c| (c.at, c.id.clone()));
        let (mut low, mut high) = (Bound::Unbounded, Bound::Unbounded);
        let range_of = |at: Timestamp| (at.0, Arc::<str>::from(""));
        if slowest {
            high = after.map_or(Bound::Unbounded, Bound::Excluded);
        } else {
            if let Some(from) = query.filter.start_from {
                low = Bound::Included(range_of(from));
            }
            if let Some(before) = query.filter.start_before {
                high = Bound::Excluded(range_of(before));
            }
            if let Some(after) = after {
                if query.order == SpanOrder::Start {
                    low = later(low, after);
                } else {
                    high = earlier(high, after);
                }
            }
        }
        if is_empty(&low, &high) {
            return None;
        }
        let range = set.range((low, high));
        let mut places: Box<dyn Iterator<Item = &Place>> =
            if query.order == SpanOrder::Start { Box::new(range) } else { Box::new(range.rev()) };
        let mut last = None;
        for place in places.by_ref().take(SPANS_PER_TURN) {
            last = Some(place);
            if let Some(head) = self.heads.get(&place.1)
                && query.filter.matches(head)
                && !each(&place.1, head)
            {
                break;
            }
        }
        let last = last.cloned();
        places.next()?;
        last.map(|(at, id)| SpanCursor { at, id })
    }
}

fn take<K: Ord>(map: &mut BTreeMap<K, Places>, key: &K, place: &Place) {
    if let Some(set) = map.get_mut(key) {
        set.remove(place);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

fn later(low: Bound<Place>, after: Place) -> Bound<Place> {
    match low {
        Bound::Included(l) if l > after => Bound::Included(l),
        _ => Bound::Excluded(after),
    }
}

fn earlier(high: Bound<Place>, before: Place) -> Bound<Place> {
    match high {
        Bound::Excluded(h) if h < before => Bound::Excluded(h),
        _ => Bound::Excluded(before),
    }
}

/// `BTreeSet::range` panics where the ends have crossed.
fn is_empty(low: &Bound<Place>, high: &Bound<Place>) -> bool {
    let (Bound::Included(l) | Bound::Excluded(l), Bound::Included(h) | Bound::Excluded(h)) = (low, high)
    else {
        return false;
    };
    l.cmp(h) != Ordering::Less
}

impl ShardCore {
    /// A page of spans, as installed: whoever tells of it waits until what it shows is published.
    pub fn spans(&mut self, run: RunId, query: &SpanQuery) -> SpanPage {
        let mut page = SpanPage::default();
        if !self.build_span_index(run) {
            page.building = true;
            return page;
        }
        let Some(index) = self.runs.get(&run).and_then(|state| state.spans.as_deref()) else { return page };
        if query.limit == 0 {
            page.next = index.walk(query, |_, head| {
                page.totals.entry(head.kind.clone()).or_default().add_span(head);
                true
            });
            return page;
        }
        let limit = query.limit.min(super::PAGE_LIMIT);
        let mut ids = Vec::new();
        page.next = index.walk(query, |id, _| {
            ids.push(id.clone());
            ids.len() < limit
        });
        for id in ids {
            let Some(head) = self.live_head(run, Tag::Trace, id.as_bytes()) else { continue };
            let Some(value) = head.value.cloned() else { continue };
            let stored = VersionedValue {
                value,
                version: head.version,
                timestamp: head.timestamp,
                expires_at: head.expires_at,
            };
            page.spans.push((KeyBytes::new(id.as_bytes()), stored));
        }
        page
    }

    /// Takes some more of the stored spans into the run's index; says whether it holds them all.
    fn build_span_index(&mut self, run: RunId) -> bool {
        let Some(state) = self.runs.get_mut(&run) else { return true };
        let mut index = state.spans.take().unwrap_or_default();
        if !index.built {
            let reached = index.building.take();
            let lower = reached.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            if self.fork_depth(run) > 0 {
                // A fork's spans go on its parent's.
                let (lower, upper) = (lower.map(KeyBytes::from), Bound::Unbounded);
                let at = Some(self.version);
                let limit = SPANS_PER_TURN;
                let request = ScanRequest { run, tag: Tag::Trace, lower, upper, reverse: false, at, limit };
                let page = self.scan_fork(&request, self.version);
                page.entries.iter().for_each(|(key, stored)| index.take_in(key, Some(&stored.value)));
                index.built = page.next.is_none();
                index.building = page.next;
                let built = index.built;
                if let Some(state) = self.runs.get_mut(&run) {
                    state.spans = Some(index);
                }
                return built;
            }
            let range = ScanRange::of_tag(run, Tag::Trace, lower, Bound::Unbounded);
            let limit = PageLimit { rows: SPANS_PER_TURN, keys: SPANS_PER_TURN };
            let end = self.index.scan(&range, Direction::Forwards, self.version, limit, |row| {
                index.take_in(row.key.user, row.node.value);
                true
            });
            match end {
                PageEnd::Done => index.built = true,
                PageEnd::After(key) => index.building = Some(KeyBytes::from(key.user)),
            }
        }
        let built = index.built;
        if let Some(state) = self.runs.get_mut(&run) {
            state.spans = Some(index);
        }
        built
    }
}
