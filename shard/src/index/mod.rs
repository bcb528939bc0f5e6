//! The shared index: one writer, readers that take no lock and never wait.
//!
//! - Outside in: [`IndexReader`] and [`Pin`] (reader), [`IndexWriter`] (writer), then the `table` they meet in, the
//!   `node`s it points at, the `epoch` that says who reads what, and `reclaim`, which frees what nobody can see.
//! - Only the writer has the `order` of keys, for scans, and the `arena` that all memory comes from.
//!
//! One mechanism serves snapshots and memory reclamation: the commit version. It is argued in `epoch`, and explored by
//! loom in `loom-tests`.

#![allow(
    unsafe_code,
    reason = "readers follow pointers that the writer swings; each block names what makes that sound"
)]

mod arena;
mod epoch;
mod hash;
mod key;
mod limits;
mod node;
mod order;
mod reader;
mod reclaim;
mod retention;
mod slab;
mod table;
mod table_writer;
mod threads;
mod writer;

pub use hash::RunHash;
pub use key::{HashedKey, KeyRef};
pub use limits::{COLLECT_INTERVAL_COMMITS, DEFAULT_SNAPSHOT_BYTES, MAX_PINS};
pub use reader::{Cursor, IndexReader, OwnedRow, Pin, ReadError, TooManySnapshots};
pub use retention::Retention;
#[cfg(inmem_loom)]
pub use threads::set_number as set_thread_number;
pub use writer::{
    Direction, IndexConfig, IndexStats, IndexWriter, Installed, NodeView, PageEnd, PageLimit, Row, ScanRange,
};
