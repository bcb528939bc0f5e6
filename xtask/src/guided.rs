//! `fuzz --guided`: the decoders under libFuzzer, which goes on from inputs that reach new code. Built by cargo-fuzz in a workspace of
//! its own (`fuzz/`), with a nightly toolchain and a C++ compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::report::{Figure, Limit, Report};
use crate::shell;

/// The program that builds and runs; installed into the target directory where it is missing.
const PROGRAM: &str = "cargo-fuzz";
const PROGRAM_VERSION: &str = "0.13.2";
const TOOLS: &str = "target/tools";
const BUILD: &str = "target/fuzz/build";
/// What libFuzzer began with and what it found worth keeping, a folder for each decoder.
const CORPUS: &str = "target/fuzz/corpus";
/// Inputs that made a decoder panic, hang or ask for too much.
const ARTIFACTS: &str = "target/fuzz/findings";
/// The one program: the decoder is named by a variable, so that one build does for all.
const TARGET: &str = "decoders";
const DECODER: &str = "IN_MEM_FUZZ_DECODER";
/// Most that the process may weigh, and that one call may ask the allocator for, in MiB. Inputs are some kilobytes; the sanitizer
/// multiplies what is there.
const RSS_LIMIT_MIB: u32 = 2_048;
const MALLOC_LIMIT_MIB: u32 = 256;
/// Longest that one input may take, in seconds, on a machine that does other work too.
const INPUT_LIMIT_S: u32 = 60;
/// Files of every format that tests keep reading: more to begin with.
const FIXTURES: &[&str] = &["wal/tests/fixtures", "api/tests/fixtures"];

/// Which decoders read a file of this name.
fn readers(file: &Path) -> &'static [&'static str] {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("wal") => &["directory-segment", "mended-segment"],
        Some("ckpt") => &["directory-checkpoint"],
        _ if file.file_name().is_some_and(|name| name == "MANIFEST") => &["directory-manifest"],
        _ => &[],
    }
}

pub(crate) fn run(seconds: u64, only: &[String], report: &mut Report) -> Result<(), Error> {
    let program = tools()?;
    let decoders = seeds(only)?;
    let mut build = fuzzer(&program, &["build"]);
    let built = shell::run(build.args(["--target-dir", BUILD, TARGET]))?;
    if !built.succeeded {
        return Err(format!("the fuzzer does not compile: {}", built.output).into());
    }
    for decoder in decoders {
        let findings = Path::new(ARTIFACTS).join(&decoder);
        fs::create_dir_all(&findings)?;
        let mut command = fuzzer(&program, &["run"]);
        command.env(DECODER, &decoder).args(["--target-dir", BUILD, TARGET]);
        command.arg(shell::root().join(CORPUS).join(&decoder)).arg("--");
        command.args([
            format!("-max_total_time={seconds}"),
            format!("-rss_limit_mb={RSS_LIMIT_MIB}"),
            format!("-malloc_limit_mb={MALLOC_LIMIT_MIB}"),
            format!("-timeout={INPUT_LIMIT_S}"),
            // What the index holds lies in mapped memory, where a leak checker does not look: it takes all of it for leaked.
            "-detect_leaks=0".to_owned(),
            format!("-artifact_prefix={}/", shell::root().join(&findings).display()),
            "-print_final_stats=1".to_owned(),
        ]);
        let outcome = shell::run(&mut command)?;
        let said = |name: &str| stat(&outcome.output, name);
        let note = format!(
            "reached {} edges; at most {} MiB",
            reached(&outcome.output).unwrap_or(0),
            said("peak_rss_mb").unwrap_or(0)
        );
        let inputs = said("number_of_executed_units").unwrap_or(0);
        report.add(
            Figure::limited(
                format!("fuzz.guided.{decoder}.inputs"),
                inputs as f64,
                "inputs",
                Limit::AtLeast(1.0),
            )
            .note(note),
        );
        let found = usize::from(!outcome.succeeded);
        if found > 0 {
            eprintln!("---- {decoder}\n{}", outcome.output);
        }
        report.add(
            Figure::limited(
                format!("fuzz.guided.{decoder}.findings"),
                found as f64,
                "findings",
                Limit::AtMost(0.0),
            )
            .note(if found > 0 { what(&outcome.output, &findings) } else { String::new() }),
        );
    }
    Ok(())
}

