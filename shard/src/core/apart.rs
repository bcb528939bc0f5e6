//! What two runs that share a past may differ in, found without reading what they share.
//!
//! A run that was forked notes each key that it changes behind a version that a fork retains: once for each such version, so
//! that the notes grow as the versions do that are retained for the forks, and not with every overwrite. What a fork and its parent can
//! differ in is then what the fork wrote and hid, which is its own range of keys, and what the parent noted since.

use std::collections::VecDeque;

use in_mem_model::{KeyBytes, RunId, Tag, Version, VersionedValue};
use smallvec::SmallVec;

use super::ShardCore;
use super::fork::{HIDDEN_PREFIX, hidden_of};
use super::query::{PAGE_KEYS, PAGE_LIMIT, value_of};
use crate::index::{Direction, PageEnd, PageLimit, ScanRange};

/// Notes that are kept together, and swept together.
const CHUNK_NOTES: usize = 256;

/// Chunks that are swept when one is full: what is noted and gone again goes twice as fast as notes come.
const SWEPT_CHUNKS: usize = 2;

/// A change: its version, and the key.
type Note = (Version, Tag, KeyBytes);

#[derive(Debug)]
struct Chunk {
    /// Grows from chunk to chunk, and is never given again.
    number: u64,
    notes: Vec<Note>,
}

/// The keys that a run with forks changed since the oldest version that one of them retains, oldest change first.
#[derive(Debug)]
pub(crate) struct ChangesSinceForks {
    /// Every change behind this version is noted.
    since: Version,
    /// The newest version that is retained, or was.
    newest: Version,
    chunks: VecDeque<Chunk>,
    next_number: u64,
    /// The next chunk to sweep.
    sweep: u64,
}

impl ChangesSinceForks {
    fn new(since: Version) -> Self {
        Self { since, newest: since, chunks: VecDeque::new(), next_number: 0, sweep: 0 }
    }

    /// What was changed, oldest first, as a checkpoint tells it.
    pub(super) fn loaded(oldest: Version, newest: Version, changed: Vec<Note>) -> Self {
        let mut changes = Self { newest, ..Self::new(oldest) };
        for (version, tag, user) in changed {
            changes.note(version, tag, &user, Version(0));
        }
        changes
    }

    /// Notes the change of a key whose version before was `superseded`, 0 for none. Says whether it is time for a sweep.
    pub(super) fn note(&mut self, version: Version, tag: Tag, user: &[u8], superseded: Version) -> bool {
        // Changed behind the newest fork already: then it is noted behind every fork.
        if superseded > self.newest {
            return false;
        }
        let (tag, user) = match tag {
            Tag::Run => match hidden_of(user) {
                Some(hidden) => hidden,
                None => return false,
            },
            tag => (tag, user),
        };
        let note = (version, tag, KeyBytes::new(user));
        match self.chunks.back_mut().filter(|chunk| chunk.notes.len() < CHUNK_NOTES) {
            Some(chunk) => {
                chunk.notes.push(note);
                false
            }
            None => {
                self.chunks.push_back(Chunk { number: self.next_number, notes: vec![note] });
                self.next_number += 1;
                true
            }
        }
    }

    /// Drops notes of keys that are not there any more: nobody sees them, neither now nor from a fork. So a run that makes keys
    /// and deletes them does not collect notes for ever.
    pub(super) fn sweep(&mut self, is_there: impl Fn(Tag, &[u8]) -> bool) {
        for _ in 0..SWEPT_CHUNKS {
            let place = self.chunks.partition_point(|chunk| chunk.number < self.sweep);
            // The last one is being filled.
            if place + 1 >= self.chunks.len() {
                self.sweep = 0;
                return;
            }
            let chunk = &mut self.chunks[place];
            chunk.notes.retain(|(_, tag, user)| is_there(*tag, user));
            self.sweep = chunk.number + 1;
            // Into the later one, whose number stays: who has pages of both to come misses nothing.
            if chunk.notes.len() + self.chunks[place + 1].notes.len() <= CHUNK_NOTES
                && let Some(mut merged) = self.chunks.remove(place)
            {
                let later = &mut self.chunks[place].notes;
                merged.notes.append(later);
                *later = merged.notes;
            }
        }
    }

    /// Lets go of what nobody asks for who retains `oldest` or later.
    fn forget_through(&mut self, oldest: Version) {
        let is_past = |chunk: &Chunk| chunk.notes.last().is_none_or(|(version, ..)| *version <= oldest);
        while self.chunks.front().is_some_and(is_past) {
            self.chunks.pop_front();
        }
        self.since = self.since.max(oldest);
    }

