//! One shard of in-mem: the single-threaded core, the index readers share, the turns that drive it.

pub mod index;
pub mod sync;
pub mod turn;
