//! Reply slots: an answer is seen whole, an abandoned slot is reused only when both sides are done with it.
#![cfg(inmem_loom)]

use in_mem_shard::turn::slot::{Slots, Waiter};
use loom::sync::Arc;

/// Asker polls, registers, parks; answerer answers.
#[test]
fn answer_and_wait() {
    loom::model(|| {
        let slots = Arc::new(Slots::<Box<u64>>::new(2));
        let at = slots.allocate().unwrap();
        let answerer = {
            let slots = slots.clone();
            loom::thread::spawn(move || {
                slots.fill(at, Box::new(7));
                if let Some(waiter) = slots.publish(at) {
                    waiter.wake();
                }
            })
        };
        while !slots.is_ready(at) && slots.register(at, Waiter::Thread(in_mem_shard::sync::current())) {
            in_mem_shard::sync::park();
        }
        assert_eq!(*slots.take(at), 7);
        answerer.join().unwrap();
    });
}

/// The asker's time runs out while the answer is on its way; the next command gets its own answer, not that one.
#[test]
fn abandoned_and_reused() {
    loom::model(|| {
        let slots = Arc::new(Slots::<Box<u64>>::new(2));
        let first = slots.allocate().unwrap();
        let answerer = {
            let slots = slots.clone();
            loom::thread::spawn(move || {
                slots.fill(first, Box::new(1));
                if let Some(waiter) = slots.publish(first) {
                    waiter.wake();
                }
            })
        };
        if slots.is_ready(first) {
            assert_eq!(*slots.take(first), 1);
        } else {
            slots.abandon(first);
        }
        let second = slots.allocate().unwrap();
        assert!(!slots.is_ready(second), "a reused slot shows the answer to another command");
        slots.fill(second, Box::new(2));
        assert!(slots.publish(second).is_none());
        assert_eq!(*slots.take(second), 2);
        answerer.join().unwrap();
    });
}

/// A registered asker that goes away, against the answer.
#[test]
fn registered_then_abandoned() {
    loom::model(|| {
        let slots = Arc::new(Slots::<Box<u64>>::new(2));
        let at = slots.allocate().unwrap();
        let answerer = {
            let slots = slots.clone();
            loom::thread::spawn(move || {
                slots.fill(at, Box::new(1));
                if let Some(waiter) = slots.publish(at) {
                    waiter.wake();
                }
            })
        };
        if slots.register(at, Waiter::Thread(in_mem_shard::sync::current())) {
            slots.abandon(at);
        } else {
            assert_eq!(*slots.take(at), 1);
        }
        answerer.join().unwrap();
        // Both slots are free again, whoever was last.
        let (a, b) = (slots.allocate().unwrap(), slots.allocate().unwrap());
        slots.give_back(a);
        slots.give_back(b);
    });
}

/// Two threads allocate and free: no slot is given to two.
#[test]
fn the_free_list_gives_each_slot_once() {
    loom::model(|| {
        let slots = Arc::new(Slots::<u64>::new(2));
        let work = |slots: Arc<Slots<u64>>, number: u64| {
            let at = slots.allocate().unwrap();
            slots.fill(at, number);
            assert!(slots.publish(at).is_none());
            assert_eq!(slots.take(at), number);
        };
        let other = {
            let slots = slots.clone();
            loom::thread::spawn(move || work(slots, 1))
        };
        work(slots, 2);
        other.join().unwrap();
    });
}
