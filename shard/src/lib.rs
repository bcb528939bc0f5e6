//! One shard of in-mem: the single-threaded core, the index readers share, and the turns that drive it.

pub mod sync;
pub mod turn;
