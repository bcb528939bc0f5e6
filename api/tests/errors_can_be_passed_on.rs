//! What a first user writes with `?` in a function that gives [`in_mem::Result`].

use in_mem::{
    Database, Error, KeyError, Namespace, NamespaceError, ParseRunIdError, ParseTimestampError, RunId,
    Timestamp, Value, ValueError, limits,
};

fn remember(db: &Database, agent: &str) -> in_mem::Result<RunId> {
    let memory = db.memory(&Namespace::for_agent(agent)?)?;
    memory.kv().put("seen", true)?;
    Ok(memory.id())
}

fn look_up(db: &Database, id: &str, at: &str) -> in_mem::Result<Timestamp> {
    db.run(id.parse()?)?;
    Ok(at.parse()?)
}

#[test]
fn names_ids_and_times_that_are_none_are_errors_of_ours() {
    let db = Database::in_memory().expect("opens");
    let id = remember(&db, "scout").expect("remembers").to_string();
    assert!(look_up(&db, &id, "2025-06-30T12:00:00Z").is_ok());
    assert!(matches!(remember(&db, ""), Err(Error::Namespace(NamespaceError::Empty { .. }))));
    assert!(matches!(look_up(&db, "0198", ""), Err(Error::RunId(ParseRunIdError { .. }))));
    assert!(matches!(look_up(&db, &id, "noon"), Err(Error::Timestamp(ParseTimestampError { .. }))));
}

#[test]
fn what_an_error_holds_can_be_named() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("named").expect("begins");
    let long = run.kv().put("k".repeat(limits::MAX_KEY_BYTES + 1), 1);
    assert!(matches!(long, Err(Error::Key(KeyError::TooLong { .. }))), "{long:?}");
    let large = run.kv().put("k", Value::from(vec![0u8; limits::MAX_VALUE_BYTES + 1]));
    assert!(matches!(large, Err(Error::Value(ValueError::TooLarge { .. }))), "{large:?}");
}
