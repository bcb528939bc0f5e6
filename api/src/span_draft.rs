//! What is said of a span when it is recorded, begun or ended.

use std::sync::Arc;
use std::time::Duration;

use in_mem_engine::span::pack_span;
use in_mem_engine::{Condition, SpanHead, SpanKind, SpanStatus};
use in_mem_model::{Object, Timestamp, Value};

use crate::Result;
use crate::traces::{assign_id, check, check_attributes};

/// A span to record.
#[derive(Debug, Clone)]
pub struct SpanDraft {
    id: Option<Arc<str>>,
    head: SpanHead,
    start: Option<Timestamp>,
    took: Option<Duration>,
    input: Value,
    output: Value,
    attributes: Vec<(Arc<str>, Value)>,
}

impl SpanDraft {
    /// A span of this kind and name. What is not said of it takes no space.
    pub fn new(kind: impl Into<SpanKind>, name: impl Into<Arc<str>>) -> Self {
        Self {
            id: None,
            head: SpanHead::new(kind.into(), name.into(), Timestamp(0)),
            start: None,
            took: None,
            input: Value::Null,
            output: Value::Null,
            attributes: Vec::new(),
        }
    }

    /// A call of this language model.
    pub fn model_call(model: impl Into<Arc<str>>) -> Self {
        let model = model.into();
        Self::new(SpanKind::ModelCall, model.clone()).model(model)
    }

    /// A call of this tool.
    pub fn tool_call(tool: impl Into<Arc<str>>) -> Self {
        Self::new(SpanKind::ToolCall, tool)
    }

    /// The id to have, unique in the run. Default: one is assigned.
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The id of the span it is a part of; that one may be recorded later, or never.
    pub fn parent(mut self, parent: impl Into<Arc<str>>) -> Self {
        self.head.parent = Some(parent.into());
        self
    }

    /// What it was given.
    pub fn input(mut self, input: impl Into<Value>) -> Self {
        self.input = input.into();
        self
    }

    /// What it gave.
    pub fn output(mut self, output: impl Into<Value>) -> Self {
        self.output = output.into();
        self
    }

    /// When it began. Default: now, or so long before its end as it took.
    pub fn start(mut self, at: Timestamp) -> Self {
        self.start = Some(at);
        self
    }

    /// When it ended. Default: now, for a span recorded in one go.
    pub fn end(mut self, at: Timestamp) -> Self {
        self.head.end = Some(at);
        self
    }

    /// How long it took, where only that is known, or one of its ends.
    pub fn took(mut self, duration: Duration) -> Self {
        self.took = Some(duration);
        self
    }

    /// How it ended. Default: ok, for a span recorded in one go.
    pub fn status(mut self, status: SpanStatus) -> Self {
        self.head.status = status;
        self
    }

    /// It ended with this fault.
    pub fn failed(mut self, message: impl Into<Arc<str>>) -> Self {
        self.head.status = SpanStatus::Failed;
        self.head.message = Some(message.into());
        self
    }

    /// The language model.
    pub fn model(mut self, model: impl Into<Arc<str>>) -> Self {
        self.head.model = Some(model.into());
        self
    }

    /// Another name than the one it was made with.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.head.name = name.into();
        self
    }

    /// How many tokens the model read and wrote.
    pub fn tokens(self, input: u64, output: u64) -> Self {
        self.input_tokens(input).output_tokens(output)
    }

    /// How many tokens the model read.
    pub fn input_tokens(mut self, tokens: u64) -> Self {
        self.head.input_tokens = Some(tokens);
        self
    }

    /// How many tokens the model wrote.
    pub fn output_tokens(mut self, tokens: u64) -> Self {
        self.head.output_tokens = Some(tokens);
        self
    }

    /// What it cost, in US dollars.
    pub fn cost_usd(mut self, cost: f64) -> Self {
        self.head.cost_usd = Some(cost);
        self
    }

    /// A word to find it by; may be called again.
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.head.tags.push(tag.into());
        self
    }

    /// Anything else, under a name of its own; may be called again.
    pub fn attribute(mut self, name: impl Into<Arc<str>>, value: impl Into<Value>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Packs it as of now; `ended`: it is recorded in one go.
    pub(crate) fn pack(&self, now: Timestamp, ended: bool, body: &mut Vec<u8>) -> Result<()> {
        let took = self.took;
        let end = match (self.head.end, self.start, took) {
            (Some(end), ..) => Some(end),
            (None, Some(start), Some(took)) => Some(start.saturating_add(took)),
            (None, ..) => ended.then_some(now),
        };
        let start = self.start.unwrap_or_else(|| match (end, took) {
            (Some(end), Some(took)) => end.saturating_sub(took),
            (Some(end), None) => end.min(now),
            (None, _) => now,
        });
        check(&self.head, [&self.input, &self.output])?;
        let attributes =
            (!self.attributes.is_empty()).then(|| Object::from_iter(self.attributes.iter().cloned()));
        if let Some(attributes) = &attributes {
            check_attributes(attributes)?;
        }
        let status = match self.head.status {
            SpanStatus::Unset if ended => SpanStatus::Ok,
            status => status,
        };
        let head = SpanHead { start, end, status, ..self.head.clone() };
        pack_span(&head, &self.input, &self.output, attributes.as_ref(), body);
        Ok(())
    }

    /// Its id, and what must hold of it: an id that was given must be free, one that is assigned is.
    pub(crate) fn id_and_condition(&self) -> (Arc<str>, Condition) {
        match &self.id {
            Some(id) => (id.clone(), Condition::Absent),
            None => (assign_id(), Condition::Any),
        }
    }
}

/// What is known of a span once it has ended.
#[derive(Debug, Clone, Default)]
pub struct SpanEnd {
    pub(crate) status: SpanStatus,
    pub(crate) message: Option<Arc<str>>,
    pub(crate) at: Option<Timestamp>,
    pub(crate) output: Option<Value>,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) cost_usd: Option<f64>,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) attributes: Vec<(Arc<str>, Value)>,
}

impl SpanEnd {
    /// Without a fault.
    pub fn ok() -> Self {
        Self { status: SpanStatus::Ok, ..Self::default() }
    }

    /// With this fault.
    pub fn failed(message: impl Into<Arc<str>>) -> Self {
        Self { status: SpanStatus::Failed, message: Some(message.into()), ..Self::default() }
    }

    /// When. Default: now.
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }

    /// What it gave.
    pub fn output(mut self, output: impl Into<Value>) -> Self {
        self.output = Some(output.into());
        self
    }

    /// The language model that answered.
    pub fn model(mut self, model: impl Into<Arc<str>>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// How many tokens the model read and wrote.
    pub fn tokens(mut self, input: u64, output: u64) -> Self {
        self.input_tokens = Some(input);
        self.output_tokens = Some(output);
        self
    }

    /// What it cost, in US dollars.
    pub fn cost_usd(mut self, cost: f64) -> Self {
        self.cost_usd = Some(cost);
        self
    }

    /// One more word to find it by.
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Anything else, under a name of its own; takes the place of what the span had under that name.
    pub fn attribute(mut self, name: impl Into<Arc<str>>, value: impl Into<Value>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}
