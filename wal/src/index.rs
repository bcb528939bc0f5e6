//! A sealed segment's index by run: where each transaction of a run begins, and, where they are scattered, the transactions
//! themselves.
//!
//! Derived from the segment, in a file beside it, checksummed piece by piece so that a lookup reads only what it needs:
//! a few pages of the table of runs and the run's own offsets, or its own copies. Missing or damaged, it is built again.
//!
//! | part | bytes | fields |
//! |---|---|---|
//! | header | 64 | `INMEMIDX`, format version (2), shard (2), crc32 of the header with this field zero (4), segment (8), salt (4), runs (4), transactions (8), end of the segment (8), lowest (8) and highest (8) commit version |
//! | table | 4096 a page | crc32 of the rest (4), runs in the page (4), each: run (16), first offset's place (4), offsets (4), crc32 of them (4); sorted by run, 146 a page |
//! | offsets | 4 each | offsets in the segment, by run, ascending |
//! | places | 4 a run, and 4 | where each run's copies begin, counted from the end of this part, in the table's order; a run whose copies begin where the next one's do has none. This part and the next are there if a run has copies |
//! | copies | | by run, as `copies.rs` says |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::copies::{COPIED_RECORD_BYTES, CopyWriter, are_scattered, is_copied};
use crate::error::LogError;
use crate::limits::MAX_SEGMENT_BYTES;
use crate::record::{Part, kind};
use crate::run_reader::NEIGHBOUR_GAP_BYTES;
use crate::scan::{Expect, expected, intact};
use crate::segment::{FORMAT_VERSION, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::storage::{File, OpenMode, Storage, read_all, read_exact_at, write_atomically};

/// Two that build one index write one temporary file.
static BUILDING: std::sync::Mutex<()> = std::sync::Mutex::new(());

const MAGIC: [u8; 8] = *b"INMEMIDX";
const HEADER_BYTES: u64 = 64;
const PAGE_BYTES: usize = 4096;
const ENTRY_BYTES: usize = 28;
const ENTRIES_PER_PAGE: usize = (PAGE_BYTES - 8) / ENTRY_BYTES;

/// An open index.
#[derive(Debug)]
pub struct SegmentIndex {
    path: PathBuf,
    file: Arc<dyn File>,
    segment: u64,
    runs: u32,
    transactions: u64,
    end: u64,
    versions: (u64, u64),
}

fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

impl SegmentIndex {
    /// Opens the index of the sealed segment at `segment`, building it if it is missing or its header is damaged.
    /// Blocking; any thread.
    pub fn open_or_build(storage: &dyn Storage, segment: &Path) -> Result<SegmentIndex, LogError> {
        match Self::open(storage, segment) {
            Ok(index) => Ok(index),
            Err(LogError::Io { source, .. }) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(LogError::io("open", &index_path(segment))(source))
            }
            // Somebody newer made it: not to be written over.
            Err(error @ LogError::NewerFormat { .. }) => Err(error),
            Err(_) => {
                let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // Another reader may have built it meanwhile.
                Self::open(storage, segment).or_else(|_| Self::build_alone(storage, segment))
            }
        }
    }

    /// Builds the index of a sealed segment anew and opens it. The segment's records are checked on the way.
    pub fn build(storage: &dyn Storage, segment: &Path) -> Result<SegmentIndex, LogError> {
        let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Self::build_alone(storage, segment)
    }

    fn build_alone(storage: &dyn Storage, segment: &Path) -> Result<SegmentIndex, LogError> {
        let bytes = encode(storage, segment)?;
        let path = index_path(segment);
        write_atomically(storage, &path, &bytes).map_err(LogError::room("write", &path))?;
        Self::open(storage, segment)
    }

    /// Opens an index that is there.
    pub fn open(storage: &dyn Storage, segment: &Path) -> Result<SegmentIndex, LogError> {
        Self::open_of(storage, segment, &segment_header(storage, segment)?)
    }

    /// As [`SegmentIndex::open`], for a caller who knows the segment's header.
    pub(crate) fn open_of(
        storage: &dyn Storage,
        segment: &Path,
        of: &SegmentHeader,
    ) -> Result<SegmentIndex, LogError> {
        let path = index_path(segment);
        let file = storage.open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
        let mut head = [0; HEADER_BYTES as usize];
        read_exact_at(&*file, 0, &mut head)
            .map_err(|_| LogError::damaged(&path, 0, "an index header", "a shorter file"))?;
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let half = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let mut zeroed = head;
        zeroed[12..16].fill(0);
        let version = u16::from_le_bytes([head[8], head[9]]);
        let is_sound = head[..8] == MAGIC && crc32fast::hash(&zeroed) == half(12);
        // Of a newer format only where its header is sound: of a damaged one nothing is to be believed, and it is built again.
        if is_sound && version > FORMAT_VERSION {
            return Err(LogError::NewerFormat { file: path, found: version, supported: FORMAT_VERSION });
        }
        if !is_sound || version != FORMAT_VERSION {
            return Err(LogError::damaged(&path, 0, "a sound index header", "another"));
        }
        // A recycled number never comes back, but a copied file might.
        if (of.number, of.salt) != (word(16), half(24)) {
            return Err(LogError::damaged(&path, 16, "the index of its segment", "another segment's"));
        }
        Ok(SegmentIndex {
            path,
            file,
            segment: word(16),
            runs: half(28),
            transactions: word(32),
            end: word(40),
            versions: (word(48), word(56)),
        })
    }

    /// Number of the segment.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Number of different runs in it.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Transactions begun in it.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Offset after its last record.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Lowest and highest commit version begun in it, erased ones included; `None` if there was none.
    pub fn versions(&self) -> Option<(u64, u64)> {
        (self.versions.0 <= self.versions.1).then_some(self.versions)
    }

    fn pages(&self) -> usize {
        (self.runs as usize).div_ceil(ENTRIES_PER_PAGE)
    }

    fn page(&self, number: usize, page: &mut [u8; PAGE_BYTES]) -> Result<usize, LogError> {
        let at = HEADER_BYTES + (number * PAGE_BYTES) as u64;
        read_exact_at(&*self.file, at, page)
            .map_err(|_| LogError::damaged(&self.path, at, "a page", "less"))?;
        let count = u32::from_le_bytes([page[4], page[5], page[6], page[7]]) as usize;
        let crc = u32::from_le_bytes([page[0], page[1], page[2], page[3]]);
        if crc32fast::hash(&page[4..]) != crc || count == 0 || count > ENTRIES_PER_PAGE {
            return Err(LogError::damaged(&self.path, at, "a sound page of runs", "a damaged one"));
        }
        Ok(count)
    }

    /// Where each transaction of `run` begins, ascending; none if the run is not in the segment. Reads O(log runs)
    /// pages and the run's own offsets. [`LogError::Damaged`] asks for [`SegmentIndex::build`].
    pub fn offsets(&self, run: &[u8; 16]) -> Result<Vec<u64>, LogError> {
        match self.find(run, &mut Page::default())? {
            Some(found) => self.list(&found),
            None => Ok(Vec::new()),
        }
    }

    /// What the table says of `run`. The page is kept for the next run.
    pub(crate) fn find(&self, run: &[u8; 16], page: &mut Page) -> Result<Option<Listed>, LogError> {
        let (mut low, mut high) = (0, self.pages());
        while low < high {
            let middle = (low + high) / 2;
            if page.number != Some(middle) {
                page.number = None;
                page.count = self.page(middle, &mut page.bytes)?;
                page.number = Some(middle);
            }
            let entry = |i: usize| &page.bytes[8 + i * ENTRY_BYTES..8 + (i + 1) * ENTRY_BYTES];
            if run[..] < entry(0)[..16] {
                high = middle;
            } else if run[..] > entry(page.count - 1)[..16] {
                low = middle + 1;
            } else {
                let Some(place) = (0..page.count).find(|i| entry(*i)[..16] == run[..]) else {
                    return Ok(None);
                };
                let entry = entry(place);
                let half = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
                let rank = middle * ENTRIES_PER_PAGE + place;
                return Ok(Some(Listed { rank, first: half(16), count: half(20), crc: half(24) }));
            }
        }
        Ok(None)
    }

    pub(crate) fn list(&self, listed: &Listed) -> Result<Vec<u64>, LogError> {
        let Listed { first, count, crc, .. } = *listed;
        let at = HEADER_BYTES + (self.pages() * PAGE_BYTES) as u64 + u64::from(first) * 4;
        if u64::from(count) > self.transactions {
            return Err(LogError::damaged(&self.path, at, "a run's offsets", "more than there are"));
        }
        let mut bytes = vec![0; count as usize * 4];
        read_exact_at(&*self.file, at, &mut bytes)
            .map_err(|_| LogError::damaged(&self.path, at, "a run's offsets", "a shorter file"))?;
        if crc32fast::hash(&bytes) != crc {
            return Err(LogError::damaged(&self.path, at, "a run's offsets", "damaged ones"));
        }
        Ok(bytes.chunks_exact(4).map(|o| u64::from(u32::from_le_bytes([o[0], o[1], o[2], o[3]]))).collect())
    }

    pub(crate) fn damaged_copies(&self) -> LogError {
        LogError::damaged(&self.path, 0, "a run's transactions", "damaged ones")
    }

    /// Reads a run's copies behind what `out` holds; whether there are any. What was read is to be checked. A file that ends too
    /// soon has none: the offsets say the same.
    pub(crate) fn copies(&self, listed: &Listed, out: &mut Vec<u8>) -> Result<bool, LogError> {
        let places = (HEADER_BYTES + (self.pages() * PAGE_BYTES) as u64)
            .saturating_add(self.transactions.saturating_mul(4));
        let io = |error| LogError::io("read", &self.path)(error);
        let mut place = [0; 8];
        let read =
            self.file.read_at(places.saturating_add(listed.rank as u64 * 4), &mut place).map_err(io)?;
        let half = |at: usize| u32::from_le_bytes(place[at..at + 4].try_into().expect("four bytes"));
        let (from, to) = (u64::from(half(0)), u64::from(half(4)));
        let most = (u64::from(listed.count) + 1) * COPIED_RECORD_BYTES as u64;
        if read < place.len() || from >= to || to - from > most {
            return Ok(false);
        }
        // Nothing vouches for the places: no more is asked for than there is.
        if to - from > self.file.len().map_err(io)? {
            return Ok(false);
        }
        let held = out.len();
        out.resize(held + (to - from) as usize, 0);
        let begin = places.saturating_add((u64::from(self.runs) + 1) * 4 + from);
        let read = self.file.read_at(begin, &mut out[held..]).map_err(io)?;
        out.truncate(held + read);
        Ok(true)
    }
}

