//! All versions of all keys of a run, and the run as it was after any of its commits.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version, VersionedValue};
use in_mem_shard::core::effect::Effect;
use in_mem_shard::core::event::{event_key, event_sequence};
use in_mem_shard::core::fork::is_shared;
use in_mem_shard::core::run_meta::RunMeta;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::commits::{Commit, KeyChange, effects_on};
use super::digest::TAGS;
use super::error::HistoryError;
use crate::engine::Engine;
use crate::error::Error;

mod lives;

use lives::Life;

/// A point of a run's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Point {
    /// Behind its last commit.
    #[default]
    Now,
    /// Behind the last of its commits that is not after this version of its shard.
    Version(Version),
    /// Behind the commit that appended the event with this number.
    Event(u64),
    /// Behind the last of its commits that is not after this time.
    Time(Timestamp),
}

impl From<Version> for Point {
    fn from(version: Version) -> Self {
        Self::Version(version)
    }
}

impl From<Timestamp> for Point {
    fn from(at: Timestamp) -> Self {
        Self::Time(at)
    }
}

/// One version of a key: from this commit on, until the next.
#[derive(Debug)]
struct KeyVersion {
    commit: u32,
    value: Option<Value>,
    expires_at: Option<Timestamp>,
}

#[derive(Debug)]
struct KeyHistory {
    tag: Tag,
    user: KeyBytes,
    versions: SmallVec<[KeyVersion; 1]>,
}

#[derive(Debug)]
struct CommitPlace {
    version: Version,
    timestamp: Timestamp,
    /// Behind the last of its changes, in `changes`.
    changes_end: usize,
    dropped: bool,
}

/// One value that a key had, and since when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyMoment {
    /// The commit that wrote it.
    pub version: Version,
    /// When that was.
    pub timestamp: Timestamp,
    /// The value; `None`: deleted.
    pub value: Option<Value>,
}

/// The whole past of a run, as read from the log at one moment.
#[derive(Debug)]
pub struct Timeline {
    run: RunId,
    /// From one making of the run to the next, oldest first: it may be deleted, and made again under its id. At least one.
    lives: Vec<Life>,
    /// Before this life, what was shared is not in the log any more: why.
    lost: Option<(usize, HistoryError)>,
    /// The version of the shard through which the log was read.
    through: Version,
    commits: Vec<CommitPlace>,
    /// Which key each change is on, in the order of the log, with the place in its versions.
    changes: Vec<(u32, u32)>,
    keys: Vec<KeyHistory>,
    lookup: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The keys in order, for scans.
    ordered: Vec<u32>,
    /// The keys that had a time at which they expire, as often as they were given one.
    expiring: Vec<u32>,
}

impl Timeline {
    fn new(run: RunId) -> Self {
        Self {
            run,
            lives: vec![Life { begin: 1, base: None }],
            lost: None,
            through: Version(0),
            commits: Vec::new(),
            changes: Vec::new(),
            keys: Vec::new(),
            lookup: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            ordered: Vec::new(),
            expiring: Vec::new(),
        }
    }

