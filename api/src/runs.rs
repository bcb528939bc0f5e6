//! Listing runs over all shards.

use std::sync::Arc;

use in_mem_engine::command::RunQuery;
use in_mem_engine::{Engine, RunCursor, RunInfo, RunOrder, RunStatus, RunTotals};
use in_mem_model::{Namespace, RunId, Timestamp};

use crate::Result;

/// The runs there are: narrowed, ordered and paged.
///
/// ```
/// # fn main() -> in_mem::Result<()> {
/// # use in_mem::{Database, RunStatus};
/// let db = Database::in_memory()?;
/// db.new_run("nightly").tag("report").begin()?.end(RunStatus::Completed)?;
/// let done = db.runs().tag("report").status(RunStatus::Completed).list()?;
/// assert_eq!(done.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a query lists nothing until `list`, `page`, `count` or `totals` is called"]
pub struct Runs {
    engine: Arc<Engine>,
    query: RunQuery,
}

impl Runs {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, query: RunQuery::default() }
    }

    /// Only those with this status; called again, those with any of them.
    pub fn status(mut self, status: RunStatus) -> Self {
        self.query.filter.status.push(status);
        self
    }

    /// Only those with this tag; called again, those with all of them.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.query.filter.tags.push(Arc::from(tag.as_ref()));
        self
    }

    /// Only those of this namespace.
    pub fn namespace(mut self, namespace: &Namespace) -> Self {
        self.query.filter.tenant = Some(Arc::from(namespace.tenant()));
        self.query.filter.app = Some(Arc::from(namespace.app()));
        self.query.filter.agent = Some(Arc::from(namespace.agent()));
        self
    }

    /// Only those of this tenant.
    pub fn tenant(mut self, tenant: impl AsRef<str>) -> Self {
        self.query.filter.tenant = Some(Arc::from(tenant.as_ref()));
        self
    }

    /// Only those whose name starts so.
    pub fn name_prefix(mut self, prefix: impl AsRef<str>) -> Self {
        self.query.filter.name_prefix = Some(Arc::from(prefix.as_ref()));
        self
    }

    /// Only those that this run began.
    pub fn children_of(mut self, parent: RunId) -> Self {
        self.query.filter.parent = Some(parent);
        self
    }

    /// Only those made at or after.
    pub fn created_from(mut self, at: Timestamp) -> Self {
        self.query.filter.created_from = Some(at);
        self
    }

    /// Only those made before.
    pub fn created_before(mut self, at: Timestamp) -> Self {
        self.query.filter.created_before = Some(at);
        self
    }

    /// Only those that started at or after; one that has not started is left out.
    pub fn started_from(mut self, at: Timestamp) -> Self {
        self.query.filter.started_from = Some(at);
        self
    }

    /// Only those that started before; one that has not started is left out.
    pub fn started_before(mut self, at: Timestamp) -> Self {
        self.query.filter.started_before = Some(at);
        self
    }

    /// Only those that ended at or after; one that has not ended is left out.
    pub fn ended_from(mut self, at: Timestamp) -> Self {
        self.query.filter.ended_from = Some(at);
        self
    }

    /// Only those that ended before; one that has not ended is left out.
    pub fn ended_before(mut self, at: Timestamp) -> Self {
        self.query.filter.ended_before = Some(at);
        self
    }

    /// Only those that were at work when their process ended.
    pub fn orphaned(mut self) -> Self {
        self.query.filter.orphaned = Some(true);
        self
    }

    /// Also the namespaces' memories.
    pub fn with_memories(mut self) -> Self {
        self.query.filter.include_memories = true;
        self
    }

    /// The newest first.
    pub fn newest_first(mut self) -> Self {
        self.query.order = RunOrder::CreatedDescending;
        self
    }

    /// By name, and the oldest first among those of one name.
    pub fn by_name(mut self) -> Self {
        self.query.order = RunOrder::Name;
        self
    }

    /// All of them.
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn list(&self) -> Result<Vec<RunInfo>> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (page, next) = self.page(after, usize::MAX)?;
            all.extend(page);
            match next {
                Some(cursor) => after = Some(cursor),
                None => return Ok(all),
            }
        }
    }

    /// A page of at most `limit` runs behind the cursor, and the cursor of the next page where there may be one.
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn page(&self, after: Option<RunCursor>, limit: usize) -> Result<(Vec<RunInfo>, Option<RunCursor>)> {
        let page = self.engine.runs(RunQuery { after, limit, ..self.query.clone() })?;
        Ok((page.runs, page.next))
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn count(&self) -> Result<u64> {
        Ok(self.totals()?.runs)
    }

    /// What they come to: how many there are, how many of each status, and how many entries and bytes they hold of each
    /// primitive. Costs as much as looking at each of them, and holds no shard up: it is done in turns of a bounded number of
    /// runs, so that what changes meanwhile may or may not be in it.
    ///
    /// ```
    /// # fn main() -> in_mem::Result<()> {
    /// # use in_mem::{Database, RunStatus};
    /// let db = Database::in_memory()?;
    /// for task in 0..3 {
    ///     let run = db.new_run(format!("task-{task}")).tag("nightly").begin()?;
    ///     run.events().append("seen", task)?;
    ///     if task > 0 {
    ///         run.end(RunStatus::Completed)?;
    ///     }
    /// }
    /// let totals = db.runs().tag("nightly").totals()?;
    /// assert_eq!((totals.runs, totals.by_status[&RunStatus::Completed], totals.events.entries), (3, 2, 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn totals(&self) -> Result<RunTotals> {
        self.engine.run_totals(&self.query)
    }
}
