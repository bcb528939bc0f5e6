//! Shutdown: every accepted command is run and answered, every other refused; nobody is left waiting.
#![cfg(inmem_loom)]

mod turn_common;

use in_mem_shard::turn::{CallError, Execution};
use turn_common::{Command, List, start};

fn race(execution: Execution, background: bool, command: Command) {
    loom::model(move || {
        let shard = start(List::new(), execution, background);
        let other = {
            let shard = shard.clone();
            loom::thread::spawn(move || shard.call(command, None))
        };
        let core = shard.close().unwrap();
        match other.join().unwrap() {
            Ok(_) => assert_eq!(core.items.len(), 1, "answered but not run"),
            Err(error) => {
                assert_eq!(error, CallError::Closed);
                assert!(core.items.is_empty(), "refused but run");
            }
        }
    });
}

#[test]
fn inline_caller_against_close() {
    race(Execution::Inline, false, Command::Add(1));
}

#[test]
fn inline_committer_against_close() {
    race(Execution::Inline, false, Command::AddSynced(1));
}

#[test]
fn pinned_caller_against_close() {
    race(Execution::Pinned, true, Command::Add(1));
}

/// The command is in the inbox, its sender not waiting, while another thread is in the turn.
#[test]
fn pipelined_against_close() {
    loom::model(|| {
        let shard = start(List::new(), Execution::Inline, false);
        let other = {
            let shard = shard.clone();
            loom::thread::spawn(move || match shard.submit(Command::Add(1), None) {
                Ok(pending) => pending.wait(),
                Err(refused) => Err(refused.into()),
            })
        };
        let _ = shard.try_inline(|list| list.items.push(9));
        let core = shard.close().unwrap();
        let ran = core.items.contains(&1);
        assert_eq!(other.join().unwrap().is_ok(), ran);
    });
}

/// A sync by hand that finds the shard open and is too late to be woken by the close.
#[test]
fn sync_against_close() {
    loom::model(|| {
        let shard = start(List::new(), Execution::Inline, false);
        let other = {
            let shard = shard.clone();
            loom::thread::spawn(move || shard.sync())
        };
        shard.close().unwrap();
        assert!(matches!(other.join().unwrap(), Ok(()) | Err(CallError::Closed | CallError::OutcomeUnknown)));
    });
}
