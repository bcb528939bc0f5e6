//! A reader beside a table that splits: a key that was there stays found, and segments and directories are not freed
//! under the reader.
#![cfg(inmem_loom)]

mod index_common;

use in_mem_shard::index::set_thread_number;
use index_common::{Bed, get, model, read};

#[test]
fn a_get_beside_a_split() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let reader = bed.writer.reader();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            assert_eq!(get(&reader, 0), Some(1));
        });
        // Full at one entry in these models: splits and doubles the directory.
        bed.commit(&[(1, Some(2))]);
        bed.writer.collect();
        other.join().unwrap();
    });
}

/// The value changes after the split: a reader in the old segment reads what was true when it came, and not freed memory.
#[test]
fn an_overwrite_after_a_split() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let reader = bed.writer.reader();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            assert!(get(&reader, 0).is_some());
        });
        bed.commit(&[(1, Some(2)), (0, Some(2))]);
        bed.writer.collect();
        other.join().unwrap();
    });
}

#[test]
fn a_snapshot_beside_a_split() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1))]);
        let pin = bed.writer.reader().pin().unwrap();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            assert_eq!((read(&pin, 0), read(&pin, 1)), (Some(1), None));
        });
        bed.commit(&[(1, Some(2))]);
        bed.writer.collect();
        other.join().unwrap();
    });
}

/// A deleted key's segment is merged with its sibling while the sibling is read.
#[test]
fn a_get_beside_a_merge() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1)), (1, Some(1))]);
        let reader = bed.writer.reader();
        bed.commit(&[(1, None)]);
        let before = bed.writer.stats().table_bytes;
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            assert_eq!(get(&reader, 0), Some(1));
        });
        bed.writer.collect();
        bed.commit(&[]);
        bed.writer.collect();
        other.join().unwrap();
        bed.writer.collect();
        assert!(
            bed.writer.stats().table_bytes < before,
            "with the reader gone at the latest, the halves are merged"
        );
    });
}
