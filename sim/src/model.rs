//! What the database should hold: every commit that was asked for, shard by shard, in order.

use std::collections::BTreeMap;

use in_mem::{RunId, RunStatus, Value};
use in_mem_engine::shard_of;

/// What a run holds.
#[derive(Debug, Clone, PartialEq)]
pub struct RunContent {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: RunStatus,
    /// Its keys.
    pub kv: BTreeMap<String, Value>,
    /// Its events: kind and data.
    pub events: Vec<(String, Value)>,
    /// Its cells.
    pub cells: BTreeMap<String, Value>,
    /// The version that changed it last; 0: not known, since the commit was never acknowledged.
    pub last_version: u64,
}

impl RunContent {
    /// A run that was just begun.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: RunStatus::Running,
            kv: BTreeMap::new(),
            events: Vec::new(),
            cells: BTreeMap::new(),
            last_version: 0,
        }
    }

    /// Whether this is what the other is, as far as the other is known.
    pub fn is(&self, expected: &Self) -> bool {
        let same_version = expected.last_version == 0 || self.last_version == expected.last_version;
        same_version
            && Self { last_version: 0, ..self.clone() } == Self { last_version: 0, ..expected.clone() }
    }
}

/// One commit: what the runs it touched hold after it. `None`: the run was deleted.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The runs, as they are after it.
    pub after: Vec<(RunId, Option<RunContent>)>,
}

/// The runs of one shard.
pub(crate) type Content = BTreeMap<RunId, RunContent>;

/// What one shard may hold after a crash: its base and some prefix of its commits.
#[derive(Debug, Clone, Default)]
pub struct ShardModel {
    /// What it held when the database was opened.
    pub(crate) base: Content,
    /// What was committed since, in order.
    pub commits: Vec<Commit>,
    /// So many of them were acknowledged.
    pub acknowledged: usize,
    /// So many of them were synced.
    pub synced: usize,
}

/// What the database should hold.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Each shard, as the runs are routed now.
    pub shards: Vec<ShardModel>,
}

impl Model {
    /// A database that holds `content`, routed to so many shards.
    pub(crate) fn of(content: Content, shards: usize) -> Self {
        let mut model = Self { shards: vec![ShardModel::default(); shards] };
        for (run, held) in content {
            model.shards[shard_of(run, shards)].base.insert(run, held);
        }
        model
    }

    /// The shard that a run lives on.
    pub fn shard_of(&self, run: RunId) -> usize {
        shard_of(run, self.shards.len())
    }

    /// What everything holds after all commits.
    pub(crate) fn newest(&self) -> Content {
        self.shards.iter().flat_map(|shard| shard.prefix(shard.commits.len())).collect()
    }

    /// Everything acknowledged so far is synced.
    pub fn synced(&mut self) {
        for shard in &mut self.shards {
            shard.synced = shard.acknowledged;
        }
    }
}

impl ShardModel {
    /// What it holds after the first `n` commits.
    pub(crate) fn prefix(&self, n: usize) -> Content {
        let mut content = self.base.clone();
        for commit in &self.commits[..n] {
            for (run, after) in &commit.after {
                match after {
                    Some(held) => content.insert(*run, held.clone()),
                    None => content.remove(run),
                };
            }
        }
        content
    }
}
