//! Where something lives inside a run.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use crate::json::BYTES_KEY;
use crate::limits::MAX_KEY_BYTES;
use crate::{KeyError, RunId, Tag};

/// Where something lives: in which run, as which primitive, under which user key. Ordered in that order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The run.
    pub run: RunId,
    /// The primitive.
    pub tag: Tag,
    /// The user's part.
    pub user: KeyBytes,
}

impl Key {
    /// The key of `user` as `tag` in `run`.
    #[inline]
    #[must_use]
    pub fn new(run: RunId, tag: Tag, user: impl Into<KeyBytes>) -> Self {
        Self { run, tag, user: user.into() }
    }

    /// Whether the key may be stored.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] past [`MAX_KEY_BYTES`].
    #[inline]
    pub fn check(&self) -> Result<(), KeyError> {
        self.user.check()
    }
}

impl fmt::Display for Key {
    /// `run/tag/key`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.run, self.tag, self.user)
    }
}

/// Bytes kept in place up to this length; with them, a key costs no allocation.
const INLINE_KEY_BYTES: usize = 40;

/// A user's key: text or any bytes, ordered by bytes. Up to 40 bytes are kept without an allocation.
///
/// An empty key is a key. In JSON it is a string, or `{"$bytes": "base64"}` where it is not UTF-8.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyBytes(SmallVec<[u8; INLINE_KEY_BYTES]>);

impl KeyBytes {
    /// The key with these bytes.
    #[inline]
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }

    /// The key's bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether the key may be stored.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] past [`MAX_KEY_BYTES`].
    #[inline]
    pub fn check(&self) -> Result<(), KeyError> {
        if self.0.len() <= MAX_KEY_BYTES { Ok(()) } else { Err(self.too_long()) }
    }

    #[cold]
    fn too_long(&self) -> KeyError {
        const START_BYTES: usize = 32;
        let start = printable(&self.0[..START_BYTES]);
        KeyError::TooLong { start, actual: self.0.len(), limit: MAX_KEY_BYTES }
    }

    /// The first key after all that begin with this one, or `None` if there is none (no bytes but 255).
    ///
    /// A scan of a prefix is a scan from the prefix up to here.
    #[must_use]
    pub fn prefix_end(&self) -> Option<Self> {
        let last = self.0.iter().rposition(|&byte| byte != u8::MAX)?;
        let mut end = Self::new(&self.0[..=last]);
        end.0[last] += 1;
        Some(end)
    }

    /// Bytes that the key keeps on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        if self.0.spilled() { self.0.capacity() } else { 0 }
    }
}

/// Text as it is, other bytes as `\x..`.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

impl Deref for KeyBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for KeyBytes {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for KeyBytes {
    #[inline]
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl std::hash::Hash for KeyBytes {
    /// As the slice hashes, which `Borrow<[u8]>` promises.
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for KeyBytes {
    /// Text as it is; control characters escaped and bytes that are not UTF-8 as `\x..`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&printable(&self.0))
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", printable(&self.0))
    }
}

macro_rules! from_slice {
    ($by:ident: $($from:ty),+) => {$(
        impl From<$from> for KeyBytes {
            #[inline]
            fn from(key: $from) -> Self {
                Self::new(key.$by())
            }
        }
    )+};
}
from_slice!(as_bytes: &str, &String, Arc<str>);
from_slice!(as_ref: &[u8], &Vec<u8>, Arc<[u8]>);

impl From<String> for KeyBytes {
    fn from(key: String) -> Self {
        key.into_bytes().into()
    }
}

impl From<Vec<u8>> for KeyBytes {
    fn from(key: Vec<u8>) -> Self {
        if key.len() <= INLINE_KEY_BYTES { Self::new(&key) } else { Self(SmallVec::from_vec(key)) }
    }
}

impl<const N: usize> From<[u8; N]> for KeyBytes {
    #[inline]
    fn from(key: [u8; N]) -> Self {
        Self::new(&key)
    }
}

impl<const N: usize> From<&[u8; N]> for KeyBytes {
    #[inline]
    fn from(key: &[u8; N]) -> Self {
        Self::new(key)
    }
}

impl From<&KeyBytes> for KeyBytes {
    #[inline]
    fn from(key: &KeyBytes) -> Self {
        key.clone()
    }
}

impl Serialize for KeyBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        if let Some(text) = self.as_str() {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(BYTES_KEY, &BASE64.encode(&self.0))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for KeyBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(KeyVisitor)
        } else {
            deserializer.deserialize_bytes(KeyVisitor)
        }
    }
}

struct KeyVisitor;

impl<'de> de::Visitor<'de> for KeyVisitor {
    type Value = KeyBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key: text, bytes, or {\"$bytes\": \"base64\"}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyBytes, E> {
        Ok(text.into())
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<KeyBytes, E> {
        Ok(bytes.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyBytes, A::Error> {
        match map.next_entry::<String, String>()? {
            Some((name, text)) if name == BYTES_KEY => {
                BASE64.decode(text).map(KeyBytes::from).map_err(de::Error::custom)
            }
            _ => Err(de::Error::custom(format_args!(
                "a binary key is written {{\"{BYTES_KEY}\": \"base64\"}}"
            ))),
        }
    }
}
