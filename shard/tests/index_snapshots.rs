//! Snapshots, expiry, time to live, and who frees values when.

use std::sync::Arc;

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{
    IndexConfig, IndexReader, IndexWriter, KeyRef, MAX_PINS, ReadError, TooManySnapshots,
};

const RUN: RunId = RunId::from_bytes([3; 16]);

struct Bed {
    writer: IndexWriter,
    reader: IndexReader,
    version: u64,
}

impl Bed {
    fn new(config: IndexConfig) -> Self {
        let writer = IndexWriter::new(config);
        let reader = writer.reader();
        Self { writer, reader, version: 0 }
    }

    fn put(&mut self, user: &[u8], value: Option<Value>) {
        self.put_until(user, value, None);
    }

    fn put_until(&mut self, user: &[u8], value: Option<Value>, expires_at: Option<Timestamp>) {
        let key = self.writer.hashed(self.writer.run_hash(&RUN), KeyRef::new(RUN, Tag::State, user));
        self.version += 1;
        self.writer.install(&key, Version(self.version), Timestamp(self.version as i64), expires_at, value);
        self.writer.publish(Version(self.version));
    }

    fn collect(&mut self) {
        self.version += 1;
        self.writer.publish(Version(self.version));
        self.writer.collect();
    }
}

fn no_clock() -> Timestamp {
    unreachable!("the clock is asked only for values that expire")
}

fn hashed<'a>(reader: &IndexReader, user: &'a [u8]) -> in_mem_shard::index::HashedKey<'a> {
    reader.hashed(reader.run_hash(&RUN), KeyRef::new(RUN, Tag::State, user))
}

#[test]
fn every_value_is_dropped_once_and_only_when_nobody_sees_it() {
    let mut bed = Bed::new(IndexConfig::new(1));
    let values: Vec<Arc<[u8]>> = (0..100_u8).map(|i| Arc::from([i; 10])).collect();
    for value in &values[..50] {
        bed.put(b"one", Some(Value::Bytes(Arc::clone(value))));
    }
    let pin = bed.reader.pin().unwrap();
    for value in &values[50..] {
        bed.put(b"one", Some(Value::Bytes(Arc::clone(value))));
    }
    for _ in 0..5 {
        bed.collect();
    }
    let alive: Vec<_> = (0..100).filter(|&i| Arc::strong_count(&values[i]) == 2).collect();
    assert_eq!(alive, [49, 99], "the snapshot's version and the newest, and nothing between");
    assert_eq!(bed.writer.stats().versions, 2);

    let kept = pin.get(&hashed(&bed.reader, b"one"), no_clock).unwrap().unwrap();
    assert_eq!(kept.value, Value::Bytes(Arc::clone(&values[49])));
    drop(pin);
    bed.collect();
    assert_eq!(Arc::strong_count(&values[49]), 2, "handed out values are the caller's");
    drop(kept);
    assert_eq!(Arc::strong_count(&values[49]), 1);

    bed.put(b"one", None);
    for _ in 0..5 {
        bed.collect();
    }
    assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
    assert_eq!(bed.writer.stats().keys, 0);
}

#[test]
fn the_last_of_writer_and_readers_frees_everything() {
    for writer_first in [false, true] {
        let mut bed = Bed::new(IndexConfig::new(1));
        let values: Vec<Arc<[u8]>> = (0..3000_u16).map(|i| Arc::from(i.to_be_bytes())).collect();
        for (i, value) in values.iter().enumerate() {
            // Some keys too large for a slab, some overwritten, some deleted; nothing collected.
            let mut user = vec![b'x'; if i.is_multiple_of(7) { 2000 } else { 4 }];
            user.extend((i as u16 / 2).to_be_bytes());
            bed.put(&user, Some(Value::Bytes(Arc::clone(value))));
            if i.is_multiple_of(5) {
                bed.put(&user, None);
            }
            if i == 2000 {
                bed.collect();
            }
        }
        let Bed { writer, reader, .. } = bed;
        if writer_first {
            let pin = reader.pin().unwrap();
            drop(writer);
            let user = [&b"xxxx"[..], &[0, 1]].concat();
            assert!(
                pin.get(&hashed(&reader, &user), no_clock).unwrap().is_some(),
                "readers outlive the writer"
            );
            drop(pin);
            drop(reader);
        } else {
            drop(reader);
            drop(writer);
        }
        assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
    }
}

