//! `asan`: the tests of everything with `unsafe` in it, under AddressSanitizer.

use crate::Error;
use crate::report::{Figure, Report};
use crate::shell;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The crates with `unsafe`: the index and the turns, the mapped log. All their tests, the stress tests among them.
const PACKAGES: &[&str] = &["in-mem-shard", "in-mem-wal"];

pub(crate) fn run(report: &mut Report) -> Result<(), Error> {
    let mut no_toolchain = shell::cargo_of("nightly", &["--version"]);
    if !shell::run(&mut no_toolchain)?.succeeded {
        return Err(
            "there is no nightly toolchain: rustup toolchain install nightly --profile minimal".into()
        );
    }
    for package in PACKAGES {
        // Optimised, or the stress tests take minutes. The standard library is as it comes: it was not built with the
        // sanitizer, so what it does with our memory on its own is checked at the allocator only.
        let mut command = shell::cargo_of(
            "nightly",
            &["test", "--release", "--target", TARGET, "--package", package, "--lib", "--tests"],
        );
        command
            .env("CARGO_TARGET_DIR", "target/asan")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("RUSTFLAGS", "-Zsanitizer=address");
        let outcome = shell::run(&mut command)?;
        if !outcome.succeeded {
            eprintln!("{}", outcome.output);
        }
        let tests =
            outcome.output.lines().filter(|l| l.starts_with("test ") && l.ends_with("... ok")).count();
        let note = format!("{tests} tests, {:.0} s", outcome.seconds);
        report.add(Figure::check(format!("asan.{package}"), outcome.succeeded && tests > 0).note(note));
    }
    Ok(())
}
