//! What is asked of the shards in pages: keys, runs, spans, streams. A page is a turn that looks at a bounded number of them.

use in_mem_model::RunId;
use in_mem_shard::core::command::{
    Command, Page, Reply, RunInfo, RunPage, RunQuery, RunTotals, ScanRequest, StreamRequest,
};
use in_mem_shard::core::event::ChainHead;
use in_mem_shard::core::span_index::{SpanPage, SpanQuery};
use in_mem_shard::core::{PAGE_LIMIT, RunCursor, compare_runs};

use crate::engine::{Engine, unexpected};
use crate::error::Error;

impl Engine {
    pub(crate) fn scan_page(&self, shard: usize, request: ScanRequest) -> Result<Page, Error> {
        match self.call(&self.shards[shard], Command::Scan(Box::new(request)))? {
            Reply::Page(page) => Ok(page),
            other => Err(unexpected(other)),
        }
    }

    /// A page of runs over all shards, at most [`PAGE_LIMIT`] of them. Each shard is asked in turns that look at a bounded
    /// number of runs.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn runs(&self, query: RunQuery) -> Result<RunPage, Error> {
        let limit = query.limit.min(PAGE_LIMIT);
        if limit == 0 {
            return Ok(RunPage { runs: Vec::new(), next: query.after });
        }
        let mut page = RunPage::default();
        let mut more = false;
        for shard in self.shards.iter() {
            let mut ask = RunQuery { limit, ..query.clone() };
            loop {
                let part = match self.call(shard, Command::Runs(Box::new(ask.clone())))? {
                    Reply::Runs(part) => part,
                    other => return Err(unexpected(other)),
                };
                ask.limit -= part.runs.len();
                page.runs.extend(part.runs);
                let Some(after) = part.next else { break };
                if ask.limit == 0 {
                    more = true;
                    break;
                }
                ask.after = Some(after);
            }
        }
        page.runs.sort_by(|a, b| compare_runs(query.order, a, b));
        more |= page.runs.len() > limit;
        page.runs.truncate(limit);
        page.next = page.runs.last().filter(|_| more).map(|run| RunCursor::behind(run, query.order));
        Ok(page)
    }

    /// What the runs over all shards come to that a query means, in turns as those of [`Engine::runs`].
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn run_totals(&self, query: &RunQuery) -> Result<RunTotals, Error> {
        let mut totals = RunTotals::default();
        for shard in self.shards.iter() {
            let mut ask = query.clone();
            loop {
                match self.call(shard, Command::RunTotals(Box::new(ask.clone())))? {
                    Reply::RunTotals(some, next) => {
                        totals.add(&some);
                        if next.is_none() {
                            break;
                        }
                        ask.after = next;
                    }
                    other => return Err(unexpected(other)),
                }
            }
        }
        Ok(totals)
    }

    /// One run.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn run_info(&self, run: RunId) -> Result<Option<RunInfo>, Error> {
        match self.call(self.handle(run), Command::Run(run))? {
            Reply::Run(info) => Ok(info.map(|info| *info)),
            other => Err(unexpected(other)),
        }
    }

    /// The end of a run's event chain; `None`: there is no such run.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn chain(&self, run: RunId) -> Result<Option<ChainHead>, Error> {
        match self.call(self.handle(run), Command::Chain(run))? {
            Reply::Chain(head) => Ok(head),
            other => Err(unexpected(other)),
        }
    }

    /// How many live keys there are in a range, as of the request's version or as of each of several moments.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn count(&self, mut request: ScanRequest) -> Result<u64, Error> {
        let shard = self.handle(request.run);
        let mut keys = 0;
        loop {
            match self.call(shard, Command::Count(Box::new(request.clone())))? {
                Reply::Count(some, next) => {
                    keys += some;
                    let Some(next) = next else { return Ok(keys) };
                    request.lower = std::ops::Bound::Excluded(next);
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Some of a run's spans, or what some come to, and where to go on: one turn's worth.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn spans(&self, run: RunId, query: &SpanQuery) -> Result<SpanPage, Error> {
        loop {
            match self.call(self.handle(run), Command::Spans(run, Box::new(query.clone())))? {
                Reply::Spans(page) if page.building => {}
                Reply::Spans(page) => return Ok(*page),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// The numbers of some of a stream's events, and how many it has in all.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stream(&self, request: StreamRequest) -> Result<(Vec<u64>, u64), Error> {
        match self.call(self.handle(request.run), Command::Stream(Box::new(request)))? {
            Reply::Stream(sequences, len) => Ok((sequences, len)),
            other => Err(unexpected(other)),
        }
    }
}
