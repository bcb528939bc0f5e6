//! The handle to a run.

use std::sync::Arc;
use std::time::Duration;

use in_mem_engine::command::{CommitRequest, RunChange, Write};
use in_mem_engine::{Engine, RunInfo, RunMeta, RunStatus};
use in_mem_model::{RunId, Tag, Timestamp, Value, limits};

use crate::steps::StepCursor;
use crate::transaction::Transaction;
use crate::{BeginRun, Error, Events, Kv, Result, State, Traces};

/// A handle to a run; cheap to clone and to share between threads.
#[derive(Debug, Clone)]
pub struct Run {
    pub(crate) engine: Arc<Engine>,
    pub(crate) id: RunId,
    /// Where it stands among the run's durable steps; shared by clones.
    pub(crate) cursor: Arc<StepCursor>,
}

impl Run {
    pub(crate) fn find(engine: Arc<Engine>, id: RunId) -> Result<Self> {
        match engine.get(id, Tag::Run, b"")? {
            Some(_) if !engine.is_arriving(id)? => Ok(Self { engine, id, cursor: Arc::default() }),
            _ => Err(Error::UnknownRun { run: id }),
        }
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Its key-value pairs.
    pub fn kv(&self) -> Kv<'_> {
        Kv { run: self }
    }

    /// Its event log.
    pub fn events(&self) -> Events<'_> {
        Events { run: self }
    }

    /// Its state cells.
    pub fn state(&self) -> State<'_> {
        State { run: self }
    }

    /// Its trace: a tree of spans.
    pub fn traces(&self) -> Traces<'_> {
        Traces { run: self }
    }

    /// What is known of it as a whole, and what it holds. Of a fork: what was written to it itself, without what it shares with the
    /// run it goes on from.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] where it was deleted since.
    pub fn info(&self) -> Result<RunInfo> {
        self.engine.run_info(self.id)?.ok_or(Error::UnknownRun { run: self.id })
    }

    /// Where it stands.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] where it was deleted since.
    pub fn status(&self) -> Result<RunStatus> {
        Ok(self.info()?.meta.status)
    }

    /// The settings of a child to begin: a run of its own, on the same shard, so that both can be written in one
    /// transaction.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] where this run was deleted since.
    pub fn child(&self, name: impl AsRef<str>) -> Result<BeginRun> {
        let meta = self.info()?.meta;
        Ok(BeginRun::new(self.engine.clone(), name.as_ref()).child_of(self.id, meta.root, meta.namespace))
    }

    /// Ends the run, or moves it on in its life.
    ///
    /// # Errors
    /// [`crate::WriteError::InvalidStatus`] where it cannot become that; [`crate::WriteError::EndlessMemory`] where it is a
    /// namespace's memory ([`crate::Database::memory`]), which does not end; nothing was changed.
    pub fn end(&self, status: RunStatus) -> Result<()> {
        if status == RunStatus::Completed && self.cursor.is_used() {
            self.finish_steps()?;
        }
        self.change(RunChange { status: Some(status), ..RunChange::default() })
    }

    /// Ends the run at another time than now: for imports.
    ///
    /// # Errors
    /// As [`Run::end`].
    pub fn end_at(&self, status: RunStatus, error: Option<&str>, at: Timestamp) -> Result<()> {
        self.change(RunChange {
            status: Some(status),
            error: error.map(Arc::from),
            at: Some(at),
            ..RunChange::default()
        })
    }

    /// Ends the run as failed, and says why.
    ///
    /// # Errors
    /// As [`Run::end`].
    pub fn fail(&self, error: impl AsRef<str>) -> Result<()> {
        self.change(RunChange {
            status: Some(RunStatus::Failed),
            error: Some(Arc::from(error.as_ref())),
            ..RunChange::default()
        })
    }

    /// Sets the run aside; [`Run::go_on`] takes it up again.
    ///
    /// # Errors
    /// As [`Run::end`].
    pub fn pause(&self) -> Result<()> {
        self.end(RunStatus::Paused)
    }

    /// Takes up a run that was made or paused.
    ///
    /// # Errors
    /// As [`Run::end`].
    pub fn go_on(&self) -> Result<()> {
        self.end(RunStatus::Running)
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`crate::WriteError::RunEnded`]; nothing was changed.
    pub fn rename(&self, name: impl AsRef<str>) -> Result<()> {
        check_name(name.as_ref())?;
        self.change(RunChange { name: Some(Arc::from(name.as_ref())), ..RunChange::default() })
    }

    /// Changes the words to find it by.
    ///
    /// # Errors
    /// [`crate::WriteError::RunEnded`]; nothing was changed.
    pub fn set_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) -> Result<()> {
        let tags: Vec<Arc<str>> = tags.into_iter().map(|t| Arc::from(t.as_ref())).collect();
        check_tags(&tags)?;
        self.change(RunChange { tags: Some(tags), ..RunChange::default() })
    }

    /// Changes what else is known of it.
    ///
    /// # Errors
    /// [`crate::WriteError::RunEnded`]; nothing was changed.
    pub fn set_metadata(&self, metadata: impl Into<Value>) -> Result<()> {
        let metadata = metadata.into();
        metadata.check()?;
        self.change(RunChange { metadata: Some(metadata), ..RunChange::default() })
    }

    /// Deletes the run and all it holds. Its children stay.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] where it was deleted before.
    pub fn delete(&self) -> Result<()> {
        let mut request = CommitRequest::new(self.id);
        request.writes.push((self.id, Write::DropRun));
        self.engine.commit(request).map(|_| ())
    }

    fn change(&self, change: RunChange) -> Result<()> {
        let mut request = CommitRequest::new(self.id);
        request.writes.push((self.id, Write::ChangeRun(Box::new(change))));
        self.engine.commit(request).map(|_| ())
    }

    /// Runs a transaction over the run and its children: what the closure reads is one state of them, what it writes is
    /// made whole or not at all, and the outcome is as if transactions ran one after the other. Where something that was
    /// read has changed meanwhile, the closure runs again, so it must do nothing that cannot be repeated.
    ///
    /// # Errors
    /// The closure's error, with nothing written; or [`crate::WriteError::Conflict`], naming the key, when
    /// [`Transaction::ATTEMPTS`] tries all met a change.
    pub fn transaction<T>(&self, body: impl FnMut(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
        Transaction::run(self, None, body)
    }

    /// As [`Run::transaction`], giving up when the time is over.
    ///
    /// # Errors
    /// As [`Run::transaction`], and [`Error::Deadline`].
    pub fn transaction_within<T>(
        &self,
        limit: Duration,
        body: impl FnMut(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        Transaction::run(self, Some(limit), body)
    }

    /// Begins a transaction that is ended by hand: [`Transaction::commit`], or dropped to give it up.
    ///
    /// # Errors
    /// [`crate::SnapshotError::TooMany`].
    pub fn begin(&self) -> Result<Transaction<'_>> {
        Transaction::begin(self)
    }
}

/// Refuses what is too long to be kept of a run.
pub(crate) fn check_meta(meta: &RunMeta) -> Result<()> {
    check_name(&meta.name)?;
    check_tags(&meta.tags)?;
    meta.metadata.check()?;
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let limit = limits::MAX_RUN_NAME_BYTES;
    if name.len() > limit { Err(Error::TooLong { what: "the run's name, in bytes,", limit }) } else { Ok(()) }
}

/// Refuses more or longer tags than a run or a span may have.
pub(crate) fn check_tags(tags: &[Arc<str>]) -> Result<()> {
    let refuse = |what: &'static str, limit: usize| Err(Error::TooLong { what, limit });
    if tags.len() > limits::MAX_LABELS_PER_RUN {
        return refuse("the count of tags", limits::MAX_LABELS_PER_RUN);
    }
    if tags.iter().any(|t| t.len() > limits::MAX_LABEL_VALUE_BYTES) {
        return refuse("a tag, in bytes,", limits::MAX_LABEL_VALUE_BYTES);
    }
    Ok(())
}
