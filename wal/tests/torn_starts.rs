//! A segment whose own start a power cut took holds nothing, and the log goes on behind it: it is part of the log all the same.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::*;
use in_mem_wal::{
    Disposal, Fate, HistoryReader, LogError, Mode, ShardLog, SimDisk, Storage, erase, remove_set_aside,
};

/// What the power cut left behind the start that it took.
const LEFT: [u8; 92] = [b'M'; 92];

fn archive() -> PathBuf {
    dir().join("archive")
}

/// A log that went on behind a segment whose start was torn, and how many transactions it holds.
fn with_torn_start(disk: &SimDisk) -> (ShardLog, u64) {
    let (mut log, _, _) = recover(disk, Mode::Buffered).expect("opened");
    let mut written = 0;
    while log.position().segment < 3 {
        written += 1;
        append(&mut log, written, 300).expect("appended");
    }
    let torn = log.position().segment;
    drop(log);
    let path = dir().join(format!("{torn:016x}.wal"));
    let mut bytes = disk.contents(&path).expect("is there");
    bytes[4096..4608].fill(0);
    bytes[4608..4608 + LEFT.len()].copy_from_slice(&LEFT);
    disk.put(&path, bytes);
    let (mut log, report, kept) = recover(disk, Mode::Buffered).expect("opened");
    assert!(report.torn.is_some() && log.position().segment > torn, "{report:?}");
    let through = kept.len() as u64 + 3;
    for n in kept.len() as u64 + 1..=through {
        append(&mut log, n, 300).expect("appended");
    }
    log.sync().expect("synced");
    (log, through)
}

fn read(disk: &SimDisk, through: u64) -> Result<u64, LogError> {
    let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir(), archive()]);
    let runs: Vec<_> = (0..7).map(run_of).collect();
    let mut transactions = 0;
    reader.runs(&runs, through, &mut |_| {
        transactions += 1;
        Ok(())
    })?;
    Ok(transactions)
}

/// An opening from a checkpoint removed it as a spare: the history was refused for good, and so was the log, had the checkpoint
/// been damaged then.
#[test]
fn an_opening_from_a_checkpoint_behind_it_keeps_it() {
    let disk = SimDisk::new(1);
    let (log, through) = with_torn_start(&disk);
    let covers = log.last_lsn();
    drop(log);
    let (log, ..) = recover_from(&disk, &dir(), config(Mode::Buffered), Some(covers)).expect("opened");
    assert!(log.log_bytes() > 0, "what it holds of the log is counted");
    assert_eq!(read(&disk, through).expect("readable"), through);
    drop(log);
    let (_, _, got) = recover(&disk, Mode::Buffered).expect("the log alone will do");
    assert_eq!(got.len() as u64, through);
}

/// An older opening had removed it already.
#[test]
fn it_may_be_gone() {
    let disk = SimDisk::new(1);
    let (_log, through) = with_torn_start(&disk);
    disk.take(&dir().join(format!("{:016x}.wal", 3)));
    assert_eq!(read(&disk, through).expect("readable"), through);
}

#[test]
fn what_is_left_in_it_is_erased_with_the_rest() {
    let disk = SimDisk::new(1);
    let (mut log, through) = with_torn_start(&disk);
    log.seal_active().expect("sealed");
    log.sync().expect("synced");
    let job = log.release_before(log.last_lsn(), Disposal::Archive(archive())).expect("some");
    job.run().expect("archived");
    assert_eq!(read(&disk, through).expect("readable"), through);
    remove_set_aside(&disk, &dir()).expect("removed");
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut judge =
        |run: &[u8; 16], _: Option<&[u8]>| Ok(if *run == run_of(1) { Fate::Erase } else { Fate::Keep });
    erase(&storage, vec![archive()], false, &mut judge).expect("erased");
    let has = |path: &PathBuf| disk.contents(path).expect("there").windows(LEFT.len()).any(|w| w == LEFT);
    assert_eq!(disk.files().into_iter().filter(has).collect::<Vec<_>>(), Vec::<PathBuf>::new());
    let of_others = (1..=through).filter(|n| n % 7 != 1).count() as u64;
    assert_eq!(read(&disk, through).expect("readable"), of_others);
}
