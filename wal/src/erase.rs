//! Erasing transactions from segments that nobody appends to any more.
//!
//! A rewritten segment has the same number and the same row of lsns: a record that goes leaves an *erased* record in its place,
//! which keeps the lsn and the commit version and nothing else. Checksums are chained anew under a new salt, so that no index of the
//! old file is taken for one of the new; the header keeps the checksum that the last record had, which is what the next
//! segment goes on from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{ApplyError, LogError};
use crate::history::{HistoryReader, unless_reused};
use crate::index::{first_expected, header_of};
use crate::limits::MAX_SEGMENT_BYTES;
use crate::record::{HEADER_BYTES, Part, checksum, flags, kind, record_bytes};
use crate::release::OLD_SUFFIX;
use crate::run_reader::MAX_LISTINGS;
use crate::scan::{Expect, expected, intact, is_zero};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::storage::{OpenMode, Storage, read_all};

/// What becomes of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// It goes.
    Erase,
    /// It stays with another payload, no longer than its own. Of one that is in several records, nothing is replaced.
    Replace(Vec<u8>),
    /// Of one that is in several records: only its whole payload tells. It stays; where something of it would have gone, it is counted.
    Ask,
}

/// Decides on a transaction by its run and its payload; of one that is in several records, first without the payload.
pub type Judge<'a> = dyn FnMut(&[u8; 16], Option<&[u8]>) -> Result<Fate, ApplyError> + 'a;

/// What was erased, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Records that go, or shrink.
    pub records: u64,
    /// Bytes of log that they free.
    pub bytes: u64,
    /// Segments that are rewritten.
    pub segments: u64,
    /// Bytes of transactions that hold something that should go and stay: those in several records that not all of it is to go from.
    pub left: u64,
}

/// Erases from every segment in `dirs` what `judge` says; with `dry_run`, only counts. Blocking. Segments that a log still appends
/// to, or reads on recovery, must not be in `dirs` unless it is a dry run, and nobody may read them meanwhile.
///
/// Each segment is replaced by one rename: after a crash some are rewritten, some are not, and doing it again does the rest.
///
/// # Errors
/// [`LogError::Damaged`] for a segment whose records cannot all be read, which stays as it is.
pub fn erase(
    storage: &Arc<dyn Storage>,
    dirs: Vec<PathBuf>,
    dry_run: bool,
    judge: &mut Judge<'_>,
) -> Result<Erased, LogError> {
    let mut listings = 1;
    loop {
        match erase_listed(storage, dirs.clone(), dry_run, judge) {
            // The log of a dry run goes on meanwhile: what is listed may be a spare that is used for another segment by now.
            Err(error) if dry_run && error.is_gone() && listings < MAX_LISTINGS => listings += 1,
            result => return result,
        }
    }
}

fn erase_listed(
    storage: &Arc<dyn Storage>,
    dirs: Vec<PathBuf>,
    dry_run: bool,
    judge: &mut Judge<'_>,
) -> Result<Erased, LogError> {
    let mut erased = Erased::default();
    let mut asked = Asked::default();
    let segments = HistoryReader::new(storage.clone(), dirs).segments()?;
    for (place, (number, path)) in segments.iter().enumerate() {
        let file = storage.open(path, OpenMode::Read).map_err(LogError::io("open", path))?;
        let bytes = read_all(&*file, MAX_SEGMENT_BYTES).map_err(LogError::io("read", path))?;
        drop(file);
        let header = header_of(&bytes, path).map_err(|error| unless_reused(&**storage, path, error))?;
        if !intact(&bytes, SEGMENT_HEADER_BYTES as usize).is_ok_and(|(first, ..)| first.kind == kind::START) {
            // Never begun: zeroes, or what a power cut left behind a start that it took.
            let records = SEGMENT_HEADER_BYTES as usize;
            if !dry_run && !is_zero(&bytes[records..]) {
                let mut blank = bytes;
                blank[records..].fill(0);
                replace(&**storage, path, &blank)?;
            }
            continue;
        }
        let rewritten = rewrite(&bytes, &header, path, judge, &mut asked)?;
        let has_rest = !rewritten.sealed && !is_zero(&bytes[rewritten.end..]);
        // What follows the end of a log that a recovery ended is no part of it; what follows the end of any other is damage.
        if has_rest && !dry_run {
            let later = segments.get(place + 1).map(|(_, path)| path);
            let ended = later
                .is_some_and(|later| comes_from(&**storage, later) == Some((*number, rewritten.end as u64)));
            if !ended {
                let found = "bytes that are none";
                return Err(LogError::damaged(path, rewritten.end as u64, "a record or the end", found));
            }
        }
        erased.left = asked.left;
        erased.records += rewritten.records;
        erased.bytes += rewritten.freed;
        if rewritten.records > 0 || !is_zero(&bytes[rewritten.end..]) {
            erased.segments += 1;
            if !dry_run {
                replace(&**storage, path, &rewritten.bytes)?;
            }
        }
    }
    Ok(erased)
}

