//! Reading everything there is, without changing anything: `check` lists what is wrong, `salvage` hands out what can
//! be read.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::end_of_log::{EndCase, Verdict};
use crate::error::{ApplyError, LogError};
use crate::found::{Start, survey};
use crate::limits::MAX_SEGMENT_BYTES;
use crate::lsn::Lsn;
use crate::record::{ALIGN_BYTES, HEADER_BYTES, Header, Part, Position, RecordView, kind, record_bytes};
use crate::scan::{intact, is_zero, walk};
use crate::segment::{SEGMENT_HEADER_BYTES, START_BYTES, SegmentHeader, parse_segment_name, segment_name};
use crate::storage::{OpenMode, Storage, read_all, read_exact_at};

/// Something wrong, or worth knowing, about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Bytes that could not be read; 0 where that is not the matter.
    pub bytes: u64,
    /// What it is.
    pub what: String,
    /// Whether opening the log would be refused for it or synced data is lost; otherwise it is what a crash leaves.
    pub serious: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Everything worth telling.
    pub problems: Vec<Problem>,
    /// How the log ends, where it can be followed to its end.
    pub end: Option<EndCase>,
    /// Its last record.
    pub last_lsn: Lsn,
    /// Transactions that opening would hand out from the oldest segment on.
    pub transactions: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl CheckReport {
    /// Whether nothing serious was found.
    pub fn sound(&self) -> bool {
        !self.problems.iter().any(|p| p.serious)
    }
}

/// Reads the whole log in `dir`, the segments that its checkpoint (`from`) covers too, and lists what is wrong.
/// Changes nothing. Errors only if the directory cannot be read at all.
pub fn check(
    storage: &dyn Storage,
    dir: &Path,
    shard: u16,
    from: Option<Lsn>,
) -> Result<CheckReport, LogError> {
    let mut report = CheckReport::default();
    // As opening would see it.
    let opened = survey(storage, dir, shard, OpenMode::Read).and_then(|segments| {
        if segments.is_empty() {
            return Err(LogError::Missing { dir: dir.to_path_buf() });
        }
        walk(storage, segments, shard, from.unwrap_or(Lsn::ZERO), &mut |_| Ok(()))
    });
    match opened {
        Ok(w) => {
            report.end = Some(w.case);
            report.last_lsn = Lsn(w.last_lsn);
            report.transactions = w.applied + w.skipped;
            if let Some((link, true)) = w.chain.last().map(|l| (l, w.case.verdict() == Verdict::Torn)) {
                let file = w.segments[link.index].path.to_path_buf();
                let what = format!("{}: {}", w.case, w.case.reason().trim());
                report.problems.push(Problem { file, offset: link.end, bytes: 0, what, serious: false });
            }
        }
        Err(e) => {
            let (file, offset) = match &e {
                LogError::Corrupt(c) => (c.file.clone(), c.offset),
                LogError::UnknownKind { file, offset, .. } => (file.clone(), *offset),
                LogError::NewerFormat { file, .. } => (file.clone(), 8),
                _ => (dir.to_path_buf(), 0),
            };
            report.problems.push(Problem { file, offset, bytes: 0, what: e.to_string(), serious: true });
        }
    }
    // And every file by itself, past the first fault too.
    let refused = report.end.is_none();
    let torn: Vec<_> = report.problems.iter().map(|p| (p.file.clone(), p.offset)).collect();
    read_every(storage, &[dir.to_path_buf()], &mut |item| {
        match item {
            Item::Segment { bytes } => {
                report.segments += 1;
                report.bytes += bytes;
            }
            Item::Record(..) => {}
            Item::Bad(mut problem) => {
                // A torn tail was told already, and so was one that an earlier recovery ended.
                let known = torn.iter().any(|(f, o)| *f == problem.file && *o <= problem.offset);
                problem.serious = refused && problem.serious;
                if !known || refused {
                    report.problems.push(problem);
                }
            }
        }
        Ok(())
    })?;
    Ok(report)
}

/// What could be saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Transactions handed out.
    pub transactions: u64,
    /// What could not be read, and what is missing between what could.
    pub lost: Vec<Problem>,
}

/// Hands out every whole transaction that can be read, oldest first, also those after damage; what is missing is listed. Changes nothing.
///
/// What comes out is not a state the database ever had if anything is missing: later transactions may build on lost ones.
pub fn salvage(
    storage: &dyn Storage,
    dir: &Path,
    apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
) -> Result<SalvageReport, LogError> {
    salvage_after(storage, &[dir.to_path_buf()], Lsn::ZERO, apply)
}

