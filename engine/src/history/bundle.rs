//! Bundles: a run with its whole history, and those of the runs that belong to it, in one file.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | `INMEMBDL` |
//! | 2 | format version |
//! | 2 | zero |
//! | 8 | length of the body, in bytes |
//! | 32 | BLAKE3 of the body |
//! | rest | the body, compressed as one zstd frame |
//!
//! The body: for each run its id, its chain's head and the digest of its content; then every commit in order, each with its
//! version, its time and its changes. All integers little-endian or as [`codec`] writes them.
//!
//! A bundle is read whole and proved before anything is written: its checksum, every value, every event's hash, every run's
//! digest. It can then be refused without harm.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use in_mem_model::codec::{self, Cursor, DecodeError};
use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Version};
use in_mem_shard::core::error::WriteError;
use in_mem_shard::core::event::{self, ChainHead};
use in_mem_shard::core::import::ImportedChange;
use in_mem_shard::core::limit::check_import;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::{Deserialize, Serialize};

pub(crate) mod arrival;
mod exchange;
mod proof;

use self::proof::check_change;

/// The format that is written, and the newest that is read.
pub const BUNDLE_FORMAT_VERSION: u16 = 1;

/// The largest body that is read, in bytes: what a few kilobytes of hostile zstd may not grow beyond.
pub const MAX_BUNDLE_BODY_BYTES: u64 = 4 << 30;

/// The most runs of one bundle.
pub const MAX_BUNDLE_RUNS: usize = 65_536;

const MAGIC: [u8; 8] = *b"INMEMBDL";
const HEADER_BYTES: usize = 8 + 2 + 2 + 8 + 32;
const DELETED: u8 = 0x80;
const EXPIRES: u8 = 0x40;

/// Why a bundle cannot be made or taken in.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bytes are something else.
    #[error("this is no bundle: it does not begin as one; name a file that `in-mem export` wrote")]
    NotABundle,
    /// A newer version wrote it.
    #[error(
        "the bundle has format version {found}, this version reads up to {BUNDLE_FORMAT_VERSION}; use a newer in-mem"
    )]
    NewerFormat {
        /// The version found.
        found: u16,
    },
    /// It is larger than may be read, or would be.
    #[error(
        "the bundle's body is {bytes} bytes or more, more than the {MAX_BUNDLE_BODY_BYTES} that are read"
    )]
    TooLarge {
        /// What it claims, or has grown to.
        bytes: u64,
    },
    /// It has more runs than may be read.
    #[error(
        "run {run} and what belongs to it are more than the {MAX_BUNDLE_RUNS} runs of one bundle: export its children and \
         forks one by one"
    )]
    TooManyRuns {
        /// The run that was to be exported.
        run: RunId,
    },
    /// It is damaged.
    #[error("the bundle is damaged: {what}; export the run again")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// It says that it was written later than this machine's clock allows.
    #[error(
        "the bundle has a commit of {at}, and it is {now} here: set the clock of the machine that is wrong; what has a time \
         to live would be over at once"
    )]
    FromTheFuture {
        /// The time of its last commit.
        at: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// One of its commits is larger than a commit may be.
    #[error(
        "the bundle's commit at version {version} has {found} {what}, more than the {limit} that one commit may have; no in-mem \
         with these limits made it: begin a run there that has the same in several commits, and export that"
    )]
    CommitTooLarge {
        /// Its version, there.
        version: Version,
        /// What there is too much of.
        what: &'static str,
        /// How much there is of it.
        found: usize,
        /// The limit, see [`in_mem_model::limits`].
        limit: usize,
    },
    /// A run was deleted and made again under its old id.
    #[error("run {run} was deleted and made again: its history is of two runs and cannot be exported as one")]
    MadeAgain {
        /// The run.
        run: RunId,
    },
}

