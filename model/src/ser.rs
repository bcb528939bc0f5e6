//! Values out to serde formats.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::Value;
use crate::json::{BYTES_KEY, FLOAT_KEY, Written, bytes_text, float_name};

impl Serialize for Value {
    /// The JSON form of [`Value::to_json`] where the format is read by people, the codec's bytes elsewhere.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            let mut bytes = Vec::with_capacity(crate::codec::encoded_len(self));
            crate::codec::encode_value(self, &mut bytes);
            return serializer.serialize_bytes(&bytes);
        }
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(int) => serializer.serialize_i64(*int),
            Self::Float(float) if float.is_finite() => serializer.serialize_f64(*float),
            Self::Float(float) => one_field(serializer, FLOAT_KEY, float_name(*float)),
            Self::String(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => one_field(serializer, BYTES_KEY, &bytes_text(bytes)),
            Self::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Object(object) => {
                let renamed = match Written::of(object) {
                    Written::Number(int) => return serializer.serialize_u64(int),
                    Written::Renamed(name) => Some(name),
                    Written::AsIs => None,
                };
                let mut map = serializer.serialize_map(Some(object.len()))?;
                for (name, value) in object {
                    map.serialize_entry(renamed.as_deref().unwrap_or(name), value)?;
                }
                map.end()
            }
        }
    }
}

fn one_field<S: Serializer>(serializer: S, name: &str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, text)?;
    map.end()
}
