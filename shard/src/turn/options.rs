//! How a shard is driven.

use std::fmt;

/// Where commands are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Execution {
    /// By the caller that finds the shard idle; by the holder of the turn otherwise.
    #[default]
    Inline,
    /// On the home thread, every one.
    Pinned,
}

/// Who leads the next sync when a leader finds that more commits wait (Inline only).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handover {
    /// A thread that waits for it; the home thread if none does.
    #[default]
    Waiter,
    /// The home thread, which goes on leading as long as there is anything to sync.
    Home,
}

/// Options of one shard's turns. `Default` is meant for use.
pub struct Options {
    /// Where commands are executed.
    pub execution: Execution,
    /// Commands the inbox holds before senders wait.
    pub inbox_capacity: usize,
    /// Most commands of others that a caller runs in one turn.
    pub help_limit_ops: usize,
    /// Most commands the home thread runs before it answers them.
    pub batch_limit_ops: usize,
    /// Most work [`Core::maintain`](super::Core::maintain) may do in one turn.
    pub maintain_budget_ops: usize,
    /// Longest spin before parking, in pause instructions (about 25 ns each); adapted below that. Zero: never spin.
    pub spin_limit_pauses: u32,
    /// Most commands accepted through the inbox whose answers are not taken yet.
    pub reply_slots_limit: u32,
    /// Sync in the background this often. None: only for those who wait.
    pub sync_interval_ms: Option<u64>,
    /// Who leads the next sync.
    pub handover: Handover,
    /// Whether there is a home thread. Without one, [`Shard::step`](super::Shard::step) does its work by hand.
    pub background: bool,
    /// Name of the home thread.
    pub thread_name: String,
    /// Run first on the home thread, for example to pin it to a core.
    pub on_home_start: Option<Box<dyn FnOnce() + Send>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            execution: Execution::Inline,
            inbox_capacity: 1024,
            help_limit_ops: 64,
            batch_limit_ops: 64,
            maintain_budget_ops: 256,
            spin_limit_pauses: 2_000,
            reply_slots_limit: 1 << 20,
            sync_interval_ms: None,
            handover: Handover::Waiter,
            background: true,
            thread_name: "in-mem-shard".to_owned(),
            on_home_start: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("execution", &self.execution)
            .field("inbox_capacity", &self.inbox_capacity)
            .field("help_limit_ops", &self.help_limit_ops)
            .field("batch_limit_ops", &self.batch_limit_ops)
            .field("maintain_budget_ops", &self.maintain_budget_ops)
            .field("spin_limit_pauses", &self.spin_limit_pauses)
            .field("reply_slots_limit", &self.reply_slots_limit)
            .field("sync_interval_ms", &self.sync_interval_ms)
            .field("handover", &self.handover)
            .field("background", &self.background)
            .field("thread_name", &self.thread_name)
            .finish_non_exhaustive()
    }
}
