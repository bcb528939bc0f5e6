//! One shard of in-mem: the single-threaded core, the index readers share, the turns that drive it.
//!
//! - [`core`]: the state machine. Commands in, replies and log records out; no I/O, clock or thread of its own.
//! - [`index`]: the shared index. One writer, readers that take no lock.
//! - [`turn`]: who may be the shard when, and how answers come back.
//! - [`Actor`]: the core as a turn drives it, with a [`clock`] and a log that is synced outside the turn.

mod actor;
pub mod clock;
pub mod core;
pub mod index;
pub mod sync;
pub mod turn;

pub use actor::Actor;
