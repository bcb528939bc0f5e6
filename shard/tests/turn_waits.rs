//! Waiting for an answer: with a limit, inside a turn, for what never comes, and while the disk fails or panics. Whatever happens,
//! whoever waits is told, and nothing is told to be durable that is not.

mod turn_common;

use in_mem_shard::turn::{CallError, Execution, Maintenance, Options, Pending, Shard, SubmitError, Ticket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use turn_common::{Command, Disk, List, block_on};

fn start(options: Options) -> (Arc<Shard<List>>, Arc<Disk>) {
    let core = List::default();
    let disk = Arc::clone(&core.disk);
    (Arc::new(Shard::start(core, options).unwrap()), disk)
}

fn by_hand() -> Options {
    Options { background: false, ..Options::default() }
}

/// Runs `inside` in a turn, on another thread; what it returns.
fn in_a_turn<R: Send + 'static>(shard: &Shard<List>, inside: impl FnOnce() -> R + Send + 'static) -> R {
    let (sent, received) = mpsc::channel();
    let run = move || sent.send(inside()).unwrap();
    shard.call(Command::Run(Box::new(run)), None).unwrap();
    received.recv().unwrap()
}

#[test]
fn a_limit_on_a_sync_that_another_thread_leads() {
    let (shard, disk) = start(Options::default());
    let busy = disk.hold();
    let leader = std::thread::spawn({
        let shard = Arc::clone(&shard);
        move || shard.call(Command::AddSynced(0, 0), None)
    });
    disk.wait_for_syncs(1);
    // Run here, while the disk is busy with what came before.
    for number in 1..=3 {
        let late = shard.call(Command::AddSynced(0, number), Some(Duration::from_millis(1)));
        assert_eq!(late, Err(CallError::TimedOut));
    }
    let mut pending = shard.submit(Command::AddSynced(0, 4), None).unwrap();
    assert_eq!(pending.wait_timeout(Duration::ZERO), None);
    assert!(!shard.is_durable(Ticket(1)));
    let follower = std::thread::spawn({
        let shard = Arc::clone(&shard);
        move || shard.call(Command::AddSynced(0, 5), Some(Duration::from_secs(600)))
    });
    while shard.stats().parks < 2 {
        std::thread::yield_now();
    }
    drop(busy);
    assert_eq!(leader.join().unwrap(), Ok(1));
    // What nobody waits for any more becomes durable all the same.
    assert_eq!(pending.wait_timeout(Duration::from_secs(600)), Some(Ok(5)));
    assert_eq!(follower.join().unwrap(), Ok(6));
    assert!(disk.synced.load(SeqCst) >= 6);
    assert_eq!(shard.close().unwrap().items.len(), 6);
}

/// The leader ends, and the only one that waits has given up: the home thread syncs what it left.
#[test]
fn what_its_waiter_gave_up_is_synced() {
    let (shard, disk) = start(Options::default());
    let busy = disk.hold();
    let leader = std::thread::spawn({
        let shard = Arc::clone(&shard);
        move || shard.call(Command::AddSynced(0, 0), None)
    });
    disk.wait_for_syncs(1);
    let late = shard.call(Command::AddSynced(0, 1), Some(Duration::ZERO));
    assert_eq!(late, Err(CallError::TimedOut));
    drop(busy);
    assert_eq!(leader.join().unwrap(), Ok(1));
    while disk.synced.load(SeqCst) < 2 {
        std::thread::yield_now(); // hangs if nobody leads
    }
}

#[test]
fn inside_a_turn_nothing_is_waited_for() {
    let (shard, disk) = start(Options::default());
    let busy = disk.hold();
    let leader = std::thread::spawn({
        let shard = Arc::clone(&shard);
        move || shard.call(Command::AddSynced(0, 0), None)
    });
    disk.wait_for_syncs(1);
    // One that was run, and one that is in the inbox of a shard whose turn is taken, namely by this thread.
    let run = shard.submit(Command::AddSynced(0, 1), None).unwrap();
    assert_eq!(format!("{run:?}"), "Pending(run)");
    let inside = Arc::clone(&shard);
    let (release, released) = mpsc::channel::<Pending<List>>();
    let (sent, received) = mpsc::channel();
    let holder = std::thread::spawn({
        let shard = Arc::clone(&shard);
        move || {
            in_a_turn(&shard, move || {
                sent.send(()).unwrap();
                let enqueued = released.recv().unwrap();
                assert_eq!(format!("{enqueued:?}"), "Pending(enqueued)");
                assert_eq!(inside.sync(), Err(CallError::Reentrant));
                assert_eq!(inside.step(), Maintenance::default());
                [run.wait(), enqueued.wait()]
            })
        }
    });
    received.recv().unwrap();
    release.send(shard.submit(Command::Add(0, 2), None).unwrap()).unwrap();
    assert_eq!(holder.join().unwrap(), [Err(CallError::Reentrant); 2]);
    drop(busy);
    assert_eq!(leader.join().unwrap(), Ok(1));
    // They were run all the same.
    assert_eq!(shard.close().unwrap().items, [(0, 0), (0, 1), (0, 2)]);
}

