//! State cells inside a transaction.

use in_mem_engine::Condition;
use in_mem_model::{Key, KeyBytes, RunId, Tag, Value, Version};

use super::Transaction;
use crate::{Result, WriteError};

/// The state cells of a run, inside a transaction.
#[derive(Debug)]
pub struct TxState<'t, 'r> {
    pub(super) tx: &'t mut Transaction<'r>,
    pub(super) run: RunId,
}

impl TxState<'_, '_> {
    /// The cell's value.
    ///
    /// # Errors
    /// [`crate::SnapshotError::Expired`].
    pub fn read(&mut self, cell: impl AsRef<str>) -> Result<Option<Value>> {
        self.tx.get_own(self.run, Tag::State, cell.as_ref().as_bytes())
    }

    /// Whether the cell is there.
    ///
    /// # Errors
    /// As [`TxState::read`].
    pub fn exists(&mut self, cell: impl AsRef<str>) -> Result<bool> {
        Ok(self.read(cell)?.is_some())
    }

    /// Makes a cell.
    ///
    /// # Errors
    /// [`WriteError::ConditionFailed`] where it is there already, and as [`TxState::set`].
    pub fn init(&mut self, cell: impl AsRef<str>, value: impl Into<Value>) -> Result<()> {
        let cell = cell.as_ref();
        if self.exists(cell)? {
            let key = Box::new(Key::new(self.run, Tag::State, cell.as_bytes()));
            let found = self.tx.snapshot.get(self.run, Tag::State, cell.as_bytes())?.map(|v| v.version);
            return Err(WriteError::ConditionFailed { key, expected: Condition::Absent, found }.into());
        }
        self.set(cell, value)
    }

    /// Sets a cell to what the closure makes of its value (`None`: there is none yet). Gives the value set. Another writer
    /// of the cell is a conflict.
    ///
    /// # Errors
    /// The closure's, and as [`TxState::read`] and [`TxState::set`].
    pub fn transition<V: Into<Value>>(
        &mut self,
        cell: impl AsRef<str>,
        next: impl FnOnce(Option<&Value>) -> Result<V>,
    ) -> Result<Value> {
        let cell = cell.as_ref();
        let value: Value = next(self.read(cell)?.as_ref())?.into();
        self.set(cell, value.clone())?;
        Ok(value)
    }

    /// All cells whose name starts with `prefix`, by name; a cell that another transaction makes or deletes there is a
    /// conflict.
    ///
    /// # Errors
    /// As [`TxState::read`].
    pub fn list(&mut self, prefix: impl AsRef<str>) -> Result<Vec<(KeyBytes, Value)>> {
        let (lower, upper) = crate::kv::prefix_bounds(prefix.as_ref().as_bytes());
        self.tx.scan(self.run, Tag::State, lower, upper)
    }

    /// Sets a cell.
    ///
    /// # Errors
    /// [`crate::Error::Value`], [`WriteError::TransactionTooLarge`].
    pub fn set(&mut self, cell: impl AsRef<str>, value: impl Into<Value>) -> Result<()> {
        self.tx.put(self.run, Tag::State, cell.as_ref().as_bytes(), value.into(), Condition::Any)
    }

    /// Sets a cell that is at this version when the transaction commits.
    ///
    /// # Errors
    /// As [`TxState::set`]; the commit fails with [`WriteError::ConditionFailed`] where it is not, and so does this where this
    /// transaction has written the cell already: what is not committed has no version.
    pub fn cas(&mut self, cell: impl AsRef<str>, expected: Version, value: impl Into<Value>) -> Result<()> {
        self.tx.put(
            self.run,
            Tag::State,
            cell.as_ref().as_bytes(),
            value.into(),
            Condition::Version(expected),
        )
    }

    /// Deletes a cell; says whether it was there.
    ///
    /// # Errors
    /// [`crate::SnapshotError::Expired`].
    pub fn delete(&mut self, cell: impl AsRef<str>) -> Result<bool> {
        self.tx.delete(self.run, Tag::State, cell.as_ref().as_bytes())
    }
}
