//! Letting go of segments that a checkpoint covers.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::LogError;
use crate::failpoint::{Failpoint, hit};
use crate::limits::MAX_RECYCLED_SEGMENTS;
use crate::log::SealedSegment;
use crate::segment::{gap_name, index_name, parse_gap_name, parse_segment_name, segment_name};
use crate::storage::{Storage, write_atomically};

/// How the names of released files end that are to be used again.
pub(crate) const OLD_SUFFIX: &str = ".old.tmp";

/// What becomes of released segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// Their blocks are used for new segments; what is not needed for that is removed. Where older segments lie in this archive,
    /// it is noted there first that the history does not go on from them.
    Recycle(PathBuf),
    /// They are moved, with their index by run, to this directory.
    Archive(PathBuf),
}

/// Takes released segments out of the log's directory; run it on any thread, then give the result to
/// [`ShardLog::add_released`](crate::ShardLog::add_released).
#[derive(Debug)]
pub struct ReleaseJob {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    /// Those not yet taken out, oldest first.
    pub(crate) segments: VecDeque<SealedSegment>,
    pub(crate) disposal: Disposal,
    pub(crate) recycled: usize,
    pub(crate) released: Released,
}

/// What a [`ReleaseJob`] left for reuse.
#[derive(Debug, Default)]
pub struct Released {
    pub(crate) recyclable: Vec<PathBuf>,
    /// Segments taken out of the log.
    pub segments: u64,
}

impl ReleaseJob {
    /// Blocking. After an error the segments not yet taken out are still there and are found by the next recovery.
    ///
    /// Each removal is made durable before the next: a crash in between must leave a log without a gap.
    pub fn run(mut self) -> Result<Released, LogError> {
        self.take_out()
    }

    /// As [`ReleaseJob::run`]; after an error give the job to [`ShardLog::take_back`](crate::ShardLog::take_back).
    pub fn take_out(&mut self) -> Result<Released, LogError> {
        let storage = &*self.storage;
        if let (Disposal::Recycle(archive), Some(last)) = (&self.disposal, self.segments.back()) {
            note_gap(storage, archive, last.number)?;
        }
        let released = &mut self.released;
        let sync = |dir: &Path| storage.sync_dir(dir).map_err(LogError::io("sync the directory", dir));
        while let Some(number) = self.segments.front().map(|segment| segment.number) {
            let path = self.dir.join(segment_name(number));
            let index = self.dir.join(index_name(number));
            if !storage.exists(&path).map_err(LogError::io("look for", &path))? {
                // Taken out by a job that failed behind it, before what it did was durable.
                let mut aside = None;
                match &self.disposal {
                    Disposal::Archive(archive) => sync(archive)?,
                    Disposal::Recycle(_) => {
                        let old = self.dir.join(old_name(number));
                        let is_forgotten = crate::planted::is_planted("wal_leave_old_files");
                        if !is_forgotten && storage.exists(&old).map_err(LogError::io("look for", &old))? {
                            aside = Some(old);
                        }
                    }
                }
                sync(&self.dir)?;
                released.recyclable.extend(aside);
                self.segments.pop_front();
                continue;
            }
            let has_index = storage.exists(&index).map_err(LogError::io("look for", &index))?;
            let mut aside = None;
            match &self.disposal {
                Disposal::Archive(archive) => {
                    storage.create_dir_all(archive).map_err(LogError::io("create", archive))?;
                    if has_index {
                        let to = archive.join(index_name(number));
                        storage.rename(&index, &to).map_err(LogError::io("archive", &index))?;
                        hit(Failpoint::ArchiveIndex);
                    }
                    let to = archive.join(segment_name(number));
                    // Under both names until the new one is durable: a power cut may keep one directory's change and
                    // lose the other's.
                    let linked = match storage.link(&path, &to) {
                        Ok(()) => true,
                        // A file system without links: its rename has to do.
                        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                            storage.rename(&path, &to).map_err(LogError::io("archive", &path))?;
                            false
                        }
                        // An archiving that was cut off here.
                        Err(_) => true,
                    };
                    hit(Failpoint::ArchiveRenamed);
                    sync(archive)?;
                    if linked {
                        storage.remove(&path).map_err(LogError::io("archive", &path))?;
                    }
                    hit(Failpoint::ArchiveSynced);
                }
                Disposal::Recycle(_) => {
                    if has_index {
                        storage.remove(&index).map_err(LogError::io("remove", &index))?;
                    }
                    if self.recycled + released.recyclable.len() < MAX_RECYCLED_SEGMENTS {
                        let to = self.dir.join(old_name(number));
                        storage.rename(&path, &to).map_err(LogError::io("set aside", &path))?;
                        hit(Failpoint::RecycleAside);
                        aside = Some(to);
                    } else {
                        storage.remove(&path).map_err(LogError::io("remove", &path))?;
                        hit(Failpoint::ReleaseRemoved);
                    }
                }
            }
            sync(&self.dir)?;
            hit(Failpoint::Released);
            // Not before: a power cut may give the file its old name back, and then it must be what it was.
            released.recyclable.extend(aside);
            released.segments += 1;
            self.segments.pop_front();
        }
        Ok(std::mem::take(released))
    }
}

/// Name of a released segment's file until its blocks are used again.
fn old_name(number: u64) -> String {
    format!("{number:016x}{OLD_SUFFIX}")
}

/// Notes in an archive that holds segments that those through `last` are not all there: what comes after them is a history of
/// its own. Before any of them goes: a history with a gap that nothing speaks of is a damaged one.
fn note_gap(storage: &dyn Storage, archive: &Path, last: u64) -> Result<(), LogError> {
    if !storage.exists(archive).map_err(LogError::io("look for", archive))? {
        return Ok(());
    }
    let names = storage.read_dir(archive).map_err(LogError::io("list", archive))?;
    let noted = names.iter().filter_map(|name| parse_gap_name(name)).max();
    let has_older =
        names.iter().filter_map(|name| parse_segment_name(name)).any(|n| noted.is_none_or(|g| n > g));
    if !has_older {
        return Ok(());
    }
    let path = archive.join(gap_name(last));
    write_atomically(storage, &path, &[]).map_err(LogError::room("write", &path))
}

/// Finishes what a crash interrupted: a segment that is in the archive as well as in the log's directory leaves the latter. It
/// must not stay: the two names may be of one file, whose blocks must not be used again.
///
/// # Errors
/// [`LogError::Io`]; what is left is finished by the next opening.
pub fn finish_archiving(storage: &dyn Storage, dir: &Path, archive: &Path) -> Result<(), LogError> {
    let there = |path: &Path| storage.exists(path).map_err(LogError::io("look for", path));
    if !there(dir)? || !there(archive)? {
        return Ok(());
    }
    let sync = |dir: &Path| storage.sync_dir(dir).map_err(LogError::io("sync the directory", dir));
    let mut both = storage.read_dir(archive).map_err(LogError::io("list", archive))?;
    both.retain(|name| parse_segment_name(name).is_some());
    both.sort_unstable();
    let mut synced = false;
    for name in both {
        let path = dir.join(&name);
        if !there(&path)? {
            continue;
        }
        if !synced {
            sync(archive)?;
            synced = true;
        }
        storage.remove(&path).map_err(LogError::io("archive", &path))?;
        // Each before the next: a log without a gap.
        sync(dir)?;
    }
    Ok(())
}
