//! Figures of the shared index against DashMap, measured in one process.
//!
//! `cargo run --release -p in-mem-shard --example index_figures [single|threads|memory|growth|scans|snapshot|large ..]`
//!
//! 16-byte keys, 100-byte values, random order. Rounds of both are interleaved; every line is the median of them.

#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use in_mem_model::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::core::command::{CommitRequest, Write};
use in_mem_shard::core::error::Condition;
use in_mem_shard::core::run_meta::RunMeta;
use in_mem_shard::core::{Log, ShardCore};
use in_mem_shard::index::{
    Direction, IndexConfig, IndexReader, IndexWriter, KeyRef, PageEnd, PageLimit, RunHash, ScanRange,
};

struct Counting;
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static COUNTING: AtomicBool = AtomicBool::new(false);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Ordering::Relaxed) {
            LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if COUNTING.load(Ordering::Relaxed) {
            LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 7;
const OPERATIONS: usize = 400_000;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * n as u128) >> 64) as usize
    }
}

fn key_of(i: usize) -> [u8; 16] {
    let mut key = *b"key-............";
    let digits = format!("{:012}", (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000_000);
    key[4..].copy_from_slice(digits.as_bytes());
    key
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn nanos(operations: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

fn run(n: u64) -> RunId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    RunId::from_bytes(bytes)
}

fn no_clock() -> Timestamp {
    Timestamp(0)
}

fn fresh() -> Arc<[u8]> {
    Arc::from([7_u8; 100])
}

struct Bench {
    writer: IndexWriter,
    version: u64,
    run: RunId,
    hash: RunHash,
}

impl Bench {
    fn new() -> Self {
        let writer = IndexWriter::new(IndexConfig::new(0x1234_5678));
        let run = run(1);
        let hash = writer.run_hash(&run);
        Self { writer, version: 0, run, hash }
    }

    #[inline]
    fn put(&mut self, user: &[u8], value: Arc<[u8]>) {
        let key = self.writer.hashed(self.hash, KeyRef::new(self.run, Tag::Kv, user));
        self.version += 1;
        self.writer.install(&key, Version(self.version), Timestamp(1), None, Some(Value::Bytes(value)));
        self.writer.publish(Version(self.version));
        self.writer.maintain();
    }
}

fn read_some(reader: &IndexReader, run: RunId, keys: &[[u8; 16]], random: &mut Random, count: usize) {
    let hash = reader.run_hash(&run);
    for _ in 0..count {
        let user = &keys[random.below(keys.len())];
        let key = reader.hashed(hash, KeyRef::new(run, Tag::Kv, user));
        black_box(reader.get_latest(&key, no_clock).unwrap());
    }
}

/// One thread: get, put, snapshot; at two sizes, against DashMap with keys inline and with keys on the heap.
fn single(size: usize) {
    let keys: Vec<[u8; 16]> = (0..size).map(key_of).collect();
    let inline: DashMap<[u8; 16], Arc<[u8]>> = DashMap::new();
    let heap: DashMap<Vec<u8>, Arc<[u8]>> = DashMap::new();
    let mut bench = Bench::new();
    for key in &keys {
        bench.put(key, fresh());
        inline.insert(*key, fresh());
        heap.insert(key.to_vec(), fresh());
    }
    let reader = bench.writer.reader();
    let mut random = Random(88_172_645_463_325_252);
    let mut figures: [Vec<f64>; 8] = Default::default();
    for _ in 0..ROUNDS {
        figures[0].push(nanos(OPERATIONS, || read_some(&reader, bench.run, &keys, &mut random, OPERATIONS)));
        figures[1].push(nanos(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                let value = inline.get(&keys[random.below(size)]).map(|value| Arc::clone(&value));
                black_box(value);
            }
        }));
        figures[2].push(nanos(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                let value = heap.get(&keys[random.below(size)][..]).map(|value| Arc::clone(&value));
                black_box(value);
            }
        }));
        figures[3].push(nanos(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                bench.put(&keys[random.below(size)], fresh());
            }
        }));
        figures[4].push(nanos(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                black_box(inline.insert(keys[random.below(size)], fresh()));
            }
        }));
        figures[5].push(nanos(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                black_box(heap.insert(keys[random.below(size)].to_vec(), fresh()));
            }
        }));
        figures[6].push(nanos(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                black_box(reader.pin().unwrap());
            }
        }));
        let pin = reader.pin().unwrap();
        let hash = reader.run_hash(&bench.run);
        figures[7].push(nanos(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                let key = KeyRef::new(bench.run, Tag::Kv, &keys[random.below(size)]);
                black_box(pin.get(&reader.hashed(hash, key), no_clock).unwrap());
            }
        }));
    }
    let [get, inline_get, heap_get, put, inline_put, heap_put, pin, pin_get] = figures.map(median);
    println!("{size} keys");
    println!(
        "  get            {get:7.1} ns   DashMap {inline_get:7.1} / {heap_get:7.1} (Vec keys)   ratio {:.2} / {:.2}  <= 1.4",
        get / inline_get,
        get / heap_get
    );
    println!(
        "  overwrite      {put:7.1} ns   DashMap {inline_put:7.1} / {heap_put:7.1} (Vec keys)   ratio {:.2} / {:.2}  <= 0.9",
        put / inline_put,
        put / heap_put
    );
    println!("  snapshot       {pin:7.1} ns   ratio to DashMap get {:.2}  <= 1.0", pin / inline_get);
    println!("  get at it      {pin_get:7.1} ns   ratio to DashMap get {:.2}", pin_get / inline_get);
}

