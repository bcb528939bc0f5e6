//! Being told of committed changes.

use std::time::Duration;

use in_mem_engine::watch::{WatchEnd, WatchReceiver};
use in_mem_engine::{Change, Watching};
use in_mem_model::{KeyBytes, Tag, Version};

use crate::{Result, Run, WriteError};

/// The committed changes of some keys, each in the order of its commit, none left out. As an iterator it waits for the next
/// change; it ends when the run is deleted or the database closed. It is a handle of the database, which is not closed by dropping the
/// others while this one waits: [`crate::Database::close`] ends it.
#[derive(Debug)]
pub struct Watch {
    run: Run,
    version: Version,
    /// What was committed before the watch began and comes first.
    before: std::vec::IntoIter<Change>,
    receiver: WatchReceiver,
    ended: bool,
}

impl Watch {
    pub(crate) fn begin(run: &Run, prefix: &[u8], from: Option<Version>, capacity: usize) -> Result<Self> {
        let Watching { since, before, receiver } =
            run.engine.watch_keys(run.id, Tag::Kv, KeyBytes::new(prefix), from, capacity)?;
        Ok(Self { run: run.clone(), version: since, before: before.into_iter(), receiver, ended: false })
    }

    /// It tells of every change after this version. What was there before, a listing taken now shows; a change that both
    /// show has the version that the listing shows.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The next change, if there is one already.
    ///
    /// # Errors
    /// [`WriteError::Lagged`] where changes were missed: then nothing more comes. A watch from the version that was read
    /// last ([`crate::Kv::watch_from`]) goes on from there.
    pub fn try_next(&mut self) -> Result<Option<Change>> {
        if let Some(change) = self.before.next() {
            return Ok(Some(change));
        }
        let next = if self.ended { Err(WatchEnd::Closed) } else { self.receiver.try_recv() };
        self.read(next)
    }

    /// The next change, waited for at most so long; `None` where none came.
    ///
    /// # Errors
    /// As [`Watch::try_next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Change>> {
        if let Some(change) = self.before.next() {
            return Ok(Some(change));
        }
        let next = if self.ended { Err(WatchEnd::Closed) } else { self.receiver.recv(Some(limit)) };
        self.read(next)
    }

    /// Whether nothing more comes: the run was deleted, the database closed, or changes were missed.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn read(&mut self, next: Result<Change, WatchEnd>) -> Result<Option<Change>> {
        match next {
            Ok(change) => Ok(Some(change)),
            Err(WatchEnd::TimedOut | WatchEnd::Nothing) => Ok(None),
            Err(WatchEnd::Closed) => {
                self.ended = true;
                Ok(None)
            }
            Err(WatchEnd::Lagged(missed)) => {
                self.ended = true;
                Err(WriteError::Lagged { run: self.run.id, missed, oldest: None }.into())
            }
        }
    }
}

impl Iterator for Watch {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if let Some(change) = self.before.next() {
            return Some(Ok(change));
        }
        let next = self.receiver.recv(None);
        self.read(next).transpose()
    }
}