/// Whether a file, of those in its directory, is none of the log's, though it may hold what was in it.
fn is_set_aside(name: &str, names: &[String]) -> bool {
    let is_there = |segment: String| names.contains(&segment);
    let is_stray = name.strip_suffix(".idx").is_some_and(|number| !is_there(format!("{number}.wal")));
    let ends = [".tail", ".torn", ".idx.tmp", ".ckpt.part", OLD_SUFFIX];
    is_stray || ends.iter().any(|end| name.ends_with(end))
}

/// Whether there is something in a directory that [`remove_set_aside`] removes.
pub fn has_set_aside(storage: &dyn Storage, dir: &Path) -> Result<bool, LogError> {
    if !storage.exists(dir).map_err(LogError::io("look for", dir))? {
        return Ok(false);
    }
    let names = storage.read_dir(dir).map_err(LogError::io("list", dir))?;
    Ok(names.iter().any(|name| is_set_aside(name, &names)))
}

/// Removes what recoveries set aside of torn logs in a directory, which was never part of the log, and what copies of it were
/// made beside it: indexes that are not whole, or whose segment is elsewhere, checkpoints that were not finished, and released files
/// that nobody came to use again. Nobody may write a checkpoint there meanwhile. A directory that is not there holds none.
pub fn remove_set_aside(storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
    if !storage.exists(dir).map_err(LogError::io("look for", dir))? {
        return Ok(());
    }
    let names = storage.read_dir(dir).map_err(LogError::io("list", dir))?;
    for name in &names {
        let is_left = name.ends_with(OLD_SUFFIX) && crate::planted::is_planted("wal_leave_old_files");
        if !is_left && is_set_aside(name, &names) {
            let path = dir.join(name);
            match storage.remove(&path) {
                // A file that is made a spare of meanwhile: its blocks are zeroed there.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(LogError::io("remove", &path))?,
            }
        }
    }
    storage.sync_dir(dir).map_err(LogError::io("sync the directory", dir))
}

/// Where a segment's start record says that the log comes from.
fn comes_from(storage: &dyn Storage, path: &Path) -> Option<(u64, u64)> {
    let file = storage.open(path, OpenMode::Read).ok()?;
    let bytes = read_all(&*file, MAX_SEGMENT_BYTES).ok()?;
    let (first, payload, _) = intact(&bytes, SEGMENT_HEADER_BYTES as usize).ok()?;
    let payload: &[u8; 16] = payload.try_into().ok()?;
    let word = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().expect("eight bytes"));
    (first.kind == kind::START).then(|| (word(0), word(8)))
}

/// Transactions in several records, put together across segments.
#[derive(Default)]
struct Asked {
    begun: bool,
    payload: Vec<u8>,
    left: u64,
}

struct Rewritten {
    bytes: Vec<u8>,
    /// Where the records ended in the old file.
    end: usize,
    sealed: bool,
    records: u64,
    freed: u64,
}

