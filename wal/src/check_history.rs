//! Whether the past that a log keeps can be read: every segment from its first record to its end, and none missing between.
//! Opening does not look at it; a replay does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::Problem;
use crate::error::LogError;
use crate::found::Start;
use crate::history::HistoryReader;
use crate::index::first_expected;
use crate::limits::MAX_SEGMENT_BYTES;
use crate::record::Position;
use crate::scan::{Expect, expected};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::storage::{Storage, read_all};

/// Reads every segment in `dirs`, a shard's own directory and its archive, from the last gap on, and lists what keeps the past in
/// them from being read. What is behind the end of the newest one is not looked at: that is [`check`](crate::check())'s.
/// Changes nothing.
///
/// # Errors
/// [`LogError::Io`] where a directory cannot be listed.
pub fn check_history(
    storage: &Arc<dyn Storage>,
    dirs: &[PathBuf],
    shard: u16,
) -> Result<Vec<Problem>, LogError> {
    let mut reader = HistoryReader::new(storage.clone(), dirs.to_vec());
    let (mut problems, mut ended) = (Vec::new(), None);
    let mut before: Option<PathBuf> = None;
    let segments = reader.unbroken_segments()?;
    if segments.is_empty() {
        let dir = dirs.first().map_or(PathBuf::new(), Clone::clone);
        problems.push(problem(&dir, &LogError::Missing { dir: dir.clone() }));
    }
    for (number, path) in segments {
        match segment(&mut reader, number, &path, shard, ended) {
            // A spare, or one whose start was torn: the one behind it says whether the log goes on without it.
            Ok(None) => {}
            Ok(Some((start, end))) => {
                let unread = before.filter(|before| ended.is_none() && is_left_by(before, &start));
                let told = |file: &Path| problems.iter().any(|problem: &Problem| problem.file == file);
                if let Some(unread) = unread.filter(|unread| !told(unread)) {
                    let error = LogError::damaged(&unread, SEGMENT_HEADER_BYTES, "a start record", "none");
                    problems.push(problem(&unread, &error));
                }
                ended = Some(end);
            }
            Err(error) => {
                problems.push(problem(&path, &error));
                ended = None;
            }
        }
        before = Some(path);
    }
    Ok(problems)
}

/// Whether a log went on from records in this segment.
fn is_left_by(segment: &Path, next: &Start) -> bool {
    segment.file_name().is_some_and(|name| name.to_string_lossy() == segment_name(next.from_segment))
        && next.from_end > SEGMENT_HEADER_BYTES
}

/// A segment's end: behind its last record.
type End = (Position, SegmentHeader);

/// A segment's start, and its end. `None` where it was never begun.
fn segment(
    reader: &mut HistoryReader,
    number: u64,
    path: &Path,
    shard: u16,
    before: Option<End>,
) -> Result<Option<(Start, End)>, LogError> {
    let (file, _, header, len) = reader.parts(number)?;
    if header.shard != shard {
        let (wanted, found) = (format!("shard {shard}"), format!("shard {}", header.shard));
        return Err(LogError::damaged(path, 10, wanted, found));
    }
    if header.bytes != len {
        let (wanted, found) = (format!("{} bytes", header.bytes), format!("{len} bytes"));
        return Err(LogError::damaged(path, len.min(header.bytes), wanted, found));
    }
    let Some((_, start)) = reader.start_of(number)? else { return Ok(None) };
    if let Some((end, header)) = before {
        reader.must_go_on(end, &header, number, &start)?;
    }
    let bytes = read_all(&*file, MAX_SEGMENT_BYTES).map_err(LogError::io("read", path))?;
    let (mut expect, mut at) = (first_expected(&bytes, &header), SEGMENT_HEADER_BYTES as usize);
    while let Ok((record, _, size)) = expected(&bytes, at, &expect) {
        expect = Expect { lsn: record.lsn.saturating_add(1), prev_crc: record.crc, ..expect };
        at += size;
    }
    Ok(Some((start, (Position { segment: number, offset: at as u64 }, header))))
}

fn problem(path: &Path, error: &LogError) -> Problem {
    let (file, offset) = match error {
        LogError::Damaged { file, offset, .. } => (file.clone(), *offset),
        _ => (path.to_owned(), 0),
    };
    Problem { file, offset, bytes: 0, what: error.to_string(), serious: true }
}
