//! Segments made ahead of need, outside the shard's turn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::LogError;
use crate::segment::{SegmentHeader, prepare};
use crate::storage::{File, Mapped, Storage};

/// Makes one segment: zeroes, header, sync, name, mapping. Run it on any thread; a job that is dropped or fails may
/// be asked for again.
#[derive(Debug)]
pub struct SpareJob {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) recycle: Option<PathBuf>,
    pub(crate) map: bool,
    pub(crate) token: Arc<()>,
}

/// A segment ready to be appended to.
#[derive(Debug)]
pub struct Spare {
    pub(crate) header: SegmentHeader,
    pub(crate) path: Arc<Path>,
    pub(crate) file: Arc<dyn File>,
    pub(crate) map: Option<Box<dyn Mapped>>,
    /// Held so that the log knows of a spare that is on its way.
    pub(crate) _token: Option<Arc<()>>,
}

impl SpareJob {
    /// Blocking. [`LogError::NoSpace`] if the disk is full; nothing is lost by it.
    pub fn run(self) -> Result<Spare, LogError> {
        let made = make(&*self.storage, &self.dir, self.header, self.recycle.as_deref(), self.map)?;
        Ok(Spare { _token: Some(self.token), ..made })
    }
}

pub(crate) fn make(
    storage: &dyn Storage,
    dir: &Path,
    header: SegmentHeader,
    recycle: Option<&Path>,
    map: bool,
) -> Result<Spare, LogError> {
    let (path, file) = prepare(storage, dir, &header, recycle)?;
    let map = if map { Some(file.map(header.bytes).map_err(LogError::io("map", &path))?) } else { None };
    if map.is_some() {
        // Here, outside the shard's turn, instead of one by one at the stores.
        file.prefault(0, header.bytes);
    }
    Ok(Spare { header, path: path.into(), file, map, _token: None })
}
