//! A segment is kept until what follows it is durable, whatever the caller asks for.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::meanwhile::Meanwhile;
use common::*;
use in_mem_wal::storage::sim::FaultKind;
use in_mem_wal::{Disposal, HistoryReader, Mode, ShardLog, SimDisk, Storage};

#[test]
fn unsynced_segments_are_not_released() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = SimDisk::new(1);
        let (mut log, _, _) = recover(&disk, mode).expect("opened");
        for n in 1..=100 {
            append(&mut log, n, 200).expect("appended");
        }
        let sealed = log.sealed_segments().len();
        assert!(sealed > 2);
        assert!(log.release_before(log.last_lsn(), Disposal::Recycle("/db/archive".into())).is_none());
        log.sync().expect("synced");
        let covered = log.last_lsn();
        let job =
            log.release_before(covered, Disposal::Recycle("/db/archive".into())).expect("now they may go");
        assert_eq!(job.run().expect("released").segments, sealed as u64);
        let (_, report, got) =
            recover_from(&disk.crash(1), &dir(), config(mode), Some(covered)).expect("opened");
        assert_eq!((report.segments, got.len()), (1, 0));
    }
}

/// What a release that failed had come to, the one behind it makes durable: also where a file system has no links, and a segment was
/// renamed into the archive whose sync failed.
#[test]
fn a_release_that_failed_is_durable_once_it_is_done() {
    let archive = PathBuf::from("/db/archive");
    let filled = |links: bool| {
        let disk = SimDisk::new(1);
        let storage: Arc<dyn Storage> =
            if links { Arc::new(disk.clone()) } else { Meanwhile::new(disk.clone(), |_| {}) };
        let (mut log, _) =
            ShardLog::recover(storage, &dir(), config(Mode::Buffered), SEED, None, &mut |_| Ok(()))
                .expect("opened");
        for n in 1..=100 {
            append(&mut log, n, 200).expect("appended");
        }
        log.sync().expect("synced");
        (disk, log)
    };
    for links in [true, false] {
        let release = |log: &mut ShardLog| {
            log.release_before(log.last_lsn(), Disposal::Archive(archive.clone())).expect("some")
        };
        let (disk, mut log) = filled(links);
        let from = disk.ops();
        release(&mut log).run().expect("released");
        for at in from + 1..=disk.ops() {
            let (disk, mut log) = filled(links);
            disk.fail(at, FaultKind::Eio, None, false);
            let mut job = release(&mut log);
            if job.take_out().is_err() {
                log.take_back(job);
                release(&mut log).run().expect("released");
            }
            for seed in 0..8 {
                let disk = disk.crash(seed);
                let mut reader = HistoryReader::new(Arc::new(disk), vec![dir(), archive.clone()]);
                let mut count = 0;
                let runs: Vec<_> = (0..7).map(run_of).collect();
                let read = reader.runs(&runs, u64::MAX, &mut |_| {
                    count += 1;
                    Ok(())
                });
                let first = read.map(|extent| extent.first_lsn);
                assert!(
                    matches!(first, Ok(1)) && count == 100,
                    "links {links}, a fault at {at}, seed {seed}: {first:?}, {count}"
                );
            }
        }
    }
}
