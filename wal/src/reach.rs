//! How far back a log reaches: to tell what was erased from what was let go.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::LogError;
use crate::history::HistoryReader;
use crate::index::{first_expected, header_of};
use crate::limits::MAX_SEGMENT_BYTES;
use crate::record::kind;
use crate::run_reader::MAX_LISTINGS;
use crate::scan::{Expect, expected};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::storage::{OpenMode, Storage, read_all};

/// The commit version of the oldest transaction that the segments in `dirs` have a record of, erased ones included; `None`: of none.
pub fn oldest_version(storage: &Arc<dyn Storage>, dirs: Vec<PathBuf>) -> Result<Option<u64>, LogError> {
    let mut listings = 1;
    loop {
        match oldest_listed(storage, dirs.clone()) {
            // A checkpoint archived it meanwhile.
            Err(error) if error.is_gone() && listings < MAX_LISTINGS => listings += 1,
            result => return result,
        }
    }
}

fn oldest_listed(storage: &Arc<dyn Storage>, dirs: Vec<PathBuf>) -> Result<Option<u64>, LogError> {
    for (_, path) in HistoryReader::new(storage.clone(), dirs).unbroken_segments()? {
        let file = storage.open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
        let bytes = read_all(&*file, MAX_SEGMENT_BYTES).map_err(LogError::io("read", &path))?;
        let Ok(header) = header_of(&bytes, &path) else { continue };
        let mut at = SEGMENT_HEADER_BYTES as usize;
        let mut expect = first_expected(&bytes, &header);
        while let Ok((record, _, size)) = expected(&bytes, at, &expect) {
            if record.kind < kind::FIRST_OWN || record.kind == kind::ERASED {
                return Ok(Some(record.version));
            }
            expect = Expect { lsn: record.lsn.saturating_add(1), prev_crc: record.crc, ..expect };
            at += size;
        }
    }
    Ok(None)
}
