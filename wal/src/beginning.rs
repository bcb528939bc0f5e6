//! A log read from its first record, what was archived of it included: what a checkpoint held that is damaged.

use std::path::Path;

use crate::error::{ApplyError, LogError};
use crate::found::survey;
use crate::lsn::Lsn;
use crate::record::RecordView;
use crate::scan::walk;
use crate::storage::{OpenMode, Storage};

/// Hands out, in order, every transaction through record `through` of the log in `dir`, from its first record on, with what was
/// archived of it in `archive`. Changes nothing. Every segment is held to what an opening holds it to.
///
/// # Errors
/// [`LogError`]: something through there is damaged, missing or let go, or something was erased from a segment, which leaves no trace
/// of whose it was. What was handed out is then not all.
pub fn read_from_beginning(
    storage: &dyn Storage,
    dir: &Path,
    archive: &Path,
    shard: u16,
    through: Lsn,
    apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
) -> Result<(), LogError> {
    let mut segments = survey(storage, dir, shard, OpenMode::Read)?;
    if storage.exists(archive).map_err(LogError::io("look for", archive))? {
        segments.extend(survey(storage, archive, shard, OpenMode::Read)?);
    }
    // Its own directory's comes first where an archiving was cut off between the two.
    segments.sort_by_key(|segment| segment.number);
    segments.dedup_by_key(|segment| segment.number);
    for segment in &segments {
        if segment.header.is_ok_and(|header| header.rewritten.is_some()) {
            return Err(LogError::damaged(&segment.path, 28, "all that was written to it", "an erased rest"));
        }
    }
    let walked = walk(storage, segments, shard, Lsn::ZERO, &mut |record| {
        if record.lsn <= through { apply(record) } else { Ok(()) }
    })?;
    if walked.last_lsn < through.0 {
        let found = format!("record {} as the last one", walked.last_lsn);
        return Err(LogError::damaged(dir, 0, format!("records up to number {through}"), found));
    }
    Ok(())
}