/// A page of a table of runs.
#[derive(Debug)]
pub(crate) struct Page {
    number: Option<usize>,
    count: usize,
    bytes: Box<[u8; PAGE_BYTES]>,
}

impl Default for Page {
    fn default() -> Self {
        Self { number: None, count: 0, bytes: Box::new([0; PAGE_BYTES]) }
    }
}

impl Page {
    /// Of another index from now on.
    pub(crate) fn forget(&mut self) {
        self.number = None;
    }
}

/// What a table of runs says of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    /// Its place among all runs.
    rank: usize,
    first: u32,
    /// How many transactions it has here.
    pub(crate) count: u32,
    crc: u32,
}

pub(crate) fn segment_header(storage: &dyn Storage, path: &Path) -> Result<SegmentHeader, LogError> {
    let file = storage.open(path, OpenMode::Read).map_err(LogError::io("open", path))?;
    let mut page = vec![0; SEGMENT_HEADER_BYTES as usize];
    read_exact_at(&*file, 0, &mut page).map_err(LogError::io("read", path))?;
    header_of(&page, path)
}

pub(crate) fn header_of(page: &[u8], path: &Path) -> Result<SegmentHeader, LogError> {
    SegmentHeader::decode(page).map_err(|fault| match fault {
        HeaderFault::Newer(found) => {
            LogError::NewerFormat { file: path.into(), found, supported: FORMAT_VERSION }
        }
        other => LogError::damaged(path, 0, "a sound segment header", format!("{other:?}")),
    })
}

