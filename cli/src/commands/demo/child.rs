//! The agent's process: the half that is killed, and the half that is started.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, ExitStatus, Stdio},
};

use in_mem::{Error, RunId};

use super::{ack::Ack, recorder::RunRecorder, recovered::memory};
use crate::{
    args::{Common, DemoAgentArgs},
    commands::Failure,
    demo::{Tools, work},
};

/// What the agent's run is called.
const RUN_NAME: &str = "explore a source tree";

/// The agent's process: begins the run, or takes up the one that a killed process left, and works to the end.
pub(in crate::commands) fn agent(args: &DemoAgentArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = super::open_small(common.db_path(), common)?;
    let run = match db.resume(args.run) {
        Ok(run) => run,
        Err(Error::UnknownRun { .. }) => db.new_run(RUN_NAME).id(args.run).tag("demo").begin()?,
        Err(error) => return Err(error.into()),
    };
    let mut memory = memory(&run)?;
    let tools = Tools::new(&args.tree, &[common.db_path().to_owned()]);
    work(&tools, &mut memory, &mut RunRecorder::new(run), u64::MAX)?;
    db.close()?;
    Ok(ExitCode::SUCCESS)
}

/// The agent's process, as its parent has it.
pub(super) struct AgentProcess {
    child: Child,
    acks: BufReader<ChildStdout>,
    heard: ChildStdin,
}

impl AgentProcess {
    /// Starts it.
    pub(super) fn start(
        tree: &Path,
        db: &Path,
        run: RunId,
        common: &Common,
    ) -> Result<AgentProcess, Failure> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.arg("demo-agent").arg("--tree").arg(tree).arg("--db").arg(db);
        command.args(["--run", &run.to_string(), "--durability", durability(common)]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        match (child.stdout.take(), child.stdin.take()) {
            (Some(out), Some(heard)) => Ok(AgentProcess { child, acks: BufReader::new(out), heard }),
            _ => Err(Failure::Failed("the agent's process has no pipes".to_owned())),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it wrote, once it was read whole; `None` where it has nothing more to say.
    pub(super) fn next(&mut self) -> Result<Option<Ack>, Failure> {
        let mut line = String::new();
        self.acks.read_line(&mut line)?;
        // The last line of a killed process may be cut: then it was never an acknowledgement.
        if !line.ends_with('\n') {
            return Ok(None);
        }
        let ack = serde_json::from_str(&line).map_err(|error| {
            Failure::Failed(format!("the agent's process wrote `{}`: {error}", line.trim()))
        })?;
        // It may be dead by now; what it wrote counts all the same.
        let _ = self.heard.write_all(&[1]).and_then(|()| self.heard.flush());
        Ok(Some(ack))
    }

    /// Kills it, as the system would: no handler, no destructor, no flush. Gives what it had acknowledged and was still in
    /// the pipe.
    pub(super) fn kill(mut self) -> Result<(Vec<Ack>, ExitStatus), Failure> {
        self.child.kill()?;
        let status = self.child.wait()?;
        let mut rest = Vec::new();
        while let Some(ack) = self.next()? {
            rest.push(ack);
        }
        Ok((rest, status))
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> Result<ExitStatus, Failure> {
        drop(self.heard);
        Ok(self.child.wait()?)
    }
}

fn durability(common: &Common) -> &'static str {
    match common.durability {
        crate::args::DurabilityArg::Buffered => "buffered",
        crate::args::DurabilityArg::Strict => "strict",
    }
}
