//! A run is read while its log goes on: whatever is appended, sealed or cut off between two looks of the reader, it gets every
//! transaction that it was asked for, whole, once and in order.

mod common;

use std::sync::Arc;

use common::meanwhile::Meanwhile;
use common::*;
use in_mem_wal::{Config, HistoryReader, LogError, Mode, OpenMode, Seen, SimDisk, Storage};

/// Length of the payload of transaction `n`; every ninth takes several records.
fn len(n: u64) -> usize {
    if n.is_multiple_of(9) { 9_000 } else { 60 * (n as usize % 5) }
}

fn expected(through: u64, runs: &[u64]) -> Vec<(u64, Vec<u8>)> {
    (1..=through).filter(|n| runs.contains(&(n % 7))).map(|n| (n, payload(n, len(n)))).collect()
}

fn read(
    storage: Arc<dyn Storage>,
    seen: &mut Seen,
    runs: &[u64],
    through: u64,
) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
    let ids: Vec<_> = runs.iter().map(|run| run_of(*run)).collect();
    let mut got = Vec::new();
    HistoryReader::new(storage, vec![dir()]).runs_again(seen, &ids, through, &mut |r| {
        got.push((r.version, r.payload.to_vec()));
        Ok(())
    })?;
    Ok(got)
}

/// The log as it stood behind each of so many transactions.
fn states(mode: Mode, count: u64) -> Vec<SimDisk> {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, mode).expect("opened");
    let mut states = Vec::new();
    for n in 1..=count {
        append(&mut log, n, len(n)).expect("appended");
        log.sync().expect("synced");
        states.push(disk.kill());
        // Spares come and are used, as in a shard.
        if n % 4 == 0
            && let Some(job) = log.spare_job()
        {
            log.add_spare(job.run().expect("made"));
        }
    }
    states
}

fn become_like(disk: &SimDisk, later: &SimDisk) {
    for path in disk.files().iter().filter(|path| later.contents(path).is_none()) {
        disk.take(path);
    }
    for path in later.files() {
        let bytes = later.contents(&path).expect("there");
        if disk.contents(&path).is_none() {
            disk.put(&path, bytes);
        } else {
            // In place: whoever has it open sees it grow.
            disk.open(&path, OpenMode::ReadWrite).expect("there").write_at(0, &bytes).expect("written");
        }
    }
}

#[test]
fn what_is_appended_meanwhile_is_read_too() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let states = states(mode, 60);
        let last = states.last().expect("some").kill();
        let (mut happened, mut caught_up) = (0, 0);
        for (behind, before) in states.iter().enumerate().step_by(3) {
            for by in [1, 2, 7, 60] {
                let through = states.len().min(behind + 1 + by);
                let later = states[through - 1].kill();
                for nth in 1..=5 {
                    // What was there before the read began, and what came while the segments were listed.
                    for through in [behind + 1, through] {
                        let later = later.kill();
                        let storage =
                            Meanwhile::before(nth, before.kill(), move |disk| become_like(disk, &later));
                        let got = read(storage.clone(), &mut Seen::default(), &[3, 5], through as u64)
                            .unwrap_or_else(|e| panic!("from {behind} by {by}, before listing {nth}: {e}"));
                        let (least, want) =
                            (expected(behind as u64 + 1, &[3, 5]), expected(through as u64, &[3, 5]));
                        let is_early = storage.has_happened() && nth <= 2;
                        assert!(
                            got == want || !is_early && want.starts_with(&got) && got.starts_with(&least),
                            "from {behind} by {by}, before listing {nth}: {:?}",
                            got.iter().map(|(n, _)| n).collect::<Vec<_>>()
                        );
                        happened += u64::from(storage.has_happened());
                        caught_up += u64::from(storage.has_happened() && nth > 2 && got.len() > least.len());
                    }
                }
            }
        }
        assert_eq!(
            read(Arc::new(last), &mut Seen::default(), &[3, 5], 60).expect("whole"),
            expected(60, &[3, 5])
        );
        assert!(happened > 200 && caught_up > 20, "{happened} changes, {caught_up} of them read on from");
    }
}

/// Reads that know what earlier ones saw give the same, at each state of the log.
#[test]
fn what_was_seen_before_changes_nothing() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let (mut seen, mut behind) = (Seen::default(), Seen::default());
        for (place, disk) in states(mode, 60).into_iter().enumerate() {
            let through = place as u64 + 1;
            for run in [through % 7, 2] {
                let got = read(Arc::new(disk.kill()), &mut seen, &[run], through).expect("readable");
                assert_eq!(got, expected(through, &[run]), "behind {through}, run {run}");
            }
            if through.is_multiple_of(10) {
                assert!(seen.is_ahead_of(&behind) && !behind.is_ahead_of(&seen));
                read(Arc::new(disk.kill()), &mut behind, &[2], through).expect("readable");
                assert!(!seen.is_ahead_of(&behind));
            }
        }
    }
}

