//! Values in from serde formats.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer};

use crate::limits::MAX_DEPTH;
use crate::{Object, Value, ValueError, codec, json};

impl<'de> Deserialize<'de> for Value {
    /// As it was serialized; nesting past [`MAX_DEPTH`] is an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Nested { above: 0 }.deserialize(deserializer)
        } else {
            deserializer.deserialize_bytes(Encoded)
        }
    }
}

/// Reads the codec's bytes.
struct Encoded;

impl de::Visitor<'_> for Encoded {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encoded value")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Value, E> {
        let mut cursor = codec::Cursor::new(bytes);
        let value = cursor.value().map_err(E::custom)?;
        cursor.finish().map_err(E::custom)?;
        Ok(value)
    }
}

/// Reads a value inside so many containers.
#[derive(Clone, Copy)]
struct Nested {
    above: usize,
}

impl Nested {
    fn inside<E: de::Error>(self) -> Result<Self, E> {
        if self.above >= MAX_DEPTH {
            return Err(E::custom(ValueError::TooDeep { limit: MAX_DEPTH }));
        }
        Ok(Self { above: self.above + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, int: i64) -> Result<Value, E> {
        Ok(int.into())
    }

    fn visit_u64<E>(self, int: u64) -> Result<Value, E> {
        Ok(int.into())
    }

    fn visit_i128<E: de::Error>(self, int: i128) -> Result<Value, E> {
        int.try_into().map_err(E::custom)
    }

    fn visit_u128<E: de::Error>(self, int: u128) -> Result<Value, E> {
        int.try_into().map_err(E::custom)
    }

    fn visit_f64<E>(self, float: f64) -> Result<Value, E> {
        Ok(float.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(bytes.into())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(inside)? {
            items.push(item);
        }
        Ok(Value::Array(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        // The tagged forms of a scalar are no level of nesting, so the limit is applied once it is known what this is.
        if self.above > MAX_DEPTH {
            self.inside::<A::Error>()?;
        }
        let inside = Self { above: self.above + 1 };
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            fields.push((name.into(), map.next_value_seed(inside)?));
        }
        match json::read_object(Object::from_fields(fields)) {
            object @ Value::Object(_) => self.inside().map(|_| object),
            scalar => Ok(scalar),
        }
    }
}
