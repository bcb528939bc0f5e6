//! One process per directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::LogError;

/// Name of the lock file.
const LOCK_NAME: &str = "LOCK";

/// A lock on `DIR/LOCK`, given back when dropped. The system gives it back when the process ends, however it ends.
#[derive(Debug)]
struct Held {
    file: File,
    /// Whose it is: a forked child's copy of it must not give it back.
    process: u32,
}

impl Held {
    fn take(file: File, lock: fn(&File) -> Result<(), TryLockError>, dir: &Path) -> Result<Held, LogError> {
        match lock(&file) {
            Ok(()) => Ok(Held { file, process: std::process::id() }),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The id is for the message only; the other process may be about to write it.
                let _ = file.take(32).read_to_string(&mut text);
                Err(LogError::Locked { dir: dir.to_path_buf(), pid: text.trim().parse().ok() })
            }
            Err(TryLockError::Error(e)) => Err(LogError::io("lock", &dir.join(LOCK_NAME))(e)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Not left to the close of the file: a child process that was just forked has it open, too, until it becomes another
        // program, and the lock would be held as long. Where it fails, the close still gives it back.
        if self.process == std::process::id() {
            let _ = self.file.unlock();
        }
    }
}

/// That nobody has the directory's database open, until dropped; any number of processes may look at a time. Writes nothing.
#[derive(Debug)]
pub struct ReadLock(#[allow(dead_code, reason = "held until dropped")] Held);

impl ReadLock {
    /// Takes the lock of a directory; `None` where it has no lock file that could be opened, so that nobody who has it open is known.
    ///
    /// # Errors
    /// [`LogError::Locked`] names the process that announced itself last.
    pub fn acquire(dir: &Path) -> Result<Option<ReadLock>, LogError> {
        let Ok(file) = File::open(dir.join(LOCK_NAME)) else { return Ok(None) };
        Held::take(file, File::try_lock_shared, dir).map(|held| Some(ReadLock(held)))
    }
}

/// That the directory is this process's alone, until dropped. The file stays, since removing it would let two processes lock two
/// files of the same name.
#[derive(Debug)]
pub struct DirLock {
    held: Held,
    path: PathBuf,
}

impl DirLock {
    /// Takes the lock of an existing directory, and changes nothing there but that it makes the file where there is none.
    ///
    /// # Errors
    /// [`LogError::Locked`] names the process that announced itself last.
    pub fn acquire(dir: &Path) -> Result<DirLock, LogError> {
        let path = dir.join(LOCK_NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(LogError::io("open", &path))?;
        Ok(DirLock { held: Held::take(file, File::try_lock, dir)?, path })
    }

    /// Writes this process's id into the file, for others to name: once the directory is known to be this process's to change. A disk
    /// that is full may keep it from being there, and nothing else.
    ///
    /// # Errors
    /// [`LogError::Io`]; the lock is held all the same.
    pub fn announce(&mut self) -> Result<(), LogError> {
        let id = std::process::id().to_string();
        let write = |file: &mut File| {
            file.rewind()?;
            // Cut behind it: to give the room back first may be to lose it.
            file.write_all(id.as_bytes())?;
            file.set_len(id.len() as u64)
        };
        match write(&mut self.held.file) {
            Err(e) if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(()),
            other => other.map_err(LogError::io("write", &self.path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_back_although_a_forked_child_has_the_file_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = DirLock::acquire(dir.path()).expect("free");
        // What a child has between its fork and its exec.
        let inherited = lock.held.file.try_clone().expect("clones");
        assert!(matches!(DirLock::acquire(dir.path()), Err(LogError::Locked { .. })));
        assert!(matches!(ReadLock::acquire(dir.path()), Err(LogError::Locked { .. })));
        drop(lock);
        let looks = [ReadLock::acquire(dir.path()), ReadLock::acquire(dir.path())];
        let looks = looks.map(|look| look.expect("free again").expect("there is a file"));
        let inherited = [inherited, looks[0].0.file.try_clone().expect("clones")];
        assert!(matches!(DirLock::acquire(dir.path()), Err(LogError::Locked { .. })));
        drop(looks);
        DirLock::acquire(dir.path()).expect("free again");
        drop(inherited);
    }
}
