//! What is nested as deep as may be is either refused or read back: the log never takes what recovery cannot read.

use in_mem::{Database, Error, Value, limits};

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::Array([inner].into()))
}

fn open(dir: &tempfile::TempDir) -> Database {
    Database::builder().path(dir.path()).shards(1).segment_bytes(1 << 20).open().expect("opens")
}

#[test]
fn metadata_as_deep_as_may_be_does_not_keep_the_database_from_opening() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(&dir);
    let run = db.new_run("r").metadata(nested(limits::MAX_DEPTH - 1)).begin().expect("begins");
    let refused = db.new_run("deep").metadata(nested(limits::MAX_DEPTH)).begin();
    assert!(matches!(refused, Err(Error::Value(_))), "{refused:?}");
    assert!(matches!(run.set_metadata(nested(limits::MAX_DEPTH)), Err(Error::Value(_))));
    let id = run.id();
    db.close().expect("closes");
    let db = open(&dir);
    let info = db.run(id).expect("there").info().expect("there");
    assert_eq!(info.meta.metadata, nested(limits::MAX_DEPTH - 1));
}

#[test]
fn what_a_closure_writes_is_checked_as_what_a_caller_writes() {
    use in_mem_engine::{Config, Engine, RunMeta, command};
    let engine = Engine::in_memory(Config { shards: Some(1), ..Config::default() }).expect("opens");
    let run = in_mem_model::RunId::generate(engine.now());
    let mut request = command::CommitRequest::new(run);
    request.writes.push((run, command::Write::CreateRun(Box::new(RunMeta::new(run, "r")))));
    engine.commit(request).expect("begins");
    let write = |levels: usize, key_bytes: usize| {
        engine.execute(
            run,
            Box::new(move |tx| {
                tx.put(in_mem_model::Tag::Kv, &vec![b'k'; key_bytes], nested(levels));
                Ok(Box::new(()))
            }),
        )
    };
    assert!(matches!(write(limits::MAX_DEPTH + 1, 1), Err(in_mem_engine::Error::Value(_))));
    assert!(matches!(write(1, limits::MAX_KEY_BYTES + 1), Err(in_mem_engine::Error::Key(_))));
    assert!(matches!(write(limits::MAX_DEPTH, limits::MAX_KEY_BYTES), Ok(Ok(_))));
}
