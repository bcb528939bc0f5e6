//! A checkpoint gives back what was put in, or a typed error: any bit flipped, any length.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::payload;
use in_mem_wal::checkpoint::{checkpoint_name, list_checkpoints, prune_checkpoints, remove_unfinished};
use in_mem_wal::limits::MAX_CHECKPOINT_ENTRY_BYTES;
use in_mem_wal::storage::sim::{FaultKind, OpKind};
use in_mem_wal::{CheckpointInfo, CheckpointReader, CheckpointWriter, LogError, Lsn, SimDisk, Storage};

fn dir() -> PathBuf {
    PathBuf::from("/db/shard-0000")
}

fn info(covers: u64) -> CheckpointInfo {
    CheckpointInfo { shard: 2, covers: Lsn(covers), version: 77, timestamp: -5, forks: false }
}

fn write(disk: &SimDisk, covers: u64, entries: &[Vec<u8>]) -> Result<PathBuf, LogError> {
    let _ = disk.create_dir_all(&dir());
    let mut writer = CheckpointWriter::create(Arc::new(disk.clone()), &dir(), info(covers))?;
    for entry in entries {
        writer.push(entry)?;
    }
    writer.finish()
}

fn read(disk: &SimDisk, path: &Path) -> Result<Vec<Vec<u8>>, LogError> {
    let mut reader = CheckpointReader::open(disk, path, 2)?;
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        all.push(entry.to_vec());
    }
    Ok(all)
}

fn entries() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = (0..40).map(|n| payload(n, (n as usize * 13) % 50)).collect();
    all.push(Vec::new());
    all
}

#[test]
fn what_went_in_comes_out() {
    let disk = SimDisk::new(1);
    let mut all = entries();
    all.push(payload(1, 200_000));
    all.extend((0..3_000).map(|n| payload(n, 100)));
    let path = write(&disk, 9, &all).expect("written");
    assert_eq!(read(&disk, &path).expect("sound"), all);
    assert_eq!(CheckpointReader::open(&disk, &path, 2).expect("sound").info(), info(9));
    let none = write(&disk, 10, &[]).expect("written");
    assert!(read(&disk, &none).expect("sound").is_empty());
}

#[test]
fn every_flipped_bit_is_found() {
    let disk = SimDisk::new(1);
    let path = write(&disk, 9, &entries()).expect("written");
    let sound = disk.contents(&path).expect("there");
    for at in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        disk.put(&path, bytes);
        assert!(read(&disk, &path).is_err(), "bit {at}");
    }
}

#[test]
fn every_other_length_is_found() {
    let disk = SimDisk::new(1);
    let path = write(&disk, 9, &entries()).expect("written");
    let sound = disk.contents(&path).expect("there");
    for len in 0..sound.len() {
        disk.put(&path, sound[..len].to_vec());
        assert!(read(&disk, &path).is_err(), "length {len}");
    }
    let mut longer = sound;
    longer.push(0);
    disk.put(&path, longer);
    assert!(read(&disk, &path).is_err());
}

#[test]
fn a_crash_while_writing_leaves_the_earlier_one() {
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let first = write(&disk, 5, &entries()).expect("written");
        disk.crash_before(disk.ops() + 1 + seed % 9);
        let second = write(&disk, 8, &entries());
        let image = disk.crash(seed);
        let listed = list_checkpoints(&image, &dir()).expect("listed");
        assert!(listed.iter().any(|(_, p)| *p == first));
        for (_, path) in &listed {
            assert_eq!(read(&image, path).expect("a named checkpoint is whole"), entries());
        }
        if let Ok(second) = second {
            assert_eq!(listed[0], (Lsn(8), second));
        }
        prune_checkpoints(&image, &dir(), 1).expect("pruned");
        remove_unfinished(&image, &dir()).expect("removed");
        assert_eq!(image.files().len(), 1);
    }
}

#[test]
fn pruning_leaves_what_is_being_written() {
    let disk = SimDisk::new(1);
    for covers in [4, 9] {
        write(&disk, covers, &entries()).expect("written");
    }
    // One that was interrupted before the newest, and one that is on its way.
    disk.put(&dir().join(checkpoint_name(Lsn(7))).with_added_extension("part"), payload(7, 100));
    let mut writer = CheckpointWriter::create(Arc::new(disk.clone()), &dir(), info(12)).expect("begun");
    for keep in [0, 1] {
        assert_eq!(prune_checkpoints(&disk, &dir(), keep).expect("pruned"), u64::from(keep == 0));
        assert_eq!(disk.files().len(), 2, "{:?}", disk.files());
    }
    entries().iter().for_each(|entry| writer.push(entry).expect("written"));
    let path = writer.finish().expect("written");
    assert_eq!(read(&disk, &path).expect("sound"), entries());
}

