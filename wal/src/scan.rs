//! Reading records out of a segment's bytes, and following a log through its segments.
//!
//! Nothing here writes: recovery, `check`, salvage and history all read through this.

use std::path::{Path, PathBuf};

use crate::end_of_log::{EndCase, Evidence, Fault, Verdict, judge};
use crate::error::{ApplyError, LogError};
use crate::found::Found;
use crate::limits::SCAN_BUDGET_FACTOR;
use crate::lsn::Lsn;
use crate::record::{
    ALIGN_BYTES, HEADER_BYTES, Header, Part, Position, RecordView, checksum, kind, record_bytes,
};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::storage::Storage;

/// What the next record has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect {
    pub(crate) salt: u32,
    pub(crate) shard: u16,
    pub(crate) lsn: u64,
    pub(crate) prev_crc: u32,
}

/// Header, payload and length in the log of an intact record at `at`, whatever it says. `Err` if its checksum does
/// not match or it leads out of `bytes`.
#[inline]
pub(crate) fn intact(bytes: &[u8], at: usize) -> Result<(Header, &[u8], usize), Fault> {
    let Some(head) = bytes.get(at..at + HEADER_BYTES) else {
        return Err(Fault::Zeroes);
    };
    let header = Header::read(head);
    let size = record_bytes(header.len as usize);
    let Some(record) = bytes[at..].get(..size) else {
        return Err(if is_zero(head) { Fault::Zeroes } else { Fault::Length });
    };
    let crc = checksum(record);
    if crc != header.crc {
        return Err(if is_zero(head) {
            Fault::Zeroes
        } else {
            Fault::Checksum { expected: header.crc, found: crc }
        });
    }
    Ok((header, &record[HEADER_BYTES..HEADER_BYTES + header.len as usize], size))
}

/// The record at `at` if it is the one expected.
#[inline]
pub(crate) fn expected<'a>(
    bytes: &'a [u8],
    at: usize,
    expect: &Expect,
) -> Result<(Header, &'a [u8], usize), Fault> {
    let (header, payload, size) = intact(bytes, at)?;
    if header.salt != expect.salt {
        return Err(Fault::Salt { expected: expect.salt, found: header.salt });
    }
    if header.shard != expect.shard {
        return Err(Fault::Shard { expected: expect.shard, found: header.shard });
    }
    if header.lsn != expect.lsn {
        return Err(Fault::Lsn { expected: expect.lsn, found: header.lsn });
    }
    if header.prev_crc != expect.prev_crc {
        return Err(Fault::PrevCrc { expected: expect.prev_crc, found: header.prev_crc });
    }
    // No writer claims that a record was durable before it was written.
    if header.synced_distance == 0 {
        return Err(Fault::Place { kind: header.kind });
    }
    Ok((header, payload, size))
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (head, words, tail) = (bytes.len() % 64, bytes.chunks_exact(64), 0u8);
    let rest = &bytes[bytes.len() - head..];
    words.into_iter().all(|w| w.iter().fold(tail, |a, b| a | b) == 0) && rest.iter().all(|b| *b == 0)
}

/// A transaction of several records whose commit record has not come yet.
#[derive(Debug, Default)]
struct Assembly {
    begun: Option<(Header, Position, u64)>,
    bytes: Vec<u8>,
}

/// What following the log found out.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) segments: Vec<Found>,
    /// Index in `segments` of those that are part of the log, oldest first, with what was read of them.
    pub(crate) chain: Vec<Link>,
    /// How the log ends, in the last segment of the chain, at that link's `end`.
    pub(crate) case: EndCase,
    pub(crate) last_lsn: u64,
    pub(crate) last_crc: u32,
    pub(crate) last_kind: u8,
    /// The highest lsn that some record (or the checkpoint) says was synced.
    pub(crate) vouched: u64,
    /// The log ends inside a transaction of several records.
    pub(crate) incomplete: bool,
    /// Intact records after the end.
    pub(crate) dropped: u64,
    pub(crate) applied: u64,
    pub(crate) skipped: u64,
    pub(crate) bytes: u64,
}

