//! Telling how far a recovery has come.

use std::fmt;
use std::sync::Arc;

/// What a recovery is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryPhase {
    /// Loading the checkpoint.
    Checkpoint,
    /// Applying the log behind it.
    Log,
    /// Building the shards anew, since their number changed.
    Rerouting,
    /// The shard is back.
    Done,
}

/// How far one shard's recovery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryProgress {
    /// The shard.
    pub shard: usize,
    /// How many shards there are.
    pub shards: usize,
    /// What it is at.
    pub phase: RecoveryPhase,
    /// Entries loaded or transactions applied in this phase.
    pub items: u64,
    /// How many bytes the phase has to read; `None` where that is not known.
    pub bytes_total: Option<u64>,
    /// Bytes read so far.
    pub bytes: u64,
}

/// A callback for [`RecoveryProgress`]; called from the threads that recover, so it has to be quick.
#[derive(Clone)]
pub struct ProgressCallback(Arc<dyn Fn(RecoveryProgress) + Send + Sync>);

impl ProgressCallback {
    /// Wraps a function.
    pub fn new(callback: impl Fn(RecoveryProgress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    pub(crate) fn tell(&self, progress: RecoveryProgress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for ProgressCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressCallback")
    }
}
