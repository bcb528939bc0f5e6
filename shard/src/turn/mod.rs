//! Turns: how a shard's single-threaded core is driven by many threads without waking any.
//!
//! Whoever holds the turn *is* the shard for that time. The home thread is the default holder; a caller that finds the
//! turn free takes it and runs its own command where it stands ([`Shard::try_inline`], [`Shard::call`]), because
//! waking a thread costs a hundred times the work. A caller that finds it taken leaves its command in the bounded
//! inbox and waits on a reply slot; the holder cannot let go without seeing it.
//!
//! | file | what |
//! |---|---|
//! | `token` | the one word: held, queued, closed; take, announce, release |
//! | `inbox` | the bounded queue of commands |
//! | `slot` | where answers are left; whom to wake |
//! | `hold` | one turn, from taking it to releasing it: drain, execute, answer, a panic |
//! | `commit` | group commit: who leads a sync, who waits for which ticket |
//! | `lead` | waiting for a sync and leading it |
//! | `gather` | how long a leader lets the next batch gather before it syncs |
//! | `shard` | the handle: submit, call, wait, close |
//! | `pending` | an answer to come: blocking, with a limit, or awaited |
//! | `home` | the home thread's loops |
//! | `spin` | how long to spin before parking |
//!
//! Order: commands of one thread are executed in the order it gave them, whichever way each went. Between threads
//! there is no order but the one the turn gives.
//!
//! A thread inside any shard's turn that calls any shard gets `Reentrant`: if only the same shard were refused, two
//! threads in each other's turns would wait for ever, and whether they do would depend on where the runs hash to.

mod commit;
mod error;
mod gather;
mod hold;
mod home;
mod lead;
mod options;
mod pending;
mod shard;
mod spin;
mod stats;

#[cfg(not(inmem_loom))]
#[allow(unreachable_pub, reason = "public for the models")]
mod inbox;
#[cfg(not(inmem_loom))]
#[allow(unreachable_pub, reason = "public for the models")]
mod slot;
#[cfg(not(inmem_loom))]
#[allow(unreachable_pub, reason = "public for the models")]
mod token;

// The models drive the parts as well as the whole.
#[cfg(inmem_loom)]
#[allow(missing_docs, missing_debug_implementations)]
pub mod inbox;
#[cfg(inmem_loom)]
#[allow(missing_docs, missing_debug_implementations)]
pub mod slot;
#[cfg(inmem_loom)]
#[allow(missing_docs, missing_debug_implementations)]
pub mod token;

pub use error::{CallError, CloseError, StartError, SubmitError, SyncFailed};
pub use options::{Execution, Handover, Options};
pub use pending::Pending;
pub use shard::{NotInline, Shard};
pub use stats::TurnStats;

use std::time::{Duration, Instant};

/// When a wait that begins now is over; `None`: never, where it reaches beyond what the clock can show. `Duration::MAX` is how
/// a caller says "as long as it takes", and adding it to the time would panic.
fn after(wait: Duration) -> Option<Instant> {
    Instant::now().checked_add(wait)
}

/// How durable a command's outcome has to be before it may be answered: `Ticket(0)`, at once; `Ticket(lsn)`, when the
/// log is durable through `lsn`. Tickets of successive commands never go down, but for zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// May be answered at once.
    pub const NOW: Ticket = Ticket(0);
}

/// The blocking part of making the log durable: runs outside the turn, while others go on appending.
pub trait SyncJob: Send + 'static {
    /// Does the I/O. The outcome stays in the job, for [`Core::finish_sync`].
    fn run(&mut self);
}

/// Blocking work that the home thread does outside the turn, such as preparing a segment.
pub type BackgroundJob = Box<dyn FnOnce() + Send>;

/// What [`Core::maintain`] leaves to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// More is due already: come back as soon as others had their turn.
    pub more: bool,
    /// When to come back otherwise, counted from now. None: only after `wants_home`.
    pub next: Option<Duration>,
}

/// What a turn drives: a deterministic single-threaded state machine.
///
/// Only one thread at a time calls any of this, but not always the same one.
pub trait Core: Send + 'static {
    /// A command with everything it needs.
    type Command: Send + 'static;
    /// The answer to a command.
    type Reply: Send + 'static;
    /// The I/O of one sync.
    type SyncJob: SyncJob;

    /// A turn begins: a good time to read the clock, once.
    fn begin_turn(&mut self);

    /// A command that is run soon, behind others: a good time to begin to fetch what it will wait for in memory.
    fn look_ahead(&self, command: &Self::Command) {
        let _ = command;
    }

    /// Runs one command. A panic here poisons the shard, so closures of users are caught inside.
    fn execute(&mut self, command: Self::Command) -> (Self::Reply, Ticket);

    /// The turn ends: publish what may be seen. No answer to a command of this turn is shown before.
    fn end_turn(&mut self);

    /// Prepares a sync of everything appended so far. At most one is outstanding. None: there is nothing to sync,
    /// which must not be said while a ticket above the last `finish_sync` is out: its waiters would be told that
    /// their outcome is unknown.
    fn begin_sync(&mut self) -> Option<Self::SyncJob>;

    /// Takes the outcome of a sync and publishes what is durable now.
    ///
    /// # Errors
    /// The sync failed. It is never tried again: everyone who waits, now or later, for a ticket that is not durable
    /// gets `OutcomeUnknown`; commands with `Ticket(0)` go on (the core refuses writes from here on, and reads on).
    fn finish_sync(&mut self, job: Self::SyncJob) -> Result<Ticket, SyncFailed>;

    /// Does at most `budget_ops` of what is due: expiry, reclamation.
    fn maintain(&mut self, budget_ops: usize) -> Maintenance;

    /// Whether the home thread is wanted before its time (a segment to prepare, bytes to sync, an earlier deadline).
    /// Asked at the end of each turn; stays true until `maintain` and `background` had their say.
    fn wants_home(&self) -> bool {
        false
    }

    /// Whether `wants_home` is about syncing now instead of at the end of the interval.
    fn wants_sync(&self) -> bool {
        false
    }

    /// Work for outside the turn, on the home thread. While it runs there the thread leads no sync: what takes longer
    /// than a sync belongs on a thread of its own, which this may start.
    fn background(&mut self) -> Option<BackgroundJob> {
        None
    }
}
