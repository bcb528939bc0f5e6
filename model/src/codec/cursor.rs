//! Reading bytes from the front, with errors that say where.

use super::primitive::{LAST_VARINT_MARK, Number};
use super::value::read_value;
use crate::Value;

/// Bytes that are not what was to be read there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end too early.
    #[error(
        "at byte {offset}: {expected} expected, but the bytes end; they were cut or are not of this format"
    )]
    Truncated {
        /// Where it should have begun, in bytes from the start.
        offset: usize,
        /// What was to be read.
        expected: &'static str,
    },
    /// Something else stands there.
    #[error(
        "at byte {offset}: {expected} expected, found {found:#04x}; the bytes are damaged or not of this format"
    )]
    Unexpected {
        /// Where it stands, in bytes from the start.
        offset: usize,
        /// What was to be read.
        expected: &'static str,
        /// The byte that stands there.
        found: u8,
    },
    /// A value in a form that encoding never produces.
    #[error("at byte {offset}: {what}; the bytes were not written by this codec")]
    NotCanonical {
        /// Where it stands, in bytes from the start.
        offset: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("at byte {offset}: text expected, but the bytes are not UTF-8")]
    Utf8 {
        /// The first byte that is not, in bytes from the start.
        offset: usize,
    },
    /// Arrays and objects nested deeper than [`MAX_DEPTH`](crate::limits::MAX_DEPTH).
    #[error("at byte {offset}: the value nests deeper than {limit} levels")]
    TooDeep {
        /// Where the first level too many begins, in bytes from the start.
        offset: usize,
        /// The deepest nesting that is accepted, in levels.
        limit: usize,
    },
    /// Something follows where the bytes should end.
    #[error("at byte {offset}: the end expected, but {remaining} bytes follow")]
    Trailing {
        /// Where the end should be, in bytes from the start.
        offset: usize,
        /// How many bytes follow.
        remaining: usize,
    },
}

/// A place in bytes that are read from the front to the end. After an error it stays where the fault begins.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of the bytes.
    #[inline]
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// How many bytes have been read.
    #[inline]
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    /// How many bytes have not been read yet.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.input.len() - self.at
    }

    /// The error that says `what` is wrong with the bytes here, for readers of formats made of this codec's parts.
    #[must_use]
    pub const fn refuse(&self, what: &'static str) -> DecodeError {
        DecodeError::NotCanonical { offset: self.at, what }
    }

    /// Whether everything has been read.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.number("a byte")
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// The end, another thing, or a longer form than it needs.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        self.compact::<u64>("an unsigned integer")
    }

    /// A signed integer.
    ///
    /// # Errors
    /// As [`Cursor::varint`].
    #[inline]
    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        self.compact::<i64>("a signed integer")
    }

    /// An eight-byte float.
    #[inline]
    pub(super) fn float(&mut self) -> Result<f64, DecodeError> {
        self.number("a float")
    }

    /// A length and as many bytes, which are borrowed, not copied.
    ///
    /// # Errors
    /// As [`Cursor::varint`]; [`DecodeError::Truncated`] where fewer bytes follow than the length says.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let bytes_len = self.varint()?;
        let taken = usize::try_from(bytes_len).ok().and_then(|len| self.rest().get(..len));
        if let Some(bytes) = taken {
            self.at += bytes.len();
            return Ok(bytes);
        }
        self.at = start;
        Err(self.truncated("as many bytes as the length says"))
    }

    /// A length and as many bytes of text.
    ///
    /// # Errors
    /// As [`Cursor::bytes`]; [`DecodeError::Utf8`] for other bytes.
    #[inline]
    pub fn str(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.at;
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| {
            let offset = self.at - bytes.len() + error.valid_up_to();
            self.at = start;
            DecodeError::Utf8 { offset }
        })
    }

    /// Exactly `N` bytes, with no length before them.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] where fewer follow.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.rest().first_chunk().ok_or_else(|| self.truncated("a field of fixed size"))?;
        self.at += N;
        Ok(*bytes)
    }

    /// A value.
    ///
    /// # Errors
    /// Any [`DecodeError`] but `Trailing`.
    #[inline]
    pub fn value(&mut self) -> Result<Value, DecodeError> {
        let start = self.at;
        let outcome = read_value(self);
        if outcome.is_err() {
            self.at = start;
        }
        outcome
    }

    /// Makes sure that everything has been read.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if not.
    #[inline]
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Trailing { offset: self.at, remaining: self.remaining() })
    }

    #[inline]
    fn number<T: Number>(&mut self, expected: &'static str) -> Result<T, DecodeError> {
        let (number, len) = T::take(self.rest()).ok_or_else(|| self.unexpected(expected))?;
        self.at += len;
        Ok(number)
    }

    /// A number that has a shortest form, which it must have been written in.
    #[inline]
    fn compact<T: Number>(&mut self, expected: &'static str) -> Result<T, DecodeError> {
        let (number, len) = T::take(self.rest()).ok_or_else(|| self.unexpected(expected))?;
        if len != 1 && len != number.len() {
            return Err(DecodeError::NotCanonical {
                offset: self.at,
                what: "an integer takes more bytes than it needs",
            });
        }
        self.at += len;
        Ok(number)
    }

    #[cold]
    fn truncated(&self, expected: &'static str) -> DecodeError {
        DecodeError::Truncated { offset: self.at, expected }
    }

    /// Numbers fail where the bytes end, or at a first byte that begins no number.
    #[cold]
    fn unexpected(&self, expected: &'static str) -> DecodeError {
        match self.rest().first() {
            Some(&found) if found > LAST_VARINT_MARK => {
                DecodeError::Unexpected { offset: self.at, expected, found }
            }
            _ => self.truncated(expected),
        }
    }
}
