//! in-mem: InMemory, Buffered, Strict; one shard.

use std::path::Path;
use std::sync::Arc;

use in_mem::{Database, Durability, Run, Value};

use super::{Engine, Key, Mode, Result, value};

struct InMem {
    run: Run,
}

pub fn open(path: &Path, mode: Mode) -> Result<Option<Box<dyn Engine>>> {
    let builder = Database::builder().shards(1);
    let db = match mode {
        Mode::Memory => builder.durability(Durability::InMemory).open()?,
        Mode::NotSynced => builder.path(path).durability(Durability::buffered()).open()?,
        Mode::Synced => builder.path(path).durability(Durability::Strict).open()?,
    };
    Ok(Some(Box::new(InMem { run: db.begin_run("peers")? })))
}

impl Engine for InMem {
    fn put(&mut self, key: &Key) -> Result<()> {
        self.run.kv().put(key, Value::Bytes(Arc::from(value())))?;
        Ok(())
    }

    fn get(&mut self, key: &Key) -> Result<usize> {
        Ok(match self.run.kv().get(key)? {
            Some(Value::Bytes(bytes)) => bytes.len(),
            _ => 0,
        })
    }

    fn fill(&mut self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        let keys: Vec<Key> = keys.collect();
        for some in keys.chunks(1_000) {
            let pairs = some.iter().map(|key| (key, Value::Bytes(Arc::from(value()))));
            self.run.kv().put_many(pairs)?;
        }
        Ok(())
    }
}
