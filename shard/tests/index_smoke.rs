//! The index written, read and emptied again.

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{IndexConfig, IndexWriter, KeyRef};

#[test]
fn write_read_delete() {
    let mut writer = IndexWriter::new(IndexConfig::new(7));
    let reader = writer.reader();
    let run = RunId::from_bytes([1; 16]);
    let rh = reader.run_hash(&run);
    let mut version = 0;
    for round in 0..3_i64 {
        for i in 0..20_000_u64 {
            let user = i.to_be_bytes();
            let key = writer.hashed(rh, KeyRef::new(run, Tag::Kv, &user));
            version += 1;
            writer.install(
                &key,
                Version(version),
                Timestamp(1),
                None,
                Some(Value::Int(round * 7 + i as i64)),
            );
            writer.publish(Version(version));
            writer.maintain();
        }
        for i in 0..20_000_u64 {
            let user = i.to_be_bytes();
            let key = writer.hashed(rh, KeyRef::new(run, Tag::Kv, &user));
            let got = reader.get_latest(&key, || Timestamp(0)).unwrap().unwrap();
            assert_eq!(got.value, Value::Int(round * 7 + i as i64));
        }
        for i in 0..20_000_u64 {
            let user = i.to_be_bytes();
            let key = writer.hashed(rh, KeyRef::new(run, Tag::Kv, &user));
            version += 1;
            writer.install(&key, Version(version), Timestamp(1), None, None);
            writer.publish(Version(version));
            writer.maintain();
        }
        for _ in 0..1000 {
            version += 1;
            writer.publish(Version(version));
            writer.collect();
        }
        println!("{:?}", writer.stats());
        assert_eq!(writer.stats().keys, 0);
        assert_eq!(writer.stats().versions, 0);
    }
}
