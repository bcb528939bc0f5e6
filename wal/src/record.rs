//! One record: 64 bytes of header, the payload, zeroes up to a multiple of 8 bytes.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | crc32 (IEEE) of everything after it, payload and padding included |
//! | 4 | 4 | payload length in bytes |
//! | 8 | 1 | kind: 1-127 the caller's, 128-255 the log's own, 0 never |
//! | 9 | 1 | flags: bits 0-1 part, bit 2 skippable |
//! | 10 | 2 | shard |
//! | 12 | 4 | salt of the segment |
//! | 16 | 8 | lsn |
//! | 24 | 4 | crc of the previous record (lsn - 1), 0 for the first |
//! | 28 | 4 | synced distance: lsn minus the highest lsn known to be durable when this was written (saturating) |
//! | 32 | 16 | run |
//! | 48 | 8 | commit version |
//! | 56 | 8 | timestamp in microseconds since 1970 UTC |
//!
//! All integers little-endian. `synced` is kept as a distance so that the header stays at 64 bytes: a saturated
//! distance claims less than is true, which is always safe.

use crate::lsn::Lsn;

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 64;

/// Records start at multiples of this.
pub(crate) const ALIGN_BYTES: usize = 8;

/// The log's own kinds.
pub(crate) mod kind {
    /// First record of a segment: where the log comes from. Payload: segment number and offset at which it ended.
    pub(crate) const START: u8 = 0x80;
    /// Last record of a full segment. Payload: number of the segment in which the log goes on.
    pub(crate) const SEAL: u8 = 0x81;
    /// Written when the log goes idle, so that the group synced last has a later record that vouches for it.
    pub(crate) const MARK: u8 = 0x82;
    /// Clean-close footer.
    pub(crate) const CLOSE: u8 = 0x83;
    /// Ends a begun transaction that will never be committed. Written by recovery only.
    pub(crate) const ABORT: u8 = 0x84;
    /// A record was here whose run was erased. Keeps its lsn and commit version.
    pub(crate) const ERASED: u8 = 0x85;
    /// Kinds from here on are the log's own.
    pub(crate) const FIRST_OWN: u8 = 0x80;
}

/// Which part of a transaction a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole = 0,
    Begin = 1,
    Continue = 2,
    Commit = 3,
}

const FLAG_PART: u8 = 0b0011;
const FLAG_SKIPPABLE: u8 = 0b0100;
const FLAG_UNKNOWN: u8 = !(FLAG_PART | FLAG_SKIPPABLE);

/// Bytes a record with a payload of `payload` bytes takes in the log.
pub(crate) const fn record_bytes(payload: usize) -> usize {
    (HEADER_BYTES + payload + ALIGN_BYTES - 1) & !(ALIGN_BYTES - 1)
}

