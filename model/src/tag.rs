//! Which of the five primitives a key belongs to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ParseTagError;

/// The primitive a [`Key`](crate::Key) belongs to. The numbers are part of the file format and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Tag {
    /// A key of the key-value store.
    Kv = 1,
    /// An event of the log.
    Event = 2,
    /// A state cell.
    State = 3,
    /// A span of a trace.
    Trace = 4,
    /// What is known about the run itself.
    Run = 5,
}

impl Tag {
    /// All tags, in order.
    pub const ALL: [Self; 5] = [Self::Kv, Self::Event, Self::State, Self::Trace, Self::Run];

    /// The number that stands for the tag in files.
    #[inline]
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The tag's name: `kv`, `event`, `state`, `trace` or `run`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Event => "event",
            Self::State => "state",
            Self::Trace => "trace",
            Self::Run => "run",
        }
    }
}

impl TryFrom<u8> for Tag {
    type Error = ParseTagError;

    #[inline]
    fn try_from(number: u8) -> Result<Self, ParseTagError> {
        match number {
            1 => Ok(Self::Kv),
            2 => Ok(Self::Event),
            3 => Ok(Self::State),
            4 => Ok(Self::Trace),
            5 => Ok(Self::Run),
            other => Err(ParseTagError(other.to_string())),
        }
    }
}

impl FromStr for Tag {
    type Err = ParseTagError;

    fn from_str(name: &str) -> Result<Self, ParseTagError> {
        let known = Self::ALL.into_iter().find(|tag| tag.name().eq_ignore_ascii_case(name));
        known.ok_or_else(|| ParseTagError(format!("{:?}", crate::error::excerpt(name))))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
