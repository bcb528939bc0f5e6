//! Every operation of a scripted workload fails in turn, in every way: nothing is acknowledged after a failed sync, and
//! whatever was acknowledged is there after a power cut. A full disk is a typed error that passes.

mod common;

use common::*;
use in_mem_wal::storage::sim::{FaultKind, OpKind};
use in_mem_wal::{Disposal, LogError, Mode, ShardLog, SimDisk};

#[derive(Default)]
struct Outcome {
    appended: Vec<usize>,
    acknowledged: usize,
    failed: bool,
}

/// Opens, appends over three segments with syncs, spares, marks and a release, closes.
fn script(disk: &SimDisk, mode: Mode, out: &mut Outcome) -> Result<(), LogError> {
    let (mut log, _, _) = recover(disk, mode)?;
    let mut result = Ok(());
    for n in 1..=60u64 {
        let len = if n == 30 { 9_000 } else { 120 };
        match append(&mut log, n, len) {
            Ok(_) => out.appended.push(len),
            Err(e) => {
                result = Err(e);
                break;
            }
        }
        if n % 6 == 0 {
            let Some(mut job) = log.begin_sync() else { break };
            let ran = job.run();
            match log.finish_sync(job) {
                Ok(through) => {
                    assert!(ran.is_ok());
                    assert_eq!(through, log.last_lsn());
                    out.acknowledged = out.appended.len();
                }
                Err(e) => {
                    assert!(ran.is_err() && matches!(e, LogError::SyncFailed { .. }));
                    poisoned_for_ever(&mut log);
                    result = Err(e);
                    break;
                }
            }
        }
        if n % 20 == 0
            && let Some(job) = log.spare_job()
            && let Ok(spare) = job.run()
        {
            log.add_spare(spare);
        }
        if n % 50 == 0 {
            let _ = log.mark();
        }
    }
    out.failed = result.is_err();
    result?;
    log.close()?;
    out.acknowledged = out.appended.len();
    Ok(())
}

fn poisoned_for_ever(log: &mut ShardLog) {
    assert!(log.begin_sync().is_none());
    assert!(matches!(log.sync(), Err(LogError::Poisoned { .. })));
    assert!(log.poisoned().is_some());
    assert!(matches!(append(log, 99, 10), Err(LogError::Poisoned { .. })));
    assert!(log.spare_job().is_none());
    assert!(log.release_before(log.last_lsn(), Disposal::Recycle("/db/archive".into())).is_none());
}

#[test]
fn every_operation_fails_in_turn() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = SimDisk::new(1);
        script(&disk, mode, &mut Outcome::default()).expect("no faults");
        let ops = disk.ops();
        for kind in [FaultKind::Eio, FaultKind::Enospc] {
            for sticky in [false, true] {
                for n in 1..=ops {
                    let disk = SimDisk::new(n);
                    disk.fail(n, kind, None, sticky);
                    let mut out = Outcome::default();
                    let _ = script(&disk, mode, &mut out);
                    for seed in 0..3 {
                        let image = if seed == 0 { disk.kill() } else { disk.crash(seed) };
                        let (_, _, got) = recover(&image, mode)
                            .unwrap_or_else(|e| panic!("{mode:?} {kind:?} {n} {sticky}: {e}"));
                        out.appended.resize(60, if out.appended.len() == 29 { 9_000 } else { 120 });
                        if out.appended.len() > 29 {
                            out.appended[29] = 9_000;
                        }
                        assert_prefix(&got, &out.appended);
                        assert!(
                            got.len() >= out.acknowledged,
                            "{mode:?} {kind:?} at {n}, sticky {sticky}: lost"
                        );
                        // The kept image may hold what a failed sync lost: recovery has to have made it durable.
                        let (_, _, again) = recover(&image.crash(seed + 7), mode).expect("opened again");
                        assert_eq!(again, got, "{mode:?} {kind:?} at {n}, sticky {sticky}: not durable");
                    }
                }
            }
        }
    }
}

