//! Integers, floats and lengths, by way of bincode.

use bincode::config::{Configuration, standard};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};

/// Little-endian, integers as varints.
const FORMAT: Configuration = standard();

/// Where encoded bytes go. None of these can fail.
pub(super) trait Sink {
    fn raw(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for blake3::Hasher {
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Counts bytes and keeps none.
#[derive(Default)]
pub(super) struct Counter(pub(super) usize);

impl Sink for Counter {
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

struct Adapter<'a, S>(&'a mut S);

impl<S: Sink> Writer for Adapter<'_, S> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.raw(bytes);
        Ok(())
    }
}

/// Writes one number: `u8` and `f64` at full width, `u64` and `i64` as varints.
#[inline]
pub(super) fn put(number: impl Number, out: &mut impl Sink) {
    let outcome = bincode::encode_into_writer(number, Adapter(out), FORMAT);
    debug_assert!(outcome.is_ok(), "no sink fails and numbers have no other way to");
}

/// Greater first bytes than this begin no 64-bit varint.
pub(super) const LAST_VARINT_MARK: u8 = 253;

/// A number that is read and written here.
pub(super) trait Number: Encode + Decode<()> + Copy {
    /// Reads from the front, giving the number and the bytes it took; `None` if the bytes end early or are no number.
    #[inline]
    fn take(bytes: &[u8]) -> Option<(Self, usize)> {
        bincode::decode_from_slice(bytes, FORMAT).ok()
    }

    /// How many bytes the number takes.
    #[inline]
    fn len(self) -> usize {
        let mut counter = Counter::default();
        put(self, &mut counter);
        counter.0
    }
}

impl Number for u8 {}
impl Number for u64 {}
impl Number for i64 {}
impl Number for f64 {}

/// Appends one byte.
#[inline]
pub fn put_u8(byte: u8, out: &mut Vec<u8>) {
    put(byte, out);
}

/// Appends an unsigned integer in one to nine bytes; read by [`Cursor::varint`](super::Cursor::varint).
#[inline]
pub fn put_varint(int: u64, out: &mut Vec<u8>) {
    put(int, out);
}

/// Appends a signed integer in one to nine bytes; read by [`Cursor::signed`](super::Cursor::signed).
#[inline]
pub fn put_signed(int: i64, out: &mut Vec<u8>) {
    put(int, out);
}

/// Appends a length and the bytes; read by [`Cursor::bytes`](super::Cursor::bytes).
#[inline]
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_slice(bytes, out);
}

/// Appends a length and the text; read by [`Cursor::str`](super::Cursor::str).
#[inline]
pub fn put_str(text: &str, out: &mut Vec<u8>) {
    put_slice(text.as_bytes(), out);
}

#[inline]
pub(super) fn put_slice(bytes: &[u8], out: &mut impl Sink) {
    put(bytes.len() as u64, out);
    out.raw(bytes);
}
