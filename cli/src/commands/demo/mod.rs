//! `demo`: an agent at work in a process of its own, which is killed half-way; what the database holds then, held against
//! what had been acknowledged; and the agent going on to the end.

mod ack;
mod child;
mod recorder;
mod recovered;
mod rehearsal;
mod sample;
mod story;

use std::{
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
    time::Instant,
};

use in_mem::{Database, RunId, Timestamp};

pub(super) use child::agent;

use self::{ack::Ack, child::AgentProcess, recovered::Recovered, rehearsal::Rehearsal, story::Story};
use super::{Failure, open};
use crate::args::{Common, DemoArgs};

/// The demo's database is small; a segment of this size, in bytes, is made in no time.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Where the demo happens.
struct Stage<'a> {
    common: &'a Common,
    tree: PathBuf,
    db: PathBuf,
    run: RunId,
}

pub(super) fn demo(args: &DemoArgs, common: &Common) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let scratch = tempfile::Builder::new().prefix("in-mem-demo-").tempdir()?;
    let db = common.db.clone().unwrap_or_else(|| scratch.path().join("db"));
    let (tree, sample, rehearsal) = choose_tree(&args.tree, &db, &scratch.path().join("greenhouse"))?;
    let stage = Stage { common, tree, db, run: RunId::generate(Timestamp::now()) };
    let mut story = Story::new(common, rehearsal.steps)?;
    let kill_at = (rehearsal.steps / 2).max(1);

    // 1 and 2: the agent works, and is killed.
    let mut agent = AgentProcess::start(&stage.tree, &stage.db, stage.run, common)?;
    story.begins(&stage, sample, agent.pid())?;
    let mut acks = hear(&mut agent, &mut story, |ack| ack.step >= kill_at)?;
    let killed_at = Instant::now();
    let (rest, status) = agent.kill()?;
    acks.extend(rest);
    if was_killed(status) && acks.last().is_none_or(|ack| !ack.finished) {
        story.killed(&acks)?;
    } else {
        return Err(Failure::Failed(format!("the agent's process ended before it was killed ({status})")));
    }

    // 3: what is there?
    let opening = Instant::now();
    let db = stage.open()?;
    let opened_in = opening.elapsed();
    let run = db.run(stage.run)?;
    let found = Recovered::of(&run)?;
    let mut faults = found.faults(&acks);
    story.recovered(&acks, &found, &faults, opened_in)?;
    // Closing lets go of the directory, whatever handles there still are.
    drop(run);
    db.close()?;
    drop(db);

    // 4: another process goes on.
    let mut agent = AgentProcess::start(&stage.tree, &stage.db, stage.run, common)?;
    story.goes_on(agent.pid(), found.progress.steps)?;
    let heard = hear(&mut agent, &mut story, |ack| ack.finished)?;
    let status = agent.wait()?;
    if !status.success() {
        return Err(Failure::Failed(format!("the agent's second process failed ({status})")));
    }
    let down = killed_at.elapsed();
    acks.extend(heard);

    // 5: what came of it.
    let db = stage.open()?;
    let run = db.run(stage.run)?;
    let all = Recovered::of(&run)?;
    let memory = recovered::memory(&run)?;
    let late = all.faults(&acks);
    story.finished(&memory, &rehearsal.memory)?;
    let info = run.info()?;
    drop(run);
    db.close()?;
    drop(db);
    faults.extend(late);
    scratch.close()?;
    story.ends(&stage, &info, &all, &faults, down, began.elapsed())?;
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Stage<'_> {
    fn open(&self) -> Result<Database, Failure> {
        open_small(&self.db, self.common)
    }
}

fn open_small(path: &Path, common: &Common) -> Result<Database, Failure> {
    let builder = Database::builder().path(path).durability(open::durability(common));
    Ok(builder.segment_bytes(SEGMENT_BYTES).open()?)
}

/// The tree that was named, or a sample where there is nothing in it to explore; and how the work on it goes.
fn choose_tree(named: &Path, db: &Path, sample: &Path) -> Result<(PathBuf, bool, Rehearsal), Failure> {
    let tree = named
        .canonicalize()
        .map_err(|error| Failure::Failed(format!("{}: cannot be explored: {error}", named.display())))?;
    if !tree.is_dir() {
        return Err(Failure::Failed(format!("{}: is not a directory", named.display())));
    }
    let rehearsal = Rehearsal::on(&tree, db);
    if !rehearsal.memory.files.is_empty() {
        return Ok((tree, false, rehearsal));
    }
    sample::write(sample)?;
    Ok((sample.to_owned(), true, Rehearsal::on(sample, db)))
}

/// Hears the agent out until it says what is waited for, or nothing more.
fn hear(
    agent: &mut AgentProcess,
    story: &mut Story<'_>,
    until: impl Fn(&Ack) -> bool,
) -> Result<Vec<Ack>, Failure> {
    let mut acks = Vec::new();
    while let Some(ack) = agent.next()? {
        story.step(&ack);
        let last = until(&ack);
        acks.push(ack);
        if last {
            break;
        }
    }
    Ok(acks)
}

#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    status.signal() == Some(SIGKILL)
}

#[cfg(not(unix))]
fn was_killed(status: ExitStatus) -> bool {
    !status.success()
}