#[test]
fn recovery_itself_fails_at_every_operation() {
    for mode in [Mode::Buffered, Mode::Strict] {
        for seed in 0..6 {
            let base = SimDisk::new(seed);
            let mut out = Outcome::default();
            base.crash_before(60 + 37 * seed);
            let _ = script(&base, mode, &mut out);
            let image = base.crash(seed);
            let count = image.crash(1);
            let want = recover(&count, mode).expect("opened").2;
            for n in 1..=count.ops() {
                let disk = image.crash(1);
                disk.fail(n, FaultKind::Eio, None, false);
                let first = recover(&disk, mode);
                if let Ok((_, _, got)) = &first {
                    assert_eq!(*got, want);
                }
                drop(first);
                for seed in 0..4 {
                    let (_, _, got) = recover(&disk.crash(seed), mode).expect("opened");
                    assert_eq!(got, want, "fault at {n} of recovery");
                }
            }
        }
    }
}

#[test]
fn a_full_disk_passes() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = SimDisk::new(1);
        disk.set_capacity(Some(20 << 10));
        let (mut log, _, _) = recover(&disk, mode).expect("opened");
        let mut lens = Vec::new();
        let e = loop {
            match append(&mut log, lens.len() as u64 + 1, 200) {
                Ok(_) => lens.push(200),
                Err(e) => break e,
            }
        };
        assert!(matches!(e, LogError::NoSpace { .. }), "{e}");
        let before = log.last_lsn();
        // A transaction that needs several segments is not begun either.
        assert!(matches!(append(&mut log, 99, 30_000), Err(LogError::NoSpace { .. })));
        assert_eq!(log.last_lsn(), before);
        // What was appended can still be made durable, and a small transaction may still fit.
        log.sync().expect("synced");
        disk.set_capacity(None);
        for len in [200, 30_000, 200] {
            append(&mut log, lens.len() as u64 + 1, len).expect("there is room again");
            lens.push(len);
        }
        log.sync().expect("synced");
        let (_, _, got) = recover(&disk.crash(1), mode).expect("opened");
        assert_eq!(got.len(), lens.len());
        assert_prefix(&got, &lens);
    }
}

#[test]
fn a_dropped_job_poisons_and_a_job_not_run_is_run() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Strict).expect("opened");
    append(&mut log, 1, 100).expect("appended");
    let job = log.begin_sync().expect("something to sync");
    assert!(log.begin_sync().is_none(), "one at a time");
    assert!(log.unsynced_bytes() > 0);
    assert_eq!(log.finish_sync(job).expect("ran"), log.last_lsn());
    assert_eq!(log.unsynced_bytes(), 0);
    append(&mut log, 2, 100).expect("appended");
    drop(log.begin_sync().expect("something to sync"));
    assert!(log.begin_sync().is_none());
    assert!(matches!(append(&mut log, 3, 100), Err(LogError::Poisoned { .. })));
    let (_, _, got) = recover(&disk.crash(1), Mode::Strict).expect("opened");
    assert_eq!(got.len(), 1);
}

#[test]
fn a_late_spare_is_recycled() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    let job = log.spare_job().expect("none yet");
    assert!(log.spare_job().is_none(), "one at a time");
    // The writer cannot wait.
    let mut lens = Vec::new();
    for n in 1..=70 {
        append(&mut log, n, 200).expect("appended");
        lens.push(200);
    }
    log.add_spare(job.run().expect("made"));
    let next = log.spare_job().expect("the late one is of no use");
    disk.record_ops();
    log.add_spare(next.run().expect("made"));
    assert!(
        disk.recorded_ops()
            .iter()
            .any(|o| o.kind == OpKind::Rename && o.path.ends_with("0000000000000002.wal"))
    );
    for n in 71..=200 {
        append(&mut log, n, 200).expect("appended");
        lens.push(200);
    }
    log.close().expect("closed");
    let (_, _, got) = recover(&disk.crash(1), Mode::Buffered).expect("opened");
    assert_eq!(got.len(), 200);
    assert_prefix(&got, &lens);
}