fn rewrite(
    bytes: &[u8],
    header: &SegmentHeader,
    path: &Path,
    judge: &mut Judge<'_>,
    asked: &mut Asked,
) -> Result<Rewritten, LogError> {
    let salt = match header.salt.wrapping_add(0x9e37_79b9) {
        0 => 1,
        salt => salt,
    };
    let mut out = vec![0; SEGMENT_HEADER_BYTES as usize];
    let (mut records, mut freed, mut sealed) = (0, 0, false);
    let mut at = SEGMENT_HEADER_BYTES as usize;
    let mut expect = first_expected(bytes, header);
    let mut last_crc = expect.prev_crc;
    while let Ok((record, payload, size)) = expected(bytes, at, &expect) {
        let mut new = record;
        let mut kept = payload.to_vec();
        if record.kind < kind::FIRST_OWN {
            let whole = (record.part() == Part::Whole).then_some(payload);
            let apply = |source| LogError::Apply {
                file: path.to_path_buf(),
                offset: at as u64,
                lsn: crate::Lsn(record.lsn),
                source,
            };
            match judge(&record.run, whole).map_err(apply)? {
                Fate::Keep => {}
                Fate::Ask => {
                    if record.part() == Part::Begin {
                        asked.payload.clear();
                        asked.begun = true;
                    }
                    if asked.begun {
                        asked.payload.extend_from_slice(payload);
                    }
                    // Behind the transaction's length.
                    if record.part() == Part::Commit
                        && std::mem::take(&mut asked.begun)
                        && let Some(whole) = asked.payload.get(8..)
                        && judge(&record.run, Some(whole)).map_err(apply)? != Fate::Keep
                    {
                        asked.left += whole.len() as u64;
                    }
                }
                Fate::Erase => {
                    (new.kind, new.flags) = (kind::ERASED, flags(Part::Whole, true));
                    (new.run, new.timestamp) = ([0; 16], 0);
                    kept.clear();
                    records += 1;
                }
                Fate::Replace(payload) => {
                    kept = payload;
                    records += 1;
                }
            }
        }
        (new.salt, new.prev_crc, new.len, new.crc) = (salt, last_crc, kept.len() as u32, 0);
        let from = out.len();
        let mut head = [0; HEADER_BYTES];
        new.write(&mut head);
        out.extend_from_slice(&head);
        out.extend_from_slice(&kept);
        out.resize(from + record_bytes(kept.len()), 0);
        last_crc = checksum(&out[from..]);
        out[from..from + 4].copy_from_slice(&last_crc.to_le_bytes());
        freed += size.saturating_sub(out.len() - from) as u64;
        expect = Expect { lsn: record.lsn.saturating_add(1), prev_crc: record.crc, ..expect };
        at += size;
        if record.kind == kind::SEAL {
            sealed = true;
            break;
        }
    }
    let rewritten = Some(header.rewritten.unwrap_or(expect.prev_crc));
    let header = SegmentHeader { salt, bytes: out.len() as u64, rewritten, ..*header };
    out[..SEGMENT_HEADER_BYTES as usize].copy_from_slice(&header.encode());
    Ok(Rewritten { bytes: out, end: at, sealed, records, freed })
}

fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let tmp = path.with_added_extension("tmp");
    let file = storage.open(&tmp, OpenMode::Truncate).map_err(LogError::room("create", &tmp))?;
    file.write_at(0, bytes).map_err(LogError::room("write", &tmp))?;
    file.sync_data().map_err(LogError::room("sync", &tmp))?;
    drop(file);
    let index = path.with_extension("idx");
    if storage.exists(&index).map_err(LogError::io("look for", &index))? {
        storage.remove(&index).map_err(LogError::io("remove", &index))?;
        // Before the segment is another: it has copies of what goes, and nobody would look for it again.
        let dir = path.parent().unwrap_or(Path::new("."));
        storage.sync_dir(dir).map_err(LogError::io("sync the directory", dir))?;
    }
    storage.rename(&tmp, path).map_err(LogError::io("rename to", path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    storage.sync_dir(dir).map_err(LogError::io("sync the directory", dir))
}
