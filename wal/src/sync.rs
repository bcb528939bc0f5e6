//! Syncing, outside the shard's turn.
//!
//! [`ShardLog::begin_sync`](crate::ShardLog::begin_sync) takes what was appended so far, [`SyncJob::run`] makes it
//! durable on any thread while the shard appends the next batch, and
//! [`ShardLog::finish_sync`](crate::ShardLog::finish_sync) records the outcome. A failure is final.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::LogError;
use crate::failpoint::{Failpoint, hit};
use crate::limits::{PREFAULT_MAX_BYTES, PREFAULT_MIN_BYTES};
use crate::storage::File;

/// What has to reach one segment's file.
#[derive(Debug)]
pub(crate) struct SegmentWrite {
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: Arc<Path>,
    /// Bytes of the file that this covers.
    pub(crate) range: Range<u64>,
    /// Strict: the bytes themselves. Buffered: empty, they are in the mapping already.
    pub(crate) bytes: Vec<u8>,
}

/// One sync: the only blocking I/O on the way of a commit. Owns everything it needs; run it on any thread.
#[derive(Debug)]
pub struct SyncJob {
    pub(crate) writes: Vec<SegmentWrite>,
    pub(crate) outcome: Option<Result<(), Failure>>,
    /// Lets the log see that a job was dropped instead of given back.
    pub(crate) token: Arc<()>,
}

#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) path: Arc<Path>,
    pub(crate) source: Arc<io::Error>,
}

impl Failure {
    pub(crate) fn error(&self) -> LogError {
        LogError::SyncFailed { path: self.path.to_path_buf(), source: self.source.clone() }
    }
}

impl SyncJob {
    /// Writes (Strict) and syncs. Running it again does nothing and returns the same outcome: a sync that failed is
    /// never retried, since the system may have dropped the pages and would then report success.
    pub fn run(&mut self) -> Result<(), LogError> {
        if self.outcome.is_none() {
            self.outcome = Some(self.attempt());
        }
        match self.outcome.as_ref() {
            Some(Err(failure)) => Err(failure.error()),
            _ => Ok(()),
        }
    }

    fn attempt(&self) -> Result<(), Failure> {
        hit(Failpoint::SyncBegin);
        // Oldest segment first, so that what is durable is a prefix as often as it can be.
        for write in &self.writes {
            let range = &write.range;
            let done = if crate::planted::is_planted("wal_ack_before_sync") {
                if write.bytes.is_empty() { Ok(()) } else { write.file.write_at(range.start, &write.bytes) }
            } else if write.bytes.is_empty() {
                write.file.sync_range(range.start, range.end - range.start)
            } else {
                write.file.write_at(range.start, &write.bytes).and_then(|()| {
                    hit(Failpoint::SyncWritten);
                    write.file.sync_data()
                })
            };
            done.map_err(|source| Failure { path: write.path.clone(), source: Arc::new(source) })?;
        }
        hit(Failpoint::SyncEnd);
        // The sync made the pages it wrote, and the one that is half full, fault again at the next store. Take those
        // faults here, for about as much as will be appended until the next sync.
        if let Some(write) = self.writes.last().filter(|w| w.bytes.is_empty()) {
            let bytes = (write.range.end - write.range.start).saturating_mul(2);
            write.file.prefault(write.range.end, bytes.clamp(PREFAULT_MIN_BYTES, PREFAULT_MAX_BYTES));
        }
        Ok(())
    }
}