fn encode(storage: &dyn Storage, segment: &Path) -> Result<Vec<u8>, LogError> {
    let file = storage.open(segment, OpenMode::Read).map_err(LogError::io("open", segment))?;
    let bytes = read_all(&*file, MAX_SEGMENT_BYTES).map_err(LogError::io("read", segment))?;
    let header = header_of(&bytes, segment)?;
    let mut runs: BTreeMap<[u8; 16], Vec<u32>> = BTreeMap::new();
    let (mut transactions, mut low, mut high) = (0u64, u64::MAX, 0);
    let mut at = SEGMENT_HEADER_BYTES as usize;
    let mut expect = first_expected(&bytes, &header);
    while let Ok((record, _, size)) = expected(&bytes, at, &expect) {
        if record.kind < kind::FIRST_OWN && matches!(record.part(), Part::Whole | Part::Begin) {
            runs.entry(record.run).or_default().push(at as u32);
            transactions += 1;
            low = low.min(record.version);
            high = high.max(record.version);
        } else if record.kind == kind::ERASED {
            // A version that was erased was there all the same: without it the log would seem to end before.
            low = low.min(record.version);
            high = high.max(record.version);
        }
        expect = Expect { lsn: record.lsn.saturating_add(1), prev_crc: record.crc, ..expect };
        at += size;
        if record.kind == kind::SEAL {
            break;
        }
    }
    let mut out = vec![0; HEADER_BYTES as usize];
    out[0..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[10..12].copy_from_slice(&header.shard.to_le_bytes());
    out[16..24].copy_from_slice(&header.number.to_le_bytes());
    out[24..28].copy_from_slice(&header.salt.to_le_bytes());
    out[28..32].copy_from_slice(&(runs.len() as u32).to_le_bytes());
    out[32..40].copy_from_slice(&transactions.to_le_bytes());
    out[40..48].copy_from_slice(&(at as u64).to_le_bytes());
    out[48..56].copy_from_slice(&low.to_le_bytes());
    out[56..64].copy_from_slice(&high.to_le_bytes());
    let crc = crc32fast::hash(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    let all: Vec<_> = runs.into_iter().collect();
    let copies: Vec<_> = all.iter().map(|(run, offsets)| copies_of(run, offsets, &bytes)).collect();
    let mut lists = Vec::with_capacity(transactions as usize * 4);
    for page in all.chunks(ENTRIES_PER_PAGE) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(page.len() as u32).to_le_bytes());
        for (run, offsets) in page {
            let from = lists.len();
            offsets.iter().for_each(|o| lists.extend_from_slice(&o.to_le_bytes()));
            out.extend_from_slice(run);
            out.extend_from_slice(&(from as u32 / 4).to_le_bytes());
            out.extend_from_slice(&(offsets.len() as u32).to_le_bytes());
            out.extend_from_slice(&crc32fast::hash(&lists[from..]).to_le_bytes());
        }
        out.resize(start + PAGE_BYTES, 0);
        let crc = crc32fast::hash(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
    out.extend_from_slice(&lists);
    if copies.iter().any(|copies| !copies.is_empty()) {
        let mut place = 0u32;
        for copies in &copies {
            out.extend_from_slice(&place.to_le_bytes());
            place += copies.len() as u32;
        }
        out.extend_from_slice(&place.to_le_bytes());
        copies.iter().for_each(|copies| out.extend_from_slice(copies));
    }
    Ok(out)
}

/// A run's copies, where it is to have any.
fn copies_of(run: &[u8; 16], offsets: &[u32], segment: &[u8]) -> Vec<u8> {
    if !are_scattered(offsets, NEIGHBOUR_GAP_BYTES) {
        return Vec::new();
    }
    let mut copies = CopyWriter::new();
    for &offset in offsets {
        if let Ok((header, payload, _)) = intact(segment, offset as usize)
            && is_copied(&header)
        {
            copies.push(u64::from(offset), &header, payload);
        }
    }
    copies.finish(run)
}

/// What the first record of a segment has to be, taken from itself: its start record says where it comes from.
pub(crate) fn first_expected(bytes: &[u8], header: &SegmentHeader) -> Expect {
    let (mut lsn, mut prev_crc) = (0, 0);
    if let Ok((first, _, _)) = crate::scan::intact(bytes, SEGMENT_HEADER_BYTES as usize) {
        (lsn, prev_crc) = (first.lsn, first.prev_crc);
    }
    Expect { salt: header.salt, shard: header.shard, lsn, prev_crc }
}