impl BundleError {
    fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

impl From<DecodeError> for BundleError {
    fn from(error: DecodeError) -> Self {
        Self::damaged(error.to_string())
    }
}

/// What a bundle says of one of its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundledRun {
    /// Its id.
    pub id: RunId,
    /// The end of its event chain.
    pub head: ChainHead,
    /// The digest of its content.
    #[serde(with = "in_mem_model::hex")]
    pub content: [u8; 32],
}

/// One commit of a bundle: over some of its runs.
#[derive(Debug, Clone, PartialEq)]
struct BundledCommit {
    version: Version,
    timestamp: Timestamp,
    changes: Vec<ImportedChange>,
}

/// A bundle, read and proved.
#[derive(Debug)]
pub struct Bundle {
    /// The run that was exported first, and those that belong to it.
    pub runs: Vec<BundledRun>,
    commits: Vec<BundledCommit>,
}

/// What an import made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Each run of the bundle: its id there, and its id here.
    pub runs: Vec<(RunId, RunId)>,
    /// How many commits were made.
    pub commits: u64,
}

impl Bundle {
    /// How many commits it holds.
    pub fn commits(&self) -> usize {
        self.commits.len()
    }

    /// # Errors
    /// [`BundleError::TooLarge`]: no [`Bundle::read`] would take it.
    fn encode(&self, limit_bytes: u64) -> Result<Vec<u8>, BundleError> {
        let mut body = Vec::new();
        codec::put_varint(self.runs.len() as u64, &mut body);
        let mut places = HashMap::new();
        for (place, run) in self.runs.iter().enumerate() {
            places.insert(run.id, place as u64);
            body.extend_from_slice(run.id.as_bytes());
            codec::put_varint(run.head.len, &mut body);
            body.extend_from_slice(&run.head.hash);
            body.extend_from_slice(&run.content);
        }
        codec::put_varint(self.commits.len() as u64, &mut body);
        for BundledCommit { version, timestamp, changes } in &self.commits {
            codec::put_varint(version.0, &mut body);
            codec::put_signed(timestamp.0, &mut body);
            codec::put_varint(changes.len() as u64, &mut body);
            for ImportedChange { run, tag, key, value, expires_at } in changes {
                codec::put_varint(places.get(run).copied().unwrap_or_default(), &mut body);
                let deleted = if value.is_none() { DELETED } else { 0 };
                let expires = if expires_at.is_some() { EXPIRES } else { 0 };
                codec::put_u8(*tag as u8 | deleted | expires, &mut body);
                codec::put_bytes(key, &mut body);
                if let Some(at) = expires_at {
                    codec::put_signed(at.0, &mut body);
                }
                if let Some(value) = value {
                    codec::encode_value(value, &mut body);
                }
                if body.len() as u64 > limit_bytes {
                    return Err(BundleError::TooLarge { bytes: body.len() as u64 });
                }
            }
        }
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&BUNDLE_FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        out.extend_from_slice(blake3::hash(&body).as_bytes());
        out.extend(compress_to_vec(&body[..], CompressionLevel::Fastest));
        Ok(out)
    }