/// Two threads: both reading, and one reading while the other writes.
fn threads(size: usize) {
    let keys: Vec<[u8; 16]> = (0..size).map(key_of).collect();
    let mut bench = Bench::new();
    for key in &keys {
        bench.put(key, fresh());
    }
    let (reader, run) = (bench.writer.reader(), bench.run);
    let (mut scale, mut beside) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        let alone = nanos(OPERATIONS, || read_some(&reader, run, &keys, &mut Random(round + 1), OPERATIONS));
        let both = nanos(OPERATIONS, || {
            std::thread::scope(|scope| {
                for seed in 2..4 {
                    let (reader, keys) = (&reader, &keys);
                    scope.spawn(move || {
                        read_some(reader, run, keys, &mut Random(round * 7 + seed), OPERATIONS)
                    });
                }
            });
        });
        scale.push(2.0 * alone / both);
        let stop = AtomicBool::new(false);
        let with_writer = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(round + 9);
                while !stop.load(Ordering::Relaxed) {
                    bench.put(&keys[random.below(size)], fresh());
                }
            });
            let figure =
                nanos(OPERATIONS, || read_some(&reader, run, &keys, &mut Random(round + 1), OPERATIONS));
            stop.store(true, Ordering::Relaxed);
            figure
        });
        beside.push(alone / with_writer);
    }
    println!("{size} keys, two threads");
    println!("  both reading / one             {:.2}  >= 1.8", median(scale));
    println!("  reading beside a writer / alone {:.2}  >= 0.7", median(beside));
}

/// Bytes that the work keeps: from the allocator, and mapped, which the work tells.
fn counted(work: impl FnOnce() -> (Box<dyn std::any::Any>, usize)) -> usize {
    LIVE_BYTES.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    let (kept, mapped) = work();
    COUNTING.store(false, Ordering::Relaxed);
    let bytes = LIVE_BYTES.load(Ordering::Relaxed) + mapped;
    drop(kept);
    bytes
}

