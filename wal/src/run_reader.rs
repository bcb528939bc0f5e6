//! All transactions of some runs, in the order of their commits, out of a log that may be written to meanwhile.
//!
//! Sealed segments are read by their index, which holds what lies scattered; several neighbouring records are read with one
//! read. The segment that is being written, and what follows it meanwhile, is looked through once for where its transactions
//! begin, and from where it was left the next time.

use std::path::{Path, PathBuf};

use crate::copies::Copies;
use crate::error::{ApplyError, LogError};
use crate::found::Start;
use crate::history::HistoryReader;
use crate::index::{Page, SegmentIndex};
use crate::record::{HEADER_BYTES, Header, Part, Position, RecordView, kind, record_bytes};
use crate::scan::intact;
use crate::seen::{Archived, Seen, Tail};
use crate::segment::{SegmentHeader, segment_name};
use crate::storage::read_exact_at;

/// Records that are no further apart than this are read together, in bytes.
pub(crate) const NEIGHBOUR_GAP_BYTES: u64 = 4 * 1024;

/// The most that is read at once, in bytes, but for a record that is larger.
const WINDOW_BYTES: u64 = 256 * 1024;

/// Fewest bytes read behind the last neighbour's start. A run's records are mostly alike, so it is what the one before took, if that
/// was more. Far apart, bytes that are not needed cost: 10,000 reads of 192 bytes take 4.5 ms, of 512 bytes 6.0 ms.
const LAST_RECORD_BYTES: u64 = 192;

/// Most times that the segments are listed because one that was listed is gone.
pub(crate) const MAX_LISTINGS: u32 = 100;

/// What there was to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Number of the first record of the oldest segment that is left; 1: the log is whole.
    pub first_lsn: u64,
    /// The last version that is in the log, of any run; 0: there is none.
    pub last_version: u64,
    /// Transactions handed out.
    pub transactions: u64,
}

/// A segment that was begun.
struct Begun {
    number: u64,
    header: SegmentHeader,
    start: Start,
    /// Whether it lies elsewhere than in the log's own directory, from where nobody takes it.
    is_archived: bool,
    /// Whether an earlier read went through it.
    is_known: bool,
}

