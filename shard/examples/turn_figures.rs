//! What a turn costs: `cargo run --release -p in-mem-shard --example turn_figures
//! [directory for the log] [memory | durable]`.
//!
//! The core is a hash map of 100 k keys of 16 bytes and values of 100, so that a command costs what a small put does;
//! with syncing, it also appends 200 bytes to a buffer that a sync job writes to a pre-zeroed file. Medians of rounds.

use hashbrown::HashMap;
use in_mem_shard::turn::{
    Core, Execution, Handover, Maintenance, Options, Shard, SyncFailed, SyncJob, Ticket,
};
use std::fs::File;
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const KEYS: u64 = 100_000;
const LOG_BYTES: u64 = 64 << 20;
const RECORD_BYTES: usize = 200;

struct Put {
    key: [u8; 16],
    value: [u8; 100],
}

fn put(number: u64) -> Put {
    let mut key = [0; 16];
    let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS;
    key[..8].copy_from_slice(&number.to_le_bytes());
    Put { key, value: [number as u8; 100] }
}

struct Log {
    file: Arc<File>,
    at: u64,
    buffer: Vec<u8>,
    spare: Vec<u8>,
}

struct Map {
    map: HashMap<[u8; 16], [u8; 100], rustc_hash::FxBuildHasher>,
    lsn: u64,
    log: Option<Log>,
}

struct Job {
    file: Arc<File>,
    at: u64,
    bytes: Vec<u8>,
    through: u64,
    result: std::io::Result<()>,
}

impl SyncJob for Job {
    fn run(&mut self) {
        self.result = self.file.write_all_at(&self.bytes, self.at).and_then(|()| self.file.sync_data());
    }
}

impl Map {
    fn new(file: Option<Arc<File>>) -> Self {
        let map = (0..KEYS).map(put).map(|put| (put.key, put.value)).collect();
        let log = file.map(|file| Log { file, at: 0, buffer: Vec::new(), spare: Vec::new() });
        Self { map, lsn: 0, log }
    }

    fn put(&mut self, put: &Put) -> (u64, Ticket) {
        self.lsn += 1;
        self.map.insert(put.key, put.value);
        match &mut self.log {
            None => (self.lsn, Ticket::NOW),
            Some(log) => {
                log.buffer.resize(log.buffer.len() + RECORD_BYTES, 7);
                (self.lsn, Ticket(self.lsn))
            }
        }
    }
}

impl Core for Map {
    type Command = Put;
    type Reply = u64;
    type SyncJob = Job;

    fn begin_turn(&mut self) {}

    fn execute(&mut self, command: Put) -> (u64, Ticket) {
        self.put(&command)
    }

    fn end_turn(&mut self) {}

    fn begin_sync(&mut self) -> Option<Job> {
        let log = self.log.as_mut()?;
        if log.buffer.is_empty() {
            return None;
        }
        let bytes = std::mem::replace(&mut log.buffer, std::mem::take(&mut log.spare));
        if log.at + bytes.len() as u64 > LOG_BYTES {
            log.at = 0;
        }
        let at = log.at;
        log.at += bytes.len() as u64;
        Some(Job { file: Arc::clone(&log.file), at, bytes, through: self.lsn, result: Ok(()) })
    }

    fn finish_sync(&mut self, mut job: Job) -> Result<Ticket, SyncFailed> {
        job.result.map_err(|_| SyncFailed)?;
        job.bytes.clear();
        if let Some(log) = &mut self.log {
            log.spare = job.bytes;
        }
        Ok(Ticket(job.through))
    }

    fn maintain(&mut self, _budget_ops: usize) -> Maintenance {
        Maintenance::default()
    }
}

/// The middle one; the least with `TURN_FIGURES_LEAST` set, for a machine that others use at the same time.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[if std::env::var_os("TURN_FIGURES_LEAST").is_some() { 0 } else { figures.len() / 2 }]
}

/// The same for rates, where the most is the best.
fn median_rate(figures: impl Iterator<Item = f64>) -> f64 {
    -median(figures.map(|figure| -figure).collect())
}

