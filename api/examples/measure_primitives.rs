//! What the primitives cost beside a put, measured in this process: `cargo run --release --example measure_primitives`.
//! Numbers in one run compare with each other; between machines only the ratios do.

use std::hint::black_box;
use std::time::{Duration, Instant};

use in_mem::{Database, Durability, Run, SpanDraft, Timestamp, Value};

const OPS: u64 = 100_000;
const ROUNDS: usize = 7;
const EVENTS: u64 = 1_000_000;
const RUNS: usize = 1_000_000;

/// How long this thread has been on a core, in nanoseconds: on a machine with other work the time of day says little.
fn cpu_nanos() -> u64 {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.unwrap_or_else(|| BEGUN.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}

/// Nanoseconds an operation of one round, in a database of its own, so that no round pays for what another left behind.
fn round(
    durability: Durability,
    prepare: impl FnOnce(&Run),
    mut op: impl FnMut(&Run, u64),
) -> in_mem::Result<f64> {
    let dir = tempfile::tempdir().expect("a directory");
    let builder = Database::builder().durability(durability).shards(1);
    let db =
        if durability == Durability::InMemory { builder.open()? } else { builder.path(dir.path()).open()? };
    let run = db.begin_run("measure")?;
    prepare(&run);
    let start = cpu_nanos();
    for n in 0..OPS {
        op(&run, n);
    }
    let took = (cpu_nanos() - start) as f64 / OPS as f64;
    db.close()?;
    Ok(took)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn measure(name: &str, durability: Durability) -> in_mem::Result<()> {
    let payload = [7u8; 100];
    let value = Value::from(&payload[..]);
    let input = Value::from("a question of some fifty bytes, as a tool gets it.");
    let output = Value::from("an answer of about fifty bytes, as a tool gives it");
    let nothing = |_: &Run| {};
    let span = || SpanDraft::tool_call("search").input(input.clone()).output(output.clone());
    let mut figures: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        // One after the other in each round, so that what disturbs the machine disturbs all of them.
        let all = [
            round(durability, nothing, |run, n| {
                run.kv().put(n.to_be_bytes(), value.clone()).map(drop).expect("puts");
            })?,
            round(durability, nothing, |run, n| {
                run.kv().put(n.to_be_bytes(), &payload[..]).map(drop).expect("puts");
            })?,
            round(durability, nothing, |run, _| {
                run.events().append("tool_call", input.clone()).map(drop).expect("appends");
            })?,
            round(durability, nothing, |run, _| {
                run.traces().record(&span()).map(drop).expect("records");
            })?,
            round(
                durability,
                |run| assert_eq!(run.traces().query().count().expect("counts"), 0),
                |run, _| {
                    run.traces().record(&span()).map(drop).expect("records");
                },
            )?,
            {
                let mut watch = None;
                round(
                    durability,
                    |run| watch = Some(run.kv().watch("elsewhere", 16).expect("watches")),
                    |run, n| {
                        run.kv().put(n.to_be_bytes(), value.clone()).map(drop).expect("puts");
                    },
                )?
            },
        ];
        for (figures, figure) in figures.iter_mut().zip(all) {
            figures.push(figure);
        }
    }
    let [shared, put, append, record, indexed, watched] = figures.map(median);
    println!("{name}: put of a new key {shared:.0} ns, with a value made for it {put:.0} ns");
    println!("  event append {append:.0} ns: {:.2} / {:.2} of these", append / shared, append / put);
    println!("  span record {record:.0} ns: {:.2} / {:.2}", record / shared, record / put);
    println!(
        "  span record with the index kept up {indexed:.0} ns: {:.2} / {:.2}",
        indexed / shared,
        indexed / put
    );
    println!("  put beside a watch of other keys {watched:.0} ns: {:.2}", watched / shared);
    Ok(())
}

fn iterate() -> in_mem::Result<()> {
    let db = Database::builder().durability(Durability::InMemory).shards(1).open()?;
    let run = db.begin_run("events")?;
    for n in 0..EVENTS {
        run.events().append("tool_call", n as i64)?;
    }
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut sum = 0;
        for event in run.events().iter() {
            sum += event?.payload.as_i64().unwrap_or(0);
        }
        black_box(sum);
        fastest = fastest.min(start.elapsed());
    }
    println!("iterating {EVENTS} events: {:.2} million/s", EVENTS as f64 / fastest.as_secs_f64() / 1e6);
    let start = Instant::now();
    assert!(run.events().verify_chain()?.is_intact());
    println!("verifying their chain: {:.2?}", start.elapsed());
    Ok(())
}

fn runs() -> in_mem::Result<()> {
    let db = Database::builder().durability(Durability::InMemory).shards(1).open()?;
    let start = Instant::now();
    for n in 0..RUNS {
        let mut run = db.new_run(format!("run-{n}")).created_at(Timestamp(n as i64 + 1));
        for (tag, of) in [("ten", 100_000), ("thousand", 1_000), ("hundred-thousand", 10)] {
            if n % of == 0 {
                run = run.tag(tag);
            }
        }
        run.begin()?;
    }
    println!("beginning {RUNS} runs: {:.2?}", start.elapsed());
    for tag in ["ten", "thousand", "hundred-thousand"] {
        let start = Instant::now();
        let found = db.runs().tag(tag).list()?.len();
        let all = start.elapsed();
        let start = Instant::now();
        let (page, _) = db.runs().tag(tag).page(None, 10)?;
        let page_took = start.elapsed();
        println!(
            "runs by tag among {RUNS}: {found} in {all:.2?} ({:.0} ns each); a page of {} in {page_took:.2?}",
            all.as_nanos() as f64 / found as f64,
            page.len()
        );
    }
    Ok(())
}

fn main() -> in_mem::Result<()> {
    measure("in memory", Durability::InMemory)?;
    measure("buffered", Durability::buffered())?;
    iterate()?;
    runs()
}
