//! Conventions of documents.

use std::fs;
use std::path::Path;

use super::Findings;
use crate::ci::{DEMO_COMMAND, TEST_COMMAND};
use crate::shell;

/// Links to files of the repository lead to one.
pub(super) fn lead_somewhere() -> Findings {
    let mut findings = Vec::new();
    for file in shell::files(&[".md"])? {
        let text = fs::read_to_string(&file)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        for target in targets(&text) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !folder.join(path).exists() {
                findings.push(format!("{}: nothing is at {target}", file.display()));
            }
        }
    }
    Ok(findings)
}

/// What a document links to, but for what lies on the network.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:") && !target.contains(' '))
}

/// The commands that the README promises are those that are checked.
pub(super) fn readme_names_the_commands() -> Findings {
    let readme = fs::read_to_string("README.md").unwrap_or_default();
    let missing = [DEMO_COMMAND, TEST_COMMAND].into_iter().filter(|command| !readme.contains(command));
    Ok(missing.map(|command| format!("README.md: does not say `{command}`")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_the_repository_are_found() {
        let text = "[a](docs/a.md#b) [c](https://example.org/d) [e](f.md)";
        assert_eq!(targets(text).collect::<Vec<_>>(), ["docs/a.md#b", "f.md"]);
    }
}
