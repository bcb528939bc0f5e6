//! LMDB: a transaction for each operation; `NO_SYNC`, or synced.

use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use super::{Engine, Key, Mode, Result, value};

/// Bytes of address space for the map.
const MAP_BYTES: usize = 1 << 30;

struct Lmdb {
    env: Env,
    db: Database<Bytes, Bytes>,
}

pub fn open(path: &Path, mode: Mode) -> Result<Option<Box<dyn Engine>>> {
    if mode == Mode::Memory {
        return Ok(None);
    }
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    if mode == Mode::NotSynced {
        // SAFETY: without syncs a power cut may break the files; these are thrown away with the process.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: the files are this process's own, in a directory made for it, and opened once.
    let env = unsafe { options.open(path)? };
    let mut transaction = env.write_txn()?;
    let db = env.create_database(&mut transaction, None)?;
    transaction.commit()?;
    Ok(Some(Box::new(Lmdb { env, db })))
}

impl Engine for Lmdb {
    fn put(&mut self, key: &Key) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        self.db.put(&mut transaction, key, &value())?;
        Ok(transaction.commit()?)
    }

    fn get(&mut self, key: &Key) -> Result<usize> {
        let transaction = self.env.read_txn()?;
        Ok(self.db.get(&transaction, key)?.map_or(0, |value| value.to_vec().len()))
    }

    fn fill(&mut self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for key in keys {
            self.db.put(&mut transaction, &key, &value())?;
        }
        Ok(transaction.commit()?)
    }
}
