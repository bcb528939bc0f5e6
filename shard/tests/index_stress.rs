//! Threads that read while one writes: every value is whole, commits are seen whole, and time goes forwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{Cursor, IndexConfig, IndexReader, IndexWriter, KeyRef, ReadError};

const RUN: RunId = RunId::from_bytes([9; 16]);
const PAIRS: u64 = 3000;
const COMMITS: u64 = 60_000;

fn no_clock() -> Timestamp {
    Timestamp(0)
}

/// A value that says which commit and key it is of, with a check over both.
fn value_of(commit: u64, key: u64) -> Value {
    let check = (commit ^ key.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Value::Bytes([commit, key, check].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>().into())
}

fn commit_of(value: &Value, key: u64) -> u64 {
    let Value::Bytes(bytes) = value else { panic!("only bytes are stored") };
    let commit = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(*value, value_of(commit, key), "a torn or foreign value");
    commit
}

fn get(reader: &IndexReader, key: u64) -> Option<u64> {
    let user = key.to_be_bytes();
    let key_ref = reader.hashed(reader.run_hash(&RUN), KeyRef::new(RUN, Tag::Kv, &user));
    let read = reader.get_latest(&key_ref, no_clock).unwrap()?;
    let commit = commit_of(&read.value, key);
    assert_eq!(commit, read.version.0);
    Some(commit)
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Each commit writes or deletes both keys of a pair; pairs are deleted and come back, so the table grows and shrinks.
fn write(mut writer: IndexWriter) -> IndexWriter {
    let run_hash = writer.run_hash(&RUN);
    let mut seed = 77;
    for commit in 1..=COMMITS {
        let phase = commit / (COMMITS / 6);
        let pair = random(&mut seed) % PAIRS;
        let is_delete = if phase.is_multiple_of(2) {
            random(&mut seed).is_multiple_of(8)
        } else {
            !random(&mut seed).is_multiple_of(8)
        };
        for key in [2 * pair, 2 * pair + 1] {
            let user = key.to_be_bytes();
            let key_ref = writer.hashed(run_hash, KeyRef::new(RUN, Tag::Kv, &user));
            let value = (!is_delete).then(|| value_of(commit, key));
            writer.install(&key_ref, Version(commit), Timestamp(0), None, value);
        }
        writer.publish(Version(commit));
        if commit.is_multiple_of(16) {
            writer.collect();
        }
    }
    writer
}

#[test]
fn readers_see_whole_values_and_whole_commits() {
    let mut config = IndexConfig::new(3);
    // Small enough that the oldest snapshots sometimes expire.
    config.snapshot_bytes_limit = 200_000;
    let writer = IndexWriter::new(config);
    let reader = writer.reader();
    let done = Arc::new(AtomicBool::new(false));
    let newest = |reader: &IndexReader, done: &AtomicBool| {
        let mut seed = 5;
        let mut last = vec![0; 2 * PAIRS as usize];
        while !done.load(Ordering::Relaxed) {
            let key = random(&mut seed) % (2 * PAIRS);
            let before = reader.committed().0;
            if let Some(commit) = get(reader, key) {
                assert!(
                    commit >= last[key as usize],
                    "key {key} went back from {} to {commit}",
                    last[key as usize]
                );
                last[key as usize] = commit;
                // The partner is at least as new, or gone.
                if let Some(partner) = get(reader, key ^ 1) {
                    assert!(partner >= commit, "half of commit {commit}: the other key is at {partner}");
                }
            }
            assert!(reader.committed().0 >= before);
        }
    };
    let snapshots = |reader: &IndexReader, done: &AtomicBool| {
        let run_hash = reader.run_hash(&RUN);
        let mut seed = 6;
        while !done.load(Ordering::Relaxed) {
            let pin = reader.pin().unwrap();
            for _ in 0..random(&mut seed) % 3000 {
                let pair = random(&mut seed) % PAIRS;
                let read = [2 * pair, 2 * pair + 1].map(|key| {
                    let user = key.to_be_bytes();
                    let key_ref = reader.hashed(run_hash, KeyRef::new(RUN, Tag::Kv, &user));
                    Ok(pin.get(&key_ref, no_clock)?.map(|seen| commit_of(&seen.value, key)))
                });
                match read {
                    [Ok(one), Ok(other)] => {
                        assert_eq!(one, other, "half of a commit at {:?}", pin.version());
                        assert!(one.is_none_or(|commit| commit <= pin.version().0));
                    }
                    [Err(ReadError::SnapshotExpired { .. }), _]
                    | [_, Err(ReadError::SnapshotExpired { .. })] => break,
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    let walks = |reader: &IndexReader, done: &AtomicBool| {
        while !done.load(Ordering::Relaxed) {
            let pin = reader.pin().unwrap();
            let mut commits = vec![None; 2 * PAIRS as usize];
            let mut cursor = Some(Cursor::default());
            while let Some(from) = cursor {
                let page = pin.iterate(from, 256, |row| {
                    let key = u64::from_be_bytes(row.user.as_bytes().try_into().unwrap());
                    let commit = commit_of(&row.value.value, key);
                    assert!(commits[key as usize].replace(commit).is_none(), "key {key} came twice");
                });
                match page {
                    Ok(next) => cursor = next,
                    Err(ReadError::SnapshotExpired { .. }) => break,
                    Err(other) => panic!("{other:?}"),
                }
            }
            if cursor.is_none() {
                assert!(commits.chunks(2).all(|pair| pair[0] == pair[1]), "half of a commit");
            }
        }
    };
    let mut writer = std::thread::scope(|scope| {
        for work in [&newest as &(dyn Fn(&IndexReader, &AtomicBool) + Sync), &newest, &snapshots, &walks] {
            let (reader, done) = (&reader, &done);
            scope.spawn(move || work(reader, done));
        }
        let writer = scope.spawn(|| {
            // Also when a check fails, so that the others end.
            struct Done<'a>(&'a AtomicBool);
            impl Drop for Done<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::Relaxed);
                }
            }
            let _done = Done(&done);
            write(writer)
        });
        writer.join().unwrap()
    });
    for extra in 1..1000 {
        writer.publish(Version(COMMITS + extra));
        writer.collect();
    }
    let stats = writer.stats();
    assert_eq!((stats.waiting, stats.held_bytes), (0, 0), "{stats:?}");
    assert_eq!(stats.versions, stats.keys, "one version a key: {stats:?}");
}
