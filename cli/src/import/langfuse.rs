//! Langfuse: a trace and its observations, each with times, which together are a tree of spans.
//!
//! Columns that Langfuse exports as JSON inside text are undone. The tree is put in order (parents first), and what the
//! source leaves dangling is named in the run's warnings.

mod conversation;
mod span;
mod tree;

use serde_json::{Value, json};

use super::{
    ImportedRun,
    identity::digest,
    json::{
        Fault, Object, Place, object, take, take_list, take_optional, take_optional_text, take_text,
        unwrap_text,
    },
    reader::Source,
    run::{EventKind, ImportedEvent, ImportedSpan, ImportedStatus, SpanKind, SpanStatus},
    time::take_time,
};

pub(super) fn run(value: Value, at: &Place<'_>, source: &Source<'_>) -> Result<ImportedRun, Fault> {
    let content_digest = digest_in_any_order(&value);
    let mut fields = object(value, at)?;
    let at_trace = at.key("trace");
    let mut trace = object(take(&mut fields, "trace", at)?, &at_trace)?;
    let observations = take_list(&mut fields, "observations", at)?;

    let id = take_text(&mut trace, "id", &at_trace)?;
    let project = take_optional_text(&mut trace, "projectId", &at_trace)?;
    let name = take_optional_text(&mut trace, "name", &at_trace)?;
    let at_time = take_time(&mut trace, "timestamp", &at_trace)?;
    let input = take_optional(&mut trace, "input").map(unwrap_text);
    let output = take_optional(&mut trace, "output").map(unwrap_text);
    let mut tags = tags(&mut trace, &at_trace)?;
    let mut copies = span::copies(&mut trace);

    let at_list = at.key("observations");
    let mut warnings = Vec::new();
    let mut spans = Vec::with_capacity(observations.len());
    for (index, observation) in observations.into_iter().enumerate() {
        spans.push(span::span(observation, &at_list.index(index), &mut copies)?);
    }
    let spans = tree::arrange(spans, &mut warnings);
    for id in copies.keys() {
        warnings.push(format!("the trace lists an observation {id} that is not among the observations"));
    }
    let leftovers: Vec<Value> = copies.into_values().map(Value::Object).collect();

    let started = spans.iter().filter_map(|s| s.start).chain(at_time).min();
    let ended = spans.iter().flat_map(|s| [s.start, s.end]).flatten().chain(at_time).max();

    let mut events = conversation::events(&spans);
    let whole = |kind, at, payload: &Option<Value>| {
        payload.clone().map(|payload| ImportedEvent { kind, at, payload })
    };
    events.splice(0..0, whole(EventKind::RunInput, started, &input));
    events.extend(whole(EventKind::RunOutput, ended, &output));

    let mut state = vec![("observations".to_owned(), json!(spans.len()))];
    state.extend(input.map(|v| ("input".to_owned(), v)));
    state.extend(output.map(|v| ("output".to_owned(), v)));
    for key in ["scores", "corrections"] {
        state.extend(take_optional(&mut trace, key).map(|v| (key.to_owned(), v)));
    }

    tags.insert(0, "source:langfuse".to_owned());
    let mut metadata = Object::new();
    metadata.insert("source.format".to_owned(), json!("langfuse"));
    metadata.insert("source.file".to_owned(), json!(source.file_name));
    metadata.insert("trace_id".to_owned(), json!(id));
    if let Some(project) = &project {
        metadata.insert("project_id".to_owned(), json!(project));
    }
    for (key, value) in trace {
        let value = if key == "metadata" { unwrap_text(value) } else { value };
        metadata.insert(format!("langfuse.{key}"), value);
    }
    if !leftovers.is_empty() {
        metadata.insert("langfuse.observations".to_owned(), Value::Array(leftovers));
    }
    metadata.extend(fields.into_iter().map(|(key, value)| (format!("langfuse.export.{key}"), value)));

    Ok(ImportedRun {
        source_id: format!("langfuse/{}/{id}", project.as_deref().unwrap_or("-")),
        content_digest,
        name: name.filter(|n| !n.is_empty()).unwrap_or_else(|| source.stem.to_owned()),
        status: status(&spans),
        tags,
        metadata,
        started,
        ended,
        events,
        spans,
        state,
        warnings,
    })
}

/// The digest of an export whatever the order of its observations: exported twice, a trace comes in two orders.
fn digest_in_any_order(value: &Value) -> String {
    let mut value = value.clone();
    for pointer in ["/observations", "/trace/observations"] {
        if let Some(Value::Array(list)) = value.pointer_mut(pointer) {
            list.sort_by_cached_key(|o| o.get("id").and_then(Value::as_str).map(str::to_owned));
        }
    }
    digest(&value)
}

/// The trace's own tags, and the fields people filter traces by.
fn tags(trace: &mut Object, at: &Place<'_>) -> Result<Vec<String>, Fault> {
    let mut tags = Vec::new();
    if let Some(own) = take_optional(trace, "tags") {
        let at = at.key("tags");
        for (index, tag) in super::json::list(own, &at)?.into_iter().enumerate() {
            tags.push(super::json::text(tag, &at.index(index))?);
        }
    }
    for (field, tag) in [
        ("environment", "environment"),
        ("sessionId", "session"),
        ("userId", "user"),
        ("release", "release"),
        ("version", "version"),
    ] {
        if let Some(value) = trace.get(field).and_then(Value::as_str).filter(|v| !v.is_empty()) {
            tags.push(format!("{tag}:{value}"));
        }
    }
    Ok(tags)
}

/// A trace has no status: it failed if a span at its top failed, and it goes on for as long as one of these has no end.
fn status(spans: &[ImportedSpan]) -> ImportedStatus {
    let mut top = spans.iter().filter(|s| s.parent.is_none());
    let failed = top.clone().find_map(|s| match &s.status {
        SpanStatus::Failed(why) => Some(format!("{}: {why}", s.name)),
        _ => None,
    });
    match failed {
        Some(why) => ImportedStatus::Failed(why),
        // An `EVENT` is a point in time and never has an end.
        None if top.any(|s| s.end.is_none() && s.kind != SpanKind::Custom("event".to_owned())) => {
            ImportedStatus::Unknown
        }
        None => ImportedStatus::Completed,
    }
}
