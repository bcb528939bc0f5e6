//! `tidy`: the conventions that are checked rather than told. Each gives its findings, file by file.

mod dependencies;
mod links;
mod source;
mod sources;

use crate::Error;
use crate::report::{Figure, Report};

/// What a convention says of a place: where, and what is wrong.
pub(crate) type Findings = Result<Vec<String>, Error>;

/// Looks for what goes against one.
type Convention = fn() -> Findings;

/// The conventions.
const CONVENTIONS: &[(&str, Convention)] = &[
    ("unsafe-in-named-modules", sources::unsafe_in_named_modules),
    ("unsafe-says-why", sources::unsafe_says_why),
    ("files-short", sources::files_short),
    ("codec-alone-names-bincode", sources::codec_alone_names_bincode),
    ("tests-do-not-sleep", sources::tests_do_not_sleep),
    ("dependencies-point-down", dependencies::point_down),
    ("dependencies-from-the-workspace", dependencies::from_the_workspace),
    ("links-lead-somewhere", links::lead_somewhere),
    ("readme-names-the-commands", links::readme_names_the_commands),
];

pub(crate) fn run(report: &mut Report) -> Result<(), Error> {
    for (name, convention) in CONVENTIONS {
        let findings = convention()?;
        for finding in &findings {
            eprintln!("{name}: {finding}");
        }
        report.add(Figure::check(format!("tidy.{name}"), findings.is_empty()).note(if findings.is_empty() {
            String::new()
        } else {
            format!("{} findings", findings.len())
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conventions_hold() {
        crate::shell::enter_root().expect("the repository");
        let findings: Vec<_> = CONVENTIONS
            .iter()
            .flat_map(|(name, convention)| {
                convention()
                    .expect("can be checked")
                    .into_iter()
                    .map(move |finding| format!("{name}: {finding}"))
            })
            .collect();
        assert!(findings.is_empty(), "{findings:#?}");
    }
}