/// A transaction in several records that was cut off behind its first, and is discarded in the same segment, where the log goes on.
#[test]
fn a_discarded_transaction_in_the_open_segment_is_none() {
    let disk = SimDisk::new(1);
    let big = || Config { segment_bytes: 64 << 10, ..config(Mode::Buffered) };
    let (mut log, _, _) = recover_from(&disk, &dir(), big(), None).expect("opened");
    append(&mut log, 1, 100).expect("appended");
    append(&mut log, 2, 70_000).expect("appended");
    let torn = log.position().segment;
    drop(log);
    let all = records(&disk, 1);
    let [.., begin, seal, _] = all[..] else { panic!("{all:?}") };
    // The power cut left room behind its first record: as that of a smaller one.
    let mut begun = disk.contents(&segment(1)).expect("there")[begin..seal].to_vec();
    begun.truncate(64 + 1_000);
    begun[4..8].copy_from_slice(&1_000_u32.to_le_bytes());
    reseal(&mut begun, 0);
    edit(&disk, 1, |bytes| {
        bytes[begin..].fill(0);
        bytes[begin..begin + begun.len()].copy_from_slice(&begun);
    });
    (2..=torn).for_each(|n| disk.take(&segment(n)));
    let mut seen = Seen::default();
    let (mut log, report, got) = recover_from(&disk, &dir(), big(), None).expect("opened");
    assert!(report.discarded_incomplete && got.len() == 1, "{report:?}");
    let mut versions = |disk: &SimDisk, run: u64, through: u64| -> Vec<u64> {
        let got = read(Arc::new(disk.kill()), &mut seen, &[run], through).expect("readable");
        got.into_iter().map(|(version, _)| version).collect()
    };
    assert_eq!(versions(&disk, 2, u64::MAX), [0; 0]);
    for n in 2..=9 {
        append(&mut log, n, 100).expect("appended");
    }
    log.sync().expect("synced");
    assert_eq!(log.position().segment, 1, "it goes on where it was");
    assert_eq!(versions(&disk, 2, 9), [2, 9]);
    log.seal_active().expect("sealed");
    log.sync().expect("synced");
    assert_eq!(versions(&disk, 2, 9), [2, 9]);
}

/// A log that ends torn is opened again and goes on in another segment while it is read: what was written to the torn one since it
/// was looked at comes first.
#[test]
fn what_came_before_a_torn_end_is_not_passed_over() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for n in 1..=5 {
        append(&mut log, n, 100).expect("appended");
    }
    log.sync().expect("synced");
    let before = disk.kill();
    for n in 6..=10 {
        append(&mut log, n, 100).expect("appended");
    }
    drop(log);
    let end = *records(&disk, 1).last().expect("some");
    edit(&disk, 1, |bytes| bytes[end..end + 90].fill(7));
    let (mut log, report, got) = recover(&disk, Mode::Buffered).expect("opened");
    assert!(report.torn.is_some() && got.len() == 10);
    for n in 11..=20 {
        append(&mut log, n, 100).expect("appended");
    }
    log.sync().expect("synced");
    assert_eq!(log.position().segment, 2);
    for nth in 1..=3 {
        let later = disk.kill();
        let storage = Meanwhile::before(nth, before.kill(), move |disk| become_like(disk, &later));
        let runs: Vec<_> = (0..7).collect();
        let got = read(storage.clone(), &mut Seen::default(), &runs, 20)
            .unwrap_or_else(|e| panic!("before listing {nth}: {e}"));
        assert!(storage.has_happened());
        assert!(got.iter().map(|(n, _)| *n).eq(1..=20), "before listing {nth}: {got:?}");
    }
}

/// A spare whose writer could not wait and went past its number is used for a later segment: it loses its name, is zeroed and headed
/// anew. Whoever had just opened it sees another file's header, or none, and no damage.
#[test]
fn a_spare_that_is_used_for_another_segment_while_it_is_open_is_no_damage() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for n in 1..=8 {
        append(&mut log, n, len(n)).expect("appended");
    }
    let spare = log.spare_job().expect("none there").run().expect("made");
    drop((log, spare));
    let (spare, later) = (segment(2), segment(5));
    let headed = {
        let mut bytes = disk.contents(&spare).expect("there");
        bytes[16] = 5;
        bytes[12..16].fill(0);
        let crc = crc32fast::hash(&bytes[..4096]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    for bytes in [vec![0; headed.len()], headed] {
        let (name, becomes) = (later.with_added_extension("tmp"), bytes);
        let from = spare.clone();
        let storage = Meanwhile::opened(spare.clone(), disk.kill(), move |disk| {
            disk.rename(&from, &name).expect("renamed");
            disk.open(&name, OpenMode::ReadWrite).expect("there").write_at(0, &becomes).expect("written");
        });
        let got = read(storage.clone(), &mut Seen::default(), &[1, 2], 8).expect("no damage");
        assert!(got == expected(8, &[1, 2]), "{} transactions", got.len());
        assert!(storage.has_happened());
    }
    // One that is still there under its name is.
    edit(&disk, 2, |bytes| bytes[16] = 5);
    let refused = read(Arc::new(disk), &mut Seen::default(), &[1, 2], 8).map(|got| got.len());
    assert!(matches!(refused, Err(LogError::Damaged { .. })), "{refused:?}");
}
