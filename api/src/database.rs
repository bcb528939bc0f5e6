//! The handle to a database.

use std::path::Path;
use std::sync::Arc;

pub use in_mem_engine::{BackupReport, CheckpointStats, ShardStats, Stats};
use in_mem_engine::{Durability, Engine};
use in_mem_model::{Namespace, RunId};

use crate::{BeginRun, Builder, Result, Run, Runs};

/// A handle to a database; cheap to clone and to share between threads. The database closes, cleanly, when the last handle to it,
/// its runs included, is dropped.
#[derive(Debug, Clone)]
pub struct Database {
    engine: Arc<Engine>,
}

impl Database {
    /// Opens the database in this directory, making it where there is none, with [`Durability::buffered`].
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().path(path).open()
    }

    /// A database that lives in memory only.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn in_memory() -> Result<Self> {
        Self::builder().durability(Durability::InMemory).open()
    }

    /// The settings to open a database with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn from_engine(engine: Engine) -> Self {
        Self { engine: Arc::new(engine) }
    }

    /// The engine below, for what this crate does not offer.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Begins a run with this name in the default namespace.
    ///
    /// # Errors
    /// [`crate::Error`]; no run was made.
    pub fn begin_run(&self, name: impl AsRef<str>) -> Result<Run> {
        self.new_run(name).begin()
    }

    /// The settings of a run to begin: its id, namespace, tags and more.
    pub fn new_run(&self, name: impl AsRef<str>) -> BeginRun {
        BeginRun::new(self.engine.clone(), name.as_ref())
    }

    /// The run with this id.
    ///
    /// # Errors
    /// [`crate::Error::UnknownRun`] where there is none.
    pub fn run(&self, id: RunId) -> Result<Run> {
        Run::find(self.engine.clone(), id)
    }

    /// Takes a run over that another process left at work: it is orphaned no more.
    ///
    /// # Errors
    /// [`crate::Error::UnknownRun`] where there is none.
    pub fn resume(&self, id: RunId) -> Result<Run> {
        let run = self.run(id)?;
        self.engine.adopt(id)?;
        Ok(run)
    }

    /// What a namespace remembers beyond any run: the same primitives, under an id that the namespace gives. It does not end, is
    /// no run that [`Database::runs`] lists unless asked to ([`Runs::with_memories`]), and no retention takes it.
    ///
    /// ```
    /// # fn main() -> in_mem::Result<()> {
    /// use in_mem::{Database, Namespace};
    ///
    /// let db = Database::in_memory()?;
    /// let memory = db.memory(&Namespace::new("acme", "support", "scout")?)?;
    /// memory.kv().put("user/42/language", "nb")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`crate::Error`] where it could not be made.
    pub fn memory(&self, namespace: &Namespace) -> Result<Run> {
        let id = RunId::for_namespace(namespace);
        match self.run(id) {
            Err(crate::Error::UnknownRun { .. }) => {
                let begun =
                    self.new_run(namespace.to_string()).id(id).namespace(namespace.clone()).memory().begin();
                match begun {
                    // Another thread was first.
                    Err(crate::Error::Write(crate::WriteError::RunExists { .. })) => self.run(id),
                    other => other,
                }
            }
            other => other,
        }
    }

    /// The runs there are, to be narrowed, ordered and paged.
    pub fn runs(&self) -> Runs {
        Runs::new(self.engine.clone())
    }

    /// What the shards count.
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn stats(&self) -> Result<Stats> {
        self.engine.stats()
    }

    /// Waits until everything that was acknowledged is on the disk.
    ///
    /// # Errors
    /// [`crate::Error::OutcomeUnknown`] where the log failed.
    pub fn sync(&self) -> Result<()> {
        self.engine.sync()
    }

    /// Writes a checkpoint of every shard that changed since its last, now. It happens by itself too, by time and by the log's
    /// growth: see [`Builder::checkpoint_interval`]. Gives what was written, shard by shard.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`]; the database goes on as before.
    pub fn checkpoint(&self) -> Result<Vec<Option<CheckpointStats>>> {
        self.engine.checkpoint()
    }

    /// Writes a consistent copy of the database into a directory that is empty or not there yet, while the database goes on.
    /// The copy opens anywhere. It holds the state of all runs, not the log they came from.
    ///
    /// # Errors
    /// [`crate::OpenError::NotEmpty`], [`crate::Error::Checkpoint`]; the database goes on as before.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<BackupReport> {
        self.engine.backup(to.as_ref())
    }

    /// Does one round of the engine's own work (syncs, expiry) where it has no threads: for the simulator.
    ///
    /// # Errors
    /// [`crate::Error::OutcomeUnknown`] where the log failed.
    pub fn step(&self) -> Result<()> {
        self.engine.step()
    }

    /// Closes the database: every command that was accepted is answered, the log is synced and closed. Other handles
    /// get [`crate::Error::Closed`] from then on. Dropping the last handle does the same, but has nobody to tell of an error.
    ///
    /// # Errors
    /// What the log says.
    pub fn close(&self) -> Result<()> {
        self.engine.close()
    }
}