#[test]
fn an_answer_is_given_once() {
    let (shard, _) = start(by_hand());
    let mut taken = shard.submit(Command::Add(0, 0), None).unwrap();
    assert_eq!(taken.try_take(), Some(Ok(1)));
    assert_eq!(format!("{taken:?}"), "Pending(taken)");
    assert_eq!(taken.wait_timeout(Duration::ZERO), Some(Err(CallError::Taken)));
    assert_eq!(block_on(&mut taken), Err(CallError::Taken));
    assert_eq!(taken.wait(), Err(CallError::Taken));
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// A task that is polled again before its sync, by the same waker or by another, is ready after it.
#[test]
fn a_task_may_be_polled_often() {
    let (shard, disk) = start(by_hand());
    let mut pending = pin!(shard.submit(Command::AddSynced(0, 0), None).unwrap());
    let waker = Waker::from(Arc::new(Nobody));
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert_eq!(pending.as_mut().poll(&mut context), Poll::Pending);
        let other = Waker::from(Arc::new(Nobody));
        assert_eq!(pending.as_mut().poll(&mut Context::from_waker(&other)), Poll::Pending);
        assert_eq!(pending.as_mut().poll(&mut Context::from_waker(&other)), Poll::Pending);
    }
    assert_eq!(disk.syncs.load(SeqCst), 0);
    shard.step();
    assert_eq!(pending.as_mut().poll(&mut context), Poll::Ready(Ok(1)));
    assert_eq!(pending.as_mut().poll(&mut context), Poll::Ready(Err(CallError::Taken)));
}

/// Without a home thread, whoever lets go of the turn syncs what it held back for others who do not wait.
#[test]
fn without_a_home_thread_the_holder_syncs_for_others() {
    let (shard, disk) = start(by_hand());
    let inside = Arc::new(Barrier::new(2));
    let (release, released) = mpsc::channel::<()>();
    let holder = std::thread::spawn({
        let (shard, inside) = (Arc::clone(&shard), Arc::clone(&inside));
        move || {
            in_a_turn(&shard, move || {
                inside.wait();
                let _ = released.recv();
            });
        }
    });
    inside.wait();
    let mut pending = shard.submit(Command::AddSynced(0, 0), None).unwrap();
    drop(release);
    holder.join().unwrap();
    assert_eq!((disk.syncs.load(SeqCst), pending.try_take()), (1, Some(Ok(1))));
}

#[test]
fn step_does_what_is_to_be_done_in_the_background() {
    let core = List { to_prepare: 2, ..List::default() };
    let disk = Arc::clone(&core.disk);
    let shard = Shard::start(core, by_hand()).unwrap();
    assert_eq!(disk.prepared.load(SeqCst), 0);
    for done in [1, 2, 2] {
        shard.step();
        assert_eq!(disk.prepared.load(SeqCst), done);
    }
    shard.close().unwrap();
    assert_eq!(shard.step(), Maintenance::default(), "closed");
}

/// A core that has nothing to sync although a ticket is out: what became of it nobody will ever know, and nobody hangs.
#[test]
fn a_ticket_that_the_log_does_not_know_is_told_unknown() {
    for options in [by_hand(), Options::default()] {
        let (shard, _) = start(options);
        assert_eq!(shard.call(Command::AddSynced(0, 0), None), Ok(1));
        assert_eq!(shard.wait_durable(Ticket(99)), Err(CallError::OutcomeUnknown));
        assert_eq!(shard.wait_durable(Ticket(1)), Ok(()), "it is durable");
        assert_eq!(shard.call(Command::Add(0, 1), None), Ok(2), "and reads go on");
    }
    let (shard, _) = start(by_hand());
    shard.ensure_durable(Ticket(99));
    assert_eq!(shard.close().unwrap().lsn, 0);
    assert_eq!(shard.wait_durable(Ticket(99)), Err(CallError::OutcomeUnknown));
}