/// One segment of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) index: usize,
    pub(crate) first_lsn: u64,
    pub(crate) last_lsn: u64,
    pub(crate) end: u64,
}

/// Receives each transaction.
pub(crate) type Apply<'a> = dyn FnMut(RecordView<'_>) -> Result<(), ApplyError> + 'a;

/// Follows the log from the newest segment that `from` allows, handing out what comes after `from`.
pub(crate) fn walk(
    storage: &dyn Storage,
    segments: Vec<Found>,
    shard: u16,
    from: Lsn,
    apply: &mut Apply<'_>,
) -> Result<Walk, LogError> {
    let mut w = Walk {
        segments,
        chain: Vec::new(),
        case: EndCase::CleanEnd,
        last_lsn: 0,
        last_crc: 0,
        last_kind: 0,
        vouched: from.0,
        incomplete: false,
        dropped: 0,
        applied: 0,
        skipped: 0,
        bytes: 0,
    };
    let Some(base) = base(&mut w, from)? else { return Ok(w) };
    let mut assembly = Assembly::default();
    let mut buf = Vec::new();
    let mut index = base;
    loop {
        w.segments[index].load(storage, &mut buf)?;
        let (end, fault, sealed) =
            read_segment(&mut w, index, index == base, &buf, shard, from, &mut assembly, apply)?;
        let next = match sealed {
            Some(number) => {
                let next =
                    w.segments.iter().position(|s| s.number == number && s.number > w.segments[index].number);
                match next {
                    Some(next) if w.segments[next].header.is_ok() => Some(next),
                    Some(next) => {
                        let s = &w.segments[next];
                        let e = format!("segment {number:016x}");
                        return Err(s.corrupt(EndCase::HeaderDamaged, 0, e, "a damaged header").into());
                    }
                    None => {
                        let s = &w.segments[index];
                        let e = format!("segment {number:016x} to follow");
                        return Err(s.corrupt(EndCase::SegmentMissing, end, e, "no such file").into());
                    }
                }
            }
            None => {
                let here = w.segments[index].number;
                let declared = w.segments.iter().position(|s| {
                    s.number > here
                        && s.start.is_some_and(|t| {
                            t.from_segment == here
                                && t.from_end == end
                                && t.lsn == w.last_lsn + 1
                                && t.prev_crc == w.last_crc
                        })
                });
                let evidence = Evidence { fault, declared: declared.is_some(), ..Evidence::default() };
                declared.filter(|_| judge(&evidence).verdict() == Verdict::Continue)
            }
        };
        if let Some(next) = next {
            index = next;
            continue;
        }
        let evidence = gather(storage, &mut w, index, end, fault, &mut buf, shard, from)?;
        w.case = judge(&evidence);
        if w.case.verdict() == Verdict::Corrupt {
            let (expected, found) = fault.map_or_else(Default::default, |f| f.describe(w.last_lsn + 1));
            return Err(w.segments[index].corrupt(w.case, end, expected, found).into());
        }
        w.incomplete = assembly.begun.is_some() && !crate::planted::is_planted("wal_forget_abort");
        return Ok(w);
    }
}

