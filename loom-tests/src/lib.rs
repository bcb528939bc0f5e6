//! Models of the commit paths, explored by loom over the real source of the shard: the turn's hand-over, reply slots, group
//! commit and shutdown (`tests/turn_*`); publishing, growth and reclamation against readers (`tests/index_*`).
//!
//! There is nothing in the library itself. `cargo xtask loom` runs the models, `cargo xtask loom --mutants` plants bugs that
//! they have to find.
