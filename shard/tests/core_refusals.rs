//! What the core refuses it refuses whole, by name, with what to do; and it is as it was.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::Actor;
use in_mem_shard::clock::ManualClock;
use in_mem_shard::core::command::{Command, CommitRequest, ReadKey, Reply, RunChange, ScanRequest, Write};
use in_mem_shard::core::error::{Condition, WriteError};
use in_mem_shard::core::import::ImportedChange;
use in_mem_shard::core::run_meta::{ForkPoint, RunMeta, RunStatus};
use in_mem_shard::core::transaction::{Pending, WriteSet};
use in_mem_shard::core::watch::{Change, MAX_WATCHERS_PER_SHARD, WatchEnd, WatchRequest, watch_channel};
use in_mem_shard::core::{BeginError, Log, ReplayError, ShardCore};
use in_mem_shard::index::{IndexConfig, IndexWriter};
use in_mem_shard::turn::{Core, Ticket};
use in_mem_wal::{Config, Mode, ShardLog, SimDisk};

const RUN: RunId = RunId::from_bytes([3; 16]);

fn other(n: u8) -> RunId {
    RunId::from_bytes([n; 16]).with_routing(RUN.routing())
}

fn stranger() -> RunId {
    RunId::from_bytes([9; 16])
}

fn request(writes: Vec<(RunId, Write)>) -> CommitRequest {
    CommitRequest { writes, ..CommitRequest::new(RUN) }
}

fn create(run: RunId) -> (RunId, Write) {
    (run, Write::CreateRun(Box::new(RunMeta::new(run, "refusals"))))
}

fn fork_of(run: RunId, parent: RunId) -> (RunId, Write) {
    let mut meta = RunMeta::new(run, "fork");
    meta.forked_from = Some(ForkPoint { run: parent, version: Version(u64::MAX) });
    (run, Write::CreateRun(Box::new(meta)))
}

fn put(run: RunId, key: &str, condition: Condition) -> (RunId, Write) {
    let (key, value) = (KeyBytes::from(key.as_bytes()), Value::from(1));
    (run, Write::Put { tag: Tag::Kv, key, value, expires_at: None, condition })
}

fn core_with(log: Log) -> ShardCore {
    let mut core = ShardCore::new(IndexWriter::new(IndexConfig::new(1)), log);
    core.set_now(Timestamp(7));
    core.commit(request(vec![create(RUN)])).expect("begins");
    core
}

fn core() -> ShardCore {
    core_with(Log::None)
}

fn wal(mode: Mode) -> Log {
    let config = Config { segment_bytes: 1 << 20, mode, shard: 0, create: true };
    let log =
        ShardLog::recover(Arc::new(SimDisk::new(1)), Path::new("/log"), config, 1, None, &mut |_| Ok(()));
    Log::Wal(log.expect("opens").0)
}

fn get(core: &ShardCore, run: RunId, key: &str) -> Option<Value> {
    core.get(&Key { run, tag: Tag::Kv, user: KeyBytes::from(key.as_bytes()) }).map(|found| found.value)
}

type Is = fn(&WriteError) -> bool;

