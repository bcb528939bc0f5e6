//! Forks in a checkpoint: told by reference. A checkpoint says what a fork goes on from, and holds each version that its forks read
//! of a run once, however many they are; loading it makes them share again.
//!
//! In a checkpoint these items come before all others: first the forks, so that it is known of which runs something is retained, then
//! the versions retained, oldest first for each key, then what is there now.

use std::ops::Bound;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use hashbrown::{HashMap, HashSet};
use in_mem_model::codec::{self, Cursor, DecodeError};
use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version};
use rustc_hash::FxBuildHasher;

use super::ShardCore;
use super::apart::ChangesSinceForks;
use super::event::{self, ChainHead, HASH_BYTES, MAX_EVENTS, event_key};
use super::fork::{Fork, MAX_FORK_DEPTH};
use super::query::PAGE_KEYS;
use super::run_index::RunCursor;
use super::streams::Streams;
use crate::index::{PageEnd, ScanRange};

/// Where a type tag stands in other items: this one tells of a fork.
pub(super) const FORK_ITEM: u8 = 0x10;
/// Bits beside the type tag of a version that forks retain, and of one that is a deletion.
pub(super) const RETAINED: u8 = 0x40;
const DELETED: u8 = 0x20;
const EXPIRES: u8 = 0x80;

const TAGS: [Tag; 5] = [Tag::Kv, Tag::Event, Tag::State, Tag::Trace, Tag::Run];

/// How many ranges of keys one turn looks into for a page.
const PAGE_RANGES: usize = 64;

/// A run and the version of it that a fork goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForkLink {
    /// The run.
    pub parent: RunId,
    /// The version of it.
    pub version: Version,
    /// How many events it had in its chain then.
    pub events: u64,
    /// The hash of the last of them.
    pub hash: [u8; HASH_BYTES],
    /// How many of them the fork sees, which may hide the last ones.
    pub seen: u64,
}

/// What a checkpoint says of a fork: what it goes on from, and what that goes on from, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkItem {
    /// The fork.
    pub run: RunId,
    /// Its parent first.
    pub links: Vec<ForkLink>,
}

impl ForkItem {
    /// Writes the item behind what `out` holds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.run.as_bytes());
        out.push(FORK_ITEM);
        codec::put_varint(self.links.len() as u64, out);
        for link in &self.links {
            out.extend_from_slice(link.parent.as_bytes());
            codec::put_varint(link.version.0, out);
            codec::put_varint(link.events, out);
            out.extend_from_slice(&link.hash);
            codec::put_varint(link.seen, out);
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let run = RunId::from_bytes(cursor.array::<16>()?);
        cursor.u8()?;
        let count = cursor.varint()?;
        if count == 0 || count > MAX_FORK_DEPTH as u64 {
            return Err(cursor.refuse("no fork goes on from so many runs"));
        }
        let mut links = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let link = ForkLink {
                parent: RunId::from_bytes(cursor.array::<16>()?),
                version: Version(cursor.varint()?),
                events: cursor.varint()?,
                hash: cursor.array::<HASH_BYTES>()?,
                seen: cursor.varint()?,
            };
            if link.events > MAX_EVENTS {
                return Err(cursor.refuse("no run has so many events"));
            }
            links.push(link);
        }
        cursor.finish()?;
        Ok(Self { run, links })
    }
}

/// A version of a key that forks read, and that is not what the key is now; without a value, a deletion.
#[derive(Debug, Clone, PartialEq)]
pub struct RetainedEntry {
    /// Whose key.
    pub run: RunId,
    /// Of which primitive.
    pub tag: Tag,
    /// The user's key bytes.
    pub key: KeyBytes,
    /// The version.
    pub version: Version,
    /// When that was.
    pub timestamp: Timestamp,
    /// When it stops being there.
    pub expires_at: Option<Timestamp>,
    /// The value.
    pub value: Option<Value>,
}

