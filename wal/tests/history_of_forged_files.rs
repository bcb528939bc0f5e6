//! What is sound by its checksum and yet not what it should be, in a segment or in its index, is refused, or read around: never
//! handed out as another transaction. And a reader whose disk fails gives everything or an error.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::*;
use in_mem_wal::storage::sim::FaultKind;
use in_mem_wal::{Fate, HistoryReader, LogError, Mode, SegmentIndex, SimDisk, Storage, erase};

type Versions = Vec<u64>;

/// Twelve transactions in three segments; the seventh is in several records. The first two segments are sealed and indexed.
fn indexed_log() -> SimDisk {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for n in 1..=12 {
        append(&mut log, n, if n == 7 { 8_000 } else { 10 * (13 - n as usize) }).expect("appended");
    }
    log.sync().expect("synced");
    assert_eq!(log.position().segment, 3);
    drop(log);
    for n in [1, 2] {
        SegmentIndex::build(&disk, &segment(n)).expect("built");
    }
    disk
}

fn index(n: u64) -> PathBuf {
    segment(n).with_extension("idx")
}

fn read_by(
    disk: &SimDisk,
    by: impl FnOnce(&mut HistoryReader, &mut Versions) -> Result<(), LogError>,
) -> Result<Versions, LogError> {
    let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir()]);
    let mut versions = Vec::new();
    by(&mut reader, &mut versions).map(|()| versions)
}

/// By both ways in which a run is read: from the sealed segments, and from the log as it goes on.
fn both_ways(disk: &SimDisk, run: u64) -> [Result<Versions, LogError>; 2] {
    let sealed = read_by(disk, |reader, versions| {
        let mut apply = |r: in_mem_wal::RecordView<'_>| {
            versions.push(r.version);
            Ok(())
        };
        reader.run(&run_of(run), 3, &mut apply).map(|_| ())
    });
    let followed = read_by(disk, |reader, versions| {
        let mut apply = |r: in_mem_wal::RecordView<'_>| {
            versions.push(r.version);
            Ok(())
        };
        reader.runs(&[run_of(run)], 12, &mut apply).map(|_| ())
    });
    [sealed, followed]
}

