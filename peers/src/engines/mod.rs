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
        keys.try_for_each(|key| self.put(&key))
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

fn value() -> [u8; VALUE_BYTES] {
    std::hint::black_box([7; VALUE_BYTES])
}
