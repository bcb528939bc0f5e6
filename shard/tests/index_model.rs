//! The index against histories kept in a map: whatever is written, pinned, retained and collected, every reader sees
//! what the history says, and nothing stays behind.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{
    Cursor, Direction, IndexConfig, IndexReader, IndexWriter, KeyRef, PageEnd, PageLimit, Pin, ReadError,
    Retention, ScanRange,
};
use proptest::prelude::*;

type Name = (RunId, Tag, Vec<u8>);
/// Versions of one key, oldest first; `None` is a deletion.
type History = Vec<(u64, Option<i64>)>;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u16),
    Delete(u8, u16),
    /// Several keys in one commit.
    Batch(Vec<(u8, u16, bool)>),
    Pin,
    Unpin(usize),
    Retain(u8),
    Release(usize),
    Collect,
    CheckPins,
    Scan(u8, u16, u16, bool),
}

fn run_of(n: u8) -> RunId {
    RunId::from_bytes([n % 3; 16])
}

fn tag_of(n: u8) -> Tag {
    if n.is_multiple_of(2) { Tag::Kv } else { Tag::Event }
}

/// Keys of many lengths, some beyond what is kept inline anywhere, many with long common prefixes.
fn user_of(n: u16) -> Vec<u8> {
    let mut user = match n % 5 {
        0 => Vec::new(),
        1 => b"a-prefix-of-more-than-fifteen-bytes".to_vec(),
        2 => vec![0; 15],
        3 => vec![0; 16],
        _ => vec![b'k'; 600],
    };
    user.extend_from_slice(&n.to_be_bytes()[usize::from(n < 256)..]);
    user
}

fn name_of(slot: u8, n: u16) -> Name {
    (run_of(slot), tag_of(slot), user_of(n))
}

struct Bed {
    writer: IndexWriter,
    reader: IndexReader,
    version: u64,
    model: BTreeMap<Name, History>,
    pins: Vec<Pin>,
    retentions: Vec<Retention>,
}

fn at(history: &History, version: u64) -> Option<(u64, i64)> {
    let seen = history.iter().rev().find(|(installed, _)| *installed <= version)?;
    seen.1.map(|value| (seen.0, value))
}

fn never() -> Timestamp {
    unreachable!("the clock is asked only for values that expire")
}

/// A value of its own allocation, whose content says what it is.
fn value_of(number: i64) -> Value {
    Value::Bytes(Arc::from(number.to_le_bytes().repeat(3)))
}

fn number_of(value: &Value) -> i64 {
    let Value::Bytes(bytes) = value else { panic!("only bytes are stored, not {value:?}") };
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty() && words.iter().all(|word| word == &words[0]), "a torn value: {bytes:?}");
    i64::from_le_bytes(words[0])
}

impl Bed {
    fn new() -> Self {
        let writer = IndexWriter::new(IndexConfig::new(42));
        let reader = writer.reader();
        Self { writer, reader, version: 0, model: BTreeMap::new(), pins: Vec::new(), retentions: Vec::new() }
    }

    fn commit(&mut self, writes: &[(Name, bool)]) {
        self.version += 1;
        let version = self.version;
        let mut written = Vec::new();
        for (name, is_delete) in writes {
            if written.contains(name) {
                continue;
            }
            written.push(name.clone());
            let (run, tag, user) = name;
            let number = (version as i64) << 20 | written.len() as i64;
            let key = self.writer.hashed(self.writer.run_hash(run), KeyRef::new(*run, *tag, user));
            let history = self.model.entry(name.clone()).or_default();
            let value = (!is_delete).then(|| value_of(number));
            self.writer.install(&key, Version(version), Timestamp(7), None, value);
            if !is_delete || history.last().is_some_and(|(_, value)| value.is_some()) {
                history.push((version, (!is_delete).then_some(number)));
            }
            // Not yet visible to anybody but the writer.
            let published = at(history, version - 1);
            let read = self.reader.get_latest(&key, never).unwrap();
            assert_eq!(read.map(|seen| (seen.version.0, number_of(&seen.value))), published);
            let head = self.writer.head(&key).and_then(|node| node.value.map(number_of));
            assert_eq!(head, at(history, version).map(|(_, number)| number));
        }
        self.writer.publish(Version(version));
    }

