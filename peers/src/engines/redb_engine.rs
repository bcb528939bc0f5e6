//! redb: a transaction for each operation; in-memory backend, `Durability::None`, `Durability::Immediate`.

use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{Engine, Key, Mode, Result, value};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("kv");

struct Redb {
    db: Database,
    durability: Durability,
}

pub fn open(path: &Path, mode: Mode) -> Result<Option<Box<dyn Engine>>> {
    let db = match mode {
        Mode::Memory => Database::builder().create_with_backend(InMemoryBackend::new())?,
        _ => Database::create(path.join("db"))?,
    };
    let durability = if mode == Mode::Synced { Durability::Immediate } else { Durability::None };
    Ok(Some(Box::new(Redb { db, durability })))
}

impl Redb {
    fn write(&self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for key in keys {
                table.insert(key.as_slice(), value().as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for Redb {
    fn put(&mut self, key: &Key) -> Result<()> {
        self.write(&mut std::iter::once(*key))
    }

    fn get(&mut self, key: &Key) -> Result<usize> {
        let table = self.db.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key.as_slice())?.map_or(0, |value| value.value().to_vec().len()))
    }

    fn fill(&mut self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        self.write(keys)
    }
}
