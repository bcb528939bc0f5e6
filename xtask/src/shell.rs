//! Programs that are run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::Error;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Goes to the repository's root: every path in these commands starts there.
pub(crate) fn enter_root() -> std::io::Result<()> {
    std::env::set_current_dir(root())
}

/// Cargo, with the repository's toolchain and none of the settings that this process was started with.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    clean(&mut command);
    command
}

/// Cargo of another toolchain.
pub(crate) fn cargo_of(toolchain: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]).args(arguments);
    clean(&mut command);
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTDOC");
    command
}

fn clean(command: &mut Command) {
    for name in [
        "CARGO_MANIFEST_DIR",
        "CARGO_PKG_NAME",
        "CARGO_PKG_VERSION",
        "RUST_RECURSION_COUNT",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(name);
    }
}

/// What came of a program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) succeeded: bool,
    pub(crate) seconds: f64,
    /// What it printed, both streams one behind the other.
    pub(crate) output: String,
}

/// Runs a program to its end, keeping what it prints.
pub(crate) fn run(command: &mut Command) -> Result<Outcome, Error> {
    let start = Instant::now();
    let Output { status, stdout, stderr } = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} could not be started: {error}", command.get_program().display()))?;
    let output = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    Ok(Outcome { succeeded: status.success(), seconds: start.elapsed().as_secs_f64(), output })
}

/// Runs a program at most so long, without keeping what it prints; `None`: it was ended at the limit.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<Option<bool>, Error> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a program at most so long, keeping what it prints on its standard output; `None`: it was ended at the limit.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> Result<Option<Outcome>, Error> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut out = child.stdout.take();
    // Read beside the waiting: a full pipe would hold the program up.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(out) = &mut out {
            let _ = std::io::Read::read_to_string(out, &mut text);
        }
        text
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let output = reader.join().unwrap_or_default();
    Ok(Some(Outcome { succeeded: status.success(), seconds: start.elapsed().as_secs_f64(), output }))
}

/// The repository's files whose names end so, as git knows them, new ones included.
pub(crate) fn files(endings: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"];
    let listed = run(Command::new("git").args(arguments))?;
    if !listed.succeeded {
        return Err(format!("git could not list the files: {}", listed.output).into());
    }
    let mut files: Vec<_> = listed
        .output
        .lines()
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .map(PathBuf::from)
        .filter(|file| file.exists())
        .collect();
    files.sort();
    Ok(files)
}