/// Rounds of one figure: short ones, so that a busy machine leaves some of them alone.
const ROUNDS: u64 = 101;

/// Nanoseconds for one of `count` operations.
fn per_op(count: u64, mut round: impl FnMut(Range<u64>)) -> f64 {
    let count = count / ROUNDS;
    round(0..count);
    median(
        (0..ROUNDS)
            .map(|number| {
                let start = Instant::now();
                round(number * count..(number + 1) * count);
                start.elapsed().as_nanos() as f64 / count as f64
            })
            .collect(),
    )
}

fn shard(execution: Execution, handover: Handover, file: Option<Arc<File>>) -> Arc<Shard<Map>> {
    let options = Options { execution, handover, ..Options::default() };
    Arc::new(Shard::start(Map::new(file), options).expect("options of an example"))
}

/// One thread, `window` puts on their way.
fn pipelined(shard: &Shard<Map>, numbers: Range<u64>, window: usize) {
    let mut pending = std::collections::VecDeque::with_capacity(window);
    for number in numbers {
        if pending.len() == window {
            let first: in_mem_shard::turn::Pending<Map> = pending.pop_front().expect("a full window");
            black_box(first.wait().expect("a put"));
        }
        pending.push_back(shard.submit(put(number), None).expect("a put"));
    }
    for pending in pending {
        black_box(pending.wait().expect("a put"));
    }
}

/// Puts a second from `threads` threads, each running `work` until the time is up.
fn rate(
    shard: &Arc<Shard<Map>>,
    threads: usize,
    time: Duration,
    work: impl Fn(&Shard<Map>) -> u64 + Copy + Send + 'static,
) -> f64 {
    let start = Instant::now();
    let handles: Vec<_> = (0..threads)
        .map(|_| {
            let shard = Arc::clone(shard);
            std::thread::spawn(move || {
                let mut puts = 0;
                while start.elapsed() < time {
                    puts += work(&shard);
                }
                puts
            })
        })
        .collect();
    let puts: u64 = handles.into_iter().map(|handle| handle.join().expect("a client")).sum();
    puts as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let only = std::env::args().nth(2);
    if only.as_deref() != Some("durable") {
        memory();
    }
    if only.as_deref() != Some("memory") {
        durable();
    }
}

fn memory() {
    let mut bare = Map::new(None);
    let base = per_op(200_000, |numbers| {
        for number in numbers {
            black_box(bare.put(&put(number)));
        }
    });
    println!("bare put                              {base:8.0} ns");

    let inline = shard(Execution::Inline, Handover::Waiter, None);
    let empty = per_op(1_000_000, |numbers| {
        for _ in numbers {
            let _ = black_box(inline.try_inline(|map| map.lsn));
        }
    });
    println!("Inline, empty try_inline              {empty:8.1} ns");
    let borrowed = per_op(200_000, |numbers| {
        for number in numbers {
            let _ = black_box(inline.try_inline(|map| map.put(&put(number))));
        }
    });
    println!("Inline, try_inline put                {borrowed:8.0} ns   {:.2} x bare", borrowed / base);
    let blocking = per_op(200_000, |numbers| {
        for number in numbers {
            black_box(inline.call(put(number), None).expect("a put"));
        }
    });
    println!("Inline, blocking put                  {blocking:8.0} ns   {:.2} x bare", blocking / base);

    let pinned = shard(Execution::Pinned, Handover::Waiter, None);
    let hop = per_op(50_000, |numbers| {
        for number in numbers {
            black_box(pinned.call(put(number), None).expect("a put"));
        }
    });
    println!("Pinned, blocking put                  {hop:8.0} ns");
    for window in [32, 256] {
        let flow = per_op(200_000, |numbers| pipelined(&pinned, numbers, window));
        println!(
            "Pinned, {window:3} in flight                 {flow:8.0} ns   {:.2} x Pinned blocking rate (>= 2), {:.2} x Inline blocking rate (>= 1)",
            hop / flow,
            blocking / flow
        );
    }

    for (name, shard, hot) in [("Inline", &inline, blocking), ("Pinned", &pinned, hop)] {
        let idle = median(
            (0..101)
                .map(|number| {
                    std::thread::sleep(Duration::from_millis(5));
                    let start = Instant::now();
                    black_box(shard.call(put(number), None).expect("a put"));
                    start.elapsed().as_nanos() as f64
                })
                .collect(),
        );
        println!("{name}, put after 5 ms of idleness       {idle:8.0} ns   {:.1} x hot", idle / hot);
    }
    for clients in [1, 2, 4] {
        for (name, shard) in [("Inline", &inline), ("Pinned", &pinned)] {
            let rates = median_rate((0..5).map(|_| {
                rate(shard, clients, Duration::from_millis(200), |shard| {
                    for number in 0..100 {
                        black_box(shard.call(put(number), None).expect("a put"));
                    }
                    100
                })
            }));
            println!("{name}, {clients} clients blocking             {:8.2} M/s", rates / 1e6);
        }
    }
    println!("Inline {:?}\nPinned {:?}", inline.stats(), pinned.stats());
}

