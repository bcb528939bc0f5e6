//! SWE-agent `.traj`: one run in a file, a list of steps of thought, action and observation.
//!
//! Old files hold a step's `state` as JSON text, new ones as an object; new ones say how long a step took. None says when.

use serde_json::{Value, json};

use super::{
    ImportedRun,
    identity::digest,
    json::{
        Fault, Object, Place, insert_unique, list, object, take, take_list, take_optional,
        take_optional_text, text, unwrap_text,
    },
    messages::{role, tool_calls},
    reader::Source,
    run::{EventKind, ImportedEvent, ImportedSpan, ImportedStatus, SpanKind, SpanStatus},
    time::micros_from_seconds,
};

const ROOT: &str = "run";

pub(super) fn run(value: Value, at: &Place<'_>, source: &Source<'_>) -> Result<ImportedRun, Fault> {
    let content_digest = digest(&value);
    let mut fields = object(value, at)?;
    if !fields.contains_key("trajectory") && !fields.contains_key("history") {
        return Err(Fault::missing(at, "trajectory"));
    }
    let steps = match fields.contains_key("trajectory") {
        true => Some(take_list(&mut fields, "trajectory", at)?),
        false => None,
    };
    let history = match take_optional(&mut fields, "history") {
        Some(history) => list(history, &at.key("history"))?,
        None => Vec::new(),
    };
    let info = match take_optional(&mut fields, "info") {
        Some(info) => object(info, &at.key("info"))?,
        None => Object::new(),
    };
    let environment = take_optional_text(&mut fields, "environment", at)?;
    let exit = info.get("exit_status").and_then(Value::as_str).map(str::to_owned);

    let mut work = Work { events: Vec::new(), spans: vec![root(source, &info)], model: model(&fields) };
    let step_count = steps.as_ref().map_or(0, Vec::len);
    match steps {
        Some(steps) => {
            let at = at.key("trajectory");
            for (index, step) in steps.into_iter().enumerate() {
                work.step(index, step, &at.index(index))?;
            }
        }
        // A file without steps has its story in the messages alone.
        None => {
            let at = at.key("history");
            for (index, message) in history.iter().enumerate() {
                work.message(index, message, &at.index(index))?;
            }
        }
    }

    let mut tags = vec!["source:swe-agent".to_owned()];
    tags.extend(environment.iter().map(|e| format!("environment:{e}")));
    tags.push(format!("exit:{}", exit.as_deref().unwrap_or("unknown")));

    let mut metadata = Object::new();
    metadata.insert("source.format".to_owned(), json!("swe-agent"));
    metadata.insert("source.file".to_owned(), json!(source.file_name));
    if let Some(environment) = environment {
        metadata.insert("environment".to_owned(), json!(environment));
    }
    for (key, value) in fields {
        metadata.insert(format!("swe-agent.{key}"), value);
    }

    let mut state = vec![("steps".to_owned(), json!(step_count))];
    for (key, value) in info {
        state.push((format!("info/{key}"), value));
    }
    for (index, message) in history.into_iter().enumerate() {
        state.push((format!("history/{index:05}"), message));
    }

    Ok(ImportedRun {
        // The file's name is part of it: it is the only place that says which task this was.
        source_id: format!("swe-agent/{}/{content_digest}", source.stem),
        content_digest,
        name: source.stem.to_owned(),
        status: status(exit.as_deref()),
        tags,
        metadata,
        started: None,
        ended: None,
        events: work.events,
        spans: work.spans,
        state,
        warnings: Vec::new(),
    })
}

fn status(exit: Option<&str>) -> ImportedStatus {
    match exit {
        None => ImportedStatus::Unknown,
        // `submitted (exit_cost)` and the like: what was there when the agent was stopped was handed in.
        Some(exit) if exit.starts_with("submitted") => ImportedStatus::Completed,
        Some(exit @ ("early_exit" | "skipped")) => ImportedStatus::Cancelled(exit.to_owned()),
        Some(exit) => ImportedStatus::Failed(exit.to_owned()),
    }
}

/// The model's name, which only files with a `replay_config` have.
fn model(fields: &Object) -> Option<String> {
    let agent = fields.get("replay_config")?.get("agent")?;
    agent.get("model")?.get("name")?.as_str().map(str::to_owned)
}

