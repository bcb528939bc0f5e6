//! Spans as they are stored.
//!
//! A span is one value under the `Trace` tag; its key is its id as text. The value's bytes are packed on the caller's own
//! thread, header first, so that the shard's index over spans reads no payload:
//!
//! `kind (1) | status (1) | which fields follow (2, little-endian) | start (8) | name`, then where there: the custom kind's
//! word, end (8), parent, status message, model, tokens in, tokens out, cost (8), tags; and behind the header input, output and
//! attributes as values. Texts are length-prefixed, counts are varints, times are microseconds since 1970.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use in_mem_model::codec::{self, Cursor, DecodeError};
use in_mem_model::{Object, Timestamp, Value, Version, VersionedValue};
use serde::{Deserialize, Serialize};

/// What a span is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Arc<str>", into = "Arc<str>")]
#[non_exhaustive]
pub enum SpanKind {
    /// A call of a language model.
    ModelCall,
    /// A call of a tool.
    ToolCall,
    /// A choice between ways to go on.
    Decision,
    /// A look-up in a store of documents.
    Retrieval,
    /// An agent at work.
    Agent,
    /// A chain of steps.
    Chain,
    /// A fault.
    Error,
    /// Anything else, by its own word.
    Custom(Arc<str>),
}

const CUSTOM: u8 = 7;

impl SpanKind {
    /// The kinds that have a name of their own.
    pub const NAMED: [Self; 7] = [
        Self::ModelCall,
        Self::ToolCall,
        Self::Decision,
        Self::Retrieval,
        Self::Agent,
        Self::Chain,
        Self::Error,
    ];

    /// The kind as a word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::ModelCall => "model_call",
            Self::ToolCall => "tool_call",
            Self::Decision => "decision",
            Self::Retrieval => "retrieval",
            Self::Agent => "agent",
            Self::Chain => "chain",
            Self::Error => "error",
            Self::Custom(word) => word,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::ModelCall => 0,
            Self::ToolCall => 1,
            Self::Decision => 2,
            Self::Retrieval => 3,
            Self::Agent => 4,
            Self::Chain => 5,
            Self::Error => 6,
            Self::Custom(_) => CUSTOM,
        }
    }
}

impl From<Arc<str>> for SpanKind {
    fn from(word: Arc<str>) -> Self {
        Self::NAMED.into_iter().find(|kind| kind.as_str() == &*word).unwrap_or(Self::Custom(word))
    }
}

impl From<&str> for SpanKind {
    fn from(word: &str) -> Self {
        Self::from(Arc::<str>::from(word))
    }
}

impl From<SpanKind> for Arc<str> {
    fn from(kind: SpanKind) -> Self {
        match kind {
            SpanKind::Custom(word) => word,
            named => Arc::from(named.as_str()),
        }
    }
}

impl fmt::Display for SpanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a span stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SpanStatus {
    /// Nobody has said: under way, or of a source that does not say.
    #[default]
    Unset,
    /// It ended without a fault.
    Ok,
    /// It ended with a fault.
    Failed,
}

impl SpanStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Unset, Self::Ok, Self::Failed];

    /// The status as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for SpanStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word is not a status of a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no span status; use unset, ok or failed")]
pub struct UnknownSpanStatus(pub String);

impl FromStr for SpanStatus {
    type Err = UnknownSpanStatus;

    fn from_str(word: &str) -> Result<Self, UnknownSpanStatus> {
        Self::ALL.into_iter().find(|s| s.as_str() == word).ok_or_else(|| UnknownSpanStatus(word.to_owned()))
    }
}

/// What a span's index knows of it: everything but input, output and attributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanHead {
    /// What it is.
    pub kind: SpanKind,
    /// Its name: of the tool, of the model's call, of the step.
    pub name: Arc<str>,
    /// The id of the span it is a part of; that one may be recorded later, or never.
    pub parent: Option<Arc<str>>,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; `None`: it is under way.
    pub end: Option<Timestamp>,
    /// How it stands.
    pub status: SpanStatus,
    /// What was wrong, or else is to be said of its status.
    pub message: Option<Arc<str>>,
    /// The language model, for model calls.
    pub model: Option<Arc<str>>,
    /// Tokens the model read.
    pub input_tokens: Option<u64>,
    /// Tokens the model wrote.
    pub output_tokens: Option<u64>,
    /// What it cost, in US dollars.
    pub cost_usd: Option<f64>,
    /// Words to find it by.
    pub tags: Vec<Arc<str>>,
}