fn durable() {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = directory.join(format!("turn-figures-{}.log", std::process::id()));
    let file = Arc::new(
        File::options().create(true).truncate(true).read(true).write(true).open(&path).expect("a log"),
    );
    let zeros = vec![0; 1 << 20];
    for at in (0..LOG_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at).expect("room for the log");
    }
    file.sync_all().expect("a sync");

    let record = [7; RECORD_BYTES];
    let bare = || {
        per_op(10 * ROUNDS, |numbers| {
            for number in numbers {
                file.write_all_at(&record, number * RECORD_BYTES as u64).expect("a write");
                file.sync_data().expect("a sync");
            }
        })
    };
    let base = bare();
    println!("bare pwrite + fdatasync               {:8.1} us   {:.0}/s", base / 1e3, 1e9 / base);
    for (name, execution, handover) in [
        ("Inline, waiter leads", Execution::Inline, Handover::Waiter),
        ("Inline, home leads", Execution::Inline, Handover::Home),
        ("Pinned", Execution::Pinned, Handover::Waiter),
    ] {
        let shard = shard(execution, handover, Some(Arc::clone(&file)));
        let base = bare();
        let one = per_op(10 * ROUNDS, |numbers| {
            for number in numbers {
                black_box(shard.call(put(number), None).expect("a put"));
            }
        });
        println!("{name}: 1 client                {:8.1} us   {:.2} x bare (<= 1.15)", one / 1e3, one / base);
        let loop_rate = 1e9 / bare();
        let time = Duration::from_millis(400);
        let rounds = |threads, work: fn(&Shard<Map>) -> u64| {
            let before = shard.stats();
            let figure = median_rate((0..5).map(|_| rate(&shard, threads, time, work)));
            let after = shard.stats();
            let batch =
                (after.tickets_synced - before.tickets_synced) as f64 / (after.syncs - before.syncs) as f64;
            (figure, batch)
        };
        let blocking: fn(&Shard<Map>) -> u64 = |shard| {
            for number in 0..4 {
                black_box(shard.call(put(number), None).expect("a put"));
            }
            4
        };
        let flow: fn(&Shard<Map>) -> u64 = |shard| {
            pipelined(shard, 0..2_000, 32);
            2_000
        };
        for (what, threads, work) in [
            ("2 blocking threads      ", 2, blocking),
            ("8 blocking threads      ", 8, blocking),
            ("64 blocking threads     ", 64, blocking),
            ("2 threads x 32 in flight", 2, flow),
        ] {
            let (figure, batch) = rounds(threads, work);
            println!("{name}: {what} {figure:8.0}/s   {:.1} x loop, {batch:.1} a sync", figure / loop_rate);
        }
        println!("{:?}", shard.stats());
    }
    drop(file);
    let _ = std::fs::remove_file(path);
}
