//! Keys that are put in order all together are in the order that they would be in one by one; keys read together read as each
//! by itself.

use std::collections::BTreeMap;

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{
    Direction, HashedKey, IndexConfig, IndexReader, IndexWriter, KeyRef, PageLimit, ScanRange,
};

const TAGS: [Tag; 3] = [Tag::Kv, Tag::Event, Tag::Run];

/// Keys that share long beginnings, end with zeros, or are empty.
fn random_key(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut key = vec![b'k'; random.usize(..40)];
    for _ in 0..random.usize(..4) {
        let zeros = random.bool();
        key.extend((0..random.usize(..12)).map(|_| if zeros { 0 } else { b'a' }));
    }
    if random.u8(..8) == 0 {
        key.extend((0..600).map(|_| 7));
        key.push(random.u8(..));
    }
    key
}

fn run(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

fn hashed<'k>(index: &IndexReader, run: RunId, tag: Tag, user: &'k [u8]) -> HashedKey<'k> {
    index.hashed(index.run_hash(&run), KeyRef::new(run, tag, user))
}

#[test]
fn what_is_loaded_is_scanned_in_order() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut index = IndexWriter::new(IndexConfig::new(seed));
        let reader = index.reader();
        let mut model = BTreeMap::new();
        let (mut version, count) = (0, random.usize(1..3_000));
        for step in 0..count {
            match random.usize(..count) {
                0 => index.begin_loading(),
                1 => index.end_loading(),
                _ => {}
            }
            if step == 0 && seed % 4 != 0 {
                index.begin_loading();
            }
            version += 1;
            let (of, tag) = (run(random.u8(..3)), TAGS[random.usize(..3)]);
            let key = random_key(&mut random);
            let value = (random.u8(..6) > 0).then_some(Value::Int(i64::from(version as u32)));
            let at = hashed(&reader, of, tag, &key);
            index.install(&at, Version(version), Timestamp(1), None, value.clone());
            match value {
                Some(value) => model.insert((of, tag, key), value),
                None => model.remove(&(of, tag, key)),
            };
            index.publish(Version(version));
            index.maintain();
        }
        if random.bool() {
            index.end_loading();
        }
        let all = PageLimit { rows: usize::MAX, keys: usize::MAX };
        let mut found = Vec::new();
        for number in 0..3 {
            index.scan(&ScanRange::of_run(run(number)), Direction::Forwards, Version(version), all, |row| {
                let key = (row.key.run, row.key.tag, row.key.user.to_vec());
                found.push((key, row.node.value.cloned().expect("scans show values")));
                true
            });
        }
        assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>(), "seed {seed}");

        let mut asked: Vec<_> = model.keys().take(20).cloned().collect();
        asked.push((run(1), Tag::Kv, b"never there".to_vec()));
        let keys: Vec<_> = asked.iter().map(|(of, tag, key)| hashed(&reader, *of, *tag, key)).collect();
        let mut values = Vec::new();
        reader.get_latest_each(&keys, || Timestamp(2), &mut values).expect("a slot is free");
        let values: Vec<_> = values.into_iter().map(|value| value.map(|v| v.value)).collect();
        assert_eq!(values, asked.iter().map(|key| model.get(key).cloned()).collect::<Vec<_>>());
    }
}
