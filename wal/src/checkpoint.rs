//! Checkpoint files: opaque entries in checksummed blocks, written beside the log and named when durable.
//!
//! | part | bytes | fields |
//! |---|---|---|
//! | header | 64 | `INMEMCKP`, format version (2): 1, or 2 where forks are told by reference, shard (2), crc32 of the header with this field zero (4), covers-through lsn (8), commit version (8), timestamp (8), zeroes |
//! | block | 16 + n | crc32 (4), n (4), entries (4), number of the block from 0 (4), then each entry: length (4), bytes |
//! | footer | 16 + 28 | a block with entries = 0xffffffff whose payload is: entries in all (8), blocks (8), bytes of the file before the footer (8), digest (4) |
//!
//! A block's crc covers the header's crc, then the block after its own crc field: a block of another checkpoint or at
//! another place does not check. The digest is the crc32 over the crcs of all blocks in order, and with it over the
//! whole file. The file ends with the footer.
//!
//! **Whoever writes a checkpoint must have synced the log through what it covers**, or a power cut leaves a log that
//! ends before its checkpoint, which recovery refuses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::LogError;
use crate::failpoint::{Failpoint, hit};
use crate::limits::{CHECKPOINT_BLOCK_BYTES, MAX_CHECKPOINT_ENTRY_BYTES};
use crate::lsn::Lsn;
use crate::segment::FORMAT_VERSION;
use crate::storage::{File, OpenMode, Storage, read_exact_at};

const MAGIC: [u8; 8] = *b"INMEMCKP";
/// The format of a checkpoint with forks.
const FORMAT_WITH_FORKS: u16 = FORMAT_VERSION + 1;
const HEADER_BYTES: u64 = 64;
const BLOCK_HEADER_BYTES: usize = 16;
const FOOTER_PAYLOAD_BYTES: usize = 28;
const FOOTER: u32 = u32::MAX;

/// What a checkpoint is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The shard.
    pub shard: u16,
    /// The last record of the log whose effects it holds.
    pub covers: Lsn,
    /// The commit version it was taken at.
    pub version: u64,
    /// When, in microseconds since 1970 UTC.
    pub timestamp: i64,
    /// Whether there are entries that tell of forks. Its format is then one that older versions refuse by name.
    pub forks: bool,
}