/// The segment to begin with. Those before it are linked without being read.
fn base(w: &mut Walk, from: Lsn) -> Result<Option<usize>, LogError> {
    if w.segments.is_empty() {
        return Ok(None);
    }
    let covered = w.segments.iter().rposition(|s| s.start.is_some_and(|t| t.lsn <= from.0.saturating_add(1)));
    if let Some(base) = covered {
        // Wholly covered: only their place matters, for release and history.
        let started: Vec<(usize, u64)> =
            (0..=base).filter_map(|i| w.segments[i].start.map(|t| (i, t.lsn))).collect();
        for (place, &(index, lsn)) in started.iter().enumerate() {
            let next = w.segments[index].start.expect("only started segments were taken");
            if let Some(&(before, first_lsn)) = place.checked_sub(1).and_then(|before| started.get(before)) {
                let end = if next.from_segment == w.segments[before].number { next.from_end } else { 0 };
                w.chain.push(Link { index: before, first_lsn, last_lsn: lsn - 1, end });
            }
            // One whose own start was torn, so that the log goes on behind it, is part of it all the same.
            let torn =
                w.segments[..index].iter().position(|s| s.number == next.from_segment && s.start.is_none());
            if let Some(torn) = torn {
                let end = SEGMENT_HEADER_BYTES;
                w.chain.push(Link { index: torn, first_lsn: lsn, last_lsn: lsn - 1, end });
            }
        }
        let start = w.segments[base].start.expect("it was found by its start");
        w.last_lsn = start.lsn - 1;
        w.last_crc = start.prev_crc;
        return Ok(Some(base));
    }
    // No segment whose start is intact reaches back far enough. A log that was never begun (its first start record
    // was not synced) is the only innocent explanation, and only the first segment ever made can hold it.
    let first = &w.segments[0];
    if first.number == 1 && first.header.is_ok() && first.start.is_none() && from == Lsn::ZERO {
        return Ok(Some(0));
    }
    let (case, expected) = match first.header {
        Err(_) => (EndCase::HeaderDamaged, "a segment header".to_string()),
        Ok(_) => (
            EndCase::StartMissing,
            format!("a segment that starts at or before record {}", from.0.saturating_add(1)),
        ),
    };
    let found = first.start.map_or("no start record".to_string(), |t| format!("a start at record {}", t.lsn));
    let offset = if first.header.is_err() { 0 } else { SEGMENT_HEADER_BYTES };
    Err(first.corrupt(case, offset, expected, found).into())
}

/// Reads one segment up to the first place without the expected record. Returns that place, the fault, and the next
/// segment if the last record is a seal.
#[allow(clippy::too_many_arguments)]
fn read_segment(
    w: &mut Walk,
    index: usize,
    is_base: bool,
    buf: &[u8],
    shard: u16,
    from: Lsn,
    assembly: &mut Assembly,
    apply: &mut Apply<'_>,
) -> Result<(u64, Option<Fault>, Option<u64>), LogError> {
    let segment = &w.segments[index];
    let salt = segment.header.as_ref().map_or(0, |h| h.salt);
    let mut at = SEGMENT_HEADER_BYTES as usize;
    let mut sealed = None;
    let previous = w.chain.last().copied();
    w.chain.push(Link { index, first_lsn: w.last_lsn + 1, last_lsn: w.last_lsn, end: at as u64 });
    let (mut lsn, mut crc, mut last_kind) = (w.last_lsn, w.last_crc, w.last_kind);
    let (mut vouched, mut applied, mut skipped) = (w.vouched, w.applied, w.skipped);
    let fault = loop {
        let expect = Expect { salt, shard, lsn: lsn + 1, prev_crc: crc };
        let (header, payload, size) = match expected(buf, at, &expect) {
            Ok(record) => record,
            Err(fault) => break Some(fault),
        };
        // Exactly the first record of a segment says where it comes from.
        let first = at as u64 == SEGMENT_HEADER_BYTES;
        if first != (header.kind == kind::START) {
            break Some(Fault::Place { kind: header.kind });
        }
        if first && !is_base {
            let from = previous.map(|p| (w.segments[p.index].number, p.end));
            if segment.start.map(|t| (t.from_segment, t.from_end)) != from {
                break Some(Fault::Place { kind: header.kind });
            }
        }
        let position = Position { segment: segment.number, offset: at as u64 };
        if header.kind >= kind::FIRST_OWN || header.flags != 0 {
            sealed = odd_record(
                segment,
                &header,
                payload,
                position,
                from,
                assembly,
                apply,
                &mut applied,
                &mut skipped,
            )?;
        } else if assembly.begun.is_some() {
            return Err(parts_out_of_order(segment, &header, position));
        } else if header.lsn <= from.0 {
            skipped += 1;
        } else {
            hand_out(segment, RecordView::new(&header, payload, position), apply)?;
            applied += 1;
        }
        lsn = header.lsn;
        crc = header.crc;
        last_kind = header.kind;
        vouched = vouched.max(header.synced());
        at += size;
        if sealed.is_some() {
            break None;
        }
    };
    w.bytes += at as u64;
    (w.last_lsn, w.last_crc, w.last_kind) = (lsn, crc, last_kind);
    (w.vouched, w.applied, w.skipped) = (vouched, applied, skipped);
    if let Some(link) = w.chain.last_mut() {
        link.last_lsn = lsn;
        link.end = at as u64;
    }
    Ok((at as u64, fault, sealed))
}

