//! A supervisor gives parts of its work to child runs, watches how they end, and tries a failed part once more. A child is begun
//! in the same transaction that notes it, so that none is ever lost.

use in_mem::{Database, Run, RunStatus, value};

/// Stands for a sub-agent: the second part fails the first time.
fn research(child: &Run, part: &str, attempt: i64) -> in_mem::Result<()> {
    if part == "prices" && attempt == 1 {
        return child.fail("the shop did not answer");
    }
    child.kv().put("found", format!("all about {part}"))?;
    child.end(RunStatus::Completed)
}

fn begin(supervisor: &Run, part: &str, attempt: i64) -> in_mem::Result<Run> {
    let child = supervisor.child(format!("research {part}"))?.tag(format!("part:{part}"));
    supervisor.transaction(|tx| {
        let child = tx.begin_run(child.clone())?;
        tx.kv_of(&child).put("task", part)?;
        tx.events().append(
            "delegated",
            value!({ "part": part, "attempt": attempt, "to": child.id().to_string() }),
        )?;
        Ok(child)
    })
}

pub(crate) fn main() -> in_mem::Result<()> {
    let db = Database::in_memory()?;
    let supervisor = db.begin_run("buy a laptop")?;
    for part in ["needs", "prices", "reviews"] {
        for attempt in 1..=2 {
            let child = begin(&supervisor, part, attempt)?;
            research(&child, part, attempt)?;
            let ended = child.info()?.meta;
            if ended.status == RunStatus::Completed {
                // From the child into its parent: both are read and written as one state.
                supervisor.transaction(|tx| {
                    let found = tx.kv_of(&child).get("found")?;
                    tx.kv().put(format!("result/{part}"), found)?;
                    tx.events().append("result", part)
                })?;
                break;
            }
            let why = ended.error.as_deref().unwrap_or_default();
            supervisor.events().append("failed", value!({ "part": part, "why": why }))?;
        }
    }
    supervisor.end(RunStatus::Completed)?;

    let children = || db.runs().children_of(supervisor.id());
    for child in children().list()? {
        println!("{}: {}", child.meta.name, child.meta.status);
    }
    assert_eq!(children().count()?, 4);
    assert_eq!(children().status(RunStatus::Failed).count()?, 1);
    assert_eq!(supervisor.kv().count("result/")?, 3);
    Ok(())
}
