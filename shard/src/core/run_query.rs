//! What a shard tells of its runs, on the turn: pages of them, and what they come to. A turn looks at a bounded number of runs;
//! what asks goes on behind the last one that was looked at.

use in_mem_model::{RunId, Tag};

use super::ShardCore;
use super::command::{RunInfo, RunPage, RunQuery, RunTotals};
use super::query::PAGE_LIMIT;
use super::run_index::{RunCursor, RunOrder};
use super::run_state::RunState;

/// The most runs that one turn looks at, those that are not meant included.
const PAGE_RUNS: usize = 1_024;

/// The most runs of an index that are put in the order of their names anew for each page; of a larger one the index by name
/// is walked instead.
const SORTED_AT_ONCE: usize = PAGE_RUNS;

impl ShardCore {
    /// A page of runs, at most [`PAGE_LIMIT`] of them. It may hold fewer than asked for, or none, where there are more behind
    /// its `next`.
    pub fn runs(&self, query: &RunQuery) -> RunPage {
        let limit = query.limit.min(PAGE_LIMIT);
        let mut runs = Vec::new();
        let next = self.look_at_runs(query, |id, state| {
            runs.push(self.describe(id, state));
            runs.len() < limit
        });
        RunPage { runs, next }
    }

    /// What the runs come to that one turn looks at, and the last of them where there may be more behind it.
    pub fn run_totals(&self, query: &RunQuery) -> (RunTotals, Option<RunCursor>) {
        let mut totals = RunTotals::default();
        let next = self.look_at_runs(query, |_, state| {
            totals.runs += 1;
            *totals.by_status.entry(state.meta.status).or_default() += 1;
            totals.kv += state.usage(Tag::Kv);
            totals.events += state.usage(Tag::Event);
            totals.state += state.usage(Tag::State);
            totals.traces += state.usage(Tag::Trace);
            true
        });
        (totals, next)
    }

    /// One run.
    pub fn run_info(&self, run: RunId) -> Option<RunInfo> {
        self.runs.get(&run).filter(|_| !self.is_arriving(run)).map(|state| self.describe(run, state))
    }

    /// Visits each run that the query means, for as long as the visitor says to go on; gives the last run looked at where there
    /// may be more.
    fn look_at_runs(
        &self,
        query: &RunQuery,
        mut visit: impl FnMut(RunId, &RunState) -> bool,
    ) -> Option<RunCursor> {
        let mut candidates = self.candidates(query);
        for looked_at in 1.. {
            let (id, state) = candidates.next()?;
            let is_meant = !self.is_arriving(id) && query.filter.matches(&state.meta, state.orphaned());
            let goes_on = !is_meant || visit(id, state);
            if !goes_on || looked_at >= PAGE_RUNS {
                let name = (query.order == RunOrder::Name).then(|| state.meta.name.clone());
                return Some(RunCursor { name, created: state.meta.created, id });
            }
        }
        None
    }

    /// The runs that may be meant, in order.
    fn candidates<'s>(&'s self, query: &'s RunQuery) -> Box<dyn Iterator<Item = (RunId, &'s RunState)> + 's> {
        let RunQuery { filter, order, after, .. } = query;
        let with_state = |id| self.runs.get(&id).map(|state| (id, state));
        if *order != RunOrder::Name {
            return Box::new(
                self.run_index.by_creation(filter, *order, after.as_ref()).filter_map(with_state),
            );
        }
        if self.run_index.narrowed_to(filter).is_none_or(|runs| runs > SORTED_AT_ONCE) {
            return Box::new(self.run_index.by_name(filter, after.as_ref()).filter_map(with_state));
        }
        let place = |id, state: &'s RunState| (&*state.meta.name, state.meta.created, id);
        let behind = after.as_ref().map(|c| (c.name.as_deref().unwrap_or_default(), c.created, c.id));
        let mut runs: Vec<(RunId, &RunState)> = self
            .run_index
            .by_creation(filter, RunOrder::Created, None)
            .filter_map(with_state)
            .filter(|(id, state)| behind.is_none_or(|behind| place(*id, state) > behind))
            .collect();
        runs.sort_unstable_by(|(a, of_a), (b, of_b)| place(*a, of_a).cmp(&place(*b, of_b)));
        Box::new(runs.into_iter())
    }

    fn describe(&self, id: RunId, state: &RunState) -> RunInfo {
        RunInfo {
            id,
            meta: (*state.meta).clone(),
            last_version: state.last_version,
            orphaned: state.orphaned(),
            children: self.run_index.children(id) as u64,
            kv: state.usage(Tag::Kv),
            events: state.usage(Tag::Event),
            state: state.usage(Tag::State),
            traces: state.usage(Tag::Trace),
        }
    }
}

impl RunCursor {
    /// The place of this run in a listing of that order.
    pub fn behind(run: &RunInfo, order: RunOrder) -> Self {
        let name = (order == RunOrder::Name).then(|| run.meta.name.clone());
        Self { name, created: run.meta.created, id: run.id }
    }
}

/// Orders two listed runs as a query asks: by it the coordinator merges the shards' pages.
pub fn compare_runs(order: RunOrder, a: &RunInfo, b: &RunInfo) -> std::cmp::Ordering {
    let by_created = (a.meta.created, a.id).cmp(&(b.meta.created, b.id));
    match order {
        RunOrder::Created => by_created,
        RunOrder::CreatedDescending => by_created.reverse(),
        RunOrder::Name => a.meta.name.cmp(&b.meta.name).then(by_created),
    }
}
