//! sled: flushed by its own thread, or after each put.

use std::path::Path;

use super::{Engine, Key, Mode, Result, value};

struct Sled {
    db: sled::Db,
    is_synced: bool,
}

pub fn open(path: &Path, mode: Mode) -> Result<Option<Box<dyn Engine>>> {
    if mode == Mode::Memory {
        return Ok(None);
    }
    Ok(Some(Box::new(Sled { db: sled::open(path.join("db"))?, is_synced: mode == Mode::Synced })))
}

impl Engine for Sled {
    fn put(&mut self, key: &Key) -> Result<()> {
        self.db.insert(key, value().as_slice())?;
        if self.is_synced {
            self.db.flush()?;
        }
        Ok(())
    }

    fn get(&mut self, key: &Key) -> Result<usize> {
        Ok(self.db.get(key)?.map_or(0, |value| value.len()))
    }

    fn fill(&mut self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        for key in keys {
            self.db.insert(key, value().as_slice())?;
        }
        self.db.flush()?;
        Ok(())
    }
}
