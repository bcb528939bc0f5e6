//! Every operation of a scripted life fails once: whatever the answer, it is true.

use in_mem_sim::{FaultPlan, live_with_fault};
use in_mem_wal::storage::sim::{FaultKind, OpKind};

/// One operation in so many is tried here; with 1, all of them.
const STRIDE: usize = 7;

fn try_all(strict: bool, kind: FaultKind, only: Option<OpKind>, sticky: bool) {
    let plan = |at| FaultPlan { seed: 5, strict, at, kind, only, sticky };
    let sound = live_with_fault(plan(u64::MAX)).expect("no violation on a sound disk");
    assert_eq!(sound.errors, 0);
    assert!(sound.acknowledged > 10);
    let mut noticed = 0;
    for at in (1..sound.ops).step_by(STRIDE) {
        match live_with_fault(plan(at)) {
            Ok(report) => noticed += u64::from(report.errors > 0),
            Err(violation) => panic!("operation {at} failing with {kind:?}: {}", violation.what),
        }
    }
    assert!(noticed > 0, "a fault that nobody notices tests nothing");
}

#[test]
fn an_error_once() {
    for strict in [true, false] {
        try_all(strict, FaultKind::Eio, None, false);
    }
}

#[test]
fn a_disk_that_is_gone() {
    for strict in [true, false] {
        try_all(strict, FaultKind::Eio, None, true);
    }
}

#[test]
fn a_sync_that_fails() {
    for strict in [true, false] {
        try_all(strict, FaultKind::Eio, Some(OpKind::Sync), false);
    }
}

#[test]
fn a_full_disk() {
    for strict in [true, false] {
        try_all(strict, FaultKind::Enospc, Some(OpKind::Write), true);
        try_all(strict, FaultKind::Enospc, Some(OpKind::Write), false);
    }
}
