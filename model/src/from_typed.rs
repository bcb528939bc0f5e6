//! Values from any Rust type that serde can serialize.

use std::sync::Arc;

use serde::ser::{self, Impossible, Serialize, Serializer};

use crate::limits::MAX_DEPTH;
use crate::{Object, SerdeError, Value, ValueError, json};

impl Value {
    /// The value of any type that serde can serialize; [`Value::deserialize`] gives the type back.
    ///
    /// The form is that of JSON (structs are objects, enums are tagged by their variant's name), but bytes are
    /// bytes and every float is a float, NaN included.
    ///
    /// ```
    /// # use in_mem_model::{value, Value};
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// struct Plan { goal: String, cost: f64, seed: u64 }
    ///
    /// let plan = Plan { goal: "book".into(), cost: f64::INFINITY, seed: u64::MAX };
    /// let value = Value::from_serialize(&plan)?;
    /// assert_eq!(value["goal"], value!("book"));
    /// assert_eq!(value.deserialize::<Plan>()?, plan);
    /// # Ok::<(), in_mem_model::SerdeError>(())
    /// ```
    ///
    /// # Errors
    /// Integers beyond 64 bits, maps whose keys are not text, nesting past [`MAX_DEPTH`], and what the type itself says.
    pub fn from_serialize<T: Serialize + ?Sized>(source: &T) -> Result<Self, SerdeError> {
        source.serialize(ToValue { above: 0 })
    }
}

/// Makes a value inside so many containers.
#[derive(Clone, Copy)]
struct ToValue {
    above: usize,
}

const TOO_DEEP: SerdeError = SerdeError::Value(ValueError::TooDeep { limit: MAX_DEPTH });

impl ToValue {
    /// A place inside a container that stands here. One level too many is let through, since what looks like a container
    /// can turn out to be the tagged form of a scalar; [`ToValue::finish`] refuses it otherwise.
    fn inside(self) -> Result<Self, SerdeError> {
        if self.above > MAX_DEPTH { Err(TOO_DEEP) } else { Ok(Self { above: self.above + 1 }) }
    }

    fn finish(self, value: Value) -> Result<Value, SerdeError> {
        let is_container = matches!(value, Value::Array(_) | Value::Object(_));
        if is_container && self.above >= MAX_DEPTH { Err(TOO_DEEP) } else { Ok(value) }
    }

    fn items(self, variant: Option<&'static str>) -> Result<Items, SerdeError> {
        // A variant's name is a level of its own around what it holds.
        let place = if variant.is_some() { self.inside()? } else { self };
        Ok(Items { outer: self, place, inside: place.inside()?, variant, items: Vec::new() })
    }

    fn fields(self, variant: Option<&'static str>) -> Result<Fields, SerdeError> {
        let place = if variant.is_some() { self.inside()? } else { self };
        let inside = place.inside()?;
        Ok(Fields { outer: self, place, inside, variant, fields: Vec::new(), name: None })
    }

    fn wrap(self, variant: Option<&'static str>, value: Value) -> Result<Value, SerdeError> {
        match variant {
            Some(name) => self.finish(json::read_object(Object::from([(name, value)]))),
            None => Ok(value),
        }
    }
}

macro_rules! scalars {
    ($($method:ident: $scalar:ty),+) => {$(
        fn $method(self, scalar: $scalar) -> Result<Value, SerdeError> {
            Ok(scalar.into())
        }
    )+};
}

