//! Why a durable step could not be taken.

use in_mem_model::{RunId, SerdeError, Value};

/// Why a durable step could not be taken.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// What is recorded at this place is another step, or the same with another input.
    #[error(
        "step {path} of run {run} is not the one that was recorded:\n  recorded: {recorded} with input {}\n  now:      {called} \
         with input {}\nthe steps of a run must come in the same order, with the same inputs, each time; to go another way, \
         fork the run",
        recorded_input.to_json(),
        called_input.to_json()
    )]
    Mismatch {
        /// The run.
        run: RunId,
        /// The place: the number of the step at each level of nesting, from 0.
        path: String,
        /// The name that was recorded.
        recorded: String,
        /// The name called now.
        called: String,
        /// The input that was recorded.
        recorded_input: Box<Value>,
        /// The input now.
        called_input: Box<Value>,
    },
    /// What was recorded of the step cannot be read as the type that is asked for now.
    #[error(
        "step {path} ({name}) of run {run}: its recorded result is not of the type that is asked for ({source}); ask for the type \
         that it was recorded as, or fork the run before it"
    )]
    OtherType {
        /// The run.
        run: RunId,
        /// The place.
        path: String,
        /// The name.
        name: String,
        /// What does not fit.
        source: SerdeError,
    },
    /// A recorded step was not called.
    #[error(
        "step {path} of run {run} was recorded ({recorded} with input {}) and is not called any more: the agent's code has \
         lost a step; put it back, or fork the run",
        recorded_input.to_json()
    )]
    Missing {
        /// The run.
        run: RunId,
        /// The place.
        path: String,
        /// The name that was recorded.
        recorded: String,
        /// The input that was recorded.
        recorded_input: Box<Value>,
    },
    /// The effect failed as often as it may.
    #[error(
        "step {path} ({name}) of run {run} failed after {attempts} {}: {reason}",
        if *attempts == 1 { "attempt" } else { "attempts" }
    )]
    Failed {
        /// The run.
        run: RunId,
        /// The place.
        path: String,
        /// The name.
        name: String,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt said.
        reason: String,
    },
    /// The effect ran, but its result was refused, so nothing is recorded: the effect runs again when the agent resumes.
    #[error(
        "step {path} ({name}) of run {run}: its effect ran, but its result was not recorded: {source}; mend that and resume \
         the run, which runs the effect again"
    )]
    Unrecorded {
        /// The run.
        run: RunId,
        /// The place.
        path: String,
        /// The name.
        name: String,
        /// Why the result was refused.
        source: Box<crate::Error>,
    },
    /// Another thread is inside a step of the same handle.
    #[error(
        "run {run}: a step was called from another thread than the step it is in; steps come one after another, so give each \
         thread a child run of its own"
    )]
    Concurrent {
        /// The run.
        run: RunId,
    },
    /// Another handle recorded the same step meanwhile.
    #[error(
        "step {path} of run {run} was recorded by another handle meanwhile; only one may take a run's steps at a time"
    )]
    Raced {
        /// The run.
        run: RunId,
        /// The place.
        path: String,
    },
    /// Steps are nested too deep.
    #[error("run {run}: steps are nested more than {limit} deep")]
    TooDeep {
        /// The run.
        run: RunId,
        /// The limit.
        limit: usize,
    },
    /// What is stored at this place is not a step.
    #[error("step {path} of run {run} cannot be read; run `in-mem check`")]
    Malformed {
        /// The run.
        run: RunId,
        /// The place.
        path: String,
    },
}
