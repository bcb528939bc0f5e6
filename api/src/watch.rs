//! Being told of committed changes.

use std::time::Duration;

use in_mem_engine::Change;
use in_mem_engine::watch::{WatchEnd, WatchReceiver, WatchRequest, watch_channel};
use in_mem_model::{KeyBytes, Tag, Version};

use crate::{Result, Run, WriteError};

/// The committed changes of some keys, each in the order of its commit, none left out. As an iterator it waits for the next
/// change; it ends when the run is deleted or the database closed.
#[derive(Debug)]
pub struct Watch {
    run: Run,
    version: Version,
    receiver: WatchReceiver,
    ended: bool,
}

impl Watch {
    pub(crate) fn begin(run: &Run, prefix: &[u8], from: Option<Version>, capacity: usize) -> Result<Self> {
        let (sender, receiver) = watch_channel(capacity);
        let prefix = KeyBytes::new(prefix);
        let request = WatchRequest { run: run.id, tag: Tag::Kv, prefix, from, sender };
        let version = run.engine.watch(request)?;
        Ok(Self { run: run.clone(), version, receiver, ended: false })
    }

    /// It tells of every change after this version. What was there before, a listing taken now shows; a change that both
    /// show has the version that the listing shows.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The next change, if there is one already.
    ///
    /// # Errors
    /// [`WriteError::Lagged`] where changes were missed: then nothing more comes.
    pub fn try_next(&mut self) -> Result<Option<Change>> {
        let next = if self.ended { Err(WatchEnd::Closed) } else { self.receiver.try_recv() };
        self.read(next)
    }

    /// The next change, waited for at most so long; `None` where none came.
    ///
    /// # Errors
    /// As [`Watch::try_next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Change>> {
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
                Err(WriteError::Lagged { run: self.run.id, missed }.into())
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
        let next = self.receiver.recv(None);
        self.read(next).transpose()
    }
}
