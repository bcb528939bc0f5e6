//! What the agent's process tells its parent: a line for each step, once the step's commit was acknowledged.

use in_mem::RunId;
use serde::{Deserialize, Serialize};

/// So many steps the agent may be ahead of what the parent has heard of, so that a kill half-way finds it half-way.
pub(super) const MAX_STEPS_AHEAD: usize = 2;

/// A step was recorded: its commit was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ack {
    /// The run it belongs to.
    pub(super) run: RunId,
    /// The step, from 1; the last of all again for the end.
    pub(super) step: u64,
    /// What the agent did.
    pub(super) action: String,
    /// The key of the step's note, and the digest of what is under it; none for the end.
    pub(super) note: Option<(String, String)>,
    /// Events of the run, this step's included.
    pub(super) events: u64,
    /// Whether the run is at its end.
    pub(super) finished: bool,
}

/// What tells one note's content from another: BLAKE3 of its JSON, in hex.
pub(super) fn digest(note: &serde_json::Value) -> String {
    blake3::hash(note.to_string().as_bytes()).to_hex().to_string()
}
