//! Random appends, syncs, rollovers and releases, a power cut before a random operation, and another one during recovery: what
//! is recovered is a prefix of what was appended, holds everything synced, and no transaction is half there.

mod common;

use common::*;
use in_mem_wal::storage::sim::SimRng;
use in_mem_wal::{Disposal, Lsn, Mode, SimDisk, SyncJob};

/// What must hold about the log.
#[derive(Default)]
struct Model {
    /// Payload lengths of all transactions appended, version 1 first.
    lens: Vec<usize>,
    /// How many of them were known to be durable.
    durable: usize,
    /// What a checkpoint covers: through which record, and how many transactions that is.
    covered: (Lsn, usize),
}

impl Model {
    /// Recovered transactions come after the checkpoint, in order, whole, and none that was synced is missing.
    fn check(&self, got: &[Got], seed: u64) {
        let first = self.covered.1;
        assert!(got.len() + first >= self.durable, "seed {seed}: lost a synced transaction");
        assert!(got.len() + first <= self.lens.len(), "seed {seed}: more than was appended");
        for (i, g) in got.iter().enumerate() {
            assert_eq!(g.version, (first + i) as u64 + 1, "seed {seed}: the order of commits");
            assert_eq!(g.payload, payload(g.version, self.lens[first + i]), "seed {seed}: not whole");
        }
    }

    fn recover(&self, disk: &SimDisk, mode: Mode) -> Result<Recovered, in_mem_wal::LogError> {
        recover_from(disk, &dir(), config(mode), Some(self.covered.0))
    }
}

/// Appends, syncs and so on until done or dead.
fn work(disk: &SimDisk, mode: Mode, rng: &mut SimRng, model: &mut Model, seed: u64) {
    let (mut log, got) = match model.recover(disk, mode) {
        Ok((log, _, got)) => (log, got),
        Err(e) if disk.crashed() => return drop(e),
        Err(e) => panic!("seed {seed}: {e}"),
    };
    if disk.crashed() {
        return;
    }
    model.check(&got, seed);
    let Model { lens, durable, covered } = model;
    lens.truncate(covered.1 + got.len());
    // Recovery makes durable what it found.
    *durable = lens.len();
    let mut job: Option<(SyncJob, usize)> = None;
    for _ in 0..rng.below(80) {
        match rng.below(20) {
            0..=11 => {
                let len = match rng.below(12) {
                    0 => rng.below(20_000) as usize,
                    1 => 0,
                    _ => rng.below(600) as usize,
                };
                let n = lens.len() as u64 + 1;
                // Pushed first: a transaction may be there although its append was cut short.
                lens.push(len);
                if append(&mut log, n, len).is_err() {
                    return;
                }
            }
            12 | 13 if job.is_none() => job = log.begin_sync().map(|j| (j, lens.len())),
            14 | 15 => {
                if let Some((mut j, n)) = job.take() {
                    let ran = j.run();
                    if log.finish_sync(j).is_err() {
                        return;
                    }
                    ran.expect("finish_sync says what run said");
                    if !disk.crashed() {
                        *durable = n;
                    }
                }
            }
            16 => {
                if let Some(spare) = log.spare_job() {
                    match spare.run() {
                        Ok(spare) => log.add_spare(spare),
                        Err(_) => return,
                    }
                }
            }
            17 if log.mark().is_err() => return,
            18 if job.is_none() => {
                if log.sync().is_err() {
                    return;
                }
                *durable = lens.len();
            }
            _ if job.is_none() && *durable == lens.len() && log.synced_lsn() == log.last_lsn() => {
                // A checkpoint of everything, durable elsewhere.
                *covered = (log.last_lsn(), lens.len());
                let disposal = match rng.below(2) {
                    0 => Disposal::Recycle("/db/archive".into()),
                    _ => Disposal::Archive("/db/archive".into()),
                };
                if let Some(release) = log.release_before(covered.0.next(), disposal) {
                    match release.run() {
                        Ok(released) => log.add_released(released),
                        Err(_) => return,
                    }
                }
            }
            _ => {}
        }
        if disk.crashed() {
            return;
        }
    }
    if job.is_none() && rng.below(3) == 0 && log.close().is_ok() {
        *durable = lens.len();
    }
}

fn one(seed: u64, mode: Mode) -> u64 {
    let mut rng = SimRng::new(seed);
    let mut disk = SimDisk::new(seed);
    let mut model = Model::default();
    let mut hash = 0;
    for _ in 0..5 {
        let horizon = if rng.below(3) == 0 { 12 } else { 150 };
        disk.crash_before(disk.ops() + 1 + rng.below(horizon));
        work(&disk, mode, &mut rng, &mut model, seed);
        hash ^= disk.trace_hash();
        // A killed process leaves unsynced bytes in the system's memory for the next one to find.
        disk = if rng.below(3) == 0 { disk.kill() } else { disk.crash(rng.next_u64()) };
    }
    let (log, _, got) = model.recover(&disk, mode).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    model.check(&got, seed);
    drop(log);
    // Reading it again, also after a power cut, gives the same: recovery made it durable.
    let (_, _, again) =
        model.recover(&disk.crash(seed), mode).unwrap_or_else(|e| panic!("seed {seed}, again: {e}"));
    assert_eq!(got, again, "seed {seed}");
    hash
}

fn images() -> u64 {
    std::env::var("INMEM_WAL_IMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500)
}

#[test]
fn buffered() {
    for seed in 0..images() {
        one(seed, Mode::Buffered);
    }
}

#[test]
fn strict() {
    for seed in 0..images() {
        one(seed, Mode::Strict);
    }
}

#[test]
fn a_seed_gives_the_same_operations_twice() {
    for seed in 0..50 {
        assert_eq!(one(seed, Mode::Buffered), one(seed, Mode::Buffered));
    }
}