/// cargo-fuzz, once everything that it needs is there.
fn tools() -> Result<PathBuf, Error> {
    if !shell::run(&mut shell::cargo_of("nightly", &["--version"]))?.succeeded {
        return Err(
            "there is no nightly toolchain: rustup toolchain install nightly --profile minimal".into()
        );
    }
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    if !shell::run(Command::new(&compiler).arg("--version")).is_ok_and(|outcome| outcome.succeeded) {
        let compiler = compiler.display();
        return Err(format!(
            "libFuzzer needs a C++ compiler, and {compiler} does not run: install one, or set CXX"
        )
        .into());
    }
    let program = shell::root().join(TOOLS).join("bin").join(PROGRAM);
    if !program.exists() {
        eprintln!("installing {PROGRAM} {PROGRAM_VERSION} into {TOOLS}");
        let install = ["install", PROGRAM, "--version", PROGRAM_VERSION, "--locked", "--root", TOOLS];
        let installed = shell::run(&mut shell::cargo(&install))?;
        if !installed.succeeded {
            return Err(format!("{PROGRAM} could not be installed: {}", installed.output).into());
        }
    }
    Ok(program)
}

fn fuzzer(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).arg(program).args(arguments).args(["--fuzz-dir", "fuzz"]);
    for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC", "CARGO_MANIFEST_DIR", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    command
}

/// Writes what each decoder begins with; gives the names of those that are wanted.
fn seeds(only: &[String]) -> Result<Vec<String>, Error> {
    let mut write = shell::cargo(&["run", "--quiet", "--release", "--package", "in-mem-sim", "--"]);
    let written = shell::run(write.args(["fuzz", "--seeds", CORPUS]))?;
    if !written.succeeded {
        return Err(format!("sound input could not be made: {}", written.output).into());
    }
    for file in fixtures()? {
        for decoder in readers(&file) {
            let name: Vec<_> = file.iter().skip(3).map(|part| part.to_string_lossy()).collect();
            fs::copy(&file, Path::new(CORPUS).join(decoder).join(format!("fixture-{}", name.join("-"))))?;
        }
    }
    let mut decoders = Vec::new();
    for entry in fs::read_dir(CORPUS)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if only.is_empty() || only.iter().any(|only| name.contains(only.as_str())) {
            decoders.push(name);
        }
    }
    decoders.sort();
    if decoders.is_empty() {
        return Err(format!("no decoder is named so; their names are the folders in {CORPUS}").into());
    }
    Ok(decoders)
}

fn fixtures() -> Result<Vec<PathBuf>, Error> {
    let files = shell::files(&[".wal", ".ckpt", "MANIFEST"])?;
    Ok(files.into_iter().filter(|file| FIXTURES.iter().any(|folder| file.starts_with(folder))).collect())
}

/// A number of libFuzzer's closing statistics: `stat::name: 17`.
fn stat(output: &str, name: &str) -> Option<u64> {
    let line =
        output.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
    line?.trim().parse().ok()
}

/// How much code the inputs reach by the end: the last `cov: 17`.
fn reached(output: &str) -> Option<u64> {
    let line = output.lines().rfind(|line| line.starts_with('#') && line.contains(" cov: "))?;
    line.split(" cov: ").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// What was found, and where the input is.
fn what(output: &str, findings: &Path) -> String {
    let said = |sign: &str| output.lines().find(|line| line.contains(sign));
    let said = said("panicked at").or_else(|| said("ERROR:")).unwrap_or("it did not come to its end");
    format!("{}; its input is in {}", said.trim(), findings.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "#2\tINITED cov: 90 ft: 91 corp: 1/1b\n#65536\tpulse  cov: 412 ft: 900 corp: 9/1kb exec/s: 9\n\
        Done 70000 runs in 3 second(s)\nstat::number_of_executed_units: 70000\nstat::peak_rss_mb:              54\n";

    #[test]
    fn what_the_fuzzer_says_is_understood() {
        assert_eq!(stat(SAID, "number_of_executed_units"), Some(70_000));
        assert_eq!(stat(SAID, "peak_rss_mb"), Some(54));
        assert_eq!(stat(SAID, "slowest_unit_time_sec"), None);
        assert_eq!(reached(SAID), Some(412));
    }

    #[test]
    fn a_finding_names_what_happened_and_its_input() {
        let output = "#9\tNEW cov: 9\nthread '<unnamed>' panicked at model/src/x.rs:3:1:\n==1== ERROR: libFuzzer: deadly signal\n";
        let what = what(output, Path::new("target/fuzz/findings/value"));
        assert!(what.contains("model/src/x.rs:3:1") && what.contains("target/fuzz/findings/value"), "{what}");
    }
}
