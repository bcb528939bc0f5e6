//! Spans under the names of the OpenTelemetry conventions for generative AI, and from them.

use std::sync::Arc;

use in_mem_engine::{Span, SpanKind, SpanStatus};
use in_mem_model::{Object, Value};

use crate::SpanDraft;

/// The release of the OpenTelemetry semantic conventions that [`GENAI_ATTRIBUTES`] follows.
pub const GENAI_CONVENTIONS_VERSION: &str = "1.41.0";

/// What a span's fields are called there: the field, the attribute, and the kinds it is for (all, where empty). Attributes that
/// are not in this table are kept under their own names.
pub const GENAI_ATTRIBUTES: &[(GenAiField, &str, &[SpanKind])] = {
    use SpanKind::{Agent, ModelCall, Retrieval, ToolCall};
    &[
        (GenAiField::Kind, "gen_ai.operation.name", &[]),
        (GenAiField::Name, "gen_ai.tool.name", &[ToolCall]),
        (GenAiField::Name, "gen_ai.agent.name", &[Agent]),
        (GenAiField::Name, "gen_ai.data_source.id", &[Retrieval]),
        (GenAiField::Model, "gen_ai.request.model", &[]),
        (GenAiField::InputTokens, "gen_ai.usage.input_tokens", &[]),
        (GenAiField::OutputTokens, "gen_ai.usage.output_tokens", &[]),
        (GenAiField::Input, "gen_ai.tool.call.arguments", &[ToolCall]),
        (GenAiField::Output, "gen_ai.tool.call.result", &[ToolCall]),
        (GenAiField::Input, "gen_ai.retrieval.query.text", &[Retrieval]),
        (GenAiField::Output, "gen_ai.retrieval.documents", &[Retrieval]),
        (GenAiField::Input, "gen_ai.input.messages", &[ModelCall, Agent]),
        (GenAiField::Output, "gen_ai.output.messages", &[ModelCall, Agent]),
        (GenAiField::Message, "error.type", &[]),
        // The conventions have no name for these: they are ours.
        (GenAiField::Cost, "in_mem.cost_usd", &[]),
        (GenAiField::Tags, "in_mem.tags", &[]),
        (GenAiField::Input, "in_mem.input", &[]),
        (GenAiField::Output, "in_mem.output", &[]),
    ]
};

/// What the conventions call the kinds: the first name of a kind is the one that is written.
const OPERATIONS: &[(&str, SpanKind)] = &[
    ("chat", SpanKind::ModelCall),
    ("text_completion", SpanKind::ModelCall),
    ("generate_content", SpanKind::ModelCall),
    ("embeddings", SpanKind::ModelCall),
    ("execute_tool", SpanKind::ToolCall),
    ("invoke_agent", SpanKind::Agent),
    ("create_agent", SpanKind::Agent),
    ("invoke_workflow", SpanKind::Chain),
    ("retrieval", SpanKind::Retrieval),
];

const OPERATION: &str = "gen_ai.operation.name";

/// A field of a span that the conventions have a name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenAiField {
    /// Its kind.
    Kind,
    /// Its name.
    Name,
    /// The language model.
    Model,
    /// Tokens the model read.
    InputTokens,
    /// Tokens the model wrote.
    OutputTokens,
    /// What it cost.
    Cost,
    /// What it was given.
    Input,
    /// What it gave.
    Output,
    /// What was wrong.
    Message,
    /// Its tags.
    Tags,
}

fn is_for(kinds: &[SpanKind], kind: &SpanKind) -> bool {
    kinds.is_empty() || kinds.contains(kind)
}

