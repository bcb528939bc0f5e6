//! A simulated disk with a crash model and injected faults.
//!
//! Files live in memory. What was written or stored and not synced is at the mercy of a crash: in the image that
//! [`SimDisk::crash`] makes, every 512-byte sector touched since the last sync is, by a seeded coin, kept, dropped
//! (its synced content comes back) or torn (the start of the new content, the rest of the old). Names created, renamed or
//! removed are kept or dropped one by one until their directory was synced. A failed sync leaves each dirty sector
//! either durable or lost, and lost sectors stay lost: the file still reads as written, a later sync succeeds, and
//! the bytes are gone after the crash, which is how real systems behave. Directories themselves are durable at once.
//!
//! Every operation is numbered from 1 and enters a trace hash, so that two runs of one seed can be compared; the N-th
//! can be made to fail ([`SimDisk::fail`]) or to be the last ([`SimDisk::crash_before`]). Clones share the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{File, Mapped, OpenMode, Storage};

mod inode;

use inode::Inode;

/// Unit in which unsynced bytes are kept or lost.
pub const SECTOR_BYTES: u64 = 512;

/// A small seeded generator (SplitMix64), so that images depend on nothing but their seed.
#[derive(Clone, Debug)]
pub struct SimRng(u64);

impl SimRng {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        SimRng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (0 if `n` is 0).
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next_u64() % n }
    }
}

/// Kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum OpKind {
    CreateDir,
    ReadDir,
    Exists,
    Open,
    Rename,
    Remove,
    SyncDir,
    Read,
    Write,
    Len,
    SetLen,
    Sync,
    Map,
    Store,
    Link,
}

/// One operation, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Its number, from 1.
    pub number: u64,
    /// What was asked.
    pub kind: OpKind,
    /// Of which file or directory.
    pub path: PathBuf,
    /// From where (0 where it does not apply).
    pub offset: u64,
    /// How many bytes (0 where it does not apply).
    pub bytes: u64,
}

impl Op {
    /// The site of the operation: what is done to which kind of file, such as `Sync wal` or `Rename tmp`.
    pub fn site(&self) -> String {
        let extension = self.path.extension().map_or("-".into(), |e| e.to_string_lossy());
        format!("{:?} {extension}", self.kind)
    }
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An I/O error. A write may have written its first part; a sync may have lost some of what it covered.
    Eio,
    /// No space left. A write may have written its first part.
    Enospc,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    from: u64,
    kind: FaultKind,
    only: Option<OpKind>,
    sticky: bool,
}

