use super::*;
use crate::core::command::{CommitRequest, Write};
use crate::core::error::Condition;
use crate::core::run_meta::{ForkPoint, RunMeta};
use crate::core::{CheckpointItem, Log};
use crate::index::{IndexConfig, IndexWriter};

fn create(core: &mut ShardCore, run: RunId, from: Option<RunId>) {
    let mut meta = RunMeta::new(run, "r");
    meta.forked_from = from.map(|run| ForkPoint { run, version: Version(u64::MAX) });
    let mut request = CommitRequest::new(run);
    request.writes.push((run, Write::CreateRun(Box::new(meta))));
    core.commit(request).unwrap();
}

fn drop_run(core: &mut ShardCore, run: RunId) {
    let mut request = CommitRequest::new(run);
    request.writes.push((run, Write::DropRun));
    core.commit(request).unwrap();
}

fn put(core: &mut ShardCore, run: RunId, key: &[u8], value: i64) {
    core.put(run, Tag::Kv, key, Value::from(value), None, Condition::Any).unwrap();
}

fn new_core() -> ShardCore {
    ShardCore::new(IndexWriter::new(IndexConfig::new(1)), Log::None)
}

const PARENT: RunId = RunId::from_bytes([0; 16]);

fn fork_id(n: u8) -> RunId {
    RunId::from_bytes([n; 16]).with_routing(0)
}

