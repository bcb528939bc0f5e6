//! tau-bench: a list of runs, each a conversation between a simulated user and an agent with tools, judged by a reward.
//!
//! The format has no times: order is all there is, and it is kept.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use super::{
    ImportedRun,
    identity::digest,
    json::{Fault, Object, Place, object, take, take_list, take_optional, take_u64},
    messages::{role, tool_calls},
    reader::Source,
    run::{EventKind, ImportedEvent, ImportedSpan, ImportedStatus, SpanKind, SpanStatus},
};

/// What the tools of the benchmark put before the text of a fault.
const TOOL_FAULT_PREFIX: &str = "Error";

pub(super) fn run(value: Value, at: &Place<'_>, source: &Source<'_>) -> Result<ImportedRun, Fault> {
    let content_digest = digest(&value);
    let mut fields = object(value, at)?;
    let task = take_u64(&mut fields, "task_id", at)?;
    let trial = take_u64(&mut fields, "trial", at)?;
    let reward_value = take(&mut fields, "reward", at)?;
    let reward =
        reward_value.as_f64().ok_or_else(|| Fault::shape(&at.key("reward"), "a number", &reward_value))?;
    let messages = take_list(&mut fields, "traj", at)?;
    let info = match take_optional(&mut fields, "info") {
        Some(info) => object(info, &at.key("info"))?,
        None => Object::new(),
    };

    let conversation = conversation(&messages, &at.key("traj"), &format!("task {task:02} trial {trial}"))?;
    let status = status(reward, &info);
    let tags = vec![
        "source:tau-bench".to_owned(),
        format!("task:{task:02}"),
        format!("trial:{trial}"),
        format!("reward:{reward}"),
        format!("outcome:{}", if judged(&info) { status.word() } else { "unjudged" }),
    ];

    let mut metadata = Object::new();
    metadata.insert("source.format".to_owned(), json!("tau-bench"));
    metadata.insert("source.file".to_owned(), json!(source.file_name));
    metadata.insert("task_id".to_owned(), json!(task));
    metadata.insert("trial".to_owned(), json!(trial));
    metadata.insert("reward".to_owned(), reward_value.clone());
    if let Some(user) = info.get("task").and_then(|t| t.get("user_id")) {
        metadata.insert("user_id".to_owned(), user.clone());
    }
    metadata.extend(fields.into_iter().map(|(key, value)| (format!("tau-bench.{key}"), value)));

    let state = vec![
        ("task_id".to_owned(), json!(task)),
        ("trial".to_owned(), json!(trial)),
        ("reward".to_owned(), reward_value),
        ("messages".to_owned(), json!(messages.len())),
        ("tool_calls".to_owned(), json!(conversation.calls)),
        ("last_message".to_owned(), messages.last().cloned().unwrap_or(Value::Null)),
        ("info".to_owned(), Value::Object(info)),
    ];

    Ok(ImportedRun {
        // The file's name is not part of it: the same results under another name are the same runs. The content is,
        // since every result file of the benchmark has a task 0 and a trial 0.
        source_id: format!("tau-bench/task-{task:02}/trial-{trial}/{content_digest}"),
        content_digest,
        name: format!("{} task {task:02} trial {trial}", source.stem),
        status,
        tags,
        metadata,
        started: None,
        ended: None,
        events: conversation.events,
        spans: conversation.spans,
        state,
        warnings: conversation.warnings,
    })
}

fn judged(info: &Object) -> bool {
    info.get("reward_info").is_some_and(|r| !r.is_null())
}

fn status(reward: f64, info: &Object) -> ImportedStatus {
    if reward >= 1.0 {
        return ImportedStatus::Completed;
    }
    if let Some(error) = info.get("error").and_then(Value::as_str) {
        return ImportedStatus::Failed(error.to_owned());
    }
    if !judged(info) {
        return ImportedStatus::Failed(format!("reward {reward}: stopped before it was judged"));
    }
    let part = |name: &str| info["reward_info"].get("info").and_then(|i| i.get(name)).and_then(Value::as_f64);
    let why = match (part("r_actions"), part("r_outputs")) {
        (Some(r), _) if r < 1.0 => "the end state differs from the expected one",
        (_, Some(r)) if r < 1.0 => "an expected answer was not given",
        _ => "judged as failed",
    };
    ImportedStatus::Failed(format!("reward {reward}: {why}"))
}

struct Conversation {
    events: Vec<ImportedEvent>,
    spans: Vec<ImportedSpan>,
    calls: usize,
    warnings: Vec<String>,
}

const ROOT: &str = "run";

fn conversation(messages: &[Value], at: &Place<'_>, name: &str) -> Result<Conversation, Fault> {
    let mut events = Vec::with_capacity(messages.len() * 3 / 2);
    let mut spans = vec![ImportedSpan::new(ROOT.to_owned(), None, SpanKind::Agent, name)];
    let mut warnings = Vec::new();
    // Model providers give the same call id again within one conversation, so an answer belongs to the oldest call with
    // its id that has none yet.
    let mut open: HashMap<String, VecDeque<usize>> = HashMap::new();

    for (index, message) in messages.iter().enumerate() {
        let place = at.index(index);
        let message = match message {
            Value::Object(message) => message,
            other => return Err(Fault::shape(&place, "an object", other)),
        };
        let role = role(message, &place)?;
        events.push(ImportedEvent {
            kind: EventKind::Message(role.clone()),
            at: None,
            payload: Value::Object(message.clone()),
        });
        for call in tool_calls(message, &place)? {
            let span_id = format!("call-{:04}", spans.len());
            let mut span = ImportedSpan::new(span_id.clone(), Some(ROOT), SpanKind::ToolCall, &call.name);
            span.input = call.arguments.clone();
            span.attributes = call.rest;
            span.attributes.insert("message_index".to_owned(), json!(index));
            if let Some(id) = &call.id {
                span.attributes.insert("gen_ai.tool.call.id".to_owned(), json!(id));
                open.entry(id.clone()).or_default().push_back(spans.len());
            }
            events.push(ImportedEvent {
                kind: EventKind::ToolCall,
                at: None,
                payload: json!({
                    "span": span_id, "id": call.id, "name": call.name, "arguments": call.arguments, "message_index": index,
                }),
            });
            spans.push(span);
        }
        if role == "tool" {
            let id = message.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
            match open.get_mut(id).and_then(VecDeque::pop_front) {
                Some(span) => answer(&mut spans[span], message),
                None => warnings.push(format!("message {index} answers the call `{id}`, which nobody made")),
            }
        }
    }
    let unanswered = open.values().map(VecDeque::len).sum::<usize>();
    if unanswered > 0 {
        warnings.push(format!("{unanswered} tool calls have no answer"));
    }
    let calls = spans.len() - 1;
    Ok(Conversation { events, spans, calls, warnings })
}

fn answer(span: &mut ImportedSpan, message: &Object) {
    span.output = message.get("content").cloned().unwrap_or(Value::Null);
    span.status = match span.output.as_str() {
        Some(text) if text.starts_with(TOOL_FAULT_PREFIX) => {
            SpanStatus::Failed(text.lines().next().unwrap_or_default().to_owned())
        }
        _ => SpanStatus::Ok,
    };
}