fn assert_damaged(disk: &SimDisk, run: u64, file: &PathBuf, said: &str) {
    for read in both_ways(disk, run) {
        let error = read.expect_err("is refused");
        assert!(matches!(&error, LogError::Damaged { file: found, .. } if found == file), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_sound_record_that_is_not_the_one_indexed() {
    let disk = indexed_log();
    assert_eq!(both_ways(&disk, 6).map(|read| read.expect("sound")), [vec![6], vec![6]]);
    let at = records(&disk, 1)[6];
    type Change = fn(&mut Vec<u8>, usize);
    let changes: [(Change, &str); 5] = [
        (|bytes, at| bytes[at + 32] ^= 8, "another run's"),
        (|bytes, at| bytes[at + 12] ^= 0xff, "a record of another segment"),
        (|bytes, at| bytes[at + 10] ^= 0xff, "a record of another segment"),
        (|bytes, at| bytes[at + 8] = 0x82, "the start of a transaction"),
        (|bytes, at| bytes[at + 9] = 2, "the start of a transaction"),
    ];
    for (place, (change, said)) in changes.into_iter().enumerate() {
        let disk = disk.kill();
        edit(&disk, 1, |bytes| {
            change(bytes, at);
            reseal(bytes, at);
        });
        // The shard of a record that is whole is looked at where the log is opened, and where it is read alone.
        if place == 2 {
            let [sealed, _] = both_ways(&disk, 6);
            assert!(sealed.expect_err("is refused").to_string().contains(said));
            continue;
        }
        let file = if place == 0 { None } else { Some(segment(1)) };
        for read in both_ways(&disk, 6) {
            let error = read.expect_err("is refused");
            let LogError::Damaged { file: found, .. } = &error else { panic!("{error}") };
            assert!(error.to_string().contains(said), "{error}");
            assert!(file.as_ref().is_none_or(|file| file == found), "{error}");
        }
    }
}

/// Of a transaction in several records, each may be sound by itself and yet not belong to the others.
#[test]
fn parts_that_do_not_belong_together() {
    let disk = indexed_log();
    assert_eq!(both_ways(&disk, 0).map(|read| read.expect("sound")), [vec![7], vec![7]]);
    let parts: Vec<(u64, usize)> = (1..=3)
        .flat_map(|n| records(&disk, n).into_iter().map(move |at| (n, at)))
        .filter(|&(n, at)| disk.contents(&segment(n)).expect("there").get(at + 9).is_some_and(|f| f & 3 != 0))
        .collect();
    let [_, (second, between), (third, last)] = parts[..] else { panic!("{parts:?}") };
    type Change = fn(&mut Vec<u8>, usize);
    let changes: [(u64, usize, Change, &str); 6] = [
        // Its number, or what it says of the record before.
        (second, between, |bytes, at| bytes[at + 16] ^= 4, "the next part of a transaction"),
        (second, between, |bytes, at| bytes[at + 24] ^= 4, "the next part of a transaction"),
        // Its kind, its run, its version.
        (third, last, |bytes, at| bytes[at + 8] ^= 1, "the next part of a transaction"),
        (third, last, |bytes, at| bytes[at + 32] ^= 1, "the next part of a transaction"),
        (third, last, |bytes, at| bytes[at + 48] ^= 1, "the next part of a transaction"),
        // Eight bytes fewer than the first said.
        (third, last, |bytes, at| bytes[at + 4] -= 8, "a whole transaction"),
    ];
    for (n, at, change, said) in changes {
        let disk = disk.kill();
        edit(&disk, n, |bytes| {
            change(bytes, at);
            reseal(bytes, at);
        });
        assert_damaged(&disk, 0, &segment(n), said);
    }
}

#[test]
fn an_index_of_another_segment_is_built_again() {
    let disk = indexed_log();
    let own = disk.contents(&index(1)).expect("there");
    disk.put(&index(1), disk.contents(&index(2)).expect("there"));
    let refused = SegmentIndex::open(&disk, &segment(1)).expect_err("is another's");
    assert!(refused.to_string().contains("another segment's"), "{refused}");
    assert_eq!(both_ways(&disk, 1).map(|read| read.expect("sound")), [vec![1], vec![1, 8]]);
    assert_eq!(disk.contents(&index(1)), Some(own));
}

/// Its checksums are right, and nothing is allocated for what it claims.
#[test]
fn an_index_that_lists_more_than_there_is_is_built_again() {
    let disk = indexed_log();
    let own = disk.contents(&index(1)).expect("there");
    let mut forged = own.clone();
    // Of the first run of the first page: how many transactions it has.
    forged[64 + 8 + 20..64 + 8 + 24].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32fast::hash(&forged[64 + 4..64 + 4096]);
    forged[64..64 + 4].copy_from_slice(&crc.to_le_bytes());
    disk.put(&index(1), forged.clone());
    let opened = SegmentIndex::open(&disk, &segment(1)).expect("its header is sound");
    let refused = opened.offsets(&run_of(0)).expect_err("is too many");
    assert!(refused.to_string().contains("more than there are"), "{refused}");
    for _ in 0..2 {
        disk.put(&index(1), forged.clone());
        assert_eq!(both_ways(&disk, 0).map(|read| read.expect("sound")), [vec![7], vec![7]]);
        assert_eq!(disk.contents(&index(1)), Some(own.clone()));
    }
}

#[test]
fn a_segment_that_is_another_file_or_a_newer_one() {
    let disk = indexed_log();
    let newer = disk.kill();
    edit(&newer, 2, |bytes| bytes[8] = 9);
    for read in both_ways(&newer, 1) {
        let error = read.expect_err("is refused");
        assert!(
            matches!(&error, LogError::NewerFormat { file, found: 9, .. } if *file == segment(2)),
            "{error}"
        );
    }
    let damaged = disk.kill();
    edit(&damaged, 2, |bytes| bytes[30] ^= 4);
    assert_damaged(&damaged, 1, &segment(2), "a sound segment header");
    disk.put(&segment(2), disk.contents(&segment(1)).expect("there"));
    disk.take(&index(2));
    assert_damaged(&disk, 1, &segment(2), "segment 0000000000000002");
}

/// A segment that records were erased from ends elsewhere than the next one says; what is missing of it shows in the numbers.
#[test]
fn a_gap_behind_an_erased_run_is_named() {
    let disk = indexed_log();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let first = segment(1);
    let archive = PathBuf::from("/db/archive");
    let archived = archive.join(first.file_name().expect("a name"));
    disk.put(&archived, disk.contents(&first).expect("there"));
    disk.take(&first);
    disk.take(&index(1));
    let mut judge =
        |run: &[u8; 16], _: Option<&[u8]>| Ok(if *run == run_of(2) { Fate::Erase } else { Fate::Keep });
    assert_eq!(erase(&storage, vec![archive.clone()], false, &mut judge).expect("erased").records, 1);
    let read = |disk: &SimDisk| {
        let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir(), archive.clone()]);
        let mut versions = Vec::new();
        reader.runs(&(0..7).map(run_of).collect::<Vec<_>>(), 12, &mut |r| {
            versions.push(r.version);
            Ok(())
        })?;
        Ok::<_, LogError>(versions)
    };
    assert!(read(&disk).expect("sound").into_iter().eq((1..=12).filter(|n| *n != 2)));
    disk.take(&archived.with_extension("idx"));
    let mut bytes = disk.contents(&archived).expect("there");
    bytes[4096 + 500..].fill(0);
    disk.put(&archived, bytes);
    let error = read(&disk).expect_err("is refused");
    assert!(matches!(&error, LogError::Damaged { file, .. } if *file == archived), "{error}");
    assert!(error.to_string().contains("records up to number"), "{error}");
}

#[test]
fn whatever_fails_it_is_everything_or_an_error() {
    for with_index in [true, false] {
        let disk = indexed_log();
        if !with_index {
            disk.take(&index(1));
            disk.take(&index(2));
        }
        let counted = disk.kill();
        let from = counted.ops();
        let want = both_ways(&counted, 0).map(|read| read.expect("sound"));
        let through = counted.ops();
        let mut errors = 0;
        for at in from + 1..=through {
            for sticky in [false, true] {
                let disk = disk.kill();
                disk.fail(at, FaultKind::Eio, None, sticky);
                for (read, want) in both_ways(&disk, 0).into_iter().zip(&want) {
                    match read {
                        Ok(got) => assert_eq!(got, *want, "fault at {at}, sticky {sticky}"),
                        Err(LogError::Io { .. } | LogError::Missing { .. } | LogError::Damaged { .. }) => {
                            errors += 1
                        }
                        Err(other) => panic!("fault at {at}, sticky {sticky}: {other}"),
                    }
                }
                // And nothing that it left behind is in the way.
                disk.heal();
                let again = both_ways(&disk, 0).map(|read| read.expect("sound"));
                assert_eq!(again, want, "after a fault at {at}, sticky {sticky}");
            }
        }
        assert!(errors > 50, "{errors}");
    }
}
