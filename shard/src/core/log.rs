//! Where a core's records go: nowhere, or to the shard's log; and from when on a commit may be shown.

use in_mem_model::{RunId, Timestamp, Version};
use in_mem_wal::{Entry, LogError, Mode, RecordView, ShardLog};

use super::ReplayError;

/// A commit on one run.
pub const COMMIT_KIND: u8 = 1;
/// A commit on several runs of one lineage. Its record is under [`lineage_id`], so that the history of one run is found
/// under two ids: its own, and its lineage's.
pub const COMMIT_SEVERAL_KIND: u8 = 2;

/// What a record of the log did, as the payload of a commit: nothing, where it is of a kind that this version does not know and may pass
/// over. Its version is one of the log's all the same.
///
/// # Errors
/// [`ReplayError::Kind`] where it may not.
pub fn effects_of<'a>(record: &RecordView<'a>) -> Result<&'a [u8], ReplayError> {
    match record.kind {
        COMMIT_KIND | COMMIT_SEVERAL_KIND => Ok(record.payload),
        _ if record.skippable => Ok(&[]),
        kind => Err(ReplayError::Kind { kind }),
    }
}

/// The id under which the log has the commits that span several runs with these routing bits.
pub fn lineage_id(run: RunId) -> RunId {
    RunId::from_bytes([0; 16]).with_routing(run.routing())
}

/// Where a core's records go.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one a shard, and never moved")]
pub enum Log {
    /// Nowhere: everything is lost with the process.
    None,
    /// To the shard's write-ahead log.
    Wal(ShardLog),
}

impl Log {
    pub(crate) fn append(
        &mut self,
        run: RunId,
        version: Version,
        at: Timestamp,
        several_runs: bool,
        payload: &[u8],
    ) -> Result<(), LogError> {
        match self {
            Self::None => Ok(()),
            Self::Wal(log) => log
                .append(Entry {
                    kind: if several_runs { COMMIT_SEVERAL_KIND } else { COMMIT_KIND },
                    skippable: false,
                    run: *run.as_bytes(),
                    version: version.0,
                    timestamp: at.0,
                    payload,
                })
                .map(|_| ()),
        }
    }

    /// Whether a commit is shown and answered only when it is on the disk.
    pub fn waits_for_disk(&self) -> bool {
        matches!(self, Self::Wal(log) if log.config().mode == Mode::Strict)
    }

    /// Why the log takes no more records, where it does not.
    pub fn poisoned(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Wal(log) => log.poisoned().map(str::to_owned),
        }
    }

    /// The shard's write-ahead log, where there is one.
    pub fn wal(&self) -> Option<&ShardLog> {
        match self {
            Self::None => None,
            Self::Wal(log) => Some(log),
        }
    }

    /// The shard's write-ahead log, where there is one.
    pub fn wal_mut(&mut self) -> Option<&mut ShardLog> {
        match self {
            Self::None => None,
            Self::Wal(log) => Some(log),
        }
    }
}
