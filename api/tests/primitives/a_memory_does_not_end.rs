//! A namespace has one memory: an agent that ends whatever it was given must not close it for all that come after.

use in_mem::{Database, Error, Namespace, RunStatus, WriteError};

use crate::modes;

fn remembers(db: &Database, namespace: &Namespace) {
    let memory = db.memory(namespace).expect("is there");
    assert_eq!(memory.kv().get("fact").expect("reads"), Some(1.into()));
    memory.kv().put("seen", true).expect("still written");
}

#[test]
fn a_memory_does_not_end() {
    modes::in_every_mode(|db, reopen| {
        let namespace = Namespace::new("acme", "support", "scout").expect("a namespace");
        let memory = db.memory(&namespace).expect("begins");
        memory.kv().put("fact", 1).expect("puts");
        for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled] {
            let refused = memory.end(status);
            assert!(
                matches!(refused, Err(Error::Write(WriteError::EndlessMemory { to, .. })) if to == status),
                "{refused:?}"
            );
        }
        assert!(memory.fail("an agent failed").is_err());
        let refused = memory.transaction(|tx| {
            tx.kv().put("fact", 2)?;
            tx.end_run(RunStatus::Completed);
            Ok(())
        });
        assert!(matches!(refused, Err(Error::Write(WriteError::EndlessMemory { .. }))), "{refused:?}");
        remembers(&db, &namespace);
        let db = reopen(db);
        remembers(&db, &namespace);
        // What is forked of it, or begun by it, is a run, and ends.
        let memory = db.memory(&namespace).expect("is there");
        let fork = memory.fork(in_mem::ForkOptions::default()).expect("forks");
        fork.end(RunStatus::Completed).expect("ends");
        memory
            .child("task")
            .expect("a parent")
            .begin()
            .expect("begins")
            .end(RunStatus::Failed)
            .expect("ends");
        memory.delete().expect("deletes");
        assert_eq!(db.memory(&namespace).expect("begins anew").kv().get("fact").expect("reads"), None);
    });
}