    /// The keys changed after `from` and up to `to` that the first chunk from `number` on holds, and where to go on.
    fn page(&self, from: Version, to: Version, number: u64) -> KeysPage<u64> {
        let ends_before = |chunk: &Chunk| chunk.notes.last().is_none_or(|(version, ..)| *version <= from);
        let first = self.chunks.partition_point(|chunk| chunk.number < number || ends_before(chunk));
        let Some(chunk) = self.chunks.get(first) else { return (Vec::new(), None) };
        let inside = |(version, ..): &&Note| *version > from && *version <= to;
        let keys = chunk.notes.iter().filter(inside).map(|(_, tag, user)| (*tag, user.clone())).collect();
        let is_last = chunk.notes.last().is_some_and(|(version, ..)| *version > to);
        (keys, (!is_last).then_some(chunk.number + 1))
    }
}

/// How far the pasts of two runs are the same: they go on from one run, each from a version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// Runs between either and the run they go on from, each with the version at which it counts.
    pub own: Vec<(RunId, Version)>,
    /// The run that both go on from; one of the two, where the other is its fork.
    pub common: RunId,
    /// The earlier of its versions that they go on from.
    pub from: Version,
    /// The later.
    pub to: Version,
}

/// Keys, and where the next page begins.
pub type KeysPage<P> = (Vec<(Tag, KeyBytes)>, Option<P>);

/// What two runs hold under one key.
pub type BothValues = (Option<VersionedValue>, Option<VersionedValue>);

impl ShardCore {
    /// A run is about to be shared at a version, as it is.
    pub(super) fn note_changes_of(&mut self, run: RunId, retained: Version) {
        let Some(state) = self.runs.get_mut(&run) else { return };
        let since = state.last_version;
        let changes = state.changes.get_or_insert_with(|| Box::new(ChangesSinceForks::new(since)));
        changes.newest = changes.newest.max(retained);
    }

    /// A version of a run is retained for one fork less.
    pub(super) fn forget_changes_of(&mut self, run: RunId) {
        let oldest = self.index.oldest_retained(run);
        let Some(state) = self.runs.get_mut(&run) else { return };
        match (oldest, &mut state.changes) {
            (Some(oldest), Some(changes)) => changes.forget_through(oldest),
            (_, changes) => *changes = None,
        }
    }

    /// How far two runs are the same at a version; `None` where they share nothing, or where what parts them was not noted: then
    /// only reading both tells.
    pub fn parting(&self, a: RunId, b: RunId, at: Version) -> Option<Parting> {
        let layers = |run: RunId| {
            let state = self.runs.get(&run).filter(|state| state.meta.first_version <= at)?;
            let mut layers: SmallVec<[(RunId, Version); 4]> = SmallVec::from_slice(&[(run, at)]);
            let mut fork = state.fork.as_deref();
            while let Some(link) = fork {
                layers.push((link.parent, link.version));
                fork = link.above.as_deref();
            }
            Some(layers)
        };
        let (a, b) = (layers(a)?, layers(b)?);
        let place_in_b = |run: RunId| b.iter().position(|(other, _)| *other == run);
        let (i, j) = a.iter().enumerate().find_map(|(i, (run, _))| Some((i, place_in_b(*run)?)))?;
        let (common, one, other) = (a[i].0, a[i].1, b[j].1);
        let (from, to) = (one.min(other), one.max(other));
        let is_noted = |changes: &ChangesSinceForks| changes.since <= from;
        if from < to && !self.runs.get(&common)?.changes.as_deref().is_some_and(is_noted) {
            return None;
        }
        Some(Parting { own: a[..i].iter().chain(&b[..j]).copied().collect(), common, from, to })
    }

    /// A page of the keys that a run changed after `from` and up to `to`, in the order in which it did, some perhaps more than once.
    /// `place` is where the page before said, at first 0. `None`: they are not noted any more.
    pub fn changed_page(&self, run: RunId, from: Version, to: Version, place: u64) -> Option<KeysPage<u64>> {
        let changes = self.runs.get(&run)?.changes.as_deref().filter(|changes| changes.since <= from)?;
        Some(changes.page(from, to, place))
    }

