//! Bundles: a run with its whole history, and those of the runs that belong to it, in one file.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | `INMEMBDL` |
//! | 2 | format version |
//! | 2 | zero |
//! | 8 | length of the body, in bytes |
//! | 32 | BLAKE3 of the body |
//! | rest | the body, compressed as one zstd frame |
//!
//! The body: for each run its id, its chain's head and the digest of its content; then every commit in order, each with its
//! version, its time and its changes. All integers little-endian or as [`codec`] writes them.
//!
//! A bundle is read whole and proved before anything is written: its checksum, every value, every event's hash, every run's
//! digest. It can then be refused without harm.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use in_mem_model::codec::{self, Cursor, DecodeError};
use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version, limits};
use in_mem_shard::core::command::RunQuery;
use in_mem_shard::core::event::{self, ChainHead};
use in_mem_shard::core::fork::{HIDDEN_PREFIX, MAX_FORK_DEPTH, SHARED_PREFIX};
use in_mem_shard::core::import::ImportedChange;
use in_mem_shard::core::run_meta::{ForkPoint, RunMeta};
use in_mem_shard::core::{PAGE_LIMIT, RunFilter};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::{Deserialize, Serialize};

use super::commits::{Commit, KeyChange};
use super::timeline::{Point, Timeline, View};
use crate::engine::Engine;
use crate::error::Error;

/// The format that is written, and the newest that is read.
pub const BUNDLE_FORMAT_VERSION: u16 = 1;

/// The largest body that is read, in bytes: what a few kilobytes of hostile zstd may not grow beyond.
pub const MAX_BUNDLE_BODY_BYTES: u64 = 4 << 30;

/// The most runs of one bundle.
pub const MAX_BUNDLE_RUNS: usize = 65_536;

/// So much later than now a commit may have been made: clocks differ, and a bundle takes no time to travel.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(24 * 60 * 60);

/// Commits that are made in one turn of an import.
const COMMITS_A_TURN: usize = 64;

const MAGIC: [u8; 8] = *b"INMEMBDL";
const HEADER_BYTES: usize = 8 + 2 + 2 + 8 + 32;
const DELETED: u8 = 0x80;
const EXPIRES: u8 = 0x40;

/// Why a bundle cannot be made or taken in.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bytes are something else.
    #[error("this is no bundle: it does not begin as one; name a file that `in-mem export` wrote")]
    NotABundle,
    /// A newer version wrote it.
    #[error(
        "the bundle has format version {found}, this version reads up to {BUNDLE_FORMAT_VERSION}; use a newer in-mem"
    )]
    NewerFormat {
        /// The version found.
        found: u16,
    },
    /// It is larger than may be read.
    #[error("the bundle's body is {bytes} bytes, more than the {MAX_BUNDLE_BODY_BYTES} that are read")]
    TooLarge {
        /// What it claims, or has grown to.
        bytes: u64,
    },
    /// It is damaged.
    #[error("the bundle is damaged: {what}; export the run again")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// It says that it was written later than this machine's clock allows.
    #[error(
        "the bundle has a commit of {at}, and it is {now} here: set the clock of the machine that is wrong; what has a time \
         to live would be over at once"
    )]
    FromTheFuture {
        /// The time of its last commit.
        at: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// A run was deleted and made again under its old id.
    #[error("run {run} was deleted and made again: its history is of two runs and cannot be exported as one")]
    MadeAgain {
        /// The run.
        run: RunId,
    },
}

impl BundleError {
    fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

impl From<DecodeError> for BundleError {
    fn from(error: DecodeError) -> Self {
        Self::damaged(error.to_string())
    }
}

/// What a bundle says of one of its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundledRun {
    /// Its id.
    pub id: RunId,
    /// The end of its event chain.
    pub head: ChainHead,
    /// The digest of its content.
    #[serde(with = "in_mem_model::hex")]
    pub content: [u8; 32],
}

/// One commit of a bundle: over some of its runs.
#[derive(Debug, Clone, PartialEq)]
struct BundledCommit {
    version: Version,
    timestamp: Timestamp,
    changes: Vec<ImportedChange>,
}

