//! The past of a run, read from the log and from nothing else.
//!
//! - [`bundle`]: runs with all their history in one file.
//! - [`changes`]: the changes of some keys after a version, for a watch that begins in the past.
//! - [`commits`]: the commits of one run, in order, out of the shard's log.
//! - [`prune`]: which ended runs are no longer kept.
//! - [`timeline`]: all versions of all keys of a run; a [`View`] is the run after so many of its commits.
//! - `fork`: runs that begin as another run stands, or stood.
//! - `erase`: taking the past of runs out of the log; `held`: what forks hold of runs that are gone.
//! - `retention`: prunes in the background.
//! - `gone`: why the past of a run is not there.
//! - [`diff`]: how two states differ, and where they parted.
//! - [`digest`]: what two states have to have in common to be called the same.
//!
//! What is read here is a pure function of the log. Where the log does not hold it, the error says so: nothing falls
//! back to what the run is now.

pub mod bundle;
pub mod changes;
pub mod commits;
pub mod diff;
pub mod digest;
pub(crate) mod erase;
mod error;
mod fork;
mod gone;
mod held;
pub mod prune;
pub(crate) mod retention;
pub(crate) mod run_list;
pub mod timeline;

pub(crate) use bundle::arrival::{Arrivals, copy_arriving, read_arriving};
pub use bundle::{Bundle, BundleError, BundledRun, ImportReport};
pub use changes::Watching;
pub(crate) use commits::note_kept_end;
pub use commits::{Commit, KeyChange};
pub use diff::spans::{SpanDiff, SpanSide, TraceDiff, TraceTotals};
pub use diff::values::{ValueDiff, diff_values};
pub use diff::{Diff, Divergence, KeyDiff, Side};
pub use digest::{Digest, Mismatch, Verification};
pub use error::HistoryError;
pub use fork::ForkSettings;
pub use prune::{PruneReport, PrunedRun, RetentionPolicy};
pub use retention::RetentionStats;
pub use timeline::{KeyMoment, Point, Timeline, View};