/// Heap bytes of a million entries, with all their values.
fn memory() {
    const ENTRIES: usize = 1_000_000;
    let dash = counted(|| {
        let map: DashMap<Vec<u8>, Vec<u8>> = DashMap::new();
        for i in 0..ENTRIES {
            map.insert(key_of(i).to_vec(), vec![7; 100]);
        }
        (Box::new(map) as Box<dyn std::any::Any>, 0)
    });
    let one_run = counted(|| {
        let mut bench = Bench::new();
        for i in 0..ENTRIES {
            bench.put(&key_of(i), fresh());
        }
        println!("  {:?}", bench.writer.stats());
        let mapped = bench.writer.stats().slab_bytes;
        (Box::new(bench) as Box<dyn std::any::Any>, mapped)
    });
    let many_runs = counted(|| {
        let mut bench = Bench::new();
        for i in 0..ENTRIES {
            bench.run = run((i / 10) as u64);
            bench.hash = bench.writer.run_hash(&bench.run);
            bench.put(&key_of(i % 10), fresh());
        }
        println!("  {:?}", bench.writer.stats());
        let mapped = bench.writer.stats().slab_bytes;
        (Box::new(bench) as Box<dyn std::any::Any>, mapped)
    });
    let per_entry = |bytes: usize| bytes as f64 / ENTRIES as f64;
    println!("heap bytes an entry: DashMap {:.0}", per_entry(dash));
    println!(
        "  one run        {:7.0}   ratio {:.2}  <= 1.4",
        per_entry(one_run),
        one_run as f64 / dash as f64
    );
    println!(
        "  100 k runs     {:7.0}   ratio {:.2}  <= 2.2",
        per_entry(many_runs),
        many_runs as f64 / dash as f64
    );
}

/// New keys through the ordinary path, random and ascending, and what a single put may move.
fn growth(size: usize) {
    for ascending in [false, true] {
        let mut bench = Bench::new();
        let (mut slowest, mut over_20_us) = (0, 0);
        let keys: Vec<[u8; 16]> = (0..size).map(key_of).collect();
        let total = nanos(size, || {
            for (i, key) in keys.iter().enumerate() {
                let number = (i as u128).to_be_bytes();
                let value = Arc::from([1_u8; 100]);
                bench.put(if ascending { &number } else { key }, value);
            }
        });
        // Once more with a clock, for the tail.
        let mut timed = Bench::new();
        for key in &keys {
            let start = Instant::now();
            timed.put(key, fresh());
            let took = start.elapsed().as_nanos();
            slowest = slowest.max(took);
            over_20_us += usize::from(took > 20_000);
        }
        let stats = bench.writer.stats();
        println!(
            "{size} new keys, {}: {total:.0} ns each ({:.2} M/s); moved by one put at most {} <= 1024; slowest {} us, {} over 20 us",
            if ascending { "ascending" } else { "random" },
            1000.0 / total,
            stats.max_entries_moved,
            slowest / 1000,
            over_20_us,
        );
    }
}

/// Scans of everything, the first of which sorts.
fn scans(size: usize) {
    let mut bench = Bench::new();
    for i in 0..size {
        bench.put(&key_of(i), fresh());
    }
    for pass in ["first", "second"] {
        let mut lower: Option<Vec<u8>> = None;
        let (mut rows, mut slowest) = (0, 0);
        let total = nanos(size, || {
            loop {
                let start = Instant::now();
                let bound = lower.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let range = ScanRange::of_tag(bench.run, Tag::Kv, bound, std::ops::Bound::Unbounded);
                let limit = PageLimit { rows: 1000, keys: 4000 };
                let at = Version(bench.version);
                let end = bench.writer.scan(&range, Direction::Forwards, at, limit, |row| {
                    black_box(row.node.value);
                    rows += 1;
                    true
                });
                let next = match end {
                    PageEnd::Done => None,
                    PageEnd::After(key) => Some(key.user.to_vec()),
                };
                slowest = slowest.max(start.elapsed().as_micros());
                if next.is_none() {
                    break;
                }
                lower = next;
            }
        });
        println!("{pass} scan of {rows} keys: {total:.0} ns a row; slowest page of 1000 {slowest} us");
    }
}