/// A bundle, read and proved.
#[derive(Debug)]
pub struct Bundle {
    /// The run that was exported first, and those that belong to it.
    pub runs: Vec<BundledRun>,
    commits: Vec<BundledCommit>,
}

/// What an import made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Each run of the bundle: its id there, and its id here.
    pub runs: Vec<(RunId, RunId)>,
    /// How many commits were made.
    pub commits: u64,
}

impl Bundle {
    /// How many commits it holds.
    pub fn commits(&self) -> usize {
        self.commits.len()
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        codec::put_varint(self.runs.len() as u64, &mut body);
        let mut places = HashMap::new();
        for (place, run) in self.runs.iter().enumerate() {
            places.insert(run.id, place as u64);
            body.extend_from_slice(run.id.as_bytes());
            codec::put_varint(run.head.len, &mut body);
            body.extend_from_slice(&run.head.hash);
            body.extend_from_slice(&run.content);
        }
        codec::put_varint(self.commits.len() as u64, &mut body);
        for BundledCommit { version, timestamp, changes } in &self.commits {
            codec::put_varint(version.0, &mut body);
            codec::put_signed(timestamp.0, &mut body);
            codec::put_varint(changes.len() as u64, &mut body);
            for ImportedChange { run, tag, key, value, expires_at } in changes {
                codec::put_varint(places.get(run).copied().unwrap_or_default(), &mut body);
                let deleted = if value.is_none() { DELETED } else { 0 };
                let expires = if expires_at.is_some() { EXPIRES } else { 0 };
                codec::put_u8(*tag as u8 | deleted | expires, &mut body);
                codec::put_bytes(key, &mut body);
                if let Some(at) = expires_at {
                    codec::put_signed(at.0, &mut body);
                }
                if let Some(value) = value {
                    codec::encode_value(value, &mut body);
                }
            }
        }
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&BUNDLE_FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        out.extend_from_slice(blake3::hash(&body).as_bytes());
        out.extend(compress_to_vec(&body[..], CompressionLevel::Fastest));
        out
    }

