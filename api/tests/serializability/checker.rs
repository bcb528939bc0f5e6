//! Whether a history of transactions is as if they had run one after the other.
//!
//! Two independent checks. The graph: a transaction depends on whom it read from and whom it overwrote, and whoever
//! overwrote what it read depends on it; a cycle means that no order explains the history (A. Adya, "Weak Consistency: A
//! Generalized Theory and Optimistic Implementations for Distributed Transactions", MIT 1999). The replay: in the order of
//! the versions that the database returned, each transaction must have read what the ones before it left, absence and ranges
//! included.

use std::collections::{BTreeMap, HashMap};

/// What a transaction saw of a key: who wrote it; `None`: nothing was there.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) key: String,
    pub(crate) writer: Option<u64>,
}

/// What a transaction saw of a range: every key in it, with who wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) lower: String,
    pub(crate) upper: String,
    pub(crate) found: Vec<Access>,
}

#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) key: String,
    /// A put; otherwise a delete.
    pub(crate) put: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) id: u64,
    /// The version of its commit; of one that only read, the version it read at.
    pub(crate) version: u64,
    pub(crate) read_only: bool,
    pub(crate) reads: Vec<Access>,
    pub(crate) ranges: Vec<Range>,
    pub(crate) writes: Vec<Write>,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) retries: u64,
}

impl History {
    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }
}

impl From<Vec<Transaction>> for History {
    fn from(transactions: Vec<Transaction>) -> Self {
        Self { transactions, retries: 0 }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) edges: usize,
    pub(crate) ranges: usize,
    pub(crate) anomalies: Vec<String>,
}

pub(crate) fn check(history: &History) -> Found {
    let mut ordered: Vec<&Transaction> = history.transactions.iter().collect();
    // A reader at version v comes behind the writer of v.
    ordered.sort_by_key(|t| (t.version, t.read_only));
    let mut found = Found::default();
    replay(&ordered, &mut found);
    graph(&ordered, &mut found);
    found
}

fn replay(ordered: &[&Transaction], found: &mut Found) {
    let mut state: BTreeMap<&str, u64> = BTreeMap::new();
    for t in ordered {
        for read in &t.reads {
            let there = state.get(read.key.as_str()).copied();
            if there != read.writer {
                found
                    .anomalies
                    .push(format!("{} at {} read {:?}, but {there:?} was there", t.id, t.version, read));
            }
        }
        for range in &t.ranges {
            found.ranges += 1;
            let there: Vec<(&str, u64)> =
                state.range(range.lower.as_str()..range.upper.as_str()).map(|(k, w)| (*k, *w)).collect();
            let seen: Vec<(&str, u64)> =
                range.found.iter().map(|a| (a.key.as_str(), a.writer.unwrap_or_default())).collect();
            if there != seen {
                found
                    .anomalies
                    .push(format!("{} at {} scanned {seen:?}, but {there:?} was there", t.id, t.version));
            }
        }
        for write in &t.writes {
            if write.put {
                state.insert(&write.key, t.id);
            } else {
                state.remove(write.key.as_str());
            }
        }
    }
}

fn graph(ordered: &[&Transaction], found: &mut Found) {
    let number: HashMap<u64, usize> = ordered.iter().enumerate().map(|(n, t)| (t.id, n)).collect();
    // The writers of each key, in the order of the versions that the database gave them.
    let mut writers: BTreeMap<&str, Vec<(usize, bool)>> = BTreeMap::new();
    for (n, t) in ordered.iter().enumerate() {
        for write in &t.writes {
            writers.entry(&write.key).or_default().push((n, write.put));
        }
    }
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); ordered.len()];
    let mut add = |from: usize, to: usize| {
        if from != to {
            edges[from].push(to);
        }
    };
    for of_key in writers.values() {
        for pair in of_key.windows(2) {
            add(pair[0].0, pair[1].0);
        }
    }
    for (n, t) in ordered.iter().enumerate() {
        let mut saw = |key: &str, writer: Option<u64>| {
            let Some(of_key) = writers.get(key) else { return };
            // Which of the key's versions it saw: the one of that writer; nothing: the last delete before its own place, or
            // the time before the first write.
            let place = match writer {
                Some(id) => of_key.iter().position(|(w, _)| Some(w) == number.get(&id)),
                None => of_key.iter().rposition(|(w, put)| !put && *w < n),
            };
            if let Some(place) = place {
                add(of_key[place].0, n);
            } else if writer.is_some() {
                return;
            }
            if let Some((next, _)) = of_key.get(place.map_or(0, |p| p + 1)) {
                add(n, *next);
            }
        };
        for read in &t.reads {
            saw(&read.key, read.writer);
        }
        for range in &t.ranges {
            let seen: HashMap<&str, Option<u64>> =
                range.found.iter().map(|a| (a.key.as_str(), a.writer)).collect();
            for key in writers.range(range.lower.as_str()..range.upper.as_str()).map(|(k, _)| *k) {
                saw(key, seen.get(key).copied().flatten());
            }
        }
    }
    found.edges = edges.iter().map(Vec::len).sum();
    if let Some(cycle) = cycle(&edges) {
        let ids: Vec<u64> = cycle.iter().map(|n| ordered[*n].id).collect();
        found.anomalies.push(format!(
            "no order explains these transactions, each of which must come before the next: {ids:?}"
        ));
    }
}

/// A cycle of the graph, if there is one: depth first, without recursion.
fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    for start in 0..edges.len() {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::Open;
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            let Some(&to) = edges[*node].get(*next) else {
                marks[*node] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[to] {
                Mark::Open => {
                    let from = path.iter().position(|(n, _)| *n == to).unwrap_or(0);
                    return Some(path[from..].iter().map(|(n, _)| *n).collect());
                }
                Mark::New => {
                    marks[to] = Mark::Open;
                    path.push((to, 0));
                }
                Mark::Done => {}
            }
        }
    }
    None
}
