//! The write-ahead log of in-mem: bytes only, never values.
//!
//! A [`ShardLog`] is the log of one shard: segments in one directory, appended to by the shard's single writer. It
//! has no thread, lock or clock of its own, and the same calls give the same bytes. Blocking work is handed out as
//! jobs ([`SyncJob`], [`SpareJob`], [`ReleaseJob`]) that any thread may run while the writer goes on.
//!
//! ```
//! use std::sync::Arc;
//! use in_mem_wal::{Config, Entry, ShardLog, SimDisk};
//!
//! let disk = Arc::new(SimDisk::new(7));
//! let dir = std::path::Path::new("/db/shard-0000");
//! let (mut log, _) = ShardLog::recover(disk.clone(), dir, Config::default(), 42, None, &mut |_| Ok(()))?;
//! let entry = Entry { kind: 1, skippable: false, run: [0; 16], version: 1, timestamp: 0, payload: b"hello" };
//! let lsn = log.append(entry)?;
//! assert!(log.sync()? >= lsn);
//! log.close()?;
//!
//! let mut seen = Vec::new();
//! ShardLog::recover(disk, dir, Config::default(), 42, None, &mut |record| {
//!     seen.push(record.payload.to_vec());
//!     Ok(())
//! })?;
//! assert_eq!(seen, [b"hello"]);
//! # Ok::<(), in_mem_wal::LogError>(())
//! ```
//!
//! The format is described in `docs/wal-format.md`, the rules for the end of the log in [`EndCase`].

mod beginning;
pub mod check;
mod check_history;
pub mod checkpoint;
mod copies;
mod end_of_log;
pub mod erase;
mod error;
pub mod failpoint;
mod found;
pub mod history;
pub mod index;
pub mod limits;
mod lock;
mod log;
mod lsn;
pub mod manifest;
pub mod planted;
mod reach;
mod record;
mod recovery;
mod release;
mod run_reader;
mod scan;
mod seen;
mod segment;
mod spare;
pub mod storage;
mod sync;

pub use beginning::read_from_beginning;
pub use check::{CheckReport, Problem, SalvageReport, check, salvage};
pub use check_history::check_history;
pub use checkpoint::{CheckpointInfo, CheckpointReader, CheckpointWriter};
pub use end_of_log::{EndCase, Verdict};
pub use erase::{Erased, Fate, erase, has_set_aside, remove_set_aside};
pub use error::{ApplyError, Corruption, LogError, salvage_command};
pub use failpoint::Failpoint;
pub use history::HistoryReader;
pub use index::SegmentIndex;
pub use lock::{DirLock, ReadLock};
pub use log::{Config, Mode, SealedSegment, ShardLog};
pub use lsn::Lsn;
pub use manifest::Manifest;
pub use reach::oldest_version;
pub use record::{Entry, HEADER_BYTES, Position, RecordView};
pub use recovery::{ReadLog, RecoveryReport, TornTail};
pub use release::{Disposal, ReleaseJob, Released, finish_archiving};
pub use run_reader::Extent;
pub use seen::Seen;
pub use segment::{FORMAT_VERSION, SEGMENT_HEADER_BYTES, segment_name};
pub use spare::{Spare, SpareJob};
pub use storage::{DiskStorage, File, Mapped, OpenMode, SimDisk, Storage};
pub use sync::SyncJob;
