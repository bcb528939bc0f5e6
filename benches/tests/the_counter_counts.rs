//! What is allocated is counted, exactly, on this thread and on others. A program without a harness, whose threads would be
//! counted as well.

use in_mem_benches::counting::{Counts, counted};

fn main() {
    let (kept, counts) = counted(|| std::hint::black_box(Box::new([7_u8; 1000])));
    assert_eq!(counts, Counts { allocations: 1, live_bytes: 1000 });
    drop(kept);
    let ((), counts) = counted(|| drop(std::hint::black_box(Box::new(7_u64))));
    assert_eq!(counts, Counts { allocations: 1, live_bytes: 0 });
    let ((), counts) = counted(|| ());
    assert_eq!(counts, Counts::default());

    let (ask, asked) = std::sync::mpsc::sync_channel::<()>(0);
    let (answer, answered) = std::sync::mpsc::sync_channel::<Vec<u8>>(0);
    let other = std::thread::spawn(move || {
        while asked.recv().is_ok() {
            answer.send(std::hint::black_box(Vec::with_capacity(500))).expect("is waited for");
        }
    });
    let (vec, counts) = counted(|| {
        ask.send(()).expect("is waited for");
        answered.recv().expect("is answered")
    });
    assert!(counts.allocations >= 1 && counts.live_bytes >= 500, "{counts:?}");
    drop((ask, vec));
    other.join().expect("ends");
}
