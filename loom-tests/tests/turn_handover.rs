//! Turn hand-over: no command lost or run twice, each sender's in order, no lost wake-up (loom reports a deadlock).
#![cfg(inmem_loom)]

mod turn_common;

use in_mem_shard::turn::Execution;
use turn_common::{Command, List, start};

/// Two threads meet at an idle shard: each runs its own command or leaves it to the other.
#[test]
fn two_callers() {
    loom::model(|| {
        let shard = start(List::new(), Execution::Inline, false);
        let other = {
            let shard = shard.clone();
            loom::thread::spawn(move || shard.call(Command::Add(1), None).unwrap())
        };
        let mine = shard.call(Command::Add(2), None).unwrap();
        let others = other.join().unwrap();
        assert_eq!(mine + others, 3, "each command was run once, after or before the other");
        assert_eq!(shard.close().unwrap().items.len(), 2);
    });
}

/// A sender's second command, run inline, does not overtake its first, left in the inbox.
#[test]
fn one_senders_order() {
    loom::model(|| {
        let shard = start(List::new(), Execution::Inline, false);
        let other = {
            let shard = shard.clone();
            loom::thread::spawn(move || drop(shard.try_inline(|list| list.items.push(9))))
        };
        let first = shard.submit(Command::Add(1), None).unwrap();
        if shard.try_inline(|list| list.items.push(2)).is_err() {
            shard.call(Command::Add(2), None).unwrap();
        }
        first.wait().unwrap();
        other.join().unwrap();
        let items = shard.close().unwrap().items;
        let of = |item| items.iter().position(|&other| other == item).unwrap();
        assert!(of(1) < of(2), "{items:?}");
        assert_eq!(items.iter().filter(|&&item| item != 9).count(), 2);
    });
}

/// A caller that stops helping with commands left has the home thread come for them.
#[test]
fn leftovers_are_run_by_the_home_thread() {
    loom::model(|| {
        let mut options = turn_common::options(Execution::Inline, true);
        options.help_limit_ops = 1;
        let shard = loom::sync::Arc::new(in_mem_shard::turn::Shard::start(List::new(), options).unwrap());
        let other = {
            let shard = shard.clone();
            loom::thread::spawn(move || drop(shard.submit(Command::Add(1), None).unwrap()))
        };
        assert!(shard.call(Command::Add(2), None).is_ok());
        other.join().unwrap();
        assert_eq!(shard.close().unwrap().items.len(), 2);
    });
}

/// What a caller takes out of the inbox up to its bound it also runs: whose command that is may be waiting, and nobody else comes
/// for it.
#[test]
fn what_is_taken_is_run() {
    loom::model(|| {
        let mut options = turn_common::options(Execution::Inline, true);
        options.help_limit_ops = 1;
        let shard = loom::sync::Arc::new(in_mem_shard::turn::Shard::start(List::new(), options).unwrap());
        let other = {
            let shard = shard.clone();
            loom::thread::spawn(move || shard.call(Command::Add(1), None).unwrap())
        };
        let mine = shard.call(Command::Add(2), None).unwrap();
        assert_eq!(mine + other.join().unwrap(), 3);
        assert_eq!(shard.close().unwrap().items.len(), 2);
    });
}

/// The pinned home thread parks only when nothing is announced.
#[test]
fn pinned_home_thread_sleeps_and_wakes() {
    loom::model(|| {
        let shard = start(List::new(), Execution::Pinned, true);
        assert_eq!(shard.call(Command::Add(1), None), Ok(1));
        assert_eq!(shard.call(Command::Add(2), None), Ok(2));
        assert_eq!(shard.close().unwrap().items, [1, 2]);
    });
}

/// A thread parked for the turn itself (as a sync's leader is) is woken by the release.
#[test]
fn takers_are_woken() {
    loom::model(|| {
        let token = loom::sync::Arc::new(in_mem_shard::turn::token::Token::new());
        let inside = loom::sync::Arc::new(loom::cell::UnsafeCell::new(0));
        let enter = {
            let (token, inside) = (token.clone(), inside.clone());
            move || {
                assert!(token.take().is_some());
                // What the last holder did is seen, and nobody else is inside: loom checks both.
                inside.with_mut(|_| ());
                token.try_release();
            }
        };
        let threads = [loom::thread::spawn(enter.clone()), loom::thread::spawn(enter)];
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
