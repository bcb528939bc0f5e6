//! The programs that try to make in-mem lose or falsify something, all seeded: a failure names its seed and repeats.
//!
//! [`crash`] runs the whole engine on a simulated disk and clock, cuts the power anywhere, and holds what is recovered against
//! a [`model`] that knows every commit in order.

pub mod crash;
pub mod finding;
pub mod ledger;
pub mod model;
pub mod workload;