fn retained(core: &mut ShardCore, at: Version) -> Vec<(Vec<u8>, u64, bool)> {
    let (mut from, mut all) = (None, Vec::new());
    loop {
        let page = core.checkpoint_retained(from, at);
        all.extend(page.entries.iter().map(|e| (e.key.to_vec(), e.version.0, e.value.is_some())));
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

#[test]
fn a_fork_made_after_a_checkpoints_moment_is_not_in_the_checkpoint() {
    let mut core = new_core();
    create(&mut core, PARENT, None);
    let moment = core.begin_checkpoint().unwrap();
    put(&mut core, PARENT, b"k", 1);
    create(&mut core, fork_id(1), Some(PARENT));
    put(&mut core, PARENT, b"k", 2);
    assert_eq!(core.checkpoint_forks(None, 9, moment.version).0, []);
    assert_eq!(retained(&mut core, moment.version), []);
    let now = core.version();
    assert_eq!(core.checkpoint_forks(None, 9, now).0.len(), 1);
    assert_eq!(retained(&mut core, now), [(b"k".to_vec(), 2, true)]);
}

#[test]
fn a_fork_dropped_after_a_checkpoints_moment_is_in_the_checkpoint_whole() {
    let mut core = new_core();
    create(&mut core, PARENT, None);
    put(&mut core, PARENT, b"k", 1);
    create(&mut core, fork_id(1), Some(PARENT));
    put(&mut core, PARENT, b"k", 2);
    let moment = core.begin_checkpoint().unwrap();
    drop_run(&mut core, fork_id(1));
    for n in 0..1_000 {
        put(&mut core, PARENT, b"other", n);
    }
    assert_eq!(core.checkpoint_forks(None, 9, moment.version).0.len(), 1);
    assert_eq!(retained(&mut core, moment.version), [(b"k".to_vec(), 2, true)]);
    core.end_checkpoint();
    assert!(!core.has_forks(), "nothing is held for it any more");
}

/// A core that was loaded from what a checkpoint of this one tells.
fn reloaded(core: &mut ShardCore) -> ShardCore {
    let moment = core.begin_checkpoint().unwrap();
    let at = moment.version;
    let (mut items, mut from) = (Vec::new(), None);
    let mut item = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        items.push(bytes);
    };
    for fork in core.checkpoint_forks(None, 999, at).0 {
        item(&|out| fork.encode(out));
    }
    loop {
        let page = core.checkpoint_retained(from, at);
        page.entries.iter().for_each(|entry| item(&|out| entry.encode(out)));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let pin = core.index_mut().reader().pin().unwrap();
    pin.iterate(crate::index::Cursor::default(), usize::MAX, |row| {
        let crate::index::OwnedRow { run, tag, user, value } = row;
        let (version, timestamp, expires_at) = (value.version, value.timestamp, value.expires_at);
        let value = value.value;
        let entry =
            crate::core::CheckpointEntry { run, tag, key: &user, version, timestamp, expires_at, value };
        item(&|out| entry.encode(out));
    })
    .unwrap();
    for (run, last_version) in core.checkpoint_runs(None, 999).0 {
        item(&|out| crate::core::RunMark { run, last_version }.encode(out));
    }
    core.end_checkpoint();
    let mut loaded = new_core();
    loaded.begin_recovery();
    items.iter().for_each(|item| loaded.load(item).unwrap());
    loaded.loaded(at, moment.timestamp);
    loaded.end_recovery();
    loaded
}

#[test]
fn what_parts_a_fork_from_its_parent_is_known_behind_a_checkpoint_too() {
    let mut core = new_core();
    create(&mut core, PARENT, None);
    for n in 0..1_000_i64 {
        put(&mut core, PARENT, &n.to_be_bytes(), n);
    }
    create(&mut core, fork_id(1), Some(PARENT));
    put(&mut core, PARENT, b"a", 1);
    put(&mut core, PARENT, &7_i64.to_be_bytes(), 0);
    create(&mut core, fork_id(2), Some(PARENT));
    put(&mut core, PARENT, b"b", 1);
    core.delete(PARENT, Tag::Kv, &8_i64.to_be_bytes(), Condition::Any).unwrap();
    put(&mut core, fork_id(1), b"c", 1);
    let now = core.version();
    let mut loaded = reloaded(&mut core);
    let changed = |core: &ShardCore, a: RunId, b: RunId| {
        let parting = core.parting(a, b, now).expect("noted");
        let (mut keys, mut place) = (Vec::new(), Some(0));
        while let Some(from) = place {
            let page = core.changed_page(parting.common, parting.from, parting.to, from).expect("noted");
            keys.extend(page.0);
            place = page.1;
        }
        keys.sort_unstable();
        (parting, keys)
    };
    for (a, b, expected) in [(PARENT, fork_id(1), 4), (PARENT, fork_id(2), 2), (fork_id(1), fork_id(2), 2)] {
        let was = changed(&core, a, b);
        assert_eq!(was.1.len(), expected);
        assert_eq!(changed(&loaded, a, b), was);
        assert_eq!(changed(&reloaded(&mut loaded), a, b), was);
    }
    // And goes on.
    put(&mut loaded, PARENT, b"later", 1);
    let parting = loaded.parting(PARENT, fork_id(1), loaded.version()).expect("noted");
    let page = loaded.changed_page(PARENT, parting.from, parting.to, 0).expect("noted");
    assert!(page.0.iter().any(|(_, key)| &**key == b"later"));
}

#[test]
fn what_forks_read_is_told_once_and_deletions_between_are_told_too() {
    let mut core = new_core();
    create(&mut core, PARENT, None);
    put(&mut core, PARENT, b"same", 1);
    put(&mut core, PARENT, b"k", 1);
    for n in 1..=50 {
        create(&mut core, fork_id(n), Some(PARENT));
    }
    core.delete(PARENT, Tag::Kv, b"k", Condition::Any).unwrap();
    create(&mut core, fork_id(51), Some(PARENT));
    put(&mut core, PARENT, b"k", 2);
    let now = core.version();
    let deleted = core.version().0 - 2;
    assert_eq!(retained(&mut core, now), [(b"k".to_vec(), 3, true), (b"k".to_vec(), deleted, false)]);
    let mut bytes = Vec::new();
    for fork in core.checkpoint_forks(None, 99, now).0 {
        bytes.clear();
        fork.encode(&mut bytes);
        assert_eq!(CheckpointItem::decode(&bytes).unwrap(), CheckpointItem::Fork(fork));
        assert!(bytes.len() < 100, "{} bytes", bytes.len());
    }
    for entry in core.checkpoint_retained(None, now).entries {
        bytes.clear();
        entry.encode(&mut bytes);
        assert_eq!(CheckpointItem::decode(&bytes).unwrap(), CheckpointItem::Retained(entry));
    }
}

fn core_with_limit(bytes: usize) -> ShardCore {
    let mut config = IndexConfig::new(1);
    config.snapshot_bytes_limit = bytes;
    ShardCore::new(IndexWriter::new(config), Log::None)
}

fn put_large(core: &mut ShardCore, run: RunId, key: &[u8]) {
    let value = Value::from(vec![1_u8; 1_000]);
    core.put(run, Tag::Kv, key, value, None, Condition::Any).unwrap();
}

/// Forks that come and go beside one snapshot: what they shared was kept for it without limit, and it never expired.
#[test]
fn a_snapshot_expires_when_forks_that_are_gone_hold_too_much_for_it() {
    let mut core = core_with_limit(50_000);
    create(&mut core, PARENT, None);
    put_large(&mut core, PARENT, b"k");
    let pin = core.index_mut().reader().pin().unwrap();
    for n in 0..1_000 {
        create(&mut core, fork_id(1), Some(PARENT));
        // What the fork goes on from is shared by its own fork, too, which goes before it or behind it.
        create(&mut core, fork_id(2), Some(fork_id(1)));
        put_large(&mut core, PARENT, b"k");
        let gone = if n % 2 == 0 { [1, 2] } else { [2, 1] };
        gone.into_iter().for_each(|n| drop_run(&mut core, fork_id(n)));
        assert!(core.index_mut().stats().held_bytes < 150_000, "after {n}");
    }
    assert!(pin.is_expired());
    assert!(core.dropped_forks.len() < 100, "{} forks", core.dropped_forks.len());
}

/// What forks hold that are there is theirs, also where one that shared it is gone, and where snapshots see that one.
#[test]
fn a_snapshot_does_not_expire_for_what_forks_hold_that_are_there() {
    let mut core = core_with_limit(50_000);
    create(&mut core, PARENT, None);
    (0..100_u8).for_each(|n| put_large(&mut core, PARENT, &[n]));
    create(&mut core, fork_id(1), Some(PARENT));
    create(&mut core, fork_id(2), Some(fork_id(1)));
    let pin = core.index_mut().reader().pin().unwrap();
    (0..100_u8).for_each(|n| put_large(&mut core, PARENT, &[n]));
    drop_run(&mut core, fork_id(1));
    for n in 0..500 {
        put(&mut core, PARENT, b"other", n);
    }
    assert!(core.index_mut().stats().held_bytes > 100_000);
    assert!(!pin.is_expired());
    // With the last of them it is the snapshot's.
    drop_run(&mut core, fork_id(2));
    for n in 0..500 {
        put(&mut core, PARENT, b"other", n);
    }
    assert!(pin.is_expired());
    assert!(core.index_mut().stats().held_bytes < 20_000 && !core.has_forks());
}

#[test]
fn a_version_that_is_retained_keeps_its_time_to_live() {
    let mut core = new_core();
    create(&mut core, PARENT, None);
    let until = Some(Timestamp(i64::MAX - 1));
    core.put(PARENT, Tag::Kv, b"k", Value::from(1), until, Condition::Any).unwrap();
    create(&mut core, fork_id(1), Some(PARENT));
    put(&mut core, PARENT, b"k", 2);
    let now = core.version();
    let [entry] = &core.checkpoint_retained(None, now).entries[..] else { panic!("one is retained") };
    assert_eq!((entry.expires_at, &entry.value), (until, &Some(Value::from(1))));
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    assert_eq!(CheckpointItem::decode(&bytes).unwrap(), CheckpointItem::Retained(entry.clone()));
    for len in 17..bytes.len() {
        CheckpointItem::decode(&bytes[..len]).expect_err("is cut short");
    }
}

#[test]
fn pages_of_what_is_retained_tell_everything_once() {
    let mut core = new_core();
    create(&mut core, PARENT, None);
    let keys: Vec<_> = (0..3 * PAGE_KEYS as u32 + 7).map(|n| n.to_be_bytes().to_vec()).collect();
    keys.iter().for_each(|key| put(&mut core, PARENT, key, 1));
    create(&mut core, fork_id(1), Some(PARENT));
    keys.iter().for_each(|key| put(&mut core, PARENT, key, 2));
    let now = core.version();
    let told: Vec<_> = retained(&mut core, now).into_iter().map(|(key, ..)| key).collect();
    assert!(told.iter().eq(keys.iter()), "{} of them", told.len());
}

#[test]
fn a_fork_of_no_run_or_of_too_many_is_refused() {
    let item = |links: usize| {
        let link =
            ForkLink { parent: PARENT, version: Version(3), events: 1, hash: [7; HASH_BYTES], seen: 1 };
        let mut bytes = Vec::new();
        ForkItem { run: fork_id(1), links: vec![link; links] }.encode(&mut bytes);
        CheckpointItem::decode(&bytes).map(|_| ())
    };
    item(1).unwrap();
    item(MAX_FORK_DEPTH).unwrap();
    for links in [0, MAX_FORK_DEPTH + 1] {
        let refused = item(links).expect_err("is refused").to_string();
        assert!(refused.contains("no fork goes on from so many runs"), "{refused}");
    }
}

/// Salvage reads what there is in any order, and some of it twice.
#[test]
fn what_was_loaded_is_not_loaded_twice() {
    let mut core = new_core();
    create(&mut core, PARENT, None);
    put(&mut core, PARENT, b"k", 1);
    create(&mut core, fork_id(1), Some(PARENT));
    put(&mut core, PARENT, b"k", 2);
    let now = core.version();
    let [fork] = &core.checkpoint_forks(None, 9, now).0[..] else { panic!("one fork") };
    assert!(!core.load_fork(fork), "it is one already");
    let [entry] = &core.checkpoint_retained(None, now).entries[..] else { panic!("one is retained") };
    assert!(!core.load_retained(entry.clone()), "a newer one is there");
    assert_eq!(core.checkpoint_forks(None, 9, now).0, std::slice::from_ref(fork));
    // A fork of which the rest is lost is none, and what was kept for it is let go.
    let mut saved = new_core();
    saved.begin_recovery();
    assert!(saved.load_fork(fork) && saved.load_retained(entry.clone()));
    saved.loaded(now, Timestamp(1));
    saved.end_recovery();
    assert_eq!(saved.checkpoint_forks(None, 9, now).0, []);
    assert_eq!(retained(&mut saved, now), []);
}