/// A record's header, as fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) crc: u32,
    pub(crate) len: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) shard: u16,
    pub(crate) salt: u32,
    pub(crate) lsn: u64,
    pub(crate) prev_crc: u32,
    pub(crate) synced_distance: u32,
    pub(crate) run: [u8; 16],
    pub(crate) version: u64,
    pub(crate) timestamp: i64,
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl Header {
    /// Whether this is the record right behind `last`.
    pub(crate) fn follows(&self, last: &Header) -> bool {
        self.lsn == last.lsn.wrapping_add(1) && self.prev_crc == last.crc
    }

    /// Reads the fields, whatever they say. `bytes` holds at least [`HEADER_BYTES`].
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Header {
        let bytes: &[u8; HEADER_BYTES] = bytes[..HEADER_BYTES].try_into().expect("the slice has that length");
        Header {
            crc: u32::from_le_bytes(take(bytes, 0)),
            len: u32::from_le_bytes(take(bytes, 4)),
            kind: bytes[8],
            flags: bytes[9],
            shard: u16::from_le_bytes(take(bytes, 10)),
            salt: u32::from_le_bytes(take(bytes, 12)),
            lsn: u64::from_le_bytes(take(bytes, 16)),
            prev_crc: u32::from_le_bytes(take(bytes, 24)),
            synced_distance: u32::from_le_bytes(take(bytes, 28)),
            run: take(bytes, 32),
            version: u64::from_le_bytes(take(bytes, 48)),
            timestamp: i64::from_le_bytes(take(bytes, 56)),
        }
    }

    /// Writes the fields, crc included.
    #[inline]
    pub(crate) fn write(&self, out: &mut [u8; HEADER_BYTES]) {
        out[0..4].copy_from_slice(&self.crc.to_le_bytes());
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        out[8] = self.kind;
        out[9] = self.flags;
        out[10..12].copy_from_slice(&self.shard.to_le_bytes());
        out[12..16].copy_from_slice(&self.salt.to_le_bytes());
        out[16..24].copy_from_slice(&self.lsn.to_le_bytes());
        out[24..28].copy_from_slice(&self.prev_crc.to_le_bytes());
        out[28..32].copy_from_slice(&self.synced_distance.to_le_bytes());
        out[32..48].copy_from_slice(&self.run);
        out[48..56].copy_from_slice(&self.version.to_le_bytes());
        out[56..64].copy_from_slice(&self.timestamp.to_le_bytes());
    }

    pub(crate) fn part(&self) -> Part {
        match self.flags & FLAG_PART {
            0 => Part::Whole,
            1 => Part::Begin,
            2 => Part::Continue,
            _ => Part::Commit,
        }
    }

    pub(crate) fn skippable(&self) -> bool {
        self.flags & FLAG_SKIPPABLE != 0
    }

    /// Flags that only a newer format can have set.
    pub(crate) fn unknown_flags(&self) -> bool {
        self.flags & FLAG_UNKNOWN != 0
    }

    /// Highest lsn that the writer knew to be durable.
    pub(crate) fn synced(&self) -> u64 {
        if self.synced_distance == u32::MAX {
            0
        } else {
            self.lsn.saturating_sub(u64::from(self.synced_distance))
        }
    }

    pub(crate) fn distance(lsn: u64, synced: u64) -> u32 {
        u32::try_from(lsn - synced).unwrap_or(u32::MAX)
    }
}

pub(crate) fn flags(part: Part, skippable: bool) -> u8 {
    part as u8 | if skippable { FLAG_SKIPPABLE } else { 0 }
}

/// The checksum of a record of which `bytes` holds header, payload and padding.
#[inline]
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    if crate::planted::is_planted("wal_checksum_skips_timestamp") {
        return crc32fast::hash(&bytes[4..56]) ^ crc32fast::hash(&bytes[64..]);
    }
    crc32fast::hash(&bytes[4..])
}

/// What the caller appends: one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The caller's kind of record, 1 to 127. The log does not interpret it.
    pub kind: u8,
    /// Whether a reader that does not know the kind may pass over the record.
    pub skippable: bool,
    /// The run the transaction belongs to.
    pub run: [u8; 16],
    /// The commit version.
    pub version: u64,
    /// Microseconds since 1970 UTC.
    pub timestamp: i64,
    /// Opaque bytes.
    pub payload: &'a [u8],
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Offset of the record's header in the segment's file, in bytes. For a transaction in several records: of the
    /// first.
    pub offset: u64,
}

/// What recovery and readers hand out: one transaction, whole.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Number of the record (of the committing one, where there are several).
    pub lsn: Lsn,
    /// The caller's kind.
    pub kind: u8,
    /// Whether a reader that does not know the kind may pass over it.
    pub skippable: bool,
    /// The run.
    pub run: [u8; 16],
    /// The commit version.
    pub version: u64,
    /// Microseconds since 1970 UTC.
    pub timestamp: i64,
    /// The bytes appended.
    pub payload: &'a [u8],
    /// Where it is.
    pub position: Position,
}

impl<'a> RecordView<'a> {
    pub(crate) fn new(header: &Header, payload: &'a [u8], position: Position) -> Self {
        RecordView {
            lsn: Lsn(header.lsn),
            kind: header.kind,
            skippable: header.skippable(),
            run: header.run,
            version: header.version,
            timestamp: header.timestamp,
            payload,
            position,
        }
    }
}