impl RetainedEntry {
    /// Writes the item behind what `out` holds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.run.as_bytes());
        let deleted = if self.value.is_none() { DELETED } else { 0 };
        let expires = if self.expires_at.is_some() { EXPIRES } else { 0 };
        out.push(self.tag as u8 | RETAINED | deleted | expires);
        codec::put_varint(self.version.0, out);
        out.extend_from_slice(&self.timestamp.0.to_le_bytes());
        if let Some(at) = self.expires_at {
            out.extend_from_slice(&at.0.to_le_bytes());
        }
        codec::put_bytes(&self.key, out);
        if let Some(value) = &self.value {
            codec::encode_value(value, out);
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let run = RunId::from_bytes(cursor.array::<16>()?);
        let head = cursor.u8()?;
        let tag = Tag::try_from(head & !(RETAINED | DELETED | EXPIRES))
            .map_err(|_| cursor.refuse("no version has this type tag"))?;
        let version = Version(cursor.varint()?);
        let timestamp = Timestamp(i64::from_le_bytes(cursor.array::<8>()?));
        let expires_at = if head & EXPIRES == 0 {
            None
        } else {
            Some(Timestamp(i64::from_le_bytes(cursor.array::<8>()?)))
        };
        let key = KeyBytes::new(cursor.bytes()?);
        let value = if head & DELETED == 0 { Some(cursor.value()?) } else { None };
        cursor.finish()?;
        Ok(Self { run, tag, key, version, timestamp, expires_at, value })
    }
}

/// A page of forks, and where the next one starts.
pub type ForksPage = (Vec<ForkItem>, Option<RunCursor>);

/// A page of what forks retain, and where the next one starts.
#[derive(Debug, Default)]
pub struct RetainedPage {
    /// The versions, for each key oldest first.
    pub entries: Vec<RetainedEntry>,
    /// `None`: there is no more.
    pub next: Option<RetainedCursor>,
}

/// Where a page of what forks retain ended.
#[derive(Debug, Clone)]
pub struct RetainedCursor {
    run: RunId,
    tag: usize,
    after: Option<KeyBytes>,
}

fn links_of(fork: &Arc<Fork>, seen: u64) -> Vec<ForkLink> {
    let mut seen = seen;
    let link = |fork: &Arc<Fork>| {
        let (events, hash) = (fork.head.len, fork.head.hash);
        let link = ForkLink { parent: fork.parent, version: fork.version, events, hash, seen };
        seen = fork.above_events;
        link
    };
    std::iter::successors(Some(fork), |fork| fork.above.as_ref()).map(link).collect()
}

/// What a run changed behind the oldest version that is retained of it, as far as it was told.
#[derive(Debug)]
struct LoadedChanges {
    oldest: Version,
    newest: Version,
    changed: Vec<(Version, Tag, KeyBytes)>,
}

/// An event that forks read, of a named stream.
#[derive(Debug)]
struct StreamEvent {
    version: Version,
    sequence: u64,
    stream: Arc<str>,
}

/// A run that is gone on from, its version, the place in memory of what that goes on from itself, how many events of it are seen.
type LinkIdentity = (RunId, Version, Option<usize>, u64);

/// What a checkpoint has told of forks so far.
#[derive(Debug, Default)]
pub(crate) struct LoadingForks {
    links: HashMap<LinkIdentity, Arc<Fork>, FxBuildHasher>,
    forks: Vec<(RunId, u64, Arc<Fork>)>,
    changes: HashMap<RunId, LoadedChanges, FxBuildHasher>,
    events: HashMap<RunId, Vec<StreamEvent>, FxBuildHasher>,
}

impl ShardCore {
    /// Whether there are forks, or were until a moment ago, that share something.
    pub fn has_forks(&self) -> bool {
        self.index.retained_after(None).is_some()
    }

    /// A page of the forks that there were at the moment of the checkpoint under way. The last page also tells of those that were
    /// dropped since.
    pub fn checkpoint_forks(&self, after: Option<RunCursor>, limit: usize, at: Version) -> ForksPage {
        let places = self.run_index.places_after(after, limit);
        let next = if places.len() < limit { None } else { places.last().cloned() };
        let mut items: Vec<ForkItem> = places
            .iter()
            .filter_map(|place| {
                let state = self.runs.get(&place.id).filter(|state| state.meta.first_version <= at)?;
                let links = links_of(state.fork.as_ref()?, state.shared_events);
                Some(ForkItem { run: place.id, links })
            })
            .collect();
        if next.is_none() {
            let were_there =
                self.dropped_forks.iter().filter(|dropped| dropped.at > at && dropped.first_version <= at);
            items.extend(were_there.map(|dropped| ForkItem {
                run: dropped.run,
                links: links_of(&dropped.fork, dropped.shared_events),
            }));
        }
        (items, next)
    }

