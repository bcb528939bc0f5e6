//! What a commit did, as bytes: the payload of one log record.
//!
//! A payload is a row of effects. Each starts with one byte, the type tag in its high half and the verb in its low half:
//!
//! | verb | meaning | then |
//! |---|---|---|
//! | 1 | put | key (length-prefixed), value |
//! | 2 | put that expires | key, expiry (varint, microseconds since 1970), value |
//! | 3 | delete | key |
//! | 4 | the effects that follow are on another run (tag 0) | 16 bytes of run id |
//! | 5 | drop the whole run (tag 0) | nothing |
//!
//! The first run is the record's own; a record of several runs names its first one, too. Effects, not commands, are logged: replaying them needs no validation and gives
//! the same state whatever the code that decided on them does today.

use in_mem_model::codec::{self, Cursor, DecodeError};
use in_mem_model::{RunId, Tag, Timestamp, Value};

use super::event::is_possible;

const PUT: u8 = 1;
const PUT_EXPIRING: u8 = 2;
const DELETE: u8 = 3;
const SWITCH_RUN: u8 = 4;
const DROP_RUN: u8 = 5;

/// One change that a commit made.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<'a> {
    /// `key` holds `value` from this commit on.
    Put {
        /// The primitive the key belongs to.
        tag: Tag,
        /// The user's key bytes.
        key: &'a [u8],
        /// The value.
        value: Value,
        /// When the value stops being there.
        expires_at: Option<Timestamp>,
    },
    /// `key` is gone from this commit on.
    Delete {
        /// The primitive the key belongs to.
        tag: Tag,
        /// The user's key bytes.
        key: &'a [u8],
    },
    /// Everything of the run is gone.
    DropRun,
}

/// Writes effects into a payload.
#[derive(Debug)]
pub struct EffectWriter<'b> {
    payload: &'b mut Vec<u8>,
    run: RunId,
    several_runs: bool,
    is_logged: bool,
}

impl<'b> EffectWriter<'b> {
    /// Starts a payload whose record belongs to `run`. What `payload` held is cleared.
    pub fn new(payload: &'b mut Vec<u8>, run: RunId) -> Self {
        payload.clear();
        Self { payload, run, several_runs: false, is_logged: true }
    }

    /// As [`EffectWriter::new`], but nothing is written where there is no log to write it to.
    pub(super) fn if_logged(payload: &'b mut Vec<u8>, run: RunId, is_logged: bool) -> Self {
        Self { is_logged, ..Self::new(payload, run) }
    }

    /// The effects that follow are on `run`.
    pub fn on(&mut self, run: RunId) {
        if self.run != run {
            self.run = run;
            self.several_runs = true;
            if self.is_logged {
                self.payload.push(SWITCH_RUN);
                self.payload.extend_from_slice(run.as_bytes());
            }
        }
    }

    /// Writes a put.
    pub fn put(&mut self, tag: Tag, key: &[u8], value: &Value, expires_at: Option<Timestamp>) {
        if !self.is_logged {
            return;
        }
        // The last moment there is: as good as never, and kept as never.
        let expires_at = expires_at.filter(|at| at.0 != i64::MAX);
        self.head(tag, if expires_at.is_some() { PUT_EXPIRING } else { PUT }, key);
        if let Some(at) = expires_at {
            codec::put_varint(at.0.cast_unsigned(), self.payload);
        }
        codec::encode_value(value, self.payload);
    }

    /// Writes a delete.
    pub fn delete(&mut self, tag: Tag, key: &[u8]) {
        if self.is_logged {
            self.head(tag, DELETE, key);
        }
    }

    /// Writes the end of the whole run.
    pub fn drop_run(&mut self) {
        if self.is_logged {
            self.payload.push(DROP_RUN);
        }
    }

    /// Whether effects on more than one run were written.
    pub fn several_runs(&self) -> bool {
        self.several_runs
    }

    fn head(&mut self, tag: Tag, verb: u8, key: &[u8]) {
        self.payload.push((tag as u8) << 4 | verb);
        codec::put_bytes(key, self.payload);
    }
}

/// Makes a payload that began on `run` one whose record belongs to no run of its own.
pub(super) fn effects_of_lineage(run: RunId, payload: &mut Vec<u8>) {
    let head: Vec<u8> = std::iter::once(SWITCH_RUN).chain(*run.as_bytes()).collect();
    payload.splice(0..0, head);
}

/// Reads the effects of a payload back, each with the run it is on.
#[derive(Debug)]
pub struct EffectReader<'a> {
    cursor: Cursor<'a>,
    run: RunId,
}

