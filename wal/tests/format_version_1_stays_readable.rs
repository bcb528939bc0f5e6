//! Logs written by format version 1 are read as they were, and the same calls still give the same bytes.
//!
//! `INMEM_WAL_WRITE_FIXTURES=1 cargo test -p in-mem-wal --test format_version_1_stays_readable` writes the files anew;
//! that is only right for a new version, in a directory of its own.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use in_mem_wal::{
    CheckpointInfo, CheckpointReader, CheckpointWriter, EndCase, Lsn, Manifest, Mode, SegmentIndex, SimDisk,
};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(name)
}

const LENS: [usize; 9] = [0, 1, 120, 121, 700, 9_000, 8, 64, 33];

/// Three segments, a transaction over all of them, closed; an index, a checkpoint, a manifest.
fn sound() -> SimDisk {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for (i, len) in LENS.iter().enumerate() {
        append(&mut log, i as u64 + 1, *len).expect("appended");
    }
    log.sync().expect("synced");
    SegmentIndex::build(&disk, &log.sealed_segments().next().expect("sealed").path).expect("built");
    log.close().expect("closed");
    let info = CheckpointInfo { shard: 3, covers: Lsn(4), version: 3, timestamp: 1_003, forks: false };
    let mut writer =
        CheckpointWriter::create(std::sync::Arc::new(disk.clone()), &dir(), info).expect("created");
    for n in 0..3 {
        writer.push(&payload(n, 50)).expect("written");
    }
    writer.finish().expect("written");
    let manifest = Manifest {
        shard_count: 4,
        routing_hash: "routing-v1".into(),
        generation: 2,
        salt_seed: SEED,
        properties: [("created".to_string(), "by a test".to_string())].into(),
    };
    manifest.write(&disk, &dir()).expect("written");
    disk
}

/// The sound one, opened again, with one more transaction that was cut short.
fn torn() -> SimDisk {
    let disk = sound();
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    append(&mut log, 10, 100).expect("appended");
    damage(&disk, true);
    disk
}

/// The sound one with one bit flipped in the last transaction.
fn corrupt() -> SimDisk {
    let disk = sound();
    damage(&disk, false);
    disk
}

fn damage(disk: &SimDisk, last: bool) {
    let path =
        disk.files().into_iter().rfind(|p| p.extension().is_some_and(|e| e == "wal")).expect("a segment");
    let mut bytes = disk.contents(&path).expect("there");
    let needle = payload(if last { 10 } else { 9 }, 16);
    let at = bytes.windows(16).position(|w| w == needle).expect("the payload");
    bytes[at] ^= 1;
    disk.put(&path, bytes);
}

fn load(name: &str) -> SimDisk {
    let disk = SimDisk::new(1);
    for entry in fs::read_dir(fixtures(name)).expect("fixtures are there") {
        let path = entry.expect("readable").path();
        let file = path.file_name().expect("a name");
        disk.put(&dir().join(file), fs::read(&path).expect("readable"));
    }
    disk
}

fn each(name: &str, disk: &SimDisk) {
    if std::env::var_os("INMEM_WAL_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(fixtures(name)).expect("made");
        for path in disk.files() {
            let file = path.file_name().expect("a name");
            fs::write(fixtures(name).join(file), disk.contents(&path).expect("there")).expect("written");
        }
    }
    let stored = load(name);
    assert_eq!(stored.files(), disk.files(), "{name}");
    for path in disk.files() {
        assert!(
            stored.contents(&path) == disk.contents(&path),
            "{name}: {} is written differently",
            path.display()
        );
    }
}

#[test]
fn a_sound_log() {
    each("sound", &sound());
    let disk = load("sound");
    let (_, report, got) = recover(&disk, Mode::Buffered).expect("sound");
    assert_eq!((report.end, got.len(), report.segments), (EndCase::CleanClose, 9, 3));
    assert_prefix(&got, &LENS);
    let manifest = Manifest::read(&disk, &dir()).expect("readable").expect("there");
    assert_eq!((manifest.shard_count, manifest.generation), (4, 2));
    let mut reader = CheckpointReader::open(&disk, &dir().join("0000000000000004.ckpt"), 3).expect("sound");
    assert_eq!(reader.next_entry().expect("sound"), Some(&payload(0, 50)[..]));
    let index = SegmentIndex::open(&disk, &dir().join("0000000000000001.wal")).expect("sound");
    assert_eq!(index.transactions(), 6);
}

#[test]
fn a_torn_log() {
    each("torn", &torn());
    let (_, report, got) = recover(&load("torn"), Mode::Strict).expect("opened");
    assert_eq!((report.end, got.len()), (EndCase::TornTail, 9));
    assert_prefix(&got, &LENS);
}

#[test]
fn a_corrupt_log() {
    each("corrupt", &corrupt());
    let e = recover(&load("corrupt"), Mode::Buffered).expect_err("refused");
    assert_eq!(e.corruption().expect("corrupt").case, EndCase::LaterRecordVouches);
}
