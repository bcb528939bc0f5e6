//! A run as it was after some of its commits.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use in_mem_model::{KeyBytes, Tag, Timestamp, Version, VersionedValue};
use in_mem_shard::core::event::event_key;
use in_mem_shard::core::fork::is_shared;
use in_mem_shard::core::run_meta::RunMeta;

use super::{CommitPlace, KeyHistory, KeyMoment, KeyVersion, Point, Timeline};
use crate::history::commits::Commit;
use crate::history::digest::TAGS;
use crate::history::error::HistoryError;

/// A run as it was after some of its commits: read-only, and nobody's to change. Cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    timeline: Arc<Timeline>,
    /// So many commits have been made.
    place: usize,
}

impl View {
    /// The run at a point of its timeline.
    ///
    /// # Errors
    /// [`HistoryError`] where the run was not there at that point.
    pub fn new(timeline: Arc<Timeline>, at: Point) -> Result<Self, HistoryError> {
        let life = timeline.last_life();
        let is_own = |key: &KeyHistory| key.versions.last().is_some_and(|last| last.commit >= life.begin);
        if let (Point::Event(sequence), Some(base)) = (at, &life.base)
            && !timeline.key(Tag::Event, &event_key(sequence)).is_some_and(is_own)
            && base.get(Tag::Event, &event_key(sequence)).is_some()
        {
            // A fork's events go on its parent's: before the fork, the run was its parent.
            return Self::new(base.timeline.clone(), at);
        }
        let place = timeline.place_of(at)?;
        Ok(Self { timeline, place })
    }

    /// The run behind the last of its commits that is not after a version, whether the timeline reaches there or not.
    pub(in crate::history) fn up_to(timeline: Arc<Timeline>, version: Version) -> Option<Self> {
        let place = timeline.commits.partition_point(|commit| commit.version <= version);
        (place > 0).then_some(Self { timeline, place })
    }

    /// The same run at another point.
    ///
    /// # Errors
    /// [`HistoryError`] where the run was not there at that point.
    pub fn at(&self, point: Point) -> Result<Self, HistoryError> {
        Self::new(self.timeline.clone(), point)
    }

    /// The whole past that it is a point of.
    pub fn timeline(&self) -> &Arc<Timeline> {
        &self.timeline
    }

    /// How many commits have been made.
    pub fn place(&self) -> usize {
        self.place
    }

    /// The last commit made: its version.
    pub fn version(&self) -> Version {
        self.last().version
    }

    /// The last commit made: its time. It is "now" for what expires.
    pub fn timestamp(&self) -> Timestamp {
        self.last().timestamp
    }

    fn last(&self) -> &CommitPlace {
        &self.timeline.commits[self.place - 1]
    }

    /// The last commit made, with what it changed.
    pub fn commit(&self) -> Commit {
        self.timeline.commit(self.place - 1).unwrap_or(Commit {
            version: self.version(),
            timestamp: self.timestamp(),
            changes: Vec::new(),
            dropped: false,
        })
    }

    /// Goes on by one commit; says whether there was one. Of an earlier life of the run that cannot be shown any more, all are
    /// passed over.
    pub fn step_forward(&mut self) -> bool {
        let more = self.place < self.timeline.len();
        if more {
            self.place = self.timeline.shown_from(self.place + 1);
        }
        more
    }

    /// Goes back by one commit; says whether there was one before. Passes over what [`View::step_forward`] passes over.
    pub fn step_back(&mut self) -> bool {
        let before = self.timeline.shown_until(self.place.saturating_sub(1));
        let more = before > 0;
        if more {
            self.place = before;
        }
        more
    }

    /// What the run shares, where it is a fork then.
    fn base(&self) -> Option<&View> {
        if self.last().dropped {
            return None;
        }
        self.timeline.life(self.place).base.as_ref()
    }