#[test]
fn transactions_that_cannot_be_made() {
    let mut core = core();
    core.commit(request(vec![(stranger(), create(stranger()).1)])).expect_err("is of another lineage");
    let mut at_home = CommitRequest::new(stranger());
    at_home.writes.push(create(stranger()));
    core.commit(at_home).expect("begins");
    core.commit(request(vec![create(other(5)), put(other(5), "there", Condition::Any)])).expect("begins");
    let change =
        || Write::ChangeRun(Box::new(RunChange { status: Some(RunStatus::Running), ..RunChange::default() }));
    let first = || put(RUN, "first", Condition::Any);
    let there = Condition::Present;
    let cases: Vec<(Vec<(RunId, Write)>, Is)> = vec![
        (vec![first(), create(RUN)], |e| matches!(e, WriteError::RunExists { run } if *run == RUN)),
        (vec![create(other(6)), create(other(6))], |e| matches!(e, WriteError::RunExists { .. })),
        (
            vec![first(), (RUN, Write::DropRun)],
            |e| matches!(e, WriteError::DropNotAlone { run } if *run == RUN),
        ),
        (vec![(other(6), Write::DropRun)], |e| matches!(e, WriteError::UnknownRun { .. })),
        (vec![first(), (other(6), change())], |e| matches!(e, WriteError::UnknownRun { .. })),
        (vec![first(), put(other(6), "k", Condition::Any)], |e| matches!(e, WriteError::UnknownRun { .. })),
        (
            vec![first(), put(stranger(), "k", Condition::Any)],
            |e| matches!(e, WriteError::OtherLineage { run, with } if (*run, *with) == (stranger(), RUN)),
        ),
        (
            vec![first(), fork_of(other(6), stranger())],
            |e| matches!(e, WriteError::OtherLineage { run, with } if (*run, *with) == (other(6), stranger())),
        ),
        (
            vec![first(), fork_of(other(6), other(7))],
            |e| matches!(e, WriteError::UnknownRun { run } if *run == other(7)),
        ),
        (vec![first(), put(RUN, "k", there)], |e| {
            matches!(e, WriteError::ConditionFailed { expected: Condition::Present, found: None, .. })
        }),
        (vec![first(), put(other(5), "there", Condition::Absent)], |e| {
            matches!(e, WriteError::ConditionFailed { expected: Condition::Absent, found: Some(_), .. })
        }),
    ];
    let before = core.version();
    for (place, (writes, is)) in cases.into_iter().enumerate() {
        let refused = core.commit(request(writes)).expect_err("is refused");
        assert!(is(&refused), "{place}: {refused}");
        assert_eq!((core.version(), get(&core, RUN, "first")), (before, None), "{place}");
        assert!(core.run_info(other(6)).is_none(), "{place}");
    }
    // What asks that something is there is done where it is, by any of the two ways.
    core.commit(request(vec![put(other(5), "there", there)])).expect("is there");
    core.put(other(5), Tag::Kv, b"there", Value::from(2), None, there).expect("is there");
    core.delete(other(5), Tag::Kv, b"there", there).expect("is there");
    core.put(other(5), Tag::Kv, b"there", Value::from(2), None, there).expect_err("is gone");
}

#[test]
fn a_transaction_that_writes_nothing_takes_no_version() {
    let mut core = core();
    core.put(RUN, Tag::Kv, b"k", Value::from(1), None, Condition::Any).expect("is put");
    let key = Key { run: RUN, tag: Tag::Kv, user: KeyBytes::from(&b"k"[..]) };
    let reads = |snapshot| CommitRequest {
        snapshot: Some(snapshot),
        reads: vec![ReadKey { key: key.clone() }],
        ..CommitRequest::new(RUN)
    };
    let read = core.commit(reads(core.version())).expect("saw what is there");
    assert_eq!((read.version, read.timestamp, read.sequences.len()), (core.version(), Timestamp(7), 0));
    assert_eq!(core.version(), Version(2));
    // It is validated all the same.
    let missed = core.commit(reads(Version(1))).expect_err("missed the put");
    assert!(matches!(missed, WriteError::Conflict { .. } | WriteError::SnapshotExpired { .. }), "{missed}");
}

#[test]
fn imported_commits_are_of_one_lineage_and_of_runs_that_are_known() {
    let mut core = core();
    let change = |run: RunId, tag: Tag, key: &str, value: Value| ImportedChange {
        run,
        tag,
        key: KeyBytes::from(key.as_bytes()),
        value: Some(value),
        expires_at: None,
    };
    let meta = |run: RunId| change(run, Tag::Run, "", RunMeta::new(run, "imported").to_value());
    let cases: Vec<(Vec<ImportedChange>, Is)> = vec![
        (
            vec![meta(other(5)), change(stranger(), Tag::Kv, "k", Value::from(1))],
            |e| matches!(e, WriteError::OtherLineage { run, with } if (*run, *with) == (stranger(), RUN)),
        ),
        (
            vec![meta(other(5)), change(other(6), Tag::Kv, "k", Value::from(1))],
            |e| matches!(e, WriteError::UnknownRun { run } if *run == other(6)),
        ),
        (
            vec![change(other(5), Tag::Run, "", Value::from("no meta"))],
            |e| matches!(e, WriteError::UnknownRun { run } if *run == other(5)),
        ),
    ];
    let before = core.version();
    for (changes, is) in cases {
        let refused = core.import_commit(RUN, Timestamp(3), changes).expect_err("is refused");
        assert!(is(&refused), "{refused}");
        assert_eq!(core.version(), before);
        assert!(core.run_info(other(5)).is_none());
    }
    // The run comes first, wherever it stands in the commit.
    let whole = vec![change(other(5), Tag::Kv, "k", Value::from(1)), meta(other(5))];
    let version = core.import_commit(RUN, Timestamp(3), whole).expect("is made again");
    assert_eq!((version.0, get(&core, other(5), "k")), (before.0 + 1, Some(Value::from(1))));
}