#[derive(Clone, Debug)]
enum NameOp {
    Insert(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, op: &NameOp) {
    match op {
        NameOp::Insert(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameOp::Remove(path) => {
            names.remove(path);
        }
        NameOp::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// Changes of names whose directory was not synced since.
    pending: Vec<(PathBuf, NameOp)>,
    dirs: BTreeSet<PathBuf>,
    ops: u64,
    hash: u64,
    crash_before: Option<u64>,
    /// The machine stops at the so-many-th operation of this kind from now.
    crash_at: Option<(OpKind, u64)>,
    faults: Vec<Fault>,
    trace: Option<Vec<Op>>,
    capacity: Option<u64>,
    rng: Option<SimRng>,
}

impl Disk {
    fn dead(&self) -> bool {
        self.crash_before.is_some_and(|n| self.ops >= n)
    }

    /// Counts an operation; the fault it has to fail with, if any.
    fn enter(
        &mut self,
        kind: OpKind,
        path: &Path,
        offset: u64,
        bytes: u64,
    ) -> Result<Option<FaultKind>, io::Error> {
        self.ops += 1;
        if let Some((of, left)) = &mut self.crash_at
            && *of == kind
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                (self.crash_before, self.crash_at) = (Some(self.ops), None);
            }
        }
        let mut hash = self.hash ^ self.ops;
        for word in [kind as u64, offset, bytes] {
            hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        for byte in path.as_os_str().as_encoded_bytes() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.hash = hash;
        if let Some(trace) = &mut self.trace {
            trace.push(Op { number: self.ops, kind, path: path.to_path_buf(), offset, bytes });
        }
        if self.dead() {
            return Err(io::Error::other("the simulated machine has crashed"));
        }
        let n = self.ops;
        let hit =
            |f: &Fault| f.only.is_none_or(|k| k == kind) && if f.sticky { n >= f.from } else { n == f.from };
        Ok(self.faults.iter().find(|f| hit(f)).map(|f| f.kind))
    }

    fn simple(&mut self, kind: OpKind, path: &Path) -> io::Result<()> {
        match self.enter(kind, path, 0, 0)? {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|i| self.inodes[*i].data.len() as u64).sum()
    }

    fn rng(&mut self) -> &mut SimRng {
        self.rng.get_or_insert_with(|| SimRng::new(0))
    }

    fn rename_op(&mut self, op: NameOp, dir: &Path) {
        apply(&mut self.names, &op);
        self.pending.push((dir.to_path_buf(), op));
    }
}

impl FaultKind {
    fn error(self) -> io::Error {
        match self {
            FaultKind::Eio => io::Error::from_raw_os_error(5),
            FaultKind::Enospc => io::ErrorKind::StorageFull.into(),
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

/// The simulated disk. Clones share it; [`SimDisk::crash`] and [`SimDisk::kill`] make another one.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    disk: Arc<Mutex<Disk>>,
}

impl SimDisk {
    /// An empty disk. `seed` decides what failing writes and syncs leave behind.
    pub fn new(seed: u64) -> Self {
        SimDisk { disk: Arc::new(Mutex::new(Disk { rng: Some(SimRng::new(seed)), ..Disk::default() })) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A panicking test thread leaves the disk as it was at that moment, which is what a crash does.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far, mapped stores included.
    pub fn ops(&self) -> u64 {
        self.lock().ops
    }

    /// Hash over all operations so far: equal for equal runs.
    pub fn trace_hash(&self) -> u64 {
        self.lock().hash
    }

    /// Keeps a record of every operation from here on.
    pub fn record_ops(&self) {
        self.lock().trace = Some(Vec::new());
    }

    /// The operations recorded.
    pub fn recorded_ops(&self) -> Vec<Op> {
        self.lock().trace.clone().unwrap_or_default()
    }

    /// From operation `number` on nothing reaches the disk and everything fails.
    pub fn crash_before(&self, number: u64) {
        self.lock().crash_before = Some(number);
    }

    /// As [`SimDisk::crash_before`], for the `nth` operation of this kind from here on, counted from 1.
    pub fn crash_before_nth(&self, kind: OpKind, nth: u64) {
        self.lock().crash_at = Some((kind, nth));
    }

    /// Whether the operation given to [`SimDisk::crash_before`] or [`SimDisk::crash_before_nth`] has been reached.
    pub fn crashed(&self) -> bool {
        self.lock().dead()
    }

    /// Operation `number` fails; with `sticky` every later one too. With `only`, just operations of that kind do.
    pub fn fail(&self, number: u64, kind: FaultKind, only: Option<OpKind>, sticky: bool) {
        self.lock().faults.push(Fault { from: number, kind, only, sticky });
    }

    /// Forgets all faults asked for.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Limits the bytes of all files together; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The disk after a power cut now: what was not synced is kept, dropped or torn as `seed` says.
    pub fn crash(&self, seed: u64) -> SimDisk {
        let disk = self.lock();
        let mut rng = SimRng::new(seed);
        let mut names = disk.synced_names.clone();
        for (_, op) in &disk.pending {
            if rng.below(2) == 0 {
                apply(&mut names, op);
            }
        }
        let mut image =
            Disk { dirs: disk.dirs.clone(), rng: Some(SimRng::new(rng.next_u64())), ..Disk::default() };
        for (path, inode) in names {
            image.inodes.push(disk.inodes[inode].crash(&mut rng));
            image.names.insert(path, image.inodes.len() - 1);
        }
        image.synced_names = image.names.clone();
        SimDisk { disk: Arc::new(Mutex::new(image)) }
    }

    /// The disk after the process was killed now: the system still has everything that was written, synced or not.
    pub fn kill(&self) -> SimDisk {
        let mut disk = self.lock().clone();
        (disk.crash_before, disk.crash_at) = (None, None);
        disk.faults.clear();
        SimDisk { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Paths of all files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    /// A file's bytes as they read now. Not an operation.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.lock();
        disk.names.get(path).map(|i| disk.inodes[*i].data.to_vec())
    }

    /// Puts a durable file in place. Not an operation: this is how tests damage files.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = self.lock();
        disk.inodes.push(Inode::durable(bytes));
        let inode = disk.inodes.len() - 1;
        disk.names.insert(path.to_path_buf(), inode);
        disk.synced_names.insert(path.to_path_buf(), inode);
        let mut dir = Some(parent(path));
        while let Some(d) = dir {
            dir = d.parent().map(Path::to_path_buf);
            disk.dirs.insert(d);
        }
    }

    /// Takes a file away durably. Not an operation.
    pub fn take(&self, path: &Path) {
        let mut disk = self.lock();
        disk.names.remove(path);
        disk.synced_names.remove(path);
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
    path: PathBuf,
    writable: bool,
}

#[derive(Debug)]
struct SimMapped {
    disk: SimDisk,
    inode: usize,
    path: PathBuf,
    len: u64,
}

impl Storage for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.simple(OpKind::CreateDir, path)?;
        for dir in path.ancestors() {
            disk.dirs.insert(dir.to_path_buf());
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.lock();
        disk.simple(OpKind::ReadDir, path)?;
        if !disk.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = disk.names.keys().chain(disk.dirs.iter()).filter(|p| p.parent() == Some(path));
        let mut names: Vec<String> =
            inside.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut disk = self.lock();
        disk.simple(OpKind::Exists, path)?;
        Ok(disk.names.contains_key(path) || disk.dirs.contains(path))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut disk = self.lock();
        disk.simple(OpKind::Open, path)?;
        let inode = match (disk.names.get(path).copied(), mode) {
            (Some(inode), OpenMode::Read | OpenMode::ReadWrite) => inode,
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(io::ErrorKind::NotFound.into()),
            (_, OpenMode::Truncate) => {
                if !disk.dirs.contains(&parent(path)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                disk.inodes.push(Inode::default());
                let inode = disk.inodes.len() - 1;
                disk.rename_op(NameOp::Insert(path.to_path_buf(), inode), &parent(path));
                inode
            }
        };
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            path: path.to_path_buf(),
            writable: mode != OpenMode::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.simple(OpKind::Rename, from)?;
        let inode = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let (a, b) = (parent(from), parent(to));
        if a == b {
            disk.rename_op(NameOp::Rename(from.to_path_buf(), to.to_path_buf(), inode), &a);
        } else {
            // Two directories, two syncs: harsher than most file systems, and what a portable program must expect.
            disk.rename_op(NameOp::Insert(to.to_path_buf(), inode), &b);
            disk.rename_op(NameOp::Remove(from.to_path_buf()), &a);
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.simple(OpKind::Link, from)?;
        let inode = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if disk.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.rename_op(NameOp::Insert(to.to_path_buf(), inode), &parent(to));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.simple(OpKind::Remove, path)?;
        if !disk.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.rename_op(NameOp::Remove(path.to_path_buf()), &parent(path));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.simple(OpKind::SyncDir, path)?;
        let pending = std::mem::take(&mut disk.pending);
        let (done, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(dir, _)| dir == path);
        for (_, op) in &done {
            apply(&mut disk.synced_names, op);
        }
        disk.pending = rest;
        Ok(())
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        if let Some(fault) = disk.enter(OpKind::Read, &self.path, offset, buf.len() as u64)? {
            return Err(fault.error());
        }
        let data = &disk.inodes[self.inode].data;
        let start = (offset as usize).min(data.len());
        let n = buf.len().min(data.len() - start);
        buf[..n].copy_from_slice(&data[start..start + n]);
        Ok(n)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        let mut fault = disk.enter(OpKind::Write, &self.path, offset, bytes.len() as u64)?;
        let grows = (offset + bytes.len() as u64).saturating_sub(disk.inodes[self.inode].data.len() as u64);
        if grows > 0 && disk.capacity.is_some_and(|c| disk.used() + grows > c) {
            fault = Some(FaultKind::Enospc);
        }
        let Some(fault) = fault else {
            disk.inodes[self.inode].write(offset, bytes);
            return Ok(());
        };
        let part = disk.rng().below(bytes.len() as u64) as usize;
        let room = if grows > 0 { 0 } else { part };
        disk.inodes[self.inode].write(offset, &bytes[..room]);
        Err(fault.error())
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.simple(OpKind::Len, &self.path)?;
        Ok(disk.inodes[self.inode].data.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        disk.simple(OpKind::SetLen, &self.path)?;
        disk.inodes[self.inode].set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_range(0, u64::MAX)
    }

    fn sync_range(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match disk.enter(OpKind::Sync, &self.path, offset, bytes)? {
            None => {
                disk.inodes[self.inode].sync(offset, bytes);
                Ok(())
            }
            Some(fault) => {
                let mut rng = SimRng::new(disk.rng().next_u64());
                disk.inodes[self.inode].fail_sync(&mut rng);
                Err(fault.error())
            }
        }
    }

    fn map(&self, len: u64) -> io::Result<Box<dyn Mapped>> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        disk.simple(OpKind::Map, &self.path)?;
        if (disk.inodes[self.inode].data.len() as u64) < len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Box::new(SimMapped { disk: self.disk.clone(), inode: self.inode, path: self.path.clone(), len }))
    }
}

impl Mapped for SimMapped {
    fn store(&mut self, offset: u64, bytes: &[u8]) {
        assert!(offset + bytes.len() as u64 <= self.len, "store outside the mapping");
        let mut disk = self.disk.lock();
        // A store cannot fail; after the crash it reaches nothing.
        if disk.enter(OpKind::Store, &self.path, offset, bytes.len() as u64).is_ok() {
            disk.inodes[self.inode].write(offset, bytes);
        }
    }
}
