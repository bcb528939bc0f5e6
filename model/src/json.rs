//! Values as JSON and back, without loss either way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as Json;

use crate::limits::MAX_DEPTH;
use crate::{Object, Value, ValueError};

pub(crate) const BYTES_KEY: &str = "$bytes";
pub(crate) const FLOAT_KEY: &str = "$float";
const UINT_KEY: &str = "$uint";

impl Value {
    /// The value as JSON. [`Value::from_json`] gives back exactly this value.
    ///
    /// What JSON has no word for is an object with a single field:
    ///
    /// | value | JSON |
    /// |---|---|
    /// | bytes | `{"$bytes": "3q2+7w=="}` (base64, RFC 4648, padded) |
    /// | NaN, infinities | `{"$float": "NaN"}`, `"Infinity"`, `"-Infinity"` |
    /// | the object `{"$uint": "..."}`, see [`From<u64>`](Value#impl-From<u64>-for-Value) | the number |
    /// | an object that looks like one of these | the same with one more `$` before the name: `{"$$bytes": "3q2+7w=="}` |
    ///
    /// Integers and floats stay apart: `1` and `1.0`. `-0.0` stays what it is.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(flag) => Json::Bool(*flag),
            Self::Int(int) => Json::from(*int),
            Self::Float(float) => match serde_json::Number::from_f64(*float) {
                Some(number) => Json::Number(number),
                None => tagged(FLOAT_KEY, float_name(*float).to_owned()),
            },
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => tagged(BYTES_KEY, bytes_text(bytes)),
            Self::Array(items) => items.iter().map(Self::to_json).collect(),
            Self::Object(object) => match Written::of(object) {
                Written::AsIs => object.iter().map(|(name, value)| (name, value.to_json())).collect(),
                Written::Renamed(name) => {
                    object.values().map(|value| (name.clone(), value.to_json())).collect()
                }
                Written::Number(int) => Json::from(int),
            },
        }
    }

    /// The value that the JSON says; [`Value::to_json`] gives back exactly this JSON.
    ///
    /// Integers up to `u64::MAX` are kept exactly, other numbers are floats. The tagged forms of [`Value::to_json`] are read;
    /// what only resembles them, such as `{"$bytes": 5}`, is an object.
    ///
    /// # Errors
    /// [`ValueError::TooDeep`] past [`MAX_DEPTH`].
    pub fn from_json(json: &Json) -> Result<Self, ValueError> {
        let value = from_json_cut(json, 0);
        value.check_depth().map(|()| value)
    }

    /// The value that the JSON text says, as [`Value::from_json`].
    ///
    /// # Errors
    /// Text that is not JSON or nests too deep, with line and column; numbers beyond the range of a float.
    pub fn parse_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Compact JSON text, as [`Value::to_json`].
    #[must_use]
    pub fn to_json_string(&self) -> String {
        // Writing these types into memory cannot fail; the fallback is the same text by the longer way.
        serde_json::to_string(self).unwrap_or_else(|_| self.to_json().to_string())
    }
}

impl From<Json> for Value {
    /// As [`Value::from_json`]. What is nested deeper than [`MAX_DEPTH`] is cut off one level below it, so that the
    /// write of such a value is refused as too deep.
    fn from(json: Json) -> Self {
        from_json_cut(&json, 0)
    }
}

impl From<&Json> for Value {
    /// As from the owned form.
    fn from(json: &Json) -> Self {
        from_json_cut(json, 0)
    }
}

impl From<serde_json::Map<String, Json>> for Value {
    /// As from `serde_json::Value`.
    fn from(fields: serde_json::Map<String, Json>) -> Self {
        Json::Object(fields).into()
    }
}

/// Reads JSON, putting empty containers for those more than one level below the greatest depth: what is cut is
/// thereby sure to be refused, and no input can exhaust the stack.
fn from_json_cut(json: &Json, above: usize) -> Value {
    let inside = above + 1;
    let is_cut = above > MAX_DEPTH;
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(int)) => int.into(),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => text.into(),
        Json::Array(_) if is_cut => Value::Array([].into()),
        Json::Array(items) => Value::array(items.iter().map(|item| from_json_cut(item, inside))),
        Json::Object(_) if is_cut => Value::Object(Object::new()),
        Json::Object(fields) => {
            read_object(fields.iter().map(|(name, field)| (&**name, from_json_cut(field, inside))).collect())
        }
    }
}