    /// The timeline of commits that come from elsewhere than the log, such as a bundle.
    pub fn from_commits<'c>(
        run: RunId,
        commits: impl IntoIterator<Item = &'c Commit>,
        base: Option<View>,
    ) -> Self {
        let mut timeline = Self::new(run);
        timeline.lives = vec![Life { begin: 1, base }];
        for commit in commits {
            timeline.begin(commit.version, commit.timestamp);
            for KeyChange { tag, key, value, expires_at } in &commit.changes {
                timeline.change(*tag, key, value.clone(), *expires_at);
            }
            if commit.dropped {
                timeline.drop_all();
            }
            timeline.through = commit.version;
        }
        timeline.seal();
        timeline
    }

    fn begin(&mut self, version: Version, timestamp: Timestamp) {
        let changes_end = self.changes.len();
        self.commits.push(CommitPlace { version, timestamp, changes_end, dropped: false });
    }

    fn hash(hasher: &DefaultHashBuilder, tag: Tag, user: &[u8]) -> u64 {
        let mut state = hasher.build_hasher();
        (tag as u8).hash(&mut state);
        user.hash(&mut state);
        state.finish()
    }

    fn change(&mut self, tag: Tag, user: &[u8], value: Option<Value>, expires_at: Option<Timestamp>) {
        let hash = Self::hash(&self.hasher, tag, user);
        let found = self.lookup.find(hash, |place| {
            let key = &self.keys[*place as usize];
            key.tag == tag && &*key.user == user
        });
        let place = match found {
            Some(place) => *place,
            None => {
                let place = self.keys.len() as u32;
                self.keys.push(KeyHistory { tag, user: KeyBytes::new(user), versions: SmallVec::new() });
                let (keys, hasher) = (&self.keys, &self.hasher);
                self.lookup.insert_unique(hash, place, |place| {
                    let key = &keys[*place as usize];
                    Self::hash(hasher, key.tag, &key.user)
                });
                place
            }
        };
        if expires_at.is_some() {
            self.expiring.push(place);
        }
        let commit = self.commits.len() as u32;
        let versions = &mut self.keys[place as usize].versions;
        versions.push(KeyVersion { commit, value, expires_at });
        self.changes.push((place, versions.len() as u32 - 1));
        if let Some(last) = self.commits.last_mut() {
            last.changes_end = self.changes.len();
        }
    }

    fn drop_all(&mut self) {
        let live: Vec<_> = self
            .keys
            .iter()
            .filter(|key| key.versions.last().is_some_and(|last| last.value.is_some()))
            .map(|key| (key.tag, key.user.clone()))
            .collect();
        for (tag, user) in live {
            self.change(tag, &user, None, None);
        }
        if let Some(last) = self.commits.last_mut() {
            last.dropped = true;
        }
    }

    fn seal(&mut self) {
        self.ordered = (0..self.keys.len() as u32).collect();
        let keys = &self.keys;
        self.ordered.sort_unstable_by(|a, b| {
            let (a, b) = (&keys[*a as usize], &keys[*b as usize]);
            (a.tag, &*a.user).cmp(&(b.tag, &*b.user))
        });
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// How many commits there are.
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// The version of the shard through which the log was read.
    pub fn through(&self) -> Version {
        self.through
    }

    /// How many commits lie at or before a point.
    ///
    /// # Errors
    /// [`HistoryError`] where the run was not there at that point.
    pub fn place_of(&self, point: Point) -> Result<usize, HistoryError> {
        let run = self.run;
        let Some(first) = self.commits.first() else { return Err(HistoryError::NoHistory { run }) };
        let place = match point {
            Point::Now => self.commits.len(),
            Point::Version(at) if at > self.through => {
                return Err(HistoryError::AfterVersion { run, at, last: self.through });
            }
            Point::Version(at) => self.commits.partition_point(|commit| commit.version <= at),
            Point::Time(at) => self.commits.partition_point(|commit| commit.timestamp <= at),
            Point::Event(sequence) => match self.appended(sequence) {
                Some(commit) => commit as usize,
                None => return Err(HistoryError::NoEvent { run, sequence, len: self.events() }),
            },
        };
        if let Some((_, error)) = self.lost.as_ref().filter(|(until, _)| place > 0 && place < *until) {
            return Err(error.clone());
        }
        match (place, point) {
            (0, Point::Time(at)) => Err(HistoryError::BeforeTime { run, at, first: first.timestamp }),
            (0, Point::Version(at)) => Err(HistoryError::BeforeVersion { run, at, first: first.version }),
            (place, _) => Ok(place),
        }
    }

    /// The commit that appended the run's own event of this number. A fork of the past begins by taking back its parent's.
    fn appended(&self, sequence: u64) -> Option<u32> {
        let (key, begin) = (self.key(Tag::Event, &event_key(sequence))?, self.last_life().begin);
        let mut own = key.versions.iter().filter(|version| version.commit >= begin);
        own.find(|version| version.value.is_some()).map(|version| version.commit)
    }

    /// How many events there are at the end, those of a fork's parents included.
    fn events(&self) -> u64 {
        let life = self.last_life();
        let mut len = life.base.as_ref().map_or(0, |base| base.timeline.events());
        for key in self.keys.iter().filter(|key| key.tag == Tag::Event) {
            let Some(sequence) = event_sequence(&key.user) else { continue };
            let Some(last) = key.versions.last().filter(|last| last.commit >= life.begin) else { continue };
            let there = last.value.is_some();
            len = if there { len.max(sequence + 1) } else { len.min(sequence) };
        }
        len
    }

    fn key(&self, tag: Tag, user: &[u8]) -> Option<&KeyHistory> {
        let hash = Self::hash(&self.hasher, tag, user);
        let place = self.lookup.find(hash, |place| {
            let key = &self.keys[*place as usize];
            key.tag == tag && &*key.user == user
        })?;
        Some(&self.keys[*place as usize])
    }

    /// Every value that a key had, oldest first.
    pub fn key_history(&self, tag: Tag, user: &[u8]) -> Vec<KeyMoment> {
        let Some(key) = self.key(tag, user) else { return Vec::new() };
        key.versions
            .iter()
            .map(|version| {
                let commit = &self.commits[version.commit as usize - 1];
                KeyMoment {
                    version: commit.version,
                    timestamp: commit.timestamp,
                    value: version.value.clone(),
                }
            })
            .collect()
    }

    /// The commit that first wrote a value under a key, in the run's last life. A fork of the past begins by taking back what its
    /// parent wrote.
    pub fn first_written(&self, tag: Tag, user: &[u8]) -> Option<Version> {
        let (key, begin) = (self.key(tag, user)?, self.last_life().begin);
        let mut own = key.versions.iter().filter(|version| version.commit >= begin);
        let first = own.find(|version| version.value.is_some())?;
        self.commit_version(first.commit as usize - 1)
    }

    /// The version of the commit at a place, counted from 0.
    pub fn commit_version(&self, place: usize) -> Option<Version> {
        self.commits.get(place).map(|commit| commit.version)
    }

    /// The commit at a place, counted from 0.
    pub fn commit(&self, place: usize) -> Option<Commit> {
        let commit = self.commits.get(place)?;
        let begin = place.checked_sub(1).map_or(0, |before| self.commits[before].changes_end);
        let changes = self.changes[begin..commit.changes_end]
            .iter()
            .map(|(key, version)| {
                let key = &self.keys[*key as usize];
                let version = &key.versions[*version as usize];
                KeyChange {
                    tag: key.tag,
                    key: key.user.clone(),
                    value: version.value.clone(),
                    expires_at: version.expires_at,
                }
            })
            .collect();
        Some(Commit {
            version: commit.version,
            timestamp: commit.timestamp,
            changes,
            dropped: commit.dropped,
        })
    }
}

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
    pub(super) fn up_to(timeline: Arc<Timeline>, version: Version) -> Option<Self> {
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

    /// Goes on by one commit; says whether there was one.
    pub fn step_forward(&mut self) -> bool {
        let more = self.place < self.timeline.len();
        self.place += usize::from(more);
        more
    }

    /// Goes back by one commit; says whether there was one before.
    pub fn step_back(&mut self) -> bool {
        let first = self.timeline.lost.as_ref().map_or(1, |(until, _)| *until);
        let more = self.place > first;
        self.place -= usize::from(more);
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
    pub(super) fn get_as_of(&self, tag: Tag, user: &[u8], now: Timestamp) -> Option<VersionedValue> {
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
    pub(super) fn expiring(&self) -> Vec<(Tag, KeyBytes)> {
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

impl Engine {
    /// The whole past of a run, read from the log.
    ///
    /// # Errors
    /// [`HistoryError`]: the database keeps no log, or the log does not reach back to the run's beginning.
    pub fn timeline(&self, run: RunId) -> Result<Timeline, Error> {
        self.timeline_at_depth(run, Version(u64::MAX), 0)
    }

    /// The timeline of a run that so many forks lead to, to be looked at up to a version.
    pub(super) fn timeline_at_depth(
        &self,
        run: RunId,
        up_to: Version,
        depth: usize,
    ) -> Result<Timeline, Error> {
        let mut timeline = Timeline::new(run);
        let through = self.read_records(run, |record| {
            let (version, timestamp) = (Version(record.version), Timestamp(record.timestamp));
            let mut begun = false;
            effects_on(record, run, |effect| {
                if !begun {
                    timeline.begin(version, timestamp);
                    begun = true;
                }
                match effect {
                    Effect::Put { tag, key, value, expires_at } => {
                        timeline.change(tag, key, Some(value), expires_at);
                    }
                    Effect::Delete { tag, key } => timeline.change(tag, key, None, None),
                    Effect::DropRun => timeline.drop_all(),
                }
            })?;
            Ok(())
        })?;
        timeline.through = through;
        timeline.seal();
        let Some(first) = timeline.commits.first() else { return Err(self.why_gone(run)?.into()) };
        // A run begins with the commit that wrote what is known of it. Anything else is the rest of a run.
        let begins = timeline
            .key(Tag::Run, b"")
            .and_then(|key| key.versions.first())
            .filter(|version| version.commit == 1);
        // So does a change of that, with which the log may go on where its beginning was let go.
        let meta = begins
            .and_then(|version| RunMeta::from_value(version.value.as_ref()?))
            .filter(|meta| meta.first_version == first.version);
        let Some(meta) = meta else { return Err(self.why_cut(run, first.version)?.into()) };
        // A later commit may have written that again.
        if meta.first_version != first.version {
            return Err(self.why_cut(run, first.version)?.into());
        }
        let mut made = vec![(1, meta)];
        if !in_mem_wal::planted::is_planted("engine_replay_mixes_lives") {
            made.extend(timeline.made_again(up_to));
        }
        timeline.lives.clear();
        for (place, (begin, meta)) in made.iter().enumerate() {
            let base = match self.base_of(run, meta, depth) {
                Ok(base) => base,
                // What it was in a later life does not depend on it.
                Err(Error::History(error)) if place + 1 < made.len() => {
                    timeline.lost = Some((made[place + 1].0 as usize, error));
                    None
                }
                Err(error) => return Err(error),
            };
            timeline.lives.push(Life { begin: *begin, base });
        }
        Ok(timeline)
    }

    /// The run at a point of its past, read from the log.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn view(&self, run: RunId, at: Point) -> Result<View, Error> {
        Ok(View::new(Arc::new(self.timeline(run)?), at)?)
    }
}
