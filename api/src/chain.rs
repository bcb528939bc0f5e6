//! Whether a run's events are what was appended: the hash chain, checked.

use std::fmt;

use in_mem_engine::event::{self, ChainHead};
use in_mem_model::Tag;
use serde::{Deserialize, Serialize};

use crate::{Events, Result};

/// What checking the chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use = "it says whether the events can be trusted"]
pub enum ChainCheck {
    /// Every event is what was appended; this is the chain's end.
    Intact(ChainHead),
    /// Something is not.
    Broken(ChainFault),
}

impl ChainCheck {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        matches!(self, Self::Intact(_))
    }
}

/// The first thing that is wrong with a chain of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChainFault {
    /// An event is not there, though later ones should be.
    Missing {
        /// Its number.
        sequence: u64,
    },
    /// What is stored is not an event.
    Malformed {
        /// Its number.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The event's hash is not that of its content behind the event before: one of them was changed.
    Changed {
        /// Its number.
        sequence: u64,
    },
    /// There are fewer events than there were: the tail was cut.
    Cut {
        /// How many there are.
        found: u64,
        /// How many there were when the head was exported.
        expected: u64,
    },
    /// The events up to the exported head are consistent in themselves, but others than those it was exported of.
    OtherHead {
        /// The number of the last event that the head vouches for.
        sequence: u64,
    },
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { sequence } => write!(f, "event {sequence} is missing"),
            Self::Malformed { sequence, reason } => write!(f, "event {sequence} cannot be read: {reason}"),
            Self::Changed { sequence } => {
                write!(f, "event {sequence} is not what was appended, or the one before it is not")
            }
            Self::Cut { found, expected } => {
                write!(f, "{found} events are left of the {expected} there were: the tail was cut")
            }
            Self::OtherHead { sequence } => {
                write!(f, "the events up to {sequence} are not those that the head was exported of")
            }
        }
    }
}

impl Events<'_> {
    /// Checks every event against the hash chain, and the chain's end against the last of them.
    ///
    /// An unkeyed chain cannot show that its tail was cut, and whoever can write can make it anew: keep
    /// [`Events::export_head`] elsewhere and use [`Events::verify_against`].
    ///
    /// # Errors
    /// [`crate::Error::UnknownRun`], [`crate::Error::Closed`]. A broken chain is no error but an answer.
    pub fn verify_chain(&self) -> Result<ChainCheck> {
        self.verify(None)
    }

    /// The end of the chain, to be kept where nobody who writes here can change it.
    ///
    /// # Errors
    /// As [`Events::head`].
    pub fn export_head(&self) -> Result<ChainHead> {
        self.head()
    }

    /// Checks the chain, and that the events which `head` was exported of are still there, unchanged. Events that were
    /// appended since are fine.
    ///
    /// # Errors
    /// As [`Events::verify_chain`].
    pub fn verify_against(&self, head: &ChainHead) -> Result<ChainCheck> {
        self.verify(Some(head))
    }

    fn verify(&self, exported: Option<&ChainHead>) -> Result<ChainCheck> {
        let broken = |fault| Ok(ChainCheck::Broken(fault));
        let end = self.head()?;
        let mut reached = ChainHead::default();
        while reached.len < end.len {
            let sequence = reached.len;
            let stored = self.run.engine.get(self.run.id, Tag::Event, &event::event_key(sequence))?;
            let Some(stored) = stored else { return broken(ChainFault::Missing { sequence }) };
            let Some((hash, rest)) = event::split_stored(&stored.value) else {
                let reason = format!("it is {}, not a packed event", stored.value.kind());
                return broken(ChainFault::Malformed { sequence, reason });
            };
            if event::chain_hash(&reached.hash, sequence, stored.timestamp, rest) != hash {
                return broken(ChainFault::Changed { sequence });
            }
            if let Err(error) = self.unpack(sequence, &stored) {
                return broken(ChainFault::Malformed { sequence, reason: error.to_string() });
            }
            reached = ChainHead { len: sequence + 1, hash };
            if exported.is_some_and(|exported| exported.len == reached.len && exported.hash != hash) {
                return broken(ChainFault::OtherHead { sequence });
            }
        }
        if let Some(exported) = exported.filter(|exported| exported.len > reached.len) {
            return broken(ChainFault::Cut { found: reached.len, expected: exported.len });
        }
        if reached.hash != end.hash {
            return broken(ChainFault::Changed { sequence: reached.len.saturating_sub(1) });
        }
        Ok(ChainCheck::Intact(reached))
    }
}