    fn version_of<'t>(&self, key: &'t KeyHistory) -> Option<&'t KeyVersion> {
        let seen = key.versions.partition_point(|version| version.commit as usize <= self.place);
        // What was there in an earlier life was not when this one began.
        let begin = self.timeline.life(self.place).begin;
        key.versions.get(seen.checked_sub(1)?).filter(|version| version.commit >= begin)
    }

    fn value_of(&self, key: &KeyHistory, now: Timestamp) -> Option<VersionedValue> {
        let version = self.version_of(key)?;
        if version.expires_at.is_some_and(|at| at <= now) {
            return None;
        }
        let commit = &self.timeline.commits[version.commit as usize - 1];
        Some(VersionedValue {
            value: version.value.clone()?,
            version: commit.version,
            timestamp: commit.timestamp,
            expires_at: version.expires_at,
        })
    }

    /// The value of a key then.
    pub fn get(&self, tag: Tag, user: &[u8]) -> Option<VersionedValue> {
        self.get_as_of(tag, user, self.timestamp())
    }

    /// As [`View::get`], without what has expired by `now`.
    pub(in crate::history) fn get_as_of(
        &self,
        tag: Tag,
        user: &[u8],
        now: Timestamp,
    ) -> Option<VersionedValue> {
        // What the run wrote itself, a deletion included, hides what it shares.
        if let Some(key) = self.timeline.key(tag, user)
            && self.version_of(key).is_some()
        {
            return self.value_of(key, now);
        }
        let base = self.base().filter(|_| is_shared(tag, user))?;
        base.get_as_of(tag, user, now)
    }

    /// The keys that were written between an earlier view and this one, in order. The earlier one is of the same timeline, or,
    /// from before a fork, of a parent's.
    pub fn changed_since(&self, earlier: &View) -> Vec<(Tag, KeyBytes)> {
        let life = self.timeline.life(self.place);
        if earlier.timeline.run != self.timeline.run
            && let Some(base) = &life.base
        {
            let mut changed = self.written_since(life.begin as usize - 1);
            changed.extend(base.changed_since(earlier));
            changed.sort_unstable();
            changed.dedup();
            return changed;
        }
        let mut changed = self.written_since(earlier.place.min(self.place));
        if earlier.timeline.life(earlier.place).begin != life.begin {
            // What either shares, it shared itself: the other life had nothing of it.
            for (view, tag) in TAGS.iter().flat_map(|tag| [(self, *tag), (earlier, *tag)]) {
                let all = view.scan(tag, Bound::Unbounded, Bound::Unbounded);
                changed.extend(all.into_iter().map(|(key, _)| (tag, key)));
            }
            changed.sort_unstable();
            changed.dedup();
        }
        changed
    }

    /// The keys that the run wrote itself behind so many commits, in order.
    fn written_since(&self, place: usize) -> Vec<(Tag, KeyBytes)> {
        let commits = &self.timeline.commits;
        let end = |place: usize| place.checked_sub(1).map_or(0, |last| commits[last].changes_end);
        let (from, to) = (end(place), end(self.place));
        let mut places: Vec<u32> = self.timeline.changes[from..to].iter().map(|(key, _)| *key).collect();
        places.sort_unstable();
        places.dedup();
        let keys = places.into_iter().map(|place| &self.timeline.keys[place as usize]);
        let mut changed: Vec<_> = keys.map(|key| (key.tag, key.user.clone())).collect();
        changed.sort_unstable();
        changed
    }

    /// The keys that may expire between two times, those that the run shares among them.
    pub(in crate::history) fn expiring(&self) -> Vec<(Tag, KeyBytes)> {
        let mut all = self.base().map(View::expiring).unwrap_or_default();
        all.extend(self.timeline.expiring.iter().map(|place| {
            let key = &self.timeline.keys[*place as usize];
            (key.tag, key.user.clone())
        }));
        all
    }

    /// The entries of a range then, in order.
    pub fn scan(
        &self,
        tag: Tag,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
    ) -> Vec<(KeyBytes, VersionedValue)> {
        self.scan_as_of(tag, lower, upper, self.timestamp())
    }

    /// As [`View::scan`], without what has expired by `now`.
    pub fn scan_as_of(
        &self,
        tag: Tag,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        now: Timestamp,
    ) -> Vec<(KeyBytes, VersionedValue)> {
        let keys = &self.timeline.keys;
        let before = |key: &KeyHistory| {
            (key.tag, &*key.user) < (tag, &[][..])
                || key.tag == tag
                    && match lower {
                        Bound::Included(low) => &*key.user < low,
                        Bound::Excluded(low) => &*key.user <= low,
                        Bound::Unbounded => false,
                    }
        };
        let within = |key: &KeyHistory| {
            key.tag == tag
                && match upper {
                    Bound::Included(high) => &*key.user <= high,
                    Bound::Excluded(high) => &*key.user < high,
                    Bound::Unbounded => true,
                }
        };
        let ordered = &self.timeline.ordered;
        let begin = ordered.partition_point(|place| before(&keys[*place as usize]));
        let own = ordered[begin..].iter().map(|place| &keys[*place as usize]).take_while(|key| within(key));
        let Some(base) = self.base() else {
            return own.filter_map(|key| Some((key.user.clone(), self.value_of(key, now)?))).collect();
        };
        let shared =
            base.scan_as_of(tag, lower, upper, now).into_iter().filter(|(key, _)| is_shared(tag, key));
        let mut merged: BTreeMap<KeyBytes, VersionedValue> = shared.collect();
        for key in own.filter(|key| self.version_of(key).is_some()) {
            match self.value_of(key, now) {
                Some(value) => merged.insert(key.user.clone(), value),
                None => merged.remove(&key.user),
            };
        }
        merged.into_iter().collect()
    }

    /// What was known of the run as a whole then; `None` where it had been deleted.
    pub fn meta(&self) -> Option<RunMeta> {
        RunMeta::from_value(&self.get(Tag::Run, b"")?.value)
    }

    /// Every value that a key had until then, oldest first.
    pub fn key_history(&self, tag: Tag, user: &[u8]) -> Vec<KeyMoment> {
        let mut all = Vec::new();
        if let Some(base) = self.base().filter(|_| is_shared(tag, user)) {
            all = base.key_history(tag, user);
        }
        all.extend(self.timeline.key_history(tag, user));
        all.sort_by_key(|moment| moment.version);
        let version = self.version();
        all.retain(|moment| moment.version <= version);
        all
    }
}
