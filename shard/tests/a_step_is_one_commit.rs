//! A value put together with its event is the same commit, byte for byte, as a transaction of both.

use std::path::Path;
use std::sync::Arc;

use in_mem_model::{Key, RunId, Tag, Timestamp, Value};
use in_mem_shard::core::command::{CommitRequest, Write};
use in_mem_shard::core::error::{Condition, WriteError};
use in_mem_shard::core::run_meta::RunMeta;
use in_mem_shard::core::{Log, ShardCore, event};
use in_mem_shard::index::{IndexConfig, IndexWriter};
use in_mem_wal::{Config, Mode, OpenMode, ShardLog, SimDisk, Storage};

fn run() -> RunId {
    RunId::from_bytes([1; 16])
}

fn core() -> (Arc<SimDisk>, ShardCore) {
    let config = Config { segment_bytes: 1 << 20, mode: Mode::Buffered, shard: 0, create: true };
    let disk = Arc::new(SimDisk::new(1));
    let (log, _) =
        ShardLog::recover(disk.clone(), Path::new("/log"), config, 1, None, &mut |_| Ok(())).expect("opens");
    let mut core = ShardCore::new(IndexWriter::new(IndexConfig::new(1)), Log::Wal(log));
    core.set_now(Timestamp(5));
    let mut request = CommitRequest::new(run());
    request.writes.push((run(), Write::CreateRun(Box::new(RunMeta::new(run(), "r")))));
    core.commit(request).expect("begins");
    (disk, core)
}

fn body(number: i64, stream: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    event::pack_body("step", stream, None, &Value::from(number), &mut body);
    body
}

fn bytes(disk: &SimDisk) -> Vec<u8> {
    let names = disk.read_dir(Path::new("/log")).expect("lists");
    let mut all = Vec::new();
    for name in names {
        let file = disk.open(&Path::new("/log").join(name), OpenMode::Read).expect("opens");
        let mut bytes = vec![0; file.len().expect("measures") as usize];
        assert_eq!(file.read_at(0, &mut bytes).expect("reads"), bytes.len());
        all.extend(bytes);
    }
    all
}

#[test]
fn both_ways_give_the_same_log() {
    let ((one_disk, mut one), (two_disk, mut two)) = (core(), core());
    for number in 0..20_i64 {
        let stream = (number % 3 == 0).then_some("tools");
        let (key, value, body) = (number.to_be_bytes(), Value::from(number), body(number, stream));
        let (_, sequence) = one
            .put_and_append(run(), Tag::Run, &key, value.clone(), Condition::Absent, &body)
            .expect("is recorded");
        let mut request = CommitRequest::new(run());
        let condition = Condition::Absent;
        let put = Write::Put { tag: Tag::Run, key: key.into(), value, expires_at: None, condition };
        request.writes = vec![(run(), put), (run(), Write::Append { body })];
        assert_eq!(two.commit(request).expect("is committed").sequences, [sequence]);
    }
    assert_eq!(one.chain(run()), two.chain(run()));
    assert_eq!(bytes(&one_disk), bytes(&two_disk));
}

#[test]
fn what_is_refused_changes_neither() {
    let (disk, mut core) = core();
    let put = |core: &mut ShardCore, key: &[u8], body: &[u8]| {
        core.put_and_append(run(), Tag::Run, key, Value::from(1), Condition::Absent, body)
    };
    put(&mut core, b"\x02a", &body(1, None)).expect("is recorded");
    let (before, chain) = (bytes(&disk), core.chain(run()));
    let again = put(&mut core, b"\x02a", &body(2, None));
    assert!(matches!(again, Err(WriteError::ConditionFailed { .. })), "{again:?}");
    // Says that a stream's name follows, and ends.
    let cut = put(&mut core, b"\x02b", &[1, 0]);
    assert!(matches!(cut, Err(WriteError::MalformedEvent { .. })), "{cut:?}");
    assert_eq!((bytes(&disk), core.chain(run())), (before, chain));
    assert_eq!(core.get(&Key::new(run(), Tag::Run, &b"\x02b"[..])), None);
}
