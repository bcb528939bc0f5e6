//! A commit of several keys is seen whole or not at all, by gets and by snapshots.
#![cfg(inmem_loom)]

mod index_common;

use in_mem_shard::index::set_thread_number;
use index_common::{Bed, get, model, read};

/// Two keys, one commit: a snapshot sees both or neither.
#[test]
fn a_snapshot_never_sees_half_a_commit() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1)), (1, Some(1))]);
        let reader = bed.writer.reader();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            let pin = reader.pin().unwrap();
            let one = read(&pin, 0);
            assert_eq!(one, read(&pin, 1), "half of a commit");
            assert_eq!(one, Some(pin.version().0 as i64), "the commit that the snapshot is of");
        });
        bed.commit(&[(0, Some(2)), (1, Some(2))]);
        other.join().unwrap();
    });
}

/// Whoever got one key of a commit gets the others.
#[test]
fn gets_never_go_back() {
    model(|| {
        let mut bed = Bed::new();
        bed.commit(&[(0, Some(1)), (1, Some(1))]);
        let reader = bed.writer.reader();
        let other = loom::thread::spawn(move || {
            set_thread_number(1);
            let one = get(&reader, 0).unwrap();
            let two = get(&reader, 1).unwrap();
            assert!(two >= one, "half of a commit: {one}, then {two}");
        });
        bed.commit(&[(0, Some(2)), (1, Some(2))]);
        bed.writer.collect();
        other.join().unwrap();
    });
}
