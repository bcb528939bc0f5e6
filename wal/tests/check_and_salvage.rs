//! `check` says where a log stands without opening it, and `salvage` hands out each whole transaction once, and names whatever
//! it could not hand out.

mod common;

use common::*;
use in_mem_wal::check::salvage_after;
use in_mem_wal::storage::sim::{FaultKind, OpKind};
use in_mem_wal::{LogError, Lsn, Mode, SalvageReport, SimDisk, check, salvage};

const HEADER: u64 = 4096;

/// A log of three segments, of which the last goes on: 12 transactions, the seventh of which is in several records.
fn log_of_three() -> (SimDisk, Vec<Got>) {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for n in 1..=12 {
        append(&mut log, n, if n == 7 { 8_000 } else { 30 * (13 - n as usize) }).expect("appended");
    }
    log.sync().expect("synced");
    assert_eq!(log.position().segment, 3);
    drop(log);
    let (_, _, got) = recover(&disk.kill(), Mode::Buffered).expect("sound");
    (disk, got)
}

fn save(disk: &SimDisk) -> Result<(Vec<Got>, SalvageReport), LogError> {
    let mut got = Vec::new();
    let report = salvage(disk, &dir(), &mut |r| {
        got.push(Got { lsn: r.lsn, version: r.version, payload: r.payload.to_vec() });
        Ok(())
    })?;
    assert_eq!(report.transactions, got.len() as u64);
    Ok((got, report))
}

fn without(want: &[Got], versions: &[u64]) -> Vec<Got> {
    want.iter().filter(|got| !versions.contains(&got.version)).cloned().collect()
}

#[test]
fn a_directory_without_a_log_is_not_a_sound_one() {
    let (disk, _) = log_of_three();
    (1..=3).for_each(|n| disk.take(&segment(n)));
    let report = check(&disk, &dir(), 3, None).expect("readable");
    let problem = &report.problems[0];
    assert!(
        !report.sound() && problem.file == dir() && problem.what.contains("there is no log"),
        "{report:?}"
    );
}

#[test]
fn a_torn_tail_is_told_once_and_leaves_the_log_sound() {
    let (disk, want) = log_of_three();
    let end = *records(&disk, 3).last().expect("some");
    edit(&disk, 3, |bytes| bytes[end + 3..end + 90].fill(7));
    let report = check(&disk, &dir(), 3, None).expect("readable");
    let [problem] = &report.problems[..] else { panic!("{report:?}") };
    assert_eq!((&problem.file, problem.offset, problem.serious), (&segment(3), end as u64, false));
    assert!(report.sound() && report.transactions == 12 && report.last_lsn == want[11].lsn, "{report:?}");
    // Whoever saves is told of them, and how many they are.
    let (got, report) = save(&disk).expect("readable");
    let [lost] = &report.lost[..] else { panic!("{report:?}") };
    assert_eq!((got, lost.offset, lost.bytes), (want, end as u64, 90));
}

#[test]
fn what_a_newer_program_wrote_is_pointed_at() {
    let (disk, _) = log_of_three();
    let all = records(&disk, 3);
    let at = all[all.len() - 2];
    let newer = disk.kill();
    edit(&newer, 3, |bytes| {
        bytes[at + 8] = 0xf0;
        reseal(bytes, at);
    });
    let report = check(&newer, &dir(), 3, None).expect("readable");
    let problem = &report.problems[0];
    assert_eq!((&problem.file, problem.offset, problem.serious), (&segment(3), at as u64, true));
    assert!(problem.what.contains("0xf0"), "{problem:?}");
    edit(&disk, 2, |bytes| bytes[8] = 9);
    let report = check(&disk, &dir(), 3, None).expect("readable");
    let problem = &report.problems[0];
    assert_eq!((&problem.file, problem.offset, problem.serious), (&segment(2), 8, true));
    assert!(problem.what.contains("format version 9"), "{problem:?}");
}

#[test]
fn under_a_damaged_header_the_records_are_saved() {
    let (disk, want) = log_of_three();
    edit(&disk, 2, |bytes| bytes[30] ^= 4);
    let (got, report) = save(&disk).expect("readable");
    assert_eq!(got, want);
    let [lost] = &report.lost[..] else { panic!("{report:?}") };
    assert_eq!((&lost.file, lost.offset, lost.bytes), (&segment(2), 0, HEADER));
    assert!(lost.what.contains("damaged header"), "{lost:?}");
}

