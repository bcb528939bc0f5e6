//! Retention: which ended runs are no longer kept, and taking them away.
//!
//! What is taken away is the run as it is: its keys, events, cells and traces. Forks keep what they share of it. Its commits stay
//! in the log, and in the archive where history is kept, until those are let go.

use std::sync::Arc;

use in_mem_model::{RunId, Timestamp};
use in_mem_shard::core::command::{CommitRequest, RunInfo, RunQuery, Write};
use in_mem_shard::core::run_meta::RunStatus;
use in_mem_shard::core::{PAGE_LIMIT, RunFilter, RunOrder};
use serde::{Deserialize, Serialize};

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
    /// The forks that go on reading what they share of it.
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
        let mut ended = self.ended_runs(policy)?;
        // The one that ended last first: so that what is kept is counted from the newest.
        ended.sort_by_key(|run| std::cmp::Reverse((run.meta.ended, run.id)));
        let mut report = PruneReport { dry_run, ..PruneReport::default() };
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
            let forks = self.forks_of(run.id)?.into_iter().map(|(fork, _)| fork).collect();
            let (id, name, status) = (run.id, run.meta.name, run.meta.status);
            report.runs.push(PrunedRun { id, name, status, ended: at, bytes, forks });
            report.bytes += bytes;
        }
        report.runs.reverse();
        if !dry_run {
            for run in &report.runs {
                let mut request = CommitRequest::new(run.id);
                request.writes.push((run.id, Write::DropRun));
                self.commit(request)?;
            }
        }
        Ok(report)
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
