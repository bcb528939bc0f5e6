//! What the `in-mem` command is made of: reading other tools' traces, showing runs on a terminal, and the demo's agent.
//!
//! Everything here takes and gives plain data; the database is joined to it in `main.rs` and the modules it calls.

pub mod args;
pub mod demo;
pub mod import;
pub mod render;