    /// Reads a bundle and proves it: nothing of it is believed that does not follow from its bytes.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let (header, compressed) = bytes.split_at_checked(HEADER_BYTES).ok_or(BundleError::NotABundle)?;
        if header[..8] != MAGIC {
            return Err(BundleError::NotABundle);
        }
        let found = u16::from_le_bytes([header[8], header[9]]);
        if found > BUNDLE_FORMAT_VERSION {
            return Err(BundleError::NewerFormat { found });
        }
        let mut len = [0; 8];
        len.copy_from_slice(&header[12..20]);
        let bytes = u64::from_le_bytes(len);
        if bytes > MAX_BUNDLE_BODY_BYTES {
            return Err(BundleError::TooLarge { bytes });
        }
        let broken =
            |error: &dyn std::fmt::Display| BundleError::damaged(format!("its compression: {error}"));
        let decoder = StreamingDecoder::new(compressed).map_err(|error| broken(&error))?;
        let mut body = Vec::new();
        // Grows with what is really there, and no further than was announced.
        decoder.take(bytes + 1).read_to_end(&mut body).map_err(|error| broken(&error))?;
        if body.len() as u64 != bytes {
            return Err(BundleError::damaged("its body has another length than its header says"));
        }
        if blake3::hash(&body).as_bytes()[..] != header[20..52] {
            return Err(BundleError::damaged("its checksum does not match"));
        }
        let bundle = Self::decode(&body)?;
        bundle.prove()?;
        Ok(bundle)
    }

    fn decode(body: &[u8]) -> Result<Self, BundleError> {
        let mut cursor = Cursor::new(body);
        let count = cursor.varint()?;
        if count == 0 || count > MAX_BUNDLE_RUNS as u64 {
            return Err(BundleError::damaged(format!("it says that it holds {count} runs")));
        }
        let mut runs: Vec<BundledRun> = Vec::new();
        for _ in 0..count {
            let id = RunId::from_bytes(cursor.array::<16>()?);
            let head = ChainHead { len: cursor.varint()?, hash: cursor.array::<32>()? };
            runs.push(BundledRun { id, head, content: cursor.array::<32>()? });
        }
        let ids: std::collections::BTreeSet<RunId> = runs.iter().map(|run| run.id).collect();
        if ids.len() != runs.len() || runs.iter().any(|run| run.id.routing() != runs[0].id.routing()) {
            return Err(BundleError::damaged("its runs are not of one lineage, each once"));
        }
        let (count, mut commits) = (cursor.varint()?, Vec::new());
        let mut last = Version(0);
        let mut last_events: HashMap<u64, u64> = HashMap::new();
        for _ in 0..count {
            let version = Version(cursor.varint()?);
            if version <= last {
                return Err(BundleError::damaged("its commits are not in order"));
            }
            last = version;
            let timestamp = Timestamp(cursor.signed()?);
            let (changes_count, mut changes) = (cursor.varint()?, Vec::new());
            let mut written = HashSet::new();
            for _ in 0..changes_count {
                let place = cursor.varint()?;
                let run = runs
                    .get(usize::try_from(place).unwrap_or(usize::MAX))
                    .ok_or_else(|| BundleError::damaged("a change is on a run that it does not hold"))?
                    .id;
                let head = cursor.u8()?;
                let tag = Tag::try_from(head & !(DELETED | EXPIRES))
                    .map_err(|_| cursor.refuse("no change has this type tag"))?;
                let key = KeyBytes::new(cursor.bytes()?);
                key.check().map_err(|error| BundleError::damaged(error.to_string()))?;
                let expires_at = if head & EXPIRES == 0 { None } else { Some(Timestamp(cursor.signed()?)) };
                let value = if head & DELETED == 0 { Some(cursor.value()?) } else { None };
                let change = ImportedChange { run, tag, key, value, expires_at };
                check_change(&change)?;
                // A shard counts events as they come, and goes on from the last: one out of its place is not told of by the chain.
                if tag == Tag::Event
                    && change.value.is_some()
                    && let Some(sequence) = event::event_sequence(&change.key)
                    && (last_events.insert(place, sequence).is_some_and(|last| sequence <= last)
                        || runs.iter().any(|of| of.id == run && sequence >= of.head.len))
                {
                    let what = format!("run {run}: its events do not come in their order");
                    return Err(BundleError::damaged(what));
                }
                // A commit gives a key one version; two of them, the log would take and no index.
                if !written.insert((place, tag as u8, change.key.to_vec())) {
                    return Err(BundleError::damaged("a commit changes one key twice"));
                }
                changes.push(change);
            }
            commits.push(BundledCommit { version, timestamp, changes });
        }
        cursor.finish()?;
        Ok(Self { runs, commits })
    }

    /// Whoever walks from run to run, to its children or to what it was forked from, must come to an end.
    fn prove_origins(&self, of_run: &BTreeMap<RunId, Vec<Commit>>) -> Result<(), BundleError> {
        let mut origins: HashMap<RunId, RunMeta> = HashMap::new();
        for (run, commits) in of_run {
            for meta in metas_of(commits) {
                let first = origins.entry(*run).or_insert_with(|| meta.clone());
                let origin =
                    |meta: &RunMeta| (meta.parent, meta.forked_from, meta.first_version, meta.memory);
                if origin(first) != origin(&meta) {
                    return Err(BundleError::damaged(format!(
                        "run {run}: it says later that it has another origin"
                    )));
                }
            }
        }
        let mut ends: HashSet<RunId> = HashSet::new();
        for run in of_run.keys() {
            let (mut walked, mut next) = (HashSet::new(), Some(*run));
            while let Some(at) = next.filter(|at| !ends.contains(at)) {
                if !walked.insert(at) {
                    return Err(BundleError::damaged(format!(
                        "run {at} began itself, by way of others or not"
                    )));
                }
                next = origins.get(&at).and_then(|meta| meta.parent);
            }
            ends.extend(walked);
        }
        let mut depths: HashMap<RunId, usize> = HashMap::new();
        let mut order: Vec<(&RunId, &RunMeta)> = origins.iter().collect();
        order.sort_by_key(|(_, meta)| meta.first_version);
        for (run, meta) in order {
            let Some(point) = meta.forked_from else { continue };
            let depth = depths.get(&point.run).copied().unwrap_or(0) + 1;
            if depth > MAX_FORK_DEPTH {
                let what = format!("run {run} is a fork of forks, more than {MAX_FORK_DEPTH} levels deep");
                return Err(BundleError::damaged(what));
            }
            depths.insert(*run, depth);
        }
        Ok(())
    }

    /// Replays every run and compares what it comes to with what the bundle says.
    fn prove(&self) -> Result<(), BundleError> {
        let mut of_run: BTreeMap<RunId, Vec<Commit>> = BTreeMap::new();
        for BundledCommit { version, timestamp, changes } in &self.commits {
            for change in changes {
                let commits = of_run.entry(change.run).or_default();
                if commits.last().is_none_or(|last| last.version != *version) {
                    let (version, timestamp) = (*version, *timestamp);
                    commits.push(Commit { version, timestamp, changes: Vec::new(), dropped: false });
                }
                let ImportedChange { tag, key, value, expires_at, .. } = change.clone();
                if let Some(last) = commits.last_mut() {
                    last.changes.push(KeyChange { tag, key, value, expires_at });
                }
            }
        }
        self.prove_origins(&of_run)?;
        // A fork after what it shares: runs begin in the order of their first commits.
        let mut order: Vec<&BundledRun> = self.runs.iter().collect();
        let begins = |run: &BundledRun| of_run.get(&run.id).map_or(Version(0), |commits| commits[0].version);
        order.sort_by_key(|run| begins(run));
        let mut timelines: HashMap<RunId, Arc<Timeline>> = HashMap::new();
        for run in order {
            let wrong = |what: &str| BundleError::damaged(format!("run {}: {what}", run.id));
            let commits = of_run.get(&run.id).ok_or_else(|| wrong("it has no commit"))?;
            let meta = metas_of(&commits[..1]).next();
            let meta = meta.ok_or_else(|| wrong("it does not begin with what is known of it"))?;
            if meta.first_version != commits[0].version {
                return Err(wrong("it does not begin where it says"));
            }
            let base = match meta.forked_from {
                None => None,
                Some(ForkPoint { run: parent, .. }) => {
                    let parent =
                        timelines.get(&parent).ok_or_else(|| wrong("what it was forked from is missing"))?;
                    let at = Version(meta.first_version.0.saturating_sub(1));
                    Some(View::up_to(parent.clone(), at).ok_or_else(|| wrong("it was forked from nothing"))?)
                }
            };
            let timeline = Arc::new(Timeline::from_commits(run.id, commits, base));
            let view = View::new(timeline.clone(), Point::Now)
                .map_err(|error| BundleError::damaged(error.to_string()))?;
            if view.digest().content != run.content {
                return Err(wrong("its commits do not come to the state that it says"));
            }
            if chain_of(&view) != Some(run.head) {
                return Err(wrong("its chain of events is broken"));
            }
            timelines.insert(run.id, timeline);
        }
        Ok(())
    }
}