    /// What is retained only for forks that were gone by the moment, with how often: snapshots may see them, and what they shared
    /// is no part of a checkpoint.
    fn retained_for_gone(&self, at: Version) -> HashMap<(RunId, Version), usize, FxBuildHasher> {
        let mut gone = HashMap::default();
        if self.dropped_forks.iter().all(|dropped| dropped.at > at) {
            return gone;
        }
        let chain = |fork| std::iter::successors(Some(fork), |fork: &&Arc<Fork>| fork.above.as_ref());
        let there = self.runs.values().filter_map(|state| state.fork.as_ref());
        let (left, still) = self.dropped_forks.iter().partition::<Vec<_>, _>(|dropped| dropped.at <= at);
        let there = there.chain(still.into_iter().map(|dropped| &dropped.fork));
        let mut seen: HashSet<*const Fork, FxBuildHasher> = there.flat_map(chain).map(Arc::as_ptr).collect();
        for link in left.into_iter().flat_map(|dropped| chain(&dropped.fork)) {
            if seen.insert(Arc::as_ptr(link)) {
                *gone.entry((link.parent, link.version)).or_default() += 1;
            }
        }
        gone
    }

    /// A page of the versions that forks retain and that are not what is there at the moment of the checkpoint under way.
    pub fn checkpoint_retained(&mut self, from: Option<RetainedCursor>, at: Version) -> RetainedPage {
        let mut page = RetainedPage::default();
        let gone = self.retained_for_gone(at);
        let first = || Some(RetainedCursor { run: self.index.retained_after(None)?, tag: 0, after: None });
        let Some(mut cursor) = from.or_else(first) else { return page };
        for _ in 0..PAGE_RANGES {
            let Some(tag) = TAGS.get(cursor.tag).copied() else {
                let Some(run) = self.index.retained_after(Some(cursor.run)) else { return page };
                cursor = RetainedCursor { run, tag: 0, after: None };
                continue;
            };
            let run = cursor.run;
            let lower = cursor.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let range = ScanRange::of_tag(run, tag, lower, Bound::Unbounded);
            let entries = &mut page.entries;
            let is_read =
                |version, count| gone.get(&(run, version)).is_none_or(|by_gone: &usize| *by_gone < count);
            let end = self.index.scan_retained(&range, at, PAGE_KEYS, is_read, |key, node| {
                // What is known of a run as a whole no fork reads.
                if tag != Tag::Run || !key.user.is_empty() {
                    entries.push(RetainedEntry {
                        run,
                        tag,
                        key: KeyBytes::from(key.user),
                        version: node.version,
                        timestamp: node.timestamp,
                        expires_at: node.expires_at,
                        value: node.value.cloned(),
                    });
                }
            });
            match end {
                PageEnd::Done => (cursor.tag, cursor.after) = (cursor.tag + 1, None),
                PageEnd::After(key) => {
                    cursor.after = Some(KeyBytes::from(key.user));
                    break;
                }
            }
            if page.entries.len() >= PAGE_KEYS {
                break;
            }
        }
        page.next = Some(cursor);
        page
    }

    /// A fork shares again what it goes on from, once the checkpoint is loaded whole.
    pub(super) fn load_fork(&mut self, item: &ForkItem) -> bool {
        if self.runs.get(&item.run).is_some_and(|state| state.fork.is_some()) {
            return false;
        }
        let mut loading = self.loading_forks.take().unwrap_or_default();
        let mut above: Option<Arc<Fork>> = None;
        let mut above_events = 0;
        for (depth, link) in item.links.iter().rev().enumerate() {
            let ForkLink { parent, version, .. } = *link;
            let identity =
                (parent, version, above.as_ref().map(|above| Arc::as_ptr(above) as usize), above_events);
            let fork = loading.links.entry(identity).or_insert_with(|| {
                let changes = loading.changes.entry(parent);
                let changes = changes.or_insert_with(|| LoadedChanges {
                    oldest: version,
                    newest: version,
                    changed: Vec::new(),
                });
                (changes.oldest, changes.newest) = (version.min(changes.oldest), version.max(changes.newest));
                Arc::new(Fork {
                    parent,
                    version,
                    retention: self.index.retain(parent, version),
                    head: ChainHead { len: link.events, hash: link.hash },
                    streams: OnceLock::new(),
                    above: above.take(),
                    above_events,
                    depth: depth + 1,
                    gone: AtomicUsize::new(0),
                })
            });
            above = Some(fork.clone());
            above_events = link.seen;
        }
        if let Some(fork) = above {
            loading.forks.push((item.run, above_events, fork));
        }
        self.loading_forks = Some(loading);
        true
    }

