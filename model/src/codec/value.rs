//! Values to bytes and back.

use std::sync::Arc;

use super::primitive::{Counter, Sink, put, put_slice};
use super::{Cursor, DecodeError};
use crate::limits::MAX_DEPTH;
use crate::value::{CANONICAL_NAN_BITS, canonical_bits};
use crate::{Object, Value};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const STRING: u8 = 5;
const BYTES: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

/// Appends the value's bytes. Allocates nothing but what `out` grows by.
///
/// Callers store only what [`Value::check`] lets pass: this writes values of any size and depth.
#[inline]
pub fn encode_value(value: &Value, out: &mut Vec<u8>) {
    /// A tag and the longest length.
    const HEADER_BYTES: usize = 10;
    // One growth at most for the values that writes mostly carry.
    match value {
        Value::Bytes(bytes) => out.reserve(HEADER_BYTES + bytes.len()),
        Value::String(text) => out.reserve(HEADER_BYTES + text.len()),
        _ => {}
    }
    write_value(value, out);
}

/// Appends what [`encode_value`] appends for an array of these strings, without the array.
pub fn encode_strings(strings: &[&str], out: &mut Vec<u8>) {
    put(ARRAY, out);
    put(strings.len() as u64, out);
    for text in strings {
        put(STRING, out);
        put_slice(text.as_bytes(), out);
    }
}

/// How many bytes [`encode_value`] appends.
#[must_use]
pub fn encoded_len(value: &Value) -> usize {
    let mut counter = Counter::default();
    write_value(value, &mut counter);
    counter.0
}

/// Feeds the value's bytes to a hash, without writing them anywhere.
pub(crate) fn digest_value(value: &Value, hasher: &mut blake3::Hasher) {
    write_value(value, hasher);
}

/// Reads a value from the front of the bytes, giving it and the number of bytes it took.
///
/// # Errors
/// Any [`DecodeError`] but `Trailing`.
#[inline]
pub fn decode_value(bytes: &[u8]) -> Result<(Value, usize), DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let value = cursor.value()?;
    Ok((value, cursor.offset()))
}

fn write_value(value: &Value, out: &mut impl Sink) {
    match value {
        Value::Null => put(NULL, out),
        Value::Bool(false) => put(FALSE, out),
        Value::Bool(true) => put(TRUE, out),
        Value::Int(int) => {
            put(INT, out);
            put(*int, out);
        }
        Value::Float(float) => {
            put(FLOAT, out);
            put(f64::from_bits(canonical_bits(*float)), out);
        }
        Value::String(text) => {
            put(STRING, out);
            put_slice(text.as_bytes(), out);
        }
        Value::Bytes(bytes) => {
            put(BYTES, out);
            put_slice(bytes, out);
        }
        Value::Array(items) => {
            put(ARRAY, out);
            put(items.len() as u64, out);
            for item in items.iter() {
                write_value(item, out);
            }
        }
        Value::Object(object) => {
            put(OBJECT, out);
            put(object.len() as u64, out);
            for (name, field) in object {
                put_slice(name.as_bytes(), out);
                write_value(field, out);
            }
        }
    }
}

/// Reads a value at the cursor, which after an error stands anywhere.
#[inline]
pub(super) fn read_value(cursor: &mut Cursor<'_>) -> Result<Value, DecodeError> {
    let offset = cursor.offset();
    match cursor.u8()? {
        STRING => Ok(Value::String(cursor.str()?.into())),
        BYTES => Ok(Value::Bytes(cursor.bytes()?.into())),
        tag => Unfinished::default().read_rest(tag, offset, cursor, 0),
    }
}

/// Items and fields whose containers are still being read, of all levels one after another.
///
/// They grow with what has really been read, never by a length that the bytes claim, and each container moves its own
/// tail out in one allocation of exactly its size.
#[derive(Default)]
struct Unfinished {
    items: Vec<Value>,
    fields: Vec<(Arc<str>, Value)>,
}

impl Unfinished {
    fn read(&mut self, cursor: &mut Cursor<'_>, above: usize) -> Result<Value, DecodeError> {
        let offset = cursor.offset();
        let tag = cursor.u8()?;
        self.read_rest(tag, offset, cursor, above)
    }

    /// Reads the value whose tag stood at `offset`, inside `above` containers.
    fn read_rest(
        &mut self,
        tag: u8,
        offset: usize,
        cursor: &mut Cursor<'_>,
        above: usize,
    ) -> Result<Value, DecodeError> {
        match tag {
            NULL => Ok(Value::Null),
            FALSE => Ok(Value::Bool(false)),
            TRUE => Ok(Value::Bool(true)),
            INT => cursor.signed().map(Value::Int),
            FLOAT => {
                let float = cursor.float()?;
                if float.is_nan() && float.to_bits() != CANONICAL_NAN_BITS {
                    return Err(DecodeError::NotCanonical {
                        offset,
                        what: "a NaN with other bits than the one in use",
                    });
                }
                Ok(Value::Float(float))
            }
            STRING => Ok(Value::String(cursor.str()?.into())),
            BYTES => Ok(Value::Bytes(cursor.bytes()?.into())),
            ARRAY | OBJECT if above == MAX_DEPTH => Err(DecodeError::TooDeep { offset, limit: MAX_DEPTH }),
            ARRAY => self.read_array(cursor, above + 1),
            OBJECT => self.read_object(cursor, above + 1),
            found => Err(DecodeError::Unexpected { offset, expected: "the tag of a value", found }),
        }
    }

    fn read_array(&mut self, cursor: &mut Cursor<'_>, above: usize) -> Result<Value, DecodeError> {
        let len = cursor.varint()?;
        let start = self.items.len();
        for _ in 0..len {
            let item = self.read(cursor, above)?;
            self.items.push(item);
        }
        Ok(Value::Array(self.items.drain(start..).collect()))
    }

    fn read_object(&mut self, cursor: &mut Cursor<'_>, above: usize) -> Result<Value, DecodeError> {
        let len = cursor.varint()?;
        let start = self.fields.len();
        let mut previous: Option<&str> = None;
        for _ in 0..len {
            let offset = cursor.offset();
            let name = cursor.str()?;
            if previous.is_some_and(|previous| previous >= name) {
                let what = "the fields of an object are not sorted by name, each name once";
                return Err(DecodeError::NotCanonical { offset, what });
            }
            previous = Some(name);
            let field = self.read(cursor, above)?;
            self.fields.push((name.into(), field));
        }
        Ok(Value::Object(Object::from_sorted(self.fields.drain(start..))))
    }
}
