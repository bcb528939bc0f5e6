//! State cells of a run: single values that several writers change by compare-and-swap.

use in_mem_engine::Condition;
use in_mem_model::{KeyBytes, Tag, Value, Version, VersionedValue};

use crate::{Error, Result, Run, WriteError};

/// How often [`State::transition`] tries before it gives up.
const TRANSITION_ATTEMPTS: usize = 1_000;

/// The state cells of a run. A cell's version only grows, also when it is deleted and made anew, so that a writer can
/// tell whether it changed (a value alone could have changed and changed back). A name is at most
/// [`crate::limits::MAX_KEY_BYTES`] long.
#[derive(Debug, Clone, Copy)]
pub struct State<'r> {
    pub(crate) run: &'r Run,
}

impl State<'_> {
    /// The cell's value and version.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn read(&self, cell: impl AsRef<str>) -> Result<Option<VersionedValue>> {
        self.run.engine.get(self.run.id, Tag::State, cell.as_ref().as_bytes())
    }

    /// Makes a cell.
    ///
    /// # Errors
    /// [`WriteError::ConditionFailed`] where it is there already; nothing was changed.
    pub fn init(&self, cell: impl AsRef<str>, value: impl Into<Value>) -> Result<Version> {
        self.write(cell.as_ref(), value.into(), Condition::Absent)
    }

    /// Sets a cell, whatever it holds.
    ///
    /// # Errors
    /// [`Error`]; nothing was changed.
    pub fn set(&self, cell: impl AsRef<str>, value: impl Into<Value>) -> Result<Version> {
        self.write(cell.as_ref(), value.into(), Condition::Any)
    }

    /// Sets a cell that is still at the version that was read.
    ///
    /// # Errors
    /// [`WriteError::ConditionFailed`], naming the version it is at, where it changed; nothing was changed.
    pub fn cas(&self, cell: impl AsRef<str>, expected: Version, value: impl Into<Value>) -> Result<Version> {
        self.write(cell.as_ref(), value.into(), Condition::Version(expected))
    }

    /// Sets a cell to what the closure makes of its value (`None`: there is none yet). Where another writer comes
    /// between, the closure is asked again. Gives the value set.
    ///
    /// # Errors
    /// The closure's; or [`WriteError::ConditionFailed`] when every one of very many tries met another writer.
    pub fn transition<V: Into<Value>>(
        &self,
        cell: impl AsRef<str>,
        mut next: impl FnMut(Option<&Value>) -> Result<V>,
    ) -> Result<Value> {
        let cell = cell.as_ref();
        let mut attempt = 0;
        loop {
            let now = self.read(cell)?;
            let value: Value = next(now.as_ref().map(|v| &v.value))?.into();
            let expected = now.map_or(Condition::Absent, |v| Condition::Version(v.version));
            match self.write(cell, value.clone(), expected) {
                Ok(_) => return Ok(value),
                Err(Error::Write(WriteError::ConditionFailed { found, .. }))
                    if attempt < TRANSITION_ATTEMPTS =>
                {
                    attempt += 1;
                    if let Some(found) = found {
                        self.run.engine.wait_visible(self.run.id, found)?;
                    }
                    crate::transaction::back_off(attempt);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes a cell; says whether it was there.
    ///
    /// # Errors
    /// [`Error`]; nothing was changed.
    pub fn delete(&self, cell: impl AsRef<str>) -> Result<bool> {
        self.run.engine.delete(self.run.id, Tag::State, cell.as_ref().as_bytes(), Condition::Any)
    }

    /// Whether the cell is there.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn exists(&self, cell: impl AsRef<str>) -> Result<bool> {
        Ok(self.read(cell)?.is_some())
    }

    /// All cells whose name starts with `prefix`, as of one moment, by name.
    ///
    /// # Errors
    /// [`crate::SnapshotError`], [`Error::Closed`].
    pub fn list(&self, prefix: impl AsRef<str>) -> Result<Vec<(KeyBytes, VersionedValue)>> {
        let (lower, upper) = crate::kv::prefix_bounds(prefix.as_ref().as_bytes());
        self.run.engine.snapshot(self.run.id)?.scan_all(self.run.id, Tag::State, lower, upper)
    }

    fn write(&self, cell: &str, value: Value, condition: Condition) -> Result<Version> {
        self.run.engine.put(self.run.id, Tag::State, cell.as_bytes(), value, None, condition)
    }
}