impl CheckpointInfo {
    fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut out = [0; HEADER_BYTES as usize];
        out[0..8].copy_from_slice(&MAGIC);
        let format = if self.forks { FORMAT_WITH_FORKS } else { FORMAT_VERSION };
        out[8..10].copy_from_slice(&format.to_le_bytes());
        out[10..12].copy_from_slice(&self.shard.to_le_bytes());
        out[16..24].copy_from_slice(&self.covers.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.version.to_le_bytes());
        out[32..40].copy_from_slice(&self.timestamp.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// Name of the checkpoint that covers through `covers`.
pub fn checkpoint_name(covers: Lsn) -> String {
    format!("{:016x}.ckpt", covers.0)
}

/// The checkpoints in a directory, newest first, whether sound or not. Reads names only.
pub fn list_checkpoints(storage: &dyn Storage, dir: &Path) -> Result<Vec<(Lsn, PathBuf)>, LogError> {
    let names = storage.read_dir(dir).map_err(LogError::io("list", dir))?;
    let parse = |name: &str| {
        let covers = Lsn(u64::from_str_radix(name.strip_suffix(".ckpt")?, 16).ok()?);
        (checkpoint_name(covers) == name).then(|| (covers, dir.join(name)))
    };
    let mut all: Vec<_> = names.iter().filter_map(|n| parse(n)).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    Ok(all)
}

/// Removes all but the `keep` newest checkpoints, and unfinished files that would cover no more than the newest one. At
/// least one is always kept, and so is a file that would cover more: somebody may be writing it. Gives the checkpoints
/// removed.
pub fn prune_checkpoints(storage: &dyn Storage, dir: &Path, keep: usize) -> Result<u64, LogError> {
    let mut removed = 0;
    let checkpoints = list_checkpoints(storage, dir)?;
    let newest = checkpoints.first().map(|(covers, _)| *covers);
    for (_, path) in checkpoints.into_iter().skip(keep.max(1)) {
        storage.remove(&path).map_err(LogError::io("remove", &path))?;
        hit(Failpoint::PruneRemoved);
        removed += 1;
    }
    for name in storage.read_dir(dir).map_err(LogError::io("list", dir))? {
        let covers = name.strip_suffix(".ckpt.part").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        if covers.is_some_and(|covers| newest.is_some_and(|newest| Lsn(covers) <= newest)) {
            let path = dir.join(name);
            storage.remove(&path).map_err(LogError::io("remove", &path))?;
        }
    }
    if removed > 0 {
        storage.sync_dir(dir).map_err(LogError::io("sync the directory", dir))?;
        hit(Failpoint::Pruned);
    }
    Ok(removed)
}

/// Removes what interrupted checkpoints left. Not while one is being written.
pub fn remove_unfinished(storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
    for name in storage.read_dir(dir).map_err(LogError::io("list", dir))? {
        if name.ends_with(".ckpt.part") {
            let path = dir.join(name);
            storage.remove(&path).map_err(LogError::io("remove", &path))?;
        }
    }
    Ok(())
}

fn block_crc(header_crc: u32, block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header_crc.to_le_bytes());
    hasher.update(&block[4..]);
    hasher.finalize()
}

/// Writes one checkpoint, in a stream. Nothing counts before [`CheckpointWriter::finish`]; dropped before that, it takes its
/// temporary file away. What a crash leaves of it a later checkpoint's prune removes, or [`remove_unfinished`].
#[derive(Debug)]
pub struct CheckpointWriter {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    path: PathBuf,
    part: PathBuf,
    file: Arc<dyn File>,
    header_crc: u32,
    at: u64,
    block: Vec<u8>,
    block_entries: u32,
    blocks: u32,
    entries: u64,
    digest: crc32fast::Hasher,
    named: bool,
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        // Given up, mostly for want of room, and by then it may have taken all that the log needs. Best effort: there is
        // nobody to tell.
        if !self.named {
            let _ = self.storage.remove(&self.part);
        }
    }
}

impl CheckpointWriter {
    /// Begins a checkpoint in `dir`. The earlier ones stay as they are.
    pub fn create(storage: Arc<dyn Storage>, dir: &Path, info: CheckpointInfo) -> Result<Self, LogError> {
        let path = dir.join(checkpoint_name(info.covers));
        let part = path.with_added_extension("part");
        let file = storage.open(&part, OpenMode::Truncate).map_err(LogError::room("create", &part))?;
        let header = info.encode();
        let writer = CheckpointWriter {
            storage,
            dir: dir.to_path_buf(),
            path,
            part,
            file,
            header_crc: u32::from_le_bytes([header[12], header[13], header[14], header[15]]),
            at: HEADER_BYTES,
            block: vec![0; BLOCK_HEADER_BYTES],
            block_entries: 0,
            blocks: 0,
            entries: 0,
            digest: crc32fast::Hasher::new(),
            named: false,
        };
        writer.file.write_at(0, &header).map_err(LogError::room("write", &writer.part))?;
        hit(Failpoint::CheckpointCreated);
        Ok(writer)
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), LogError> {
        if entry.len() > MAX_CHECKPOINT_ENTRY_BYTES {
            return Err(LogError::TooLarge {
                bytes: entry.len() as u64,
                limit: MAX_CHECKPOINT_ENTRY_BYTES as u64,
            });
        }
        if self.block_entries > 0 && self.block.len() + 4 + entry.len() > CHECKPOINT_BLOCK_BYTES {
            self.flush(self.block_entries)?;
        }
        self.block.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        self.block.extend_from_slice(entry);
        self.block_entries += 1;
        self.entries += 1;
        Ok(())
    }

    fn flush(&mut self, entries: u32) -> Result<(), LogError> {
        let payload = (self.block.len() - BLOCK_HEADER_BYTES) as u32;
        self.block[4..8].copy_from_slice(&payload.to_le_bytes());
        self.block[8..12].copy_from_slice(&entries.to_le_bytes());
        self.block[12..16].copy_from_slice(&self.blocks.to_le_bytes());
        let crc = block_crc(self.header_crc, &self.block);
        self.block[0..4].copy_from_slice(&crc.to_le_bytes());
        self.file.write_at(self.at, &self.block).map_err(LogError::room("write", &self.part))?;
        hit(Failpoint::CheckpointBlock);
        self.digest.update(&crc.to_le_bytes());
        self.at += self.block.len() as u64;
        self.blocks += 1;
        self.block.truncate(BLOCK_HEADER_BYTES);
        self.block_entries = 0;
        Ok(())
    }