/// A span's attributes under the names of the OpenTelemetry conventions for generative AI
/// ([`GENAI_CONVENTIONS_VERSION`]), with all that it has beyond them.
pub fn otel_attributes(span: &Span) -> Object {
    let mut out: Vec<(Arc<str>, Value)> =
        span.attributes.iter().map(|(name, value)| (Arc::from(name), value.clone())).collect();
    let mut written: Vec<GenAiField> = Vec::new();
    for (field, name, kinds) in GENAI_ATTRIBUTES {
        if !is_for(kinds, &span.kind) || written.contains(field) || out.iter().any(|(n, _)| &**n == *name) {
            continue;
        }
        let count = |tokens: Option<u64>| tokens.map_or(Value::Null, Value::from);
        let text = |text: &Option<Arc<str>>| text.clone().map_or(Value::Null, Value::String);
        let value = match field {
            GenAiField::Kind => {
                let known = OPERATIONS.iter().find(|(_, kind)| *kind == span.kind);
                Value::from(known.map_or(span.kind.as_str(), |(operation, _)| operation))
            }
            GenAiField::Name => Value::String(span.name.clone()),
            GenAiField::Model => text(&span.model),
            GenAiField::InputTokens => count(span.input_tokens),
            GenAiField::OutputTokens => count(span.output_tokens),
            GenAiField::Cost => span.cost_usd.map_or(Value::Null, Value::from),
            GenAiField::Input => span.input.clone(),
            GenAiField::Output => span.output.clone(),
            GenAiField::Message if span.status == SpanStatus::Failed => text(&span.message),
            GenAiField::Message => Value::Null,
            GenAiField::Tags if span.tags.is_empty() => Value::Null,
            GenAiField::Tags => Value::Array(span.tags.iter().map(|t| Value::String(t.clone())).collect()),
        };
        if value != Value::Null {
            written.push(*field);
            out.push((Arc::from(*name), value));
        }
    }
    Object::from_iter(out)
}

impl SpanDraft {
    /// A span from attributes under the names of the OpenTelemetry conventions; those that are not known, or hold something
    /// else than they should, are kept as they are.
    pub fn from_otel(name: impl Into<Arc<str>>, attributes: &Object) -> Self {
        let operation = attributes.get(OPERATION).and_then(Value::as_str).unwrap_or("custom");
        let known = OPERATIONS.iter().position(|(word, _)| *word == operation);
        let kind = known.map_or_else(|| SpanKind::from(operation), |place| OPERATIONS[place].1.clone());
        // A second name of the same kind would be lost by the kind alone: it stays an attribute.
        let is_first =
            known.is_none_or(|place| OPERATIONS[..place].iter().all(|(_, earlier)| *earlier != kind));
        let mut draft = Self::new(kind.clone(), name);
        for (attribute, value) in attributes.iter() {
            let field = GENAI_ATTRIBUTES
                .iter()
                .find(|(_, known, kinds)| *known == attribute && is_for(kinds, &kind))
                .map(|(field, ..)| *field);
            draft = match field {
                Some(GenAiField::Kind) if is_first => draft,
                Some(field) if accepts(field, value) => draft.set(field, value),
                _ => draft.attribute(attribute, value.clone()),
            };
        }
        draft
    }

    /// Sets a field to a value that it accepts.
    fn set(self, field: GenAiField, value: &Value) -> Self {
        let text = || value.as_str().unwrap_or_default();
        match field {
            GenAiField::Kind => self,
            GenAiField::Name => self.name(text()),
            GenAiField::Model => self.model(text()),
            GenAiField::InputTokens => self.input_tokens(value.as_u64().unwrap_or_default()),
            GenAiField::OutputTokens => self.output_tokens(value.as_u64().unwrap_or_default()),
            GenAiField::Cost => self.cost_usd(value.as_f64().unwrap_or_default()),
            GenAiField::Input => self.input(value.clone()),
            GenAiField::Output => self.output(value.clone()),
            GenAiField::Message => self.failed(text()),
            GenAiField::Tags => {
                let tags = value.as_array().unwrap_or_default().iter().filter_map(Value::as_str);
                tags.fold(self, |draft, tag| draft.tag(tag))
            }
        }
    }
}

fn accepts(field: GenAiField, value: &Value) -> bool {
    match field {
        GenAiField::Kind => false,
        GenAiField::Name | GenAiField::Model | GenAiField::Message => value.as_str().is_some(),
        GenAiField::InputTokens | GenAiField::OutputTokens => value.as_u64().is_some(),
        GenAiField::Cost => value.as_f64().is_some_and(f64::is_finite),
        GenAiField::Input | GenAiField::Output => true,
        GenAiField::Tags => value.as_array().is_some_and(|tags| tags.iter().all(|t| t.as_str().is_some())),
    }
}