/// [`salvage`] where a checkpoint makes up for everything through `covers`: that such records are missing before the
/// first one is not listed, nor a transaction that begins among them and ends by there.
pub fn salvage_after(
    storage: &dyn Storage,
    dirs: &[PathBuf],
    covers: Lsn,
    apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
) -> Result<SalvageReport, LogError> {
    let mut report = SalvageReport::default();
    let mut last = 0u64;
    let mut first = true;
    let mut seal: Option<(PathBuf, u64, u64)> = None;
    let mut begun: Option<(Header, Position, Vec<u8>)> = None;
    let ends = declared_ends(storage, dirs)?;
    // Behind the place where a recovery ended the log: never synced, and dropped then.
    let was_dropped = |segment: u64, offset: u64| ends.get(&segment).is_some_and(|end| offset >= *end);
    read_every(storage, dirs, &mut |item| {
        let (header, payload, position, path) = match item {
            Item::Segment { .. } => return Ok(()),
            Item::Bad(problem) => {
                let name = problem.file.file_name().and_then(|name| name.to_str());
                if !name.and_then(parse_segment_name).is_some_and(|n| was_dropped(n, problem.offset)) {
                    report.lost.push(problem);
                }
                return Ok(());
            }
            Item::Record(header, payload, position, path) => (header, payload, position, path),
        };
        if was_dropped(position.segment, position.offset) {
            return Ok(());
        }
        let problem = |what: String| Problem {
            file: path.to_path_buf(),
            offset: position.offset,
            bytes: 0,
            what,
            serious: true,
        };
        if std::mem::take(&mut first) && header.lsn <= covers.0.saturating_add(1) {
            last = header.lsn.saturating_sub(1);
        }
        if header.lsn <= last {
            report.lost.push(problem(format!("record {} again, after record {last}; left out", header.lsn)));
            return Ok(());
        }
        if header.lsn > last + 1 {
            report.lost.push(problem(format!("records {} to {} are missing", last + 1, header.lsn - 1)));
            if begun.take().is_some() {
                report.lost.push(problem("a transaction lacks a part; left out".into()));
            }
        }
        last = header.lsn;
        seal = None;
        if header.kind >= kind::FIRST_OWN {
            if header.kind == kind::ABORT {
                begun = None;
            }
            if header.kind == kind::SEAL
                && let Ok(next) = payload.try_into().map(u64::from_le_bytes)
            {
                seal = Some((path.to_path_buf(), position.offset, next));
            }
            return Ok(());
        }
        let mut hand_out = |view: RecordView<'_>| {
            report.transactions += 1;
            let (lsn, offset) = (view.lsn, view.position.offset);
            apply(view).map_err(|source| LogError::Apply { file: path.to_path_buf(), offset, lsn, source })
        };
        match header.part() {
            Part::Whole => hand_out(RecordView::new(&header, payload, position))?,
            Part::Begin => begun = Some((header, position, payload.to_vec())),
            part => match &mut begun {
                Some((begin, start, bytes)) if begin.run == header.run && begin.version == header.version => {
                    bytes.extend_from_slice(payload);
                    if part == Part::Commit {
                        let whole =
                            bytes.get(..8).map(|t| u64::from_le_bytes(t.try_into().expect("eight bytes")));
                        if whole == Some(bytes.len() as u64 - 8) {
                            hand_out(RecordView::new(&header, &bytes[8..], *start))?;
                        } else {
                            report.lost.push(problem("a transaction lacks a part; left out".into()));
                        }
                        begun = None;
                    }
                }
                // One that the checkpoint holds may have begun in a segment that was let go.
                _ if part == Part::Commit && header.lsn > covers.0 => {
                    report.lost.push(problem("a transaction lacks its first part; left out".into()));
                }
                _ => {}
            },
        }
        Ok(())
    })?;
    report.lost.extend(missing_end(storage, dirs, covers, (!first).then_some(last), seal)?);
    Ok(report)
}

/// What shows that the log went on behind the last record that was read.
fn missing_end(
    storage: &dyn Storage,
    dirs: &[PathBuf],
    covers: Lsn,
    last: Option<u64>,
    seal: Option<(PathBuf, u64, u64)>,
) -> Result<Option<Problem>, LogError> {
    let segments = every_segment(storage, dirs)?;
    let dir = || dirs.first().map_or(PathBuf::new(), Clone::clone);
    let lost = |file: PathBuf, offset: u64, what: String| {
        Ok(Some(Problem { file, offset, bytes: 0, what, serious: true }))
    };
    match (last, seal) {
        // A log that was never begun has one segment, the first ever made.
        (None, _) if covers == Lsn::ZERO && segments.keys().eq([&1]) => Ok(None),
        (None, _) => {
            let what = format!("no record of the log is there: what came after record {covers} is missing");
            lost(dir(), 0, what)
        }
        (Some(_), Some((file, offset, next))) if !segments.contains_key(&next) => {
            lost(file, offset, format!("segment {next:016x}, in which the log goes on, is missing"))
        }
        (Some(last), _) if last < covers.0 => {
            let what =
                format!("the log ends at record {last}, and its checkpoint covers through record {covers}");
            lost(dir(), 0, what)
        }
        _ => Ok(None),
    }
}

