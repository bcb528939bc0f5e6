//! Retention: which ended runs are no longer kept, and taking them away.
//!
//! A run is taken away with its past: its keys, events, cells and traces, and its commits in the log, in the archive and in earlier
//! generations of shards. Or only its past is, and it stays as it is. Forks keep what they share of a run, and with it the
//! past that they go on from: the report names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use in_mem_model::{RunId, Timestamp, Version};
use in_mem_shard::core::command::{RunInfo, RunQuery};
use in_mem_shard::core::run_meta::RunStatus;
use in_mem_shard::core::{PAGE_LIMIT, RunFilter, RunOrder};
use serde::{Deserialize, Serialize};

use super::erase::disk_bytes;
use crate::engine::Engine;
use crate::error::Error;

/// Which ended runs to keep. A run is taken away when any of the limits says so; without limits, none is. Runs that have not
/// ended, and namespaces' memories, are always kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetentionPolicy {
    /// Take away what ended before this time.
    pub ended_before: Option<Timestamp>,
    /// Take away what ended longer ago than this, as seen from when the policy is carried out.
    #[serde(default)]
    pub older_than: Option<Duration>,
    /// Keep this many of the runs that ended last.
    pub keep_newest: Option<u64>,
    /// Keep the runs that ended last, as long as they come to no more than so many bytes.
    pub keep_bytes: Option<u64>,
    /// Only runs that ended so; empty: however they ended.
    pub status: Vec<RunStatus>,
    /// Only this tenant's runs.
    pub tenant: Option<Arc<str>>,
    /// Only this app's runs.
    pub app: Option<Arc<str>>,
    /// Only this agent's runs.
    pub agent: Option<Arc<str>>,
    /// Take away only the past of the runs, and leave them as they are.
    #[serde(default)]
    pub history_only: bool,
}

/// A run that is taken away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrunedRun {
    /// Its id.
    pub id: RunId,
    /// Its name.
    pub name: Arc<str>,
    /// How it ended.
    pub status: RunStatus,
    /// When it ended.
    pub ended: Timestamp,
    /// How many bytes of keys and values it holds itself.
    pub bytes: u64,
    /// The forks that go on reading what they share of it. Where there are any, its past is kept for them.
    pub forks: Vec<RunId>,
}

/// What a prune takes away, or would.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PruneReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The runs, the one that ended first first.
    pub runs: Vec<PrunedRun>,
    /// How many bytes they hold, together.
    pub bytes: u64,
    /// Whether only their past was meant.
    pub history_only: bool,
    /// How many bytes of log their past is: stated before, from the log.
    pub log_bytes: u64,
    /// How many bytes of log were erased: measured while it was done.
    pub log_bytes_erased: u64,
    /// Bytes of commits that are left though they hold something of these runs: those over several runs that are larger than a
    /// segment of the log.
    #[serde(default)]
    pub log_bytes_left: u64,
    /// Runs that were taken away before, and whose past was kept for forks that are gone now: it goes with this one.
    #[serde(default)]
    pub released: Vec<RunId>,
    /// Bytes of all files of the database before, and after: measured. Equal in a dry run.
    pub disk_bytes: (u64, u64),
    /// How many ended runs the policy looked at and keeps.
    pub kept: u64,
}

fn bytes_of(run: &RunInfo) -> u64 {
    run.kv.bytes + run.events.bytes + run.state.bytes + run.traces.bytes
}