impl SpanHead {
    /// A span that has begun.
    pub fn new(kind: SpanKind, name: Arc<str>, start: Timestamp) -> Self {
        Self {
            kind,
            name,
            parent: None,
            start,
            end: None,
            status: SpanStatus::Unset,
            message: None,
            model: None,
            input_tokens: None,
            output_tokens: None,
            cost_usd: None,
            tags: Vec::new(),
        }
    }

    /// How long it took, in microseconds; `None`: it is under way.
    pub fn duration_micros(&self) -> Option<u64> {
        self.end.map(|end| u64::try_from(end.0.saturating_sub(self.start.0)).unwrap_or(0))
    }
}

/// A span as it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Unique in its run.
    pub id: Arc<str>,
    /// What it is, when, how it ended, what it used.
    #[serde(flatten)]
    pub head: SpanHead,
    /// What it was given.
    pub input: Value,
    /// What it gave.
    pub output: Value,
    /// Everything else, under the names of the OpenTelemetry conventions where they have one.
    pub attributes: Object,
    /// The version of the commit that wrote it last.
    pub version: Version,
    /// When that was.
    pub recorded_at: Timestamp,
}

impl std::ops::Deref for Span {
    type Target = SpanHead;

    fn deref(&self) -> &SpanHead {
        &self.head
    }
}

const END: u16 = 1;
const PARENT: u16 = 1 << 1;
const MESSAGE: u16 = 1 << 2;
const MODEL: u16 = 1 << 3;
const INPUT_TOKENS: u16 = 1 << 4;
const OUTPUT_TOKENS: u16 = 1 << 5;
const COST: u16 = 1 << 6;
const TAGS: u16 = 1 << 7;
const INPUT: u16 = 1 << 8;
const OUTPUT: u16 = 1 << 9;
const ATTRIBUTES: u16 = 1 << 10;

/// Packs a span, on the caller's own thread, behind what `out` holds.
pub fn pack_span(
    head: &SpanHead,
    input: &Value,
    output: &Value,
    attributes: Option<&Object>,
    out: &mut Vec<u8>,
) {
    let attributes = attributes.filter(|attributes| !attributes.is_empty());
    let flag = |there: bool, flag: u16| if there { flag } else { 0 };
    let fields = flag(head.end.is_some(), END)
        | flag(head.parent.is_some(), PARENT)
        | flag(head.message.is_some(), MESSAGE)
        | flag(head.model.is_some(), MODEL)
        | flag(head.input_tokens.is_some(), INPUT_TOKENS)
        | flag(head.output_tokens.is_some(), OUTPUT_TOKENS)
        | flag(head.cost_usd.is_some(), COST)
        | flag(!head.tags.is_empty(), TAGS)
        | flag(*input != Value::Null, INPUT)
        | flag(*output != Value::Null, OUTPUT)
        | flag(attributes.is_some(), ATTRIBUTES);
    out.push(head.kind.code());
    out.push(head.status as u8);
    out.extend_from_slice(&fields.to_le_bytes());
    out.extend_from_slice(&head.start.0.to_le_bytes());
    codec::put_str(&head.name, out);
    if let SpanKind::Custom(word) = &head.kind {
        codec::put_str(word, out);
    }
    if let Some(end) = head.end {
        out.extend_from_slice(&end.0.to_le_bytes());
    }
    for text in [&head.parent, &head.message, &head.model].into_iter().flatten() {
        codec::put_str(text, out);
    }
    for tokens in [head.input_tokens, head.output_tokens].into_iter().flatten() {
        codec::put_varint(tokens, out);
    }
    if let Some(cost) = head.cost_usd {
        out.extend_from_slice(&cost.to_le_bytes());
    }
    if !head.tags.is_empty() {
        codec::put_varint(head.tags.len() as u64, out);
        for tag in &head.tags {
            codec::put_str(tag, out);
        }
    }
    if fields & INPUT != 0 {
        codec::encode_value(input, out);
    }
    if fields & OUTPUT != 0 {
        codec::encode_value(output, out);
    }
    if let Some(attributes) = attributes {
        codec::encode_value(&Value::Object(attributes.clone()), out);
    }
}

