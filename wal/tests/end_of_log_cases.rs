//! Every case of the end-of-log table, by name.

mod common;

use common::*;
use in_mem_wal::{EndCase, LogError, Lsn, Mode, SimDisk, Verdict};

/// A log of `count` transactions of 100 bytes, all synced, not closed. Segments hold 23 of them.
fn log_of(count: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for n in 1..=count {
        append(&mut log, n, 100).expect("appended");
        if n % 5 == 0 {
            log.sync().expect("synced");
        }
    }
    log.sync().expect("synced");
    disk.crash(1)
}

/// The same, its last transaction not synced but kept by the crash.
fn unsynced_tail(disk: &SimDisk, n: u64) {
    let (mut log, _, _) = recover(disk, Mode::Buffered).expect("opened");
    append(&mut log, n, 100).expect("appended");
}

fn case_of(result: Result<Recovered, LogError>) -> EndCase {
    match result {
        Err(e) => {
            let corruption = e.corruption().unwrap_or_else(|| panic!("{e}"));
            assert_eq!(corruption.case.verdict(), Verdict::Corrupt);
            let text = e.to_string();
            assert!(text.contains("salvage") && text.contains(&corruption.offset.to_string()), "{text}");
            corruption.case
        }
        Ok((_, report, _)) => {
            assert_ne!(report.end.verdict(), Verdict::Corrupt);
            assert_eq!(report.torn.is_some(), report.end.verdict() == Verdict::Torn);
            report.end
        }
    }
}

fn open(disk: &SimDisk) -> EndCase {
    case_of(recover(disk, Mode::Buffered))
}

/// The last record and the place after it.
fn last(disk: &SimDisk, n: u64) -> (usize, usize) {
    let all = records(disk, n);
    (all[all.len() - 2], all[all.len() - 1])
}

#[test]
fn misnamed() {
    let disk = log_of(60);
    disk.put(&segment(2), disk.contents(&segment(1)).expect("there"));
    assert_eq!(open(&disk), EndCase::Misnamed);
}

#[test]
fn wrong_shard() {
    let disk = log_of(5);
    let mut other = config(Mode::Buffered);
    other.shard = 4;
    assert_eq!(case_of(recover_from(&disk, &dir(), other, None)), EndCase::WrongShard);
}

#[test]
fn wrong_shard_of_a_record() {
    let disk = log_of(5);
    let (at, _) = last(&disk, 1);
    edit(&disk, 1, |b| {
        b[at + 10] ^= 1;
        reseal(b, at);
    });
    assert_eq!(open(&disk), EndCase::WrongShard);
}

#[test]
fn wrong_length() {
    let disk = log_of(5);
    edit(&disk, 1, |b| b.truncate(8000));
    assert_eq!(open(&disk), EndCase::WrongLength);
}

#[test]
fn header_damaged() {
    for n in [1, 2, 3] {
        let disk = log_of(60);
        edit(&disk, n, |b| b[30] ^= 4);
        assert_eq!(open(&disk), EndCase::HeaderDamaged, "segment {n}");
    }
}

#[test]
fn declared_end() {
    let disk = log_of(5);
    let (_, end) = last(&disk, 1);
    edit(&disk, 1, |b| b[end + 3] = 1);
    assert_eq!(open(&disk), EndCase::TornTail);
    // The same bytes are no matter any more: the second segment says that the log left the first before them.
    let (log, report, got) = recover(&disk.crash(3), Mode::Buffered).expect("opened");
    assert_eq!((report.end, got.len(), report.segments), (EndCase::CleanEnd, 5, 2));
    assert_eq!(log.sealed_segments().next().expect("one").end, end as u64);
}

#[test]
fn broken_chain() {
    for field in [16, 24] {
        let disk = log_of(5);
        let (at, _) = last(&disk, 1);
        edit(&disk, 1, |b| {
            b[at + field] ^= 0x40;
            reseal(b, at);
        });
        assert_eq!(open(&disk), EndCase::BrokenChain, "field at {field}");
    }
}