#[test]
fn a_panic_while_syncing_leaves_outcomes_unknown() {
    for background in [false, true] {
        let (shard, disk) = start(Options { background, ..Options::default() });
        assert_eq!(shard.call(Command::AddSynced(0, 0), None), Ok(1));
        disk.panics.store(true, SeqCst);
        let led = catch_unwind(AssertUnwindSafe(|| shard.call(Command::AddSynced(0, 1), None)));
        assert!(led.is_err(), "the one who leads has the panic");
        disk.panics.store(false, SeqCst);
        // The job is lost with what it knew; nobody syncs again, and everybody is told.
        assert!(shard.has_sync_failed());
        assert_eq!(shard.call(Command::AddSynced(0, 2), None), Err(CallError::OutcomeUnknown));
        assert_eq!(
            shard.submit(Command::AddSynced(0, 3), None).unwrap().wait(),
            Err(CallError::OutcomeUnknown)
        );
        assert_eq!(shard.wait_durable(Ticket(1)), Ok(()));
        assert_eq!(shard.call(Command::Add(0, 4), None), Ok(5));
        assert_eq!(disk.synced.load(SeqCst), 1);
        shard.close().unwrap();
    }
}

/// More commands than there may be answers that nobody took: the next is refused as busy, and none that was accepted is lost.
#[test]
fn answers_that_nobody_takes_fill_up() {
    let limit = 1_000;
    for execution in [Execution::Inline, Execution::Pinned] {
        let options =
            Options { execution, reply_slots_limit: limit, inbox_capacity: 1 << 14, ..Options::default() };
        let (shard, _) = start(options);
        let (mut before, mut counts) = (0, Vec::new());
        // The answers of the first round are given up, those of the second taken.
        for is_taken in [false, true] {
            let inside = Arc::new(Barrier::new(2));
            let (release, released) = mpsc::channel::<()>();
            let holder = std::thread::spawn({
                let (shard, inside) = (Arc::clone(&shard), Arc::clone(&inside));
                move || {
                    in_a_turn(&shard, move || {
                        inside.wait();
                        let _ = released.recv();
                    });
                }
            });
            inside.wait();
            let mut accepted = Vec::new();
            let refused = loop {
                match shard.submit(Command::Add(0, before + accepted.len() as u64), None) {
                    Ok(pending) => accepted.push(pending),
                    Err(refused) => break refused,
                }
            };
            assert_eq!(refused, SubmitError::Busy);
            let count = accepted.len() as u64;
            assert!((u64::from(limit) - 1..4 * u64::from(limit)).contains(&count), "{count}");
            if !is_taken {
                // What is given up makes no room before it was run.
                accepted.clear();
                assert_eq!(shard.submit(Command::Add(9, 9), None).unwrap_err(), SubmitError::Busy);
            }
            drop(release);
            holder.join().unwrap();
            for (place, pending) in accepted.into_iter().enumerate() {
                assert_eq!(pending.wait(), Ok(before + place as u64 + 1));
            }
            before += count;
            counts.push(count);
            // Behind all of them.
            while shard.submit(Command::Add(0, before), None).map(Pending::wait) != Ok(Ok(before + 1)) {
                std::thread::yield_now();
            }
            before += 1;
        }
        assert_eq!(counts[0], counts[1], "every place is free again");
        turn_common::assert_fifo_once(&shard.close().unwrap().items, 1, before);
    }
}

#[test]
fn what_is_printed_says_how_a_shard_is_driven() {
    let options = Options {
        execution: Execution::Pinned,
        inbox_capacity: 17,
        help_limit_ops: 18,
        batch_limit_ops: 19,
        maintain_budget_ops: 20,
        spin_limit_pauses: 21,
        reply_slots_limit: 22,
        sync_interval_ms: Some(23),
        thread_name: "home-24".to_owned(),
        ..Options::default()
    };
    let text = format!("{options:?}");
    for said in
        ["Pinned", "17", "18", "19", "20", "21", "22", "Some(23)", "Waiter", "background: true", "home-24"]
    {
        assert!(text.contains(said), "{said} in {text}");
    }
    // Without taking the turn: it can be printed from inside one, and while another thread is.
    let (shard, _) = start(Options { execution: Execution::Pinned, ..Options::default() });
    let inside = Arc::clone(&shard);
    let text = in_a_turn(&shard, move || format!("{inside:?} {:?}", inside.try_inline(|_| ()).unwrap_err()));
    assert!(text.contains("Shard") && text.contains("Pinned") && text.ends_with("NotInline"), "{text}");
}
