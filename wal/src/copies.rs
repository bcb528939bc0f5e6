//! A run's transactions out of one segment, one behind the other: what stands in the segment's index beside the offsets of a run
//! whose records are scattered. To read them then takes one read, and not one for each.
//!
//! | part | bytes | fields |
//! |---|---|---|
//! | head | 8 | crc32 of the run (16) and of everything behind this field (4), transactions (4) |
//! | each transaction | | kind, 0x80 added where it is skippable (1), then varints: offset less the one before, by 8; lsn, likewise; version, likewise, signed; timestamp, likewise, signed; length of the payload; then the payload |
//!
//! A varint is seven bits a byte, the lowest first, 0x80 added to all bytes but the last; a signed one is doubled, and less one
//! and negated where it is negative. The first transaction's are counted from 0. Only transactions of one record are copied.

use crate::lsn::Lsn;
use crate::record::{ALIGN_BYTES, Header, Position, RecordView, record_bytes};

/// Up to this size a record is copied, in bytes: a larger one is worth a read of its own.
pub(crate) const COPIED_RECORD_BYTES: usize = 4096;

const HEAD_BYTES: usize = 8;
const SKIPPABLE: u8 = 0x80;

/// What the next transaction is told from.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    offset: u64,
    lsn: u64,
    version: u64,
    timestamp: i64,
}

/// Puts a run's copies together.
#[derive(Debug)]
pub(crate) struct CopyWriter {
    bytes: Vec<u8>,
    transactions: u32,
    last: Last,
}

impl CopyWriter {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; HEAD_BYTES], transactions: 0, last: Last::default() }
    }

    /// Adds the whole transaction at this offset, which is behind those added before.
    pub(crate) fn push(&mut self, offset: u64, header: &Header, payload: &[u8]) {
        let (out, last) = (&mut self.bytes, &self.last);
        out.push(header.kind | if header.skippable() { SKIPPABLE } else { 0 });
        put((offset - last.offset) / ALIGN_BYTES as u64, out);
        put(header.lsn.wrapping_sub(last.lsn), out);
        put_signed(header.version.wrapping_sub(last.version).cast_signed(), out);
        put_signed(header.timestamp.wrapping_sub(last.timestamp), out);
        put(payload.len() as u64, out);
        out.extend_from_slice(payload);
        self.last = Last { offset, lsn: header.lsn, version: header.version, timestamp: header.timestamp };
        self.transactions += 1;
    }

    /// The copies, checksummed.
    pub(crate) fn finish(mut self, run: &[u8; 16]) -> Vec<u8> {
        self.bytes[4..HEAD_BYTES].copy_from_slice(&self.transactions.to_le_bytes());
        let crc = checksum(run, &self.bytes);
        self.bytes[..4].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

fn checksum(run: &[u8; 16], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(run);
    hasher.update(&bytes[4..]);
    hasher.finalize()
}

/// A run's copies as they are read.
#[derive(Debug)]
pub(crate) struct Copies<'a> {
    rest: &'a [u8],
    run: [u8; 16],
    segment: u64,
    left: u32,
    last: Last,
}

impl<'a> Copies<'a> {
    /// The copies of `run` in these bytes; `None`: they are damaged, or another run's.
    pub(crate) fn new(bytes: &'a [u8], run: &[u8; 16], segment: u64) -> Option<Self> {
        let half = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (crc, left) = (half(0)?, half(4)?);
        if checksum(run, bytes) != crc {
            return None;
        }
        Some(Self { rest: &bytes[HEAD_BYTES..], run: *run, segment, left, last: Last::default() })
    }

    /// How many transactions are left.
    pub(crate) fn left(&self) -> usize {
        self.left as usize
    }