    /// A page of the keys that a run wrote itself, or hides, at a version. Under [`Tag::Run`], what it hides, of any primitive.
    pub fn own_page(
        &mut self,
        run: RunId,
        tag: Tag,
        after: Option<&KeyBytes>,
        at: Version,
    ) -> KeysPage<KeyBytes> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let (first, last) = ([HIDDEN_PREFIX], [HIDDEN_PREFIX + 1]);
        let (mut lower, upper) = match tag {
            Tag::Run => (Included(&first[..]), Excluded(&last[..])),
            _ => (Unbounded, Unbounded),
        };
        if let Some(after) = after {
            lower = Excluded(after);
        }
        let limit = PageLimit { rows: PAGE_KEYS, keys: PAGE_KEYS };
        let mut keys = Vec::new();
        let range = ScanRange::of_tag(run, tag, lower, upper);
        let end = self.index.scan(&range, Direction::Forwards, at, limit, |row| {
            let key = if tag == Tag::Run { hidden_of(row.key.user) } else { Some((tag, row.key.user)) };
            keys.extend(key.map(|(tag, user)| (tag, KeyBytes::new(user))));
            true
        });
        let next = match end {
            PageEnd::Done => None,
            PageEnd::After(key) => Some(KeyBytes::from(key.user)),
        };
        (keys, next)
    }

    /// What two runs hold at a version under each of the keys, at most [`PAGE_LIMIT`] of them. `None`: one of them is gone.
    pub fn both_values(
        &self,
        (a, b): (RunId, RunId),
        at: Version,
        keys: &[(Tag, KeyBytes)],
    ) -> Option<Vec<BothValues>> {
        if !self.runs.contains_key(&a) || !self.runs.contains_key(&b) {
            return None;
        }
        let value = |run: RunId, tag: Tag, user: &[u8]| {
            let own = self.index.get_at(&self.hashed(run, tag, user), at);
            let node = match own.filter(|node| node.value.is_some()) {
                Some(own) => own,
                None => self.shared(run, tag, user, at)?,
            };
            value_of(&node, self.now)
        };
        let keys = keys.iter().take(PAGE_LIMIT);
        Some(keys.map(|(tag, user)| (value(a, *tag, user), value(b, *tag, user))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(changes: &ChangesSinceForks) -> Vec<u64> {
        changes.chunks.iter().flat_map(|chunk| &chunk.notes).map(|(version, ..)| version.0).collect()
    }

    fn pages(changes: &ChangesSinceForks, from: u64, to: u64) -> Vec<KeyBytes> {
        let (mut all, mut place) = (Vec::new(), Some(0));
        while let Some(at) = place {
            let (keys, next) = changes.page(Version(from), Version(to), at);
            all.extend(keys.into_iter().map(|(_, key)| key));
            place = next;
        }
        all
    }

    #[test]
    fn a_key_is_noted_once_for_each_fork_that_it_is_changed_behind() {
        let mut changes = ChangesSinceForks::new(Version(10));
        changes.note(Version(11), Tag::Kv, b"k", Version(3));
        changes.note(Version(12), Tag::Kv, b"k", Version(11));
        changes.note(Version(13), Tag::Kv, b"new", Version(0));
        assert_eq!(notes(&changes), [11, 13]);
        changes.newest = Version(13);
        changes.note(Version(15), Tag::Kv, b"k", Version(12));
        changes.note(Version(16), Tag::Kv, b"k", Version(15));
        assert_eq!(notes(&changes), [11, 13, 15], "again, behind another fork");
        changes.note(Version(17), Tag::Run, b"", Version(1));
        assert_eq!(notes(&changes).len(), 3, "what is known of a run as a whole is no key of it");
        assert_eq!(pages(&changes, 11, 13), [KeyBytes::from("new")]);
        changes.forget_through(Version(15));
        assert_eq!((notes(&changes), changes.since), (vec![], Version(15)));
    }

    #[test]
    fn keys_that_are_gone_are_swept_and_no_page_misses_one_that_is_there() {
        let mut changes = ChangesSinceForks::new(Version(0));
        let is_kept = |number: u64| number.is_multiple_of(1_000);
        let there = |_: Tag, user: &[u8]| is_kept(u64::from_be_bytes(user.try_into().unwrap()));
        const COUNT: u64 = 100_000;
        for number in 1..=COUNT {
            if changes.note(Version(number), Tag::Kv, &number.to_be_bytes(), Version(0)) {
                changes.sweep(there);
            }
        }
        assert!(notes(&changes).len() < 10 * CHUNK_NOTES, "{} notes are left", notes(&changes).len());
        let kept = |from: u64, to: u64| {
            let mut keys = pages(&changes, from, to);
            keys.retain(|key| there(Tag::Kv, key));
            keys.len()
        };
        assert_eq!((kept(0, COUNT), kept(50_000, COUNT), kept(0, 50_000)), (100, 50, 50));
        // A reader between two pages: what it has still to read is in a chunk that it has not passed.
        let (first, place) = changes.page(Version(0), Version(COUNT), 0);
        let seen = first.len();
        for _ in 0..100 {
            changes.sweep(there);
        }
        let (mut rest, mut place) = (0, place);
        while let Some(at) = place {
            let (keys, next) = changes.page(Version(0), Version(COUNT), at);
            rest += keys.iter().filter(|(tag, key)| there(*tag, key)).count();
            place = next;
        }
        assert!(seen + rest >= 100, "{seen} and {rest}");
    }
}