/// Overwrites while a snapshot stays open: only what it sees is kept.
fn long_snapshot(size: usize) {
    let keys: Vec<[u8; 16]> = (0..size).map(key_of).collect();
    let mut bench = Bench::new();
    for key in &keys {
        bench.put(key, fresh());
    }
    let pin = bench.writer.reader().pin().unwrap();
    let mut random = Random(5);
    let operations = 4 * OPERATIONS;
    let put = nanos(operations, || {
        for _ in 0..operations {
            bench.put(&keys[random.below(size)], fresh());
        }
    });
    let stats = bench.writer.stats();
    println!(
        "{operations} overwrites of {size} keys under an old snapshot: {put:.0} ns each, {} versions kept, {} MB held",
        stats.versions,
        stats.held_bytes >> 20
    );
    drop(pin);
}

/// Ten million entries in a shard's core: in one run, and in a million runs of ten. Time to fill, to read at random and
/// to overwrite, and heap: what the allocator was asked for, and the slabs, which are mapped past it.
fn large() {
    const ENTRIES: usize = 10_000_000;
    for (name, per_run) in [("one run of 10 m keys", ENTRIES), ("1 m runs of 10 keys", 10)] {
        COUNTING.store(true, Ordering::Relaxed);
        let before = LIVE_BYTES.load(Ordering::Relaxed);
        let mut core = ShardCore::new(IndexWriter::new(IndexConfig::new(0x1234_5678)), Log::None);
        let put = |core: &mut ShardCore, i: usize| {
            let id = run((i / per_run) as u64 + 1);
            core.put(id, Tag::Kv, &key_of(i), Value::Bytes(fresh()), None, Condition::Any).unwrap();
        };
        let fill = nanos(ENTRIES, || {
            for i in 0..ENTRIES {
                if i % per_run == 0 {
                    let id = run((i / per_run) as u64 + 1);
                    let mut request = CommitRequest::new(id);
                    request.writes.push((id, Write::CreateRun(Box::new(RunMeta::new(id, "large")))));
                    core.commit(request).unwrap();
                }
                put(&mut core, i);
            }
        });
        let asked = LIVE_BYTES.load(Ordering::Relaxed) - before;
        COUNTING.store(false, Ordering::Relaxed);
        let slabs = core.index_mut().stats().slab_bytes;
        let reader = core.index_mut().reader();
        let mut random = Random(88_172_645_463_325_252);
        let get = nanos(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                let i = random.below(ENTRIES);
                let id = run((i / per_run) as u64 + 1);
                let user = key_of(i);
                let key = reader.hashed(reader.run_hash(&id), KeyRef::new(id, Tag::Kv, &user));
                assert!(
                    black_box(reader.get_latest(&key, no_clock).unwrap()).is_some(),
                    "every key is there"
                );
            }
        });
        let overwrite =
            nanos(OPERATIONS, || (0..OPERATIONS).for_each(|_| put(&mut core, random.below(ENTRIES))));
        println!(
            "{name}: fill {:.1} s ({fill:.0} ns a put), get {get:.0} ns, overwrite {overwrite:.0} ns, heap {:.2} GB ({:.0} B \
             an entry, 100 B of them the value)",
            fill * ENTRIES as f64 / 1e9,
            (asked + slabs) as f64 / 1e9,
            (asked + slabs) as f64 / ENTRIES as f64,
        );
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|other| other == name);
    if is_wanted("single") {
        single(100_000);
        single(1_000_000);
    }
    if is_wanted("threads") {
        threads(100_000);
        threads(1_000_000);
    }
    if is_wanted("memory") {
        memory();
    }
    if is_wanted("growth") {
        growth(4_000_000);
    }
    if is_wanted("scans") {
        scans(1_000_000);
    }
    if is_wanted("snapshot") {
        long_snapshot(100_000);
    }
    if is_wanted("large") {
        large();
    }
}