    fn check_latest(&self) {
        for ((run, tag, user), history) in &self.model {
            let key = self.reader.hashed(self.reader.run_hash(run), KeyRef::new(*run, *tag, user));
            let read = self.reader.get_latest(&key, never).unwrap();
            let read = read.map(|seen| (seen.version.0, number_of(&seen.value)));
            assert_eq!(read, at(history, self.version), "{tag} {user:?}");
        }
    }

    fn check_pins(&self) {
        for pin in &self.pins {
            let version = pin.version().0;
            let mut expected = BTreeMap::new();
            for (name, history) in &self.model {
                let (run, tag, user) = name;
                let key = self.reader.hashed(self.reader.run_hash(run), KeyRef::new(*run, *tag, user));
                let read = pin.get(&key, never).unwrap();
                let read = read.map(|seen| (seen.version.0, number_of(&seen.value)));
                assert_eq!(read, at(history, version), "{tag} {user:?} at {version}");
                if let Some(seen) = at(history, version) {
                    expected.insert(name.clone(), seen);
                }
            }
            let mut walked = BTreeMap::new();
            let mut cursor = Some(Cursor::default());
            while let Some(from) = cursor {
                cursor = pin
                    .iterate(from, 3, |row| {
                        let name = (row.run, row.tag, row.user.as_bytes().to_vec());
                        let seen = (row.value.version.0, number_of(&row.value.value));
                        assert!(walked.insert(name, seen).is_none(), "a row came twice");
                    })
                    .unwrap();
            }
            assert_eq!(walked, expected);
        }
    }

    fn check_retentions(&self) {
        for retention in &self.retentions {
            for ((run, tag, user), history) in &self.model {
                if *run == retention.run() {
                    let key = self.reader.hashed(self.reader.run_hash(run), KeyRef::new(*run, *tag, user));
                    let read = retention.get(&key, never).unwrap();
                    let read = read.map(|seen| (seen.version.0, number_of(&seen.value)));
                    assert_eq!(read, at(history, retention.version().0));
                    let read = self.writer.get_at(&key, retention.version());
                    let read = read.and_then(|node| Some((node.version.0, number_of(node.value?))));
                    assert_eq!(read, at(history, retention.version().0));
                }
            }
        }
    }