/// What is known of a run, where a change says it.
fn meta_of(tag: Tag, key: &[u8], value: Option<&Value>) -> Option<RunMeta> {
    if tag == Tag::Run && key.is_empty() { RunMeta::from_value(value?) } else { None }
}

/// Refuses changes that no run makes.
fn check_change(change: &ImportedChange) -> Result<(), BundleError> {
    let refuse = |what: &str| Err(BundleError::damaged(format!("run {}: {what}", change.run)));
    if change.expires_at.is_some() && change.tag != Tag::Kv {
        return refuse("something other than a pair has a time to live");
    }
    if let Some(value) = &change.value {
        // A stored event is its payload and a hash, which together may be larger than a value.
        let checked = match (change.tag, event::event_sequence(&change.key)) {
            (Tag::Event, Some(sequence)) => {
                let event = event::unpack(sequence, Version(0), Timestamp(0), value)?;
                if event.kind.len() > limits::MAX_EVENT_KIND_BYTES {
                    return refuse("an event's kind is too long");
                }
                event.payload.check()
            }
            _ => value.check(),
        };
        checked.map_err(|error| BundleError::damaged(error.to_string()))?;
    }
    match (change.tag, change.key.first()) {
        (Tag::Run, None) => match change.value.as_ref().and_then(RunMeta::from_value) {
            Some(_) => Ok(()),
            None => refuse("what is known of it cannot be read"),
        },
        (Tag::Run, Some(first)) if !(HIDDEN_PREFIX..=SHARED_PREFIX).contains(first) => {
            refuse("it has bookkeeping that this version does not know")
        }
        (Tag::Event, _) if event::event_sequence(&change.key).is_none() => refuse("an event has no number"),
        _ => Ok(()),
    }
}

