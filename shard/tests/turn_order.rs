//! Every command is run exactly once, each sender's in its order, whichever way it went in.

mod turn_common;

use in_mem_shard::turn::{Execution, Handover, Options, Shard};
use std::sync::Arc;
use turn_common::{Command, List, assert_fifo_once, block_on};

fn stress(options: Options, senders: u64, each: u64, synced: bool) {
    let execution = options.execution;
    let shard = Arc::new(Shard::start(List::default(), options).unwrap());
    let threads: Vec<_> = (0..senders)
        .map(|sender| {
            let shard = Arc::clone(&shard);
            std::thread::spawn(move || {
                let mut pending = Vec::new();
                for number in 0..each {
                    let command = || match synced && number % 3 != 0 {
                        true => Command::AddSynced(sender, number),
                        false => Command::Add(sender, number),
                    };
                    match (number / 7 + sender) % 5 {
                        0 => {
                            shard.call(command(), None).unwrap();
                        }
                        1 => pending.push(shard.submit(command(), None).unwrap()),
                        2 => drop(shard.submit(command(), None).unwrap()),
                        3 if number % 2 == 0 => {
                            block_on(shard.submit(command(), None).unwrap()).unwrap();
                        }
                        _ => {
                            let inline = shard.try_inline(|list| list.items.push((sender, number)));
                            if inline.is_err() {
                                shard.call(command(), None).unwrap();
                            }
                        }
                    }
                    if pending.len() == 16 {
                        for pending in pending.drain(..) {
                            pending.wait().unwrap();
                        }
                    }
                }
                for pending in pending {
                    pending.wait().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let core = shard.close().unwrap();
    assert_fifo_once(&core.items, senders, each);
    assert_eq!(core.disk.synced.load(std::sync::atomic::Ordering::SeqCst), core.lsn, "{execution:?}");
}

#[test]
fn inline_keeps_order() {
    stress(Options::default(), 4, 20_000, false);
}

#[test]
fn inline_keeps_order_with_a_tiny_inbox_and_little_help() {
    stress(
        Options { inbox_capacity: 2, help_limit_ops: 1, batch_limit_ops: 1, ..Options::default() },
        4,
        5_000,
        false,
    );
}

#[test]
fn inline_keeps_order_without_spinning() {
    stress(Options { spin_limit_pauses: 0, ..Options::default() }, 3, 5_000, true);
}

#[test]
fn inline_keeps_order_when_synced() {
    stress(Options::default(), 4, 5_000, true);
}

#[test]
fn inline_keeps_order_when_the_home_thread_leads() {
    stress(Options { handover: Handover::Home, ..Options::default() }, 4, 5_000, true);
}

#[test]
fn inline_keeps_order_without_a_home_thread() {
    stress(Options { background: false, ..Options::default() }, 1, 1_000, false);
}

#[test]
fn pinned_keeps_order() {
    stress(Options { execution: Execution::Pinned, ..Options::default() }, 4, 20_000, false);
}

#[test]
fn pinned_keeps_order_with_a_tiny_inbox() {
    let options =
        Options { execution: Execution::Pinned, inbox_capacity: 1, batch_limit_ops: 1, ..Options::default() };
    stress(options, 3, 3_000, true);
}

#[test]
fn pinned_keeps_order_when_synced() {
    stress(Options { execution: Execution::Pinned, ..Options::default() }, 4, 5_000, true);
}
