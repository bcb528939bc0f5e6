//! What is measured: a database with a run full of keys, and the maps it is compared with.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use in_mem::{Database, Durability, Execution, Result, Run, RunId, Timestamp, Value};

/// A 16-byte key.
pub(crate) type Key = [u8; 16];

/// Keys in an order that has nothing to do with their bytes.
pub(crate) fn keys(count: usize) -> Vec<Key> {
    (0..count as u64).map(key).collect()
}

pub(crate) fn key(number: u64) -> Key {
    // splitmix64: no two numbers give the same first half.
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed.to_le_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A value of 100 bytes, freshly made: what every put of ours and of a baseline pays for.
pub(crate) fn fresh() -> Value {
    Value::Bytes(Arc::from([7_u8; 100]))
}

pub(crate) fn in_memory(execution: Execution, shards: usize) -> Result<Database> {
    Database::builder().durability(Durability::InMemory).execution(execution).shards(shards).open()
}

/// A directory for databases, on the disk that the repository lies on: where temporary files go may be memory.
pub(crate) fn scratch() -> std::io::Result<tempfile::TempDir> {
    std::fs::create_dir_all("target")?;
    tempfile::Builder::new().prefix("gates-").tempdir_in("target")
}

/// Buffered, with this long between syncs.
pub(crate) fn buffered(path: &std::path::Path, interval: Duration) -> Result<Database> {
    let durability = Durability::Buffered { interval, bytes: u64::MAX };
    Database::builder().path(path).durability(durability).shards(1).open()
}

/// A run with all the keys put.
pub(crate) fn filled(db: &Database, keys: &[Key]) -> Result<Run> {
    let run = db.begin_run("gates")?;
    for key in keys {
        run.kv().put(key, fresh())?;
    }
    Ok(run)
}

/// Two runs on two shards of a database that has both.
pub(crate) fn two_runs(db: &Database) -> Result<[Run; 2]> {
    let begin = |shard| {
        (0..=u16::MAX)
            .map(|routing| RunId::generate(Timestamp(1)).with_routing(routing))
            .find(|id| db.engine().shard_of(*id) == shard)
            .map_or_else(|| db.begin_run("gates"), |id| db.new_run("gates").id(id).begin())
    };
    Ok([begin(0)?, begin(1)?])
}

pub(crate) fn dash(keys: &[Key]) -> DashMap<Key, Value> {
    keys.iter().map(|key| (*key, fresh())).collect()
}

pub(crate) fn hash(keys: &[Key]) -> HashMap<Key, Value> {
    keys.iter().map(|key| (*key, fresh())).collect()
}

/// A random one.
pub(crate) fn any<'k>(random: &mut fastrand::Rng, keys: &'k [Key]) -> &'k Key {
    &keys[random.usize(..keys.len())]
}
