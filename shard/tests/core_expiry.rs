//! When a key expires is kept as it was said, through the log and a checkpoint.

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::core::effect::{Effect, EffectReader, EffectWriter};
use in_mem_shard::core::{CheckpointEntry, Log, ShardCore};
use in_mem_shard::index::{IndexConfig, IndexWriter, KeyRef};

const RUN: RunId = RunId::from_bytes([3; 16]);

/// Times before 1970 were written as its first moment, and that was read as "never": a key that was long gone came back for ever.
#[test]
fn an_expiry_before_1970_stays_one() {
    for at in [i64::MIN, -1_000_000, -1, 0, 1, 1_795_000_000_000_000, i64::MAX - 1] {
        let at = Some(Timestamp(at));
        let mut payload = Vec::new();
        EffectWriter::new(&mut payload, RUN).put(Tag::Kv, b"key", &Value::from(1), at);
        let Ok(Some((_, Effect::Put { expires_at, .. }))) = EffectReader::new(&payload, RUN).next() else {
            panic!("a put was written");
        };
        assert_eq!(expires_at, at, "in the log");
        let mut core = ShardCore::new(IndexWriter::new(IndexConfig::new(1)), Log::None);
        core.replay(RUN, Version(1), Timestamp(i64::MIN), &payload).expect("applies");
        let mut bytes = Vec::new();
        let (tag, key, version, timestamp) = (Tag::Kv, &b"other"[..], Version(1), Timestamp(2));
        let value = Value::from(1);
        CheckpointEntry { run: RUN, tag, key, version, timestamp, expires_at: at, value }.encode(&mut bytes);
        core.load(&bytes).expect("loads");
        for key in ["key", "other"] {
            let index = core.index_mut();
            let hashed = index.hashed(index.run_hash(&RUN), KeyRef::new(RUN, Tag::Kv, key.as_bytes()));
            let head = index.head(&hashed).expect("is there");
            assert_eq!(head.expires_at, at, "{key}, once recovered");
        }
    }
}

#[test]
fn the_last_moment_is_never() {
    let mut payload = Vec::new();
    EffectWriter::new(&mut payload, RUN).put(Tag::Kv, b"key", &Value::from(1), Some(Timestamp(i64::MAX)));
    let Ok(Some((_, Effect::Put { expires_at, .. }))) = EffectReader::new(&payload, RUN).next() else {
        panic!("a put was written");
    };
    assert_eq!(expires_at, None, "as the index keeps it");
}
