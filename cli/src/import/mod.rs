//! Reading agent runs recorded by other tools.
//!
//! [`read_file`] reads one file in one [`Format`] and gives an [`ImportedRun`] for each run in it. A run that cannot be read
//! is an [`ImportError`] naming the file and the place; the other runs of the file still come.

mod error;
mod identity;
mod json;
mod langfuse;
mod messages;
mod preview;
mod reader;
mod run;
mod swe_agent;
mod tau_bench;
mod time;

pub use error::ImportError;
pub use preview::{Counts, Preview};
pub use reader::{MAX_FILE_BYTES, read_all, read_bytes, read_file};
pub use run::{EventKind, ImportedEvent, ImportedRun, ImportedSpan, ImportedStatus, SpanKind, SpanStatus};

use std::{fmt, str::FromStr};

/// A format that runs can be imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A tau-bench result file: a JSON list of runs with `task_id`, `trial`, `reward`, `info` and `traj`.
    TauBench,
    /// A SWE-agent `.traj` file: one JSON object with `trajectory`, `history` and `info`.
    SweAgent,
    /// A Langfuse export: one JSON object (or a list of them) with `trace` and `observations`.
    Langfuse,
}

impl Format {
    /// Every format, in the order in which help shows them.
    pub const ALL: [Format; 3] = [Format::TauBench, Format::SweAgent, Format::Langfuse];

    /// The name the command line takes.
    pub fn name(self) -> &'static str {
        match self {
            Format::TauBench => "tau-bench",
            Format::SweAgent => "swe-agent",
            Format::Langfuse => "langfuse",
        }
    }

    /// One line about the files of this format, for help.
    pub fn about(self) -> &'static str {
        match self {
            Format::TauBench => "a JSON list of runs with task_id, trial, reward and traj",
            Format::SweAgent => "a .traj file: one JSON object with trajectory, history and info",
            Format::Langfuse => "an exported trace: one JSON object with trace and observations",
        }
    }

    /// The format whose marks a JSON value bears, if any; used to say "this looks like ..." in errors.
    pub(crate) fn of_value(value: &serde_json::Value) -> Option<Format> {
        let has = |key| value.get(key).is_some();
        if has("traj") && has("task_id") {
            Some(Format::TauBench)
        } else if has("trajectory") || (has("history") && !has("trace")) {
            Some(Format::SweAgent)
        } else if has("trace") && has("observations") {
            Some(Format::Langfuse)
        } else {
            None
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Format::ALL.into_iter().find(|f| f.name() == text).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// A format name that is not one of [`Format::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no import format is called `{0}`; there are tau-bench, swe-agent and langfuse")]
pub struct UnknownFormat(String);
