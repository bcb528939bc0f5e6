//! Chat messages: the one shape that all sources share.

use serde_json::Value;

use super::json::{
    Fault, Object, Place, list, object, take, take_optional, take_optional_text, take_text, text,
};

/// A tool call inside an assistant's message, in the form that the OpenAI interface made common.
pub(super) struct ToolCall {
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// The arguments: JSON where their text is JSON, the text as it stands where not.
    pub(super) arguments: Value,
    /// Every other field.
    pub(super) rest: Object,
}

/// The role of a message.
pub(super) fn role(message: &Object, at: &Place<'_>) -> Result<String, Fault> {
    let value = message.get("role").cloned().ok_or_else(|| Fault::missing(at, "role"))?;
    text(value, &at.key("role"))
}

/// The tool calls of a message; none where there is no `tool_calls` or it is null.
pub(super) fn tool_calls(message: &Object, at: &Place<'_>) -> Result<Vec<ToolCall>, Fault> {
    let at = at.key("tool_calls");
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(calls) => list(calls.clone(), &at)?,
    };
    calls.into_iter().enumerate().map(|(i, call)| tool_call(call, &at.index(i))).collect()
}

fn tool_call(call: Value, at: &Place<'_>) -> Result<ToolCall, Fault> {
    let mut call = object(call, at)?;
    let id = take_optional_text(&mut call, "id", at)?;
    let inside = at.key("function");
    let mut function = object(take(&mut call, "function", at)?, &inside)?;
    let name = take_text(&mut function, "name", &inside)?;
    let arguments = match take_optional(&mut function, "arguments") {
        Some(Value::String(written)) => serde_json::from_str(&written).unwrap_or(Value::String(written)),
        Some(other) => other,
        None => Value::Null,
    };
    for (key, value) in function {
        call.insert(format!("function.{key}"), value);
    }
    Ok(ToolCall { id, name, arguments, rest: call })
}

/// Whether a value is a list of messages: messages, with calls and their results between them where the interface has
/// these as items of their own.
pub(super) fn is_list_of_messages(value: &Value) -> bool {
    let is_item = |item: &Value| is_message(item) || item.get("call_id").is_some_and(Value::is_string);
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(is_item))
}

/// Whether a value is a message: an object with a role and something said.
pub(super) fn is_message(value: &Value) -> bool {
    value.get("role").is_some_and(Value::is_string)
        && ["content", "parts", "tool_calls", "text"].iter().any(|key| value.get(key).is_some())
}