fn text(cursor: &mut Cursor<'_>, there: bool) -> Result<Option<Arc<str>>, DecodeError> {
    if there { cursor.str().map(|text| Some(Arc::from(text))) } else { Ok(None) }
}

fn read_head(cursor: &mut Cursor<'_>) -> Result<(SpanHead, u16), DecodeError> {
    let code = cursor.u8()?;
    let status = *SpanStatus::ALL
        .get(usize::from(cursor.u8()?))
        .ok_or_else(|| cursor.refuse("no span has this status"))?;
    let fields = u16::from_le_bytes(cursor.array::<2>()?);
    let start = Timestamp(i64::from_le_bytes(cursor.array::<8>()?));
    let name = Arc::from(cursor.str()?);
    let kind = match SpanKind::NAMED.get(usize::from(code)) {
        Some(kind) => kind.clone(),
        None if code == CUSTOM => SpanKind::Custom(Arc::from(cursor.str()?)),
        None => return Err(cursor.refuse("no span has this kind")),
    };
    let has = |field| fields & field != 0;
    let end = if has(END) { Some(Timestamp(i64::from_le_bytes(cursor.array::<8>()?))) } else { None };
    let parent = text(cursor, has(PARENT))?;
    let message = text(cursor, has(MESSAGE))?;
    let model = text(cursor, has(MODEL))?;
    let input_tokens = if has(INPUT_TOKENS) { Some(cursor.varint()?) } else { None };
    let output_tokens = if has(OUTPUT_TOKENS) { Some(cursor.varint()?) } else { None };
    let cost_usd = if has(COST) { Some(f64::from_le_bytes(cursor.array::<8>()?)) } else { None };
    let mut tags = Vec::new();
    if has(TAGS) {
        // Not reserved ahead: the count is the bytes' own claim.
        for _ in 0..cursor.varint()? {
            tags.push(Arc::from(cursor.str()?));
        }
    }
    let head = SpanHead {
        kind,
        name,
        parent,
        start,
        end,
        status,
        message,
        model,
        input_tokens,
        output_tokens,
        cost_usd,
        tags,
    };
    Ok((head, fields))
}

fn packed(value: &Value) -> Result<&[u8], DecodeError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(Cursor::new(&[]).refuse("this is not a stored span")),
    }
}

/// Reads what the index needs of a stored span.
///
/// # Errors
/// [`DecodeError`] where the value is not a span.
pub fn unpack_head(value: &Value) -> Result<SpanHead, DecodeError> {
    read_head(&mut Cursor::new(packed(value)?)).map(|(head, _)| head)
}

