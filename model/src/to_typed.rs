//! Values as any Rust type that serde can deserialize.

use std::borrow::Cow;
use std::iter;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use crate::json::{BYTES_KEY, FLOAT_KEY, Written, bytes_text, float_name};
use crate::{Object, SerdeError, Value};

impl Value {
    /// The value as any type that serde can deserialize, read as [`Value::from_serialize`] writes it.
    ///
    /// # Errors
    /// [`SerdeError`] where the value does not have that type's form.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, SerdeError> {
        T::deserialize(FromValue(self))
    }
}

/// Reads a type from a value.
#[derive(Clone, Copy)]
struct FromValue<'de>(&'de Value);

impl<'de> IntoDeserializer<'de, SerdeError> for FromValue<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_items<'de, V: Visitor<'de>>(items: &'de [Value], visitor: V) -> Result<V::Value, SerdeError> {
    let mut list = SeqDeserializer::new(items.iter().map(FromValue));
    let value = visitor.visit_seq(&mut list)?;
    list.end()?;
    Ok(value)
}

fn visit_fields<'de, V: Visitor<'de>>(object: &'de Object, visitor: V) -> Result<V::Value, SerdeError> {
    // Types see the names that JSON would show, so that the two ways of writing a type are one.
    let renamed = match Written::of(object) {
        Written::Number(int) => return visitor.visit_u64(int),
        Written::Renamed(name) => Some(name),
        Written::AsIs => None,
    };
    let mut map = MapDeserializer::new(object.iter().map(|(name, value)| {
        let name = renamed.as_ref().map_or(Cow::Borrowed(name), |renamed| Cow::Owned(renamed.clone()));
        (FromName(name), FromValue(value))
    }));
    let value = visitor.visit_map(&mut map)?;
    map.end()?;
    Ok(value)
}

/// The tagged form of what JSON has no word for.
fn visit_tagged<'de, V: Visitor<'de>>(
    name: &'static str,
    text: &str,
    visitor: V,
) -> Result<V::Value, SerdeError> {
    visitor.visit_map(MapDeserializer::new(iter::once((name, text))))
}

impl<'de> FromValue<'de> {
    fn float<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Float(float) => visitor.visit_f64(*float),
            _ => self.deserialize_any(visitor),
        }
    }

    fn bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            _ => self.deserialize_any(visitor),
        }
    }

    fn text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            // Bytes that happen to be UTF-8 are still not text.
            Value::Bytes(_) => Err(SerdeError::WrongType { found: self.0.kind(), expected: "text" }),
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for FromValue<'de> {
    type Error = SerdeError;

    /// The JSON form: types that take whatever comes, such as `serde_json::Value`, would lose NaN and refuse bytes.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Int(int) => visitor.visit_i64(*int),
            Value::Float(float) if float.is_finite() => visitor.visit_f64(*float),
            Value::Float(float) => visit_tagged(FLOAT_KEY, float_name(*float), visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Bytes(bytes) => visit_tagged(BYTES_KEY, &bytes_text(bytes), visitor),
            Value::Array(items) => visit_items(items, visitor),
            Value::Object(object) => visit_fields(object, visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.float(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.float(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.bytes(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            // A plain Vec<u8> is written as a list and asks for one; let it read stored bytes too.
            Value::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        let wrong = || SerdeError::WrongType {
            found: self.0.kind(),
            expected: "a variant: its name, or an object with its name as the only field",
        };
        match self.0 {
            Value::String(name) => visitor.visit_enum(Variant { name: Cow::Borrowed(name), content: None }),
            Value::Object(object) => {
                let [(name, content)] = object.fields() else { return Err(wrong()) };
                let name = match Written::of(object) {
                    Written::AsIs => Cow::Borrowed(&**name),
                    Written::Renamed(name) => Cow::Owned(name),
                    Written::Number(_) => return Err(wrong()),
                };
                visitor.visit_enum(Variant { name, content: Some(FromValue(content)) })
            }
            _ => Err(wrong()),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 unit unit_struct map struct identifier
    }
}

/// A variant's name, and what it holds if anything.
struct Variant<'de> {
    name: Cow<'de, str>,
    content: Option<FromValue<'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = SerdeError;
    type Variant = Content<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content<'de>), SerdeError> {
        Ok((seed.deserialize(FromName(self.name))?, Content(self.content)))
    }
}

struct Content<'de>(Option<FromValue<'de>>);

impl<'de> Content<'de> {
    fn some(self, expected: &'static str) -> Result<FromValue<'de>, SerdeError> {
        self.0
            .ok_or_else(|| SerdeError::Custom(format!("a variant's bare name where it must hold {expected}")))
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<(), SerdeError> {
        self.0.map_or(Ok(()), de::Deserialize::deserialize)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, SerdeError> {
        seed.deserialize(self.some("a value")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, SerdeError> {
        self.some("a list")?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.some("fields")?.deserialize_any(visitor)
    }
}

/// Reads a map's key, or a variant's or field's name.
struct FromName<'de>(Cow<'de, str>);

impl<'de> IntoDeserializer<'de, SerdeError> for FromName<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident => $visit:ident),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            match self.0.parse() {
                Ok(key) => visitor.$visit(key),
                Err(_) => self.deserialize_any(visitor),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for FromName<'de> {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    parsed!(deserialize_bool => visit_bool, deserialize_i8 => visit_i8, deserialize_i16 => visit_i16);
    parsed!(deserialize_i32 => visit_i32, deserialize_i64 => visit_i64, deserialize_i128 => visit_i128);
    parsed!(deserialize_u8 => visit_u8, deserialize_u16 => visit_u16, deserialize_u32 => visit_u32);
    parsed!(deserialize_u64 => visit_u64, deserialize_u128 => visit_u128);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        match self.0 {
            Cow::Borrowed(text) => {
                BorrowedStrDeserializer::new(text).deserialize_enum(name, variants, visitor)
            }
            Cow::Owned(text) => text.into_deserializer().deserialize_enum(name, variants, visitor),
        }
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
