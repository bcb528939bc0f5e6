//! Helpers shared by the tests.
#![allow(dead_code, unreachable_pub)]

pub mod meanwhile;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem_wal::storage::sim::SimRng;
use in_mem_wal::{Config, Entry, LogError, Lsn, Mode, RecoveryReport, ShardLog, SimDisk};

pub const SEED: u64 = 0x5eed;

pub fn dir() -> PathBuf {
    PathBuf::from("/db/shard-0003")
}

pub fn config(mode: Mode) -> Config {
    Config { segment_bytes: 8 << 10, mode, shard: 3, create: true }
}

pub fn run_of(n: u64) -> [u8; 16] {
    let mut run = [0; 16];
    run[..8].copy_from_slice(&n.to_le_bytes());
    run
}

/// The payload that belongs to transaction `n`, so that a recovered one can be checked byte for byte.
pub fn payload(n: u64, len: usize) -> Vec<u8> {
    let mut rng = SimRng::new(n);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub fn append(log: &mut ShardLog, n: u64, len: usize) -> Result<Lsn, LogError> {
    log.append(Entry {
        kind: 1 + (n % 100) as u8,
        skippable: false,
        run: run_of(n % 7),
        version: n,
        timestamp: 1_000 + n as i64,
        payload: &payload(n, len),
    })
}

/// A transaction as recovered.
#[derive(Clone, PartialEq, Eq)]
pub struct Got {
    pub lsn: Lsn,
    pub version: u64,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}B", self.version, self.lsn, self.payload.len())
    }
}

pub type Recovered = (ShardLog, RecoveryReport, Vec<Got>);

pub fn recover_from(
    disk: &SimDisk,
    dir: &Path,
    config: Config,
    from: Option<Lsn>,
) -> Result<Recovered, LogError> {
    let mut got = Vec::new();
    let (log, report) = ShardLog::recover(Arc::new(disk.clone()), dir, config, SEED, from, &mut |r| {
        assert_eq!(r.run, run_of(r.version % 7));
        assert_eq!(r.kind, 1 + (r.version % 100) as u8);
        assert_eq!(r.timestamp, 1_000 + r.version as i64);
        got.push(Got { lsn: r.lsn, version: r.version, payload: r.payload.to_vec() });
        Ok(())
    })?;
    Ok((log, report, got))
}

pub fn recover(disk: &SimDisk, mode: Mode) -> Result<Recovered, LogError> {
    recover_from(disk, &dir(), config(mode), None)
}

/// Transactions in order, each whole: version n at place n - 1.
pub fn assert_prefix(got: &[Got], lens: &[usize]) {
    assert!(got.len() <= lens.len(), "{} recovered of {} appended", got.len(), lens.len());
    for (i, g) in got.iter().enumerate() {
        assert_eq!(g.version, i as u64 + 1, "the order of commits");
        assert_eq!(g.payload, payload(g.version, lens[i]), "transaction {} is not whole", g.version);
    }
}

const HEADER: usize = 4096;

/// The file of a segment.
pub fn segment(n: u64) -> PathBuf {
    dir().join(format!("{n:016x}.wal"))
}

/// Changes the bytes of a segment's file.
pub fn edit(disk: &SimDisk, n: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.contents(&segment(n)).expect("there");
    change(&mut bytes);
    disk.put(&segment(n), bytes);
}

/// Offsets of the records of a segment.
pub fn records(disk: &SimDisk, n: u64) -> Vec<usize> {
    let bytes = disk.contents(&segment(n)).expect("there");
    let (mut all, mut at) = (Vec::new(), HEADER);
    while at + 64 <= bytes.len() && bytes[at..at + 64].iter().any(|b| *b != 0) {
        all.push(at);
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four")) as usize;
        at += (64 + len).next_multiple_of(8);
    }
    all.push(at);
    all
}

/// Computes the checksum of the record at `at` again.
pub fn reseal(bytes: &mut [u8], at: usize) {
    let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four")) as usize;
    let end = at + (64 + len).next_multiple_of(8);
    let crc = crc32fast::hash(&bytes[at + 4..end]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}
