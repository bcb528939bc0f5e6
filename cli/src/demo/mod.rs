//! The demo's agent: it explores the source tree it stands in and writes down what it finds.
//!
//! It is small but it is an agent: [`next_action`] decides from what is known so far, [`Tools`] act on the real tree, and
//! [`observe`] turns what came back into a note. Rules stand where a language model would, so that it needs no network and does
//! the same again on the same tree.
//!
//! **Resuming.** Every step adds exactly one note, and [`Memory`] is nothing but the notes. So whatever was recorded when the
//! process was killed, `Memory::from_notes` gives the agent back as it was after its last whole step, and a step that was
//! only begun is done again with the same outcome.

mod action;
mod agent;
mod answers;
mod limits;
mod memory;
mod plan;
mod report;
mod scan;
mod tools;

pub use action::{Action, Question};
pub use agent::{Outcome, Progress, Recorder, work};
pub use limits::*;
pub use memory::{BadNote, DirNote, EntryKind, FileNote, Memory, PublicItem, SearchNote, observe};
pub use plan::next_action;
pub use report::report;
pub use tools::{Entry, Match, ToolResult, Tools};
