//! Events as they are stored, and the chain over them.
//!
//! An event is one value under the `Event` tag; its key is its sequence number, eight bytes big-endian, counted from 0.
//! The value's bytes are `hash (32) | 0x80 and its place in its stream (varint), where it has one | body`, the body being what
//! the caller packed: flags, type, stream name, the source's own time, payload. The hash is BLAKE3, keyed with the previous event's
//! hash (zeros before the first), over the sequence number, the commit time (each eight bytes little-endian) and everything after
//! the hash: so each event vouches for all before it. Why keyed: decision 0009.

use std::sync::Arc;

use in_mem_model::codec::{self, Cursor, DecodeError};
use in_mem_model::{Timestamp, Value, Version};

const HAS_STREAM: u8 = 1;
const HAS_TIME: u8 = 2;
/// Stands where a body's flags would, and has a bit that flags never have.
const PLACE_FOLLOWS: u8 = 0x80;
pub(super) const HASH_BYTES: usize = 32;
/// The sequence number and the time.
const LINK_BYTES: usize = 16;
/// Up to here what is hashed is put together first.
const SMALL_BYTES: usize = 512;

/// The hash that the first event of a run follows.
pub const CHAIN_START: [u8; HASH_BYTES] = [0; HASH_BYTES];

/// An event as it is read.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Event {
    /// Its place in the run's total order, from 0.
    pub sequence: u64,
    /// What kind of event it is.
    pub kind: Arc<str>,
    /// The named stream it is in, with its place there, from 0.
    pub stream: Option<(Arc<str>, u64)>,
    /// What it says.
    pub payload: Value,
    /// When it was committed.
    pub timestamp: Timestamp,
    /// When it happened, where the appender said so.
    pub occurred_at: Option<Timestamp>,
    /// The version of the commit that appended it.
    pub version: Version,
    /// The chain's hash up to and including this event.
    #[serde(with = "in_mem_model::hex")]
    pub hash: [u8; HASH_BYTES],
}

/// The end of a run's event chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChainHead {
    /// How many events there are.
    pub len: u64,
    /// The hash of the last one, or [`CHAIN_START`].
    #[serde(with = "in_mem_model::hex")]
    pub hash: [u8; HASH_BYTES],
}

impl Default for ChainHead {
    fn default() -> Self {
        Self { len: 0, hash: CHAIN_START }
    }
}

/// No run has more events, at a billion a second for 292 years: a higher number is nobody's, and leaves room to count on.
pub const MAX_EVENTS: u64 = 1 << 63;

/// Whether a key under [`Tag::Event`](in_mem_model::Tag::Event) is one that an event can have, as far as its number goes.
pub(super) fn is_possible(key: &[u8]) -> bool {
    event_sequence(key).is_none_or(|sequence| sequence < MAX_EVENTS)
}

/// The key of the event with this sequence number.
pub fn event_key(sequence: u64) -> [u8; 8] {
    sequence.to_be_bytes()
}

