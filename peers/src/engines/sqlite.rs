//! SQLite: a table with a blob key, statements kept; in memory, WAL without and with a sync for each commit.

use std::path::Path;

use rusqlite::Connection;

use super::{Engine, Key, Mode, Result, value};

struct Sqlite(Connection);

const PUT: &str = "INSERT OR REPLACE INTO kv (k, v) VALUES (?1, ?2)";

pub fn open(path: &Path, mode: Mode) -> Result<Option<Box<dyn Engine>>> {
    let connection = match mode {
        Mode::Memory => Connection::open_in_memory()?,
        _ => Connection::open(path.join("db"))?,
    };
    if mode != Mode::Memory {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(
            None,
            "synchronous",
            if mode == Mode::Synced { "FULL" } else { "NORMAL" },
        )?;
    }
    connection.execute_batch("CREATE TABLE kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID")?;
    Ok(Some(Box::new(Sqlite(connection))))
}

impl Engine for Sqlite {
    fn put(&mut self, key: &Key) -> Result<()> {
        self.0.prepare_cached(PUT)?.execute((key.as_slice(), value().as_slice()))?;
        Ok(())
    }

    fn get(&mut self, key: &Key) -> Result<usize> {
        let mut statement = self.0.prepare_cached("SELECT v FROM kv WHERE k = ?1")?;
        let value: Vec<u8> = statement.query_row([key.as_slice()], |row| row.get(0))?;
        Ok(value.len())
    }

    fn fill(&mut self, keys: &mut dyn Iterator<Item = Key>) -> Result<()> {
        let transaction = self.0.transaction()?;
        for key in keys {
            transaction.prepare_cached(PUT)?.execute((key.as_slice(), value().as_slice()))?;
        }
        Ok(transaction.commit()?)
    }
}
