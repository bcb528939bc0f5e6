//! The engines, each behind the same two operations.

mod dash;
mod fjall_engine;
mod inmem;
mod lmdb;
mod redb_engine;
mod sled_engine;
mod sqlite;

use std::path::Path;

/// A 16-byte key.
pub type Key = [u8; 16];
/// How long a value is.
pub const VALUE_BYTES: usize = 100;
/// What any of them may say.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What a put waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing has to last.
    Memory,
    /// A log or a file is written, but no put waits for the disk: a killed process loses nothing where the engine can say so.
    NotSynced,
    /// Every put waits for the disk.
    Synced,
}

impl Mode {
    /// As figures are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::NotSynced => "not-synced",
            Self::Synced => "synced",
        }
    }
}

/// An engine at work.
pub trait Engine {
    /// Puts a freshly made value.
    fn put(&mut self, key: &Key) -> Result<()>;
    /// How long the value is, read as its owner gets it; 0: there is none.
    fn get(&mut self, key: &Key) -> Result<usize>;
    /// Puts all keys, in whatever way is quickest.
    fn fill(&mut self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        for key in keys {
            self.put(&key)?;
        }
        Ok(())
    }
}

type Open = fn(&Path, Mode) -> Result<Option<Box<dyn Engine>>>;

/// All of them; one that has no such mode opens as nothing.
pub const ENGINES: &[(&str, Open)] = &[
    ("dashmap", dash::open),
    ("in-mem", inmem::open),
    ("sqlite", sqlite::open),
    ("redb", redb_engine::open),
    ("fjall", fjall_engine::open),
    ("sled", sled_engine::open),
    ("lmdb", lmdb::open),
];

/// A value that was not put before: SQLite writes, and syncs, nothing where the bytes in place are the same.
fn value() -> [u8; VALUE_BYTES] {
    thread_local!(static MADE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
    let number = MADE.replace(MADE.get() + 1);
    let mut value = [7; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_le_bytes());
    std::hint::black_box(value)
}
