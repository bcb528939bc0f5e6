//! What a bundle has to be before anything of it is written: what its commits come to is what it says, no run is above itself, and
//! nothing is in it that no run makes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use in_mem_model::{RunId, Tag, Timestamp, Value, Version, limits};
use in_mem_shard::core::event::{self, ChainHead};
use in_mem_shard::core::fork::{HIDDEN_PREFIX, MAX_FORK_DEPTH, SHARED_PREFIX};
use in_mem_shard::core::import::ImportedChange;
use in_mem_shard::core::run_meta::{ForkPoint, RunMeta};

use super::{Bundle, BundleError, BundledCommit, BundledRun};
use crate::history::commits::{Commit, KeyChange};
use crate::history::timeline::{Point, Timeline, View};

impl Bundle {
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
    pub(super) fn prove(&self) -> Result<(), BundleError> {
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
pub(super) fn check_change(change: &ImportedChange) -> Result<(), BundleError> {
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
pub(super) fn chain_of(view: &View) -> Option<ChainHead> {
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
