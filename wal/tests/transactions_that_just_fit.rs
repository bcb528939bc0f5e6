//! Transactions that are as large as the segments they go into, to the byte.

mod common;

use common::*;
use in_mem_wal::{Mode, SimDisk};

/// Bytes for records in a segment that was just begun, behind its header and start record and before its seal.
const FRESH: usize = (8 << 10) - 4_096 - 80 - 72;
/// Largest payload of a record that has such a segment to itself.
const WHOLE: usize = FRESH - 64;

#[test]
fn whatever_room_is_left_in_the_segment_where_they_begin() {
    for mode in [Mode::Buffered, Mode::Strict] {
        for left in (0..=160).step_by(8) {
            for payload in [WHOLE, 2 * WHOLE, 3 * WHOLE].into_iter().flat_map(|n| n - 24..=n + 24) {
                let disk = SimDisk::new(1);
                let (mut log, _, _) = recover(&disk, mode).expect("opened");
                let lens = [WHOLE - left, payload, 10];
                for (n, len) in (1..).zip(lens) {
                    append(&mut log, n, len).expect("there is room on the disk");
                }
                log.sync().expect("synced");
                drop(log);
                let (_, _, got) = recover(&disk, mode).expect("opened");
                assert_eq!(got.len(), lens.len(), "{left} left, {payload}");
                assert_prefix(&got, &lens);
            }
        }
    }
}

#[test]
fn one_that_finds_no_room_does_not_go_on_holding_it() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = SimDisk::new(1);
        let (mut log, _, _) = recover(&disk, mode).expect("opened");
        append(&mut log, 1, 100).expect("there is room");
        let used = |disk: &SimDisk| -> usize {
            disk.files().iter().map(|path| disk.contents(path).expect("there").len()).sum()
        };
        let before = used(&disk);
        disk.set_capacity(Some(before as u64 + (64 << 10)));
        append(&mut log, 2, 256 << 10).expect_err("is refused");
        assert!(used(&disk) <= before + (8 << 10), "{} of {before}", used(&disk));
        // A power cut may bring back what was removed.
        for image in [disk.kill(), disk.crash(1), disk.crash(2), disk.crash(3)] {
            image.set_capacity(None);
            let (mut log, ..) = recover(&image, mode).expect("opened");
            append(&mut log, 2, 256 << 10).expect("there is room");
            log.close().expect("closed");
            recover(&image, mode).expect("opened");
        }
        append(&mut log, 2, 1_000).expect("a smaller one finds room");
        disk.set_capacity(None);
        append(&mut log, 3, 256 << 10).expect("there is room");
        log.close().expect("closed");
        let (_, _, got) = recover(&disk, mode).expect("opened");
        assert_prefix(&got, &[100, 1_000, 256 << 10]);
        assert_eq!(got.len(), 3);
    }
}
