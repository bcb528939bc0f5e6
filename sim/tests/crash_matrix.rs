//! Crashes at random operations of the disk, also while recovering and while re-routing: never a violation.

use in_mem_sim::{Plan, Scenario};

/// How many seeds of each kind: small here, to be raised by whoever tries harder.
const SEEDS: u64 = 60;

fn run(plan: impl Fn(u64) -> Plan) -> u64 {
    let mut images = 0;
    for seed in 1..=SEEDS {
        match Scenario::new(plan(seed)).run() {
            Ok(report) => images += report.images,
            Err(violation) => {
                panic!("seed {} after {} images: {}", violation.seed, violation.images, violation.what)
            }
        }
    }
    images
}

#[test]
fn strict_loses_nothing_that_was_acknowledged() {
    assert!(run(|seed| Plan { seed, ..Plan::default() }) >= SEEDS);
}

#[test]
fn buffered_loses_at_most_what_was_not_synced() {
    run(|seed| Plan { seed, strict: false, ..Plan::default() });
}

#[test]
fn buffered_loses_nothing_to_a_killed_process() {
    run(|seed| Plan { seed, strict: false, kill: true, ..Plan::default() });
}

#[test]
fn kept_history_changes_nothing_of_it() {
    run(|seed| Plan { seed, keep_history: true, ..Plan::default() });
}

#[test]
fn the_same_seed_gives_the_same_life() {
    for strict in [true, false] {
        let life =
            || Scenario::new(Plan { seed: 11, strict, ..Plan::default() }).run().expect("no violation");
        assert_eq!(life(), life());
    }
}
