//! Which core each shard's home thread is pinned to.

/// Whether home threads are pinned to cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pinning {
    /// Where the process may use at least as many cores as there are shards.
    #[default]
    Auto,
    /// Always, several shards to a core where there are fewer cores.
    Always,
    /// Never.
    Never,
}

/// What became of pinning, for `stats`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The core of each shard; `None`: not pinned.
    pub(crate) cores: Vec<Option<core_affinity::CoreId>>,
    /// Why not, where not.
    pub(crate) reason: Option<String>,
}

/// Decides for every shard. Asks for the core list once, before any thread is pinned: afterwards a thread sees only
/// its own core.
pub(crate) fn plan(pinning: Pinning, shards: usize) -> Plan {
    let unpinned = |reason: &str| Plan { cores: vec![None; shards], reason: Some(reason.to_owned()) };
    if pinning == Pinning::Never {
        return unpinned("pinning is turned off");
    }
    let Some(cores) = core_affinity::get_core_ids().filter(|c| !c.is_empty()) else {
        return unpinned("the system does not say which cores this process may use");
    };
    if pinning == Pinning::Auto && cores.len() < shards {
        return unpinned(&format!("{shards} shards, but this process may use {} cores only", cores.len()));
    }
    Plan { cores: (0..shards).map(|shard| Some(cores[shard % cores.len()])).collect(), reason: None }
}

/// The cores that this process may use.
pub(crate) fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_shards_than_cores_are_not_pinned_and_it_is_said() {
        let plan = plan(Pinning::Auto, 10_000);
        assert!(plan.cores.iter().all(Option::is_none));
        assert!(plan.reason.is_some());
    }

    #[test]
    fn pinning_can_be_turned_off() {
        assert_eq!(super::plan(Pinning::Never, 2).cores, [None, None]);
    }
}
