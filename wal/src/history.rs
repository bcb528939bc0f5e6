//! Reading transactions back from sealed segments, live or archived.
//!
//! Nothing here is handed out unchecked: every record read is verified by its own checksum, and a transaction of
//! several records only comes out whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{ApplyError, LogError};
use crate::found::Start;
use crate::index::{SegmentIndex, first_expected, header_of};
use crate::limits::MAX_SEGMENT_BYTES;
use crate::record::{HEADER_BYTES, Header, Part, Position, RecordView, kind, record_bytes};
use crate::scan::{Expect, expected, intact};
use crate::segment::{
    SEGMENT_HEADER_BYTES, START_BYTES, SegmentHeader, index_name, parse_gap_name, parse_segment_name,
    segment_name,
};
use crate::storage::{File, OpenMode, Storage, read_exact_at};

/// Most archived segments that are kept open at a time: an archive grows for ever, and a process may only have so many files open.
/// Nobody takes them away, so that each can be opened again. Those of the log's own directory stay open: a checkpoint may take
/// them away.
const MAX_OPEN_ARCHIVED: usize = 16;

/// Reads transactions by run. Not `Sync` state of any log: make one per reader.
#[derive(Debug)]
pub struct HistoryReader {
    storage: Arc<dyn Storage>,
    dirs: Vec<PathBuf>,
    open: HashMap<u64, Segment>,
    record: Vec<u8>,
    assembled: Vec<u8>,
}

/// What is wrong with a file that lost its name since it was opened is no damage: it is a spare whose blocks are being used for
/// another segment. It loses its name before it is written to.
pub(crate) fn unless_reused(storage: &dyn Storage, path: &Path, error: LogError) -> LogError {
    match storage.exists(path) {
        Ok(false) => LogError::Missing { dir: path.parent().map_or(PathBuf::new(), Path::to_path_buf) },
        _ => error,
    }
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
    header: SegmentHeader,
}

impl HistoryReader {
    /// Reads from the segments in `dirs`: a log's own directory and its archive, in any order.
    pub fn new(storage: Arc<dyn Storage>, dirs: Vec<PathBuf>) -> Self {
        HistoryReader { storage, dirs, open: HashMap::new(), record: Vec::new(), assembled: Vec::new() }
    }

    /// Numbers and paths of all segments in the directories, oldest first.
    pub fn segments(&self) -> Result<Vec<(u64, PathBuf)>, LogError> {
        let mut all = Vec::new();
        for dir in &self.dirs {
            if !self.storage.exists(dir).map_err(LogError::io("look for", dir))? {
                continue;
            }
            let names = self.storage.read_dir(dir).map_err(LogError::io("list", dir))?;
            all.extend(names.iter().filter_map(|n| Some((parse_segment_name(n)?, dir.join(n)))));
        }
        all.sort_unstable();
        // A segment being archived may be seen in both places.
        all.dedup_by_key(|(number, _)| *number);
        Ok(all)
    }

    /// Those behind the last gap: where log was let go without an archive, what was archived before is not what the log goes on
    /// from. All of them, where nothing was.
    pub fn unbroken_segments(&self) -> Result<Vec<(u64, PathBuf)>, LogError> {
        // First what is there: a gap is noted before anything of it goes, so that of what is not listed the note is there by then.
        let mut all = self.segments()?;
        let mut gap = None;
        for dir in &self.dirs {
            if self.storage.exists(dir).map_err(LogError::io("look for", dir))? {
                let names = self.storage.read_dir(dir).map_err(LogError::io("list", dir))?;
                gap = gap.max(names.iter().filter_map(|name| parse_gap_name(name)).max());
            }
        }
        all.retain(|(number, _)| gap.is_none_or(|gap| *number > gap));
        Ok(all)
    }

