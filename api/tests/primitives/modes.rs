//! Databases of every mode, for tests of what must not depend on the mode.

use std::sync::Arc;

use in_mem::{Builder, Database, Durability, Execution, ManualClock};
use in_mem_wal::SimDisk;

/// A way to run a database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// `None`: in memory only.
    pub(crate) durability: Option<Durability>,
    pub(crate) execution: Execution,
}

impl Setup {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for durability in [None, Some(Durability::buffered()), Some(Durability::Strict)] {
            for execution in [Execution::Inline, Execution::Pinned] {
                all.push(Self { durability, execution });
            }
        }
        all
    }

    pub(crate) fn is_durable(self) -> bool {
        self.durability.is_some()
    }

    pub(crate) fn open(self, dir: &std::path::Path) -> Database {
        self.open_with(Database::builder(), dir)
    }

    /// Opens it on a simulated disk.
    pub(crate) fn open_on(self, disk: Arc<SimDisk>, dir: &std::path::Path) -> Database {
        self.open_with(Database::builder().storage(disk), dir)
    }

    fn open_with(self, builder: Builder, dir: &std::path::Path) -> Database {
        let builder = builder.shards(2).execution(self.execution).segment_bytes(1 << 20);
        match self.durability {
            None => builder.durability(Durability::InMemory).open(),
            Some(durability) => builder.path(dir).durability(durability).open(),
        }
        .expect("opens")
    }
}

/// Runs a test in every mode; it gets the database, and what opens it again where that makes sense.
pub(crate) fn in_every_mode(test: impl Fn(Database, &dyn Fn(Database) -> Database)) {
    for setup in Setup::all() {
        let dir = tempfile::tempdir().expect("a directory");
        let reopen = |db: Database| {
            if !setup.is_durable() {
                return db;
            }
            db.close().expect("closes");
            setup.open(dir.path())
        };
        test(setup.open(dir.path()), &reopen);
    }
}

/// As [`in_every_mode`], at a time that the test sets.
pub(crate) fn in_every_mode_at(clock: &ManualClock, test: impl Fn(Database, &dyn Fn(Database) -> Database)) {
    for setup in Setup::all() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || setup.open_with(Database::builder().clock(Arc::new(clock.clone())), dir.path());
        let reopen = |db: Database| {
            if !setup.is_durable() {
                return db;
            }
            db.close().expect("closes");
            open()
        };
        test(open(), &reopen);
    }
}

/// A database in memory.
pub(crate) fn in_memory() -> Database {
    Database::builder().durability(Durability::InMemory).shards(1).open().expect("opens")
}