impl HistoryReader {
    /// Hands out, oldest first, every transaction up to version `through` whose record belongs to one of `runs`.
    /// The log may be appended to meanwhile; `through` is a version that is in it already.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Io`], and [`LogError::Apply`] with what `apply` says.
    pub fn runs(
        &mut self,
        runs: &[[u8; 16]],
        through: u64,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<Extent, LogError> {
        self.runs_again(&mut Seen::default(), runs, through, apply)
    }

    /// As [`HistoryReader::runs`], knowing what an earlier read of the same log has seen. The first of the directories is the
    /// log's own; what lies in the others stays there.
    ///
    /// # Errors
    /// As [`HistoryReader::runs`].
    pub fn runs_again(
        &mut self,
        seen: &mut Seen,
        runs: &[[u8; 16]],
        through: u64,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<Extent, LogError> {
        let mut extent = Extent::default();
        let begun = self.begun(seen)?;
        let Some(active) = begun.last() else { return Ok(extent) };
        extent.first_lsn = begun[0].start.lsn;
        let mut page = Page::default();
        for pair in begun.windows(2) {
            let (segment, next) = (&pair[0], &pair[1]);
            if !self.sealed(segment, next, runs, through, &mut page, &mut extent, apply)? {
                return Ok(extent);
            }
            if segment.is_archived {
                let known = Archived { header: segment.header, start: segment.start };
                seen.archived.insert(segment.number, known);
            }
        }
        self.follow(active.number, runs, through, &mut seen.tail, &mut extent, apply)?;
        Ok(extent)
    }

    /// Number of the first record that is left; 0: there is none.
    ///
    /// # Errors
    /// As [`HistoryReader::runs`].
    pub fn first_lsn(&mut self) -> Result<u64, LogError> {
        Ok(self.begun(&Seen::default())?.first().map_or(0, |oldest| oldest.start.lsn))
    }

    /// The segments that were begun, oldest first; all that can be taken away are open from here on. What is not begun yet is a
    /// spare: it has no start record.
    ///
    /// The log goes on meanwhile: a spare that is used for another segment, or a segment that a checkpoint lets go, may be
    /// listed and then be gone. What is there then is listed again, from the beginning: a gap must not go unseen.
    fn begun(&mut self, seen: &Seen) -> Result<Vec<Begun>, LogError> {
        let mut listings = 0;
        let own = self.dirs().next().map(Path::to_path_buf);
        'listing: loop {
            let mut begun = Vec::new();
            listings += 1;
            for (number, path) in self.unbroken_segments()? {
                let is_archived = path.parent() != own.as_deref();
                if is_archived && let Some(&Archived { header, start }) = seen.archived.get(&number) {
                    begun.push(Begun { number, header, start, is_archived, is_known: true });
                    continue;
                }
                match self.start_of(number) {
                    Ok(Some((header, start))) => {
                        begun.push(Begun { number, header, start, is_archived, is_known: false });
                    }
                    Ok(None) => {}
                    Err(error) if error.is_gone() && listings < MAX_LISTINGS => {
                        self.forget();
                        continue 'listing;
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(begun);
        }
    }

    /// Hands out what a sealed segment holds; whether later ones may hold more.
    #[allow(clippy::too_many_arguments, reason = "what is read, and where it goes")]
    fn sealed(
        &mut self,
        segment: &Begun,
        next: &Begun,
        runs: &[[u8; 16]],
        through: u64,
        page: &mut Page,
        extent: &mut Extent,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<bool, LogError> {
        let (path, mut index) = self.index(segment.number, &segment.header)?;
        if let Some((_, last)) = index.versions() {
            extent.last_version = extent.last_version.max(last);
        }
        let mut copied = Vec::new();
        let found = match transactions(&index, runs, page, &mut copied) {
            Err(LogError::Damaged { .. }) => {
                index = SegmentIndex::build(&*self.storage(), &path)?;
                copied.clear();
                transactions(&index, runs, page, &mut copied)?
            }
            found => found?,
        };
        if !segment.is_known {
            let end = Position { segment: segment.number, offset: index.end() };
            self.must_go_on(end, &segment.header, next.number, &next.start)?;
        }
        let mut rest = &found[..];
        while let Some((offset, copy)) = rest.first() {
            if let Some(view) = copy {
                if view.version > through {
                    return Ok(false);
                }
                let (offset, lsn) = (*offset, view.lsn);
                apply(*view).map_err(|source| LogError::Apply { file: path.clone(), offset, lsn, source })?;
                extent.transactions += 1;
                rest = &rest[1..];
                continue;
            }
            let offsets: Vec<u64> =
                rest.iter().take_while(|(_, copy)| copy.is_none()).map(|(offset, _)| *offset).collect();
            rest = &rest[offsets.len()..];
            if !self.indexed(segment.number, &offsets, runs, through, extent, apply)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A segment's index by run, wherever the segment is by now: it may be archived while it is read.
    fn index(&self, number: u64, segment: &SegmentHeader) -> Result<(PathBuf, SegmentIndex), LogError> {
        let storage = self.storage();
        let mut gone = None;
        for dir in self.dirs() {
            let path = dir.join(segment_name(number));
            // The segment itself is open: its header need not be read again.
            match SegmentIndex::open_of(&*storage, &path, segment) {
                Ok(index) => return Ok((path, index)),
                Err(error) if !error.is_gone() && !matches!(error, LogError::Damaged { .. }) => {
                    return Err(error);
                }
                Err(_) => {}
            }
            match SegmentIndex::open_or_build(&*storage, &path) {
                Ok(index) => return Ok((path, index)),
                Err(error) if error.is_gone() => gone = Some(error),
                Err(error) => return Err(error),
            }
        }
        let dir = self.dirs().next().map_or(PathBuf::new(), Path::to_path_buf);
        Err(gone.unwrap_or(LogError::Missing { dir }))
    }

    /// Hands out the transactions that begin at these offsets; whether later ones may be wanted, too.
    fn indexed(
        &mut self,
        number: u64,
        offsets: &[u64],
        runs: &[[u8; 16]],
        through: u64,
        extent: &mut Extent,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<bool, LogError> {
        if offsets.is_empty() {
            return Ok(true);
        }
        let (file, path, segment, len) = self.parts(number)?;
        let mut window = Vec::new();
        let mut last_bytes = LAST_RECORD_BYTES;
        let mut rest = offsets;
        while let Some(&first) = rest.first() {
            let together = 1 + rest
                .windows(2)
                .take_while(|pair| pair[1] - pair[0] < NEIGHBOUR_GAP_BYTES && pair[1] - first < WINDOW_BYTES)
                .count();
            let (here, later) = rest.split_at(together);
            rest = later;
            let end = (here[together - 1] + last_bytes).min(len);
            window.resize(end.saturating_sub(first) as usize, 0);
            read_exact_at(&*file, first, &mut window).map_err(LogError::io("read", &path))?;
            for &offset in here {
                let at = Position { segment: number, offset };
                let bytes = window.get((offset - first) as usize..).unwrap_or_default();
                let fits = bytes.len() >= HEADER_BYTES
                    && record_bytes(Header::read(bytes).len as usize) <= bytes.len();
                let whole = if fits { intact(bytes, 0).ok() } else { None };
                let view = match whole {
                    Some((header, payload, _))
                        if header.part() == Part::Whole
                            && header.salt == segment.salt
                            && header.kind < kind::FIRST_OWN =>
                    {
                        RecordView::new(&header, payload, at)
                    }
                    // Large, in several parts, or damaged: read alone, which says what is wrong. What is beyond may lack parts
                    // that are being written now.
                    _ if self.version_at(at)? > through => return Ok(false),
                    _ => match self.read_unless_aborted(at)? {
                        Some(view) => view,
                        None => continue,
                    },
                };
                if !runs.contains(&view.run) {
                    return Err(LogError::damaged(&path, offset, "a record of the run", "another run's"));
                }
                if view.version > through {
                    return Ok(false);
                }
                let lsn = view.lsn;
                last_bytes =
                    (record_bytes(view.payload.len()) as u64).clamp(LAST_RECORD_BYTES, NEIGHBOUR_GAP_BYTES);
                apply(view).map_err(|source| LogError::Apply { file: path.clone(), offset, lsn, source })?;
                extent.transactions += 1;
            }
        }
        Ok(true)
    }

    /// Follows the log from a segment on, as far as it goes or as `through` says.
    fn follow(
        &mut self,
        from: u64,
        runs: &[[u8; 16]],
        through: u64,
        tail: &mut Tail,
        extent: &mut Extent,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<(), LogError> {
        let mut number = from;
        let mut unended: Option<(u64, u64)> = None;
        // So far the segment was handed out.
        let mut handed = 0;
        loop {
            let (file, path, segment, len) = self.parts(number)?;
            tail.read_on(&*file, &path, &segment, len)?;
            extent.last_version = extent.last_version.max(tail.last_version);
            // It ends in this segment, or not at all.
            if let Some((before, offset)) = unended.take()
                && !self.indexed(before, &[offset], runs, through, extent, apply)?
            {
                return Ok(());
            }
            let offsets: Vec<u64> = tail.offsets(runs).into_iter().filter(|at| *at >= handed).collect();
            if !self.indexed(number, &offsets, runs, through, extent, apply)? {
                return Ok(());
            }
            handed = tail.at;
            unended = tail.unended(runs).map(|offset| (number, offset));
            let sealed_by = tail.goes_on_in;
            if extent.last_version >= through {
                return Ok(());
            }
            // The log may have gone on in another segment since the segments were listed.
            let later = self.segments()?;
            let mut next = None;
            for (candidate, _) in later.into_iter().filter(|(n, _)| *n > number) {
                if sealed_by.is_some_and(|by: u64| by != candidate) {
                    continue;
                }
                let start = match self.start_of(candidate) {
                    // A spare that is used for another segment.
                    Err(error) if sealed_by.is_none() && error.is_gone() => None,
                    other => other?,
                };
                if let Some((_, start)) = start {
                    next = Some((candidate, start));
                    break;
                }
            }
            let Some((next, start)) = next else { return Ok(()) };
            if sealed_by.is_none() && start.from_segment == number {
                // What was written since this segment was looked at comes first.
                let before = tail.at;
                tail.read_on(&*file, &path, &segment, len)?;
                if tail.at > before {
                    continue;
                }
            }
            self.must_go_on(Position { segment: number, offset: tail.at }, &segment, next, &start)?;
            (number, handed) = (next, 0);
        }
    }
}

/// Where the transactions of these runs begin in a sealed segment, in order, each with its copy where it has one.
fn transactions<'c>(
    index: &SegmentIndex,
    runs: &[[u8; 16]],
    page: &mut Page,
    copied: &'c mut Vec<u8>,
) -> Result<Vec<(u64, Option<RecordView<'c>>)>, LogError> {
    page.forget();
    let mut listed = Vec::new();
    for run in runs {
        let Some(found) = index.find(run, page)? else { continue };
        let from = copied.len();
        let has_copies = index.copies(&found, copied)?;
        listed.push((run, found, has_copies.then_some(from..copied.len())));
    }
    let copied: &'c Vec<u8> = copied;
    let mut all = Vec::new();
    for (run, found, copies) in &listed {
        let from = all.len();
        if let Some(range) = copies {
            let Some(mut copies) = Copies::new(&copied[range.clone()], run, index.segment()) else {
                return Err(index.damaged_copies());
            };
            all.reserve(copies.left());
            while let Some(view) = copies.next() {
                all.push((view.position.offset, Some(view)));
            }
        }
        // Those of several records, and large ones, are not copied.
        if all.len() - from < found.count as usize {
            let end = all.len();
            for offset in index.list(found)? {
                if all[from..end].binary_search_by_key(&offset, |(copied, _)| *copied).is_err() {
                    all.push((offset, None));
                }
            }
        }
    }
    all.sort_unstable_by_key(|(offset, _)| *offset);
    Ok(all)
}