impl Serializer for ToValue {
    type Ok = Value;
    type Error = SerdeError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    scalars!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    scalars!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);
    scalars!(serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8]);

    fn serialize_i128(self, int: i128) -> Result<Value, SerdeError> {
        Ok(int.try_into()?)
    }

    fn serialize_u128(self, int: u128) -> Result<Value, SerdeError> {
        Ok(int.try_into()?)
    }

    fn serialize_none(self) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, SerdeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Value, SerdeError> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Value, SerdeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, SerdeError> {
        let value = value.serialize(self.inside()?)?;
        self.wrap(Some(variant), value)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Items, SerdeError> {
        self.items(None)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Items, SerdeError> {
        self.items(None)
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Items, SerdeError> {
        self.items(None)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Items, SerdeError> {
        self.items(Some(variant))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Fields, SerdeError> {
        self.fields(None)
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Fields, SerdeError> {
        self.fields(None)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Fields, SerdeError> {
        self.fields(Some(variant))
    }
}

/// An array on its way.
struct Items {
    outer: ToValue,
    place: ToValue,
    inside: ToValue,
    variant: Option<&'static str>,
    items: Vec<Value>,
}

impl Items {
    fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), SerdeError> {
        self.items.push(item.serialize(self.inside)?);
        Ok(())
    }

    fn done(self) -> Result<Value, SerdeError> {
        let array = self.place.finish(Value::Array(self.items.into()))?;
        self.outer.wrap(self.variant, array)
    }
}

macro_rules! items {
    ($($of:ident: $method:ident),+) => {$(
        impl ser::$of for Items {
            type Ok = Value;
            type Error = SerdeError;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), SerdeError> {
                self.push(item)
            }

            fn end(self) -> Result<Value, SerdeError> {
                self.done()
            }
        }
    )+};
}
items!(SerializeSeq: serialize_element, SerializeTuple: serialize_element);
items!(SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);

/// An object on its way.
struct Fields {
    outer: ToValue,
    place: ToValue,
    inside: ToValue,
    variant: Option<&'static str>,
    fields: Vec<(Arc<str>, Value)>,
    /// The name whose value comes next.
    name: Option<Arc<str>>,
}

impl Fields {
    fn push<T: Serialize + ?Sized>(&mut self, name: Arc<str>, value: &T) -> Result<(), SerdeError> {
        self.fields.push((name, value.serialize(self.inside)?));
        Ok(())
    }

    fn done(self) -> Result<Value, SerdeError> {
        let object = self.place.finish(json::read_object(Object::from_fields(self.fields)))?;
        self.outer.wrap(self.variant, object)
    }
}

macro_rules! fields {
    ($($of:ident),+) => {$(
        impl ser::$of for Fields {
            type Ok = Value;
            type Error = SerdeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), SerdeError> {
                self.push(name.into(), value)
            }

            fn end(self) -> Result<Value, SerdeError> {
                self.done()
            }
        }
    )+};
}
fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Fields {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), SerdeError> {
        self.name = Some(name.serialize(ToName)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        let name =
            self.name.take().ok_or_else(|| SerdeError::Custom("a map gave a value before its key".into()))?;
        self.push(name, value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.done()
    }
}

/// Makes the name of a field from a map's key.
struct ToName;

type NoName = Impossible<Arc<str>, SerdeError>;

fn not_text<T>(found: &'static str) -> Result<T, SerdeError> {
    Err(SerdeError::KeyNotText { found })
}

macro_rules! names {
    ($($method:ident: $key:ty),+) => {$(
        fn $method(self, key: $key) -> Result<Arc<str>, SerdeError> {
            Ok(key.to_string().into())
        }
    )+};
}

impl Serializer for ToName {
    type Ok = Arc<str>;
    type Error = SerdeError;
    type SerializeSeq = NoName;
    type SerializeTuple = NoName;
    type SerializeTupleStruct = NoName;
    type SerializeTupleVariant = NoName;
    type SerializeMap = NoName;
    type SerializeStruct = NoName;
    type SerializeStructVariant = NoName;

    names!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    names!(serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);
    names!(serialize_u128: u128, serialize_char: char);

    fn serialize_str(self, text: &str) -> Result<Arc<str>, SerdeError> {
        Ok(text.into())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Arc<str>, SerdeError> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        key: &T,
    ) -> Result<Arc<str>, SerdeError> {
        key.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, key: &T) -> Result<Arc<str>, SerdeError> {
        key.serialize(self)
    }

    fn serialize_f32(self, _: f32) -> Result<Arc<str>, SerdeError> {
        not_text("a float")
    }

    fn serialize_f64(self, _: f64) -> Result<Arc<str>, SerdeError> {
        not_text("a float")
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Arc<str>, SerdeError> {
        not_text("bytes")
    }

    fn serialize_none(self) -> Result<Arc<str>, SerdeError> {
        not_text("nothing")
    }

    fn serialize_unit(self) -> Result<Arc<str>, SerdeError> {
        not_text("nothing")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Arc<str>, SerdeError> {
        not_text("nothing")
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Arc<str>, SerdeError> {
        not_text("an enum that holds something")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<NoName, SerdeError> {
        not_text("a list")
    }

    fn serialize_tuple(self, _: usize) -> Result<NoName, SerdeError> {
        not_text("a tuple")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<NoName, SerdeError> {
        not_text("a tuple")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<NoName, SerdeError> {
        not_text("an enum that holds something")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<NoName, SerdeError> {
        not_text("a map")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<NoName, SerdeError> {
        not_text("a struct")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<NoName, SerdeError> {
        not_text("an enum that holds something")
    }
}
