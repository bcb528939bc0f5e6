//! What a second thread adds, or takes away.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use in_mem::{Execution, Run};

use super::Figures;
use crate::figure::Limit;
use crate::scale::Scale;
use crate::subject::{Key, any, filled, fresh, in_memory, two_runs};
use crate::timing::{Series, nanos};

pub(super) fn measure(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let operations = scale.thread_operations;
    let sharded = in_memory(Execution::Inline, 2)?;
    let runs = two_runs(&sharded)?;
    for run in &runs {
        keys.iter().try_for_each(|key| run.kv().put(key, fresh()).map(drop))?;
    }
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;

    let [mut puts, mut gets, mut beside]: [Series; 3] = Default::default();
    for round in 0..scale.long_rounds as u64 {
        // Both threads do as much as the one alone did: at best in the same time, for twice the work.
        let one = nanos(operations, || put_some(&runs[0], &keys, round, operations));
        let two =
            both(operations, |thread| put_some(&runs[thread], &keys, round + thread as u64, operations));
        puts.push(2.0 * one / two);

        let one = nanos(operations, || get_some(&run, &keys, round, operations));
        let two = both(operations, |thread| get_some(&run, &keys, round + thread as u64, operations));
        gets.push(2.0 * one / two);

        beside.push(one / beside_a_writer(&run, &keys, round, operations));
    }
    Ok(vec![
        scale.judged("threads.two-write-two-shards/one", puts.median(), "ratio", Limit::AtLeast(1.8)),
        scale.judged("threads.two-read-one-run/one", gets.median(), "ratio", Limit::AtLeast(1.8)),
        scale.judged("threads.read-beside-a-writer/alone", beside.median(), "ratio", Limit::AtLeast(0.7)),
    ])
}

fn put_some(run: &Run, keys: &[Key], seed: u64, operations: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..operations {
        run.kv().put(any(&mut random, keys), fresh()).expect("puts");
    }
}

fn get_some(run: &Run, keys: &[Key], seed: u64, operations: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..operations {
        black_box(run.kv().get(any(&mut random, keys)).expect("reads"));
    }
}

/// What two threads took, until both were done.
fn both(operations: usize, work: impl Fn(usize) + Sync) -> f64 {
    nanos(operations, || {
        std::thread::scope(|scope| {
            scope.spawn(|| work(0));
            work(1);
        });
    })
}

fn beside_a_writer(run: &Run, keys: &[Key], seed: u64, operations: usize) -> f64 {
    let (writing, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    // Relaxed: two flags that carry nothing else.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(seed + 99);
            while !stop.load(Ordering::Relaxed) {
                run.kv().put(any(&mut random, keys), fresh()).expect("puts");
                writing.store(true, Ordering::Relaxed);
            }
        });
        while !writing.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        let figure = nanos(operations, || get_some(run, keys, seed, operations));
        stop.store(true, Ordering::Relaxed);
        figure
    })
}
