//! What two states have in common when they are called the same: one BLAKE3 hash over all that they hold, in one order.
//!
//! For every key, by primitive and then by bytes: `tag (1) | length and key | expiry (8, or none) | length and value`, the value
//! as [`codec`] writes it, which has one form for each. The **exact** digest adds each key's version and time, and takes
//! events with their chain's hashes: equal means the same run, commit by commit. The **content** digest leaves out versions,
//! times and what is known of the run as a whole, and takes of events what was said, not when: equal means that two runs
//! came to the same state.

use std::fmt;
use std::ops::Bound;

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Version, VersionedValue, codec};
use in_mem_shard::core::event;
use serde::{Deserialize, Serialize};

use super::timeline::View;
use crate::engine::Engine;
use crate::error::Error;

/// The primitives, in the order in which they are digested.
pub(super) const TAGS: [Tag; 5] = [Tag::Kv, Tag::Event, Tag::State, Tag::Trace, Tag::Run];

/// The digests of a run's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest {
    /// Over everything, versions and times included.
    #[serde(with = "in_mem_model::hex")]
    pub exact: [u8; 32],
    /// Over what the run holds, not when it came to hold it.
    #[serde(with = "in_mem_model::hex")]
    pub content: [u8; 32],
}

fn hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for Digest {
    /// The exact digest, in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.exact, f)
    }
}

/// Digests entries in order.
#[derive(Debug)]
pub(super) struct Digester {
    exact: blake3::Hasher,
    content: blake3::Hasher,
    scratch: Vec<u8>,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self {
            exact: blake3::Hasher::new_derive_key("in-mem 2026 exact state of a run v1"),
            content: blake3::Hasher::new_derive_key("in-mem 2026 content of a run v1"),
            scratch: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, tag: Tag, key: &[u8], value: &VersionedValue) {
        let scratch = &mut self.scratch;
        scratch.clear();
        scratch.push(tag as u8);
        codec::put_bytes(key, scratch);
        scratch.extend(value.expires_at.map(|at| at.0.to_le_bytes()).into_iter().flatten());
        scratch.push(u8::from(value.expires_at.is_some()));
        let head = scratch.len();
        codec::encode_value(&value.value, scratch);
        let len = scratch.len() as u64;
        scratch.extend_from_slice(&len.to_le_bytes());
        self.exact.update(scratch);
        self.exact.update(&value.version.0.to_le_bytes());
        self.exact.update(&value.timestamp.0.to_le_bytes());
        match tag {
            Tag::Kv | Tag::State => {
                self.content.update(scratch);
            }
            // A span says when; the run's own entry says who.
            Tag::Trace | Tag::Run => {}
            Tag::Event => {
                scratch.truncate(head);
                let sequence = event::event_sequence(key).unwrap_or(u64::MAX);
                if let Ok(event) = event::unpack(sequence, value.version, value.timestamp, &value.value) {
                    codec::put_str(&event.kind, scratch);
                    if let Some((stream, place)) = &event.stream {
                        codec::put_str(stream, scratch);
                        codec::put_varint(*place, scratch);
                    }
                    codec::encode_value(&event.payload, scratch);
                }
                let len = scratch.len() as u64;
                scratch.extend_from_slice(&len.to_le_bytes());
                self.content.update(scratch);
            }
        }
    }

    pub(super) fn finish(&self) -> Digest {
        Digest { exact: *self.exact.finalize().as_bytes(), content: *self.content.finalize().as_bytes() }
    }
}

type Entries = Vec<(KeyBytes, VersionedValue)>;

/// The first key at which a replay and the live run differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mismatch {
    /// The key.
    pub key: Key,
    /// What the log says it is.
    pub replayed: Option<VersionedValue>,
    /// What it is.
    pub live: Option<VersionedValue>,
}

/// What comparing a replay of the log with the live run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// The run.
    pub run: RunId,
    /// The version at which both were compared.
    pub version: Version,
    /// How many commits were replayed.
    pub commits: u64,
    /// How many keys the run holds.
    pub keys: u64,
    /// Of what the log says.
    pub replayed: Digest,
    /// Of what is there.
    pub live: Digest,
    /// The first difference; `None`: there is none.
    pub mismatch: Option<Mismatch>,
}

