//! What reads of a log's past have found out and the next one need not find out again: the heads of archived segments, and
//! where the transactions of the segment that is being written begin.

use std::collections::HashMap;
use std::path::Path;

use crate::error::LogError;
use crate::found::Start;
use crate::record::{HEADER_BYTES, Header, Part, kind, record_bytes};
use crate::scan::{Expect, expected, intact};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::storage::{File, read_exact_at};

/// How much of a segment is read at a time, in bytes, but for a record that is larger.
const WINDOW_BYTES: u64 = 256 * 1024;

/// What is known of one log. It costs some ten bytes for each transaction of the segment being written. What was known
/// before records were erased from the log holds no more: begin with a new one then.
#[derive(Debug, Default)]
pub struct Seen {
    /// Segments that nobody changes or removes, by number.
    pub(crate) archived: HashMap<u64, Archived>,
    pub(crate) tail: Tail,
}

impl Seen {
    /// Whether it knows of more of the log than another does.
    pub fn is_ahead_of(&self, other: &Self) -> bool {
        (self.tail.segment, self.tail.at) > (other.tail.segment, other.tail.at)
    }
}

/// What is known of an archived segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archived {
    pub(crate) header: SegmentHeader,
    pub(crate) start: Start,
}

/// A transaction that had begun, but not ended, where the tail was left.
#[derive(Clone, Copy, Debug)]
struct Begun {
    offset: u32,
    run: [u8; 16],
}

/// Where the transactions of one segment begin, by run, as far as the segment was written when it was looked at: an index of a
/// segment that is not sealed. A segment is only appended to, so each look goes on where the last one ended.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    segment: u64,
    salt: u32,
    /// So far it was read.
    pub(crate) at: u64,
    /// What comes next; `None`: nothing was read.
    expect: Option<Expect>,
    /// The last version of a whole transaction, of any run; 0: there is none.
    pub(crate) last_version: u64,
    /// The segment in which the log goes on, once it is sealed.
    pub(crate) goes_on_in: Option<u64>,
    begun: Option<Begun>,
    found: HashMap<[u8; 16], Vec<u32>>,
}

impl Tail {
    /// Looks at what was appended to a segment since the last time.
    pub(crate) fn read_on(
        &mut self,
        file: &dyn File,
        path: &Path,
        segment: &SegmentHeader,
        len: u64,
    ) -> Result<(), LogError> {
        if (self.segment, self.salt) != (segment.number, segment.salt) {
            let (segment, salt) = (segment.number, segment.salt);
            *self = Self { segment, salt, at: SEGMENT_HEADER_BYTES, ..Self::default() };
        }
        let mut window: Vec<u8> = Vec::new();
        let mut base = 0;
        while self.goes_on_in.is_none() {
            let inside = (self.at - base) as usize;
            let found = if inside < window.len() { self.next(&window, inside, segment) } else { None };
            let Some((header, payload, size)) = found else {
                // It may only lead out of what was read so far: read once more, from here.
                let claimed = match window.get(inside..inside + HEADER_BYTES) {
                    Some(head) if base == self.at => record_bytes(Header::read(head).len as usize) as u64,
                    _ => 0,
                };
                let want = WINDOW_BYTES.max(claimed).min(len.saturating_sub(self.at));
                if want == 0 || (base == self.at && window.len() as u64 >= want) {
                    break;
                }
                base = self.at;
                window.resize(want as usize, 0);
                read_exact_at(file, base, &mut window).map_err(LogError::io("read", path))?;
                continue;
            };
            self.note(&header, payload);
            self.expect = Some(Expect {
                salt: segment.salt,
                shard: segment.shard,
                lsn: header.lsn.saturating_add(1),
                prev_crc: header.crc,
            });
            self.at += size as u64;
        }
        Ok(())
    }

    fn next<'w>(
        &self,
        window: &'w [u8],
        at: usize,
        segment: &SegmentHeader,
    ) -> Option<(Header, &'w [u8], usize)> {
        let found = match &self.expect {
            Some(expect) => expected(window, at, expect),
            // A segment's first record says itself where it comes from.
            None => intact(window, at),
        };
        found.ok().filter(|(header, ..)| header.salt == segment.salt)
    }

    fn note(&mut self, header: &Header, payload: &[u8]) {
        match header.kind {
            kind::ABORT => self.begun = None,
            kind::ERASED => self.last_version = self.last_version.max(header.version),
            kind::SEAL => self.goes_on_in = payload.try_into().ok().map(u64::from_le_bytes),
            own if own >= kind::FIRST_OWN => {}
            _ => match header.part() {
                // Segments are no longer than what 32 bits count.
                Part::Whole => self.add(header.run, self.at as u32, header.version),
                Part::Begin => self.begun = Some(Begun { offset: self.at as u32, run: header.run }),
                Part::Continue => {}
                Part::Commit => {
                    self.last_version = self.last_version.max(header.version);
                    if let Some(begun) = self.begun.take() {
                        self.add(begun.run, begun.offset, header.version);
                    }
                }
            },
        }
    }

    fn add(&mut self, run: [u8; 16], offset: u32, version: u64) {
        self.found.entry(run).or_default().push(offset);
        self.last_version = self.last_version.max(version);
    }

    /// Where the transactions of these runs begin that end in the segment.
    pub(crate) fn offsets(&self, runs: &[[u8; 16]]) -> Vec<u64> {
        let each = runs.iter().filter_map(|run| self.found.get(run));
        let mut offsets: Vec<u64> = each.flatten().map(|offset| u64::from(*offset)).collect();
        if runs.len() > 1 {
            offsets.sort_unstable();
        }
        offsets
    }

    /// Where a transaction of one of these runs begins that does not end in the segment, as far as it was read.
    pub(crate) fn unended(&self, runs: &[[u8; 16]]) -> Option<u64> {
        self.begun.filter(|begun| runs.contains(&begun.run)).map(|begun| u64::from(begun.offset))
    }
}