    /// Bytes of the file, were it finished now.
    pub fn bytes(&self) -> u64 {
        let waiting = if self.block_entries > 0 { self.block.len() } else { 0 };
        self.at + (waiting + BLOCK_HEADER_BYTES + FOOTER_PAYLOAD_BYTES) as u64
    }

    /// Ends the checkpoint: footer, sync, name, sync of the directory. It counts from then on.
    pub fn finish(mut self) -> Result<PathBuf, LogError> {
        if self.block_entries > 0 {
            self.flush(self.block_entries)?;
        }
        let digest = self.digest.clone().finalize();
        self.block.extend_from_slice(&self.entries.to_le_bytes());
        self.block.extend_from_slice(&u64::from(self.blocks).to_le_bytes());
        self.block.extend_from_slice(&self.at.to_le_bytes());
        self.block.extend_from_slice(&digest.to_le_bytes());
        self.flush(FOOTER)?;
        hit(Failpoint::CheckpointWritten);
        if !crate::planted::is_planted("wal_checkpoint_without_sync") {
            self.file.sync_data().map_err(LogError::room("sync", &self.part))?;
        }
        hit(Failpoint::CheckpointSynced);
        self.storage.rename(&self.part, &self.path).map_err(LogError::io("rename to", &self.path))?;
        self.named = true;
        hit(Failpoint::CheckpointRenamed);
        if !crate::planted::is_planted("wal_checkpoint_without_dir_sync") {
            self.storage.sync_dir(&self.dir).map_err(LogError::io("sync the directory", &self.dir))?;
        }
        hit(Failpoint::CheckpointNamed);
        Ok(std::mem::take(&mut self.path))
    }
}

/// Reads one checkpoint, in a stream. Entries come out before the footer was seen: what they build counts only when
/// [`CheckpointReader::next_entry`] has returned `None`.
#[derive(Debug)]
pub struct CheckpointReader {
    path: PathBuf,
    file: Arc<dyn File>,
    info: CheckpointInfo,
    header_crc: u32,
    len: u64,
    at: u64,
    block: Vec<u8>,
    block_at: u64,
    next: usize,
    left: u32,
    blocks: u32,
    entries: u64,
    digest: crc32fast::Hasher,
    done: bool,
}

impl CheckpointReader {
    /// Opens a checkpoint and checks its header and that it is of `shard`.
    pub fn open(storage: &dyn Storage, path: &Path, shard: u16) -> Result<Self, LogError> {
        let file = storage.open(path, OpenMode::Read).map_err(LogError::io("open", path))?;
        let len = file.len().map_err(LogError::io("measure", path))?;
        if len < HEADER_BYTES {
            return Err(LogError::damaged(path, len, "a checkpoint", format!("{len} bytes")));
        }
        let mut head = [0; HEADER_BYTES as usize];
        read_exact_at(&*file, 0, &mut head).map_err(LogError::io("read", path))?;
        if head[..8] != MAGIC {
            return Err(LogError::damaged(path, 0, "a checkpoint of in-mem", "something else"));
        }
        let version = u16::from_le_bytes([head[8], head[9]]);
        if version > FORMAT_WITH_FORKS {
            return Err(LogError::NewerFormat {
                file: path.into(),
                found: version,
                supported: FORMAT_WITH_FORKS,
            });
        }
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let info = CheckpointInfo {
            shard: u16::from_le_bytes([head[10], head[11]]),
            covers: Lsn(word(16)),
            version: word(24),
            timestamp: word(32) as i64,
            forks: version == FORMAT_WITH_FORKS,
        };
        let sound = info.encode();
        if sound != head {
            return Err(LogError::damaged(path, 0, "a sound header", "a damaged one"));
        }
        if info.shard != shard {
            return Err(LogError::damaged(
                path,
                10,
                format!("shard {shard}"),
                format!("shard {}", info.shard),
            ));
        }
        if path.file_name().is_some_and(|n| n.to_string_lossy() != checkpoint_name(info.covers)) {
            let expected = format!("the name {}", checkpoint_name(info.covers));
            return Err(LogError::damaged(path, 16, expected, "another name"));
        }
        Ok(CheckpointReader {
            path: path.to_path_buf(),
            file,
            info,
            header_crc: u32::from_le_bytes([head[12], head[13], head[14], head[15]]),
            len,
            at: HEADER_BYTES,
            block: Vec::new(),
            block_at: HEADER_BYTES,
            next: 0,
            left: 0,
            blocks: 0,
            entries: 0,
            digest: crc32fast::Hasher::new(),
            done: false,
        })
    }

