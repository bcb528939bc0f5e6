//! What the command prints on a terminal.
//!
//! Everything renders into a `String` through a [`Screen`], which knows the width to keep and whether colours are wanted, so
//! that all of it can be tested without a terminal. Text from a database is never printed raw: see [`text::one_line`].

pub mod human;
pub mod json_lines;
mod screen;
mod table;
pub mod text;
mod timeline;
mod tree;

pub use json_lines::JsonLines;
pub use screen::{ColorChoice, Screen, Tone};
pub use table::{Align, Table};
pub use timeline::{TimelineEvent, gist, timeline};
pub use tree::{SpanNode, span_tree};