    fn segment(&mut self, number: u64) -> Result<&Segment, LogError> {
        if !self.open.contains_key(&number) {
            let name = segment_name(number);
            let path =
                self.dirs.iter().map(|d| d.join(&name)).find(|p| self.storage.exists(p).unwrap_or(false));
            let dir = || self.dirs.first().map_or(PathBuf::new(), Clone::clone);
            let path = path.ok_or_else(|| LogError::Missing { dir: dir() })?;
            let file = self.storage.open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
            let len = file.len().map_err(LogError::io("measure", &path))?;
            let read = || {
                let mut page = vec![0; SEGMENT_HEADER_BYTES.min(len) as usize];
                read_exact_at(&*file, 0, &mut page).map_err(LogError::io("read", &path))?;
                let header = header_of(&page, &path)?;
                if len > MAX_SEGMENT_BYTES || header.number != number {
                    return Err(LogError::damaged(
                        &path,
                        0,
                        format!("segment {number:016x}"),
                        "another file",
                    ));
                }
                Ok(header)
            };
            let header = read().map_err(|error| unless_reused(&*self.storage, &path, error))?;
            let is_archived = |path: &Path| path.parent() != self.dirs.first().map(PathBuf::as_path);
            if self.open.values().filter(|open| is_archived(&open.path)).count() >= MAX_OPEN_ARCHIVED {
                self.open.retain(|_, open| !is_archived(&open.path));
            }
            self.open.insert(number, Segment { path, file, len, header });
        }
        Ok(&self.open[&number])
    }

    /// What is known of a segment, for readers that go their own way.
    pub(crate) fn parts(
        &mut self,
        number: u64,
    ) -> Result<(Arc<dyn File>, PathBuf, SegmentHeader, u64), LogError> {
        let segment = self.segment(number)?;
        Ok((segment.file.clone(), segment.path.clone(), segment.header, segment.len))
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone()
    }

    /// Reads the record at a place into `self.record`.
    fn fetch(&mut self, at: Position) -> Result<(Header, usize), LogError> {
        let mut record = std::mem::take(&mut self.record);
        let segment = self.segment(at.segment)?;
        let damaged = |found: &str| {
            let (path, expected) = (&segment.path, "a record of its segment");
            LogError::damaged(path, at.offset, expected, found)
        };
        let room = segment.len.saturating_sub(at.offset);
        if room < HEADER_BYTES as u64 || at.offset < SEGMENT_HEADER_BYTES {
            return Err(damaged("the end of the file"));
        }
        let read = |offset: u64, buf: &mut [u8]| {
            read_exact_at(&*segment.file, offset, buf).map_err(LogError::io("read", &segment.path))
        };
        // One read serves most records; the rest of a large one follows once its length is known.
        let first = room.min(512) as usize;
        record.resize(first, 0);
        read(at.offset, &mut record)?;
        let size = record_bytes(Header::read(&record).len as usize);
        if size as u64 > room {
            return Err(damaged("a length that leads out of the segment"));
        }
        record.resize(size, 0);
        if size > first {
            read(at.offset + first as u64, &mut record[first..])?;
        }
        let (header, _, _) = intact(&record, 0).map_err(|fault| damaged(&format!("{fault:?}")))?;
        if header.salt != segment.header.salt || header.shard != segment.header.shard {
            return Err(damaged("a record of another segment"));
        }
        self.record = record;
        Ok((header, size))
    }

    /// The version of the transaction that begins at a place.
    pub(crate) fn version_at(&mut self, at: Position) -> Result<u64, LogError> {
        Ok(self.fetch(at)?.0.version)
    }

