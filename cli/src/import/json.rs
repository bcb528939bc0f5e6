//! Reading fields of a JSON value in a way that can say where a fault is.

use std::fmt;

use serde_json::{Map, Value};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// A place inside a JSON file, as a chain on the stack: it costs nothing until a fault has to be named.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    pub(super) const ROOT: Place<'static> = Place { parent: None, step: Step::Root };

    pub(super) fn key(&'a self, key: &'a str) -> Place<'a> {
        Place { parent: Some(self), step: Step::Key(key) }
    }

    pub(super) fn index(&'a self, index: usize) -> Place<'a> {
        Place { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => f.write_str("$"),
            Step::Key(key) => write!(f, ".{key}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A fault inside one run; the reader adds the file and the run's index to make an `ImportError` of it.
#[derive(Debug)]
pub(super) enum Fault {
    Missing { place: String, field: &'static str },
    Shape { place: String, expected: &'static str, found: String },
}

impl Fault {
    pub(super) fn missing(at: &Place<'_>, field: &'static str) -> Fault {
        Fault::Missing { place: at.to_string(), field }
    }

    pub(super) fn shape(at: &Place<'_>, expected: &'static str, found: &Value) -> Fault {
        Fault::Shape { place: at.to_string(), expected, found: describe(found) }
    }
}

/// A value in a few words: its type, and itself where it is short.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) if s.chars().count() <= 40 => format!("the text {s:?}"),
        Value::String(s) => format!("a text of {} characters", s.chars().count()),
        Value::Array(a) => format!("a list of {}", a.len()),
        Value::Object(o) => format!("an object of {} fields", o.len()),
    }
}

pub(super) fn object(value: Value, at: &Place<'_>) -> Result<Object, Fault> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Fault::shape(at, "an object", &other)),
    }
}

pub(super) fn list(value: Value, at: &Place<'_>) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(Fault::shape(at, "a list", &other)),
    }
}

pub(super) fn text(value: Value, at: &Place<'_>) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(Fault::shape(at, "text", &other)),
    }
}

/// Takes a field out of an object; what is left over at the end is what the source has and we do not know.
pub(super) fn take(object: &mut Object, field: &'static str, at: &Place<'_>) -> Result<Value, Fault> {
    object.remove(field).ok_or_else(|| Fault::missing(at, field))
}

/// Takes a field that may be absent or null.
pub(super) fn take_optional(object: &mut Object, field: &str) -> Option<Value> {
    object.remove(field).filter(|value| !value.is_null())
}

pub(super) fn take_text(object: &mut Object, field: &'static str, at: &Place<'_>) -> Result<String, Fault> {
    text(take(object, field, at)?, &at.key(field))
}

pub(super) fn take_optional_text(
    object: &mut Object,
    field: &'static str,
    at: &Place<'_>,
) -> Result<Option<String>, Fault> {
    take_optional(object, field).map(|value| text(value, &at.key(field))).transpose()
}

pub(super) fn take_list(
    object: &mut Object,
    field: &'static str,
    at: &Place<'_>,
) -> Result<Vec<Value>, Fault> {
    list(take(object, field, at)?, &at.key(field))
}

pub(super) fn take_u64(object: &mut Object, field: &'static str, at: &Place<'_>) -> Result<u64, Fault> {
    let value = take(object, field, at)?;
    value.as_u64().ok_or_else(|| Fault::shape(&at.key(field), "a whole number from 0", &value))
}

/// How many layers of JSON-in-text are undone: an exported column is text once, or twice.
const MAX_TEXT_LAYERS: usize = 2;

/// Undoes JSON kept as text. Text that is not a JSON object, list or quoted text stays as it is: `"42"` is text, not a number.
pub(super) fn unwrap_text(mut value: Value) -> Value {
    for _ in 0..MAX_TEXT_LAYERS {
        let Value::String(text) = &value else { break };
        if !text.trim_start().starts_with(['{', '[', '"']) {
            break;
        }
        match serde_json::from_str::<Value>(text) {
            Ok(inner) => value = inner,
            Err(_) => break,
        }
    }
    value
}

/// Adds `value` under `key`, or under `key#2`, `key#3`, ... where that is taken: nothing is overwritten.
pub(super) fn insert_unique(object: &mut Object, key: &str, value: Value) {
    if !object.contains_key(key) {
        object.insert(key.to_owned(), value);
        return;
    }
    let free = (2..).map(|n| format!("{key}#{n}")).find(|k| !object.contains_key(k));
    object.insert(free.unwrap_or_default(), value);
}
