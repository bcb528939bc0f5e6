//! Which shard a run lives on. Fixed, and named in the manifest: the same run must be found again by every later version.

use in_mem_model::RunId;

/// The name of the routing below, as the manifest says it. Another routing gets another name.
pub const ROUTING_NAME: &str = "multiply-shift-16-v1";

/// The most shards a database may have: routing has 16 bits to tell them apart.
pub const MAX_SHARDS: usize = 1024;

/// The shard of `shards` that owns the run. A run and its children share their routing bits, so they share a shard.
pub fn shard_of(run: RunId, shards: usize) -> usize {
    // The golden ratio's multiplier spreads ids that people chose by hand; the high half is then scaled to the count.
    let mixed = u64::from(run.routing()).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((mixed * shards as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routing_is_what_it_was() {
        // Changing these means that databases on disk are read wrongly: give the routing another name instead.
        let of = |routing: u16| shard_of(RunId::from_bytes([0; 16]).with_routing(routing), 7);
        assert_eq!([0, 1, 2, 3, 1000, 40_000, 65_535].map(of), [0, 4, 1, 5, 0, 2, 6]);
    }

    #[test]
    fn every_shard_gets_its_share() {
        for shards in [1, 2, 3, 8, 64] {
            let mut counts = vec![0usize; shards];
            for routing in 0..=u16::MAX {
                counts[shard_of(RunId::from_bytes([0; 16]).with_routing(routing), shards)] += 1;
            }
            let fair = 65_536 / shards;
            assert!(counts.iter().all(|c| *c > fair * 9 / 10 && *c < fair * 11 / 10), "{counts:?}");
        }
    }
}