impl Engine {
    /// Takes away the ended runs that a policy does not keep; with `dry_run`, only says which.
    ///
    /// # Errors
    /// [`Error`]; the runs before the one that failed are gone.
    pub fn prune(&self, policy: &RetentionPolicy, dry_run: bool) -> Result<PruneReport, Error> {
        let _one = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        if !dry_run {
            // What another left undone: its note of what is to be erased gives way to the next.
            self.finish_erase()?;
        }
        let older = policy.older_than.map(|age| {
            let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
            Timestamp(self.now().0.saturating_sub(age))
        });
        // Of two limits the one that takes more away.
        let ended_before = older.max(policy.ended_before);
        let mut ended = self.ended_runs(policy)?;
        // The one that ended last first: so that what is kept is counted from the newest.
        ended.sort_by_key(|run| std::cmp::Reverse((run.meta.ended, run.id)));
        let history_only = policy.history_only;
        let mut report = PruneReport { dry_run, history_only, ..PruneReport::default() };
        let mut bytes_kept = 0;
        let mut begun = BTreeMap::new();
        for run in ended {
            let (at, bytes) = (run.meta.ended.unwrap_or(run.meta.created), bytes_of(&run));
            let goes = ended_before.is_some_and(|limit| at < limit)
                || policy.keep_newest.is_some_and(|limit| report.kept >= limit)
                || policy.keep_bytes.is_some_and(|limit| bytes_kept + bytes > limit);
            if !goes {
                report.kept += 1;
                bytes_kept += bytes;
                continue;
            }
            // Once its past is gone there is nothing more to take of it.
            if history_only && self.has_no_past(run.id, run.last_version) {
                report.kept += 1;
                continue;
            }
            let forks = self.forks_that_hold(run.id)?;
            let (id, name, status) = (run.id, run.meta.name, run.meta.status);
            begun.insert(id, run.meta.first_version);
            report.runs.push(PrunedRun { id, name, status, ended: at, bytes, forks });
            report.bytes += bytes;
        }
        report.runs.reverse();
        // A fork that goes as well holds nothing.
        if !history_only {
            let going: BTreeSet<RunId> = report.runs.iter().map(|run| run.id).collect();
            for run in &mut report.runs {
                run.forks.retain(|fork| !going.contains(fork));
            }
        }
        let (held, free): (Vec<&PrunedRun>, Vec<&PrunedRun>) =
            report.runs.iter().partition(|run| !run.forks.is_empty());
        let mut held: BTreeSet<RunId> = held.iter().map(|run| run.id).collect();
        let free: BTreeSet<RunId> = free.iter().map(|run| run.id).collect();
        let (released, still_held) = self.held_before(&free)?;
        report.released = released.iter().copied().collect();
        let mut gone: BTreeSet<RunId> = free.union(&released).copied().collect();
        let past = self.past_of(&gone)?;
        (report.log_bytes, report.log_bytes_left) = (past.bytes, past.left);
        let measured = || self.path.as_ref().map_or(0, |path| disk_bytes(&*self.storage, path));
        let before = measured();
        report.disk_bytes = (before, before);
        if dry_run || (report.runs.is_empty() && released.is_empty()) {
            return Ok(report);
        }
        if history_only {
            held.clear();
            // Asked again: a fork may have been made while the log was read.
            for run in &free {
                if !self.forks_that_hold(*run)?.is_empty() {
                    gone.remove(run);
                }
            }
            // With what such a fork goes on from through them.
            let (released, _) = self.held_before(&free.intersection(&gone).copied().collect())?;
            if !in_mem_wal::planted::is_planted("engine_release_what_a_new_fork_needs") {
                gone.retain(|run| free.contains(run) || released.contains(run));
            }
        }
        // Written down first: that what is kept for forks goes when they do must not be forgotten.
        let known: BTreeSet<RunId> = still_held.union(&released).copied().collect();
        if !held.is_subset(&known) {
            self.write_held(&held.union(&known).copied().collect())?;
        }
        // What was taken away before is gone already.
        let begun_at = |run: &RunId| begun.get(run).copied().unwrap_or(Version(0));
        for run in &held {
            self.drop_begun_at(*run, begun_at(run))?;
        }
        let drops = !history_only && !free.is_empty();
        // What was kept for forks may lie in a checkpoint, which another takes the place of.
        let releases = gone.iter().any(|run| !free.contains(run));
        // Else neither a checkpoint nor a read of the archive would find anything.
        if drops || releases || past.bytes > 0 || self.has_set_aside(&gone)? {
            let noted = gone.iter().map(|run| (*run, begun_at(run))).collect();
            let (erased, of) = self.erase_runs(&noted, !history_only)?;
            (report.log_bytes_erased, gone) = (erased.bytes, of);
        } else {
            self.remove_held(&gone)?;
        }
        if history_only {
            self.note_without_past(&free.intersection(&gone).copied().collect())?;
        }
        report.disk_bytes.1 = measured();
        Ok(report)
    }

    /// The forks, and forks of forks, that hold something of a run.
    pub(super) fn forks_that_hold(&self, run: RunId) -> Result<Vec<RunId>, Error> {
        let mut forks: BTreeSet<RunId> = self.forks_of(run)?.into_iter().map(|(fork, _)| fork).collect();
        // Those whose own parents are gone, too.
        forks.extend(self.handle(run).maintain(move |core| core.forks_sharing(run))?);
        Ok(forks.into_iter().collect())
    }

    fn ended_runs(&self, policy: &RetentionPolicy) -> Result<Vec<RunInfo>, Error> {
        let all: Vec<RunStatus> = RunStatus::ALL.into_iter().filter(|status| status.is_ended()).collect();
        let status: Vec<RunStatus> = if policy.status.is_empty() {
            all
        } else {
            policy.status.iter().copied().filter(|status| status.is_ended()).collect()
        };
        if status.is_empty() {
            return Ok(Vec::new());
        }
        let filter = RunFilter {
            status,
            tenant: policy.tenant.clone(),
            app: policy.app.clone(),
            agent: policy.agent.clone(),
            ..RunFilter::default()
        };
        let mut query =
            RunQuery { filter, order: RunOrder::Created, limit: PAGE_LIMIT, ..RunQuery::default() };
        let mut found = Vec::new();
        loop {
            let page = self.runs(query.clone())?;
            found.extend(page.runs);
            let Some(after) = page.next else { return Ok(found) };
            query.after = Some(after);
        }
    }
}
