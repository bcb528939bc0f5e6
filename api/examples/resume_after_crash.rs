//! A run goes on where it was after its process died. What was done is in the log; what was not is done now.

use std::path::Path;

use in_mem::{Database, RunId, RunStatus, value};

const STEPS: [&str; 4] = ["search", "compare", "book", "confirm"];

/// Does the steps from `plan/next` on; `crash_before` ends it in the middle.
fn work(db: &Database, id: RunId, crash_before: Option<usize>) -> in_mem::Result<()> {
    let run = db.run(id)?;
    loop {
        let next = run.kv().get_as::<usize>("plan/next")?.unwrap_or(0);
        let Some(step) = STEPS.get(next) else { break };
        if crash_before == Some(next) {
            return Ok(());
        }
        // The step's event and how far we are, together: a crash leaves both or neither.
        run.transaction(|tx| {
            tx.events().append("step", value!({ "name": *step }))?;
            tx.kv().put("plan/next", next + 1)
        })?;
    }
    run.end(RunStatus::Completed)
}

fn first_process(path: &Path) -> in_mem::Result<()> {
    let db = Database::open(path)?;
    let run = db.new_run("book a flight").tag("trip").begin()?;
    work(&db, run.id(), Some(2))
    // It dies here: the run is neither ended nor paused.
}

fn second_process(path: &Path) -> in_mem::Result<()> {
    let db = Database::open(path)?;
    for orphan in db.runs().orphaned().list()? {
        println!("going on with {} ({} events)", orphan.meta.name, orphan.events.entries);
        let run = db.resume(orphan.id)?;
        run.events().append("resumed", ())?;
        work(&db, run.id(), None)?;
        let steps = run.events().of_kind("step")?;
        let names: Vec<_> = steps.iter().filter_map(|e| e.payload["name"].as_str()).collect();
        assert_eq!(names, STEPS, "every step once");
        assert!(run.events().verify_chain()?.is_intact());
    }
    assert_eq!(db.runs().orphaned().count()?, 0);
    assert_eq!(db.runs().tag("trip").status(RunStatus::Completed).count()?, 1);
    Ok(())
}

pub(crate) fn main() -> in_mem::Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    first_process(dir.path())?;
    second_process(dir.path())
}
