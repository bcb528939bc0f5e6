//! The segments of a log as its directory has them: their headers and start records, before any of them is read.

use std::path::Path;
use std::sync::Arc;

use crate::end_of_log::EndCase;
use crate::error::{Corruption, LogError};
use crate::limits::{MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use crate::record::kind;
use crate::scan::intact;
use crate::segment::{
    FORMAT_VERSION, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader, parse_segment_name, segment_name,
};
use crate::storage::{File, OpenMode, Storage, read_exact_at};

/// A segment's file as found in the directory. It is not kept open: a log has as many of them as it likes, and a process may
/// only have so many files open.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) number: u64,
    pub(crate) path: Arc<Path>,
    pub(crate) len: u64,
    /// `Err` if the header is damaged.
    pub(crate) header: Result<SegmentHeader, HeaderFault>,
    pub(crate) start: Option<Start>,
}

/// An intact start record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) lsn: u64,
    pub(crate) prev_crc: u32,
    pub(crate) from_segment: u64,
    pub(crate) from_end: u64,
}

impl Start {
    pub(crate) fn read(bytes: &[u8], at: usize, header: &SegmentHeader) -> Option<Start> {
        let (head, payload, _) = intact(bytes, at).ok()?;
        let right = head.kind == kind::START
            && head.lsn > 0
            && head.salt == header.salt
            && head.shard == header.shard;
        let payload: &[u8; 16] = payload.try_into().ok()?;
        right.then(|| Start {
            lsn: head.lsn,
            prev_crc: head.prev_crc,
            from_segment: u64::from_le_bytes(payload[..8].try_into().expect("eight bytes")),
            from_end: u64::from_le_bytes(payload[8..].try_into().expect("eight bytes")),
        })
    }
}

impl Found {
    /// Opens the file.
    pub(crate) fn open(&self, storage: &dyn Storage, mode: OpenMode) -> Result<Arc<dyn File>, LogError> {
        storage.open(&self.path, mode).map_err(LogError::io("open", &self.path))
    }

    /// Reads the whole file into `buf`.
    pub(crate) fn load(&self, storage: &dyn Storage, buf: &mut Vec<u8>) -> Result<(), LogError> {
        let file = self.open(storage, OpenMode::Read)?;
        buf.resize(self.len as usize, 0);
        read_exact_at(&*file, 0, buf).map_err(LogError::io("read", &self.path))
    }

    pub(crate) fn corrupt(
        &self,
        case: EndCase,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Corruption {
        Corruption {
            file: self.path.to_path_buf(),
            offset,
            case,
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// Looks at every segment in `dir`, in the order of their numbers: reads headers and start records, and sees that it may be opened
/// for `mode`. Only faults that no crash can cause and that need no context are errors here.
pub(crate) fn survey(
    storage: &dyn Storage,
    dir: &Path,
    shard: u16,
    mode: OpenMode,
) -> Result<Vec<Found>, LogError> {
    let mut all = Vec::new();
    let names = storage.read_dir(dir).map_err(LogError::io("list", dir))?;
    for number in names.iter().filter_map(|name| parse_segment_name(name)) {
        let path: Arc<Path> = dir.join(segment_name(number)).into();
        let file = storage.open(&path, mode).map_err(LogError::io("open", &path))?;
        let len = file.len().map_err(LogError::io("measure", &path))?;
        let mut head = vec![0; len.min(SEGMENT_HEADER_BYTES + 256) as usize];
        read_exact_at(&*file, 0, &mut head).map_err(LogError::io("read", &path))?;
        let header = SegmentHeader::decode(&head);
        let start = header.ok().and_then(|h| Start::read(&head, SEGMENT_HEADER_BYTES as usize, &h));
        drop(file);
        let found = Found { number, path, len, header, start };
        match header {
            Err(HeaderFault::Newer(version)) => {
                return Err(LogError::NewerFormat {
                    file: found.path.to_path_buf(),
                    found: version,
                    supported: FORMAT_VERSION,
                });
            }
            Ok(h) if h.number != number => {
                let (e, f) = (format!("segment {number:016x}"), format!("segment {:016x}", h.number));
                return Err(found.corrupt(EndCase::Misnamed, 16, e, f).into());
            }
            Ok(h) if h.shard != shard => {
                let (e, f) = (format!("shard {shard}"), format!("shard {}", h.shard));
                return Err(found.corrupt(EndCase::WrongShard, 10, e, f).into());
            }
            Ok(h) if h.bytes != len => {
                let (e, f) = (format!("{} bytes", h.bytes), format!("{len} bytes"));
                return Err(found.corrupt(EndCase::WrongLength, len.min(h.bytes), e, f).into());
            }
            // Before anything is allocated for it.
            Ok(_) | Err(_) if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&len) => {
                let e = format!("{MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES} bytes");
                return Err(found.corrupt(EndCase::WrongLength, 0, e, format!("{len} bytes")).into());
            }
            _ => {}
        }
        all.push(found);
    }
    Ok(all)
}