/// Intact and numbered rightly, and of a kind that cannot be there.
#[test]
fn out_of_its_place() {
    // A second start, and a record that says of itself that it was durable before it was written.
    type Change = fn(&mut [u8]);
    let changes: [(Change, &str); 2] = [
        (|record| record[8] = 0x80, "kind 0x80"),
        (|record| record[28..32].fill(0), "record 6 in its place"),
    ];
    for (change, said) in changes {
        let disk = log_of(5);
        let (at, _) = last(&disk, 1);
        edit(&disk, 1, |b| {
            change(&mut b[at..]);
            reseal(b, at);
        });
        let refused = recover(&disk, Mode::Buffered);
        let text = refused.as_ref().map(|_| ()).expect_err("is refused").to_string();
        assert!(text.contains(said) && text.contains(&format!("offset {at}")), "{text}");
        assert_eq!(case_of(refused), EndCase::BrokenChain, "{said}");
    }
    // A start that says that the log comes from elsewhere.
    let disk = log_of(60);
    edit(&disk, 2, |b| {
        b[4096 + 64 + 8] ^= 8;
        reseal(b, 4096);
    });
    let refused = recover(&disk, Mode::Buffered).map(|_| ()).expect_err("is refused");
    let corruption = refused.corruption().expect("is damage");
    assert_eq!((&corruption.file, corruption.offset), (&segment(2), 4096));
    assert_eq!(corruption.case, EndCase::BrokenChain);
}

#[test]
fn parts_out_of_order() {
    let disk = log_of(5);
    let (at, _) = last(&disk, 1);
    edit(&disk, 1, |b| {
        b[at + 9] |= 3;
        reseal(b, at);
    });
    assert_eq!(open(&disk), EndCase::PartsOutOfOrder);
}

/// Behind a first part, only another of the same transaction can come: each of these pairs is two sound records that no writer wrote.
#[test]
fn parts_of_different_transactions() {
    let (whole, skippable, first, between, commit) = (0, 4, 1, 2, 3);
    for (flags, of_the_same) in [
        (whole, false),
        (skippable, false),
        (first, false),
        (between, false),
        (commit, false),
        // Of the right one, and shorter than that said.
        (commit, true),
    ] {
        let disk = log_of(5);
        let all = records(&disk, 1);
        let [.., at, next, _] = all[..] else { panic!("{all:?}") };
        edit(&disk, 1, |b| {
            b[at + 9] = first;
            reseal(b, at);
            b[next + 9] = flags;
            b.copy_within(at..at + 4, next + 24);
            if of_the_same {
                b[next + 8] = b[at + 8];
                b.copy_within(at + 32..at + 56, next + 32);
            }
            reseal(b, next);
        });
        let refused = recover(&disk, Mode::Buffered);
        let corruption = refused.as_ref().map(|_| ()).expect_err("is refused");
        let corruption = corruption.corruption().expect("is damage");
        assert_eq!(corruption.offset, next as u64, "flags {flags}");
        assert_eq!(case_of(refused), EndCase::PartsOutOfOrder, "flags {flags}");
    }
}

/// A checkpoint covers transactions in several records as it does others: wholly.
#[test]
fn a_transaction_in_several_records_may_be_covered() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    let mut covers = vec![log.last_lsn()];
    for n in 1..=6 {
        covers.push(append(&mut log, n, if n % 2 == 0 { 5_000 } else { 100 }).expect("appended"));
    }
    log.sync().expect("synced");
    for (n, covers) in covers.into_iter().enumerate() {
        let opened = recover_from(&disk.kill(), &dir(), config(Mode::Buffered), Some(covers));
        let (_, report, got) = opened.expect("sound");
        assert!(got.iter().map(|got| got.version).eq(n as u64 + 1..=6), "from {covers}: {got:?}");
        assert_eq!(report.applied, 6 - n as u64);
    }
}

#[test]
fn segment_missing() {
    for n in [2, 3] {
        let disk = log_of(60);
        disk.take(&segment(n));
        assert_eq!(open(&disk), EndCase::SegmentMissing, "segment {n}");
    }
}

#[test]
fn start_missing() {
    let disk = log_of(60);
    disk.take(&segment(1));
    assert_eq!(open(&disk), EndCase::StartMissing);
}

#[test]
fn checkpoint_past() {
    let disk = log_of(5);
    let past = recover_from(&disk, &dir(), config(Mode::Buffered), Some(Lsn(50)));
    assert_eq!(case_of(past), EndCase::CheckpointPast);
}

#[test]
fn later_record_vouches() {
    let disk = log_of(12);
    let at = records(&disk, 1)[3];
    edit(&disk, 1, |b| b[at + 70] ^= 1);
    assert_eq!(open(&disk), EndCase::LaterRecordVouches);
}