fn hand_out(segment: &Found, view: RecordView<'_>, apply: &mut Apply<'_>) -> Result<(), LogError> {
    apply(view).map_err(|source| LogError::Apply {
        file: segment.path.to_path_buf(),
        offset: view.position.offset,
        lsn: view.lsn,
        source,
    })
}

fn parts_out_of_order(segment: &Found, header: &Header, position: Position) -> LogError {
    let found = format!("record {} of kind {:#04x}, {:?}", header.lsn, header.kind, header.part());
    segment
        .corrupt(EndCase::PartsOutOfOrder, position.offset, "the next part of its transaction", found)
        .into()
}

/// Records of the log's own, parts of transactions, and what only newer versions write. Returns the next segment if
/// it is a seal.
#[allow(clippy::too_many_arguments)]
#[cold]
fn odd_record(
    segment: &Found,
    header: &Header,
    payload: &[u8],
    position: Position,
    from: Lsn,
    assembly: &mut Assembly,
    apply: &mut Apply<'_>,
    applied: &mut u64,
    skipped: &mut u64,
) -> Result<Option<u64>, LogError> {
    let unknown = || LogError::UnknownKind {
        file: segment.path.to_path_buf(),
        offset: position.offset,
        kind: header.kind,
    };
    if header.unknown_flags() || header.kind == 0 {
        return if header.skippable() { Ok(None) } else { Err(unknown()) };
    }
    match (header.kind, header.part()) {
        (kind::START | kind::MARK | kind::CLOSE, _) => {}
        (kind::SEAL, _) => {
            let next: [u8; 8] = payload.try_into().map_err(|_| unknown())?;
            return Ok(Some(u64::from_le_bytes(next)));
        }
        (kind::ABORT, _) => assembly.begun = None,
        (k, _) if k >= kind::FIRST_OWN => {
            if !header.skippable() {
                return Err(unknown());
            }
        }
        (_, Part::Whole) => {
            if assembly.begun.is_some() {
                return Err(parts_out_of_order(segment, header, position));
            }
            if header.lsn <= from.0 {
                *skipped += 1;
            } else {
                hand_out(segment, RecordView::new(header, payload, position), apply)?;
                *applied += 1;
            }
        }
        (_, Part::Begin) => {
            let total = payload.get(..8).map(|t| u64::from_le_bytes(t.try_into().expect("eight bytes")));
            let (Some(total), None) = (total, &assembly.begun) else {
                return Err(parts_out_of_order(segment, header, position));
            };
            assembly.begun = Some((*header, position, total));
            assembly.bytes.clear();
            assembly.bytes.extend_from_slice(&payload[8..]);
        }
        (_, part) => match &assembly.begun {
            Some((begin, start, total)) if begin.run == header.run && begin.version == header.version => {
                assembly.bytes.extend_from_slice(payload);
                if part == Part::Commit {
                    if assembly.bytes.len() as u64 != *total {
                        return Err(parts_out_of_order(segment, header, position));
                    }
                    if header.lsn <= from.0 {
                        *skipped += 1;
                    } else {
                        hand_out(segment, RecordView::new(header, &assembly.bytes, *start), apply)?;
                        *applied += 1;
                    }
                    assembly.begun = None;
                }
            }
            // Begun in a segment that the checkpoint covers.
            None if header.lsn <= from.0 => {}
            _ => return Err(parts_out_of_order(segment, header, position)),
        },
    }
    Ok(None)
}