    fn scan(&mut self, slot: u8, low: u16, high: u16, backwards: bool) {
        let (run, tag) = (run_of(slot), tag_of(slot));
        let (low, high) = (user_of(low), user_of(high));
        let version = self.pins.first().map_or(self.version, |pin| pin.version().0);
        let mut expected: Vec<_> = self
            .model
            .iter()
            .filter(|((r, t, user), _)| (*r, *t) == (run, tag) && low <= *user && *user < high)
            .filter_map(|((_, _, user), history)| Some((user.clone(), at(history, version)?)))
            .collect();
        let changed = self.model.iter().find(|((r, t, user), history)| {
            (*r, *t) == (run, tag)
                && low <= *user
                && *user < high
                && history.last().is_some_and(|(installed, _)| *installed > version)
        });
        let expected_change = changed.map(|((_, _, user), _)| user.clone());
        let whole = ScanRange::of_tag(run, tag, Bound::Included(&low), Bound::Excluded(&high));
        let change = self.writer.range_changed_since(&whole, Version(version)).map(|key| key.user.to_vec());
        assert_eq!(change, expected_change);

        if backwards {
            expected.reverse();
        }
        let direction = if backwards { Direction::Backwards } else { Direction::Forwards };
        let mut rows = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let range = match (&last, backwards) {
                (None, _) => whole,
                (Some(last), false) => {
                    ScanRange::of_tag(run, tag, Bound::Excluded(last), Bound::Excluded(&high))
                }
                (Some(last), true) => {
                    ScanRange::of_tag(run, tag, Bound::Included(&low), Bound::Excluded(last))
                }
            };
            let limit = PageLimit { rows: 4, keys: 9 };
            let end = self.writer.scan(&range, direction, Version(version), limit, |row| {
                assert_eq!((row.key.run, row.key.tag), (run, tag));
                rows.push((
                    row.key.user.to_vec(),
                    (row.node.version.0, number_of(row.node.value.expect("rows have values"))),
                ));
                true
            });
            let after = match end {
                PageEnd::Done => break,
                PageEnd::After(key) => key.user.to_vec(),
            };
            last = Some(after);
        }
        assert_eq!(rows, expected);
    }

    fn check_run(&mut self, slot: u8) {
        let run = run_of(slot);
        let expected: Vec<_> = self
            .model
            .iter()
            .filter(|((r, _, _), history)| *r == run && at(history, self.version).is_some())
            .map(|((_, tag, user), _)| (*tag, user.clone()))
            .collect();
        let mut rows = Vec::new();
        let limit = PageLimit { rows: usize::MAX, keys: usize::MAX };
        let at = Version(self.version);
        let end = self.writer.scan(&ScanRange::of_run(run), Direction::Forwards, at, limit, |row| {
            rows.push((row.key.tag, row.key.user.to_vec()));
            true
        });
        assert_eq!(end, PageEnd::Done);
        assert_eq!(rows, expected);
    }

    /// Publishes and collects until nothing waits.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.version += 1;
            self.writer.publish(Version(self.version));
            self.writer.collect();
            if self.writer.stats().waiting == 0 {
                return;
            }
        }
        panic!("reclamation does not come to an end: {:?}", self.writer.stats());
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Put(slot, n) => self.commit(&[(name_of(*slot, *n), false)]),
            Step::Delete(slot, n) => self.commit(&[(name_of(*slot, *n), true)]),
            Step::Batch(writes) => {
                let writes: Vec<_> =
                    writes.iter().map(|(slot, n, delete)| (name_of(*slot, *n), *delete)).collect();
                self.commit(&writes);
            }
            Step::Pin => self.pins.push(self.reader.pin().unwrap()),
            Step::Unpin(index) if !self.pins.is_empty() => {
                self.pins.swap_remove(index % self.pins.len());
            }
            Step::Retain(slot) => {
                self.retentions.push(self.writer.retain(run_of(*slot), Version(self.version)));
            }
            Step::Release(index) if !self.retentions.is_empty() => {
                let retention = self.retentions.swap_remove(index % self.retentions.len());
                assert!(self.writer.release(&retention));
                assert!(!self.writer.release(&retention));
                let key = KeyRef::new(retention.run(), Tag::Kv, b"any");
                let key = self.reader.hashed(self.reader.run_hash(&key.run), key);
                assert!(matches!(retention.get(&key, never), Err(ReadError::SnapshotExpired { .. })));
            }
            Step::Collect => self.writer.collect(),
            Step::CheckPins => {
                self.check_pins();
                self.check_retentions();
            }
            Step::Scan(slot, low, high, backwards) => {
                self.scan(*slot, *low, *high, *backwards);
                self.check_run(*slot);
            }
            Step::Unpin(_) | Step::Release(_) => {}
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0_u8..6, 0_u16..40);
    prop_oneof![
        6 => key().prop_map(|(slot, n)| Step::Put(slot, n)),
        4 => key().prop_map(|(slot, n)| Step::Delete(slot, n)),
        3 => prop::collection::vec((0_u8..6, 0_u16..600, any::<bool>()), 1..40).prop_map(Step::Batch),
        2 => Just(Step::Pin),
        2 => any::<usize>().prop_map(Step::Unpin),
        1 => (0_u8..6).prop_map(Step::Retain),
        1 => any::<usize>().prop_map(Step::Release),
        4 => Just(Step::Collect),
        1 => Just(Step::CheckPins),
        2 => (0_u8..6, 0_u16..600, 0_u16..600, any::<bool>()).prop_map(|(slot, a, b, back)| Step::Scan(slot, a, b, back)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_reader_sees_what_the_history_says(steps in prop::collection::vec(step(), 1..150)) {
        let mut bed = Bed::new();
        for step in &steps {
            bed.apply(step);
        }
        bed.check_latest();
        bed.check_pins();
        bed.check_retentions();

        // With all snapshots gone, each live key has one version, and deleted keys have none.
        bed.pins.clear();
        while !bed.retentions.is_empty() {
            bed.apply(&Step::Release(0));
        }
        bed.settle();
        let live = bed.model.values().filter(|history| at(history, bed.version).is_some()).count();
        let stats = bed.writer.stats();
        prop_assert_eq!((stats.keys, stats.versions, stats.held_bytes), (live, live, 0));
        bed.check_latest();

        // And an emptied index is empty.
        let names: Vec<_> = bed.model.keys().map(|name| (name.clone(), true)).collect();
        bed.commit(&names);
        bed.settle();
        let stats = bed.writer.stats();
        prop_assert_eq!((stats.keys, stats.versions, stats.pins), (0, 0, 0));
    }
}
