//! What callers are promised besides order: typed refusals instead of deadlocks, and an answer to everything accepted.

mod turn_common;

use in_mem_shard::turn::{CallError, CloseError, Execution, Options, Shard, SubmitError, Ticket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;
use turn_common::{Command, Disk, List, block_on};

fn start(options: Options) -> (Arc<Shard<List>>, Arc<Disk>) {
    let core = List::default();
    let disk = Arc::clone(&core.disk);
    (Arc::new(Shard::start(core, options).unwrap()), disk)
}

fn both() -> [Options; 2] {
    [Options::default(), Options { execution: Execution::Pinned, ..Options::default() }]
}

/// Keeps the shard inside a turn until the sender is dropped or used. Returns once it is inside.
fn occupy(shard: &Arc<Shard<List>>) -> (mpsc::Sender<()>, std::thread::JoinHandle<Result<u64, CallError>>) {
    let (release, released) = mpsc::channel();
    let inside = Arc::new(Barrier::new(2));
    let thread = std::thread::spawn({
        let (shard, inside) = (Arc::clone(shard), Arc::clone(&inside));
        move || {
            let run = move || {
                inside.wait();
                let _ = released.recv();
            };
            shard.call(Command::Run(Box::new(run)), None)
        }
    });
    inside.wait();
    (release, thread)
}

#[test]
fn a_thread_inside_a_turn_is_refused() {
    for options in both() {
        let (shard, _) = start(options);
        let inner = Arc::clone(&shard);
        let (answers, seen) = mpsc::channel();
        let run = move || {
            answers.send(inner.call(Command::Add(0, 0), None).unwrap_err()).unwrap();
            answers.send(inner.submit(Command::Add(0, 0), None).unwrap_err().into()).unwrap();
            answers.send(inner.wait_durable(Ticket(99)).unwrap_err()).unwrap();
            assert!(inner.try_inline(|_| ()).is_err());
            assert_eq!(inner.close().unwrap_err(), CloseError::Reentrant);
        };
        shard.call(Command::Run(Box::new(run)), None).unwrap();
        assert_eq!(seen.iter().collect::<Vec<_>>(), [CallError::Reentrant; 3]);
        // The mark is gone.
        assert_eq!(shard.call(Command::Add(0, 0), None), Ok(1));
    }
}

/// The pinned home thread read the clock and then spun for commands, which ran at the time from before they were sent.
#[test]
fn a_turns_time_is_not_older_than_its_commands() {
    for execution in [Execution::Inline, Execution::Pinned] {
        let list = List::default();
        let clock = list.clock.clone();
        // The home thread spins for long, and this one leaves the spinning to it.
        let options = Options { execution, spin_limit_pauses: 1_000_000, ..Options::default() };
        let shard = Shard::start(list, options).unwrap();
        for time in 1..500 {
            clock.store(time, SeqCst);
            let mut asked = shard.submit(Command::Time, None).unwrap();
            let answer = loop {
                if let Some(answer) = asked.try_take() {
                    break answer;
                }
                std::thread::yield_now();
            };
            assert_eq!(answer, Ok(time), "{execution:?}");
        }
    }
}

#[test]
fn a_panic_poisons_and_answers_everybody() {
    for options in both() {
        let (shard, _) = start(options);
        let (release, occupant) = occupy(&shard);
        let victim = shard.submit(Command::Panic, None).unwrap();
        let after = shard.submit(Command::Add(0, 0), None).unwrap();
        release.send(()).unwrap();
        // What panicked may have been logged before it did; what came behind it was not run.
        assert_eq!(victim.wait(), Err(CallError::OutcomeUnknown));
        assert_eq!(after.wait(), Err(CallError::Poisoned));
        let _ = occupant.join(); // inline, the panic comes out of the holder's call
        assert!(shard.is_poisoned());
        assert_eq!(shard.call(Command::Add(0, 0), None), Err(CallError::Poisoned));
        assert_eq!(shard.submit(Command::Add(0, 0), None).unwrap_err(), SubmitError::Poisoned);
        assert!(shard.try_inline(|_| ()).is_err());
        shard.close().unwrap();
    }
}

#[test]
fn a_panic_in_an_inline_closure_releases_the_turn() {
    let (shard, _) = start(Options::default());
    let waiting = shard.submit(Command::AddSynced(0, 0), None).unwrap();
    drop(waiting);
    assert!(catch_unwind(AssertUnwindSafe(|| shard.try_inline(|_| panic!("asked to")))).is_err());
    assert_eq!(shard.call(Command::Add(0, 0), None), Err(CallError::Poisoned));
    shard.close().unwrap();
}

#[test]
fn a_full_inbox_is_busy_or_a_wait() {
    for options in both() {
        let (shard, _) = start(Options { inbox_capacity: 1, ..options });
        let (release, occupant) = occupy(&shard);
        let first = shard.submit(Command::Add(0, 0), Some(Duration::ZERO)).unwrap();
        assert_eq!(shard.submit(Command::Add(0, 1), Some(Duration::ZERO)).unwrap_err(), SubmitError::Busy);
        assert_eq!(shard.call(Command::Add(0, 1), Some(Duration::from_millis(3))), Err(CallError::Busy));
        let waiting = std::thread::spawn({
            let shard = Arc::clone(&shard);
            move || shard.call(Command::Add(0, 1), None)
        });
        release.send(()).unwrap();
        assert_eq!(first.wait(), Ok(1));
        assert_eq!(waiting.join().unwrap(), Ok(2));
        occupant.join().unwrap().unwrap();
    }
}

#[test]
fn a_deadline_passes_without_losing_the_command() {
    for options in both() {
        let (shard, _) = start(options);
        let (release, occupant) = occupy(&shard);
        assert_eq!(shard.call(Command::Add(0, 0), Some(Duration::from_millis(2))), Err(CallError::TimedOut));
        let mut pending = shard.submit(Command::Add(0, 1), None).unwrap();
        assert!(pending.wait_timeout(Duration::from_millis(2)).is_none());
        assert!(pending.try_take().is_none());
        release.send(()).unwrap();
        assert_eq!(pending.wait_timeout(Duration::from_secs(60)), Some(Ok(2)));
        assert_eq!(pending.try_take(), Some(Err(CallError::Taken)));
        occupant.join().unwrap().unwrap();
        assert_eq!(shard.close().unwrap().items, [(0, 0), (0, 1)]);
    }
}

#[test]
fn close_answers_everything_and_refuses_the_rest() {
    for options in both() {
        let (shard, disk) = start(options);
        let threads: Vec<_> = (0..4)
            .map(|sender| {
                let shard = Arc::clone(&shard);
                std::thread::spawn(move || {
                    let mut ran = 0;
                    for number in 0.. {
                        let answer = match number % 2 {
                            0 => shard.call(Command::AddSynced(sender, number), None),
                            _ => match shard.submit(Command::AddSynced(sender, number), None) {
                                Ok(pending) => pending.wait(),
                                Err(refused) => Err(refused.into()),
                            },
                        };
                        match answer {
                            Ok(_) => ran += 1,
                            Err(error) => {
                                assert_eq!(error, CallError::Closed);
                                break;
                            }
                        }
                    }
                    ran
                })
            })
            .collect();
        while shard.stats().turns_inline + shard.stats().turns_home < 50 {
            std::thread::yield_now();
        }
        let core = shard.close().unwrap();
        let answered: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(core.items.len(), answered, "what was refused was not run, what was run was answered");
        assert_eq!(disk.synced.load(SeqCst), core.lsn);
        assert_eq!(shard.close().unwrap_err(), CloseError::Closed);
        assert_eq!(shard.call(Command::Add(0, 0), None), Err(CallError::Closed));
        assert!(shard.try_inline(|_| ()).is_err());
        assert_eq!(shard.sync(), Err(CallError::Closed));
    }
}

#[test]
fn a_failed_sync_leaves_outcomes_unknown_and_reads_alive() {
    for options in both() {
        let (shard, disk) = start(options);
        assert_eq!(shard.call(Command::AddSynced(0, 0), None), Ok(1));
        disk.fails.store(true, SeqCst);
        assert_eq!(shard.call(Command::AddSynced(0, 1), None), Err(CallError::OutcomeUnknown));
        assert_eq!(
            shard.submit(Command::AddSynced(0, 2), None).unwrap().wait(),
            Err(CallError::OutcomeUnknown)
        );
        assert_eq!(
            block_on(shard.submit(Command::AddSynced(0, 3), None).unwrap()),
            Err(CallError::OutcomeUnknown)
        );
        assert_eq!(shard.call(Command::Add(0, 4), None), Ok(5));
        assert!(shard.has_sync_failed() && !shard.is_poisoned());
        shard.close().unwrap();
    }
}

#[test]
fn awaiting_needs_nobody_to_block() {
    for options in both() {
        let (shard, disk) = start(options);
        for number in 0..200 {
            let pending = shard.submit(Command::AddSynced(0, number), None).unwrap();
            let lsn = block_on(pending).unwrap();
            assert!(disk.synced.load(SeqCst) >= lsn, "answered before it was synced");
        }
    }
}

#[test]
fn a_dropped_pending_becomes_durable() {
    for options in both() {
        let (shard, disk) = start(options);
        drop(shard.submit(Command::AddSynced(0, 0), None).unwrap());
        while disk.synced.load(SeqCst) < 1 {
            std::thread::yield_now(); // hangs if nobody leads
        }
        let ticket = shard.try_inline(|list| {
            list.lsn += 1;
            Ticket(list.lsn)
        });
        if let Ok(ticket) = ticket {
            shard.ensure_durable(ticket);
            while !shard.is_durable(ticket) {
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn one_sync_serves_a_batch() {
    for options in both() {
        let (shard, disk) = start(options);
        let (release, occupant) = occupy(&shard);
        let pending: Vec<_> =
            (0..40).map(|number| shard.submit(Command::AddSynced(0, number), None).unwrap()).collect();
        release.send(()).unwrap();
        for pending in pending {
            pending.wait().unwrap();
        }
        occupant.join().unwrap().unwrap();
        assert!(disk.syncs.load(SeqCst) <= 2, "{} syncs for one batch", disk.syncs.load(SeqCst));
    }
}

#[test]
fn the_interval_syncs_what_nobody_waits_for() {
    for options in both() {
        let (shard, disk) = start(Options { sync_interval_ms: Some(1), ..options });
        let (sent, received) = mpsc::channel();
        let run = move || sent.send(()).unwrap();
        shard.call(Command::Run(Box::new(run)), None).unwrap();
        received.recv().unwrap();
        let _ = shard.try_inline(|list| list.lsn = 7); // as a buffered write: logged, no ticket
        let lsn =
            if shard.is_durable(Ticket(7)) { 0 } else { shard.try_inline(|list| list.lsn).unwrap_or(0) };
        while disk.synced.load(SeqCst) < lsn {
            std::thread::yield_now();
        }
    }
}

#[test]
fn sync_by_hand_makes_everything_durable() {
    for options in both() {
        let (shard, disk) = start(options);
        for number in 0..100 {
            drop(shard.submit(Command::AddSynced(0, number), None).unwrap());
        }
        shard.call(Command::Add(0, 100), None).unwrap();
        shard.sync().unwrap();
        assert!(disk.synced.load(SeqCst) >= 100);
    }
}

#[test]
fn step_does_the_home_threads_work() {
    let core = List { expire: 600, ..List::default() };
    let disk = Arc::clone(&core.disk);
    let shard = Shard::start(core, Options { background: false, ..Options::default() }).unwrap();
    let pending = shard.submit(Command::AddSynced(0, 0), None).unwrap();
    assert_eq!(disk.syncs.load(SeqCst), 0, "nothing happens by itself");
    assert!(shard.step().more);
    assert_eq!(disk.syncs.load(SeqCst), 1);
    assert!(shard.step().more);
    assert!(!shard.step().more);
    assert_eq!(pending.wait(), Ok(1));
}

#[test]
fn the_home_thread_does_maintenance_in_bounded_turns() {
    for options in both() {
        let core = List { expire: 10_000, ..List::default() };
        let shard = Shard::start(core, Options { maintain_budget_ops: 100, ..options }).unwrap();
        while shard.stats().turns_home < 1 {
            std::thread::yield_now();
        }
        let _ = shard.call(Command::Add(0, 0), None).unwrap();
        shard.close().unwrap();
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |options| Shard::start(List::default(), options).is_err();
    assert!(refused(Options { inbox_capacity: 0, ..Options::default() }));
    assert!(refused(Options { help_limit_ops: 0, ..Options::default() }));
    assert!(refused(Options { background: false, execution: Execution::Pinned, ..Options::default() }));
}