#[test]
fn one_checkpoint_at_a_time_and_none_of_a_log_that_failed() {
    let mut core = core_with(wal(Mode::Buffered));
    core.begin_checkpoint().expect("begins");
    assert!(matches!(core.begin_checkpoint(), Err(BeginError::UnderWay)));
    let mut core = core_with(wal(Mode::Buffered));
    let log = core.log_mut().wal_mut().expect("has one");
    drop(log.begin_sync().expect("something to sync"));
    assert!(log.begin_sync().is_none() && log.poisoned().is_some(), "the sync was given up");
    let refused = core.begin_checkpoint().expect_err("is refused");
    assert!(matches!(&refused, BeginError::Poisoned { reason } if reason.contains("given up")), "{refused}");
}

#[test]
fn records_are_replayed_in_order_only() {
    let mut core = core();
    let last = core.version();
    for version in [Version(0), last] {
        let refused = core.replay(RUN, version, Timestamp(1), &[]).expect_err("is refused");
        assert!(
            matches!(refused, ReplayError::Order { last: l, found } if (l, found) == (last, version)),
            "{refused}"
        );
        assert_eq!(core.version(), last);
    }
}

fn watch(
    core: &mut ShardCore,
    run: RunId,
    from: Option<Version>,
    capacity: usize,
) -> (Reply, in_mem_shard::core::watch::WatchReceiver) {
    let (sender, receiver) = watch_channel(capacity);
    let request = WatchRequest { run, tag: Tag::Kv, prefix: KeyBytes::default(), from, sender };
    (core.execute(Command::Watch(Box::new(request))), receiver)
}

#[test]
fn watchers_are_limited_and_those_that_went_make_room() {
    let mut core = core();
    let (unknown, _receiver) = watch(&mut core, other(5), None, 1);
    assert!(matches!(unknown, Reply::Refused(WriteError::UnknownRun { .. })));
    let mut receivers: Vec<_> = (0..MAX_WATCHERS_PER_SHARD)
        .map(|_| {
            let (reply, receiver) = watch(&mut core, RUN, None, 1);
            assert!(matches!(reply, Reply::Watching(..)));
            receiver
        })
        .collect();
    let limit = MAX_WATCHERS_PER_SHARD;
    let (refused, _receiver) = watch(&mut core, RUN, None, 1);
    assert!(matches!(refused, Reply::Refused(WriteError::TooManyWatchers { limit: l }) if l == limit));
    receivers.truncate(2);
    let (reply, _receiver) = watch(&mut core, RUN, None, 1);
    assert!(matches!(reply, Reply::Watching(..)), "there is room again");
    // One that went without a word is found when it is told, and the others hear as before.
    drop(receivers.pop());
    assert_eq!(receivers[0].try_recv(), Err(WatchEnd::Nothing));
    assert_eq!(receivers[0].recv(Some(Duration::ZERO)), Err(WatchEnd::TimedOut));
    core.put(RUN, Tag::Kv, b"k", Value::from(1), None, Condition::Any).expect("is put");
    let version = core.version();
    let change = Change { key: KeyBytes::from(&b"k"[..]), value: Some(Value::from(1)), version };
    assert_eq!(receivers[0].recv(Some(Duration::ZERO)), Ok(change));
    // One whose buffer was full is let go, and knows from where on.
    for n in 0..3 {
        core.put(RUN, Tag::Kv, b"k", Value::from(n), None, Condition::Any).expect("is put");
    }
    receivers[0].try_recv().expect("what was held back");
    assert_eq!(receivers[0].try_recv(), Err(WatchEnd::Lagged(Version(version.0 + 2))));
}

