//! The secondary indexes by which a shard finds runs. Derived from the runs' own entries: they cost no log bytes and are
//! rebuilt at recovery. Every set is ordered by creation, so that a page of an answer costs what the page holds.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use in_mem_model::{Namespace, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use super::run_meta::{RunMeta, RunStatus};

type Place = (Timestamp, RunId);
type Places = BTreeSet<Place>;

/// The most sets that are merged for an answer; with more of them, looking at all runs costs less.
const MERGED_AT_MOST: usize = 16;

/// In what order runs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunOrder {
    /// The oldest first.
    #[default]
    Created,
    /// The newest first.
    CreatedDescending,
    /// By name, and the oldest first among those of one name.
    Name,
}

/// Where a page ended: the next one starts behind it. Stable: runs made or ended meanwhile do not shift it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunCursor {
    /// The name of the page's last run, where the order is by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// When the page's last run was made.
    pub created: Timestamp,
    /// The page's last run.
    pub id: RunId,
}

/// Which runs to list. Every condition that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFilter {
    /// One of these (any, where empty).
    pub status: Vec<RunStatus>,
    /// All of these tags.
    pub tags: Vec<Arc<str>>,
    /// This tenant.
    pub tenant: Option<Arc<str>>,
    /// This app.
    pub app: Option<Arc<str>>,
    /// This agent.
    pub agent: Option<Arc<str>>,
    /// A name that starts so.
    pub name_prefix: Option<Arc<str>>,
    /// Begun by this run.
    pub parent: Option<RunId>,
    /// Made at or after.
    pub created_from: Option<Timestamp>,
    /// Made before.
    pub created_before: Option<Timestamp>,
    /// Started at or after; one that has not started is not meant.
    #[serde(default)]
    pub started_from: Option<Timestamp>,
    /// Started before; one that has not started is not meant.
    #[serde(default)]
    pub started_before: Option<Timestamp>,
    /// Ended at or after; one that has not ended is not meant.
    #[serde(default)]
    pub ended_from: Option<Timestamp>,
    /// Ended before; one that has not ended is not meant.
    #[serde(default)]
    pub ended_before: Option<Timestamp>,
    /// Running or paused, but by a process that is gone (or not).
    pub orphaned: Option<bool>,
    /// Also the namespaces' memories, which are not runs.
    pub include_memories: bool,
}

impl RunFilter {
    /// Whether a run with this meta is meant.
    pub fn matches(&self, meta: &RunMeta, orphaned: bool) -> bool {
        let same = |want: &Option<Arc<str>>, have: &str| want.as_ref().is_none_or(|w| &**w == have);
        (self.include_memories || !meta.memory)
            && (self.status.is_empty() || self.status.contains(&meta.status))
            && self.tags.iter().all(|t| meta.tags.contains(t))
            && same(&self.tenant, meta.namespace.tenant())
            && same(&self.app, meta.namespace.app())
            && same(&self.agent, meta.namespace.agent())
            && self.name_prefix.as_ref().is_none_or(|p| meta.name.starts_with(&**p))
            && self.parent.is_none_or(|p| meta.parent == Some(p))
            && self.created_from.is_none_or(|t| meta.created >= t)
            && self.created_before.is_none_or(|t| meta.created < t)
            && is_within(meta.started, self.started_from, self.started_before)
            && is_within(meta.ended, self.ended_from, self.ended_before)
            && self.orphaned.is_none_or(|o| o == orphaned)
    }
}

/// Whether a time that may not have come yet is in a range; any is where the range has no bound.
fn is_within(at: Option<Timestamp>, from: Option<Timestamp>, before: Option<Timestamp>) -> bool {
    from.is_none_or(|t| at.is_some_and(|at| at >= t)) && before.is_none_or(|t| at.is_some_and(|at| at < t))
}

/// The indexes of one shard.
#[derive(Debug, Default)]
pub(crate) struct RunIndex {
    all: Places,
    by_status: BTreeMap<RunStatus, Places>,
    by_tag: BTreeMap<Arc<str>, Places>,
    by_parent: BTreeMap<RunId, Places>,
    by_namespace: BTreeMap<Namespace, Places>,
    by_name: BTreeMap<Arc<str>, Places>,
}

