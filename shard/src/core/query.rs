//! What a shard tells of its state, on the turn: the newest values, pages of keys.

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, VersionedValue};

use super::ShardCore;
use super::command::{Page, ScanRequest, StreamRequest};
use super::error::WriteError;
use super::event::ChainHead;
use crate::index::{Direction, HashedKey, KeyRef, NodeView, PageEnd, PageLimit, ScanRange};

/// The most entries or runs that one turn lists: what bounds how long a scan holds the shard up.
pub const PAGE_LIMIT: usize = 256;

/// The most keys that one turn looks at for a page, deleted and expired ones included.
pub(super) const PAGE_KEYS: usize = 1_024;

/// The most keys that one turn counts.
const COUNT_KEYS: usize = 4_096;

/// The most numbers of a stream's events that one turn tells.
const STREAM_PAGE: usize = 4_096;

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
        if self.fork_at(request.run, at).is_some() {
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

    /// How many keys there are in a range, and the last one looked at where there may be more behind it.
    pub fn count(&mut self, request: &ScanRequest) -> (u64, Option<KeyBytes>) {
        let (lower, upper) = (request.lower.as_ref().map(|k| &**k), request.upper.as_ref().map(|k| &**k));
        let range = ScanRange::of_tag(request.run, request.tag, lower, upper);
        let at = request.at.unwrap_or(self.published);
        if self.fork_at(request.run, at).is_some() {
            let page =
                self.scan_fork(&ScanRequest { limit: PAGE_LIMIT, reverse: false, ..request.clone() }, at);
            return (page.entries.len() as u64, page.next);
        }
        let limit = PageLimit { rows: usize::MAX, keys: COUNT_KEYS };
        let (now, mut keys) = (self.now, 0);
        let end = self.index.scan(&range, Direction::Forwards, at, limit, |row| {
            let live = row.node.expires_at.is_none_or(|at| at > now);
            keys += u64::from(live);
            live
        });
        match end {
            PageEnd::Done => (keys, None),
            PageEnd::After(key) => (keys, Some(KeyBytes::from(key.user))),
        }
    }

    /// The numbers of a stream's events from a place on, at most `STREAM_PAGE`, and how many it has.
    pub fn stream(&self, request: &StreamRequest) -> (Vec<u64>, u64) {
        self.stream_numbers(request.run, &request.stream, request.from, request.limit.min(STREAM_PAGE))
    }

    fn read_node(&self, node: &NodeView<'_>) -> Option<VersionedValue> {
        value_of(node, self.now)
    }

    /// The end of a run's event chain.
    pub fn chain(&self, run: RunId) -> Option<ChainHead> {
        self.runs.get(&run).filter(|_| !self.is_arriving(run)).map(|state| state.chain)
    }

    /// This process takes the run over.
    pub(super) fn adopt(&mut self, run: RunId) -> Result<(), WriteError> {
        self.check_seen(run)?;
        let state = self.runs.get_mut(&run).ok_or(WriteError::UnknownRun { run })?;
        state.adopted = true;
        Ok(())
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
