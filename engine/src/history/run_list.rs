//! Files of the database's directory that name runs: whose erasing is under way, whose past is kept for forks, whose import is under way.
//! Each is written whole and takes the place of the one before; behind what it says stands its checksum, since a bit that flips in it
//! would have another run deleted, or more of it.

use std::collections::BTreeSet;
use std::path::Path;

use in_mem_model::RunId;
use in_mem_wal::{OpenMode, Storage};

use crate::error::OpenError;

/// One of these files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunList {
    /// Its name in the database's directory.
    pub(crate) name: &'static str,
    /// What becomes of it where a damaged one is removed.
    pub(crate) removed: &'static str,
}

/// The runs whose erasing is under way.
pub(crate) const ERASING: RunList =
    RunList { name: "ERASING", removed: "the prune that was cut off is given up then, to be made again" };

/// The runs that are gone and whose past is kept for forks that go on from it.
pub(crate) const HELD: RunList =
    RunList { name: "HELD", removed: "what was kept of deleted runs for their forks stays in the log then" };

/// The runs whose import is under way.
pub(crate) const IMPORTING: RunList = RunList {
    name: "IMPORTING",
    removed: "runs of an import that was cut off are there then as far as they came, to be looked at and deleted",
};

/// The first byte of a list that says nothing, whatever follows: far from any other by which one begins, so that no bit or two that
/// flip make it.
const VOID: u8 = 0xfc;

/// Bytes of the checksum at the end: CRC-32 of all before it, little-endian.
const CRC_BYTES: usize = 4;

/// Writes a file that takes the place of the one before.
pub(super) fn write(
    storage: &dyn Storage,
    root: &Path,
    list: RunList,
    bytes: &[u8],
) -> Result<(), OpenError> {
    let (path, tmp) = (root.join(list.name), root.join(format!("{}.tmp", list.name)));
    let mut whole = bytes.to_vec();
    whole.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    let write = || {
        let file = storage.open(&tmp, OpenMode::Truncate)?;
        file.write_at(0, &whole)?;
        file.sync_data()?;
        storage.rename(&tmp, &path)?;
        storage.sync_dir(root)
    };
    write().map_err(|source| OpenError::io("write", &path, source))
}

/// What a file says; `None`: it is not there, or says nothing.
///
/// # Errors
/// [`OpenError::RunList`] where it is not what was written.
pub(crate) fn read(storage: &dyn Storage, root: &Path, list: RunList) -> Result<Option<Vec<u8>>, OpenError> {
    let path = root.join(list.name);
    let read = || {
        if !storage.exists(&path)? {
            return Ok(None);
        }
        let file = storage.open(&path, OpenMode::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
        let found = file.read_at(0, &mut bytes)?;
        bytes.truncate(found);
        Ok(Some(bytes))
    };
    let found = read().map_err(|source| OpenError::io("read", &path, source))?;
    let Some(mut bytes) = found.filter(|bytes| bytes.first() != Some(&VOID)) else { return Ok(None) };
    let said = bytes.len().saturating_sub(CRC_BYTES);
    if said == 0 || bytes[said..] != crc32fast::hash(&bytes[..said]).to_le_bytes() {
        return Err(OpenError::RunList { path, removed: list.removed });
    }
    bytes.truncate(said);
    Ok(Some(bytes))
}

/// Makes a file say nothing, in its place, durably: where its name cannot be taken away for good.
pub(super) fn make_void(storage: &dyn Storage, root: &Path, list: RunList) -> std::io::Result<()> {
    let path = root.join(list.name);
    if storage.exists(&path)? {
        let file = storage.open(&path, OpenMode::ReadWrite)?;
        file.write_at(0, &[VOID])?;
        file.sync_data()?;
    }
    Ok(())
}

/// Writes a file that only names runs.
pub(super) fn write_ids(
    storage: &dyn Storage,
    root: &Path,
    list: RunList,
    runs: &BTreeSet<RunId>,
) -> Result<(), OpenError> {
    // What may once tell another kind of list.
    let mut bytes = vec![0];
    runs.iter().for_each(|run| bytes.extend_from_slice(run.as_bytes()));
    write(storage, root, list, &bytes)
}

/// Reads what [`write_ids`] wrote. One that is not there names none.
///
/// # Errors
/// As [`read`].
pub(super) fn read_ids(
    storage: &dyn Storage,
    root: &Path,
    list: RunList,
) -> Result<BTreeSet<RunId>, OpenError> {
    let bytes = read(storage, root, list)?.unwrap_or_default();
    let runs = bytes.get(1..).unwrap_or_default().chunks_exact(16);
    Ok(runs.filter_map(|id| Some(RunId::from_bytes(id.try_into().ok()?))).collect())
}
