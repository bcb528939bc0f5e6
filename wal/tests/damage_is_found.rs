//! Below the synced mark every flipped bit, every other file length, every zeroed, swapped or stale sector, every
//! missing or renamed file is refused, and what is not refused gives every transaction, right.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use in_mem_wal::storage::sim::SECTOR_BYTES;
use in_mem_wal::{Entry, LogError, Mode, ShardLog, SimDisk, salvage};

/// A log of four segments with transactions of several records, closed or only marked.
fn sound(closed: bool) -> (SimDisk, Vec<Got>, u64) {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for n in 1..=12 {
        append(&mut log, n, if n == 7 { 9_000 } else { 100 * n as usize % 700 }).expect("appended");
    }
    log.sync().expect("synced");
    let end;
    if closed {
        end = log.position().offset;
        log.close().expect("closed");
    } else {
        end = log.position().offset;
        assert!(log.mark().expect("room"));
        log.sync().expect("synced");
    }
    let disk = disk.crash(1);
    let (_, report, got) = recover(&disk.crash(1), Mode::Buffered).expect("sound");
    assert_eq!((got.len(), report.segments), (12, 4), "{report:?}");
    (disk, got, end)
}

/// Offset after the last record that something vouches for, in each segment file. In the last it is `end`.
fn files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|p| p.extension().is_some_and(|e| e == "wal")).collect()
}

/// Opens a damaged copy. True if it was refused, or else everything was there.
fn refused(disk: &SimDisk, want: &[Got], what: &dyn Fn() -> String) -> bool {
    let before: Vec<_> = disk.files().into_iter().map(|p| (disk.contents(&p), p)).collect();
    match recover(disk, Mode::Buffered) {
        Err(LogError::Io { source, .. }) => panic!("{}: {source}", what()),
        Err(_) => {
            let after: Vec<_> = disk.files().into_iter().map(|p| (disk.contents(&p), p)).collect();
            assert_eq!(before, after, "{}: a refused log was modified", what());
            true
        }
        Ok((_, _, got)) => {
            assert_eq!(got, want, "{}: accepted and wrong", what());
            false
        }
    }
}

fn last_used(disk: &SimDisk, path: &Path) -> usize {
    disk.contents(path).expect("there").iter().rposition(|b| *b != 0).expect("used") + 1
}

#[test]
fn every_flipped_bit_below_the_synced_mark() {
    for closed in [false, true] {
        let (disk, want, end) = sound(closed);
        let files = files(&disk);
        for (i, path) in files.iter().enumerate() {
            let bytes = disk.contents(path).expect("there");
            let last = i + 1 == files.len();
            let below = if last { end as usize } else { last_used(&disk, path).next_multiple_of(8) };
            for bit in 0..bytes.len() * 8 {
                // The zeroes of the header's page and those far behind the end are all alike.
                let zeroes = (80..4090).contains(&(bit / 8)) || bit / 8 > below + 600;
                if zeroes && bit % 101 != 0 {
                    continue;
                }
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let copy = disk.crash(1);
                copy.put(path, bytes);
                let refused = refused(&copy, &want, &|| format!("{} bit {bit}", path.display()));
                assert!(
                    refused || bit / 8 >= below,
                    "{} bit {bit} of byte {}: not found",
                    path.display(),
                    bit / 8
                );
            }
        }
    }
}

#[test]
fn every_other_length() {
    let (disk, want, _) = sound(true);
    for path in files(&disk) {
        let bytes = disk.contents(&path).expect("there");
        // Every one of the last file; the others are refused by the same rule.
        let step = if path.ends_with("0000000000000004.wal") { 1 } else { 31 };
        for len in (0..bytes.len()).step_by(step).chain([bytes.len() + 1, bytes.len() + 512]) {
            let mut cut = bytes.clone();
            cut.resize(len, 0);
            let copy = disk.crash(1);
            copy.put(&path, cut);
            assert!(refused(&copy, &want, &|| format!("{} length {len}", path.display())));
        }
    }
}

