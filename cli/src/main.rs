//! The `in-mem` command.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use in_mem_cli::{
    args::{Cli, Command, Common, ImportArgs},
    import::Preview,
    render::{JsonLines, Screen, text},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Import(args) if args.dry_run => import_dry_run(args, &cli.common),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this build has no database yet; only `import --dry-run` works without one",
        )),
    };
    match done {
        Ok(code) => code,
        // Whoever read the output has seen enough: `in-mem ... | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("in-mem: {error}");
            ExitCode::FAILURE
        }
    }
}

fn import_dry_run(args: &ImportArgs, common: &Common) -> io::Result<ExitCode> {
    let preview = Preview::of(&args.files, args.format.0);
    let mut out = io::stdout().lock();
    if common.json {
        let mut lines = JsonLines::new(&mut out);
        for line in preview.json() {
            lines.write(&line)?;
        }
        lines.finish()?;
    } else {
        out.write_all(preview.render(&Screen::stdout(common.color)).as_bytes())?;
    }
    for warning in &preview.warnings {
        eprintln!("note: {}", text::one_line(warning));
    }
    for error in &preview.errors {
        eprintln!("error: {}", text::one_line(&error.to_string()));
    }
    Ok(if preview.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