/// Each operation fails in turn: an error, or everything but what is named as lost.
#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_are_saved() {
    let (disk, want) = log_of_three();
    let sound = disk.kill();
    sound.record_ops();
    let (got, report) = save(&sound).expect("readable");
    assert_eq!((got, report.lost.len()), (want.clone(), 0));
    let (mut refused, mut unread) = (0, 0);
    for op in sound.recorded_ops() {
        let disk = disk.kill();
        disk.fail(op.number, FaultKind::Eio, None, false);
        match save(&disk) {
            Err(error) => {
                assert!(matches!(op.kind, OpKind::Exists | OpKind::ReadDir), "{op:?}: {error}");
                refused += 1;
            }
            Ok((got, report)) if report.lost.is_empty() => assert_eq!(got, want, "{op:?}"),
            Ok((got, report)) => {
                let lost = &report.lost[0];
                assert!(lost.file == op.path && lost.what.contains("cannot be read"), "{op:?}: {report:?}");
                // The seventh begins in the first segment, and ends in the third.
                assert!(
                    got.len() < want.len() && got.iter().all(|got| want.contains(got)),
                    "{op:?}: {got:?}"
                );
                unread += 1;
            }
        }
    }
    assert!(refused >= 2 && unread >= 3 * 3, "{refused} refused, {unread} files unread");
}

#[test]
fn what_is_there_twice_is_handed_out_once() {
    let (disk, want) = log_of_three();
    disk.put(&segment(9), disk.contents(&segment(1)).expect("there"));
    let (got, report) = save(&disk).expect("readable");
    assert_eq!(got, want);
    assert!(!report.lost.is_empty());
    for lost in &report.lost {
        assert!(lost.file == segment(9) && lost.what.contains("again"), "{lost:?}");
    }
}

/// A transaction in several records comes out whole or not at all, whichever of them is gone, and is named then.
#[test]
fn without_one_of_its_parts_a_transaction_is_left_out() {
    let (disk, want) = log_of_three();
    let parts: Vec<(u64, usize)> = (1..=3)
        .flat_map(|n| records(&disk, n).into_iter().map(move |at| (n, at)))
        .filter(|&(n, at)| {
            let bytes = disk.contents(&segment(n)).expect("there");
            bytes.get(at + 9).is_some_and(|flags| flags & 3 != 0)
        })
        .collect();
    assert_eq!(parts.len(), 3, "a first, one between, a last");
    for &(n, at) in &parts {
        let disk = disk.kill();
        edit(&disk, n, |bytes| bytes[at + 70] ^= 1);
        let (got, report) = save(&disk).expect("readable");
        assert_eq!(got, without(&want, &[7]), "without the part at {at} of segment {n}");
        assert!(report.lost.iter().any(|lost| lost.what.contains("a transaction lacks")), "{report:?}");
    }
    // The whole segment that it begins in: what is left of it is no transaction.
    let gone = disk.kill();
    gone.take(&segment(1));
    let (got, report) = save(&gone).expect("readable");
    assert_eq!(got, without(&want, &[1, 2, 3, 4, 5, 6, 7]));
    assert!(report.lost.iter().any(|lost| lost.what.contains("lacks its first part")), "{report:?}");
    // One that says of itself that it was longer.
    let (n, at) = parts[0];
    edit(&disk, n, |bytes| {
        bytes[at + 64] ^= 1;
        reseal(bytes, at);
    });
    let (got, report) = save(&disk).expect("readable");
    assert_eq!(got, without(&want, &[7]));
    let [lost] = &report.lost[..] else { panic!("{report:?}") };
    assert!(lost.what.contains("lacks a part"), "{lost:?}");
}

