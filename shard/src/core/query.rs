//! What a shard tells of its state, on the turn: the newest values, pages of keys, pages of runs.

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, VersionedValue};

use super::ShardCore;
use super::command::{Page, RunInfo, RunQuery, ScanRequest};
use super::error::WriteError;
use super::event::ChainHead;
use super::run_index::RunOrder;
use super::run_state::RunState;
use crate::index::{Direction, HashedKey, KeyRef, NodeView, PageEnd, PageLimit, ScanRange};

/// The most entries or runs that one turn lists: what bounds how long a scan holds the shard up.
pub const PAGE_LIMIT: usize = 256;

/// The most keys that one turn looks at for a page, deleted and expired ones included.
pub(super) const PAGE_KEYS: usize = 1_024;

impl ShardCore {
    /// A key with its hash.
    #[inline]
    pub(super) fn hashed<'k>(&self, run: RunId, tag: Tag, user: &'k [u8]) -> HashedKey<'k> {
        self.index.hashed(self.index.run_hash(&run), KeyRef::new(run, tag, user))
    }

    /// The newest installed version of a key, a deletion included.
    #[inline]
    pub(super) fn head(&self, run: RunId, tag: Tag, user: &[u8]) -> Option<NodeView<'_>> {
        self.index.head(&self.hashed(run, tag, user))
    }

    /// The newest installed version of a key, if it is a value whose time has not run out.
    pub(super) fn live_head(&self, run: RunId, tag: Tag, user: &[u8]) -> Option<NodeView<'_>> {
        self.head(run, tag, user)
            .filter(|head| head.value.is_some())
            .or_else(|| self.shared(run, tag, user, self.version))
            .filter(|head| head.expires_at.is_none_or(|at| at > self.now))
    }

    pub(super) fn is_live(&self, run: RunId, tag: Tag, user: &[u8]) -> bool {
        self.live_head(run, tag, user).is_some()
    }

    /// The committed value of a key.
    pub fn get(&self, key: &Key) -> Option<VersionedValue> {
        let own = self.index.get_at(&self.hashed(key.run, key.tag, &key.user), self.published);
        let node = match own.filter(|node| node.value.is_some()) {
            Some(own) => own,
            None => self.shared(key.run, key.tag, &key.user, self.published)?,
        };
        self.read_node(&node)
    }

    /// A page of keys, at most [`PAGE_LIMIT`] entries.
    pub fn scan(&mut self, request: &ScanRequest) -> Page {
        let at = request.at.unwrap_or(self.published);
        if self.runs.get(&request.run).is_some_and(|state| state.fork.is_some()) {
            return self.scan_fork(request, at);
        }
        let limit = request.limit.min(PAGE_LIMIT);
        let (lower, upper) = (request.lower.as_ref().map(|k| &**k), request.upper.as_ref().map(|k| &**k));
        let range = ScanRange::of_tag(request.run, request.tag, lower, upper);
        let direction = if request.reverse { Direction::Backwards } else { Direction::Forwards };
        let limit = PageLimit { rows: limit.max(1), keys: PAGE_KEYS };
        let now = self.now;
        let mut entries = Vec::new();
        let end = self.index.scan(&range, direction, at, limit, |row| match value_of(&row.node, now) {
            Some(value) => {
                entries.push((KeyBytes::from(row.key.user), value));
                true
            }
            None => false,
        });
        let next = match end {
            PageEnd::Done => None,
            PageEnd::After(key) => Some(KeyBytes::from(key.user)),
        };
        Page { entries, next }
    }

    fn read_node(&self, node: &NodeView<'_>) -> Option<VersionedValue> {
        value_of(node, self.now)
    }

    /// A page of runs, at most [`PAGE_LIMIT`] of them, and the count of all that match where it was asked for.
    pub fn runs(&self, query: &RunQuery) -> (Vec<RunInfo>, Option<u64>) {
        let limit = query.limit.min(PAGE_LIMIT);
        let matching = |after| {
            self.run_index
                .candidates(&query.filter, query.order, after)
                .filter(move |id| after.is_none_or(|c| c.id != *id))
                .filter_map(|id| self.runs.get(&id).map(|state| (id, state)))
                .filter(|(_, state)| query.filter.matches(&state.meta, state.orphaned()))
        };
        let page = matching(query.after).take(limit).map(|(id, state)| self.describe(id, state)).collect();
        let total = query.count.then(|| matching(None).count() as u64);
        (page, total)
    }

    /// One run.
    pub fn run_info(&self, run: RunId) -> Option<RunInfo> {
        self.runs.get(&run).map(|state| self.describe(run, state))
    }

    /// The end of a run's event chain.
    pub fn chain(&self, run: RunId) -> Option<ChainHead> {
        self.runs.get(&run).map(|state| state.chain)
    }

    /// This process takes the run over.
    pub(super) fn adopt(&mut self, run: RunId) -> Result<(), WriteError> {
        let state = self.runs.get_mut(&run).ok_or(WriteError::UnknownRun { run })?;
        state.adopted = true;
        Ok(())
    }

    fn describe(&self, id: RunId, state: &RunState) -> RunInfo {
        RunInfo {
            id,
            meta: (*state.meta).clone(),
            last_version: state.last_version,
            orphaned: state.orphaned(),
            children: self.run_index.children(id) as u64,
            kv: state.usage(Tag::Kv),
            events: state.usage(Tag::Event),
            state: state.usage(Tag::State),
            traces: state.usage(Tag::Trace),
        }
    }
}

pub(super) fn value_of(node: &NodeView<'_>, now: Timestamp) -> Option<VersionedValue> {
    let value = node.value.filter(|_| node.expires_at.is_none_or(|at| at > now))?;
    Some(VersionedValue {
        value: value.clone(),
        version: node.version,
        timestamp: node.timestamp,
        expires_at: node.expires_at,
    })
}

/// Orders two listed runs as a query asks: by it the coordinator merges the shards' pages.
pub fn compare_runs(order: RunOrder, a: &RunInfo, b: &RunInfo) -> std::cmp::Ordering {
    let by_created = (a.meta.created, a.id).cmp(&(b.meta.created, b.id));
    match order {
        RunOrder::Created => by_created,
        RunOrder::CreatedDescending => by_created.reverse(),
    }
}
