//! How a run is begun, setting by setting.

use std::sync::Arc;

use in_mem_engine::command::{CommitRequest, Write};
use in_mem_engine::{Engine, RunMeta, RunStatus};
use in_mem_model::{Namespace, RunId, Timestamp, Value};

use crate::{Result, Run, Transaction};

/// The settings of a run to begin.
#[derive(Debug, Clone)]
pub struct BeginRun {
    engine: Arc<Engine>,
    id: Option<RunId>,
    parent: Option<(RunId, RunId)>,
    meta: RunMeta,
}

impl BeginRun {
    pub(crate) fn new(engine: Arc<Engine>, name: &str) -> Self {
        let mut meta = RunMeta::new(RunId::from_bytes([0; 16]), name);
        meta.status = RunStatus::Running;
        Self { engine, id: None, parent: None, meta }
    }

    pub(crate) fn child_of(mut self, parent: RunId, root: RunId, namespace: Namespace) -> Self {
        self.parent = Some((parent, root));
        self.meta.namespace = namespace;
        self
    }

    /// The id to have: a UUID of the caller's own. A child's takes its parent's routing bits
    /// ([`RunId::with_routing`]), so that a lineage stays on one shard.
    pub fn id(mut self, id: RunId) -> Self {
        self.id = Some(id);
        self
    }

    /// Whose run it is. Default: the parent's, or the default namespace.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.meta.namespace = namespace;
        self
    }

    /// A word to find it by; may be called again.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.meta.tags.push(Arc::from(tag.as_ref()));
        self
    }

    /// Words to find it by.
    pub fn tags<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.meta.tags.extend(tags.into_iter().map(|t| Arc::from(t.as_ref())));
        self
    }

    /// Anything else to know of it.
    pub fn metadata(mut self, metadata: impl Into<Value>) -> Self {
        self.meta.metadata = metadata.into();
        self
    }

    /// When it began, where that is not now: for imports.
    pub fn created_at(mut self, at: Timestamp) -> Self {
        self.meta.created = at;
        self
    }

    /// Made, but not at work yet.
    pub fn not_started(mut self) -> Self {
        self.meta.status = RunStatus::Created;
        self
    }

    pub(crate) fn memory(mut self) -> Self {
        self.meta.memory = true;
        self
    }

    /// Makes the run.
    ///
    /// # Errors
    /// [`crate::WriteError::RunExists`] where the id is taken, [`crate::WriteError::OtherLineage`] where a child's id is
    /// routed elsewhere than its parent's, and the rest of [`crate::Error`]; no run was made.
    pub fn begin(self) -> Result<Run> {
        let (engine, request) = self.into_request()?;
        let id = request.run;
        engine.commit(request)?;
        Run::find(engine, id)
    }

    /// Makes the run together with what the closure writes to it, all in one transaction: the run is there whole or not at
    /// all, also when the process is killed. For imports, where a run comes with its content and its end.
    ///
    /// ```
    /// # fn main() -> in_mem::Result<()> {
    /// # use in_mem::{Database, RunStatus};
    /// let db = Database::in_memory()?;
    /// let run = db.new_run("recorded elsewhere").begin_with(|tx| {
    ///     tx.events().append("answer", 42)?;
    ///     tx.end_run(RunStatus::Completed);
    ///     Ok(())
    /// })?;
    /// assert_eq!(run.status()?, RunStatus::Completed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`BeginRun::begin`], and the closure's; no run was made.
    pub fn begin_with(self, content: impl FnOnce(&mut Transaction<'_>) -> Result<()>) -> Result<Run> {
        let (engine, request) = self.into_request()?;
        let run = Run { id: request.run, engine };
        let mut tx = Transaction::begin(&run)?;
        tx.write_first(request);
        content(&mut tx)?;
        tx.commit()?;
        Ok(run)
    }

    pub(crate) fn into_request(mut self) -> Result<(Arc<Engine>, CommitRequest)> {
        crate::run::check_meta(&self.meta)?;
        let now = self.engine.now();
        let id = match (self.id, self.parent) {
            (Some(id), _) => id,
            (None, None) => RunId::generate(now),
            (None, Some((parent, _))) => RunId::generate_child(parent, now),
        };
        self.meta.root = self.parent.map_or(id, |(_, root)| root);
        self.meta.parent = self.parent.map(|(parent, _)| parent);
        if let Some((parent, _)) = self.parent
            && parent.routing() != id.routing()
        {
            return Err(crate::WriteError::OtherLineage { run: id, with: parent }.into());
        }
        let mut request = CommitRequest::new(id);
        request.writes.push((id, Write::CreateRun(Box::new(self.meta))));
        Ok((self.engine, request))
    }
}