    /// What it is of.
    pub fn info(&self) -> CheckpointInfo {
        self.info
    }

    /// Bytes read and bytes in all.
    pub fn progress(&self) -> (u64, u64) {
        (self.at, self.len)
    }

    fn damaged(&self, expected: impl Into<String>, found: impl Into<String>) -> LogError {
        LogError::damaged(&self.path, self.block_at, expected, found)
    }

    /// The next entry, or `None` once the footer was read and agrees with everything before it.
    pub fn next_entry(&mut self) -> Result<Option<&[u8]>, LogError> {
        while self.left == 0 {
            if self.done || !self.read_block()? {
                return Ok(None);
            }
        }
        self.left -= 1;
        let entry = self.block.get(self.next..self.next + 4).and_then(|l| {
            let len = u32::from_le_bytes([l[0], l[1], l[2], l[3]]) as usize;
            let start = self.next + 4;
            (len <= self.block.len() - start).then_some(start..start + len)
        });
        let Some(range) = entry else {
            return Err(self.damaged("entries that fill their block", "an entry that leads out of it"));
        };
        self.next = range.end;
        if self.left == 0 && self.next != self.block.len() {
            return Err(self.damaged("entries that fill their block", "bytes after the last one"));
        }
        Ok(Some(&self.block[range]))
    }

    /// Reads a block; false if it was the footer.
    fn read_block(&mut self) -> Result<bool, LogError> {
        self.block_at = self.at;
        let room = self.len - self.at;
        if room < BLOCK_HEADER_BYTES as u64 {
            return Err(self.damaged("a block or the footer", format!("{room} bytes")));
        }
        let mut head = [0; BLOCK_HEADER_BYTES];
        read_exact_at(&*self.file, self.at, &mut head).map_err(LogError::io("read", &self.path))?;
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let (crc, payload, entries, number) = (word(0), word(4), word(8), word(12));
        // Before allocating: never more than the file has.
        if u64::from(payload) > room - BLOCK_HEADER_BYTES as u64 {
            return Err(self.damaged("a block inside the file", format!("a block of {payload} bytes")));
        }
        self.block.resize(BLOCK_HEADER_BYTES + payload as usize, 0);
        read_exact_at(&*self.file, self.at, &mut self.block).map_err(LogError::io("read", &self.path))?;
        let found = block_crc(self.header_crc, &self.block);
        if found != crc || number != self.blocks {
            return Err(self.damaged(
                format!("block {} with checksum {crc:08x}", self.blocks),
                format!("block {number} with checksum {found:08x}"),
            ));
        }
        self.at += self.block.len() as u64;
        self.blocks += 1;
        self.next = BLOCK_HEADER_BYTES;
        if entries == FOOTER {
            self.done = true;
            self.check_footer()?;
            return Ok(false);
        }
        self.digest.update(&crc.to_le_bytes());
        self.left = entries;
        self.entries += u64::from(entries);
        Ok(true)
    }

    fn check_footer(&self) -> Result<(), LogError> {
        let mut expected = Vec::with_capacity(FOOTER_PAYLOAD_BYTES);
        expected.extend_from_slice(&self.entries.to_le_bytes());
        expected.extend_from_slice(&u64::from(self.blocks - 1).to_le_bytes());
        expected.extend_from_slice(&self.block_at.to_le_bytes());
        expected.extend_from_slice(&self.digest.clone().finalize().to_le_bytes());
        if self.block[BLOCK_HEADER_BYTES..] != expected || self.at != self.len {
            return Err(self.damaged("a footer that agrees with the file, and its end", "others"));
        }
        Ok(())
    }
}
