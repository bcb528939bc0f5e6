//! Each thread that reads has a place of its own, of which there are so many: one that comes when all are taken is refused by
//! name, and what a thread leaves is the next one's. Alone in its process, since the places are the process's.

use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{IndexConfig, IndexReader, IndexWriter, KeyRef, ReadError};

const RUN: RunId = RunId::from_bytes([3; 16]);

fn read(reader: &IndexReader) -> Result<Option<Value>, ReadError> {
    let key = reader.hashed(reader.run_hash(&RUN), KeyRef::new(RUN, Tag::Kv, b"k"));
    reader.get_latest(&key, || unreachable!("nothing expires")).map(|found| found.map(|found| found.value))
}

#[test]
fn a_thread_without_a_place_is_refused_until_others_go() {
    let mut writer = IndexWriter::new(IndexConfig::new(1));
    let reader = writer.reader();
    let key = writer.hashed(writer.run_hash(&RUN), KeyRef::new(RUN, Tag::Kv, b"k"));
    writer.install(&key, Version(1), Timestamp(1), None, Some(Value::Int(1)));
    writer.publish(Version(1));
    for _ in 0..2 {
        let mut threads = Vec::new();
        // One after the other, until one is refused: all that read before it have their places.
        let refused = loop {
            let (told, first) = std::sync::mpsc::channel();
            let reader = reader.clone();
            let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
                let first = read(&reader);
                let is_refused = first.is_err();
                told.send(first).unwrap();
                if is_refused {
                    // It stays without, and so is told each time.
                    return read(&reader);
                }
                std::thread::park();
                read(&reader)
            });
            let thread = thread.unwrap();
            match first.recv().unwrap() {
                Ok(value) => assert_eq!(value, Some(Value::Int(1))),
                Err(refused) => {
                    assert_eq!(thread.join().unwrap(), Err(refused));
                    break refused;
                }
            }
            threads.push(thread);
            assert!(threads.len() <= 1 << 12, "nobody was refused");
        };
        assert_eq!(refused, ReadError::NoThreadSlot);
        assert!(threads.len() > 100, "{}", threads.len());
        for thread in threads {
            thread.thread().unpark();
            assert_eq!(thread.join().unwrap(), Ok(Some(Value::Int(1))));
        }
    }
    std::thread::scope(|scope| {
        let there = scope.spawn(|| read(&reader)).join().unwrap();
        assert_eq!(there, Ok(Some(Value::Int(1))), "a place is free again");
    });
}