/// The head of the chain that a view's events make; `None`: they make none.
fn chain_of(view: &View) -> Option<ChainHead> {
    let mut head = ChainHead::default();
    for (key, stored) in view.scan(Tag::Event, Bound::Unbounded, Bound::Unbounded) {
        let (hash, rest) = event::split_stored(&stored.value)?;
        event::unpack(head.len, stored.version, stored.timestamp, &stored.value).ok()?;
        let follows = event::event_sequence(&key)? == head.len
            && event::chain_hash(&head.hash, head.len, stored.timestamp, rest) == hash;
        if !follows {
            return None;
        }
        head = ChainHead { len: head.len + 1, hash };
    }
    Some(head)
}

/// What is known of a run, as its commits say it one after the other.
fn metas_of(commits: &[Commit]) -> impl Iterator<Item = RunMeta> {
    let changes = commits.iter().flat_map(|commit| &commit.changes);
    changes.filter_map(|change| meta_of(change.tag, &change.key, change.value.as_ref()))
}

impl Engine {
    /// Writes a run with its whole history, the runs that it began and those forked from it, into one bundle; and, where it
    /// is a fork, what it shares.
    ///
    /// # Errors
    /// [`super::HistoryError`] where the log does not hold the history, [`BundleError::MadeAgain`].
    pub fn export(&self, run: RunId) -> Result<Vec<u8>, Error> {
        self.run_info(run)?.ok_or(Error::UnknownRun { run })?;
        // Each run, with the version through which it is wanted.
        let mut wanted: Vec<(RunId, Option<Version>)> = Vec::new();
        let (mut next, mut seen) = (vec![run], HashSet::from([run]));
        while let Some(parent) = next.pop() {
            wanted.push((parent, None));
            let filter = RunFilter { parent: Some(parent), include_memories: true, ..RunFilter::default() };
            let mut query = RunQuery { filter, limit: PAGE_LIMIT, ..RunQuery::default() };
            loop {
                let page = self.runs(query.clone())?;
                // Ids are used again: a run made anew as a child of its own child is above itself.
                next.extend(page.runs.iter().map(|child| child.id).filter(|child| seen.insert(*child)));
                let Some(after) = page.next else { break };
                query.after = Some(after);
            }
        }
        let mut of = run;
        while let Some(RunMeta { forked_from: Some(point), first_version, .. }) = self.first_meta(of)? {
            wanted.push((point.run, Some(Version(first_version.0 - 1))));
            of = point.run;
        }
        let mut runs = Vec::new();
        let mut commits: BTreeMap<Version, BundledCommit> = BTreeMap::new();
        for (run, through) in wanted {
            let view = self.view(run, through.map_or(Point::Now, Point::Version))?;
            let digest = view.digest();
            let head = chain_of(&view).ok_or_else(|| Error::Malformed {
                what: "the chain of events",
                run,
                reason: "an event's hash does not follow from what is before it".to_owned(),
            })?;
            runs.push(BundledRun { id: run, head, content: digest.content });
            for place in 0..view.place() {
                let Some(commit) = view.timeline().commit(place) else { break };
                if commit.dropped {
                    return Err(BundleError::MadeAgain { run }.into());
                }
                let Commit { version, timestamp, changes, .. } = commit;
                let bundled = commits.entry(version).or_insert(BundledCommit {
                    version,
                    timestamp,
                    changes: Vec::new(),
                });
                bundled.changes.extend(changes.into_iter().map(|change| {
                    let KeyChange { tag, key, value, expires_at } = change;
                    ImportedChange { run, tag, key, value, expires_at }
                }));
            }
        }
        Ok(Bundle { runs, commits: commits.into_values().collect() }.encode())
    }

