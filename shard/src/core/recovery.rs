//! How a core gets its state back: a checkpoint's entries first, then the records of the log behind it, in order.

use in_mem_model::codec::{self, Cursor, DecodeError};
use in_mem_model::{RunId, Tag, Timestamp, Value, Version};

use super::ShardCore;
use super::effect::{Effect, EffectReader};
use super::event::is_possible;
use super::fork_links::{FORK_ITEM, ForkItem, RETAINED, RetainedEntry};
use super::run_meta::RunMeta;
use super::run_state::RunState;

/// A record of the log cannot be applied.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Its payload is not what this version writes.
    #[error("the record at version {version} of run {run} cannot be read: {source}")]
    Payload {
        /// The record's run.
        run: RunId,
        /// The record's version.
        version: Version,
        /// What is wrong.
        source: DecodeError,
    },
    /// The versions of a log only grow.
    #[error("the record at version {found} follows version {last}: the versions of a log only grow")]
    Order {
        /// The version before.
        last: Version,
        /// The version found.
        found: Version,
    },
    /// Somebody newer wrote it.
    #[error(
        "a record of kind {kind:#04x} that this program does not know and must not skip; open it with a newer in-mem"
    )]
    Kind {
        /// The kind found.
        kind: u8,
    },
}

/// A checkpoint's entry cannot be loaded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a checkpoint's entry cannot be read: {0}")]
pub struct LoadError(#[from] DecodeError);

/// One entry of a checkpoint: a key's value as of the checkpoint's version.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointEntry<'a> {
    /// Whose key.
    pub run: RunId,
    /// Of which primitive.
    pub tag: Tag,
    /// The user's key bytes.
    pub key: &'a [u8],
    /// The version that wrote it.
    pub version: Version,
    /// When that was.
    pub timestamp: Timestamp,
    /// When it stops being there.
    pub expires_at: Option<Timestamp>,
    /// The value.
    pub value: Value,
}

impl CheckpointEntry<'_> {
    /// Writes the entry behind what `out` holds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.run.as_bytes());
        out.push(self.tag as u8 | if self.expires_at.is_some() { 0x80 } else { 0 });
        codec::put_varint(self.version.0, out);
        out.extend_from_slice(&self.timestamp.0.to_le_bytes());
        if let Some(at) = self.expires_at {
            out.extend_from_slice(&at.0.to_le_bytes());
        }
        codec::put_bytes(self.key, out);
        codec::encode_value(&self.value, out);
    }
}

impl<'a> CheckpointEntry<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are not one.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let run = RunId::from_bytes(cursor.array::<16>()?);
        let head = cursor.u8()?;
        let tag = Tag::try_from(head & 0x7f).map_err(|_| cursor.refuse("no entry has this type tag"))?;
        let version = Version(cursor.varint()?);
        let timestamp = Timestamp(i64::from_le_bytes(cursor.array::<8>()?));
        let expires_at =
            if head & 0x80 == 0 { None } else { Some(Timestamp(i64::from_le_bytes(cursor.array::<8>()?))) };
        let key = cursor.bytes()?;
        if tag == Tag::Event && !is_possible(key) {
            return Err(cursor.refuse("no event has this number"));
        }
        let value = cursor.value()?;
        cursor.finish()?;
        Ok(Self { run, tag, key, version, timestamp, expires_at, value })
    }
}

/// Of the type tags, none: the entry tells of a run as a whole.
const RUN_MARK: u8 = 0;

/// What a checkpoint says of a run beside its entries: the version that changed it last, which a deletion may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMark {
    /// The run.
    pub run: RunId,
    /// The last version that changed it.
    pub last_version: Version,
}

impl RunMark {
    /// Writes the mark behind what `out` holds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.run.as_bytes());
        out.push(RUN_MARK);
        codec::put_varint(self.last_version.0, out);
    }
}

/// One item of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckpointItem<'a> {
    /// A key's value.
    Entry(CheckpointEntry<'a>),
    /// What is said of a run.
    Run(RunMark),
    /// What a fork goes on from.
    Fork(ForkItem),
    /// A version that forks retain.
    Retained(RetainedEntry),
}

impl<'a> CheckpointItem<'a> {
    /// Reads an item.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are not one.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes.get(16) {
            Some(&RUN_MARK) => {}
            Some(&FORK_ITEM) => return ForkItem::decode(bytes).map(Self::Fork),
            Some(head) if head & RETAINED != 0 => return RetainedEntry::decode(bytes).map(Self::Retained),
            _ => return CheckpointEntry::decode(bytes).map(Self::Entry),
        }
        let mut cursor = Cursor::new(bytes);
        let run = RunId::from_bytes(cursor.array::<16>()?);
        cursor.u8()?;
        let last_version = Version(cursor.varint()?);
        cursor.finish()?;
        Ok(Self::Run(RunMark { run, last_version }))
    }

    /// The newest version that it speaks of.
    pub fn version(&self) -> Version {
        match self {
            Self::Entry(entry) => entry.version,
            Self::Run(mark) => mark.last_version,
            Self::Fork(fork) => fork.links.iter().map(|link| link.version).max().unwrap_or_default(),
            Self::Retained(entry) => entry.version,
        }
    }
}