impl RunIndex {
    pub(crate) fn insert(&mut self, id: RunId, meta: &RunMeta) {
        let place = (meta.created, id);
        self.all.insert(place);
        self.by_status.entry(meta.status).or_default().insert(place);
        for tag in &meta.tags {
            self.by_tag.entry(tag.clone()).or_default().insert(place);
        }
        if let Some(parent) = meta.parent {
            self.by_parent.entry(parent).or_default().insert(place);
        }
        self.by_namespace.entry(meta.namespace.clone()).or_default().insert(place);
        self.by_name.entry(meta.name.clone()).or_default().insert(place);
    }

    pub(crate) fn remove(&mut self, id: RunId, meta: &RunMeta) {
        let place = (meta.created, id);
        self.all.remove(&place);
        take(&mut self.by_status, &meta.status, place);
        for tag in &meta.tags {
            take(&mut self.by_tag, tag, place);
        }
        if let Some(parent) = &meta.parent {
            take(&mut self.by_parent, parent, place);
        }
        take(&mut self.by_namespace, &meta.namespace, place);
        take(&mut self.by_name, &meta.name, place);
    }

    /// The first places behind one, at most `limit`, the oldest first.
    pub(crate) fn places_after(&self, after: Option<RunCursor>, limit: usize) -> Vec<RunCursor> {
        let lower = after.map_or(Bound::Unbounded, |c| Bound::Excluded((c.created, c.id)));
        self.all
            .range((lower, Bound::Unbounded))
            .take(limit)
            .map(|&(created, id)| RunCursor { name: None, created, id })
            .collect()
    }

    /// How many runs this one began.
    pub(crate) fn children(&self, parent: RunId) -> usize {
        self.by_parent.get(&parent).map_or(0, BTreeSet::len)
    }