/// Everything the table wants to know about the place `end` in segment `index`. `buf` holds that segment.
#[allow(clippy::too_many_arguments)]
fn gather(
    storage: &dyn Storage,
    w: &mut Walk,
    index: usize,
    end: u64,
    fault: Option<Fault>,
    buf: &mut Vec<u8>,
    shard: u16,
    from: Lsn,
) -> Result<Evidence, LogError> {
    let here = w.segments[index].number;
    let lost = w.last_lsn + 1;
    let mut evidence = Evidence {
        fault,
        checkpoint_past: from.0 >= lost,
        zero_to_end: is_zero(&buf[end as usize..]),
        after_close: w.last_kind == kind::CLOSE,
        ..Evidence::default()
    };
    let salt = w.segments[index].header.as_ref().map_or(0, |h| h.salt);
    if !evidence.zero_to_end {
        let seen = search(&buf[end as usize..], Some(salt), shard, lost);
        evidence.witness_here = seen.vouched >= lost && !crate::planted::is_planted("wal_ignore_witness");
        evidence.forged |= seen.gave_up;
        w.dropped += seen.records;
    }
    for later in w.segments.iter().filter(|s| s.number > here) {
        later.load(storage, buf)?;
        if is_zero(&buf[SEGMENT_HEADER_BYTES as usize..]) {
            continue;
        }
        // Of a segment with a damaged header the salt is unknown; older records under it end before `lost`.
        let seen = search(
            &buf[SEGMENT_HEADER_BYTES as usize..],
            later.header.as_ref().ok().map(|h| h.salt),
            shard,
            lost,
        );
        evidence.later_used = true;
        evidence.witness_later |=
            seen.vouched >= lost && !crate::planted::is_planted("wal_ignore_later_segments");
        evidence.forged |= seen.gave_up;
        evidence.successor_damaged |= later.header.is_err() && seen.records > 0;
        w.dropped += seen.records;
        let missing = |n: u64| n > here && !w.segments.iter().any(|s| s.number == n);
        evidence.successor_missing |= later.start.is_some_and(|t| t.lsn > lost && missing(t.from_segment));
    }
    Ok(evidence)
}

/// Result of [`search`].
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Intact records numbered `lost` or later.
    pub(crate) records: u64,
    /// The highest lsn that one of them says was synced.
    pub(crate) vouched: u64,
    /// The bytes are made to look like records and are none.
    pub(crate) gave_up: bool,
}

/// Looks for intact records at every place where one could begin.
pub(crate) fn search(bytes: &[u8], salt: Option<u32>, shard: u16, lost: u64) -> Seen {
    let mut seen = Seen::default();
    let mut budget = (bytes.len() as u64).saturating_mul(SCAN_BUDGET_FACTOR);
    let mut at = 0;
    while at + HEADER_BYTES <= bytes.len() {
        let header = Header::read(&bytes[at..]);
        // The cheap tests first: the rest of the segment is mostly not records.
        let plausible = salt.is_none_or(|s| s == header.salt) && header.shard == shard && header.lsn >= lost;
        let size = record_bytes(header.len as usize);
        if !plausible || header.kind == 0 || size > bytes.len() - at {
            at += ALIGN_BYTES;
            continue;
        }
        let Some(left) = budget.checked_sub(size as u64) else {
            seen.gave_up = true;
            return seen;
        };
        budget = left;
        if intact(bytes, at).is_ok() {
            seen.records += 1;
            seen.vouched = seen.vouched.max(header.synced());
            at += size;
        } else {
            at += ALIGN_BYTES;
        }
    }
    seen
}

/// The first place in a segment's records whose lsn is past `lsn`, for a segment known to be sound up to `end`.
pub(crate) fn offset_after(bytes: &[u8], end: u64, lsn: u64) -> u64 {
    let mut at = SEGMENT_HEADER_BYTES as usize;
    while (at as u64) < end {
        let header = Header::read(&bytes[at..]);
        if header.lsn > lsn {
            break;
        }
        at += record_bytes(header.len as usize);
    }
    at as u64
}

/// Paths of what recovery made of torn tails.
pub(crate) fn tail_copy(dir: &Path, segment: u64, offset: u64) -> PathBuf {
    dir.join(format!("{segment:016x}-{offset:08x}.tail"))
}
