//! Nothing is freed that a reader can reach. A version's body, a key, a segment and a directory are tracked cells that
//! the writer writes when it frees them: a reader that comes too late is a race, and the model reports it.
#![cfg(inmem_loom)]

mod index_common;

use in_mem_model::{Timestamp, Value, Version};
use in_mem_shard::index::{IndexConfig, IndexWriter, ReadError, set_thread_number};
use index_common::{Bed, RUN, get, hashed, model, read, try_read};

/// A get against overwrites and collections: memory is reused in the next commit.
#[test]
fn a_get_beside_overwrites() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let reader = bed.writer.reader();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            assert!(get(&reader, 0).unwrap() >= 1);
        });
        bed.commit(&[(0, Some(2))]);
        bed.writer.collect();
        other.join().unwrap();
    });
}

/// The reader knows an old version and registers it while the horizon moves past it.
#[test]
fn a_get_with_an_old_version_in_mind() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let reader = bed.writer.reader();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            let one = get(&reader, 0).unwrap();
            let two = get(&reader, 0).unwrap();
            assert!(two >= one);
        });
        bed.commit(&[(0, Some(2))]);
        bed.writer.collect();
        other.join().unwrap();
    });
}

/// A snapshot's version stays, whatever is collected.
#[test]
fn a_snapshot_beside_collections() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let reader = bed.writer.reader();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            let pin = reader.pin().unwrap();
            let version = pin.version().0 as i64;
            assert_eq!(read(&pin, 0), Some(version));
        });
        bed.commit(&[(0, Some(2))]);
        bed.writer.collect();
        other.join().unwrap();
    });
}

/// Between two snapshots a version is unlinked from inside the chain that a reader of the older one walks.
#[test]
fn pruning_inside_a_chain() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let reader = bed.writer.reader();
        let pin = reader.pin().unwrap();
        bed.commit(&[(0, Some(2))]);
        bed.commit(&[(0, Some(3))]);
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            assert_eq!(read(&pin, 0), Some(1));
            pin
        });
        bed.writer.collect();
        bed.commit(&[(1, Some(4))]);
        bed.writer.collect();
        drop(other.join().unwrap());
    });
}

/// What is retained is read while that is given back: the read reaches what was kept, or says that it is kept no more.
#[test]
fn a_read_of_what_is_retained_beside_its_release() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let retention = bed.writer.retain(RUN, Version(1));
        bed.commit(&[(0, Some(2))]);
        bed.writer.collect();
        let (kept, reader) = (retention.clone(), bed.writer.reader());
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            match kept.get(&hashed(&reader, 0), || Timestamp(0)) {
                Ok(seen) => assert_eq!(seen.map(|seen| seen.value), Some(Value::Int(1))),
                Err(error) => assert!(matches!(error, ReadError::SnapshotExpired { .. }), "{error}"),
            }
        });
        bed.writer.release(&retention);
        bed.commit(&[(1, Some(3))]);
        bed.writer.maintain();
        other.join().unwrap();
    });
}

/// A snapshot is taken away while it is read: it reads right or says so.
#[test]
fn expiry_beside_a_read() {
    model(|| {
        set_thread_number(0);
        let mut config = IndexConfig::new(1);
        config.snapshot_bytes_limit = 1;
        let mut bed = Bed { writer: IndexWriter::new(config), version: 0 };
        bed.commit(&[(0, Some(1))]);
        let pin = bed.writer.reader().pin().unwrap();
        bed.commit(&[(0, Some(2))]);
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            match try_read(&pin, 0) {
                Ok(value) => assert_eq!(value, Some(1)),
                Err(error) => assert!(matches!(error, ReadError::SnapshotExpired { .. })),
            }
        });
        // Holds and expires; unlinks or frees.
        bed.writer.collect();
        bed.writer.collect();
        other.join().unwrap();
    });
}

/// A key is deleted and its entry taken out under a reader.
#[test]
fn deletion_beside_a_get() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let reader = bed.writer.reader();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            assert!(get(&reader, 0).is_none_or(|value| value == 1));
        });
        bed.commit(&[(0, None)]);
        bed.writer.collect();
        bed.commit(&[(1, Some(3))]);
        bed.writer.collect();
        other.join().unwrap();
    });
}

/// An old snapshot makes the writer unlink versions inside the chain: a get that has just learned of such a version must
/// not go on with it.
#[test]
fn a_get_beside_pruning() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let reader = bed.writer.reader();
        let old = reader.pin().unwrap();
        bed.commit(&[(0, Some(2))]);
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            assert!(
                get(&reader, 0).unwrap() >= 2,
                "went back behind a commit that was over before the get began"
            );
        });
        bed.commit(&[(0, Some(3))]);
        bed.writer.collect();
        other.join().unwrap();
        assert_eq!(read(&old, 0), Some(1));
    });
}
