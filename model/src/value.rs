//! What a key holds.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Index;
use std::sync::Arc;

use crate::codec;
use crate::limits::{MAX_DEPTH, MAX_VALUE_BYTES};
use crate::{Object, ValueError};

/// What a key holds: JSON's types, plus bytes, with integers and floats kept apart.
///
/// 24 bytes; a clone shares the contents and copies none of them.
///
/// **Order and equality** are total, and the same as those of the encoded form: kinds rank as they are declared here, an
/// `Int` never equals a `Float`, `-0.0` is less than `0.0`, every NaN equals every other and follows all floats,
/// strings and bytes compare by bytes, arrays and objects entry by entry.
///
/// **Depth**: every write refuses values nested deeper than [`MAX_DEPTH`], and everything that reads foreign
/// input stops there. Code that builds a value millions of levels deep by hand can still exhaust its stack when comparing or
/// dropping it, as with any nested type.
#[derive(Clone, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An integer. Larger unsigned ones are objects, see [`From<u64>`](Value#impl-From<u64>-for-Value).
    Int(i64),
    /// A floating-point number, any of them.
    Float(f64),
    /// Text.
    String(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list.
    Array(Arc<[Value]>),
    /// Fields by name.
    Object(Object),
}

/// Which kind of [`Value`] one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// [`Value::Null`].
    Null,
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Int`].
    Int,
    /// [`Value::Float`].
    Float,
    /// [`Value::String`].
    String,
    /// [`Value::Bytes`].
    Bytes,
    /// [`Value::Array`].
    Array,
    /// [`Value::Object`].
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::String => "a string",
            Self::Bytes => "bytes",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

/// The one NaN that is hashed and encoded; all others equal it.
pub(crate) const CANONICAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// The float's bits, the same for every NaN: what is hashed, compared for equality and encoded.
#[inline]
pub(crate) fn canonical_bits(float: f64) -> u64 {
    if float.is_nan() { CANONICAL_NAN_BITS } else { float.to_bits() }
}

static NULL: Value = Value::Null;

impl Value {
    /// An array of these.
    pub fn array<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }

    /// Which kind this is.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::String(_) => Kind::String,
            Self::Bytes(_) => Kind::Bytes,
            Self::Array(_) => Kind::Array,
            Self::Object(_) => Kind::Object,
        }
    }

    /// Whether this is null.
    #[inline]
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    #[inline]
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The integer, if it is one.
    #[inline]
    #[must_use]
    pub const fn as_i64(&self) -> Option<i64> {
        if let Self::Int(int) = self { Some(*int) } else { None }
    }

    /// The integer, if it is one and not negative; also those beyond `i64::MAX`.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(int) => u64::try_from(*int).ok(),
            Self::Object(object) => crate::json::large_uint(object),
            _ => None,
        }
    }

    /// The number as a float, rounded to the nearest if it is an integer that a float cannot hold.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(float) => Some(*float),
            Self::Int(int) => Some(*int as f64),
            other => other.as_u64().map(|int| int as f64),
        }
    }

    /// The text, if it is text.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The bytes, if it is bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The items, if it is an array.
    #[inline]
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The fields, if it is an object.
    #[inline]
    #[must_use]
    pub const fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The field of that name, if this is an object that has it.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Self> {
        self.as_object()?.get(field)
    }

    /// The item at that place, counted from 0, if this is an array that long.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&Self> {
        self.as_array()?.get(place)
    }

    /// What a JSON pointer (RFC 6901, such as `/steps/0/name`) leads to.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |value, token| match value {
            Self::Object(object) => object.get(&token.replace("~1", "/").replace("~0", "~")),
            Self::Array(items) => {
                let is_index = token == "0" || !token.starts_with(['0', '+']);
                items.get(token.parse::<usize>().ok().filter(|_| is_index)?)
            }
            _ => None,
        })
    }

    /// How deep arrays and objects are nested, in levels: 0 for a scalar, 1 for `[]`.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(object) => 1 + object.values().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn is_deeper_than(&self, levels: usize) -> bool {
        let Some(below) = levels.checked_sub(1) else {
            return matches!(self, Self::Array(_) | Self::Object(_));
        };
        match self {
            Self::Array(items) => items.iter().any(|item| item.is_deeper_than(below)),
            Self::Object(object) => object.values().any(|item| item.is_deeper_than(below)),
            _ => false,
        }
    }

    /// Whether the value may be stored. Every write asks; what it costs grows with the number of items, not of bytes.
    ///
    /// # Errors
    /// [`ValueError::TooDeep`] past [`MAX_DEPTH`], [`ValueError::TooLarge`] past [`MAX_VALUE_BYTES`].
    #[inline]
    pub fn check(&self) -> Result<(), ValueError> {
        /// More than a tag and a length ever take.
        const SCALAR_OVERHEAD_BYTES: usize = 16;
        let scalar_bytes = match self {
            Self::String(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Array(_) | Self::Object(_) => return self.check_whole(),
            _ => 0,
        };
        if scalar_bytes <= MAX_VALUE_BYTES - SCALAR_OVERHEAD_BYTES { Ok(()) } else { self.check_whole() }
    }

    pub(crate) fn check_depth(&self) -> Result<(), ValueError> {
        if self.is_deeper_than(MAX_DEPTH) { Err(ValueError::TooDeep { limit: MAX_DEPTH }) } else { Ok(()) }
    }

    fn check_whole(&self) -> Result<(), ValueError> {
        self.check_depth()?;
        let (actual, limit) = (codec::encoded_len(self), MAX_VALUE_BYTES);
        if actual > limit { Err(ValueError::TooLarge { actual, limit }) } else { Ok(()) }
    }

    /// About how many bytes the contents take on the heap, counting shared ones in full each time.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
            Self::String(text) => shared_bytes(text.len()),
            Self::Bytes(bytes) => shared_bytes(bytes.len()),
            Self::Array(items) => {
                shared_bytes(size_of_val::<[Self]>(items)) + items.iter().map(Self::heap_bytes).sum::<usize>()
            }
            Self::Object(object) => object.heap_bytes(),
        }
    }

    /// The BLAKE3 hash of the encoded value: equal values, and no others, have equal digests.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        codec::digest_value(self, &mut hasher);
        *hasher.finalize().as_bytes()
    }
}

/// Bytes of an allocation shared by reference counts: two counters, then the contents, rounded up to a word.
pub(crate) fn shared_bytes(content_bytes: usize) -> usize {
    (2 * size_of::<usize>() + content_bytes).next_multiple_of(size_of::<usize>())
}

impl Index<&str> for Value {
    type Output = Self;

    /// The field of that name, or null where there is none.
    fn index(&self, field: &str) -> &Self {
        self.get(field).unwrap_or(&NULL)
    }
}

impl Index<usize> for Value {
    type Output = Self;

    /// The item at that place, or null where there is none.
    fn index(&self, place: usize) -> &Self {
        self.at(place).unwrap_or(&NULL)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => canonical_bits(*a) == canonical_bits(*b),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => {
                f64::from_bits(canonical_bits(*a)).total_cmp(&f64::from_bits(canonical_bits(*b)))
            }
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) => a.cmp(b),
            (Self::Object(a), Self::Object(b)) => a.cmp(b),
            (a, b) => a.kind().cmp(&b.kind()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        match self {
            Self::Null => {}
            Self::Bool(flag) => flag.hash(state),
            Self::Int(int) => int.hash(state),
            Self::Float(float) => canonical_bits(*float).hash(state),
            Self::String(text) => text.hash(state),
            Self::Bytes(bytes) => bytes.hash(state),
            Self::Array(items) => items.hash(state),
            Self::Object(object) => object.hash(state),
        }
    }
}

impl fmt::Display for Value {
    /// Compact JSON, see [`Value::to_json`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json_string())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Bool(flag) => f.debug_tuple("Bool").field(flag).finish(),
            Self::Int(int) => f.debug_tuple("Int").field(int).finish(),
            Self::Float(float) => f.debug_tuple("Float").field(float).finish(),
            Self::String(text) => f.debug_tuple("String").field(text).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes(b\"{}\")", bytes.escape_ascii()),
            Self::Array(items) => f.debug_tuple("Array").field(items).finish(),
            Self::Object(object) => f.debug_tuple("Object").field(object).finish(),
        }
    }
}

const _: () = assert!(size_of::<Value>() == 24);