impl<'a> EffectReader<'a> {
    /// A reader of a payload whose record belongs to `run`.
    pub fn new(payload: &'a [u8], run: RunId) -> Self {
        Self { cursor: Cursor::new(payload), run }
    }

    /// The next effect, or `None` at the end of the payload.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are not a row of effects.
    #[allow(clippy::should_implement_trait, reason = "fallible: `Iterator` would hide that an error ends it")]
    pub fn next(&mut self) -> Result<Option<(RunId, Effect<'a>)>, DecodeError> {
        loop {
            if self.cursor.is_empty() {
                return Ok(None);
            }
            let head = self.cursor.u8()?;
            if head == SWITCH_RUN {
                self.run = RunId::from_bytes(self.cursor.array::<16>()?);
                continue;
            }
            if head == DROP_RUN {
                return Ok(Some((self.run, Effect::DropRun)));
            }
            let tag =
                Tag::try_from(head >> 4).map_err(|_| self.cursor.refuse("no effect has this type tag"))?;
            let verb = head & 0x0f;
            if !matches!(verb, PUT | PUT_EXPIRING | DELETE) {
                return Err(self.cursor.refuse("no effect has this verb"));
            }
            let key = self.cursor.bytes()?;
            if tag == Tag::Event && !is_possible(key) {
                return Err(self.cursor.refuse("no event has this number"));
            }
            let effect = if verb == DELETE {
                Effect::Delete { tag, key }
            } else {
                let expires_at = if verb == PUT_EXPIRING {
                    Some(Timestamp(self.cursor.varint()?.cast_signed()))
                } else {
                    None
                };
                Effect::Put { tag, key, value: self.cursor.value()?, expires_at }
            };
            return Ok(Some((self.run, effect)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{MAX_EVENTS, event_key};

    #[test]
    fn what_was_written_is_read_back() {
        let first = RunId::from_bytes([1; 16]);
        let second = RunId::from_bytes([2; 16]);
        let mut payload = vec![9];
        let mut writer = EffectWriter::new(&mut payload, first);
        writer.put(Tag::Kv, b"a", &Value::from(1), None);
        writer.on(second);
        writer.put(Tag::State, b"b", &Value::Null, Some(Timestamp(77)));
        writer.delete(Tag::Kv, b"");
        writer.drop_run();
        assert!(writer.several_runs());
        let mut reader = EffectReader::new(&payload, first);
        let mut all = Vec::new();
        while let Some(effect) = reader.next().expect("sound") {
            all.push(effect);
        }
        assert_eq!(
            all,
            [
                (first, Effect::Put { tag: Tag::Kv, key: b"a", value: Value::from(1), expires_at: None }),
                (
                    second,
                    Effect::Put {
                        tag: Tag::State,
                        key: b"b",
                        value: Value::Null,
                        expires_at: Some(Timestamp(77))
                    }
                ),
                (second, Effect::Delete { tag: Tag::Kv, key: b"" }),
                (second, Effect::DropRun),
            ]
        );
    }

    #[test]
    fn hostile_bytes_are_an_error_not_a_panic() {
        let run = RunId::from_bytes([1; 16]);
        for first in 0..=255u8 {
            for tail in [&[][..], &[255, 255, 255, 255, 255, 255], &[1], &[3, 1, 2, 3, 200]] {
                let bytes: Vec<u8> = std::iter::once(first).chain(tail.iter().copied()).collect();
                let mut reader = EffectReader::new(&bytes, run);
                while let Ok(Some(_)) = reader.next() {}
            }
        }
    }

    /// Its checksum may be right: the next event's number would be none.
    #[test]
    fn events_that_no_run_can_have_are_refused() {
        let run = RunId::from_bytes([1; 16]);
        let read = |sequence| {
            let mut payload = Vec::new();
            EffectWriter::new(&mut payload, run).put(Tag::Event, &event_key(sequence), &Value::Null, None);
            EffectReader::new(&payload, run).next().map(|effect| effect.is_some())
        };
        assert_eq!(read(MAX_EVENTS - 1), Ok(true));
        for sequence in [MAX_EVENTS, u64::MAX] {
            assert!(read(sequence).is_err(), "{sequence}");
        }
    }

    #[test]
    fn a_put_of_116_bytes_fits_its_log_budget() {
        let run = RunId::from_bytes([1; 16]);
        let mut payload = Vec::new();
        EffectWriter::new(&mut payload, run).put(Tag::Kv, &[7; 16], &Value::from(vec![1u8; 100]), None);
        assert!(payload.len() <= 121, "{} bytes", payload.len());
    }
}