#[test]
fn the_oldest_snapshot_expires_when_it_holds_too_much() {
    let mut config = IndexConfig::new(1);
    config.snapshot_bytes_limit = 50_000;
    let mut bed = Bed::new(config);
    let large = || Some(Value::Bytes(Arc::from([1; 1000])));
    for i in 0..100_u8 {
        bed.put(&[i], large());
    }
    let old = bed.reader.pin().unwrap();
    for i in 0..30_u8 {
        bed.put(&[i], large());
    }
    let young = bed.reader.pin().unwrap();
    bed.collect();
    assert!(!old.is_expired(), "30 kB are within the limit");
    for i in 30..70_u8 {
        bed.put(&[i], large());
    }
    for _ in 0..4 {
        bed.collect();
    }
    assert_eq!((old.is_expired(), bed.writer.stats().expired_pins), (true, 1));
    let version = old.version();
    let key = hashed(&bed.reader, &[1]);
    assert_eq!(old.get(&key, no_clock), Err(ReadError::SnapshotExpired { version }));
    assert_eq!(
        old.iterate(Default::default(), 10, |_| panic!("nothing to show")),
        Err(ReadError::SnapshotExpired { version })
    );
    assert!(!young.is_expired(), "what the young one alone holds is within the limit");
    assert!(young.get(&key, no_clock).unwrap().is_some());
    assert!(bed.writer.stats().held_bytes <= 60_000);
    drop(old);
    assert!(!young.is_expired());
}

/// A run with much in it that is deleted while it has a fork: every snapshot that held anything at all expired from then on, that of
/// each checkpoint among them.
#[test]
fn what_forks_hold_is_not_held_by_snapshots() {
    let mut config = IndexConfig::new(1);
    config.snapshot_bytes_limit = 50_000;
    let mut bed = Bed::new(config);
    let large = || Some(Value::Bytes(Arc::from([1; 1000])));
    (0..100_u8).for_each(|i| bed.put(&[i], large()));
    let retention = bed.writer.retain(RUN, Version(bed.version));
    (0..100_u8).for_each(|i| bed.put(&[i], None));
    bed.put(b"other", large());
    let pin = bed.reader.pin().unwrap();
    bed.put(b"other", large());
    for _ in 0..4 {
        bed.collect();
    }
    assert!(bed.writer.stats().held_bytes > 100_000);
    assert!(!pin.is_expired(), "it holds one version");
    // What is held once the fork is gone is counted again.
    let young = bed.reader.pin().unwrap();
    (0..100_u8).for_each(|i| bed.put(&[i], large()));
    bed.writer.release(&retention);
    for _ in 0..4 {
        bed.collect();
    }
    assert!(!pin.is_expired() && bed.writer.stats().held_bytes < 20_000);
    (0..100_u8).for_each(|i| bed.put(&[i], large()));
    let middle = bed.reader.pin().unwrap();
    (0..100_u8).for_each(|i| bed.put(&[i], large()));
    for _ in 0..4 {
        bed.collect();
    }
    assert!(pin.is_expired() && young.is_expired() && middle.is_expired());
}

#[test]
fn snapshots_are_limited_and_places_come_back() {
    let bed = Bed::new(IndexConfig::new(1));
    for _ in 0..3 {
        let pins: Vec<_> = (0..MAX_PINS).map(|_| bed.reader.pin().unwrap()).collect();
        assert_eq!(bed.reader.pin().err(), Some(TooManySnapshots { limit: MAX_PINS }));
        assert_eq!(bed.reader.pin_borrowed().err(), Some(TooManySnapshots { limit: MAX_PINS }));
        drop(pins);
        assert_eq!(bed.writer.stats().pins, 0);
    }
}

#[test]
fn what_is_printed_of_an_index_is_where_it_stands_and_nothing_of_its_content() {
    let mut bed = Bed::new(IndexConfig::new(1));
    bed.put(b"key", Some(Value::from("secret")));
    let pin = bed.reader.pin().unwrap();
    bed.put(b"key", Some(Value::from("secret")));
    let text = format!("{:?} {pin:?} {:?}", bed.reader, bed.writer);
    assert!(text.contains("committed: 2") && text.contains("keys: 1") && !text.contains("secret"), "{text}");
    assert!(format!("{pin:?}").contains("version: 1"), "{pin:?}");
}

