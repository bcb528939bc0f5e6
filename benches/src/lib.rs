//! What in-mem costs, measured beside what it is compared with, in the same run.
//!
//! [`gates`] are figures with a limit; [`ablation`] compares the two ways to run a shard. `cargo xtask gates` prints
//! both. How each figure is taken is told in this crate's README.

pub mod ablation;
pub mod counting;
pub mod figure;
pub mod gates;
mod scale;
mod subject;
mod timing;

pub use figure::{Figure, Limit};
pub use scale::Scale;

/// Every program that measures counts what it allocates.
#[global_allocator]
static ALLOCATOR: counting::CountingAllocator = counting::CountingAllocator;
