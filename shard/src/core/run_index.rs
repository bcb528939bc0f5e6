//! The secondary indexes by which a shard finds runs. Derived from the runs' own entries: they cost no log bytes and are
//! rebuilt at recovery. Every set is ordered by creation, so that a page of an answer costs what the page holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use in_mem_model::{Namespace, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use super::run_meta::{RunMeta, RunStatus};

type Place = (Timestamp, RunId);
type Places = BTreeSet<Place>;

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

    /// The places of runs that may be meant, in the order asked for, behind the cursor: taken from the smallest index
    /// that the filter names. The caller checks the rest of the filter.
    pub(crate) fn candidates(
        &self,
        filter: &RunFilter,
        order: RunOrder,
        after: Option<&RunCursor>,
    ) -> Box<dyn Iterator<Item = RunId> + '_> {
        let range = bounds(filter, order, after);
        if range.0 > range.1 {
            return Box::new(std::iter::empty());
        }
        if let Some(set) = self.narrowest(filter) {
            return match set {
                Some(set) => walk(set, range, order),
                None => Box::new(std::iter::empty()),
            };
        }
        // Several small sets rather than all runs: the names with the prefix, or the statuses. They are merged in order.
        let several: Vec<&Places> = if let Some(prefix) = &filter.name_prefix {
            self.by_name
                .range(prefix.clone()..)
                .take_while(|(n, _)| n.starts_with(&**prefix))
                .map(|(_, s)| s)
                .collect()
        } else if filter.status.is_empty() {
            return walk(&self.all, range, order);
        } else {
            filter.status.iter().filter_map(|s| self.by_status.get(s)).collect()
        };
        let mut merged: Places = BTreeSet::new();
        if let [one] = several[..] {
            return walk(one, range, order);
        }
        for set in several {
            merged.extend(set.range(range.0..=range.1));
        }
        let ids: Vec<RunId> = merged.into_iter().map(|(_, id)| id).collect();
        match order {
            RunOrder::Created | RunOrder::Name => Box::new(ids.into_iter()),
            RunOrder::CreatedDescending => Box::new(ids.into_iter().rev()),
        }
    }

    /// Whether some index holds all that the filter can mean, so that they need not be looked for by name.
    pub(crate) fn is_narrow(&self, filter: &RunFilter) -> bool {
        self.narrowest(filter).is_some()
    }

    /// The runs whose name has the filter's prefix, by name, behind the cursor. The caller checks the rest of the filter.
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
                let skip = behind.filter(|(last, _)| *last == &**name).map(|(_, place)| place);
                places.iter().filter(move |place| skip.is_none_or(|skip| **place > skip)).map(|(_, id)| *id)
            })
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

fn walk<'s>(set: &'s Places, range: (Place, Place), order: RunOrder) -> Box<dyn Iterator<Item = RunId> + 's> {
    let ids = set.range((Bound::Included(range.0), Bound::Included(range.1))).map(|(_, id)| *id);
    match order {
        RunOrder::Created | RunOrder::Name => Box::new(ids),
        RunOrder::CreatedDescending => Box::new(ids.rev()),
    }
}
