//! The history of a run comes out of sealed segments whole and in order, from the log's directory and the archive,
//! and an index that is missing or damaged is built again.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::*;
use in_mem_wal::{Disposal, HistoryReader, LogError, Mode, SegmentIndex, SimDisk};

fn filled(disk: &SimDisk, mode: Mode, count: u64) -> in_mem_wal::ShardLog {
    let (mut log, _, _) = recover(disk, mode).expect("opened");
    for n in 1..=count {
        let len = if n % 17 == 0 { 30_000 } else { (n as usize * 37) % 700 };
        append(&mut log, n, len).expect("appended");
        if n % 9 == 0 {
            log.sync().expect("synced");
        }
    }
    log.sync().expect("synced");
    log
}

fn history(reader: &mut HistoryReader, run: u64, before: u64) -> Vec<(u64, Vec<u8>)> {
    let mut got = Vec::new();
    reader
        .run(&run_of(run), before, &mut |r| {
            got.push((r.version, r.payload.to_vec()));
            Ok(())
        })
        .expect("readable");
    got
}

fn expected(run: u64, count: u64) -> Vec<(u64, Vec<u8>)> {
    (1..=count)
        .filter(|n| n % 7 == run)
        .map(|n| (n, payload(n, if n % 17 == 0 { 30_000 } else { (n as usize * 37) % 700 })))
        .collect()
}

#[test]
fn every_run_comes_out_whole() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = SimDisk::new(1);
        let mut log = filled(&disk, mode, 200);
        let active = log.position().segment;
        let archive = PathBuf::from("/db/archive");
        let middle = log.sealed_segments().nth(20).expect("many").last_lsn;
        let job = log.release_before(middle.next(), Disposal::Archive(archive.clone())).expect("some");
        assert_eq!(job.run().expect("archived").segments, 21);
        // What is in the active segment is not the index's business: compare what began before it.
        let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir(), archive]);
        let mut total = 0;
        for run in 0..7 {
            let got = history(&mut reader, run, active);
            assert_eq!(got, expected(run, 200)[..got.len()]);
            total += got.len();
        }
        assert!(total > 180, "{total}");
        assert!(history(&mut reader, 99, active).is_empty());
    }
}

#[test]
fn a_damaged_index_is_built_again() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, Mode::Buffered, 60);
    let first = log.sealed_segments().next().expect("sealed").clone();
    let second = log.sealed_segments().nth(1).expect("sealed").number;
    let index = SegmentIndex::open_or_build(&disk, &first.path).expect("built");
    assert_eq!(index.end(), first.end);
    assert!(index.runs() == 7 && index.transactions() >= 7);
    let path = first.path.with_extension("idx");
    let sound = disk.contents(&path).expect("there");
    let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir()]);
    let want: Vec<_> = (0..7).map(|run| history(&mut reader, run, second)).collect();
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.put(&path, bytes);
        let run = bit as u64 % 7;
        assert_eq!(history(&mut reader, run, second), want[run as usize], "bit {bit}");
    }
    for len in (0..sound.len()).step_by(37) {
        disk.put(&path, sound[..len].to_vec());
        assert_eq!(history(&mut reader, 1, second), want[1], "length {len}");
    }
}

#[test]
fn damage_in_the_segment_is_an_error_and_never_another_value() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, Mode::Buffered, 40);
    let first = log.sealed_segments().next().expect("sealed").clone();
    SegmentIndex::build(&disk, &first.path).expect("built");
    let sound = disk.contents(&first.path).expect("there");
    let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir()]);
    let want = history(&mut reader, 1, first.number + 1);
    for bit in (4096 * 8..first.end as usize * 8).step_by(11) {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.put(&first.path, bytes);
        reader.forget();
        let mut got = Vec::new();
        let result = reader.run(&run_of(1), first.number + 1, &mut |r| {
            got.push((r.version, r.payload.to_vec()));
            Ok(())
        });
        match result {
            Ok(_) => assert_eq!(got, want),
            Err(LogError::Damaged { .. }) => assert_eq!(got, want[..got.len()]),
            Err(other) => panic!("{other}"),
        }
    }
}
