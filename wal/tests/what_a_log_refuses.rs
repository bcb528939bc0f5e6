//! What a log cannot do it refuses by name, and is as it was.

mod common;

use common::*;
use in_mem_wal::limits::{DEFAULT_SEGMENT_BYTES, MAX_PAYLOAD_BYTES, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use in_mem_wal::{Config, Entry, LogError, Mode, SimDisk};

fn entry(kind: u8, payload: &[u8]) -> Entry<'_> {
    Entry { kind, skippable: false, run: run_of(1), version: 1, timestamp: 1_001, payload }
}

#[test]
fn a_size_of_segments_that_cannot_work() {
    let disk = SimDisk::new(1);
    for segment_bytes in [0, MIN_SEGMENT_BYTES - 8, MIN_SEGMENT_BYTES + 4, MAX_SEGMENT_BYTES + 8, u64::MAX] {
        let config = Config { segment_bytes, ..config(Mode::Buffered) };
        let refused = recover_from(&disk, &dir(), config, None).map(|_| ()).expect_err("is refused");
        assert!(matches!(&refused, LogError::Config(_)), "{refused}");
        let text = refused.to_string();
        assert!(text.contains(&segment_bytes.to_string()) && text.contains("a multiple of 8"), "{text}");
        assert!(refused.corruption().is_none());
    }
    assert_eq!(disk.files(), [] as [std::path::PathBuf; 0]);
    let default = Config::default();
    assert_eq!((default.segment_bytes, default.mode), (DEFAULT_SEGMENT_BYTES, Mode::Buffered));
    recover_from(&disk, &dir(), Config { shard: 3, ..default }, None).expect("the default works");
}

#[test]
fn kinds_that_are_the_logs_own() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    let before = (log.last_lsn(), log.position());
    for kind in [0, 0x80, 0x81, 0x85, 0xff] {
        let refused = log.append(entry(kind, b"payload"));
        assert!(
            matches!(refused, Err(LogError::ReservedKind { kind: found }) if found == kind),
            "{refused:?}"
        );
        assert_eq!((log.last_lsn(), log.position()), before);
    }
    log.append(entry(127, b"payload")).expect("the last that is the caller's");
}

#[test]
fn a_payload_over_the_limit() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    let before = (log.last_lsn(), log.position());
    // Zeroed pages that nobody looks at cost nothing.
    let payload = vec![0; MAX_PAYLOAD_BYTES as usize + 1];
    let refused = log.append(entry(1, &payload));
    let is_named = matches!(refused, Err(LogError::TooLarge { bytes, limit })
        if bytes == MAX_PAYLOAD_BYTES + 1 && limit == MAX_PAYLOAD_BYTES);
    assert!(is_named, "{refused:?}");
    assert_eq!((log.last_lsn(), log.position()), before);
}

#[test]
fn a_sync_job_of_another_log() {
    let (one_disk, other_disk) = (SimDisk::new(1), SimDisk::new(1));
    let (mut one, _, _) = recover(&one_disk, Mode::Strict).expect("opened");
    let (mut other, _, _) = recover(&other_disk, Mode::Strict).expect("opened");
    append(&mut one, 1, 100).expect("appended");
    append(&mut other, 1, 100).expect("appended");
    let mut job = one.begin_sync().expect("something to sync");
    let own = other.begin_sync().expect("something to sync");
    assert!(job.run().is_ok());
    // What the one synced says nothing of the other.
    let synced = other.synced_lsn();
    let refused = other.finish_sync(job);
    assert!(matches!(&refused, Err(LogError::Config(why)) if why.contains("of another log")), "{refused:?}");
    assert_eq!(other.synced_lsn(), synced);
    let waits = other.sync();
    assert!(
        matches!(&waits, Err(LogError::Config(why)) if why.contains("while a sync job is out")),
        "{waits:?}"
    );
    assert_eq!(other.finish_sync(own).expect("synced"), other.last_lsn());
    other.sync().expect("nothing is out any more");
    // Its job is gone, and what came of it, nobody told it.
    assert!(matches!(one.sync(), Err(LogError::Poisoned { .. })));
}

/// Whether a record may be skipped by programs that do not know its kind is the caller's to say, and is kept.
#[test]
fn a_skippable_entry_is_handed_out_like_any_other() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for version in 1..=4 {
        let skippable = version % 2 == 0;
        let entry = Entry { skippable, version, ..entry(9, b"payload") };
        log.append(entry).expect("appended");
    }
    let second = in_mem_wal::Lsn(log.last_lsn().0 - 2);
    log.close().expect("closed");
    for (from, versions, skipped) in [(None, &[1, 2, 3, 4][..], 0), (Some(second), &[3, 4][..], 2)] {
        let mut got = Vec::new();
        let storage = std::sync::Arc::new(disk.kill());
        let opened =
            in_mem_wal::ShardLog::recover(storage, &dir(), config(Mode::Buffered), SEED, from, &mut |r| {
                assert_eq!((r.skippable, r.payload), (r.version % 2 == 0, &b"payload"[..]));
                got.push(r.version);
                Ok(())
            });
        let (_, report) = opened.expect("sound");
        assert_eq!((&got[..], report.applied, report.skipped), (versions, versions.len() as u64, skipped));
    }
}
