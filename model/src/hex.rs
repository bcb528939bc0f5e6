//! Hashes as text: in hexadecimal, as people compare them. For `#[serde(with = "in_mem_model::hex")]`.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

/// The bytes in hexadecimal.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a hash as text.
///
/// # Errors
/// What the serializer says.
pub fn serialize<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(hash))
}

/// Reads a hash: from text, or from a list of numbers.
///
/// # Errors
/// What is there is neither, or not of 32 bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    struct Hash;
    impl<'de> Visitor<'de> for Hash {
        type Value = [u8; 32];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("64 hexadecimal digits")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<[u8; 32], E> {
            let digits: Option<Vec<u8>> = text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
            let digits = digits.filter(|digits| digits.len() == 64);
            let digits = digits.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))?;
            Ok(std::array::from_fn(|place| digits[2 * place] << 4 | digits[2 * place + 1]))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; 32], A::Error> {
            let mut hash = [0; 32];
            for (place, byte) in hash.iter_mut().enumerate() {
                *byte = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(place, &self))?;
            }
            Ok(hash)
        }
    }
    from.deserialize_any(Hash)
}

#[cfg(test)]
mod tests {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Head {
        #[serde(with = "super")]
        hash: [u8; 32],
    }

    #[test]
    fn a_hash_is_read_as_it_was_written_and_as_a_list() {
        let head = Head { hash: std::array::from_fn(|n| n as u8 * 7) };
        let json = serde_json::to_string(&head).expect("writes");
        assert!(json.starts_with("{\"hash\":\"00070e15"), "{json}");
        assert_eq!(serde_json::from_str::<Head>(&json).expect("reads"), head);
        let list = format!("{{\"hash\":{:?}}}", head.hash);
        assert_eq!(serde_json::from_str::<Head>(&list).expect("reads"), head);
        for wrong in ["\"00\"", "[1,2]", "7", "\"zz\""] {
            assert!(serde_json::from_str::<Head>(&format!("{{\"hash\":{wrong}}}")).is_err());
        }
    }
}
