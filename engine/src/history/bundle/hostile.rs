//! Bundles whose sums are right and whose content is not: what a run never is must not get into the log by them.

use std::collections::BTreeMap;
use std::sync::Arc;

use in_mem_model::Value;
use in_mem_shard::core::fork::MAX_FORK_DEPTH;
use in_mem_shard::core::run_meta::{ForkPoint, RunMeta, RunStatus};

use super::proof::chain_of;
use super::*;
use crate::history::commits::{Commit, KeyChange};
use crate::history::timeline::{Point, Timeline, View};

const ID: RunId = RunId::from_bytes([1; 16]);
const OTHER: RunId = RunId::from_bytes([2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1]);

fn meta(id: RunId, first_version: u64) -> RunMeta {
    RunMeta { first_version: Version(first_version), ..RunMeta::new(id, "x") }
}

fn change(run: RunId, tag: Tag, key: &[u8], value: Value) -> ImportedChange {
    ImportedChange { run, tag, key: KeyBytes::new(key), value: Some(value), expires_at: None }
}

fn begins(meta: &RunMeta, id: RunId) -> ImportedChange {
    change(id, Tag::Run, b"", meta.to_value())
}

fn event(head: &mut ChainHead, sequence: u64) -> ImportedChange {
    let mut body = Vec::new();
    event::pack_body("e", None, None, &Value::from(1), &mut body);
    let (value, hash) =
        event::seal(&ChainHead { len: sequence, ..*head }, Timestamp(1), None, &body, &mut Vec::new());
    *head = ChainHead { len: sequence.wrapping_add(1), hash };
    change(ID, Tag::Event, &event::event_key(sequence), value)
}

/// A bundle of these commits, one of each list of changes, with the digests and heads that they come to.
fn bundle(commits: Vec<Vec<ImportedChange>>) -> Vec<u8> {
    let commits: Vec<BundledCommit> = (1..)
        .zip(commits)
        .map(|(version, changes)| BundledCommit {
            version: Version(version),
            timestamp: Timestamp(1),
            changes,
        })
        .collect();
    let ids: BTreeMap<RunId, ()> = commits.iter().flat_map(|c| &c.changes).map(|c| (c.run, ())).collect();
    let run = |id: RunId| {
        let own = commits.iter().filter(|commit| commit.changes.iter().any(|change| change.run == id));
        let own: Vec<Commit> = own
            .map(|commit| Commit {
                version: commit.version,
                timestamp: commit.timestamp,
                changes: commit
                    .changes
                    .iter()
                    .filter(|change| change.run == id)
                    .cloned()
                    .map(|ImportedChange { tag, key, value, expires_at, .. }| KeyChange {
                        tag,
                        key,
                        value,
                        expires_at,
                    })
                    .collect(),
                dropped: false,
            })
            .collect();
        let view = View::new(Arc::new(Timeline::from_commits(id, &own, None)), Point::Now).expect("a state");
        BundledRun { id, head: chain_of(&view).unwrap_or_default(), content: view.digest().content }
    };
    let runs = ids.into_keys().map(run).collect();
    Bundle { runs, commits }.encode(super::MAX_BUNDLE_BODY_BYTES).expect("small")
}

