//! The agent's loop, and what it asks of whoever records it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    action::Action,
    memory::{Memory, observe},
    plan::next_action,
    tools::{ToolResult, Tools},
};

/// How far the agent is, for its progress cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps whose notes are recorded.
    pub steps: u64,
    /// Directories listed.
    pub dirs: u64,
    /// Files read, or tried.
    pub files: u64,
    /// Words searched for.
    pub searches: u64,
    /// Questions answered.
    pub answers: u64,
    /// Whether every question is answered.
    pub finished: bool,
}

impl Progress {
    /// The progress that a memory amounts to.
    pub fn of(memory: &Memory, finished: bool) -> Progress {
        Progress {
            steps: memory.steps(),
            dirs: memory.dirs.len() as u64,
            files: memory.files.len() as u64,
            searches: memory.searches.len() as u64,
            answers: memory.answers.len() as u64,
            finished,
        }
    }
}

/// Why [`work`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every question is answered.
    Finished,
    /// The number of steps it was given is used up.
    StepsUsedUp,
}

/// Records the agent's work. The calls of one step come in this order: `begin_step`, `tool_call`, `tool_result`, `note`,
/// `progress`; a step that only thinks has no `tool_call` and `tool_result`.
///
/// A recorder may write each at once or all of a step together at `progress`. Either way the agent can be resumed from what
/// is there, as long as what was acknowledged stays: the note is what makes a step done.
pub trait Recorder {
    /// Why something could not be recorded. The agent stops at the first such error: work that is not recorded is lost
    /// work.
    type Error;

    /// Step `step` (from 1) begins: the agent decided on `action` because of `why`.
    fn begin_step(&mut self, step: u64, action: &Action, why: &str) -> Result<(), Self::Error>;

    /// A tool is about to be called.
    fn tool_call(&mut self, step: u64, tool: &str, arguments: &Value) -> Result<(), Self::Error>;

    /// The tool came back; `record` is its result in a size fit for a log.
    fn tool_result(&mut self, step: u64, tool: &str, ok: bool, record: &Value) -> Result<(), Self::Error>;

    /// What the agent learned, for its key-value store. A key comes again only with the same value.
    fn note(&mut self, step: u64, key: &str, value: &Value) -> Result<(), Self::Error>;

    /// The step is done.
    fn progress(&mut self, progress: &Progress) -> Result<(), Self::Error>;
}

/// Lets the agent work on from what is in `memory` until it is done or has made `max_steps` steps.
///
/// # Errors
/// The recorder's first error.
pub fn work<R: Recorder>(
    tools: &Tools,
    memory: &mut Memory,
    recorder: &mut R,
    max_steps: u64,
) -> Result<Outcome, R::Error> {
    for _ in 0..max_steps {
        let (action, why) = next_action(memory);
        if action == Action::Finish {
            recorder.progress(&Progress::of(memory, true))?;
            return Ok(Outcome::Finished);
        }
        let step = memory.steps() + 1;
        recorder.begin_step(step, &action, &why)?;
        let result = match action.tool() {
            Some(tool) => {
                recorder.tool_call(step, tool, &action.arguments())?;
                let result = tools.run(&action);
                recorder.tool_result(step, tool, result.is_ok(), &result.to_record())?;
                result
            }
            // The answer comes out of the memory; there is nothing to look at.
            None => ToolResult::Failed(String::new()),
        };
        if let Some((key, value)) = observe(&action, &result, memory) {
            recorder.note(step, &key, &value)?;
        }
        recorder.progress(&Progress::of(memory, false))?;
    }
    Ok(Outcome::StepsUsedUp)
}
