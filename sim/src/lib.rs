//! A whole database on a simulated disk and clock: a seeded workload, a crash at any operation of the disk, recovery, and the
//! check that what is there is what may be there.
//!
//! | invariant | here |
//! |---|---|
//! | I1 Strict: recovered contains acknowledged | the prefix found is no shorter than what was acknowledged |
//! | I2 recovered is a prefix of the shard's commit order | some prefix matches, key by key |
//! | I3 transactions are all or nothing | a prefix is made of whole commits |
//! | I4 Buffered: loss is bounded by the last sync | the prefix found is no shorter than what was synced |
//! | I5 no silent wrong value | values, versions, events and runs are compared, not counted |
//! | I6 recovery is idempotent, also when interrupted | recovered twice, and with a crash in between |
//!
//! ```
//! use in_mem_sim::{Plan, Scenario};
//!
//! let report = Scenario::new(Plan { seed: 7, ..Plan::default() }).run().expect("no violation");
//! assert!(report.commits > 0);
//! ```

mod compare;
mod faults;
mod model;
mod scenario;
mod workload;

pub use faults::{FaultPlan, FaultReport, live_with_fault};
pub use model::{Commit, Model, RunContent};
pub use scenario::{Plan, Report, Scenario, Violation};
pub use workload::Workload;