    /// Loads a version that forks retain. What is there now comes behind it.
    pub(super) fn load_retained(&mut self, entry: RetainedEntry) -> bool {
        let RetainedEntry { run, tag, key, version, timestamp, expires_at, value } = entry;
        if self.head(run, tag, &key).is_some_and(|head| head.version >= version) {
            return false;
        }
        self.note_loaded(run, tag, &key, version);
        if let Some(loading) = &mut self.loading_forks
            && tag == Tag::Event
            && let Some(sequence) = event::event_sequence(&key)
            && let Some((_, rest)) = value.as_ref().and_then(event::split_stored)
            && let Some((stream, _)) = event::stored_stream(rest)
        {
            let event = StreamEvent { version, sequence, stream: Arc::from(stream) };
            loading.events.entry(run).or_default().push(event);
        }
        let hashed = self.hashed(run, tag, &key);
        self.index.install(&hashed, version, timestamp, expires_at, value);
        true
    }

    /// While forks are loaded: what a run changed behind a version that is retained of it is noted, as it was when it did.
    #[inline]
    pub(super) fn note_loaded(&mut self, run: RunId, tag: Tag, user: &[u8], version: Version) {
        if let Some(loading) = &mut self.loading_forks
            && let Some(changes) = loading.changes.get_mut(&run)
            && version > changes.oldest
        {
            changes.changed.push((version, tag, KeyBytes::new(user)));
        }
    }

    /// The checkpoint is loaded whole, and its version is the core's: forks share what they did.
    pub(super) fn link_loaded_forks(&mut self) {
        let Some(loading) = self.loading_forks.take() else { return };
        let LoadingForks { links, forks, changes, events } = *loading;
        for (run, LoadedChanges { oldest, newest, mut changed }) in changes {
            changed.sort_unstable_by_key(|(version, ..)| *version);
            let Some(state) = self.runs.get_mut(&run) else { continue };
            state.changes = Some(Box::new(ChangesSinceForks::loaded(oldest, newest, changed)));
        }
        for fork in links.values() {
            self.link_loaded_streams(fork, events.get(&fork.parent));
        }
        drop(links);
        for (run, seen, fork) in forks {
            let is_made = self.runs.get(&run).is_some_and(|state| state.meta.first_version > Version(0));
            if !is_made || in_mem_wal::planted::is_planted("shard_load_forgets_fork") {
                self.unlink_fork(Some(fork));
                continue;
            }
            self.fork_marks.set(run);
            let head = fork.head;
            let Some(state) = self.runs.get_mut(&run) else { continue };
            (state.fork, state.shared_events) = (Some(fork), seen);
            // Its own events come behind those that it shares.
            if state.chain.len > 0 {
                continue;
            }
            let mut chain = head;
            if seen < head.len {
                let last = seen.checked_sub(1).map(event_key);
                let hash = last
                    .and_then(|last| self.shared(run, Tag::Event, &last, self.version))
                    .and_then(|node| event::split_stored(node.value?))
                    .map_or(event::CHAIN_START, |(hash, _)| hash);
                chain = ChainHead { len: seen, hash };
            }
            if let Some(state) = self.runs.get_mut(&run) {
                state.chain = chain;
            }
        }
    }

    /// What a parent appended to named streams: its own, where it is there; else, from what is retained of it.
    fn link_loaded_streams(&self, fork: &Fork, events: Option<&Vec<StreamEvent>>) {
        let there = self.runs.get(&fork.parent).filter(|state| state.meta.first_version <= fork.version);
        let streams = match there {
            Some(state) => state.streams.clone(),
            None => {
                let streams = Arc::<Streams>::default();
                let mut any = false;
                for StreamEvent { version, sequence, stream } in events.into_iter().flatten() {
                    let key = event_key(*sequence);
                    let seen = self.index.get_at(&self.hashed(fork.parent, Tag::Event, &key), fork.version);
                    if seen.is_some_and(|node| node.version == *version) {
                        streams.note(stream, *sequence);
                        any = true;
                    }
                }
                streams.sort();
                any.then_some(streams)
            }
        };
        if let Some(streams) = streams {
            let _ = fork.streams.set(streams);
        }
    }
}

#[cfg(test)]
mod tests;
