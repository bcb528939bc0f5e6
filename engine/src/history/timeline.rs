//! All versions of all keys of a run. As it was after any of its commits: `view`.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::core::effect::Effect;
use in_mem_shard::core::event::{event_key, event_sequence};
use in_mem_shard::core::run_meta::RunMeta;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::commits::{Commit, KeyChange, effects_on};
use super::error::HistoryError;
use crate::engine::Engine;
use crate::error::Error;

mod lives;
mod view;

use lives::Life;
pub use view::View;

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
            lives: vec![Life::new(1, None)],
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
        timeline.lives = vec![Life::new(1, base)];
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
        if let Some(error) = self.life(place).lost.as_ref().filter(|_| place > 0) {
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
        let mut len = life.base.as_ref().map_or(0, |base| base.timeline().events());
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
        let (mut timeline, through) = self.read_records(
            run,
            || Timeline::new(run),
            |timeline, record| {
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
            },
        )?;
        timeline.through = through;
        timeline.seal();
        let Some(first) = timeline.commits.first() else { return Err(self.why_gone(run)?.into()) };
        // A run begins with the commit that wrote what is known of it. Anything else is the rest of a run.
        let begins = timeline
            .key(Tag::Run, b"")
            .and_then(|key| key.versions.first())
            .filter(|version| version.commit == 1);
        // A later change of that is none: with it the log may go on where its beginning was let go.
        let meta = begins
            .and_then(|version| RunMeta::from_value(version.value.as_ref()?))
            .filter(|meta| meta.first_version == first.version);
        let mut made: Vec<(u32, RunMeta)> = meta.into_iter().map(|meta| (1, meta)).collect();
        if !in_mem_wal::planted::is_planted("engine_replay_mixes_lives") {
            made.extend(timeline.made_again(up_to));
        }
        timeline.lives.clear();
        match made.first() {
            // What is left of an earlier life is no reason to do without a later one that is whole.
            Some((begin, _)) if *begin > 1 => {
                timeline.lives.push(Life::lost(1, self.why_cut(run, first.version)?));
            }
            Some(_) => {}
            None => return Err(self.why_cut(run, first.version)?.into()),
        }
        for (place, (begin, meta)) in made.iter().enumerate() {
            timeline.lives.push(match self.base_of(run, meta, depth) {
                Ok(base) => Life::new(*begin, base),
                // What it was in its other lives does not depend on it.
                Err(Error::History(error)) if place + 1 < made.len() => Life::lost(*begin, error),
                Err(error) => return Err(error),
            });
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