enum Item<'a> {
    Segment { bytes: u64 },
    Record(Header, &'a [u8], Position, &'a Path),
    Bad(Problem),
}

/// Segments by number, each once.
fn every_segment(storage: &dyn Storage, dirs: &[PathBuf]) -> Result<BTreeMap<u64, PathBuf>, LogError> {
    let mut all = BTreeMap::new();
    for dir in dirs {
        if storage.exists(dir).map_err(LogError::io("look for", dir))? {
            let names = storage.read_dir(dir).map_err(LogError::io("list", dir))?;
            let numbers = names.iter().filter_map(|n| parse_segment_name(n));
            for number in numbers {
                all.entry(number).or_insert_with(|| dir.join(segment_name(number)));
            }
        }
    }
    Ok(all)
}

/// Where later segments say that the log left earlier ones.
fn declared_ends(storage: &dyn Storage, dirs: &[PathBuf]) -> Result<HashMap<u64, u64>, LogError> {
    let mut ends = HashMap::new();
    for path in every_segment(storage, dirs)?.values() {
        // What cannot be read says nothing.
        let mut head = vec![0; (SEGMENT_HEADER_BYTES + START_BYTES) as usize];
        let read = storage.open(path, OpenMode::Read).and_then(|file| read_exact_at(&*file, 0, &mut head));
        if read.is_ok()
            && let Ok(header) = SegmentHeader::decode(&head)
            && let Some(start) = Start::read(&head, SEGMENT_HEADER_BYTES as usize, &header)
        {
            ends.insert(start.from_segment, start.from_end);
        }
    }
    Ok(ends)
}

/// Reads every segment file from front to back, going on after what cannot be read.
fn read_every(
    storage: &dyn Storage,
    dirs: &[PathBuf],
    each: &mut dyn FnMut(Item<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    for (number, path) in every_segment(storage, dirs)? {
        let bad = |offset: u64, bytes: u64, what: String| {
            Item::Bad(Problem { file: path.clone(), offset, bytes, what, serious: true })
        };
        let bytes = storage.open(&path, OpenMode::Read).and_then(|f| read_all(&*f, MAX_SEGMENT_BYTES));
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(e) => {
                each(bad(0, 0, format!("the file cannot be read: {e}")))?;
                continue;
            }
        };
        each(Item::Segment { bytes: bytes.len() as u64 })?;
        let header = SegmentHeader::decode(&bytes);
        let salt = match header {
            Ok(h) => Some(h.salt),
            Err(fault) => {
                each(bad(
                    0,
                    SEGMENT_HEADER_BYTES.min(bytes.len() as u64),
                    format!("damaged header: {fault:?}"),
                ))?;
                None
            }
        };
        read_records(&bytes, number, salt, &path, each)?;
    }
    Ok(())
}

fn read_records(
    bytes: &[u8],
    number: u64,
    mut salt: Option<u32>,
    path: &Path,
    each: &mut dyn FnMut(Item<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut at = SEGMENT_HEADER_BYTES as usize;
    let mut bad_from = None;
    let mut budget = (bytes.len() as u64).saturating_mul(crate::limits::SCAN_BUDGET_FACTOR);
    let close = |from: usize, to: usize| {
        // What a crash leaves after the last record is not damage unless something follows.
        let what = "not a record".to_string();
        Item::Bad(Problem {
            file: path.to_path_buf(),
            offset: from as u64,
            bytes: (to - from) as u64,
            what,
            serious: true,
        })
    };
    while at + HEADER_BYTES <= bytes.len() {
        let header = Header::read(&bytes[at..]);
        let size = record_bytes(header.len as usize);
        let plausible = header.kind != 0 && salt.is_none_or(|s| s == header.salt) && size <= bytes.len() - at;
        if plausible {
            let Some(left) = budget.checked_sub(size as u64) else { break };
            budget = left;
        }
        match plausible.then(|| intact(bytes, at)) {
            Some(Ok((header, payload, size))) => {
                if let Some(from) = bad_from.take() {
                    each(close(from, at))?;
                }
                salt = Some(header.salt);
                each(Item::Record(header, payload, Position { segment: number, offset: at as u64 }, path))?;
                at += size;
            }
            _ => {
                bad_from.get_or_insert(at);
                at += ALIGN_BYTES;
            }
        }
    }
    if let Some(from) = bad_from.filter(|from| !is_zero(&bytes[*from..])) {
        let used = bytes.iter().rposition(|b| *b != 0).map_or(from, |i| i + 1);
        each(close(from, used.max(from)))?;
    }
    Ok(())
}
