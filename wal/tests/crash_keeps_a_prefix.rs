//! Random appends, syncs and rollovers, a power cut before a random operation, and another one during recovery: what
//! is recovered is a prefix of what was appended, holds everything synced, and no transaction is half there.

mod common;

use common::*;
use in_mem_wal::storage::sim::SimRng;
use in_mem_wal::{Disposal, Mode, SimDisk, SyncJob};

/// Appends, syncs and so on until done or dead. Returns the lengths appended and how many were known to be durable.
fn work(disk: &SimDisk, mode: Mode, rng: &mut SimRng, lens: &mut Vec<usize>, durable: &mut usize) {
    let Ok((mut log, _, got)) = recover(disk, mode) else { return };
    assert_prefix(&got, lens);
    assert!(got.len() >= *durable, "recovered {} of {} synced", got.len(), durable);
    lens.truncate(got.len());
    // Recovery makes durable what it found.
    *durable = got.len();
    let mut job: Option<(SyncJob, usize)> = None;
    for _ in 0..rng.below(60) {
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
            17 => {
                if log.mark().is_err() {
                    return;
                }
            }
            18 if job.is_none() => {
                if log.sync().is_err() {
                    return;
                }
                *durable = lens.len();
            }
            _ => {
                assert!(log.release_before(in_mem_wal::Lsn(0), Disposal::Recycle).is_none());
            }
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
    let (mut lens, mut durable) = (Vec::new(), 0);
    let mut hash = 0;
    for _ in 0..5 {
        let horizon = if rng.below(3) == 0 { 12 } else { 150 };
        disk.crash_before(1 + rng.below(horizon));
        work(&disk, mode, &mut rng, &mut lens, &mut durable);
        hash ^= disk.trace_hash();
        disk = if rng.below(4) == 0 { disk.kill() } else { disk.crash(rng.next_u64()) };
        // Operations count on after a kill.
        if disk.ops() > 0 {
            disk = disk.crash(rng.next_u64());
        }
    }
    let (log, _, got) = recover(&disk, mode).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert_prefix(&got, &lens);
    assert!(got.len() >= durable, "seed {seed}: recovered {} of {durable} synced", got.len());
    drop(log);
    // Reading it again, also after a power cut, gives the same: recovery made it durable.
    let (_, _, again) =
        recover(&disk.crash(seed), mode).unwrap_or_else(|e| panic!("seed {seed}, again: {e}"));
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