    /// The transaction that begins at a place, whole, also where it goes on in later segments. `None`: a crash cut it off, and
    /// recovery says in the log that it was discarded.
    pub(crate) fn read_unless_aborted(&mut self, at: Position) -> Result<Option<RecordView<'_>>, LogError> {
        let (begin, size) = self.fetch(at)?;
        if begin.kind >= kind::FIRST_OWN || !matches!(begin.part(), Part::Whole | Part::Begin) {
            let path = self.segment(at.segment)?.path.clone();
            return Err(LogError::damaged(&path, at.offset, "the start of a transaction", "another record"));
        }
        if begin.part() == Part::Whole {
            let payload = &self.record[HEADER_BYTES..HEADER_BYTES + begin.len as usize];
            return Ok(Some(RecordView::new(&begin, payload, at)));
        }
        let mut assembled = std::mem::take(&mut self.assembled);
        assembled.clear();
        assembled.extend_from_slice(&self.record[HEADER_BYTES..HEADER_BYTES + begin.len as usize]);
        let mut next = Position { offset: at.offset + size as u64, ..at };
        let mut last = begin;
        loop {
            let fetched = self.fetch(next);
            let torn = !matches!(&fetched, Ok((header, _)) if header.follows(&last));
            if torn && let Some(segment) = self.goes_on(next, &last)? {
                last.crc = self.last_crc_before(next.segment, &last)?;
                next = Position { segment, offset: SEGMENT_HEADER_BYTES };
                continue;
            }
            let (header, size) = fetched?;
            let payload = &self.record[HEADER_BYTES..HEADER_BYTES + header.len as usize];
            let follows = header.follows(&last);
            let same = header.run == begin.run && header.version == begin.version;
            let step = match (header.kind, header.part()) {
                _ if !follows => None,
                (kind::SEAL, _) => {
                    payload.try_into().ok().map(u64::from_le_bytes).filter(|n| *n > next.segment)
                }
                (kind::START, _) => Some(next.segment),
                (kind::ABORT, _) => return Ok(None),
                (k, Part::Continue | Part::Commit) if k == begin.kind && same => {
                    assembled.extend_from_slice(payload);
                    Some(next.segment)
                }
                _ => None,
            };
            let Some(segment) = step else {
                let path = self.segment(next.segment)?.path.clone();
                return Err(LogError::damaged(
                    &path,
                    next.offset,
                    "the next part of a transaction",
                    "another record",
                ));
            };
            if header.kind == begin.kind && header.part() == Part::Commit {
                let total =
                    assembled.get(..8).map(|t| u64::from_le_bytes(t.try_into().expect("eight bytes")));
                if total != Some(assembled.len() as u64 - 8) {
                    let path = self.segment(next.segment)?.path.clone();
                    return Err(LogError::damaged(
                        &path,
                        next.offset,
                        "a whole transaction",
                        "another length",
                    ));
                }
                self.assembled = assembled;
                return Ok(Some(RecordView::new(&header, &self.assembled[8..], at)));
            }
            last = header;
            if header.kind == kind::SEAL {
                // The next segment goes on from the seal as it was before records were erased.
                last.crc = self.segment(next.segment)?.header.rewritten.unwrap_or(header.crc);
            }
            next = if segment == next.segment {
                Position { offset: next.offset + size as u64, ..next }
            } else {
                Position { segment, offset: SEGMENT_HEADER_BYTES }
            };
        }
    }

    /// A segment's header and its start record, which says where the log comes from. `None` where it was not begun.
    pub(crate) fn start_of(&mut self, number: u64) -> Result<Option<(SegmentHeader, Start)>, LogError> {
        let (file, path, header, _) = self.parts(number)?;
        let mut start = [0; START_BYTES as usize];
        read_exact_at(&*file, SEGMENT_HEADER_BYTES, &mut start)
            .map_err(|source| unless_reused(&*self.storage, &path, LogError::io("read", &path)(source)))?;
        Ok(Start::read(&start, 0, &header).map(|start| (header, start)))
    }

    /// That nothing is missing between the end of what was read of one segment and the start of the one that was begun after it:
    /// a segment that is gone, or one that was read to some damage only, must not go unseen.
    ///
    /// # Errors
    /// [`LogError::Damaged`], naming the segment in which the log does not go on.
    pub(crate) fn must_go_on(
        &mut self,
        end: Position,
        header: &SegmentHeader,
        next: u64,
        start: &Start,
    ) -> Result<(), LogError> {
        let goes_on_here = start.from_segment == end.segment;
        if !goes_on_here && !self.was_never_begun(end.segment, start)? {
            let (_, next_path, ..) = self.parts(next)?;
            let expected = format!("a segment that goes on from segment {:016x}", end.segment);
            let found = format!("one that goes on from {:016x}: a segment is missing", start.from_segment);
            return Err(LogError::damaged(&next_path, SEGMENT_HEADER_BYTES, expected, found));
        }
        if goes_on_here && header.rewritten.is_none() {
            if start.from_end == end.offset {
                return Ok(());
            }
            let (_, path, ..) = self.parts(end.segment)?;
            let expected = format!("records up to offset {}", start.from_end);
            return Err(LogError::damaged(&path, end.offset, expected, "none that can be read"));
        }
        // Where records were erased, or segments without any lie between, the end lies elsewhere; but the numbers go on.
        let (file, path, _, len) = self.parts(end.segment)?;
        let mut bytes = vec![0; end.offset.min(len) as usize];
        read_exact_at(&*file, 0, &mut bytes).map_err(LogError::io("read", &path))?;
        let (mut expect, mut at) = (first_expected(&bytes, header), SEGMENT_HEADER_BYTES as usize);
        while let Ok((record, _, size)) = expected(&bytes, at, &expect) {
            expect = Expect { lsn: record.lsn.saturating_add(1), prev_crc: record.crc, ..expect };
            at += size;
        }
        if expect.lsn == start.lsn {
            return Ok(());
        }
        let wanted = format!("records up to number {}", start.lsn.saturating_sub(1));
        Err(LogError::damaged(&path, at as u64, wanted, "none that can be read"))
    }

    /// Whether a segment goes on from one behind `last` that holds nothing: its own start was torn, so that recovery set that
    /// aside and began the next.
    fn was_never_begun(&mut self, last: u64, start: &Start) -> Result<bool, LogError> {
        let from = start.from_segment;
        if from <= last || start.from_end != SEGMENT_HEADER_BYTES {
            return Ok(false);
        }
        match self.start_of(from) {
            Ok(begun) => Ok(begun.is_none()),
            // An opening from a checkpoint behind it took it for a spare: it held nothing, as the records' numbers show.
            Err(error) if error.is_gone() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The checksum that the segment behind this one goes on from: where records were erased, as it was before.
    fn last_crc_before(&mut self, segment: u64, last: &Header) -> Result<u32, LogError> {
        match self.segment(segment) {
            Ok(segment) => Ok(segment.header.rewritten.unwrap_or(last.crc)),
            // Never begun, and gone.
            Err(error) if error.is_gone() => Ok(last.crc),
            Err(error) => Err(error),
        }
    }

    /// The segment in which the log goes on behind a torn tail: its start record names this place and the record before it.
    fn goes_on(&mut self, end: Position, last: &Header) -> Result<Option<u64>, LogError> {
        let is_rewritten = self.segment(end.segment).is_ok_and(|segment| segment.header.rewritten.is_some());
        let last_crc = self.last_crc_before(end.segment, last)?;
        for (number, _) in self.segments()?.into_iter().filter(|(number, _)| *number > end.segment) {
            let (file, path, header, _) = self.parts(number)?;
            let mut start = [0; START_BYTES as usize];
            read_exact_at(&*file, SEGMENT_HEADER_BYTES, &mut start).map_err(LogError::io("read", &path))?;
            let from = Start::read(&start, 0, &header);
            if from.is_some_and(|from| {
                from.from_segment == end.segment
                    && (is_rewritten || from.from_end == end.offset)
                    && (from.lsn, from.prev_crc) == (last.lsn.wrapping_add(1), last_crc)
            }) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Hands out the transactions of `run` that begin in sealed segments numbered below `before`, oldest first,
    /// building indexes that are missing or damaged. Costs O(segments + the run's own bytes).
    pub fn run(
        &mut self,
        run: &[u8; 16],
        before: u64,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<u64, LogError> {
        let mut count = 0;
        let mut ended: Option<(Position, SegmentHeader)> = None;
        for (number, path) in self.unbroken_segments()?.into_iter().filter(|(n, _)| *n < before) {
            let index = SegmentIndex::open_or_build(&*self.storage, &path)?;
            if let Some((header, start)) = self.start_of(number)? {
                if let Some((end, header)) = ended {
                    self.must_go_on(end, &header, number, &start)?;
                }
                ended = Some((Position { segment: number, offset: index.end() }, header));
            }
            let offsets = match index.offsets(run) {
                Err(LogError::Damaged { .. }) => SegmentIndex::build(&*self.storage, &path)?.offsets(run)?,
                other => other?,
            };
            for offset in offsets {
                let at = Position { segment: number, offset };
                let Some(view) = self.read_unless_aborted(at)? else { continue };
                if view.run != *run {
                    // Checksummed and yet wrong: never hand out another run's transaction.
                    let index = path.with_file_name(index_name(number));
                    return Err(LogError::damaged(&index, 0, "offsets of its run", "another run's"));
                }
                let lsn = view.lsn;
                apply(view).map_err(|source| LogError::Apply { file: path.clone(), offset, lsn, source })?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Forgets open files, for example after segments were archived.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    /// The directories read from.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().map(PathBuf::as_path)
    }
}
