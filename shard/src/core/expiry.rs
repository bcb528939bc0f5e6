//! When keys are to be deleted because their time has come. Readers go by the entry itself; this is only so that
//! the shard finds what to delete, in its own turns, by logged deletes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use in_mem_model::{Key, Tag, Timestamp};

use super::ShardCore;
use super::error::WriteError;

/// The keys that have an expiry, the soonest first. A key that was since overwritten stays until its time and is then
/// found to be another; so a put costs one push and nothing to take back.
#[derive(Debug, Default)]
pub(crate) struct Expiry(BinaryHeap<Reverse<(Timestamp, Key)>>);

impl Expiry {
    pub(crate) fn add(&mut self, at: Timestamp, key: Key) {
        self.0.push(Reverse((at, key)));
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Key)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(due)| due)
    }
}

impl ShardCore {
    /// When the next key is due to be deleted.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiry.next()
    }

    /// Deletes at most `budget` keys whose time has come; says how many it looked at.
    ///
    /// # Errors
    /// [`WriteError::Log`]: the log could not take the delete; the key stays due (and absent to every reader).
    pub fn expire(&mut self, budget: usize) -> Result<usize, WriteError> {
        let mut looked_at = 0;
        while looked_at < budget {
            let Some((at, key)) = self.expiry.pop_due(self.now) else { break };
            looked_at += 1;
            let still = self
                .head(key.run, key.tag, &key.user)
                .is_some_and(|head| head.value.is_some() && head.expires_at == Some(at));
            // An ended run is not written any more, by nobody: its expired keys are absent to readers all the same.
            let Some(state) = self.runs.get(&key.run).filter(|state| still && !state.meta.status.is_ended())
            else {
                continue;
            };
            debug_assert!(key.tag != Tag::Run, "what is known of a run never expires: {:?}", state.meta.name);
            let version = match self.log_delete(key.run, key.tag, &key.user) {
                Ok(version) => version,
                Err(error) => {
                    self.expiry.add(at, key);
                    return Err(error);
                }
            };
            self.finish_commit(version);
            self.counters.expired += 1;
        }
        Ok(looked_at)
    }
}