    /// What was known of a run when it began.
    fn first_meta(&self, run: RunId) -> Result<Option<RunMeta>, Error> {
        let history = self.timeline(run)?.key_history(Tag::Run, b"");
        Ok(history.first().and_then(|first| RunMeta::from_value(first.value.as_ref()?)))
    }

    /// Takes a bundle in: its runs with all their commits, at their own times, under this database's versions; under their own
    /// ids, or under new ones. A bundle that is refused changes nothing.
    ///
    /// # Errors
    /// [`BundleError`], [`in_mem_shard::core::error::WriteError::RunExists`] where an id is taken.
    pub fn import(&self, bytes: &[u8], new_ids: bool) -> Result<ImportReport, Error> {
        let bundle = Bundle::read(bytes)?;
        let now = self.now();
        // Opened again, a shard goes on from the time of its last commit.
        let last = bundle.commits.iter().map(|commit| commit.timestamp).max();
        if let Some(at) = last.filter(|at| *at > now.saturating_add(CLOCKS_DIFFER_BY)) {
            return Err(BundleError::FromTheFuture { at, now }.into());
        }
        let first = if new_ids { RunId::generate(now) } else { bundle.runs[0].id };
        let renamed: HashMap<RunId, RunId> = bundle
            .runs
            .iter()
            .enumerate()
            .map(|(place, run)| match (new_ids, place) {
                (false, _) => (run.id, run.id),
                (true, 0) => (run.id, first),
                (true, _) => (run.id, RunId::generate_child(first, now)),
            })
            .collect();
        let handle = &self.shards[self.shard_of(first)];
        let count = bundle.commits.len() as u64;
        // Where each commit of the bundle came to be.
        let mut made: Vec<(Version, Version)> = Vec::new();
        let mut rest = bundle.commits.into_iter().peekable();
        // Looked for in the very turn that makes the first of them: of two imports at once, one finds them taken.
        let mut to_be_free: Vec<RunId> = renamed.values().copied().collect();
        while rest.peek().is_some() {
            let mut batch = Vec::new();
            while let Some(commit) =
                rest.next_if(|commit| batch.len() < COMMITS_A_TURN && (batch.is_empty() || !forks(commit)))
            {
                batch.push(rename(commit, &renamed, &made));
            }
            let versions: Vec<Version> = batch.iter().map(|commit| commit.version).collect();
            let ids = std::mem::take(&mut to_be_free);
            let done = handle.maintain(move |core| {
                if let Some(run) = ids.into_iter().find(|id| core.run_info(*id).is_some()) {
                    return Err(in_mem_shard::core::error::WriteError::RunExists { run });
                }
                batch
                    .into_iter()
                    .map(|commit| {
                        let home = commit.changes.first().map_or(first, |change| change.run);
                        core.import_commit(home, commit.timestamp, commit.changes)
                    })
                    .collect::<Result<Vec<Version>, _>>()
            })??;
            made.extend(versions.into_iter().zip(done));
        }
        if let Some((_, last)) = made.last() {
            self.wait_visible(first, *last)?;
        }
        let runs = bundle.runs.iter().map(|run| (run.id, renamed[&run.id])).collect();
        Ok(ImportReport { runs, commits: count })
    }
}

fn forks(commit: &BundledCommit) -> bool {
    commit.changes.iter().any(|change| {
        let meta = change.value.as_ref().filter(|_| change.tag == Tag::Run && change.key.is_empty());
        meta.and_then(RunMeta::from_value).is_some_and(|meta| meta.forked_from.is_some())
    })
}

