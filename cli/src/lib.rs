//! What the `in-mem` command is made of: reading other tools' traces, showing runs on a terminal, and the demo's agent.
//!
//! [`import`], [`render`] and [`demo`] take and give plain data; [`commands`] joins them to the database.

pub mod args;
pub mod commands;
pub mod demo;
pub mod import;
pub mod point;
pub mod render;