    /// The runs that may be meant, by creation, behind the cursor: taken from the smallest index that the filter names, and
    /// one by one, so that a page costs what it looks at. The caller checks the rest of the filter.
    pub(crate) fn by_creation<'s>(
        &'s self,
        filter: &RunFilter,
        order: RunOrder,
        after: Option<&RunCursor>,
    ) -> Box<dyn Iterator<Item = RunId> + 's> {
        let (low, high) = bounds(filter, order, after);
        if low > high {
            return Box::new(std::iter::empty());
        }
        let walk = move |set: &'s Places| set.range(low..=high);
        let last = after.map(|cursor| (cursor.created, cursor.id));
        let behind = move |place: &Place| (last != Some(*place)).then_some(place.1);
        let sets = match self.narrowest(filter) {
            Some(set) => set.into_iter().collect(),
            None => self.several(filter).unwrap_or_else(|| vec![&self.all]),
        };
        let newest_first = order == RunOrder::CreatedDescending;
        match (&sets[..], newest_first) {
            ([set], false) => Box::new(walk(set).filter_map(behind)),
            ([set], true) => Box::new(walk(set).rev().filter_map(behind)),
            (_, false) => {
                let walks = sets.into_iter().map(|set| walk(set).peekable()).collect();
                Box::new(merged(walks, |a, b| a < b).filter_map(behind))
            }
            (_, true) => {
                let walks = sets.into_iter().map(|set| walk(set).rev().peekable()).collect();
                Box::new(merged(walks, |a, b| a > b).filter_map(behind))
            }
        }
    }

    /// How many runs the smallest index holds that the filter names; `None`: it names none.
    pub(crate) fn narrowed_to(&self, filter: &RunFilter) -> Option<usize> {
        self.narrowest(filter).map(|set| set.map_or(0, BTreeSet::len))
    }

    /// The runs whose name has the filter's prefix, by name, behind the cursor, one by one. The caller checks the rest of
    /// the filter.
    pub(crate) fn by_name<'s>(
        &'s self,
        filter: &'s RunFilter,
        after: Option<&'s RunCursor>,
    ) -> impl Iterator<Item = RunId> + 's {
        let prefix = filter.name_prefix.as_deref().unwrap_or_default();
        let behind = after.and_then(|c| c.name.as_deref().map(|name| (name, (c.created, c.id))));
        let from = behind.map_or(prefix, |(name, _)| name.max(prefix));
        self.by_name
            .range::<str, _>((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .flat_map(move |(name, places)| {
                let lower = match behind {
                    Some((last, place)) if *last == **name => Bound::Excluded(place),
                    _ => Bound::Unbounded,
                };
                places.range((lower, Bound::Unbounded)).map(|(_, id)| *id)
            })
    }

    /// Several sets that hold all that the filter can mean, of which none is larger than all runs: those of the statuses, or
    /// those of the names with the prefix, where they are few.
    fn several(&self, filter: &RunFilter) -> Option<Vec<&Places>> {
        if let Some(prefix) = &filter.name_prefix {
            let named =
                self.by_name.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&**prefix));
            let sets: Vec<&Places> = named.take(MERGED_AT_MOST + 1).map(|(_, set)| set).collect();
            if sets.len() <= MERGED_AT_MOST {
                return Some(sets);
            }
        }
        let wanted = |(status, _): &(&RunStatus, &Places)| filter.status.contains(status);
        (!filter.status.is_empty())
            .then(|| self.by_status.iter().filter(wanted).map(|(_, set)| set).collect())
    }

    /// `None`: the filter names no such index; `Some(None)`: it does, and nothing is there.
    fn narrowest(&self, filter: &RunFilter) -> Option<Option<&Places>> {
        let mut named: Vec<Option<&Places>> = Vec::new();
        if let Some(parent) = &filter.parent {
            named.push(self.by_parent.get(parent));
        }
        named.extend(filter.tags.iter().map(|tag| self.by_tag.get(tag)));
        if let (Some(tenant), Some(app), Some(agent)) = (&filter.tenant, &filter.app, &filter.agent) {
            named.push(Namespace::new(tenant, app, agent).ok().and_then(|n| self.by_namespace.get(&n)));
        }
        if let [status] = filter.status[..] {
            named.push(self.by_status.get(&status));
        }
        named.into_iter().min_by_key(|set| set.map_or(0, BTreeSet::len))
    }
}

fn take<K: Ord>(map: &mut BTreeMap<K, Places>, key: &K, place: Place) {
    if let Some(set) = map.get_mut(key) {
        set.remove(&place);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

const FIRST_ID: RunId = RunId::from_bytes([0; 16]);
const LAST_ID: RunId = RunId::from_bytes([255; 16]);

fn bounds(filter: &RunFilter, order: RunOrder, after: Option<&RunCursor>) -> (Place, Place) {
    let mut low = (filter.created_from.unwrap_or(Timestamp(i64::MIN)), FIRST_ID);
    let mut high = match filter.created_before {
        Some(t) => (Timestamp(t.0.saturating_sub(1)), LAST_ID),
        None => (Timestamp(i64::MAX), LAST_ID),
    };
    if let Some(c) = after {
        match order {
            RunOrder::Created => low = low.max((c.created, c.id)),
            RunOrder::CreatedDescending => high = high.min((c.created, c.id)),
            RunOrder::Name => {}
        }
    }
    (low, high)
}

/// The places of several ordered walks, in their order.
fn merged<'s, W: Iterator<Item = &'s Place>>(
    mut walks: Vec<Peekable<W>>,
    is_before: impl Fn(&Place, &Place) -> bool,
) -> impl Iterator<Item = &'s Place> {
    std::iter::from_fn(move || {
        let mut first: Option<(usize, &'s Place)> = None;
        for (number, walk) in walks.iter_mut().enumerate() {
            if let Some(place) = walk.peek().copied()
                && first.is_none_or(|(_, best)| is_before(place, best))
            {
                first = Some((number, place));
            }
        }
        walks[first?.0].next()
    })
}
