//! A segment's file: its name, its header page, its salt.
//!
//! The header has the first [`SEGMENT_HEADER_BYTES`] to itself, so that no append ever rewrites the disk sector it is
//! in. It is written and synced under a temporary name before the segment gets its own: a file named like a segment
//! whose header is damaged is therefore always damage, never a crash.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::LogError;
use crate::failpoint::{Failpoint, hit};
use crate::limits::ZERO_CHUNK_BYTES;
use crate::record::record_bytes;
use crate::storage::{File, OpenMode, Storage};

/// Version of the format written, and the newest read.
pub const FORMAT_VERSION: u16 = 1;

/// Bytes before a segment's first record.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"INMEMWAL";

/// Bytes of a start record: segment number and offset.
pub(crate) const START_BYTES: u64 = record_bytes(16) as u64;
/// Bytes of a seal record; kept free at the end of every segment so that sealing needs no room.
pub(crate) const SEAL_BYTES: u64 = record_bytes(8) as u64;

/// Header of a segment's file.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | `INMEMWAL` |
/// | 8 | 2 | format version |
/// | 10 | 2 | shard |
/// | 12 | 4 | crc32 of the whole 4,096 bytes with this field zero |
/// | 16 | 8 | segment number |
/// | 24 | 4 | salt |
/// | 28 | 4 | 1 if records were erased from it, else zero |
/// | 32 | 8 | length of the file in bytes |
/// | 40 | 4 | where records were erased: the crc field that the last record had before |
/// | 44 | 4052 | zero |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) shard: u16,
    pub(crate) number: u64,
    pub(crate) salt: u32,
    pub(crate) bytes: u64,
    /// Records were erased from it; the checksum that its last record had before, which the next segment goes on from.
    pub(crate) rewritten: Option<u32>,
}

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Magic,
    Newer(u16),
    Checksum,
    Short,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; SEGMENT_HEADER_BYTES as usize];
        page[0..8].copy_from_slice(&SEGMENT_MAGIC);
        page[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        page[10..12].copy_from_slice(&self.shard.to_le_bytes());
        page[16..24].copy_from_slice(&self.number.to_le_bytes());
        page[24..28].copy_from_slice(&self.salt.to_le_bytes());
        page[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        if let Some(crc) = self.rewritten {
            page[28] = 1;
            page[40..44].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32fast::hash(&page);
        page[12..16].copy_from_slice(&crc.to_le_bytes());
        page
    }

    pub(crate) fn decode(page: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let Some(page) = page.get(..SEGMENT_HEADER_BYTES as usize) else {
            return Err(HeaderFault::Short);
        };
        if page[0..8] != SEGMENT_MAGIC {
            return Err(HeaderFault::Magic);
        }
        let u16_at = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"));
        // Before the checksum: a newer format may place its checksum elsewhere.
        if u16_at(8) > FORMAT_VERSION {
            return Err(HeaderFault::Newer(u16_at(8)));
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&page[..12]);
        hasher.update(&[0; 4]);
        hasher.update(&page[16..]);
        if hasher.finalize() != u32_at(12) {
            return Err(HeaderFault::Checksum);
        }
        Ok(SegmentHeader {
            shard: u16_at(10),
            number: u64_at(16),
            salt: u32_at(24),
            bytes: u64_at(32),
            rewritten: (u32_at(28) == 1).then(|| u32_at(40)),
        })
    }
}

/// The salt of a segment: distinct for every number under one seed (the mixing is a bijection of the low 32 bits),
/// and never zero, so that zeroes never look like a record.
pub(crate) fn salt(seed: u64, shard: u16, number: u64) -> u32 {
    let number = if crate::planted::is_planted("wal_reuse_salt") { 1 } else { number };
    let mut x = (number as u32) ^ (seed as u32);
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^= x >> 16;
    x ^= ((seed >> 32) as u32).rotate_left(7) ^ u32::from(shard).wrapping_mul(0x9e37_79b9);
    if x == 0 { 0x5a17_5a17 } else { x }
}

/// Name of a segment's file.
pub fn segment_name(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// Name of a segment's index by run.
pub(crate) fn index_name(number: u64) -> String {
    format!("{number:016x}.idx")
}

/// Name of the note that segments through this one were let go without an archive.
pub(crate) fn gap_name(number: u64) -> String {
    format!("{number:016x}.gap")
}

/// The number in a segment file's name.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let number = number_in(name, ".wal")?;
    (segment_name(number) == name).then_some(number)
}

/// The number in the name of a note of a gap.
pub(crate) fn parse_gap_name(name: &str) -> Option<u64> {
    let number = number_in(name, ".gap")?;
    (gap_name(number) == name).then_some(number)
}

fn number_in(name: &str, ending: &str) -> Option<u64> {
    let hex = name.strip_suffix(ending)?;
    (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok()).flatten()
}

/// Writes zeroes from one offset to another.
pub(crate) fn zero(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let zeroes = vec![0; ZERO_CHUNK_BYTES.min(to.saturating_sub(from) as usize)];
    let mut at = from;
    while at < to {
        let n = (to - at).min(zeroes.len() as u64);
        file.write_at(at, &zeroes[..n as usize])?;
        at += n;
    }
    Ok(())
}

/// Makes a segment ready for use: zeroed, headed, synced, named, the name synced. `recycle` is an old file whose
/// blocks are used again. Blocking; runs outside the shard's turn unless the writer has run out of segments.
///
/// Everything is written, not only allocated: an overwrite of written blocks changes no file system metadata, which
/// halves the cost of a later sync and means that no append can run out of room.
pub(crate) fn prepare(
    storage: &dyn Storage,
    dir: &Path,
    header: &SegmentHeader,
    recycle: Option<&Path>,
) -> Result<(PathBuf, Arc<dyn File>), LogError> {
    let path = dir.join(segment_name(header.number));
    let tmp = path.with_added_extension("tmp");
    let made = (|| {
        let file = match recycle {
            Some(old) => {
                storage.rename(old, &tmp).map_err(LogError::io("rename the recycled segment to", &tmp))?;
                // Before its header goes: after a crash a zeroed file under a segment's name would look like damage.
                storage.sync_dir(dir).map_err(LogError::io("sync the directory", dir))?;
                hit(Failpoint::SpareRecycled);
                storage.open(&tmp, OpenMode::ReadWrite).map_err(LogError::io("open", &tmp))?
            }
            None => storage.open(&tmp, OpenMode::Truncate).map_err(LogError::room("create", &tmp))?,
        };
        hit(Failpoint::SpareCreated);
        if file.len().map_err(LogError::io("measure", &tmp))? > header.bytes {
            file.set_len(header.bytes).map_err(LogError::io("cut", &tmp))?;
        }
        zero(&*file, 0, header.bytes).map_err(LogError::room("zero", &tmp))?;
        hit(Failpoint::SpareZeroed);
        file.write_at(0, &header.encode()).map_err(LogError::room("write the header of", &tmp))?;
        hit(Failpoint::SpareHeaded);
        file.sync_data().map_err(LogError::room("sync", &tmp))?;
        hit(Failpoint::SpareSynced);
        storage.rename(&tmp, &path).map_err(LogError::room("rename a new segment to", &path))?;
        hit(Failpoint::SpareRenamed);
        if !crate::planted::is_planted("wal_skip_dir_sync") {
            storage.sync_dir(dir).map_err(LogError::room("sync the directory", dir))?;
        }
        hit(Failpoint::SpareReady);
        Ok(file)
    })();
    match made {
        Ok(file) => Ok((path, file)),
        Err(e) => {
            // Best effort: what stays behind under the temporary name is removed by the next recovery. Under its
            // own name it would be a spare whose name is not durable.
            let _ = storage.remove(&tmp);
            let _ = storage.remove(&path);
            Err(e)
        }
    }
}
