//! The manifest is replaced whole or not at all, damage to it is found, and one process holds a directory.

use std::collections::BTreeMap;
use std::path::Path;

use in_mem_wal::manifest::MANIFEST_NAME;
use in_mem_wal::{DirLock, LogError, Manifest, SimDisk, Storage};

fn manifest(generation: u64) -> Manifest {
    Manifest {
        shard_count: 4,
        routing_hash: "routing-v1".into(),
        generation,
        salt_seed: 0xdead_beef_0123,
        properties: BTreeMap::from([("created".into(), "2026".into()), ("name".into(), "größe".into())]),
    }
}

#[test]
fn round_trip_and_every_flipped_bit_and_length() {
    let (disk, dir) = (SimDisk::new(1), Path::new("/db"));
    disk.create_dir_all(dir).expect("made");
    assert_eq!(Manifest::read(&disk, dir).expect("readable"), None);
    manifest(3).write(&disk, dir).expect("written");
    assert_eq!(Manifest::read(&disk, dir).expect("readable"), Some(manifest(3)));
    let path = dir.join(MANIFEST_NAME);
    let sound = disk.contents(&path).expect("there");
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.put(&path, bytes);
        assert!(Manifest::read(&disk, dir).is_err(), "bit {bit}");
    }
    for len in 0..sound.len() {
        disk.put(&path, sound[..len].to_vec());
        assert!(Manifest::read(&disk, dir).is_err(), "length {len}");
    }
}

#[test]
fn a_crash_leaves_the_old_or_the_new_one() {
    for seed in 0..200 {
        let (disk, dir) = (SimDisk::new(seed), Path::new("/db"));
        disk.create_dir_all(dir).expect("made");
        manifest(1).write(&disk, dir).expect("written");
        disk.crash_before(disk.ops() + 1 + seed % 6);
        let done = manifest(2).write(&disk, dir).is_ok();
        let got = Manifest::read(&disk.crash(seed), dir).expect("readable").expect("there");
        assert!(got == manifest(2) || (!done && got == manifest(1)));
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, dir) = (SimDisk::new(1), Path::new("/db"));
    disk.create_dir_all(dir).expect("made");
    manifest(1).write(&disk, dir).expect("written");
    let path = dir.join(MANIFEST_NAME);
    let mut bytes = disk.contents(&path).expect("there");
    bytes[8] = 9;
    disk.put(&path, bytes);
    assert!(matches!(Manifest::read(&disk, dir), Err(LogError::NewerFormat { found: 9, .. })));
}

#[test]
fn a_second_holder_is_told_the_first_ones_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut held = DirLock::acquire(dir.path()).expect("free");
    let lock = dir.path().join("LOCK");
    assert_eq!(std::fs::read(&lock).expect("reads"), b"", "taken, and nothing said");
    held.announce().expect("writes");
    match DirLock::acquire(dir.path()) {
        Err(LogError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(held);
    DirLock::acquire(dir.path()).expect("free again");
}
