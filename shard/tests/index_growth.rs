//! Growth and shrinking of the table: nothing is lost, seen twice, or left behind, and no put moves much.

use std::collections::HashSet;

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{COLLECT_INTERVAL_COMMITS, Cursor, IndexConfig, IndexWriter, KeyRef};

const MOST_MOVED_BY_ONE_PUT: usize = 1024;

struct Bed {
    writer: IndexWriter,
    version: u64,
}

impl Bed {
    fn write(&mut self, run: RunId, i: u64, value: Option<Value>) {
        let user = i.to_be_bytes();
        let key = self.writer.hashed(self.writer.run_hash(&run), KeyRef::new(run, Tag::Kv, &user));
        self.version += 1;
        self.writer.install(&key, Version(self.version), Timestamp(1), None, value);
        self.writer.publish(Version(self.version));
        self.writer.maintain();
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.version += 1;
            self.writer.publish(Version(self.version));
            self.writer.collect();
            if self.writer.stats().waiting == 0 {
                return;
            }
        }
        panic!("reclamation does not come to an end: {:?}", self.writer.stats());
    }
}

#[test]
fn keys_survive_splits_and_merges_and_leave_nothing_behind() {
    const KEYS: u64 = 260_000;
    let mut bed = Bed { writer: IndexWriter::new(IndexConfig::new(7)), version: 0 };
    let reader = bed.writer.reader();
    let run = RunId::from_bytes([1; 16]);
    let hash = reader.run_hash(&run);
    let mut slab_bytes = 0;
    for round in 0..2_i64 {
        for i in 0..KEYS {
            bed.write(run, i, Some(Value::Int(round + i as i64)));
        }
        let pin = reader.pin().unwrap();
        let mut cursor = Cursor::default();
        let mut seen = HashSet::new();
        let mut next_delete = 0;
        // A walk while everything is deleted under it, and segments merge.
        loop {
            let next = pin.iterate(cursor, 2000, |row| {
                let i = u64::from_be_bytes(row.user.as_bytes().try_into().unwrap());
                assert_eq!(row.value.value, Value::Int(round + i as i64));
                assert!(seen.insert(i), "{i} came twice");
            });
            for i in (next_delete..KEYS).take(4000) {
                bed.write(run, i, None);
                next_delete = i + 1;
            }
            match next.unwrap() {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(seen.len() as u64, KEYS);
        for i in 0..KEYS {
            let user = i.to_be_bytes();
            let key = reader.hashed(hash, KeyRef::new(run, Tag::Kv, &user));
            assert_eq!(pin.get(&key, || Timestamp(0)).unwrap().unwrap().value, Value::Int(round + i as i64));
            assert!(next_delete <= i || reader.get_latest(&key, || Timestamp(0)).unwrap().is_none());
        }
        for i in next_delete..KEYS {
            bed.write(run, i, None);
        }
        drop(pin);
        bed.settle();
        let stats = bed.writer.stats();
        assert_eq!((stats.keys, stats.versions, stats.held_bytes), (0, 0, 0));
        assert!(stats.table_bytes < 300 << 10, "the table shrinks: {stats:?}");
        assert!(stats.max_entries_moved <= MOST_MOVED_BY_ONE_PUT, "{stats:?}");
        assert!(
            slab_bytes == 0 || stats.slab_bytes == slab_bytes,
            "memory is reused: {slab_bytes}, {stats:?}"
        );
        slab_bytes = stats.slab_bytes;
    }
}

#[test]
fn a_walk_sees_every_key_once_while_segments_split() {
    let mut bed = Bed { writer: IndexWriter::new(IndexConfig::new(9)), version: 0 };
    let run = RunId::from_bytes([1; 16]);
    for i in 0..100_000 {
        bed.write(run, i, Some(Value::Int(i as i64)));
    }
    let pin = bed.writer.reader().pin().unwrap();
    let (mut cursor, mut seen, mut next) = (Some(Cursor::default()), HashSet::new(), 100_000);
    while let Some(from) = cursor {
        cursor = pin
            .iterate(from, 500, |row| {
                let i = u64::from_be_bytes(row.user.as_bytes().try_into().unwrap());
                assert!(i < 100_000 && seen.insert(i), "{i} is newer than the snapshot or came twice");
            })
            .unwrap();
        for _ in 0..1000 {
            bed.write(run, next, Some(Value::Null));
            next += 1;
        }
    }
    assert_eq!(seen.len(), 100_000);
    assert!(bed.writer.stats().max_entries_moved <= MOST_MOVED_BY_ONE_PUT);
}

/// Directories double, halve and are used again under hints that are taken without a registration. That these look at no memory
/// that was given back is for AddressSanitizer to see.
#[test]
fn hints_may_be_taken_while_the_table_grows_and_shrinks() {
    const KEYS: u64 = 400_000;
    let mut bed = Bed { writer: IndexWriter::new(IndexConfig::new(3)), version: 0 };
    let reader = bed.writer.reader();
    let run = RunId::from_bytes([1; 16]);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let hints = scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(1);
            let mut taken = 0_u64;
            // Relaxed: a flag that carries nothing else.
            while taken < KEYS || !done.load(std::sync::atomic::Ordering::Relaxed) {
                let user = random.u64(..KEYS).to_be_bytes();
                reader.prefetch(&reader.hashed(reader.run_hash(&run), KeyRef::new(run, Tag::Kv, &user)));
                taken += 1;
            }
        });
        for _ in 0..2 {
            for i in 0..KEYS {
                bed.write(run, i, Some(Value::Int(i as i64)));
            }
            for i in 0..KEYS {
                bed.write(run, i, None);
            }
            bed.settle();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        hints.join().expect("hints fail in no way");
    });
    assert_eq!(bed.writer.stats().keys, 0);
}

#[test]
fn what_is_superseded_does_not_pile_up() {
    let mut bed = Bed { writer: IndexWriter::new(IndexConfig::new(3)), version: 0 };
    let run = RunId::from_bytes([1; 16]);
    // Keys to a commit: the few that a put has, and the many of a large transaction now and then.
    for (rounds, most_keys) in [(10_000, 1), (1_000, 50)] {
        for round in 0..rounds {
            bed.version += 1;
            let keys = if round % 7 == 0 { most_keys } else { 1 };
            for i in 0..keys {
                let user = u64::to_be_bytes(i);
                let key = bed.writer.hashed(bed.writer.run_hash(&run), KeyRef::new(run, Tag::Kv, &user));
                let value = Some(Value::from(vec![7_u8; 100]));
                bed.writer.prepare(&key);
                bed.writer.install(&key, Version(bed.version), Timestamp(1), None, value);
            }
            bed.writer.publish(Version(bed.version));
            bed.writer.maintain();
            let stats = bed.writer.stats();
            let most = 4 * COLLECT_INTERVAL_COMMITS as usize * most_keys as usize;
            assert!(stats.versions <= stats.keys + most, "after {round} commits: {stats:?}");
        }
    }
}

#[test]
fn many_small_runs() {
    let mut bed = Bed { writer: IndexWriter::new(IndexConfig::new(5)), version: 0 };
    let run = |n: u64| RunId::from_bytes((u128::from(n) << 64 | 5).to_be_bytes());
    for i in 0..100_000 {
        bed.write(run(i / 10), i % 10, Some(Value::Int(i as i64)));
    }
    let stats = bed.writer.stats();
    assert_eq!((stats.keys, stats.versions), (100_000, 100_000));
    assert!(stats.order_bytes / stats.keys < 24, "runs share blocks: {stats:?}");
}