/// Whoever reads is told at once, though what others wrote before waits for the disk; whoever writes is told with it.
#[test]
fn reads_do_not_wait_for_the_disk() {
    let clock = ManualClock::new(Timestamp(7));
    let mut actor = Actor::new(core_with(wal(Mode::Strict)), Arc::new(clock), u64::MAX);
    actor.begin_turn();
    let key = || KeyBytes::from(&b"k"[..]);
    let put = |condition| {
        let value = Value::from(1);
        Command::Put { run: RUN, tag: Tag::Kv, key: key(), value, expires_at: None, condition }
    };
    let ticket = actor.execute(put(Condition::Any)).1;
    assert_ne!(ticket, Ticket::NOW, "not synced yet");
    let scan = || {
        let (lower, upper) = (Bound::Unbounded, Bound::Unbounded);
        Box::new(ScanRequest { run: RUN, tag: Tag::Kv, lower, upper, reverse: false, at: None, limit: 9 })
    };
    for command in [
        Command::Get(Box::new(Key { run: RUN, tag: Tag::Kv, user: key() })),
        Command::Scan(scan()),
        Command::Count(scan()),
        Command::Stats,
        Command::Maintain(Box::new(|core| Box::new(core.version()))),
        put(Condition::Absent),
    ] {
        assert_eq!(actor.execute(command).1, Ticket::NOW);
    }
    let more = Command::Increment { run: RUN, tag: Tag::Kv, key: key(), by: 1 };
    assert!(actor.execute(more).1 > ticket);
}

#[test]
fn a_write_set_lists_what_lies_within_bounds() {
    let mut set = WriteSet::default();
    for key in ["a", "b", "c", "d"] {
        set.put(RUN, Tag::Kv, key.as_bytes(), Value::from(key), None, Condition::Any).expect("fits");
    }
    set.delete(RUN, Tag::Kv, b"c", Condition::Any).expect("fits");
    set.put(RUN, Tag::State, b"b", Value::from(1), None, Condition::Any).expect("fits");
    set.put(other(5), Tag::Kv, b"b", Value::from(1), None, Condition::Any).expect("fits");
    let keys = |lower: Bound<&[u8]>, upper: Bound<&[u8]>| {
        let range = set.range(RUN, Tag::Kv, lower, upper);
        range.keys().map(|key| String::from_utf8(key.to_vec()).expect("is text")).collect::<String>()
    };
    use Bound::{Excluded, Included, Unbounded};
    assert_eq!(keys(Unbounded, Unbounded), "abcd");
    assert_eq!(keys(Included(b"b"), Included(b"c")), "bc");
    assert_eq!(keys(Excluded(b"b"), Included(b"d")), "cd");
    assert_eq!(keys(Unbounded, Excluded(b"c")), "ab");
    assert_eq!(keys(Excluded(b"b"), Excluded(b"c")), "");
    assert_eq!(keys(Included(b"c"), Unbounded), "cd");
    assert_eq!(set.range(RUN, Tag::Kv, Included(b"c"), Unbounded)[&b"c"[..]], Pending::Deleted);
    assert_eq!((set.len(), set.is_empty()), (6, false));
}

/// What a user reads of a refusal names what was asked for, what is there, and what to do.
#[test]
fn refusals_say_what_to_do() {
    let failed = |expected: Condition| {
        let key = Box::new(Key { run: RUN, tag: Tag::Kv, user: KeyBytes::from(&b"k"[..]) });
        WriteError::ConditionFailed { key, expected, found: None }.to_string()
    };
    let words = [
        (Condition::Any, "anything"),
        (Condition::Absent, "nothing"),
        (Condition::Present, "something"),
        (Condition::Version(Version(41)), "version 41"),
    ];
    for (condition, word) in words {
        assert_eq!(condition.to_string(), word);
        assert!(failed(condition).contains(word), "{}", failed(condition));
    }
    let (run, missed) = (RUN, Version(8));
    let behind = WriteError::Lagged { run, missed, oldest: None }.to_string();
    assert!(behind.contains("from version 8 on") && behind.contains("watch from version 7"), "{behind}");
    let first = WriteError::Lagged { run, missed: Version(0), oldest: None }.to_string();
    assert!(first.contains("watch from version 0"), "{first}");
    let gone = WriteError::Lagged { run, missed, oldest: Some(Version(30)) }.to_string();
    assert!(gone.contains("from version 8 on") && gone.contains("to watch from is 30"), "{gone}");
    for error in [
        WriteError::TooManyWatchers { limit: 4_096 },
        WriteError::DropNotAlone { run },
        WriteError::OtherLineage { run, with: other(5) },
    ] {
        let text = error.to_string();
        assert!(text.contains(&run.to_string()) || text.contains("4096"), "{text}");
    }
}
