//! A run as it comes out of an import: the same shape whatever tool recorded it.

use serde_json::{Map, Value};

/// One run read from a file, ready to be written to the database in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedRun {
    /// Says which run of which source this is. The same run read again, from wherever, has the same `source_id`.
    pub source_id: String,
    /// BLAKE3 (hex) of the run's content in canonical JSON. Two imports with one `source_id` and different digests mean
    /// that the source has changed in between (a trace that went on after it was first exported).
    pub content_digest: String,
    /// What to call the run in lists.
    pub name: String,
    /// How the run ended, as far as the source says.
    pub status: ImportedStatus,
    /// `key:value` labels to query by: the task, the trial, the reward, the environment, ...
    pub tags: Vec<String>,
    /// What the source says about the run as a whole, including every field this program does not know.
    pub metadata: Map<String, Value>,
    /// First time in the source, microseconds since 1970 UTC.
    pub started: Option<i64>,
    /// Last time in the source, microseconds since 1970 UTC.
    pub ended: Option<i64>,
    /// What happened, in order.
    pub events: Vec<ImportedEvent>,
    /// The trace. A parent always comes before its children, whatever the order in the source.
    pub spans: Vec<ImportedSpan>,
    /// The run's state at its end, for its key-value store. Keys are unique.
    pub state: Vec<(String, Value)>,
    /// What had to be put right on the way in (a parent that is not there, an id used twice): to be shown, not hidden.
    pub warnings: Vec<String>,
}

impl ImportedRun {
    /// The 16 bytes of the run's id: a version 8 UUID made of BLAKE3 over [`ImportedRun::source_id`].
    ///
    /// Being a pure function of the source it makes a second import find the first one's run.
    pub fn run_id(&self) -> [u8; 16] {
        super::identity::run_id(&self.source_id)
    }

    /// Number of events that are messages of the conversation.
    pub fn message_count(&self) -> usize {
        self.events.iter().filter(|e| e.kind.is_message()).count()
    }

    /// Number of spans that are tool calls.
    pub fn tool_call_count(&self) -> usize {
        self.spans.iter().filter(|s| s.kind == SpanKind::ToolCall).count()
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportedStatus {
    /// It reached its end, and where the source judges runs, it passed.
    Completed,
    /// It failed, or was judged to have failed; the reason in words.
    Failed(String),
    /// It was stopped before its end; the reason in words.
    Cancelled(String),
    /// The source does not say how it ended.
    Unknown,
}

impl ImportedStatus {
    /// One word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            ImportedStatus::Completed => "completed",
            ImportedStatus::Failed(_) => "failed",
            ImportedStatus::Cancelled(_) => "cancelled",
            ImportedStatus::Unknown => "unknown",
        }
    }
}

/// What an event is. Its text is the event's type in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A message of the conversation; the role is that of the source (`system`, `user`, `assistant`, `tool`, ...).
    Message(String),
    /// A tool was called.
    ToolCall,
    /// A tool answered, where the source has this apart from the messages.
    ToolResult,
    /// What the agent thought before it acted.
    Thought,
    /// What the agent did.
    Action,
    /// What came back from the environment.
    Observation,
    /// What the whole run was given.
    RunInput,
    /// What the whole run gave.
    RunOutput,
}

impl EventKind {
    /// The event's type as written to the log, for example `message.user` or `tool.call`.
    pub fn text(&self) -> String {
        match self {
            EventKind::Message(role) => format!("message.{role}"),
            EventKind::ToolCall => "tool.call".to_owned(),
            EventKind::ToolResult => "tool.result".to_owned(),
            EventKind::Thought => "step.thought".to_owned(),
            EventKind::Action => "step.action".to_owned(),
            EventKind::Observation => "step.observation".to_owned(),
            EventKind::RunInput => "run.input".to_owned(),
            EventKind::RunOutput => "run.output".to_owned(),
        }
    }

    /// Whether this is a message of the conversation.
    pub fn is_message(&self) -> bool {
        matches!(self, EventKind::Message(_))
    }
}

/// One entry of the run's event log.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedEvent {
    /// What it is.
    pub kind: EventKind,
    /// When it happened, microseconds since 1970 UTC; `None` where the source has no times.
    pub at: Option<i64>,
    /// Its content. Messages are kept as the source has them.
    pub payload: Value,
}

/// What a span is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// A call of a language model.
    ModelCall,
    /// A call of a tool.
    ToolCall,
    /// An agent at work.
    Agent,
    /// A chain of steps.
    Chain,
    /// A look-up in a store of documents.
    Retrieval,
    /// A choice between ways to go on.
    Decision,
    /// A fault.
    Error,
    /// Anything else; the word is that of the source, in lower case.
    Custom(String),
}

impl SpanKind {
    /// The kind as one word, for example `model_call`.
    pub fn text(&self) -> &str {
        match self {
            SpanKind::ModelCall => "model_call",
            SpanKind::ToolCall => "tool_call",
            SpanKind::Agent => "agent",
            SpanKind::Chain => "chain",
            SpanKind::Retrieval => "retrieval",
            SpanKind::Decision => "decision",
            SpanKind::Error => "error",
            SpanKind::Custom(word) => word,
        }
    }
}

/// How a span ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanStatus {
    /// Without a fault.
    Ok,
    /// With a fault, in the words of the source where it has any.
    Failed(String),
    /// The source does not say.
    Unset,
}

/// One span of the run's trace.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedSpan {
    /// Unique in its run.
    pub id: String,
    /// The id of the span this is a part of; always the id of an earlier span of the same run.
    pub parent: Option<String>,
    /// What it is.
    pub kind: SpanKind,
    /// Its name: of the tool, of the model's call, of the step.
    pub name: String,
    /// When it began, microseconds since 1970 UTC.
    pub start: Option<i64>,
    /// When it ended, microseconds since 1970 UTC.
    pub end: Option<i64>,
    /// How long it took, microseconds, where the source says so without saying when.
    pub duration: Option<i64>,
    /// What it was given.
    pub input: Value,
    /// What it gave.
    pub output: Value,
    /// How it ended.
    pub status: SpanStatus,
    /// The language model, for model calls.
    pub model: Option<String>,
    /// Tokens the model read.
    pub input_tokens: Option<u64>,
    /// Tokens the model wrote.
    pub output_tokens: Option<u64>,
    /// What it cost, in US dollars.
    pub cost_usd: Option<f64>,
    /// Every other field of the source, under the source's own name.
    pub attributes: Map<String, Value>,
}

impl ImportedSpan {
    /// A span with nothing known but what it is called and where it belongs.
    pub(crate) fn new(id: String, parent: Option<&str>, kind: SpanKind, name: impl Into<String>) -> Self {
        ImportedSpan {
            id,
            parent: parent.map(str::to_owned),
            kind,
            name: name.into(),
            start: None,
            end: None,
            duration: None,
            input: Value::Null,
            output: Value::Null,
            status: SpanStatus::Unset,
            model: None,
            input_tokens: None,
            output_tokens: None,
            cost_usd: None,
            attributes: Map::new(),
        }
    }
}