#[test]
fn values_expire_when_the_clock_says_so() {
    let mut bed = Bed::new(IndexConfig::new(1));
    bed.put_until(b"a", Some(Value::Int(1)), Some(Timestamp(100)));
    let pin = bed.reader.pin().unwrap();
    let key = hashed(&bed.reader, b"a");
    let seen = bed.reader.get_latest(&key, || Timestamp(99)).unwrap().unwrap();
    assert_eq!((seen.expires_at, seen.timestamp), (Some(Timestamp(100)), Timestamp(1)));
    assert_eq!(bed.reader.get_latest(&key, || Timestamp(100)), Ok(None));
    assert!(pin.get(&key, || Timestamp(99)).unwrap().is_some());
    assert_eq!(pin.get(&key, || Timestamp(100)), Ok(None));
    bed.put(b"a", Some(Value::Int(2)));
    assert!(
        bed.reader.get_latest(&key, no_clock).unwrap().is_some(),
        "a later write without an end does not expire"
    );
}

#[test]
fn a_reader_inside_a_read_is_refused_not_confused() {
    let mut bed = Bed::new(IndexConfig::new(1));
    for i in 0..10_u8 {
        bed.put_until(&[i], Some(Value::Int(1)), Some(Timestamp(5)));
    }
    let key = hashed(&bed.reader, &[1]);
    // The clock and the visitor run outside the index, so they may read.
    let seen = bed.reader.get_latest(&key, || {
        assert!(bed.reader.get_latest(&key, || Timestamp(0)).unwrap().is_some());
        Timestamp(0)
    });
    assert!(seen.unwrap().is_some());
    let pin = bed.reader.pin().unwrap();
    let mut rows = 0;
    let end = pin.iterate(Default::default(), usize::MAX, |_| {
        assert!(pin.get(&key, || Timestamp(0)).unwrap().is_some());
        rows += 1;
    });
    assert_eq!((end, rows), (Ok(None), 10));
}

#[test]
fn threads_come_and_go() {
    let mut bed = Bed::new(IndexConfig::new(1));
    bed.put(b"a", Some(Value::Int(1)));
    let key = hashed(&bed.reader, b"a");
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| assert!(bed.reader.get_latest(&key, no_clock).unwrap().is_some()));
            }
        });
    }
}

#[test]
#[should_panic(expected = "has version 5 already")]
fn a_version_is_installed_once() {
    let mut bed = Bed::new(IndexConfig::new(1));
    let key = hashed(&bed.reader, b"a");
    for _ in 0..2 {
        bed.writer.install(&key, Version(5), Timestamp(0), None, Some(Value::Null));
    }
    // Without debug assertions it is noticed when the first is freed.
    bed.writer.publish(Version(5));
    bed.writer.collect();
}

/// Collections used to look at everything that was superseded beside a snapshot, and at all that one had held, at once: one put
/// in a hundred waited for hundreds of others.
#[test]
fn no_commit_lets_go_of_much_at_once_of_what_a_snapshot_held() {
    const KEYS: usize = 4_000;
    /// Versions that one commit may free: twice what it superseded, and a little, by each of two ways.
    const MOST_AT_ONCE: usize = 8;
    let mut bed = Bed::new(IndexConfig::new(1));
    let user = |n: usize| (n as u64).to_be_bytes();
    for n in 0..KEYS {
        bed.put(&user(n), Some(Value::from(1)));
        bed.writer.maintain();
    }
    let pin = bed.reader.pin().unwrap();
    for n in 0..KEYS {
        bed.put(&user(n), Some(Value::from(2)));
        bed.writer.maintain();
    }
    let held = bed.writer.stats();
    assert_eq!(held.versions, 2 * KEYS);
    assert!(held.held_bytes > 0);
    drop(pin);
    let mut before = held.versions;
    let mut commits = 0;
    while bed.writer.stats().versions > KEYS + 300 {
        bed.put(&user(commits % KEYS), Some(Value::from(3)));
        bed.writer.maintain();
        let now = bed.writer.stats().versions;
        assert!(before <= now + MOST_AT_ONCE, "commit {commits} freed {}", before - now);
        before = now;
        commits += 1;
        assert!(commits < 2 * KEYS, "what was held is not let go: {now} versions of {KEYS} keys");
    }
}
