//! Forks of runs, and how runs differ.

use std::sync::Arc;

use in_mem_engine::history::diff::DEFAULT_CONTEXT_EVENTS;
use in_mem_engine::{Diff, ForkSettings, ImportReport, Point, PruneReport, RetentionPolicy};
use in_mem_model::{Namespace, RunId, Value};

use crate::{Database, Result, Run};

/// What a fork is to be called. Everything has a default.
#[derive(Debug, Clone, Default)]
pub struct ForkOptions(ForkSettings);

impl ForkOptions {
    /// The id to have, with the parent's routing bits ([`RunId::with_routing`]). Default: a fresh one.
    pub fn id(mut self, id: RunId) -> Self {
        self.0.id = Some(id);
        self
    }

    /// The name to have. Default: the parent's.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.0.name = Some(Arc::from(name.as_ref()));
        self
    }

    /// Whose run it is. Default: the parent's.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.0.namespace = Some(namespace);
        self
    }

    /// A word to find it by; may be called again.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.0.tags.push(Arc::from(tag.as_ref()));
        self
    }

    /// Anything else to know of it.
    pub fn metadata(mut self, metadata: impl Into<Value>) -> Self {
        self.0.metadata = Some(metadata.into());
        self
    }
}

impl Database {
    /// Makes a run that begins as `parent` is, or was at a point of its past. What is written to it never touches the parent,
    /// and its events go on the parent's. Its recorded steps are the parent's up to there.
    ///
    /// A fork of [`Point::Now`] costs the same whatever the parent holds. A fork of the past costs what changed since, however much
    /// that is, and needs the log. Reads of what a fork shares ask the shard, and take longer than those of its own.
    ///
    /// ```
    /// # fn main() -> in_mem::Result<()> {
    /// use in_mem::{Database, ForkOptions, Point};
    ///
    /// let db = Database::in_memory()?;
    /// let run = db.begin_run("plan")?;
    /// run.kv().put("route", "by train")?;
    /// let other = db.fork(run.id(), Point::Now, ForkOptions::default().name("by boat"))?;
    /// assert_eq!(other.kv().get("route")?, Some("by train".into()));
    /// other.kv().put("route", "by boat")?;
    /// assert_eq!(run.kv().get("route")?, Some("by train".into()));
    /// print!("{}", db.diff(run.id(), other.id())?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`crate::Error::UnknownRun`], [`crate::WriteError::ForkTooDeep`], for forks of the past [`crate::HistoryError`]; no run
    /// was made.
    pub fn fork(&self, parent: RunId, at: impl Into<Point>, options: ForkOptions) -> Result<Run> {
        let ForkOptions(settings) = options;
        if let Some(name) = &settings.name {
            let mut meta = in_mem_engine::RunMeta::new(parent, name);
            meta.tags.clone_from(&settings.tags);
            meta.metadata = settings.metadata.clone().unwrap_or(Value::Null);
            crate::run::check_meta(&meta)?;
        }
        let id = self.engine().fork(parent, at.into(), settings)?;
        self.run(id)
    }

    /// Erases the ended runs that a policy does not keep, or only their past; with `dry_run`, only says which, and how many bytes they
    /// hold, in memory and in the log. What a fork holds of a run stays, with the past that it goes on from. One that is
    /// interrupted is finished by the next opening. Costs a checkpoint of the shards concerned and a read of their archives.
    ///
    /// # Errors
    /// [`crate::Error`]; the runs before the one that failed are gone.
    pub fn prune(&self, policy: &RetentionPolicy, dry_run: bool) -> Result<PruneReport> {
        self.engine().prune(policy, dry_run)
    }

    /// Carries out the policies of [`Builder::retention`](crate::Builder::retention) now; without threads of its own, a database leaves that to its user.
    ///
    /// # Errors
    /// As [`Database::prune`].
    pub fn retain(&self) -> Result<Vec<PruneReport>> {
        self.engine().retain()
    }

    /// A run with its whole history, with the runs that it began and those forked from it, as the bytes of one file. Where it is a
    /// fork, what it shares comes along.
    ///
    /// # Errors
    /// [`crate::HistoryError`] where the log does not hold the history, [`crate::BundleError`] where it would be more than
    /// [`Database::import`] takes.
    pub fn export(&self, run: RunId) -> Result<Vec<u8>> {
        self.engine().export(run)
    }

    /// Takes in what [`Database::export`] gave, here or elsewhere: under the same ids, or under new ones. A bundle is proved
    /// before anything is written, and one that is refused changes nothing. All of it is taken in or nothing: nobody sees its runs
    /// before they are whole, and those of an import that fails, or is cut off by a kill or a power cut, are deleted, by the next
    /// opening at the latest.
    ///
    /// # Errors
    /// [`crate::BundleError`], [`crate::WriteError::RunExists`].
    pub fn import(&self, bundle: &[u8], new_ids: bool) -> Result<ImportReport> {
        self.engine().import(bundle, new_ids)
    }

    /// How two runs differ as they are.
    ///
    /// # Errors
    /// [`crate::Error::UnknownRun`].
    pub fn diff(&self, a: RunId, b: RunId) -> Result<Diff> {
        self.diff_at((a, Point::Now), (b, Point::Now))
    }

    /// How two runs differ, each at a point; or two points of one run.
    ///
    /// # Errors
    /// [`crate::Error::UnknownRun`], for points of the past [`crate::HistoryError`].
    pub fn diff_at(&self, a: (RunId, Point), b: (RunId, Point)) -> Result<Diff> {
        self.engine().diff(a, b, DEFAULT_CONTEXT_EVENTS)
    }
}

impl Run {
    /// Makes a fork of the run as it is; see [`Database::fork`].
    ///
    /// # Errors
    /// As [`Database::fork`].
    pub fn fork(&self, options: ForkOptions) -> Result<Run> {
        let id = self.engine.fork(self.id, Point::Now, options.0)?;
        Run::find(self.engine.clone(), id)
    }
}
