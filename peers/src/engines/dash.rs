//! DashMap: no database, the floor.

use std::path::Path;
use std::sync::Arc;

use super::{Engine, Key, Mode, Result, value};

struct Dash(dashmap::DashMap<Key, Arc<[u8]>>);

pub fn open(_: &Path, mode: Mode) -> Result<Option<Box<dyn Engine>>> {
    Ok((mode == Mode::Memory).then(|| Box::new(Dash(dashmap::DashMap::new())) as _))
}

impl Engine for Dash {
    fn put(&mut self, key: &Key) -> Result<()> {
        self.0.insert(*key, Arc::from(value()));
        Ok(())
    }

    fn get(&mut self, key: &Key) -> Result<usize> {
        Ok(self.0.get(key).map(|value| Arc::clone(&value)).map_or(0, |value| value.len()))
    }
}
