//! One observation as a span.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::{
    json::{
        Fault, Object, Place, insert_unique, object, take_optional, take_optional_text, take_text,
        unwrap_text,
    },
    run::{ImportedSpan, SpanKind, SpanStatus},
    time::take_time,
};

/// An export holds the observations twice, the second time inside the trace with other fields. By id.
pub(super) type Copies = BTreeMap<String, Object>;

/// Takes the second copy of the observations out of the trace. Items without an id stay in the trace's metadata.
pub(super) fn copies(trace: &mut Object) -> Copies {
    let mut copies = Copies::new();
    let Some(Value::Array(items)) = trace.remove("observations") else { return copies };
    let mut rest = Vec::new();
    for item in items {
        match item {
            Value::Object(fields)
                if fields
                    .get("id")
                    .is_some_and(|id| id.as_str().is_some_and(|id| !copies.contains_key(id))) =>
            {
                let id = fields["id"].as_str().unwrap_or_default().to_owned();
                copies.insert(id, fields);
            }
            other => rest.push(other),
        }
    }
    if !rest.is_empty() {
        trace.insert("observations".to_owned(), Value::Array(rest));
    }
    copies
}

/// Columns that are JSON inside text.
const TEXT_COLUMNS: [&str; 3] = ["input", "output", "metadata"];

pub(super) fn span(value: Value, at: &Place<'_>, copies: &mut Copies) -> Result<ImportedSpan, Fault> {
    let mut fields = object(value, at)?;
    let id = take_text(&mut fields, "id", at)?;
    if let Some(copy) = copies.remove(&id) {
        merge(&mut fields, copy, &id);
    }
    let kind = kind(&take_text(&mut fields, "type", at)?);
    let name = take_optional_text(&mut fields, "name", at)?;
    let parent = take_optional_text(&mut fields, "parentObservationId", at)?;
    let mut span = ImportedSpan::new(id, parent.as_deref(), kind, "");
    span.name = name.filter(|n| !n.is_empty()).unwrap_or_else(|| span.kind.text().to_owned());
    span.start = take_time(&mut fields, "startTime", at)?;
    span.end = take_time(&mut fields, "endTime", at)?;
    span.input = unwrap_text(take_optional(&mut fields, "input").unwrap_or(Value::Null));
    span.output = unwrap_text(take_optional(&mut fields, "output").unwrap_or(Value::Null));
    span.model = take_optional_text(&mut fields, "model", at)?;
    span.status = status(&fields);
    let number = |group: &str, key: &str| fields.get(group).and_then(|g| g.get(key)).cloned();
    span.input_tokens = number("usageDetails", "input").and_then(|v| v.as_u64());
    span.output_tokens = number("usageDetails", "output").and_then(|v| v.as_u64());
    span.cost_usd = number("costDetails", "total").and_then(|v| v.as_f64());
    for (key, value) in fields {
        if !value.is_null() {
            let value = if key == "metadata" { unwrap_text(value) } else { value };
            insert_unique(&mut span.attributes, &key, value);
        }
    }
    Ok(span)
}

/// Adds what the second copy of an observation knows beyond the first.
fn merge(fields: &mut Object, copy: Object, id: &str) {
    for (key, value) in copy {
        if value.is_null() || (key == "id" && value == id) {
            continue;
        }
        match fields.get(&key) {
            None | Some(Value::Null) => {
                fields.insert(key, value);
            }
            Some(same) if *same == value => {}
            Some(same)
                if TEXT_COLUMNS.contains(&key.as_str())
                    && unwrap_text(same.clone()) == unwrap_text(value.clone()) => {}
            Some(_) => insert_unique(fields, &format!("trace.{key}"), value),
        }
    }
}

fn kind(written: &str) -> SpanKind {
    match written {
        "GENERATION" => SpanKind::ModelCall,
        "TOOL" => SpanKind::ToolCall,
        "AGENT" => SpanKind::Agent,
        "CHAIN" => SpanKind::Chain,
        "RETRIEVER" => SpanKind::Retrieval,
        other => SpanKind::Custom(other.to_lowercase()),
    }
}

fn status(fields: &Object) -> SpanStatus {
    let said = fields.get("statusMessage").and_then(Value::as_str).unwrap_or("no message");
    match fields.get("level").and_then(Value::as_str) {
        Some("ERROR") => SpanStatus::Failed(said.to_owned()),
        Some(_) => SpanStatus::Ok,
        None => SpanStatus::Unset,
    }
}
