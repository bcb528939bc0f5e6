//! Runs going out in a bundle and coming in from one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use in_mem_model::{RunId, Tag, Version};
use in_mem_shard::core::command::RunQuery;
use in_mem_shard::core::import::ImportedChange;
use in_mem_shard::core::run_meta::{ForkPoint, RunMeta};
use in_mem_shard::core::{PAGE_LIMIT, RunFilter};

use super::proof::chain_of;
use super::{
    Bundle, BundleError, BundledCommit, BundledRun, ImportReport, MAX_BUNDLE_BODY_BYTES, MAX_BUNDLE_RUNS,
};
use crate::engine::Engine;
use crate::error::Error;
use crate::history::commits::{Commit, KeyChange};
use crate::history::timeline::Point;

/// So much later than now a commit may have been made: clocks differ, and a bundle takes no time to travel.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(24 * 60 * 60);

/// Commits that are made in one turn of an import.
const COMMITS_A_TURN: usize = 64;

impl Engine {
    /// Writes a run with its whole history, the runs that it began and those forked from it, into one bundle; and, where it
    /// is a fork, what it shares.
    ///
    /// # Errors
    /// [`crate::HistoryError`] where the log does not hold the history, [`BundleError::MadeAgain`], and where no
    /// [`Engine::import`] could take it in, [`BundleError::TooManyRuns`] and [`BundleError::TooLarge`].
    pub fn export(&self, run: RunId) -> Result<Vec<u8>, Error> {
        self.run_info(run)?.ok_or(Error::UnknownRun { run })?;
        let too_many = || Error::from(BundleError::TooManyRuns { run });
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
                if seen.len() > MAX_BUNDLE_RUNS {
                    return Err(too_many());
                }
                let Some(after) = page.next else { break };
                query.after = Some(after);
            }
        }
        let mut of = run;
        while let Some(RunMeta { forked_from: Some(point), first_version, .. }) = self.first_meta(of)? {
            wanted.push((point.run, Some(Version(first_version.0 - 1))));
            of = point.run;
        }
        if wanted.len() > MAX_BUNDLE_RUNS {
            return Err(too_many());
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
        Ok(Bundle { runs, commits: commits.into_values().collect() }.encode(MAX_BUNDLE_BODY_BYTES)?)
    }

    /// What was known of a run when it began.
    fn first_meta(&self, run: RunId) -> Result<Option<RunMeta>, Error> {
        let history = self.timeline(run)?.key_history(Tag::Run, b"");
        Ok(history.first().and_then(|first| RunMeta::from_value(first.value.as_ref()?)))
    }

    /// Takes a bundle in: its runs with all their commits, at their own times, under this database's versions; under their own
    /// ids, or under new ones. All of it is taken in or nothing: until then nobody sees its runs, and where it fails, or is cut off
    /// by a kill or a power cut, they are deleted, by the next opening at the latest.
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
        let count = bundle.commits.len() as u64;
        let ids: Vec<RunId> = renamed.values().copied().collect();
        self.arrive(&ids, || self.import_commits(first, bundle.commits, &renamed))?;
        let runs = bundle.runs.iter().map(|run| (run.id, renamed[&run.id])).collect();
        Ok(ImportReport { runs, commits: count })
    }

    /// Makes the commits of a bundle, whose runs nobody sees yet.
    fn import_commits(
        &self,
        first: RunId,
        commits: Vec<BundledCommit>,
        renamed: &HashMap<RunId, RunId>,
    ) -> Result<(), Error> {
        let handle = self.handle(first);
        // Where each commit of the bundle came to be.
        let mut made: Vec<(Version, Version)> = Vec::new();
        let mut rest = commits.into_iter().peekable();
        while rest.peek().is_some() {
            let mut batch = Vec::new();
            while let Some(commit) =
                rest.next_if(|commit| batch.len() < COMMITS_A_TURN && (batch.is_empty() || !forks(commit)))
            {
                batch.push(rename(commit, renamed, &made));
            }
            let versions: Vec<Version> = batch.iter().map(|commit| commit.version).collect();
            let done = handle.maintain(move |core| {
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
        match made.last() {
            Some((_, last)) => self.wait_visible(first, *last),
            None => Ok(()),
        }
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
