//! Two agents share a queue of work and a lock, both state cells of one run: no item is done twice, none is lost, and a lock whose
//! holder is gone is taken over when its time is out.

use std::time::Duration;

use in_mem::{Database, Error, Run, Timestamp, Value, WriteError, value};

const LEASE: Duration = Duration::from_secs(30);

/// Takes the lock, if it is free or its holder's time is out.
fn try_lock(run: &Run, name: &str, holder: &str) -> in_mem::Result<bool> {
    let mine = value!({ "holder": holder, "until": Timestamp::now().saturating_add(LEASE).0 });
    let taken = match run.state().read(name)? {
        None => run.state().init(name, mine),
        Some(lock) if lock.value["until"].as_i64() < Some(Timestamp::now().0) => {
            run.state().cas(name, lock.version, mine)
        }
        Some(_) => return Ok(false),
    };
    match taken {
        Ok(_) => Ok(true),
        // Another was faster, between the read and the write.
        Err(Error::Write(WriteError::ConditionFailed { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock back, if it still is the holder's.
fn unlock(run: &Run, name: &str, holder: &str) -> in_mem::Result<()> {
    run.transaction(|tx| {
        let is_mine = tx.state().read(name)?.is_some_and(|lock| lock["holder"].as_str() == Some(holder));
        if is_mine {
            tx.state().delete(name)?;
        }
        Ok(())
    })
}

/// Takes the first item off the queue and puts it under the agent's name: in one transaction, so that it is always somewhere.
fn take(run: &Run, agent: &str) -> in_mem::Result<Option<Value>> {
    run.transaction(|tx| {
        let queue = tx.state().read("queue")?;
        let Some((first, rest)) = queue.as_ref().and_then(Value::as_array).and_then(<[Value]>::split_first)
        else {
            return Ok(None);
        };
        tx.state().set("queue", Value::array(rest.iter().cloned()))?;
        tx.state().set(format!("working/{agent}"), first.clone())?;
        Ok(Some(first.clone()))
    })
}

fn work(run: &Run, agent: &str) -> in_mem::Result<()> {
    while let Some(item) = take(run, agent)? {
        // The report is one file that both write: one at a time.
        while !try_lock(run, "lock/report", agent)? {
            std::thread::yield_now();
        }
        run.transaction(|tx| {
            tx.events().append("done", value!({ "item": item.clone(), "by": agent }))?;
            tx.state().delete(format!("working/{agent}"))?;
            Ok(())
        })?;
        unlock(run, "lock/report", agent)?;
    }
    Ok(())
}

pub(crate) fn main() -> in_mem::Result<()> {
    let db = Database::in_memory()?;
    let run = db.begin_run("two agents")?;
    run.state().set("queue", Value::array(0..20))?;
    std::thread::scope(|scope| {
        let agents = ["ada", "bob"].map(|agent| {
            let run = &run;
            scope.spawn(move || work(run, agent))
        });
        agents.into_iter().try_for_each(|agent| agent.join().expect("no panic"))
    })?;

    let mut done: Vec<i64> =
        run.events().of_kind("done")?.iter().filter_map(|e| e.payload["item"].as_i64()).collect();
    println!("done, in this order: {done:?}");
    done.sort_unstable();
    assert_eq!(done, (0..20).collect::<Vec<_>>(), "every item once");
    assert_eq!(run.state().list("")?.len(), 1, "only the queue is left, and it is empty");
    Ok(())
}
