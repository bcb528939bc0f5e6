//! How a database is opened, setting by setting.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use in_mem_engine::{
    Clock, Config, Durability, Engine, Execution, Pinning, ProgressCallback, RecoveryProgress,
    RetentionPolicy, Storage,
};

use crate::{Database, Result};

/// Settings of a database, each with a default that suits an agent on a laptop and a server alike.
///
/// ```
/// use in_mem::{Database, Durability};
///
/// # fn main() -> in_mem::Result<()> {
/// let dir = tempfile::tempdir().expect("a directory");
/// let db = Database::builder().path(dir.path()).durability(Durability::Strict).shards(2).open()?;
/// assert_eq!(db.stats()?.shards.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    path: Option<PathBuf>,
    config: Config,
}

impl Builder {
    /// Where the database lies: a directory, made where there is none. Without one it lives in memory only.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_owned());
        self
    }

    /// When a commit is acknowledged. Default: [`Durability::buffered`] with a path.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.config.durability = durability;
        self
    }

    /// How many shards. Default: the cores that this process may use, or what the database on disk has. Where that has another
    /// number, every run is moved to the shard that owns it now.
    pub fn shards(mut self, shards: usize) -> Self {
        self.config.shards = Some(shards);
        self
    }

    /// Whether the shards' home threads are pinned to cores. Default: where there are enough of them.
    pub fn pinning(mut self, pinning: Pinning) -> Self {
        self.config.pinning = pinning;
        self
    }

    /// Whether a caller that finds a shard idle runs its turn itself, or always hands over to the shard's own thread.
    pub fn execution(mut self, execution: Execution) -> Self {
        self.config.execution = execution;
        self
    }

    /// How many commands may wait at a shard. Default 1,024.
    pub fn inbox_capacity(mut self, commands: usize) -> Self {
        self.config.inbox_capacity = commands;
        self
    }

    /// How large a log segment is, in bytes. Default 16 MiB; smaller ones are made and recycled more often.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.config.segment_bytes = bytes;
        self
    }

    /// How much memory snapshots may hold back, in bytes per shard, before the oldest expires. Default 1 GiB.
    pub fn snapshot_limit_bytes(mut self, bytes: usize) -> Self {
        self.config.snapshot_limit_bytes = bytes;
        self
    }

    /// How often a checkpoint is written of shards that changed, so that opening again is quick; longer than nothing. Default 5
    /// minutes; `None`: not by time.
    pub fn checkpoint_interval(mut self, interval: Option<Duration>) -> Self {
        self.config.checkpoint_interval = interval;
        self
    }

    /// How long the log of a shard grows, in bytes, before a checkpoint is written of it. Default 256 MiB; `None`: not by size.
    pub fn checkpoint_log_bytes(mut self, bytes: Option<u64>) -> Self {
        self.config.checkpoint_log_bytes = bytes;
        self
    }

    /// Whether log that a checkpoint covers is kept for replay and history. Default yes; without, its space is used again, and
    /// what a run was before its last checkpoint cannot be shown.
    pub fn keep_history(mut self, keep: bool) -> Self {
        self.config.keep_history = keep;
        self
    }

    /// Takes away ended runs in the background, by this policy: at opening, and then again and again, as
    /// [`Database::prune`](crate::Database::prune) does by hand. May be given several times, such as once for each namespace. Default: none,
    /// everything is kept.
    ///
    /// ```
    /// use std::time::Duration;
    /// use in_mem::{Database, RetentionPolicy, RunStatus};
    ///
    /// # fn main() -> in_mem::Result<()> {
    /// let month = Duration::from_secs(30 * 24 * 3_600);
    /// let dir = tempfile::tempdir().expect("a directory");
    /// let db = Database::builder()
    ///     .path(dir.path())
    ///     .retention(RetentionPolicy { older_than: Some(month), ..RetentionPolicy::default() })
    ///     .retention(RetentionPolicy {
    ///         keep_newest: Some(100),
    ///         status: vec![RunStatus::Failed],
    ///         tenant: Some("acme".into()),
    ///         history_only: true,
    ///         ..RetentionPolicy::default()
    ///     })
    ///     .open()?;
    /// assert!(db.stats()?.retention.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn retention(mut self, policy: RetentionPolicy) -> Self {
        self.config.retention.push(policy);
        self
    }

    /// How often retention is carried out; longer than nothing. Default: every 10 minutes, the first time at opening.
    pub fn retention_interval(mut self, interval: Duration) -> Self {
        self.config.retention_interval = interval;
        self
    }

    /// Has this told how far recovery has come, for a progress bar. It is called from several threads.
    pub fn on_progress(mut self, callback: impl Fn(RecoveryProgress) + Send + Sync + 'static) -> Self {
        self.config.progress = Some(ProgressCallback::new(callback));
        self
    }

    /// A clock other than the system's: for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.config.clock = clock;
        self
    }

    /// A storage other than the file system: for the simulator.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.config.storage = Some(storage);
        self
    }

    /// What every choice that would be random is taken from instead: for the simulator.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.hash_seed = Some(seed);
        self
    }

    /// Whether the engine has threads of its own. Without them, [`Database::step`] does their work: for the simulator.
    pub fn background(mut self, threads: bool) -> Self {
        self.config.background = threads;
        self
    }

    /// The seed of everything that is drawn by lot inside (the index's hash, the salts of a new log): for the simulator, whose
    /// runs repeat byte for byte. Users leave it alone, so that nobody can foresee which keys share a place.
    #[doc(hidden)]
    pub fn hash_seed(mut self, seed: u64) -> Self {
        self.config.hash_seed = Some(seed);
        self
    }

    /// Opens the database; one on disk is recovered first.
    ///
    /// # Errors
    /// [`crate::OpenError`]: the path is not a directory or not a database, this process may not write there, another
    /// process has it open, its log is damaged, it is of a newer version, a setting cannot be.
    pub fn open(self) -> Result<Database> {
        let engine = match self.path {
            Some(path) => Engine::open(&path, self.config)?,
            None => Engine::in_memory(self.config)?,
        };
        Ok(Database::from_engine(engine))
    }
}
