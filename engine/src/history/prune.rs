//! Retention: which ended runs are no longer kept, and taking them away.
//!
//! A run is taken away with its past: its keys, events, cells and traces, and its commits in the log, in the archive and in earlier
//! generations of shards. Or only its past is, and it stays as it is. Forks keep what they share of a run, and with it the
//! past that they go on from: the report names them.

use std::collections::BTreeSet;
use std::sync::Arc;

use in_mem_model::{RunId, Timestamp};
use in_mem_shard::core::command::{CommitRequest, RunInfo, RunQuery, Write};
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
        let _one = self.pruning.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !dry_run {
            // What another left undone: its note of what is to be erased gives way to the next.
            self.finish_erase()?;
        }
        let mut ended = self.ended_runs(policy)?;
        // The one that ended last first: so that what is kept is counted from the newest.
        ended.sort_by_key(|run| std::cmp::Reverse((run.meta.ended, run.id)));
        let history_only = policy.history_only;
        let mut report = PruneReport { dry_run, history_only, ..PruneReport::default() };
        let mut bytes_kept = 0;
        for run in ended {
            let (at, bytes) = (run.meta.ended.unwrap_or(run.meta.created), bytes_of(&run));
            let goes = policy.ended_before.is_some_and(|limit| at < limit)
                || policy.keep_newest.is_some_and(|limit| report.kept >= limit)
                || policy.keep_bytes.is_some_and(|limit| bytes_kept + bytes > limit);
            if !goes {
                report.kept += 1;
                bytes_kept += bytes;
                continue;
            }
            let forks = self.forks_that_hold(run.id)?;
            let (id, name, status) = (run.id, run.meta.name, run.meta.status);
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
        let free: BTreeSet<RunId> = free.iter().map(|run| run.id).collect();
        report.log_bytes = self.past_bytes(&free)?;
        let measured = || self.path.as_ref().map_or(0, |path| disk_bytes(&*self.storage, path));
        let before = measured();
        report.disk_bytes = (before, before);
        if !dry_run {
            for run in held.iter().filter(|_| !history_only) {
                let mut request = CommitRequest::new(run.id);
                request.writes.push((run.id, Write::DropRun));
                self.commit(request)?;
            }
            report.log_bytes_erased = self.erase_runs(&free, !history_only)?.bytes;
            report.disk_bytes.1 = measured();
        }
        Ok(report)
    }

    /// The forks, and forks of forks, that hold something of a run.
    fn forks_that_hold(&self, run: RunId) -> Result<Vec<RunId>, Error> {
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