#[test]
fn sealed_segment() {
    let disk = log_of(26);
    let all = records(&disk, 1);
    // The seal itself: only the next segment can vouch for it.
    edit(&disk, 1, |b| b[all[all.len() - 2] + 64] ^= 1);
    assert_eq!(open(&disk), EndCase::SealedSegment);
}

#[test]
fn forged_tail() {
    let disk = log_of(5);
    let (at, end) = last(&disk, 1);
    edit(&disk, 1, |b| {
        let mut fake = b[at..at + 32].to_vec();
        fake[4..8].copy_from_slice(&2000u32.to_le_bytes());
        fake[16..24].copy_from_slice(&9u64.to_le_bytes());
        for place in (end..b.len() - 32).step_by(32) {
            b[place..place + 32].copy_from_slice(&fake);
        }
    });
    // Every one claims to be a record; none is. With larger segments the search would be given up; here it ends.
    assert_eq!(open(&disk), EndCase::TornTail);
    let big = in_mem_wal::Config { segment_bytes: 64 << 10, ..config(Mode::Buffered) };
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover_from(&disk, &dir(), big.clone(), None).expect("opened");
    append(&mut log, 1, 100).expect("appended");
    log.sync().expect("synced");
    let (at, end) = last(&disk, 1);
    edit(&disk, 1, |b| {
        let mut fake = b[at..at + 32].to_vec();
        fake[4..8].copy_from_slice(&30_000u32.to_le_bytes());
        fake[16..24].copy_from_slice(&9u64.to_le_bytes());
        for place in (end..b.len() - 32).step_by(32) {
            b[place..place + 32].copy_from_slice(&fake);
        }
    });
    assert_eq!(case_of(recover_from(&disk, &dir(), big, None)), EndCase::ForgedTail);
}

#[test]
fn clean_close_and_clean_end() {
    let disk = log_of(5);
    let (log, report, got) = recover(&disk, Mode::Buffered).expect("opened");
    assert_eq!((report.end, got.len()), (EndCase::CleanEnd, 5));
    log.close().expect("closed");
    let disk = disk.crash(1);
    let (mut log, report, _) = recover(&disk, Mode::Strict).expect("opened");
    assert_eq!(report.end, EndCase::CleanClose);
    // Going on after a footer is an ordinary log again.
    append(&mut log, 6, 100).expect("appended");
    log.sync().expect("synced");
    let (_, report, got) = recover(&disk.crash(1), Mode::Buffered).expect("opened");
    assert_eq!((report.end, got.len()), (EndCase::CleanEnd, 6));
}

#[test]
fn stale_salt() {
    let disk = log_of(5);
    let (at, end) = last(&disk, 1);
    edit(&disk, 1, |b| {
        let mut stale = b[at..end].to_vec();
        stale[12] ^= 0xff;
        reseal(&mut stale, 0);
        b[end..2 * end - at].copy_from_slice(&stale);
    });
    assert_eq!(open(&disk), EndCase::StaleSalt);
}

#[test]
fn lost_sectors() {
    let disk = log_of(5);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    append(&mut log, 6, 100).expect("appended");
    append(&mut log, 7, 100).expect("appended");
    // The disk keeps the second and loses the first.
    let all = records(&disk, 1);
    let lost = all[all.len() - 3]..all[all.len() - 2];
    edit(&disk, 1, |b| b[lost].fill(0));
    let (_, report, got) = recover(&disk, Mode::Buffered).expect("opened");
    assert_eq!((report.end, got.len()), (EndCase::LostSectors, 5));
    let torn = report.torn.expect("torn");
    assert_eq!(torn.dropped_records, 1);
    assert_eq!(disk.contents(&torn.copy).expect("copied").len() as u64, torn.bytes);
}

#[test]
fn torn_tail() {
    let disk = log_of(5);
    let (_, end) = last(&disk, 1);
    unsynced_tail(&disk, 6);
    edit(&disk, 1, |b| b[end + 90] ^= 1);
    let (mut log, report, got) = recover(&disk, Mode::Buffered).expect("opened");
    assert_eq!((report.end, got.len()), (EndCase::TornTail, 5));
    assert_eq!(report.torn.expect("torn").offset, end as u64);
    append(&mut log, 6, 50).expect("appended");
    log.close().expect("closed");
    let (_, _, got) = recover(&disk.crash(2), Mode::Buffered).expect("opened");
    assert_prefix(&got, &[100, 100, 100, 100, 100, 50]);
}