impl ShardCore {
    /// Begins recovery: until [`ShardCore::end_recovery`], keys are not put in order one by one.
    pub fn begin_recovery(&mut self) {
        self.index.begin_loading();
    }

    /// Ends recovery: all that was recovered is published and in order.
    pub fn end_recovery(&mut self) {
        self.index.end_loading();
        self.publish(self.version);
    }

    /// Loads one item of a checkpoint. What is said of forks comes first, then what they retain, of each key the oldest first;
    /// then entries, in any order, and what is said of runs behind them.
    ///
    /// # Errors
    /// [`LoadError`] where the bytes are not an item.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        self.load_item(CheckpointItem::decode(bytes)?);
        Ok(())
    }

    /// Loads one item that was read already; says whether it tells something new.
    pub fn load_item(&mut self, item: CheckpointItem<'_>) -> bool {
        match item {
            CheckpointItem::Entry(entry) => self.load_entry(entry),
            CheckpointItem::Run(mark) => {
                if let Some(state) = self.runs.get_mut(&mark.run) {
                    state.last_version = state.last_version.max(mark.last_version);
                }
            }
            CheckpointItem::Fork(fork) => return self.load_fork(&fork),
            CheckpointItem::Retained(entry) => return self.load_retained(entry),
        }
        true
    }

    /// Loads one item, unless its key holds something newer already; says whether it did. For salvage, where items and
    /// records do not come in order.
    pub fn load_newer(&mut self, item: CheckpointItem<'_>) -> bool {
        if let CheckpointItem::Entry(entry) = &item
            && self.head(entry.run, entry.tag, entry.key).is_some_and(|head| head.version >= entry.version)
        {
            return false;
        }
        self.load_item(item)
    }

    /// Loads one entry that was read already.
    pub fn load_entry(&mut self, entry: CheckpointEntry<'_>) {
        let CheckpointEntry { run, tag, key, version, timestamp, expires_at, value } = entry;
        self.now = timestamp;
        // An entry may come before its run's own: then the run's state waits, under no name, for the meta to arrive.
        self.runs.entry(run).or_insert_with(|| RunState::new(RunMeta::new(run, "")));
        self.note_loaded(run, tag, key, version);
        self.loading = true;
        self.install(run, tag, key, version, Some(value), expires_at);
        self.loading = false;
    }

    /// Says that a checkpoint is loaded whole: it stands at `version`, made at `now`.
    pub fn loaded(&mut self, version: Version, now: Timestamp) {
        self.version = self.version.max(version);
        self.now = now;
        for streams in self.runs.values().filter_map(|state| state.streams.as_ref()) {
            streams.sort();
        }
        self.link_loaded_forks();
        self.publish(self.version);
    }

    /// Applies one record of the log, and publishes it.
    ///
    /// # Errors
    /// [`ReplayError`] where it cannot be applied; the core must then not be used.
    pub fn replay(
        &mut self,
        run: RunId,
        version: Version,
        timestamp: Timestamp,
        payload: &[u8],
    ) -> Result<(), ReplayError> {
        self.replay_unpublished(run, version, timestamp, payload)?;
        self.publish(version);
        Ok(())
    }

    /// Applies one record of the log and leaves it to the caller to publish now and then: what is superseded is given back
    /// only then.
    ///
    /// # Errors
    /// As [`ShardCore::replay`].
    pub fn replay_unpublished(
        &mut self,
        run: RunId,
        version: Version,
        timestamp: Timestamp,
        payload: &[u8],
    ) -> Result<(), ReplayError> {
        if version <= self.version {
            return Err(ReplayError::Order { last: self.version, found: version });
        }
        self.now = timestamp;
        // Before its effects, as where it was made: they ask of what the record itself has begun.
        let before = self.version;
        self.version = version;
        if in_mem_wal::planted::is_planted("shard_replay_stands_before") {
            self.version = before;
        }
        let mut effects = EffectReader::new(payload, run);
        while let Some((run, effect)) =
            effects.next().map_err(|source| ReplayError::Payload { run, version, source })?
        {
            match effect {
                Effect::Put { tag, key, value, expires_at } => {
                    // A run made together with its content has its meta last in the record: as in `load_entry`, what
                    // comes first must still be counted, and its events be the chain's.
                    self.runs.entry(run).or_insert_with(|| RunState::new(RunMeta::new(run, "")));
                    let expires_at = expires_at
                        .filter(|_| !in_mem_wal::planted::is_planted("shard_replay_forgets_expiry"));
                    self.install(run, tag, key, version, Some(value), expires_at);
                }
                Effect::Delete { tag, key } => self.install(run, tag, key, version, None, None),
                Effect::DropRun => self.install_drop(run, version),
            }
            if in_mem_wal::planted::is_planted("shard_replay_half") {
                break;
            }
        }
        self.version = version;
        Ok(())
    }
}