impl Verification {
    /// Whether both are the same.
    pub fn is_same(&self) -> bool {
        self.mismatch.is_none() && self.replayed == self.live
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, version, commits, keys, .. } = self;
        match &self.mismatch {
            None => {
                writeln!(
                    f,
                    "run {run} is what its log says: {keys} keys after {commits} commits, version {version}"
                )?;
                write!(f, "{}", self.replayed)
            }
            Some(Mismatch { key, replayed, live }) => {
                let show = |value: &Option<VersionedValue>| match value {
                    Some(v) => format!("{} (version {})", v.value.to_json(), v.version),
                    None => "nothing".to_owned(),
                };
                writeln!(
                    f,
                    "run {run} is NOT what its log says at version {version}; first at {}/{}:",
                    key.tag, key.user
                )?;
                writeln!(f, "  log:  {}", show(replayed))?;
                write!(f, "  live: {}", show(live))
            }
        }
    }
}

impl View {
    /// The digests of the state then.
    pub fn digest(&self) -> Digest {
        self.digest_as_of(self.timestamp())
    }

    fn digest_as_of(&self, now: Timestamp) -> Digest {
        let mut digester = Digester::new();
        for tag in TAGS {
            for (key, value) in self.scan_as_of(tag, Bound::Unbounded, Bound::Unbounded, now) {
                digester.add(tag, &key, &value);
            }
        }
        digester.finish()
    }
}

/// Reads all entries of a live run at one moment; gives its version.
fn live_entries(engine: &Engine, run: RunId) -> Result<(Version, Vec<(Tag, Entries)>), Error> {
    let snapshot = engine.snapshot(run)?;
    let mut all = Vec::with_capacity(TAGS.len());
    for tag in TAGS {
        all.push((tag, snapshot.scan_all(run, tag, Bound::Unbounded, Bound::Unbounded)?));
    }
    Ok((snapshot.version(), all))
}

impl Engine {
    /// The digests of a live run's state.
    ///
    /// # Errors
    /// [`Error`] where it cannot be read.
    pub fn digest(&self, run: RunId) -> Result<Digest, Error> {
        let (_, live) = live_entries(self, run)?;
        let mut digester = Digester::new();
        for (tag, entries) in &live {
            for (key, value) in entries {
                digester.add(*tag, key, value);
            }
        }
        Ok(digester.finish())
    }

    /// Replays a run from the log, and compares it with the live run, key by key.
    ///
    /// # Errors
    /// [`super::HistoryError`] where it cannot be replayed. A difference is no error, but what this is for.
    pub fn verify(&self, run: RunId) -> Result<Verification, Error> {
        let (version, live) = live_entries(self, run)?;
        let view = self.view(run, super::Point::Version(version))?;
        // Later than any turn that was asked above: what had expired there has expired here.
        let now = self.now().max(view.timestamp());
        let (mut of_live, mut of_replay) = (Digester::new(), Digester::new());
        let (mut keys, mut mismatch) = (0, None);
        for (tag, mut entries) in live {
            entries.retain(|(_, value)| value.expires_at.is_none_or(|at| at > now));
            let replayed = view.scan_as_of(tag, Bound::Unbounded, Bound::Unbounded, now);
            entries.iter().for_each(|(key, value)| of_live.add(tag, key, value));
            replayed.iter().for_each(|(key, value)| of_replay.add(tag, key, value));
            keys += entries.len() as u64;
            if mismatch.is_none() {
                mismatch = first_difference(run, tag, replayed, entries);
            }
        }
        Ok(Verification {
            run,
            version,
            commits: view.place() as u64,
            keys,
            replayed: of_replay.finish(),
            live: of_live.finish(),
            mismatch,
        })
    }
}

fn first_difference(run: RunId, tag: Tag, replayed: Entries, live: Entries) -> Option<Mismatch> {
    let (mut replayed, mut live) = (replayed.into_iter().peekable(), live.into_iter().peekable());
    loop {
        let (user, a, b) = match (replayed.peek(), live.peek()) {
            (None, None) => return None,
            (Some((a, _)), Some((b, _))) if a == b => {
                let (user, a) = replayed.next()?;
                (user, Some(a), live.next().map(|(_, value)| value))
            }
            (Some((a, _)), other) if other.is_none_or(|(b, _)| a < b) => {
                let (user, a) = replayed.next()?;
                (user, Some(a), None)
            }
            _ => {
                let (user, b) = live.next()?;
                (user, None, Some(b))
            }
        };
        if !same(a.as_ref(), b.as_ref()) {
            return Some(Mismatch { key: Key::new(run, tag, user), replayed: a, live: b });
        }
    }
}

fn same(a: Option<&VersionedValue>, b: Option<&VersionedValue>) -> bool {
    let parts = |v: &VersionedValue| (v.version, v.timestamp, v.expires_at);
    match (a, b) {
        (Some(a), Some(b)) => parts(a) == parts(b) && a.value == b.value,
        (None, None) => true,
        _ => false,
    }
}