fn refused(commits: Vec<Vec<ImportedChange>>) -> String {
    match Bundle::read(&bundle(commits)) {
        Err(BundleError::Damaged { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_these_tests_bend_is_sound() {
    let mut head = ChainHead::default();
    let child = RunMeta { parent: Some(ID), ..meta(OTHER, 2) };
    let sound = vec![
        vec![begins(&meta(ID, 1), ID), event(&mut head, 0)],
        vec![begins(&child, OTHER), event(&mut head, 1)],
        vec![begins(&RunMeta { status: RunStatus::Completed, ..meta(ID, 1) }, ID)],
    ];
    Bundle::read(&bundle(sound)).expect("sound");
}

/// An export of them would have gone round for ever.
#[test]
fn runs_that_began_each_other_are_refused() {
    let child_of = |id: RunId, parent: RunId, first| RunMeta { parent: Some(parent), ..meta(id, first) };
    let own_child = vec![vec![begins(&child_of(ID, ID, 1), ID)]];
    assert!(refused(own_child).contains("began"), "a run that began itself");
    let circle =
        vec![vec![begins(&child_of(ID, OTHER, 1), ID)], vec![begins(&child_of(OTHER, ID, 2), OTHER)]];
    assert!(refused(circle).contains("began"), "two that began each other");
    let later = vec![vec![begins(&meta(ID, 1), ID)], vec![begins(&child_of(ID, ID, 1), ID)]];
    assert!(refused(later).contains("another origin"), "one that says so later");
}

/// What is known of a run would have been deleted when its time came, and the shard had a run that nobody could find.
#[test]
fn nothing_but_pairs_expires() {
    for tag in [Tag::Run, Tag::Event, Tag::State, Tag::Trace] {
        let mut commit = vec![begins(&meta(ID, 1), ID), event(&mut ChainHead::default(), 0)];
        commit.push(change(ID, Tag::State, b"s", Value::from(1)));
        commit.push(change(ID, Tag::Trace, b"t", Value::from(1)));
        let on = commit.iter_mut().find(|change| change.tag == tag).expect("one of each");
        on.expires_at = Some(Timestamp(1_000));
        assert!(refused(vec![commit]).contains("time to live"), "{tag}");
    }
}

/// The shard counts the events as they come: its chain would have gone on from another end than the bundle's.
#[test]
fn events_that_do_not_come_one_after_the_other_are_refused() {
    let first = || vec![begins(&meta(ID, 1), ID), event(&mut ChainHead::default(), 0)];
    let gone = |sequence| ImportedChange { value: None, ..event(&mut ChainHead::default(), sequence) };
    let last = u64::MAX;
    let far = vec![first(), vec![event(&mut ChainHead::default(), last)], vec![gone(last)]];
    assert!(refused(far).contains("order"), "a number that none has");
    let twice = vec![first(), vec![event(&mut ChainHead::default(), 0)]];
    assert!(refused(twice).contains("order"), "one that is there already");
}

/// Each level is a call when a state is read: a few kilobytes could have ended the process.
#[test]
fn forks_of_forks_beyond_the_limit_are_refused() {
    let id = |n: usize| RunId::from_bytes([u8::try_from(n).expect("few"); 16]).with_routing(ID.routing());
    let fork = |n: usize| {
        let from = n.checked_sub(1).map(|above| ForkPoint { run: id(above), version: Version(n as u64) });
        let meta = RunMeta { forked_from: from, ..meta(id(n), n as u64 + 1) };
        vec![begins(&meta, id(n))]
    };
    Bundle::read(&bundle((0..=MAX_FORK_DEPTH).map(fork).collect())).expect("as deep as may be");
    assert!(refused((0..=MAX_FORK_DEPTH + 1).map(fork).collect()).contains("fork"));
}

/// Elsewhere a commit may have what it likes: here it has what one may have, or the whole bundle is refused.
#[test]
fn a_commit_larger_than_one_may_be_is_refused() {
    use in_mem_model::limits::{MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS};
    let put = |n: usize, value: Value| change(ID, Tag::Kv, &n.to_be_bytes(), value);
    let read = |puts: Vec<ImportedChange>| {
        let changes = std::iter::once(begins(&meta(ID, 1), ID)).chain(puts).collect();
        Bundle::read(&bundle(vec![changes]))
    };
    let many = |count| (0..count).map(|n| put(n, Value::Null)).collect();
    let large = |more: usize| {
        let each = MAX_TRANSACTION_BYTES / 4;
        // A key has 8 bytes, a value of this size 6 more than its content.
        (0..4).map(|n| put(n, Value::from(vec![0u8; each - 14 + if n == 3 { more } else { 0 }]))).collect()
    };
    read(many(MAX_TRANSACTION_OPS)).expect("is as many as may be");
    read(large(0)).expect("is as large as may be");
    for (changes, over) in
        [(many(MAX_TRANSACTION_OPS + 1), MAX_TRANSACTION_OPS + 1), (large(1), MAX_TRANSACTION_BYTES + 1)]
    {
        let refused = read(changes).expect_err("is too large");
        let BundleError::CommitTooLarge { version: Version(1), found, limit, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!((found, limit), (over, over - 1));
    }
}
