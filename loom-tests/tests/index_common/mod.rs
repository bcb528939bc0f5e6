//! What the models of the index share: a writer with a version count, and keys that are numbers.
#![allow(dead_code, unreachable_pub, reason = "each model uses its part")]

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{
    HashedKey, IndexConfig, IndexReader, IndexWriter, KeyRef, Pin, ReadError, set_thread_number,
};

pub const RUN: RunId = RunId::from_bytes([0; 16]);
const USERS: [[u8; 1]; 8] = [[0], [1], [2], [3], [4], [5], [6], [7]];

pub struct Bed {
    pub writer: IndexWriter,
    pub version: u64,
}

impl Bed {
    pub fn new() -> Self {
        set_thread_number(0);
        Self { writer: IndexWriter::new(IndexConfig::new(1)), version: 0 }
    }

    /// Installs and publishes one commit. `None` deletes.
    pub fn commit(&mut self, writes: &[(usize, Option<i64>)]) {
        self.version += 1;
        for &(key, value) in writes {
            let key = self.writer.hashed(self.writer.run_hash(&RUN), KeyRef::new(RUN, Tag::Kv, &USERS[key]));
            self.writer.install(&key, Version(self.version), Timestamp(0), None, value.map(Value::Int));
        }
        self.writer.publish(Version(self.version));
    }
}

pub fn hashed(reader: &IndexReader, key: usize) -> HashedKey<'static> {
    reader.hashed(reader.run_hash(&RUN), KeyRef::new(RUN, Tag::Kv, &USERS[key]))
}

fn number(value: &Value) -> i64 {
    let Value::Int(number) = value else { panic!("only numbers are stored") };
    *number
}

pub fn get(reader: &IndexReader, key: usize) -> Option<i64> {
    let read = reader.get_latest(&hashed(reader, key), || Timestamp(0)).unwrap();
    read.map(|seen| number(&seen.value))
}

pub fn try_read(pin: &Pin, key: usize) -> Result<Option<i64>, ReadError> {
    let read = pin.get(&hashed(pin.reader(), key), || Timestamp(0))?;
    Ok(read.map(|seen| number(&seen.value)))
}

pub fn read(pin: &Pin, key: usize) -> Option<i64> {
    try_read(pin, key).unwrap()
}

/// Explores with at most `LOOM_MAX_PREEMPTIONS`, two unless told.
pub fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = 20_000;
    builder.check(check);
}
