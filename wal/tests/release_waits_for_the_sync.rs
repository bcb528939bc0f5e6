//! A segment is kept until what follows it is durable, whatever the caller asks for.

mod common;

use common::*;
use in_mem_wal::{Disposal, Mode, SimDisk};

#[test]
fn unsynced_segments_are_not_released() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = SimDisk::new(1);
        let (mut log, _, _) = recover(&disk, mode).expect("opened");
        for n in 1..=100 {
            append(&mut log, n, 200).expect("appended");
        }
        let sealed = log.sealed_segments().len();
        assert!(sealed > 2);
        assert!(log.release_before(log.last_lsn(), Disposal::Recycle("/db/archive".into())).is_none());
        log.sync().expect("synced");
        let covered = log.last_lsn();
        let job =
            log.release_before(covered, Disposal::Recycle("/db/archive".into())).expect("now they may go");
        assert_eq!(job.run().expect("released").segments, sealed as u64);
        let (_, report, got) =
            recover_from(&disk.crash(1), &dir(), config(mode), Some(covered)).expect("opened");
        assert_eq!((report.segments, got.len()), (1, 0));
    }
}
