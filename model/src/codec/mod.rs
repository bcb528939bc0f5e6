//! Values as canonical bytes: the only module that names the serialization library.
//!
//! Equal values have equal bytes and every value has one encoding only: object fields are sorted, NaN is one bit
//! pattern, lengths and integers take their shortest form, and decoding refuses everything else.
//!
//! | value | bytes |
//! |---|---|
//! | null, false, true | the tag: 0, 1, 2 |
//! | integer | 3, signed varint |
//! | float | 4, eight bytes little-endian |
//! | string, bytes | 5 or 6, length, contents |
//! | array | 7, number of items, the items |
//! | object | 8, number of fields, then each name (length, UTF-8) and value, by name |
//!
//! A **varint** is one byte up to 250; above, 251, 252 or 253 and then two, four or eight bytes little-endian. Signed
//! integers are zigzagged first. These are bincode 2's rules; that library is no longer developed, so all of it is in
//! `primitive.rs`, to be exchanged there with the bytes unchanged (a test holds them fixed).
//!
//! Decoding never allocates more than a constant multiple of the bytes it reads, whatever lengths those claim, and
//! never goes deeper than [`MAX_DEPTH`](crate::limits::MAX_DEPTH).

mod cursor;
mod primitive;
mod value;

pub use cursor::{Cursor, DecodeError};
pub use primitive::{put_bytes, put_signed, put_str, put_u8, put_varint};
pub(crate) use value::digest_value;
pub use value::{decode_value, encode_strings, encode_value, encoded_len};
