//! The agent's work without a database: says how much there is to do, so that the kill comes half-way, and what an agent
//! finds that is never killed.

use std::{convert::Infallible, path::Path};

use serde_json::Value;

use crate::demo::{Action, Memory, Progress, Recorder, Tools, work};

pub(super) struct Rehearsal {
    /// Steps to the end.
    pub(super) steps: u64,
    /// What is known there.
    pub(super) memory: Memory,
}

impl Rehearsal {
    pub(super) fn on(tree: &Path, db: &Path) -> Rehearsal {
        let mut memory = Memory::default();
        let Ok(_) = work(&Tools::new(tree, &[db.to_owned()]), &mut memory, &mut Forgetful, u64::MAX);
        Rehearsal { steps: memory.steps(), memory }
    }
}

/// Records nothing.
struct Forgetful;

impl Recorder for Forgetful {
    type Error = Infallible;

    fn begin_step(&mut self, _: u64, _: &Action, _: &str) -> Result<(), Infallible> {
        Ok(())
    }

    fn tool_call(&mut self, _: u64, _: &str, _: &Value) -> Result<(), Infallible> {
        Ok(())
    }

    fn tool_result(&mut self, _: u64, _: &str, _: bool, _: &Value) -> Result<(), Infallible> {
        Ok(())
    }

    fn note(&mut self, _: u64, _: &str, _: &Value) -> Result<(), Infallible> {
        Ok(())
    }

    fn progress(&mut self, _: &Progress) -> Result<(), Infallible> {
        Ok(())
    }
}