/// Reads a stored span back.
///
/// # Errors
/// [`DecodeError`] where the value is not a span.
pub fn unpack_span(id: &str, stored: &VersionedValue) -> Result<Span, DecodeError> {
    let mut cursor = Cursor::new(packed(&stored.value)?);
    let (head, fields) = read_head(&mut cursor)?;
    let mut value = |field| if fields & field == 0 { Ok(Value::Null) } else { cursor.value() };
    let (input, output, attributes) = (value(INPUT)?, value(OUTPUT)?, value(ATTRIBUTES)?);
    let attributes = match attributes {
        Value::Object(attributes) => attributes,
        Value::Null => Object::new(),
        _ => return Err(cursor.refuse("a span's attributes are no object")),
    };
    cursor.finish()?;
    Ok(Span {
        id: Arc::from(id),
        head,
        input,
        output,
        attributes,
        version: stored.version,
        recorded_at: stored.timestamp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(value: Value) -> VersionedValue {
        VersionedValue { value, version: Version(3), timestamp: Timestamp(4), expires_at: None }
    }

    fn full() -> SpanHead {
        SpanHead {
            parent: Some("p".into()),
            end: Some(Timestamp(90)),
            status: SpanStatus::Failed,
            message: Some("why".into()),
            model: Some("m".into()),
            input_tokens: Some(300),
            output_tokens: Some(0),
            cost_usd: Some(0.25),
            tags: vec!["a".into(), "b".into()],
            ..SpanHead::new(SpanKind::Custom("guardrail".into()), "n".into(), Timestamp(-7))
        }
    }

    #[test]
    fn a_span_is_read_as_it_was_packed() {
        let attributes: Object = Object::from_iter([("k", Value::from(1))]);
        let bare = SpanHead::new(SpanKind::ToolCall, "search".into(), Timestamp(1));
        for (head, input, output, attributes) in [
            (bare, Value::Null, Value::Null, Object::new()),
            (full(), Value::from("in"), Value::from(2), attributes),
        ] {
            let mut bytes = Vec::new();
            pack_span(&head, &input, &output, Some(&attributes), &mut bytes);
            let value = Value::from(bytes);
            assert_eq!(unpack_head(&value).as_ref(), Ok(&head));
            let span = unpack_span("id", &stored(value)).expect("sound");
            assert_eq!((span.head, span.input, span.output), (head, input, output));
            assert_eq!(span.attributes, attributes);
        }
    }

    #[test]
    fn cut_bytes_are_an_error_not_a_panic() {
        let mut bytes = Vec::new();
        pack_span(&full(), &Value::from("in"), &Value::from(2), None, &mut bytes);
        for len in 0..bytes.len() {
            assert!(unpack_span("id", &stored(Value::from(&bytes[..len]))).is_err(), "cut at {len}");
        }
        for place in 0..bytes.len() {
            for byte in [0, 8, 250, 251, 255] {
                let mut bent = bytes.clone();
                bent[place] = byte;
                let _ = unpack_span("id", &stored(Value::from(bent)));
            }
        }
    }

    #[test]
    fn a_kind_is_its_word() {
        for kind in SpanKind::NAMED {
            assert_eq!(SpanKind::from(kind.as_str()), kind);
            assert_eq!(SpanKind::NAMED[usize::from(kind.code())], kind);
        }
        assert_eq!(SpanKind::from("x"), SpanKind::Custom("x".into()));
        for status in SpanStatus::ALL {
            assert_eq!(SpanStatus::ALL[status as usize], status);
        }
    }

    #[test]
    fn words_of_kinds_and_statuses_are_read_as_they_are_written() {
        for status in SpanStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        let unknown = "done".parse::<SpanStatus>().expect_err("is none");
        assert_eq!(unknown.to_string(), "`done` is no span status; use unset, ok or failed");
        let custom = SpanKind::Custom("guardrail".into());
        for kind in SpanKind::NAMED.into_iter().chain([custom.clone()]) {
            assert_eq!(SpanKind::from(kind.as_str()), kind);
            assert_eq!(&*Arc::<str>::from(kind.clone()), kind.to_string());
        }
        assert_eq!(custom.as_str(), "guardrail");
    }

    /// Whoever may write keys as they are may write this: it is refused, and nothing else is read of it.
    #[test]
    fn what_is_no_span_is_refused() {
        for value in [Value::Null, Value::from("text"), Value::from(1)] {
            assert!(unpack_head(&value).is_err() && unpack_span("id", &stored(value)).is_err());
        }
        let attributes: Object = Object::from_iter([("k", Value::from(1))]);
        let mut bytes = Vec::new();
        pack_span(&full(), &Value::Null, &Value::Null, Some(&attributes), &mut bytes);
        let mut object = Vec::new();
        in_mem_model::codec::encode_value(&Value::Object(attributes), &mut object);
        bytes.truncate(bytes.len() - object.len());
        in_mem_model::codec::encode_value(&Value::from(true), &mut bytes);
        let refused = unpack_span("id", &stored(Value::from(bytes))).expect_err("is refused");
        assert!(refused.to_string().contains("attributes are no object"), "{refused}");
    }
}
