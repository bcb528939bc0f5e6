//! The smallest core that can lose, double, reorder or answer too early.

#![allow(dead_code, missing_docs, unreachable_pub, missing_debug_implementations)]

use in_mem_shard::turn::{Core, Execution, Maintenance, Options, Shard, SyncFailed, SyncJob, Ticket};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy)]
pub enum Command {
    /// Answered at once.
    Add(u64),
    /// Answered when synced, with the lsn.
    AddSynced(u64),
}

pub struct List {
    pub items: Vec<u64>,
    pub lsn: u64,
    pub through: u64,
    pub synced: Arc<AtomicU64>,
}

impl List {
    pub fn new() -> Self {
        Self { items: Vec::new(), lsn: 0, through: 0, synced: Arc::new(AtomicU64::new(0)) }
    }
}

pub struct Job {
    through: u64,
    synced: Arc<AtomicU64>,
}

impl SyncJob for Job {
    fn run(&mut self) {
        self.synced.store(self.through, Ordering::Release);
    }
}

impl Core for List {
    type Command = Command;
    type Reply = u64;
    type SyncJob = Job;

    fn begin_turn(&mut self) {}

    fn execute(&mut self, command: Command) -> (u64, Ticket) {
        match command {
            Command::Add(item) => {
                self.items.push(item);
                (self.items.len() as u64, Ticket::NOW)
            }
            Command::AddSynced(item) => {
                self.items.push(item);
                self.lsn += 1;
                (self.lsn, Ticket(self.lsn))
            }
        }
    }

    fn end_turn(&mut self) {}

    fn begin_sync(&mut self) -> Option<Job> {
        if self.through == self.lsn {
            return None;
        }
        self.through = self.lsn;
        Some(Job { through: self.lsn, synced: self.synced.clone() })
    }

    fn finish_sync(&mut self, job: Job) -> Result<Ticket, SyncFailed> {
        Ok(Ticket(job.through))
    }

    fn maintain(&mut self, _budget_ops: usize) -> Maintenance {
        Maintenance::default()
    }
}

pub fn options(execution: Execution, background: bool) -> Options {
    Options { execution, background, inbox_capacity: 2, ..Options::default() }
}

pub fn start(core: List, execution: Execution, background: bool) -> Arc<Shard<List>> {
    Arc::new(Shard::start(core, options(execution, background)).unwrap())
}
