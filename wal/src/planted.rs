//! Bugs planted to see whether the simulator finds them: `cargo xtask sim --mutants`.
//!
//! They are all in one build, made with `--cfg inmem_mutants`, and an environment variable says which of them is. Any other build
//! has none: the answer is a constant.

/// Which planted bug the process has.
#[cfg(inmem_mutants)]
static PLANTED: std::sync::LazyLock<Option<String>> =
    std::sync::LazyLock::new(|| std::env::var("INMEM_MUTANT").ok());

/// Whether this bug is planted.
#[inline]
#[must_use]
pub fn is_planted(name: &str) -> bool {
    #[cfg(inmem_mutants)]
    return PLANTED.as_deref() == Some(name);
    #[cfg(not(inmem_mutants))]
    {
        let _ = name;
        false
    }
}
