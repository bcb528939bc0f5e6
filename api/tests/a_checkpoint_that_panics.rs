//! A checkpoint that panics in the background is said to have failed, and the next one is written all the same.

use std::sync::Arc;
use std::time::Duration;

use in_mem::Database;

#[path = "common/before_opening.rs"]
mod before_opening;

use before_opening::BeforeOpening;

#[test]
fn is_not_the_last_one() {
    let disk = BeforeOpening::new();
    disk.once(|path, _| path.extension().is_some_and(|end| end == "part"), || panic!("the first checkpoint"));
    let db = Database::builder()
        .path("/db")
        .shards(1)
        .storage(Arc::new(disk.clone()))
        .checkpoint_interval(Some(Duration::from_millis(1)))
        .open()
        .expect("opens");
    let run = db.begin_run("written to").expect("begins");
    let shard = || db.stats().expect("there").shards.remove(0);
    let mut said = None;
    while shard().checkpoint.is_none() {
        run.kv().put("k", 1).expect("goes on");
        said = said.or(shard().checkpoint_error);
    }
    assert!(disk.has_happened());
    assert!(said.is_none_or(|said| said.contains("panicked")));
    while shard().checkpoint_error.is_some() {
        run.kv().put("k", 2).expect("goes on");
    }
    db.close().expect("closes");
}
