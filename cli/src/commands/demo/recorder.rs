//! Where the agent's work goes: each step is one transaction.

use std::io::{self, Read};

use in_mem::{Run, RunStatus, SpanDraft, SpanEnd, SpanKind, Timestamp, Value};
use serde_json::json;

use super::ack::{Ack, MAX_STEPS_AHEAD, digest};
use crate::{
    commands::Failure,
    demo::{Action, Progress, Recorder},
    render::JsonLines,
};

/// The cell that says how far the agent is.
pub(super) const PROGRESS_CELL: &str = "progress";
/// The events of one step, in their order. A step that only thinks has no call and no result.
pub(super) const STEP_BEGINS: &str = "agent.step";
const TOOL_CALL: &str = "tool.call";
const TOOL_RESULT: &str = "tool.result";
pub(super) const NOTE: &str = "agent.note";
const FINISHED: &str = "agent.finished";
/// The span that all steps are parts of. Begun by the first process and ended by the last.
const AGENT_SPAN: &str = "agent";

/// Records the agent's work in a run and acknowledges every step on standard output.
pub(super) struct RunRecorder {
    run: Run,
    step: Step,
    /// Steps the parent may not have heard of yet.
    ahead: usize,
}

/// What a step has to say, until it is committed.
#[derive(Default)]
struct Step {
    number: u64,
    action: String,
    events: Vec<(&'static str, serde_json::Value)>,
    note: Option<(String, serde_json::Value)>,
    span: Option<SpanDraft>,
    failed: Option<String>,
    result: Value,
}

impl RunRecorder {
    pub(super) fn new(run: Run) -> RunRecorder {
        RunRecorder { run, step: Step::default(), ahead: 0 }
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Failure> {
        let step = std::mem::take(&mut self.step);
        let cell = Value::from_serialize(progress).map_err(in_mem::Error::from)?;
        self.run.transaction(|tx| {
            for (kind, payload) in &step.events {
                tx.events().append(kind, payload)?;
            }
            if let Some((key, value)) = &step.note {
                tx.kv().put(key, value)?;
            }
            if step.number == 1 {
                tx.traces().start(&SpanDraft::new(SpanKind::Agent, "explorer").id(AGENT_SPAN))?;
            }
            if let Some(span) = step.span.clone() {
                let span = span.output(step.result.clone());
                let span = step.failed.clone().into_iter().fold(span, SpanDraft::failed);
                tx.traces().record(&span)?;
            }
            tx.state().set(PROGRESS_CELL, cell.clone())?;
            if progress.finished {
                tx.traces().end(AGENT_SPAN, SpanEnd::ok())?;
                tx.events().append(FINISHED, json!({"steps": progress.steps}))?;
                tx.end_run(RunStatus::Completed);
            }
            Ok(())
        })?;
        // Only from here on does anyone outside know of the step.
        let note = step.note.map(|(key, value)| {
            let digest = digest(&value);
            (key, digest)
        });
        self.acknowledge(&Ack {
            run: self.run.id(),
            step: progress.steps,
            action: step.action,
            note,
            events: self.run.events().len()?,
            finished: progress.finished,
        })
    }

    fn acknowledge(&mut self, ack: &Ack) -> Result<(), Failure> {
        let mut lines = JsonLines::new(io::stdout().lock());
        lines.write(ack)?;
        lines.finish()?;
        self.ahead += 1;
        if self.ahead > MAX_STEPS_AHEAD {
            // The parent answers every line with a byte. Where it is gone, nobody is left to work for.
            let mut heard = [0];
            io::stdin().lock().read_exact(&mut heard)?;
            self.ahead -= 1;
        }
        Ok(())
    }
}

impl Recorder for RunRecorder {
    type Error = Failure;

    fn begin_step(&mut self, step: u64, action: &Action, why: &str) -> Result<(), Failure> {
        // Sorted by their ids, too, the steps are in order.
        let span = match action.tool() {
            Some(tool) => SpanDraft::tool_call(tool),
            None => SpanDraft::new(SpanKind::Decision, "answer"),
        };
        let span = span.id(format!("step-{step:06}")).parent(AGENT_SPAN).start(Timestamp::now());
        let span = span.input(action.arguments());
        self.step = Step { number: step, action: action.to_string(), span: Some(span), ..Step::default() };
        let payload = json!({"step": step, "action": action.to_string(), "why": why});
        self.step.events.push((STEP_BEGINS, payload));
        Ok(())
    }

    fn tool_call(&mut self, step: u64, tool: &str, arguments: &serde_json::Value) -> Result<(), Failure> {
        debug_assert_eq!(step, self.step.number);
        self.step.events.push((TOOL_CALL, json!({"step": step, "name": tool, "arguments": arguments})));
        Ok(())
    }

    fn tool_result(
        &mut self,
        step: u64,
        tool: &str,
        ok: bool,
        record: &serde_json::Value,
    ) -> Result<(), Failure> {
        self.step.events.push((TOOL_RESULT, json!({"step": step, "name": tool, "ok": ok, "result": record})));
        Ok(())
    }

    fn note(&mut self, step: u64, key: &str, value: &serde_json::Value) -> Result<(), Failure> {
        self.step.events.push((NOTE, json!({"step": step, "key": key})));
        self.step.note = Some((key.to_owned(), value.clone()));
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> Result<(), Failure> {
        self.commit(progress)
    }
}
