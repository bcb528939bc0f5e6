//! Group commit: no answer before the sync, and nobody is left waiting without a leader.
#![cfg(inmem_loom)]

mod turn_common;

use in_mem_shard::turn::{Execution, Ticket};
use loom::sync::atomic::Ordering;
use turn_common::{Command, List, start};

/// Two threads commit: whichever leads, no answer comes before its sync.
#[test]
fn two_committers() {
    loom::model(|| {
        let core = List::new();
        let synced = core.synced.clone();
        let shard = start(core, Execution::Inline, false);
        let commit = {
            let (shard, synced) = (shard.clone(), synced.clone());
            move |item| {
                let lsn = shard.call(Command::AddSynced(item), None).unwrap();
                assert!(synced.load(Ordering::Acquire) >= lsn, "answered before it was durable");
            }
        };
        let other = loom::thread::spawn({
            let commit = commit.clone();
            move || commit(1)
        });
        commit(2);
        other.join().unwrap();
        assert_eq!(shard.close().unwrap().items.len(), 2);
    });
}

/// A commit made while another's sync is on its way is made durable by somebody.
#[test]
fn inline_ticket_and_leader() {
    loom::model(|| {
        let core = List::new();
        let synced = core.synced.clone();
        let shard = start(core, Execution::Inline, false);
        let other = {
            let shard = shard.clone();
            loom::thread::spawn(move || {
                let ticket = shard.try_inline(|list| {
                    list.lsn += 1;
                    Ticket(list.lsn)
                });
                if let Ok(ticket) = ticket {
                    shard.wait_durable(ticket).unwrap();
                    assert!(shard.is_durable(ticket));
                }
            })
        };
        let lsn = shard.submit(Command::AddSynced(1), None).unwrap().wait().unwrap();
        assert!(synced.load(Ordering::Acquire) >= lsn);
        other.join().unwrap();
    });
}

/// Nobody waits: the home thread leads.
#[test]
fn a_dropped_pending_is_synced() {
    loom::model(|| {
        let core = List::new();
        let synced = core.synced.clone();
        let shard = start(core, Execution::Inline, true);
        drop(shard.submit(Command::AddSynced(1), None).unwrap());
        while synced.load(Ordering::Acquire) == 0 {
            loom::thread::yield_now();
        }
        drop(shard.close().unwrap());
    });
}