/// The commit under the ids that its runs have here.
fn rename(
    mut commit: BundledCommit,
    renamed: &HashMap<RunId, RunId>,
    made: &[(Version, Version)],
) -> BundledCommit {
    for change in &mut commit.changes {
        let id = renamed.get(&change.run).copied().unwrap_or(change.run);
        change.run = id;
        if change.tag != Tag::Run || !change.key.is_empty() {
            continue;
        }
        let Some(mut meta) = change.value.as_ref().and_then(RunMeta::from_value) else { continue };
        // What is not in the bundle may be anything here.
        meta.parent = meta.parent.and_then(|parent| renamed.get(&parent).copied());
        meta.root = renamed.get(&meta.root).copied().unwrap_or_else(|| meta.parent.unwrap_or(id));
        meta.forked_from = meta.forked_from.and_then(|point| {
            let before = made.partition_point(|(there, _)| *there <= point.version);
            let version = before.checked_sub(1).map_or(Version(0), |place| made[place].1);
            Some(ForkPoint { run: renamed.get(&point.run).copied()?, version })
        });
        change.value = Some(meta.to_value());
    }
    commit
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(body: &[u8], claimed: u64) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        out.extend_from_slice(&BUNDLE_FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&claimed.to_le_bytes());
        out.extend_from_slice(blake3::hash(body).as_bytes());
        out.extend(compress_to_vec(body, CompressionLevel::Fastest));
        out
    }

    #[test]
    fn what_claims_too_much_is_refused() {
        let small = sealed(&[1], u64::MAX);
        assert!(matches!(Bundle::read(&small), Err(BundleError::TooLarge { .. })));
        let bomb = sealed(&vec![0; 8 << 20], 10);
        assert!(matches!(Bundle::read(&bomb), Err(BundleError::Damaged { .. })));
        let runs = sealed(&[253, 255, 255, 255, 255, 255, 255, 255, 255], 9);
        assert!(matches!(Bundle::read(&runs), Err(BundleError::Damaged { .. })));
        assert!(matches!(Bundle::read(b"INMEM"), Err(BundleError::NotABundle)));
    }

    #[test]
    fn commits_that_do_not_come_to_what_is_said_are_refused() {
        let id = RunId::from_bytes([1; 16]);
        let mut meta = RunMeta::new(id, "x");
        meta.first_version = Version(1);
        let change = |key: &[u8], tag, value| ImportedChange {
            run: id,
            tag,
            key: KeyBytes::new(key),
            value: Some(value),
            expires_at: None,
        };
        let changes = vec![change(b"", Tag::Run, meta.to_value()), change(b"k", Tag::Kv, Value::from(1))];
        let commits = vec![BundledCommit { version: Version(1), timestamp: Timestamp(1), changes }];
        let run = BundledRun { id, head: ChainHead::default(), content: [0; 32] };
        let bundle = Bundle { runs: vec![run], commits };
        let refused = Bundle::read(&bundle.encode()).expect_err("the digest is wrong");
        assert!(refused.to_string().contains("do not come to the state"), "{refused}");
    }

    #[test]
    fn a_commit_that_changes_one_key_twice_is_refused_before_it_is_logged() {
        let id = RunId::from_bytes([1; 16]);
        let mut meta = RunMeta::new(id, "x");
        meta.first_version = Version(1);
        let change = |key: &[u8], tag, value| ImportedChange {
            run: id,
            tag,
            key: KeyBytes::new(key),
            value: Some(value),
            expires_at: None,
        };
        let twice = change(b"k", Tag::Kv, Value::from(1));
        let changes = vec![change(b"", Tag::Run, meta.to_value()), twice.clone(), twice];
        let commits = vec![BundledCommit { version: Version(1), timestamp: Timestamp(1), changes }];
        let run = BundledRun { id, head: ChainHead::default(), content: [0; 32] };
        let refused = Bundle::read(&Bundle { runs: vec![run], commits }.encode()).expect_err("refused");
        assert!(refused.to_string().contains("one key twice"), "{refused}");
    }
}
