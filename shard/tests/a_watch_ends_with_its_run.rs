//! A watch tells of what was committed before its run was deleted, also where both wait for the disk together.

use std::path::Path;
use std::sync::Arc;

use in_mem_model::{KeyBytes, RunId, Tag, Value, Version};
use in_mem_shard::core::command::{Command, CommitRequest, Reply, Write};
use in_mem_shard::core::error::Condition;
use in_mem_shard::core::run_meta::RunMeta;
use in_mem_shard::core::watch::{WatchEnd, WatchReceiver, WatchRequest, watch_channel};
use in_mem_shard::core::{Log, ShardCore};
use in_mem_shard::index::{IndexConfig, IndexWriter};
use in_mem_wal::{Config, Mode, ShardLog, SimDisk};

const RUN: RunId = RunId::from_bytes([3; 16]);

fn strict() -> ShardCore {
    let config = Config { segment_bytes: 1 << 20, mode: Mode::Strict, shard: 0, create: true };
    let storage = Arc::new(SimDisk::new(1));
    let (log, _) = ShardLog::recover(storage, Path::new("/log"), config, 1, None, &mut |_| Ok(())).unwrap();
    ShardCore::new(IndexWriter::new(IndexConfig::new(1)), Log::Wal(log))
}

fn commit(core: &mut ShardCore, write: Write) -> Version {
    let mut request = CommitRequest::new(RUN);
    request.writes.push((RUN, write));
    core.commit(request).expect("commits").version
}

fn begin(core: &mut ShardCore) -> Version {
    commit(core, Write::CreateRun(Box::new(RunMeta::new(RUN, "watched"))))
}

fn put(core: &mut ShardCore, value: i64) {
    core.put(RUN, Tag::Kv, b"k", Value::from(value), None, Condition::Any).expect("puts");
}

fn watch(core: &mut ShardCore) -> WatchReceiver {
    let (sender, receiver) = watch_channel(10);
    let request = WatchRequest { run: RUN, tag: Tag::Kv, prefix: KeyBytes::default(), from: None, sender };
    match core.execute(Command::Watch(Box::new(request))) {
        Reply::Watching(..) => receiver,
        _ => panic!("another reply"),
    }
}

fn told(receiver: &WatchReceiver) -> Result<Option<Value>, WatchEnd> {
    receiver.try_recv().map(|change| change.value)
}

#[test]
fn what_was_written_before_the_run_was_deleted_is_told_of() {
    let mut core = strict();
    begin(&mut core);
    core.publish(core.version());
    let receiver = watch(&mut core);
    put(&mut core, 1);
    commit(&mut core, Write::DropRun);
    begin(&mut core);
    put(&mut core, 2);
    let again = watch(&mut core);
    put(&mut core, 3);
    assert_eq!(told(&receiver), Err(WatchEnd::Nothing), "nothing is published");
    core.publish(core.version());
    assert_eq!(told(&receiver), Ok(Some(Value::from(1))));
    assert_eq!(told(&receiver), Err(WatchEnd::Closed), "what came in the run's next life is not told of");
    assert_eq!(told(&again), Ok(Some(Value::from(3))));
    assert_eq!(told(&again), Err(WatchEnd::Nothing));
}

#[test]
fn a_deletion_that_never_reaches_the_disk_ends_no_watch() {
    let mut core = strict();
    begin(&mut core);
    core.publish(core.version());
    let receiver = watch(&mut core);
    put(&mut core, 1);
    let before = core.version();
    commit(&mut core, Write::DropRun);
    core.publish(before);
    core.fall_back();
    assert_eq!(told(&receiver), Ok(Some(Value::from(1))));
    assert_eq!(told(&receiver), Err(WatchEnd::Nothing));
}
