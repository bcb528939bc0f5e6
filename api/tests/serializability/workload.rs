//! Random transactions: transfers, counters, lists, range sums, deletes and re-inserts. Every value names its writer.

use std::sync::atomic::{AtomicU64, Ordering};

use in_mem::{Error, Run, Transaction as Tx, Value, WriteError};

use crate::checker::{Access, History, Range, Transaction, Write};

const ACCOUNTS: u64 = 12;
const COUNTERS: u64 = 4;
const LISTS: u64 = 4;
const MEMBERS: u64 = 24;

struct Recording<'t, 'r> {
    tx: &'t mut Tx<'r>,
    record: Transaction,
}

impl Recording<'_, '_> {
    fn get(&mut self, key: &str) -> Result<Option<i64>, Error> {
        let value = self.tx.kv().get(key)?;
        // What it wrote itself is not a read of the database.
        if !self.record.writes.iter().any(|w| w.key == key) {
            self.record.reads.push(Access { key: key.to_owned(), writer: value.as_ref().and_then(writer) });
        }
        Ok(value.as_ref().and_then(payload))
    }

    fn put(&mut self, key: &str, payload: i64) -> Result<(), Error> {
        let id = self.record.id as i64;
        self.tx.kv().put(key, Value::array([Value::from(id), Value::from(payload)]))?;
        self.note(key, true);
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.get(key)?;
        if self.tx.kv().delete(key)? {
            self.note(key, false);
        }
        Ok(())
    }

    /// Before any write, so that what is found is the database's.
    fn scan(&mut self, lower: &str, upper: &str) -> Result<i64, Error> {
        let all = self.tx.kv().range(lower..upper)?;
        let found = all
            .iter()
            .map(|(k, v)| Access { key: k.as_str().expect("text").to_owned(), writer: writer(v) })
            .collect();
        self.record.ranges.push(Range { lower: lower.to_owned(), upper: upper.to_owned(), found });
        Ok(all.iter().filter_map(|(_, v)| payload(v)).sum())
    }

    fn note(&mut self, key: &str, put: bool) {
        self.record.writes.retain(|w| w.key != key);
        self.record.writes.push(Write { key: key.to_owned(), put });
    }
}

fn writer(value: &Value) -> Option<u64> {
    value.at(0).and_then(Value::as_i64).map(i64::cast_unsigned)
}

fn payload(value: &Value) -> Option<i64> {
    value.at(1).and_then(Value::as_i64)
}

fn one(rng: &mut fastrand::Rng, tx: &mut Recording<'_, '_>) -> Result<(), Error> {
    let account = |n: u64| format!("account/{n:02}");
    match rng.u32(0..10) {
        0..=2 => {
            let (from, to) = (rng.u64(0..ACCOUNTS), rng.u64(0..ACCOUNTS));
            let (a, b) = (tx.get(&account(from))?.unwrap_or(100), tx.get(&account(to))?.unwrap_or(100));
            if from != to {
                tx.put(&account(from), a - 1)?;
                tx.put(&account(to), b + 1)?;
            }
        }
        3 => {
            let key = format!("counter/{}", rng.u64(0..COUNTERS));
            let n = tx.get(&key)?.unwrap_or(0);
            tx.put(&key, n + 1)?;
        }
        4 => {
            // A list as a chain: its head says how many there are, each member is a key of its own.
            let list = rng.u64(0..LISTS);
            let len = tx.scan(&format!("list/{list}/"), &format!("list/{list}0"))?;
            tx.put(&format!("list/{list}/{:06}", tx.record.id % 40), len % 7)?;
        }
        5 => {
            let sum = tx.scan("account/", "account0")?;
            tx.put("sum", sum)?;
        }
        6 => {
            tx.scan("member/", "member0")?;
            tx.scan("account/03", "account/09")?;
        }
        7 => tx.delete(&format!("member/{:02}", rng.u64(0..MEMBERS)))?,
        8 => tx.put(&format!("member/{:02}", rng.u64(0..MEMBERS)), 1)?,
        _ => {
            let low = rng.u64(0..MEMBERS);
            let members = tx.scan(&format!("member/{low:02}"), &format!("member/{:02}", low + 8))?;
            // Kept small: a sum of sums would not fit for long.
            tx.put(&format!("member/{:02}", rng.u64(0..MEMBERS)), members % 1_000)?;
            tx.delete(&format!("member/{:02}", rng.u64(0..MEMBERS)))?;
        }
    }
    Ok(())
}

/// Runs `each` transactions in each of `threads` threads.
pub(crate) fn run(run: &Run, seed: u64, threads: u64, each: u64) -> History {
    let ids = AtomicU64::new(1);
    let parts: Vec<History> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let ids = &ids;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(thread));
                    let mut history = History::default();
                    for _ in 0..each {
                        let choices = rng.clone();
                        loop {
                            rng = choices.clone();
                            // Relaxed: only has to be unique.
                            let id = ids.fetch_add(1, Ordering::Relaxed);
                            let mut tx = run.begin().expect("begins");
                            let record = Transaction {
                                id,
                                version: tx.version().0,
                                read_only: true,
                                reads: Vec::new(),
                                ranges: Vec::new(),
                                writes: Vec::new(),
                            };
                            let mut recording = Recording { tx: &mut tx, record };
                            one(&mut rng, &mut recording).expect("reads and writes");
                            let mut record = recording.record;
                            match tx.commit() {
                                Ok(committed) => {
                                    if !record.writes.is_empty() {
                                        record.version = committed.version.0;
                                        record.read_only = false;
                                    }
                                    history.transactions.push(record);
                                    break;
                                }
                                Err(Error::Write(WriteError::Conflict { .. })) => history.retries += 1,
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                    history
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().expect("no panic")).collect()
    });
    let mut all = History::default();
    for part in parts {
        all.retries += part.retries;
        all.transactions.extend(part.transactions);
    }
    all
}
