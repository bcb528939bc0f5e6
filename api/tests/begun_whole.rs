//! A run that is made together with its content is there whole, or not at all, and stands the same after reopening.

use in_mem::{Database, Error, EventDraft, RunStatus, Timestamp, Value, limits};

fn open(dir: &tempfile::TempDir) -> Database {
    Database::builder().path(dir.path()).shards(2).segment_bytes(1 << 20).open().expect("opens")
}

#[test]
fn a_run_made_with_its_content_stands_the_same_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(&dir);
    let begin = |name: &str, ended: bool| {
        db.new_run(name).tag("t").created_at(Timestamp(5)).begin_with(|tx| {
            tx.kv().put("a", 1)?;
            tx.state().set("cell", "x")?;
            tx.events().append_draft(&EventDraft::new("first", 1).stream("s").occurred_at(Timestamp(6)))?;
            tx.events().append("second", 2)?;
            assert_eq!(tx.kv().get("a")?, Some(Value::from(1)));
            if ended {
                tx.end_run_as(RunStatus::Failed, Some("why"), Some(Timestamp(7)));
            }
            Ok(())
        })
    };
    let (ended, live) = (begin("ended", true).expect("begins"), begin("live", false).expect("begins"));
    let info = |id| db.run(id).expect("there").info().expect("there");
    let head = live.events().head().expect("there");
    let before = [info(ended.id()), info(live.id())];
    assert_eq!((before[0].events.entries, before[0].kv.entries, before[0].state.entries), (2, 1, 1));
    assert_eq!((before[0].meta.status, before[0].meta.ended), (RunStatus::Failed, Some(Timestamp(7))));
    let (ended, live) = (ended.id(), live.id());
    db.close().expect("closes");

    let db = open(&dir);
    let info = |id| db.run(id).expect("there").info().expect("there");
    assert_eq!(info(ended), before[0]);
    assert_eq!(info(live).events, before[1].events);
    assert_eq!(db.runs().tag("t").count().expect("counts"), 2);
    let live = db.run(live).expect("there");
    assert_eq!(live.events().head().expect("there"), head);
    assert_eq!(live.events().append("third", 3).expect("appends"), 2, "the log goes on where it ended");
}

#[test]
fn a_run_whose_content_is_refused_is_not_made() {
    let db = Database::in_memory().expect("opens");
    let refused = db.new_run("r").begin_with(|tx| {
        tx.kv().put("a", 1)?;
        tx.kv().put("k".repeat(limits::MAX_KEY_BYTES + 1), 1)
    });
    assert!(matches!(refused, Err(Error::Key(_))));
    let refused = db.new_run("r").begin_with(|tx| tx.abort("changed its mind"));
    assert!(matches!(refused, Err(Error::Aborted { .. })));
    assert_eq!(db.runs().count().expect("counts"), 0);
}