#[test]
fn another_shards_is_refused() {
    let disk = SimDisk::new(1);
    let path = write(&disk, 9, &entries()).expect("written");
    assert!(matches!(CheckpointReader::open(&disk, &path, 3), Err(LogError::Damaged { .. })));
    let moved = dir().join("000000000000000a.ckpt");
    disk.put(&moved, disk.contents(&path).expect("there"));
    assert!(matches!(CheckpointReader::open(&disk, &moved, 2), Err(LogError::Damaged { .. })));
}

#[test]
fn blocks_cannot_be_swapped() {
    let disk = SimDisk::new(1);
    let big: Vec<_> = (0..3).map(|n| payload(n, 65_536)).collect();
    let path = write(&disk, 9, &big).expect("written");
    let mut bytes = disk.contents(&path).expect("there");
    let size = 16 + 4 + 65_536;
    let (a, b) = (bytes[64..64 + size].to_vec(), bytes[64 + size..64 + 2 * size].to_vec());
    bytes[64..64 + size].copy_from_slice(&b);
    bytes[64 + size..64 + 2 * size].copy_from_slice(&a);
    disk.put(&path, bytes);
    assert!(matches!(read(&disk, &path), Err(LogError::Damaged { offset: 64, .. })));
}

/// Computes the checksum of the block at `at`, of `size` bytes, again.
fn reseal(bytes: &mut [u8], at: usize, size: usize) {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[12..16]);
    hasher.update(&bytes[at + 4..at + size]);
    let crc = hasher.finalize();
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// A block that is sound by its checksum says nothing of entries that it does not hold, and holds none that it says nothing of.
#[test]
fn entries_that_do_not_fill_their_block_are_refused() {
    let disk = SimDisk::new(1);
    let path = write(&disk, 9, &[payload(1, 20), payload(2, 30)]).expect("written");
    let sound = disk.contents(&path).expect("there");
    let (block, size) = (64, 16 + 4 + 20 + 4 + 30);
    type Change = fn(&mut [u8]);
    let changes: [(Change, &str); 5] = [
        // The length of the first entry, of the last one, too much and too little, and one entry more, or fewer, than there are.
        (|block| block[16] = 200, "an entry that leads out of it"),
        (|block| block[16 + 4 + 20] = 200, "an entry that leads out of it"),
        (|block| block[16 + 4 + 20] -= 1, "bytes after the last one"),
        (|block| block[8] += 1, "an entry that leads out of it"),
        (|block| block[8] -= 1, "bytes after the last one"),
    ];
    for (change, said) in changes {
        let mut bytes = sound.clone();
        change(&mut bytes[block..]);
        reseal(&mut bytes, block, size);
        disk.put(&path, bytes);
        let refused = read(&disk, &path).expect_err("is refused");
        assert!(matches!(&refused, LogError::Damaged { offset: 64, .. }), "{refused}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
}

#[test]
fn an_entry_over_the_limit_is_refused_and_not_in_it() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(&dir()).expect("made");
    let mut writer = CheckpointWriter::create(Arc::new(disk.clone()), &dir(), info(9)).expect("begun");
    writer.push(b"before").expect("written");
    let bytes = writer.bytes();
    // Zeroed pages that nobody looks at cost nothing.
    let refused = writer.push(&vec![0; MAX_CHECKPOINT_ENTRY_BYTES + 1]);
    let limit = MAX_CHECKPOINT_ENTRY_BYTES as u64;
    let is_named =
        matches!(refused, Err(LogError::TooLarge { bytes, limit: l }) if (bytes, l) == (limit + 1, limit));
    assert!(is_named, "{refused:?}");
    assert_eq!(writer.bytes(), bytes);
    writer.push(b"after").expect("written");
    let path = writer.finish().expect("written");
    assert_eq!(read(&disk, &path).expect("sound"), [&b"before"[..], b"after"]);
}

#[test]
fn one_that_finds_no_room_leaves_what_there_is() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(100));
    write(&disk, 5, &entries()).expect_err("is refused");
    assert_eq!(
        disk.files(),
        [] as [PathBuf; 0],
        "a file under another name that the next one does not replace"
    );
    disk.set_capacity(None);
    disk.fail(disk.ops() + 1, FaultKind::Eio, Some(OpKind::Rename), true);
    write(&disk, 5, &entries()).expect_err("is refused");
    assert_eq!(disk.files(), [] as [PathBuf; 0]);
    disk.heal();
    write(&disk, 5, &entries()).expect("written");
}
