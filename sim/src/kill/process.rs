//! Starting a process, killing it, and what it had said by then.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use in_mem_wal::Failpoint;

use super::story::Scene;

/// What a process does to itself at named points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doom {
    /// Nothing.
    None,
    /// Tells at its end how often it was at each point.
    Count,
    /// Kills itself when it is at this point for the n-th time.
    At(Failpoint, u32),
}

/// How a process ended, and what it said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Whether SIGKILL ended it.
    pub(super) killed: bool,
    /// Whether it came to its end.
    pub(super) succeeded: bool,
    /// The last number that was acknowledged.
    pub(super) number: Option<i64>,
    /// Backups that were made, with the number they hold at least.
    pub(super) backups: Vec<(i64, PathBuf)>,
    /// How often it was at each point.
    pub(super) hits: BTreeMap<String, u32>,
}

impl Said {
    fn line(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("number"), Some(number), None) => self.number = number.parse().ok().or(self.number),
            (Some("backup"), Some(number), Some(path)) => {
                self.backups.extend(number.parse().ok().map(|number| (number, PathBuf::from(path))));
            }
            (Some("hits"), Some(name), Some(count)) => {
                self.hits.extend(count.parse().ok().map(|count| (name.to_owned(), count)));
            }
            _ => {}
        }
    }
}

/// Plays a scene in a process of its own, which is killed after so long, or by what it does to itself, or not at all.
///
/// # Errors
/// It could not be started or heard.
pub(super) fn play(scene: &Scene, doom: Doom, after: Option<(Duration, bool)>) -> std::io::Result<Said> {
    let mut command = Command::new(std::env::current_exe()?);
    let value =
        |of: Option<clap::builder::PossibleValue>| of.map_or(String::new(), |v| v.get_name().to_owned());
    command.arg("child").arg(&scene.path);
    command.args(["--mode", &value(scene.mode.to_possible_value())]);
    command.args(["--story", &value(scene.story.to_possible_value())]);
    if scene.history {
        command.arg("--history");
    }
    match doom {
        Doom::None => {}
        Doom::Count => drop(command.arg("--count")),
        Doom::At(point, nth) => drop(command.args(["--at", point.name(), "--nth", &nth.to_string()])),
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn()?;
    let Some(out) = child.stdout.take() else { return Ok(Said::default()) };
    let mut lines = BufReader::new(out).lines();
    let mut said = Said::default();
    if let Some((_, true)) = after
        && let Some(line) = lines.next()
    {
        said.line(&line?);
    }
    let reader = std::thread::spawn(move || {
        let mut whole: Vec<String> = Vec::new();
        for line in lines {
            let Ok(line) = line else { break };
            whole.push(line);
        }
        whole
    });
    if let Some((after, _)) = after {
        std::thread::sleep(after);
        // SIGKILL. One that has ended already cannot be killed any more.
        let _ = child.kill();
    }
    let status = child.wait()?;
    for line in reader.join().unwrap_or_default() {
        said.line(&line);
    }
    said.killed = status.signal() == Some(9);
    said.succeeded = status.success();
    Ok(said)
}

static HITS: [AtomicU32; Failpoint::ALL.len()] = [const { AtomicU32::new(0) }; Failpoint::ALL.len()];
static DOOM: OnceLock<(Failpoint, u32)> = OnceLock::new();

fn at(point: Failpoint) {
    // Relaxed: counts, and whoever is the n-th sees that it is.
    let nth = HITS[point as usize].fetch_add(1, Ordering::Relaxed) + 1;
    if DOOM.get() == Some(&(point, nth)) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// In the process itself: from here on it is killed at this point, or counts.
pub fn doom(doom: Doom) {
    if let Doom::At(point, nth) = doom {
        let _ = DOOM.set((point, nth));
    }
    #[cfg(feature = "failpoints")]
    if doom != Doom::None {
        in_mem_wal::failpoint::set_hook(at);
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = at;
}

/// In the process itself: tells how often it was at each point.
pub fn tell_hits() {
    for point in Failpoint::ALL {
        println!("hits {} {}", point.name(), HITS[*point as usize].load(Ordering::Relaxed));
    }
}
