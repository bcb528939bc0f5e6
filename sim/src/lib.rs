//! The programs that try to make in-mem lose or falsify something, all seeded: a failure names its seed and repeats.
//!
//! [`crash`] runs the whole engine on a simulated disk and clock, cuts the power anywhere, and holds what is recovered against
//! a [`model`] that knows every commit in order. [`faults`] makes every operation of a script fail in turn, [`corrupt`] damages
//! files bit by bit, [`kill`] kills a real process on a real disk.

pub mod chronicle;
pub mod corrupt;
pub mod crash;
pub mod faults;
pub mod finding;
pub mod fuzz;
pub mod kill;
pub mod ledger;
mod meanwhile;
pub mod model;
mod scenes;
pub mod workload;
