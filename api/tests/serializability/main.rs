//! Many threads run random transactions over one run; what each read and wrote is recorded, and the history is checked.
//!
//! `INMEM_SERIAL_TRANSACTIONS` sets how many (default 12,000), `INMEM_SERIAL_SEED` the seed.

mod checker;
mod workload;

use in_mem::{Database, Durability, Execution};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn check(durability: Durability, execution: Execution, transactions: u64) {
    let seed = number("INMEM_SERIAL_SEED", 1);
    let dir = tempfile::tempdir().expect("a directory");
    let builder =
        Database::builder().shards(1).execution(execution).segment_bytes(1 << 20).durability(durability);
    let db = match durability {
        Durability::InMemory => builder.open(),
        _ => builder.path(dir.path()).open(),
    }
    .expect("opens");
    let run = db.begin_run("serializable?").expect("begins");
    let history = workload::run(&run, seed, 4, transactions / 4);
    assert!(history.len() as u64 >= transactions, "all transactions ended, one way or the other");
    let found = checker::check(&history);
    println!(
        "{durability}, {execution:?}, seed {seed}: {} transactions, {} edges, {} range reads, {} retries, {} anomalies",
        history.len(),
        found.edges,
        found.ranges,
        history.retries,
        found.anomalies.len()
    );
    assert!(
        found.anomalies.is_empty(),
        "seed {seed}: {:#?}",
        &found.anomalies[..found.anomalies.len().min(5)]
    );
}

#[test]
fn in_memory_transactions_are_serializable_inline() {
    check(Durability::InMemory, Execution::Inline, number("INMEM_SERIAL_TRANSACTIONS", 12_000));
}

#[test]
fn in_memory_transactions_are_serializable_pinned() {
    check(Durability::InMemory, Execution::Pinned, number("INMEM_SERIAL_TRANSACTIONS", 12_000));
}

#[test]
fn buffered_transactions_are_serializable() {
    check(Durability::buffered(), Execution::Inline, number("INMEM_SERIAL_TRANSACTIONS", 12_000));
}

#[test]
fn strict_transactions_are_serializable() {
    check(Durability::Strict, Execution::Inline, number("INMEM_SERIAL_TRANSACTIONS", 12_000) / 10);
}

#[test]
fn the_checker_finds_what_it_is_for() {
    use checker::{Access, Transaction, Write};
    let write = |id, version, reads: &[(&str, Option<u64>)], writes: &[&str]| Transaction {
        id,
        version,
        read_only: false,
        reads: reads.iter().map(|(key, writer)| Access { key: (*key).into(), writer: *writer }).collect(),
        ranges: Vec::new(),
        writes: writes.iter().map(|key| Write { key: (*key).into(), put: true }).collect(),
    };
    // A lost update: both read the first version and both overwrite it.
    let lost_update = vec![
        write(1, 1, &[], &["x"]),
        write(2, 2, &[("x", Some(1))], &["x"]),
        write(3, 3, &[("x", Some(1))], &["x"]),
    ];
    assert!(!checker::check(&checker::History::from(lost_update)).anomalies.is_empty());
    // Write skew: each reads what the other writes.
    let write_skew = vec![
        write(1, 1, &[], &["x", "y"]),
        write(2, 2, &[("x", Some(1)), ("y", Some(1))], &["x"]),
        write(3, 3, &[("x", Some(1)), ("y", Some(1))], &["y"]),
    ];
    assert!(!checker::check(&checker::History::from(write_skew)).anomalies.is_empty());
    // A phantom: the second scanned a range in which the first had put something meanwhile.
    let mut scanned = write(2, 2, &[], &["b"]);
    scanned.ranges.push(checker::Range { lower: "a".into(), upper: "z".into(), found: Vec::new() });
    let phantom = vec![write(1, 1, &[], &["k"]), scanned];
    assert!(!checker::check(&checker::History::from(phantom)).anomalies.is_empty());
    // And it lets a sound one pass.
    let sound = vec![
        write(1, 1, &[("x", None)], &["x"]),
        write(2, 2, &[("x", Some(1))], &["x", "y"]),
        write(3, 3, &[("y", Some(2))], &["y"]),
    ];
    assert!(checker::check(&checker::History::from(sound)).anomalies.is_empty());
}