/// The run as a whole: the source counts tokens and cost for all calls together, so they stand here and on no call.
fn root(source: &Source<'_>, info: &Object) -> ImportedSpan {
    let mut span = ImportedSpan::new(ROOT.to_owned(), None, SpanKind::Agent, source.stem);
    if let Some(stats) = info.get("model_stats") {
        span.input_tokens = stats.get("tokens_sent").and_then(Value::as_u64);
        span.output_tokens = stats.get("tokens_received").and_then(Value::as_u64);
        span.cost_usd = stats.get("instance_cost").and_then(Value::as_f64);
        span.attributes.insert("model_stats".to_owned(), stats.clone());
    }
    span
}

struct Work {
    events: Vec<ImportedEvent>,
    spans: Vec<ImportedSpan>,
    model: Option<String>,
}

impl Work {
    fn event(&mut self, kind: EventKind, payload: Value) {
        self.events.push(ImportedEvent { kind, at: None, payload });
    }

    /// One step: three events, a call of the model and the call of the tool it asked for.
    fn step(&mut self, index: usize, step: Value, at: &Place<'_>) -> Result<(), Fault> {
        let mut step = object(step, at)?;
        let action = text(take(&mut step, "action", at)?, &at.key("action"))?;
        let thought = take_optional_text(&mut step, "thought", at)?;
        let response = take_optional_text(&mut step, "response", at)?;
        let observation = take_optional_text(&mut step, "observation", at)?;
        let state = unwrap_text(take_optional(&mut step, "state").unwrap_or(Value::Null));
        let took = take_optional(&mut step, "execution_time");
        let seconds = match &took {
            None => None,
            Some(value) => Some(
                value.as_f64().ok_or_else(|| Fault::shape(&at.key("execution_time"), "a number", value))?,
            ),
        };
        let prompt = take_optional(&mut step, "messages").or_else(|| take_optional(&mut step, "query"));

        let mut payload = json!({ "step": index, "thought": thought });
        // In most files the response is the thought over again.
        if response != thought {
            payload["response"] = json!(response);
        }
        self.event(EventKind::Thought, payload);
        self.event(EventKind::Action, json!({ "step": index, "action": action }));
        let mut payload = json!({ "step": index, "observation": observation, "state": state });
        if let Some(took) = &took {
            payload["execution_time"] = took.clone();
        }
        self.event(EventKind::Observation, payload);

        let mut model =
            ImportedSpan::new(format!("step-{index:04}-model"), Some(ROOT), SpanKind::ModelCall, "step");
        model.input = prompt.unwrap_or(Value::Null);
        model.output = json!(response.or(thought));
        model.model = self.model.clone();
        model.status = SpanStatus::Ok;
        model.attributes.insert("step".to_owned(), json!(index));
        self.spans.push(model);

        let name = action.split_whitespace().next().unwrap_or("(no action)").to_owned();
        let mut tool =
            ImportedSpan::new(format!("step-{index:04}-tool"), Some(ROOT), SpanKind::ToolCall, name);
        tool.input = json!(action);
        tool.duration = seconds.and_then(micros_from_seconds);
        tool.status = if observation.is_some() { SpanStatus::Ok } else { SpanStatus::Unset };
        tool.output = json!(observation);
        tool.attributes.insert("step".to_owned(), json!(index));
        if !state.is_null() {
            tool.attributes.insert("state".to_owned(), state);
        }
        for (key, value) in step {
            insert_unique(&mut tool.attributes, &key, value);
        }
        self.spans.push(tool);
        Ok(())
    }

    /// One message of a file that has no steps.
    fn message(&mut self, index: usize, message: &Value, at: &Place<'_>) -> Result<(), Fault> {
        let Value::Object(message) = message else { return Err(Fault::shape(at, "an object", message)) };
        self.event(EventKind::Message(role(message, at)?), Value::Object(message.clone()));
        for call in tool_calls(message, at)? {
            let id = format!("message-{index:04}-call-{}", self.spans.len());
            let mut span = ImportedSpan::new(id, Some(ROOT), SpanKind::ToolCall, call.name);
            span.input = call.arguments;
            span.attributes = call.rest;
            span.attributes.insert("message_index".to_owned(), json!(index));
            if let Some(id) = call.id {
                span.attributes.insert("gen_ai.tool.call.id".to_owned(), json!(id));
            }
            self.spans.push(span);
        }
        let answers = message.get("tool_call_ids").and_then(Value::as_array).into_iter().flatten();
        for id in answers.chain(message.get("tool_call_id")) {
            let asked = |s: &&mut ImportedSpan| {
                s.status == SpanStatus::Unset && s.attributes.get("gen_ai.tool.call.id") == Some(id)
            };
            if let Some(span) = self.spans.iter_mut().find(asked) {
                span.output = message.get("content").cloned().unwrap_or(Value::Null);
                span.status = SpanStatus::Ok;
            }
        }
        Ok(())
    }
}