/// A transaction that a crash cut off was discarded when the log was opened again, as the log says: nothing is lost.
#[test]
fn a_transaction_that_was_discarded_is_not_missed() {
    let (disk, want) = log_of_three();
    let first = records(&disk, 1);
    // Behind its first part, which is the last record but the seal.
    let behind = first[first.len() - 2];
    edit(&disk, 1, |bytes| bytes[behind..].fill(0));
    [2, 3].into_iter().for_each(|n| disk.take(&segment(n)));
    let (mut log, report, got) = recover(&disk, Mode::Buffered).expect("opened");
    assert!(report.discarded_incomplete && got == want[..6], "{report:?}");
    append(&mut log, 7, 300).expect("appended");
    log.sync().expect("synced");
    let (got, report) = save(&disk).expect("readable");
    assert_eq!((got.len(), got[6].version, got[6].payload.len()), (7, 7, 300));
    assert!(report.lost.is_empty() && got[6].lsn > Lsn(8), "{report:?}");
}

/// The checkpoint holds it whole: the segment that it began in was let go, and nothing of it is lost.
#[test]
fn a_transaction_that_a_checkpoint_covers_is_not_missed() {
    let (disk, want) = log_of_three();
    let mut commits =
        (1..=3).flat_map(|n| records(&disk, n).into_iter().map(move |at| (n, at))).filter_map(|(n, at)| {
            let bytes = disk.contents(&segment(n)).expect("there");
            (bytes.get(at + 9)? & 3 == 3)
                .then(|| u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap()))
        });
    let covers = Lsn(commits.next().expect("one in several records"));
    disk.take(&segment(1));
    let save = |covers| {
        let mut got = Vec::new();
        let report = in_mem_wal::check::salvage_after(&disk, &[dir()], covers, &mut |record| {
            got.push(Got { lsn: record.lsn, version: record.version, payload: record.payload.to_vec() });
            Ok(())
        });
        (got, report.expect("readable"))
    };
    let (got, report) = save(covers);
    assert_eq!(got, without(&want, &[1, 2, 3, 4, 5, 6, 7]));
    assert!(report.lost.is_empty(), "{report:?}");
    let (_, report) = save(Lsn(covers.0 - 1));
    assert!(report.lost.iter().any(|lost| lost.what.contains("lacks its first part")), "{report:?}");
}

/// A bug: what was behind the last record that is left went unseen, since nothing comes after it.
#[test]
fn a_log_whose_end_is_gone_is_not_saved_in_silence() {
    let (disk, want) = log_of_three();
    let saved = |disk: &SimDisk, covers: Lsn| {
        let mut versions = Vec::new();
        let report = salvage_after(disk, &[dir()], covers, &mut |record| {
            versions.push(record.version);
            Ok(())
        });
        (versions, report.expect("readable").lost)
    };
    // All of it is there: nothing is lost, with or without a checkpoint.
    for covers in [0, 3, want[11].lsn.0] {
        assert_eq!(saved(&disk, Lsn(covers)).1, [], "from {covers}");
    }
    // The last segment: the one before says that the log goes on in it.
    let cut = disk.kill();
    cut.take(&segment(3));
    let all = records(&cut, 2);
    let (versions, lost) = saved(&cut, Lsn::ZERO);
    let [lost] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!((&lost.file, lost.offset), (&segment(2), all[all.len() - 2] as u64));
    assert!(lost.serious && lost.what.contains("0000000000000003"), "{lost:?}");
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    // All of them, and all but one that was never begun: a checkpoint makes up for the beginning only.
    (1..=2).for_each(|n| cut.take(&segment(n)));
    for spare in [false, true] {
        if spare {
            let mut bytes = disk.contents(&segment(3)).expect("there");
            bytes[HEADER as usize..].fill(0);
            cut.put(&segment(3), bytes);
        }
        for covers in [Lsn::ZERO, Lsn(3)] {
            let (versions, lost) = saved(&cut, covers);
            assert!(versions.is_empty() && lost.len() == 1, "{lost:?}");
            assert!(lost[0].serious && lost[0].what.contains("no record of the log"), "{lost:?}");
        }
    }
    // One that ends before its checkpoint.
    let (_, lost) = saved(&disk, Lsn(want[11].lsn.0 + 5));
    assert!(lost.len() == 1 && lost[0].what.contains("its checkpoint covers"), "{lost:?}");
    // A log that was made and never begun has lost nothing.
    let new = SimDisk::new(1);
    drop(recover(&new, Mode::Buffered).expect("opened"));
    edit(&new, 1, |bytes| bytes[HEADER as usize..].fill(0));
    assert_eq!(saved(&new, Lsn::ZERO).1, []);
}
