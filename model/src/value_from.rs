//! Values from the usual Rust types.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::{Object, RunId, Timestamp, Value, ValueError, Version, json};

impl From<bool> for Value {
    #[inline]
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

macro_rules! from_int {
    ($($int:ty),+) => {$(
        impl From<$int> for Value {
            #[inline]
            fn from(int: $int) -> Self {
                Self::Int(int.into())
            }
        }
    )+};
}
from_int!(i8, i16, i32, i64, u8, u16, u32);

impl From<u64> for Value {
    /// An `Int` up to `i64::MAX`. Beyond, the object `{"$uint": "18446744073709551615"}`, so that nothing is rounded:
    /// [`Value::as_u64`] and typed reading give the number back, and as JSON it is a plain number.
    #[inline]
    fn from(int: u64) -> Self {
        i64::try_from(int).map_or_else(|_| json::from_large_uint(int), Self::Int)
    }
}

impl From<isize> for Value {
    #[inline]
    fn from(int: isize) -> Self {
        Self::Int(int as i64)
    }
}

impl From<usize> for Value {
    /// As from `u64`.
    #[inline]
    fn from(int: usize) -> Self {
        (int as u64).into()
    }
}

impl TryFrom<i128> for Value {
    type Error = ValueError;

    /// # Errors
    /// [`ValueError::IntegerOutOfRange`] outside `i64::MIN ..= u64::MAX`.
    fn try_from(int: i128) -> Result<Self, ValueError> {
        if let Ok(int) = i64::try_from(int) {
            return Ok(Self::Int(int));
        }
        u64::try_from(int).map(Self::from).map_err(|_| ValueError::IntegerOutOfRange(int.to_string()))
    }
}

impl TryFrom<u128> for Value {
    type Error = ValueError;

    /// # Errors
    /// [`ValueError::IntegerOutOfRange`] above `u64::MAX`.
    fn try_from(int: u128) -> Result<Self, ValueError> {
        u64::try_from(int).map(Self::from).map_err(|_| ValueError::IntegerOutOfRange(int.to_string()))
    }
}

impl From<f64> for Value {
    #[inline]
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<f32> for Value {
    #[inline]
    fn from(float: f32) -> Self {
        Self::Float(float.into())
    }
}

macro_rules! from_text {
    ($($text:ty),+) => {$(
        impl From<$text> for Value {
            #[inline]
            fn from(text: $text) -> Self {
                Self::String(text.into())
            }
        }
    )+};
}
from_text!(&str, String, Arc<str>, Box<str>);

impl From<&String> for Value {
    #[inline]
    fn from(text: &String) -> Self {
        Self::String(text.as_str().into())
    }
}

impl From<Cow<'_, str>> for Value {
    #[inline]
    fn from(text: Cow<'_, str>) -> Self {
        Self::String(text.into())
    }
}

impl From<char> for Value {
    fn from(c: char) -> Self {
        Self::String((&*c.encode_utf8(&mut [0; 4])).into())
    }
}

macro_rules! from_bytes {
    ($($bytes:ty),+) => {$(
        impl From<$bytes> for Value {
            #[inline]
            fn from(bytes: $bytes) -> Self {
                Self::Bytes(bytes.into())
            }
        }
    )+};
}
from_bytes!(&[u8], Vec<u8>, Arc<[u8]>, Box<[u8]>);

impl<const N: usize> From<[u8; N]> for Value {
    #[inline]
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(bytes.as_slice().into())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    #[inline]
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.as_slice().into())
    }
}

/// What makes a list of it an array: everything that is a [`Value`] but `u8`, since a list of those is
/// [`Value::Bytes`]. Implement it, beside `From<T> for Value`, for types of your own.
pub trait Element: Into<Value> {}

macro_rules! element {
    ($($element:ty),+) => { $(impl Element for $element {})+ };
}
element!(bool, i8, i16, i32, i64, isize, u16, u32, u64, usize, f32, f64, char, &str, String, &String);
element!(Arc<str>, Box<str>, Cow<'_, str>, Vec<u8>, &[u8], Arc<[u8]>, Box<[u8]>);
element!(Value, Object, RunId, Timestamp, Version, serde_json::Value);
impl<const N: usize> Element for [u8; N] {}
impl<T: Element> Element for Vec<T> {}
impl<T: Into<Value>> Element for Option<T> {}
impl<V: Into<Value>> Element for BTreeMap<String, V> {}
impl<V: Into<Value>, S> Element for HashMap<String, V, S> {}

impl<T: Element> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::array(items)
    }
}

impl<T: Element, const N: usize> From<[T; N]> for Value {
    fn from(items: [T; N]) -> Self {
        Self::array(items)
    }
}

impl<T: Element + Clone> From<&[T]> for Value {
    fn from(items: &[T]) -> Self {
        Self::array(items.iter().cloned())
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::array(items)
    }
}

impl From<Arc<[Self]>> for Value {
    #[inline]
    fn from(items: Arc<[Self]>) -> Self {
        Self::Array(items)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    /// Null for `None`.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl From<Object> for Value {
    #[inline]
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<K: Into<Arc<str>>, V: Into<Self>> From<BTreeMap<K, V>> for Value {
    fn from(fields: BTreeMap<K, V>) -> Self {
        Self::Object(fields.into_iter().collect())
    }
}

impl<K: Into<Arc<str>>, V: Into<Self>, S> From<HashMap<K, V, S>> for Value {
    fn from(fields: HashMap<K, V, S>) -> Self {
        Self::Object(fields.into_iter().collect())
    }
}

impl From<RunId> for Value {
    /// The id's text.
    fn from(id: RunId) -> Self {
        id.to_string().into()
    }
}

impl From<Timestamp> for Value {
    /// Microseconds since 1970 UTC.
    fn from(time: Timestamp) -> Self {
        Self::Int(time.0)
    }
}

impl From<Version> for Value {
    fn from(version: Version) -> Self {
        version.0.into()
    }
}
