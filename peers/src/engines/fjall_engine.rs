//! fjall: its journal handed to the system at each put, or synced.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Engine, Key, Mode, Result, value};

struct Fjall {
    db: Database,
    keyspace: Keyspace,
    is_synced: bool,
}

pub fn open(path: &Path, mode: Mode) -> Result<Option<Box<dyn Engine>>> {
    if mode == Mode::Memory {
        return Ok(None);
    }
    let db = Database::builder(path.join("db")).open()?;
    let keyspace = db.keyspace("kv", KeyspaceCreateOptions::default)?;
    Ok(Some(Box::new(Fjall { db, keyspace, is_synced: mode == Mode::Synced })))
}

impl Engine for Fjall {
    fn put(&mut self, key: &Key) -> Result<()> {
        self.keyspace.insert(key, value())?;
        if self.is_synced {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn get(&mut self, key: &Key) -> Result<usize> {
        Ok(self.keyspace.get(key)?.map_or(0, |value| value.len()))
    }

    fn fill(&mut self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        for key in keys {
            self.keyspace.insert(key, value())?;
        }
        Ok(self.db.persist(PersistMode::SyncData)?)
    }
}
