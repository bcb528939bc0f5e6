//! The manifest is replaced whole or not at all, damage to it is found, and one process holds a directory.

use std::collections::BTreeMap;
use std::path::Path;

use in_mem_wal::limits::MAX_MANIFEST_BYTES;
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

/// What could not be read back is not written, and the old one stays.
#[test]
fn a_manifest_that_is_too_large_is_refused() {
    let (disk, dir) = (SimDisk::new(1), Path::new("/db"));
    disk.create_dir_all(dir).expect("made");
    manifest(1).write(&disk, dir).expect("written");
    let with = |properties: BTreeMap<String, String>| Manifest { properties, ..manifest(2) };
    let long = with(BTreeMap::from([("key".into(), "x".repeat(65_536))]));
    assert!(matches!(long.write(&disk, dir), Err(LogError::Config(_))));
    let many = with((0..20_000).map(|n| (n.to_string(), String::new())).collect());
    let refused = many.write(&disk, dir);
    assert!(
        matches!(refused, Err(LogError::TooLarge { bytes, limit: MAX_MANIFEST_BYTES }) if bytes > MAX_MANIFEST_BYTES),
        "{refused:?}"
    );
    assert_eq!(Manifest::read(&disk, dir).expect("readable"), Some(manifest(1)));
    let most = with(BTreeMap::from([("key".into(), "x".repeat(65_000))]));
    most.write(&disk, dir).expect("fits");
    assert_eq!(Manifest::read(&disk, dir).expect("readable"), Some(most));
}

/// Its checksum is right, and its fields are not what the format says.
#[test]
fn fields_that_lead_out_of_a_manifest_are_refused() {
    let (disk, dir) = (SimDisk::new(1), Path::new("/db"));
    disk.create_dir_all(dir).expect("made");
    manifest(1).write(&disk, dir).expect("written");
    let path = dir.join(MANIFEST_NAME);
    let sound = disk.contents(&path).expect("there");
    let forge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        bytes[12..16].fill(0);
        let crc = crc32fast::hash(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        disk.put(&path, bytes);
        Manifest::read(&disk, dir)
    };
    assert_eq!(forge(&|_| ()).expect("sound"), Some(manifest(1)));
    type Change<'c> = &'c dyn Fn(&mut Vec<u8>);
    let changes: [Change<'_>; 5] = [
        // The length of its first text, bytes that are no text, one property more, one fewer, a byte behind the last.
        &|bytes| bytes[33] = 0xff,
        &|bytes| bytes[34] = 0xff,
        &|bytes| bytes[44] += 1,
        &|bytes| bytes[44] -= 1,
        &|bytes| bytes.push(0),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let refused = forge(change).map(|_| ()).expect_err("is refused");
        assert!(matches!(&refused, LogError::Damaged { file, .. } if *file == path), "{place}: {refused}");
        assert!(refused.to_string().contains("fields as the format describes them"), "{place}: {refused}");
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
