//! The conversation in a trace: every message once, and every tool call and its result, by time.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::{
    identity::digest,
    messages::{is_list_of_messages, is_message},
    run::{EventKind, ImportedEvent, ImportedSpan, SpanKind},
};

/// The events of a trace. A model call's input repeats the conversation so far; only what is new in it becomes an event.
pub(super) fn events(spans: &[ImportedSpan]) -> Vec<ImportedEvent> {
    let mut by_time: Vec<&ImportedSpan> =
        spans.iter().filter(|s| matches!(s.kind, SpanKind::ModelCall | SpanKind::ToolCall)).collect();
    by_time.sort_by_key(|s| s.start.unwrap_or(i64::MAX));

    let mut said: HashMap<String, usize> = HashMap::new();
    let mut events = Vec::new();
    for span in by_time {
        if span.kind == SpanKind::ToolCall {
            events.push(ImportedEvent {
                kind: EventKind::ToolCall,
                at: span.start,
                payload: json!({ "span": span.id, "name": span.name, "arguments": span.input }),
            });
            if !span.output.is_null() {
                events.push(ImportedEvent {
                    kind: EventKind::ToolResult,
                    at: span.end,
                    payload: json!({ "span": span.id, "name": span.name, "result": span.output }),
                });
            }
            continue;
        }
        // Said twice in one conversation is two messages; said before in an earlier call's is the same one.
        let mut in_this_call: HashMap<String, usize> = HashMap::new();
        for (side, at, value) in [("input", span.start, &span.input), ("output", span.end, &span.output)] {
            for message in messages(value) {
                let what = what_is_said(message);
                let times_here = in_this_call.entry(what.clone()).or_insert(0);
                *times_here += 1;
                let times_said = said.entry(what).or_insert(0);
                if *times_here > *times_said {
                    *times_said += 1;
                    // A call or a result that is an item of its own has a type and no role.
                    let role = message["role"].as_str().or(message["type"].as_str());
                    let role = role.unwrap_or("unknown").to_owned();
                    events.push(ImportedEvent {
                        kind: EventKind::Message(role),
                        at,
                        payload: json!({ "span": span.id, "side": side, "message": message }),
                    });
                }
            }
        }
    }
    // Stable: where times are equal or absent, the order in which they were found stays.
    events.sort_by_key(|e| e.at.unwrap_or(i64::MAX));
    events
}

/// The messages in a model call's input or output, in the places where the frameworks keep them.
fn messages(value: &Value) -> Vec<&Value> {
    if is_list_of_messages(value) {
        return value.as_array().into_iter().flatten().collect();
    }
    if is_message(value) {
        return vec![value];
    }
    for key in ["messages", "contents", "output"] {
        if let Some(list) = value.get(key).filter(|list| is_list_of_messages(list)) {
            return list.as_array().into_iter().flatten().collect();
        }
    }
    for (list, key) in [("choices", "message"), ("candidates", "content")] {
        if let Some(choices) = value.get(list).and_then(Value::as_array) {
            return choices.iter().filter_map(|c| c.get(key)).filter(|m| is_message(m)).collect();
        }
    }
    for key in ["message", "content"] {
        if let Some(message) = value.get(key).filter(|m| is_message(m)) {
            return vec![message];
        }
    }
    Vec::new()
}

/// Two messages are one if role and what was said are equal; the rest (why the model stopped, an index) comes and goes.
fn what_is_said(message: &Value) -> String {
    let keys =
        ["role", "content", "parts", "text", "tool_calls", "tool_call_id", "call_id", "arguments", "output"];
    digest(&Value::Array(keys.iter().map(|key| message.get(key).cloned().unwrap_or(Value::Null)).collect()))
}