#[test]
fn an_incomplete_transaction_is_discarded_whole() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = log_of(3);
        let (mut log, _, _) = recover(&disk, mode).expect("opened");
        append(&mut log, 4, 10_000).expect("appended");
        log.sync().expect("synced");
        // Its last record is in the last segment; the crash takes that.
        let n = log.position().segment;
        let (at, _) = last(&disk, n);
        drop(log);
        edit(&disk, n, |b| b[at..].fill(0));
        let (mut log, report, got) = recover(&disk, mode).expect("opened");
        assert_eq!((report.discarded_incomplete, got.len()), (true, 3));
        append(&mut log, 4, 20).expect("appended");
        log.close().expect("closed");
        let (_, report, got) = recover(&disk.crash(2), mode).expect("opened");
        assert!(!report.discarded_incomplete);
        assert_prefix(&got, &[100, 100, 100, 20]);
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let disk = log_of(5);
    edit(&disk, 1, |b| b[8] = 2);
    let e = recover(&disk, Mode::Buffered).expect_err("refused");
    assert!(matches!(e, LogError::NewerFormat { found: 2, supported: 1, .. }), "{e}");
}

#[test]
fn unknown_kinds_of_the_logs_own_are_skipped_only_if_they_may_be() {
    for (skippable, unknown_flag) in [(true, false), (false, false), (true, true), (false, true)] {
        let disk = log_of(5);
        let (at, _) = last(&disk, 1);
        edit(&disk, 1, |b| {
            b[at + 8] = if unknown_flag { 5 } else { 0xf0 };
            b[at + 9] = if skippable { 4 } else { 0 } | if unknown_flag { 0x80 } else { 0 };
            reseal(b, at);
        });
        match recover(&disk, Mode::Buffered) {
            Ok((_, _, got)) => assert!(skippable && got.len() == 4),
            Err(e) => assert!(!skippable && matches!(e, LogError::UnknownKind { .. }), "{e}"),
        }
    }
}

#[test]
fn every_case_has_a_reason_and_a_name_of_its_own() {
    for (i, case) in EndCase::ALL.iter().enumerate() {
        assert!(case.reason().len() > 40, "{case:?}");
        assert!(!EndCase::ALL[..i].iter().any(|c| c.name() == case.name()));
    }
}

/// Whoever writes a reader from the page alone has every row, in the order in which they are tried.
#[test]
fn every_case_is_on_the_formats_page() {
    let page = include_str!("../../docs/wal-format.md");
    for case in EndCase::ALL {
        let row = page.lines().find(|line| line.ends_with(&format!("| {} |", case.name())));
        let row = row.unwrap_or_else(|| panic!("{case:?} is not on the page"));
        let said = match case.verdict() {
            Verdict::Continue => "| go on |",
            Verdict::End => "| end; go on at X |",
            Verdict::Torn => "| torn",
            Verdict::Corrupt => "| corrupt |",
        };
        assert!(row.contains(said), "{case:?}: {row}");
    }
}

#[test]
fn a_log_that_must_exist_is_missed() {
    let disk = SimDisk::new(1);
    let config = in_mem_wal::Config { create: false, ..config(Mode::Buffered) };
    assert!(matches!(recover_from(&disk, &dir(), config.clone(), None), Err(LogError::Missing { .. })));
    let disk = log_of(5);
    disk.take(&segment(1));
    assert!(matches!(recover_from(&disk, &dir(), config, None), Err(LogError::Missing { .. })));
    let with_checkpoint = recover_from(&disk, &dir(), common::config(Mode::Buffered), Some(Lsn(3)));
    assert!(matches!(with_checkpoint, Err(LogError::Missing { .. })));
}

#[test]
fn a_refusal_by_the_caller_stops_recovery_and_changes_nothing() {
    let disk = log_of(5);
    let before = disk.contents(&segment(1));
    let config = config(Mode::Buffered);
    let refused = in_mem_wal::ShardLog::recover(
        std::sync::Arc::new(disk.clone()),
        &dir(),
        config,
        SEED,
        None,
        &mut |r| if r.version == 3 { Err("no".into()) } else { Ok(()) },
    );
    assert!(matches!(refused, Err(LogError::Apply { lsn: Lsn(4), .. })));
    assert_eq!(before, disk.contents(&segment(1)));
}