#[test]
fn every_zeroed_swapped_or_stale_sector() {
    let (disk, want, end) = sound(false);
    let files = files(&disk);
    let sector = SECTOR_BYTES as usize;
    for (i, path) in files.iter().enumerate() {
        let bytes = disk.contents(path).expect("there");
        let below = if i + 1 == files.len() { end as usize } else { last_used(&disk, path) };
        for at in (0..bytes.len()).step_by(sector) {
            let mut damaged = vec![("zeroed", vec![0; sector]), ("ones", vec![0xff; sector])];
            if at + 2 * sector <= bytes.len() {
                damaged.push(("swapped", bytes[at + sector..at + 2 * sector].to_vec()));
            }
            let other = disk.contents(&files[(i + 1) % files.len()]).expect("there");
            damaged.push(("of another segment", other[at..at + sector].to_vec()));
            for (how, with) in damaged {
                if bytes[at..at + sector] == with[..] {
                    continue;
                }
                let mut bytes = bytes.clone();
                if how == "swapped" {
                    bytes.copy_within(at..at + sector, at + sector);
                }
                bytes[at..at + sector].copy_from_slice(&with);
                let copy = disk.crash(1);
                copy.put(path, bytes);
                let refused = refused(&copy, &want, &|| format!("{} sector at {at} {how}", path.display()));
                assert!(refused || at >= below, "{} sector at {at} {how}: not found", path.display());
            }
        }
    }
}

#[test]
fn missing_and_exchanged_files() {
    let (disk, want, _) = sound(false);
    let files = files(&disk);
    for path in &files {
        let copy = disk.crash(1);
        copy.take(path);
        assert!(refused(&copy, &want, &|| format!("{} missing", path.display())));
        for other in files.iter().filter(|o| *o != path) {
            let copy = disk.crash(1);
            copy.put(path, disk.contents(other).expect("there"));
            assert!(refused(&copy, &want, &|| format!("{} in place of {}", other.display(), path.display())));
        }
    }
}

#[test]
fn salvage_saves_everything_but_what_is_damaged_and_check_names_it() {
    let (disk, want, _) = sound(true);
    let path = &files(&disk)[0];
    assert!(in_mem_wal::check(&disk, &dir(), 3, None).expect("readable").sound());
    let mut bytes = disk.contents(path).expect("there");
    // Inside the second transaction's payload: start record 80, first transaction 64 + 100 padded.
    bytes[4096 + 80 + 168 + 64 + 10] ^= 0x10;
    disk.put(path, bytes);
    let report = in_mem_wal::check(&disk, &dir(), 3, None).expect("readable");
    assert!(!report.sound());
    assert!(report.problems.iter().any(|p| p.file == *path && p.offset == 4096 + 80 + 168), "{report:?}");
    let before: Vec<_> = disk.files().iter().map(|p| disk.contents(p)).collect();
    let mut got = Vec::new();
    let report = salvage(&disk, &dir(), &mut |r| {
        got.push(Got { lsn: r.lsn, version: r.version, payload: r.payload.to_vec() });
        Ok(())
    })
    .expect("readable");
    let mut rest = want;
    rest.remove(1);
    assert_eq!(got, rest);
    assert_eq!(report.transactions, 11);
    assert!(!report.lost.is_empty());
    let after: Vec<_> = disk.files().iter().map(|p| disk.contents(p)).collect();
    assert_eq!(before, after);
}

/// A recovery dropped records that were never synced, and gave their numbers to others: those were handed out, and these, which were
/// acknowledged, said to be there twice and left out.
#[test]
fn salvage_leaves_out_what_a_recovery_dropped() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for n in 1..=5 {
        append(&mut log, n, 200).expect("appended");
    }
    log.sync().expect("synced");
    let end = log.position();
    let append_all = |log: &mut ShardLog, numbers: std::ops::RangeInclusive<u64>, payload: &[u8]| {
        for version in numbers {
            let entry = Entry { kind: 1, skippable: false, run: run_of(1), version, timestamp: 0, payload };
            log.append(entry).expect("appended");
        }
    };
    append_all(&mut log, 6..=10, b"dropped");
    drop(log);
    let path = dir().join(format!("{:016x}.wal", end.segment));
    let mut bytes = disk.contents(&path).expect("there");
    bytes[end.offset as usize..end.offset as usize + 64].fill(0);
    disk.put(&path, bytes);
    let (mut log, report, got) = recover(&disk, Mode::Buffered).expect("opened");
    assert!(report.torn.is_some_and(|torn| torn.dropped_records == 4) && got.len() == 5);
    append_all(&mut log, 6..=9, b"acknowledged");
    log.sync().expect("synced");
    drop(log);
    let mut saved = Vec::new();
    let report = salvage(&disk, &dir(), &mut |view| {
        saved.push((view.version, view.payload.to_vec()));
        Ok(())
    });
    let behind: Vec<_> = (6..=9).map(|n| (n, b"acknowledged".to_vec())).collect();
    assert_eq!(saved[5..], behind);
    let lost = report.expect("readable").lost;
    assert!(lost.is_empty(), "{lost:?}");
}