fn tagged(key: &str, text: String) -> Json {
    Json::Object([(key.to_owned(), Json::String(text))].into_iter().collect())
}

/// The name of a float that JSON has no number for.
pub(crate) fn float_name(float: f64) -> &'static str {
    match float {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

fn parse_float_name(name: &str) -> Option<f64> {
    match name {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The object that stands for an integer beyond `i64::MAX`.
pub(crate) fn from_large_uint(int: u64) -> Value {
    Value::Object(Object::from([(UINT_KEY, int.to_string())]))
}

/// The integer beyond `i64::MAX` that the object stands for.
pub(crate) fn large_uint(object: &Object) -> Option<u64> {
    match Tagged::of(object)? {
        Tagged { dollars: 1, what: Tagging::Uint(int), .. } => Some(int),
        _ => None,
    }
}

/// What an object with a single field named like a tag holds.
enum Tagging {
    Bytes(Vec<u8>),
    Float(f64),
    Uint(u64),
}

/// An object with a single field that is named like a tag, after any number of `$`, and holds what such a field holds.
struct Tagged<'a> {
    dollars: usize,
    name: &'a str,
    what: Tagging,
}

impl<'a> Tagged<'a> {
    fn of(object: &'a Object) -> Option<Self> {
        let [(name, Value::String(text))] = object.fields() else { return None };
        let bare = name.trim_start_matches('$');
        let dollars = name.len() - bare.len();
        if dollars == 0 {
            return None;
        }
        let what = match bare {
            // The decoder takes canonical base64 only, so no two texts give the same bytes.
            "bytes" => Tagging::Bytes(BASE64.decode(&**text).ok()?),
            "float" => Tagging::Float(parse_float_name(text)?),
            "uint" => {
                let int = text.parse().ok().filter(|&int: &u64| i64::try_from(int).is_err());
                Tagging::Uint(int.filter(|int| int.to_string() == **text)?)
            }
            _ => return None,
        };
        Some(Self { dollars, name, what })
    }

    fn with_dollar(&self) -> String {
        format!("${}", self.name)
    }

    fn without_dollar(&self) -> String {
        self.name[1..].to_owned()
    }
}

/// The value that an object read from JSON stands for.
///
/// Each of the tagged forms shifts by one `$`, so that this and [`Written::of`] are each other's inverse.
pub(crate) fn read_object(object: Object) -> Value {
    let renamed =
        |name: String| Value::Object(object.values().map(|value| (name.as_str(), value.clone())).collect());
    match Tagged::of(&object) {
        None => Value::Object(object),
        Some(Tagged { dollars: 1, what: Tagging::Bytes(bytes), .. }) => bytes.into(),
        Some(Tagged { dollars: 1, what: Tagging::Float(float), .. }) => float.into(),
        // The large integer itself is a number in JSON, so its object form moves up.
        Some(tagged @ Tagged { what: Tagging::Uint(_), .. }) => renamed(tagged.with_dollar()),
        Some(tagged) => renamed(tagged.without_dollar()),
    }
}

/// How an object is written as JSON.
pub(crate) enum Written {
    AsIs,
    Renamed(String),
    Number(u64),
}

impl Written {
    pub(crate) fn of(object: &Object) -> Self {
        match Tagged::of(object) {
            None => Self::AsIs,
            Some(Tagged { dollars: 1, what: Tagging::Uint(int), .. }) => Self::Number(int),
            Some(tagged @ Tagged { what: Tagging::Uint(_), .. }) => Self::Renamed(tagged.without_dollar()),
            Some(tagged) => Self::Renamed(tagged.with_dollar()),
        }
    }
}

/// The text of bytes in JSON.
pub(crate) fn bytes_text(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