    /// Reads a bundle and proves it: nothing of it is believed that does not follow from its bytes.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let (header, compressed) = bytes.split_at_checked(HEADER_BYTES).ok_or(BundleError::NotABundle)?;
        if header[..8] != MAGIC {
            return Err(BundleError::NotABundle);
        }
        let found = u16::from_le_bytes([header[8], header[9]]);
        if found > BUNDLE_FORMAT_VERSION {
            return Err(BundleError::NewerFormat { found });
        }
        let mut len = [0; 8];
        len.copy_from_slice(&header[12..20]);
        let bytes = u64::from_le_bytes(len);
        if bytes > MAX_BUNDLE_BODY_BYTES {
            return Err(BundleError::TooLarge { bytes });
        }
        let broken =
            |error: &dyn std::fmt::Display| BundleError::damaged(format!("its compression: {error}"));
        let decoder = StreamingDecoder::new(compressed).map_err(|error| broken(&error))?;
        let mut body = Vec::new();
        // Grows with what is really there, and no further than was announced.
        decoder.take(bytes + 1).read_to_end(&mut body).map_err(|error| broken(&error))?;
        if body.len() as u64 != bytes {
            return Err(BundleError::damaged("its body has another length than its header says"));
        }
        if blake3::hash(&body).as_bytes()[..] != header[20..52] {
            return Err(BundleError::damaged("its checksum does not match"));
        }
        let bundle = Self::decode(&body)?;
        bundle.prove()?;
        Ok(bundle)
    }

    fn decode(body: &[u8]) -> Result<Self, BundleError> {
        let mut cursor = Cursor::new(body);
        let count = cursor.varint()?;
        if count == 0 || count > MAX_BUNDLE_RUNS as u64 {
            return Err(BundleError::damaged(format!("it says that it holds {count} runs")));
        }
        let mut runs: Vec<BundledRun> = Vec::new();
        for _ in 0..count {
            let id = RunId::from_bytes(cursor.array::<16>()?);
            let head = ChainHead { len: cursor.varint()?, hash: cursor.array::<32>()? };
            runs.push(BundledRun { id, head, content: cursor.array::<32>()? });
        }
        let ids: std::collections::BTreeSet<RunId> = runs.iter().map(|run| run.id).collect();
        if ids.len() != runs.len() || runs.iter().any(|run| run.id.routing() != runs[0].id.routing()) {
            return Err(BundleError::damaged("its runs are not of one lineage, each once"));
        }
        let (count, mut commits) = (cursor.varint()?, Vec::new());
        let mut last = Version(0);
        let mut last_events: HashMap<u64, u64> = HashMap::new();
        for _ in 0..count {
            let version = Version(cursor.varint()?);
            if version <= last {
                return Err(BundleError::damaged("its commits are not in order"));
            }
            last = version;
            let timestamp = Timestamp(cursor.signed()?);
            let (changes_count, mut changes) = (cursor.varint()?, Vec::new());
            let mut written = HashSet::new();
            for _ in 0..changes_count {
                let place = cursor.varint()?;
                let run = runs
                    .get(usize::try_from(place).unwrap_or(usize::MAX))
                    .ok_or_else(|| BundleError::damaged("a change is on a run that it does not hold"))?
                    .id;
                let head = cursor.u8()?;
                let tag = Tag::try_from(head & !(DELETED | EXPIRES))
                    .map_err(|_| cursor.refuse("no change has this type tag"))?;
                let key = KeyBytes::new(cursor.bytes()?);
                key.check().map_err(|error| BundleError::damaged(error.to_string()))?;
                let expires_at = if head & EXPIRES == 0 { None } else { Some(Timestamp(cursor.signed()?)) };
                let value = if head & DELETED == 0 { Some(cursor.value()?) } else { None };
                let change = ImportedChange { run, tag, key, value, expires_at };
                check_change(&change)?;
                // A shard counts events as they come, and goes on from the last: one out of its place is not told of by the chain.
                if tag == Tag::Event
                    && change.value.is_some()
                    && let Some(sequence) = event::event_sequence(&change.key)
                    && (last_events.insert(place, sequence).is_some_and(|last| sequence <= last)
                        || runs.iter().any(|of| of.id == run && sequence >= of.head.len))
                {
                    let what = format!("run {run}: its events do not come in their order");
                    return Err(BundleError::damaged(what));
                }
                // A commit gives a key one version; two of them, the log would take and no index.
                if !written.insert((place, tag as u8, change.key.to_vec())) {
                    return Err(BundleError::damaged("a commit changes one key twice"));
                }
                changes.push(change);
            }
            if let Err(WriteError::TransactionTooLarge { what, found, limit }) = check_import(&changes) {
                return Err(BundleError::CommitTooLarge { version, what, found, limit });
            }
            commits.push(BundledCommit { version, timestamp, changes });
        }
        cursor.finish()?;
        Ok(Self { runs, commits })
    }
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use in_mem_model::Value;
    use in_mem_shard::core::run_meta::RunMeta;

    use super::*;

    fn sealed(body: &[u8], claimed: u64) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        out.extend_from_slice(&BUNDLE_FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&claimed.to_le_bytes());
        out.extend_from_slice(blake3::hash(body).as_bytes());
        out.extend(compress_to_vec(body, CompressionLevel::Fastest));
        out
    }

    fn sealed_whole(bundle: &Bundle) -> Vec<u8> {
        bundle.encode(MAX_BUNDLE_BODY_BYTES).expect("small")
    }

    /// It would be a file that nobody can take in, found out when the runs are gone.
    #[test]
    fn what_nobody_could_read_is_not_written() {
        let id = RunId::from_bytes([1; 16]);
        let change = |n: u64| ImportedChange {
            run: id,
            tag: Tag::Kv,
            key: KeyBytes::new(b"k"),
            value: Some(Value::from(vec![n as u8; 1_000])),
            expires_at: None,
        };
        let commit =
            |n| BundledCommit { version: Version(n), timestamp: Timestamp(1), changes: vec![change(n)] };
        let run = BundledRun { id, head: ChainHead::default(), content: [0; 32] };
        let bundle = Bundle { runs: vec![run], commits: (1..=3).map(commit).collect() };
        assert!(bundle.encode(4_000).is_ok());
        let refused = bundle.encode(2_500).expect_err("too large");
        assert!(matches!(refused, BundleError::TooLarge { bytes: 2_501.. }), "{refused}");
    }

    #[test]
    fn what_claims_too_much_is_refused() {
        let small = sealed(&[1], u64::MAX);
        assert!(matches!(Bundle::read(&small), Err(BundleError::TooLarge { .. })));
        let bomb = sealed(&vec![0; 8 << 20], 10);
        assert!(matches!(Bundle::read(&bomb), Err(BundleError::Damaged { .. })));
        let runs = sealed(&[253, 255, 255, 255, 255, 255, 255, 255, 255], 9);
        assert!(matches!(Bundle::read(&runs), Err(BundleError::Damaged { .. })));
        assert!(matches!(Bundle::read(b"INMEM"), Err(BundleError::NotABundle)));
    }

    #[test]
    fn commits_that_do_not_come_to_what_is_said_are_refused() {
        let id = RunId::from_bytes([1; 16]);
        let mut meta = RunMeta::new(id, "x");
        meta.first_version = Version(1);
        let change = |key: &[u8], tag, value| ImportedChange {
            run: id,
            tag,
            key: KeyBytes::new(key),
            value: Some(value),
            expires_at: None,
        };
        let changes = vec![change(b"", Tag::Run, meta.to_value()), change(b"k", Tag::Kv, Value::from(1))];
        let commits = vec![BundledCommit { version: Version(1), timestamp: Timestamp(1), changes }];
        let run = BundledRun { id, head: ChainHead::default(), content: [0; 32] };
        let bundle = Bundle { runs: vec![run], commits };
        let refused = Bundle::read(&sealed_whole(&bundle)).expect_err("the digest is wrong");
        assert!(refused.to_string().contains("do not come to the state"), "{refused}");
    }

    #[test]
    fn a_commit_that_changes_one_key_twice_is_refused_before_it_is_logged() {
        let id = RunId::from_bytes([1; 16]);
        let mut meta = RunMeta::new(id, "x");
        meta.first_version = Version(1);
        let change = |key: &[u8], tag, value| ImportedChange {
            run: id,
            tag,
            key: KeyBytes::new(key),
            value: Some(value),
            expires_at: None,
        };
        let twice = change(b"k", Tag::Kv, Value::from(1));
        let changes = vec![change(b"", Tag::Run, meta.to_value()), twice.clone(), twice];
        let commits = vec![BundledCommit { version: Version(1), timestamp: Timestamp(1), changes }];
        let run = BundledRun { id, head: ChainHead::default(), content: [0; 32] };
        let refused = Bundle::read(&sealed_whole(&Bundle { runs: vec![run], commits })).expect_err("refused");
        assert!(refused.to_string().contains("one key twice"), "{refused}");
    }
}
