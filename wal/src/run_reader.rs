//! All transactions of some runs, in the order of their commits, out of a log that may be written to meanwhile.
//!
//! Sealed segments are read by their index, several neighbouring records with one read; the segment that is being
//! written, and what follows it meanwhile, is followed record by record up to the version asked for.

use std::path::{Path, PathBuf};

use crate::error::{ApplyError, LogError};
use crate::history::HistoryReader;
use crate::index::SegmentIndex;
use crate::record::{HEADER_BYTES, Header, Part, Position, RecordView, kind, record_bytes};
use crate::scan::{Expect, expected, intact};
use crate::segment::{SEGMENT_HEADER_BYTES, START_BYTES, SegmentHeader, segment_name};
use crate::storage::read_exact_at;

/// Records that are no further apart than this are read together, in bytes.
const NEIGHBOUR_GAP_BYTES: u64 = 4 * 1024;

/// The most that is read at once, in bytes, but for a record that is larger.
const WINDOW_BYTES: u64 = 256 * 1024;

/// Fewest bytes read behind the last neighbour's start. A run's records are mostly alike, so it is what the one before took, if that
/// was more. Far apart, bytes that are not needed cost: 10,000 reads of 192 bytes take 4.5 ms, of 512 bytes 6.0 ms.
const LAST_RECORD_BYTES: u64 = 192;

/// Most times that the segments are listed because one that was listed is gone.
const MAX_LISTINGS: u32 = 100;

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