    /// The next transaction; `None` behind the last one, or where the bytes are none of ours, which their checksum leaves only
    /// a bug to bring about.
    pub(crate) fn next(&mut self) -> Option<RecordView<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        let offset = self.last.offset.wrapping_add(self.varint()?.wrapping_mul(ALIGN_BYTES as u64));
        let lsn = self.last.lsn.wrapping_add(self.varint()?);
        let version = self.last.version.wrapping_add(self.signed()?.cast_unsigned());
        let timestamp = self.last.timestamp.wrapping_add(self.signed()?);
        let len = usize::try_from(self.varint()?).ok()?;
        let (payload, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        self.last = Last { offset, lsn, version, timestamp };
        Some(RecordView {
            lsn: Lsn(lsn),
            kind: kind & !SKIPPABLE,
            skippable: kind & SKIPPABLE != 0,
            run: self.run,
            version,
            timestamp,
            payload,
            position: Position { segment: self.segment, offset },
        })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (place, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[place + 1..];
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(value: i64, out: &mut Vec<u8>) {
    put((value << 1 ^ value >> 63).cast_unsigned(), out);
}

/// Whether records at these offsets lie so far apart that they are copied: to read them where they are would take many reads.
pub(crate) fn are_scattered(offsets: &[u32], gap_bytes: u64) -> bool {
    /// Fewer reads than this are not worth a copy.
    const FEWEST_READS: usize = 8;
    let far = |pair: &&[u32]| u64::from(pair[1] - pair[0]) >= gap_bytes;
    offsets.windows(2).filter(far).take(FEWEST_READS - 1).count() == FEWEST_READS - 1
}

/// Whether a record of this payload is copied, where its run's are.
pub(crate) fn is_copied(header: &Header) -> bool {
    header.part() == crate::record::Part::Whole && record_bytes(header.len as usize) <= COPIED_RECORD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Part, flags, kind};

    const RUN: [u8; 16] = [7; 16];

    fn header(n: u64) -> Header {
        Header {
            crc: 0,
            len: 0,
            kind: 1 + (n % 2) as u8,
            flags: flags(Part::Whole, n.is_multiple_of(3)),
            shard: 0,
            salt: 1,
            lsn: 1 + n * 1_000,
            prev_crc: 0,
            synced_distance: 1,
            run: RUN,
            // Versions and times that go back are none of this file's business.
            version: if n.is_multiple_of(5) { u64::MAX - n } else { n },
            timestamp: if n.is_multiple_of(7) { i64::MIN + n as i64 } else { n as i64 * 1_000_003 },
        }
    }

    fn copies(count: u64) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut writer = CopyWriter::new();
        let payloads: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8; (n * 37 % 300) as usize]).collect();
        for (n, payload) in payloads.iter().enumerate() {
            writer.push(4096 + n as u64 * 80_000, &header(n as u64), payload);
        }
        (writer.finish(&RUN), payloads)
    }

    #[test]
    fn what_was_copied_is_read_back() {
        let (bytes, payloads) = copies(100);
        let mut read = Copies::new(&bytes, &RUN, 3).expect("sound");
        for (n, payload) in payloads.iter().enumerate() {
            let (view, head) = (read.next().expect("is there"), header(n as u64));
            assert_eq!((view.lsn.0, view.version, view.timestamp), (head.lsn, head.version, head.timestamp));
            assert_eq!((view.kind, view.skippable, view.run), (head.kind, head.skippable(), RUN));
            assert_eq!(view.position, Position { segment: 3, offset: 4096 + n as u64 * 80_000 });
            assert_eq!(view.payload, payload);
            assert!(view.kind < kind::FIRST_OWN);
        }
        assert!(read.next().is_none() && read.left() == 0);
    }

    #[test]
    fn no_bit_and_no_cut_goes_unseen() {
        let (bytes, _) = copies(10);
        assert!(Copies::new(&bytes, &[8; 16], 3).is_none(), "another run's");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Copies::new(&damaged, &RUN, 3).is_none(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Copies::new(&bytes[..len], &RUN, 3).is_none(), "length {len}");
        }
    }

    #[test]
    fn only_scattered_records_are_copied() {
        let every = |step: u32, count: u32| (0..count).map(|n| 4096 + n * step).collect::<Vec<_>>();
        assert!(!are_scattered(&every(200, 10_000), 4096), "side by side");
        assert!(!are_scattered(&every(80_000, 7), 4096), "few");
        assert!(are_scattered(&every(80_000, 8), 4096));
        assert!(!are_scattered(&[], 4096));
    }
}