/// The sequence number that a key says; `None` where it is not an event's key.
pub fn event_sequence(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Packs what the caller knows of an event, on the caller's own thread.
pub fn pack_body(
    kind: &str,
    stream: Option<&str>,
    occurred_at: Option<Timestamp>,
    payload: &Value,
    body: &mut Vec<u8>,
) {
    pack_head(kind, stream, occurred_at, body);
    codec::encode_value(payload, body);
}

/// As [`pack_body`], of an event whose payload is an array of strings and that is in no stream.
pub fn pack_strings(kind: &str, payload: &[&str], body: &mut Vec<u8>) {
    pack_head(kind, None, None, body);
    codec::encode_strings(payload, body);
}

fn pack_head(kind: &str, stream: Option<&str>, occurred_at: Option<Timestamp>, body: &mut Vec<u8>) {
    body.push(
        if stream.is_some() { HAS_STREAM } else { 0 } | if occurred_at.is_some() { HAS_TIME } else { 0 },
    );
    codec::put_bytes(kind.as_bytes(), body);
    if let Some(stream) = stream {
        codec::put_bytes(stream.as_bytes(), body);
    }
    if let Some(at) = occurred_at {
        body.extend_from_slice(&at.0.to_le_bytes());
    }
}

/// The stream that a packed body names.
pub fn body_stream(body: &[u8]) -> Result<Option<&str>, DecodeError> {
    let mut cursor = Cursor::new(body);
    let flags = cursor.u8()?;
    cursor.bytes()?;
    if flags & HAS_STREAM == 0 {
        return Ok(None);
    }
    let name = cursor.bytes()?;
    std::str::from_utf8(name).map(Some).map_err(|_| cursor.refuse("a stream's name is not UTF-8"))
}

/// Completes an event: the stored value and the chain's new hash. `scratch` is overwritten.
pub fn seal(
    head: &ChainHead,
    at: Timestamp,
    stream_place: Option<u64>,
    body: &[u8],
    scratch: &mut Vec<u8>,
) -> (Value, [u8; HASH_BYTES]) {
    scratch.clear();
    // Where the hash will be; what is hashed begins in its last bytes.
    scratch.extend_from_slice(&[0; HASH_BYTES - LINK_BYTES]);
    scratch.extend_from_slice(&link(head.len, at));
    if let Some(place) = stream_place {
        scratch.push(PLACE_FOLLOWS);
        codec::put_varint(place, scratch);
    }
    scratch.extend_from_slice(body);
    // All in one piece: a hasher that is fed piece by piece costs as much again for an event of the usual size.
    let hash = *blake3::keyed_hash(&head.hash, &scratch[HASH_BYTES - LINK_BYTES..]).as_bytes();
    scratch[..HASH_BYTES].copy_from_slice(&hash);
    (Value::Bytes(Arc::from(&**scratch)), hash)
}

/// The hash of an event that follows one with hash `previous`; `rest` is the stored value after its own hash.
pub fn chain_hash(
    previous: &[u8; HASH_BYTES],
    sequence: u64,
    at: Timestamp,
    rest: &[u8],
) -> [u8; HASH_BYTES] {
    let head = link(sequence, at);
    let mut small = [0; SMALL_BYTES];
    if let Some(piece) = small.get_mut(..LINK_BYTES + rest.len()) {
        piece[..LINK_BYTES].copy_from_slice(&head);
        piece[LINK_BYTES..].copy_from_slice(rest);
        return *blake3::keyed_hash(previous, piece).as_bytes();
    }
    let mut hasher = blake3::Hasher::new_keyed(previous);
    hasher.update(&head);
    hasher.update(rest);
    *hasher.finalize().as_bytes()
}

/// What an event's hash covers before the event's own bytes.
fn link(sequence: u64, at: Timestamp) -> [u8; LINK_BYTES] {
    let mut head = [0; LINK_BYTES];
    head[..8].copy_from_slice(&sequence.to_le_bytes());
    head[8..].copy_from_slice(&at.0.to_le_bytes());
    head
}

/// The hash stored with an event, and the bytes it covers; `None` where the value is not an event.
pub fn split_stored(value: &Value) -> Option<([u8; HASH_BYTES], &[u8])> {
    let Value::Bytes(bytes) = value else { return None };
    let (hash, rest) = bytes.split_first_chunk::<HASH_BYTES>()?;
    Some((*hash, rest))
}

/// The body that a stored event was made from; `None` where the value is not an event.
pub(super) fn stored_body(value: &Value) -> Option<&[u8]> {
    let (_, rest) = split_stored(value)?;
    if rest.first() != Some(&PLACE_FOLLOWS) {
        return Some(rest);
    }
    let mut cursor = Cursor::new(&rest[1..]);
    cursor.varint().ok()?;
    rest.get(1 + cursor.offset()..)
}

/// The stream that a stored event (behind its hash) is in, and its place there.
pub fn stored_stream(rest: &[u8]) -> Option<(&str, u64)> {
    if rest.first() != Some(&PLACE_FOLLOWS) {
        return None;
    }
    let mut cursor = Cursor::new(&rest[1..]);
    let place = cursor.varint().ok()?;
    cursor.u8().ok()?;
    cursor.bytes().ok()?;
    std::str::from_utf8(cursor.bytes().ok()?).ok().map(|name| (name, place))
}

/// Reads a stored event back.
///
/// # Errors
/// [`DecodeError`] where the value is not an event.
pub fn unpack(
    sequence: u64,
    version: Version,
    timestamp: Timestamp,
    value: &Value,
) -> Result<Event, DecodeError> {
    unpack_sharing(sequence, version, timestamp, value, None)
}

/// As [`unpack`]; an event of the kind given shares it, which saves whoever reads many an allocation each.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_sharing(
    sequence: u64,
    version: Version,
    timestamp: Timestamp,
    value: &Value,
    last_kind: Option<&Arc<str>>,
) -> Result<Event, DecodeError> {
    let (hash, rest) =
        split_stored(value).ok_or_else(|| Cursor::new(&[]).refuse("this is not a stored event"))?;
    let mut cursor = Cursor::new(rest);
    let place = if rest.first().is_some_and(|b| *b == PLACE_FOLLOWS) {
        cursor.u8()?;
        Some(cursor.varint()?)
    } else {
        None
    };
    let flags = cursor.u8()?;
    let kind = cursor.str()?;
    let kind = match last_kind {
        Some(last) if **last == *kind => last.clone(),
        _ => Arc::from(kind),
    };
    let stream = if flags & HAS_STREAM == 0 { None } else { Some((utf8(&mut cursor)?, place.unwrap_or(0))) };
    let occurred_at =
        if flags & HAS_TIME == 0 { None } else { Some(Timestamp(i64::from_le_bytes(cursor.array::<8>()?))) };
    let payload = cursor.value()?;
    Ok(Event { sequence, kind, stream, payload, timestamp, occurred_at, version, hash })
}

fn utf8(cursor: &mut Cursor<'_>) -> Result<Arc<str>, DecodeError> {
    cursor.str().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_packed_as_an_array_of_them_is() {
        let (mut packed, mut expected) = (Vec::new(), Vec::new());
        pack_strings("step", &["1.2", "", "ask"], &mut packed);
        let array: Value = vec![Value::from("1.2"), Value::from(""), Value::from("ask")].into();
        pack_body("step", None, None, &array, &mut expected);
        assert_eq!(packed, expected);
    }

    #[test]
    fn an_event_is_read_as_it_was_packed() {
        for stream in [None, Some("tools")] {
            for at in [None, Some(Timestamp(-5))] {
                let mut body = Vec::new();
                pack_body("tool_call", stream, at, &Value::from("payload"), &mut body);
                assert_eq!(body_stream(&body).expect("sound"), stream);
                let head = ChainHead { len: 3, hash: [7; 32] };
                let (value, hash) = seal(&head, Timestamp(9), stream.map(|_| 300), &body, &mut Vec::new());
                let event = unpack(3, Version(2), Timestamp(9), &value).expect("sound");
                assert_eq!(&*event.kind, "tool_call");
                assert_eq!(event.stream, stream.map(|s| (Arc::from(s), 300)));
                assert_eq!(event.occurred_at, at);
                assert_eq!(event.payload, Value::from("payload"));
                assert_eq!(event.hash, hash);
                let (stored, rest) = split_stored(&value).expect("an event");
                assert_eq!(stored, chain_hash(&head.hash, 3, Timestamp(9), rest));
            }
        }
    }
}