fn is_gone(error: &LogError) -> bool {
    match error {
        LogError::Missing { .. } => true,
        LogError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
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
        let mut extent = Extent::default();
        let begun = self.begun()?;
        let Some((active, ..)) = begun.last().cloned() else { return Ok(extent) };
        extent.first_lsn = begun[0].1;
        for (number, _) in &begun[..begun.len() - 1] {
            let storage = self.storage();
            let (_, _, segment, _) = self.parts(*number)?;
            let (path, index) = self.index(*number, &segment)?;
            let mut offsets = Vec::new();
            for run in runs {
                match index.offsets(run) {
                    Err(LogError::Damaged { .. }) => {
                        offsets.extend(SegmentIndex::build(&*storage, &path)?.offsets(run)?);
                    }
                    other => offsets.extend(other?),
                }
            }
            if runs.len() > 1 {
                offsets.sort_unstable();
            }
            if let Some((_, last)) = index.versions() {
                extent.last_version = extent.last_version.max(last);
            }
            self.indexed(*number, &offsets, runs, through, &mut extent, apply)?;
        }
        self.follow(active, runs, through, &mut extent, apply)?;
        Ok(extent)
    }

    /// The segments that were begun and their first records, oldest first; all of them are open from here on. What is not
    /// begun yet is a spare: it has no start record.
    ///
    /// The log goes on meanwhile: a spare that is used for another segment, or a segment that a checkpoint lets go, may be
    /// listed and then be gone. What is there then is listed again, from the beginning: a gap must not go unseen.
    fn begun(&mut self) -> Result<Vec<(u64, u64)>, LogError> {
        let mut listings = 0;
        'listing: loop {
            let mut begun = Vec::new();
            listings += 1;
            for (number, _) in self.segments()? {
                match self.first_lsn(number) {
                    Ok(Some(first_lsn)) => begun.push((number, first_lsn)),
                    Ok(None) => {}
                    Err(error) if is_gone(&error) && listings < MAX_LISTINGS => {
                        self.forget();
                        continue 'listing;
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(begun);
        }
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
                Err(error) if !is_gone(&error) && !matches!(error, LogError::Damaged { .. }) => {
                    return Err(error);
                }
                Err(_) => {}
            }
            match SegmentIndex::open_or_build(&*storage, &path) {
                Ok(index) => return Ok((path, index)),
                Err(error) if is_gone(&error) => gone = Some(error),
                Err(error) => return Err(error),
            }
        }
        let dir = self.dirs().next().map_or(PathBuf::new(), Path::to_path_buf);
        Err(gone.unwrap_or(LogError::Missing { dir }))
    }

    /// The number of a segment's first record; `None` where it was not begun.
    fn first_lsn(&mut self, number: u64) -> Result<Option<u64>, LogError> {
        let (file, path, header, _) = self.parts(number)?;
        let mut start = [0; START_BYTES as usize];
        read_exact_at(&*file, SEGMENT_HEADER_BYTES, &mut start).map_err(LogError::io("read", &path))?;
        Ok(intact(&start, 0)
            .ok()
            .filter(|(head, ..)| head.kind == kind::START && head.salt == header.salt)
            .map(|(head, ..)| head.lsn))
    }

    fn indexed(
        &mut self,
        number: u64,
        offsets: &[u64],
        runs: &[[u8; 16]],
        through: u64,
        extent: &mut Extent,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<(), LogError> {
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
                let bytes = &window[(offset - first) as usize..];
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
                    // Large, in several parts, or damaged: read alone, which says what is wrong.
                    _ => match self.read_unless_aborted(at)? {
                        Some(view) => view,
                        None => continue,
                    },
                };
                if !runs.contains(&view.run) {
                    return Err(LogError::damaged(&path, offset, "a record of the run", "another run's"));
                }
                if view.version > through {
                    return Ok(());
                }
                let lsn = view.lsn;
                last_bytes =
                    (record_bytes(view.payload.len()) as u64).clamp(LAST_RECORD_BYTES, NEIGHBOUR_GAP_BYTES);
                apply(view).map_err(|source| LogError::Apply { file: path.clone(), offset, lsn, source })?;
                extent.transactions += 1;
            }
        }
        Ok(())
    }

    /// Follows the log from a segment on, as far as it goes or as `through` says.
    fn follow(
        &mut self,
        from: u64,
        runs: &[[u8; 16]],
        through: u64,
        extent: &mut Extent,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<(), LogError> {
        let mut number = from;
        let mut assembled: Option<(Position, Vec<u8>)> = None;
        loop {
            let (file, path, segment, len) = self.parts(number)?;
            let mut window: Vec<u8> = Vec::new();
            let (mut base, mut at) = (0, SEGMENT_HEADER_BYTES);
            let mut expect: Option<Expect> = None;
            let sealed_by = loop {
                let wanted = expect.unwrap_or(Expect {
                    salt: segment.salt,
                    shard: segment.shard,
                    lsn: 0,
                    prev_crc: 0,
                });
                let read = |bytes: &[u8], from: usize| -> Option<(Header, usize)> {
                    let found = match expect {
                        Some(_) => expected(bytes, from, &wanted),
                        // A segment's first record says itself where it comes from.
                        None => intact(bytes, from),
                    };
                    found.ok().filter(|(h, ..)| h.salt == segment.salt).map(|(h, _, size)| (h, size))
                };
                let inside = (at - base) as usize;
                let found = if inside < window.len() { read(&window, inside) } else { None };
                let Some((header, size)) = found else {
                    // It may only lead out of what was read so far: read once more, from here.
                    let claimed = match window.get(inside..inside + HEADER_BYTES) {
                        Some(head) if base == at => record_bytes(Header::read(head).len as usize) as u64,
                        _ => 0,
                    };
                    let want = WINDOW_BYTES.max(claimed).min(len.saturating_sub(at));
                    if want == 0 || (base == at && window.len() as u64 >= want) {
                        break None;
                    }
                    base = at;
                    window.resize(want as usize, 0);
                    read_exact_at(&*file, base, &mut window).map_err(LogError::io("read", &path))?;
                    continue;
                };
                let payload = &window[inside + HEADER_BYTES..inside + HEADER_BYTES + header.len as usize];
                let here = Position { segment: number, offset: at };
                expect = Some(Expect {
                    salt: segment.salt,
                    shard: segment.shard,
                    lsn: header.lsn + 1,
                    prev_crc: header.crc,
                });
                at += size as u64;
                if header.kind >= kind::FIRST_OWN {
                    if header.kind == kind::ABORT {
                        assembled = None;
                    }
                    if header.kind == kind::ERASED {
                        extent.last_version = extent.last_version.max(header.version);
                    }
                    if header.kind == kind::SEAL {
                        break payload.try_into().ok().map(u64::from_le_bytes);
                    }
                    continue;
                }
                if header.version > through {
                    return Ok(());
                }
                let view = match header.part() {
                    Part::Whole => RecordView::new(&header, payload, here),
                    Part::Begin => {
                        assembled = Some((here, payload.to_vec()));
                        continue;
                    }
                    Part::Continue => {
                        if let Some((_, bytes)) = &mut assembled {
                            bytes.extend_from_slice(payload);
                        }
                        continue;
                    }
                    Part::Commit => {
                        let Some((begun, bytes)) = &mut assembled else { continue };
                        bytes.extend_from_slice(payload);
                        // The first part begins with the length of the whole.
                        RecordView::new(&header, bytes.get(8..).unwrap_or_default(), *begun)
                    }
                };
                extent.last_version = extent.last_version.max(view.version);
                if runs.contains(&view.run) {
                    let (lsn, offset) = (view.lsn, view.position.offset);
                    apply(view).map_err(|source| LogError::Apply {
                        file: path.clone(),
                        offset,
                        lsn,
                        source,
                    })?;
                    extent.transactions += 1;
                }
                if header.part() == Part::Commit {
                    assembled = None;
                }
            };
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
                let first_lsn = match self.first_lsn(candidate) {
                    // A spare that is used for another segment.
                    Err(error) if sealed_by.is_none() && is_gone(&error) => None,
                    other => other?,
                };
                if first_lsn.is_some() {
                    next = Some(candidate);
                    break;
                }
            }
            let Some(next) = next else { return Ok(()) };
            number = next;
        }
    }
}
