//! What can be seen in a file without understanding its language: its size, what it is about, what it offers.

use super::{
    limits::*,
    memory::{FileNote, PublicItem},
};

/// Languages by file ending. Only these files are read as source.
const LANGUAGES: [(&str, &str); 14] = [
    ("rs", "Rust"),
    ("py", "Python"),
    ("ts", "TypeScript"),
    ("tsx", "TypeScript"),
    ("js", "JavaScript"),
    ("go", "Go"),
    ("c", "C"),
    ("h", "C"),
    ("cpp", "C++"),
    ("java", "Java"),
    ("rb", "Ruby"),
    ("sh", "Shell"),
    ("md", "Markdown"),
    ("toml", "TOML"),
];

/// The language of a file, or `None` for one the agent does not read.
pub(super) fn language(path: &str) -> Option<&'static str> {
    let (_, ending) = name(path).rsplit_once('.')?;
    LANGUAGES.iter().find(|(e, _)| *e == ending).map(|(_, language)| *language)
}

/// A path's last part.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A path's directory; `.` at the root.
pub(super) fn dir(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(dir, _)| dir)
}

/// Whether a package is described here.
pub(super) fn is_manifest(path: &str) -> bool {
    matches!(name(path), "Cargo.toml" | "pyproject.toml")
}

/// Whether a program or a library usually begins in a file of this name.
pub(super) fn is_entry_point(path: &str) -> bool {
    let begins = matches!(
        name(path),
        "main.rs"
            | "lib.rs"
            | "main.py"
            | "__main__.py"
            | "__init__.py"
            | "main.go"
            | "index.ts"
            | "index.js"
            | "main.c"
    );
    begins || (path.contains("src/bin/") && path.ends_with(".rs"))
}

/// The note on a file's text.
pub(super) fn file(path: &str, text: &str) -> FileNote {
    let language = language(path).unwrap_or("other");
    let mut note = FileNote {
        language: language.to_owned(),
        bytes: text.len() as u64,
        lines: text.lines().count(),
        about: about(text, language),
        entry_point: is_entry_point(path),
        public: public_items(text, language),
        ..FileNote::default()
    };
    if is_manifest(path) {
        (note.package, note.depends_on) = manifest(text);
    }
    note
}

/// The first words of the file's first comment or heading.
fn about(text: &str, language: &str) -> String {
    let marks: &[&str] = match language {
        "Rust" => &["//!"],
        "Python" => &["\"\"\"", "'''"],
        "Markdown" | "Shell" | "TOML" => &["#"],
        _ => &["//", "/*", "*"],
    };
    let said = text.lines().take(20).map(str::trim).filter(|line| !line.starts_with("#!")).find_map(|line| {
        let words = marks.iter().find_map(|mark| line.strip_prefix(mark))?;
        let words = words.trim_matches(|c: char| c.is_whitespace() || "#/*!\"'".contains(c));
        (!words.is_empty()).then_some(words)
    });
    said.unwrap_or_default().chars().take(MAX_LINE_CHARS).collect()
}

fn public_items(text: &str, language: &str) -> Vec<PublicItem> {
    let mut items = Vec::new();
    for line in text.lines() {
        // Tests stand at the end of a Rust file and offer nothing.
        if language == "Rust" && line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        if let Some(item) = public_item(line, language) {
            items.push(item);
            if items.len() == MAX_NAMES_PER_FILE {
                break;
            }
        }
    }
    items
}

/// The name a line offers, judged by how it begins.
fn public_item(line: &str, language: &str) -> Option<PublicItem> {
    let (kinds, rest): (&[&str], &str) = match language {
        "Rust" => (&["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "union"], {
            let rest = line.trim_start().strip_prefix("pub ")?;
            // `const` and `unsafe` may stand before `fn`.
            let mut rest = rest;
            for before in ["const fn", "async fn", "unsafe fn", "unsafe trait", "const unsafe fn"] {
                if rest.starts_with(before) {
                    rest = &rest[before.rfind(' ').map_or(0, |at| at + 1)..];
                    break;
                }
            }
            rest
        }),
        "Python" => (&["def", "class"], line.strip_prefix("async ").unwrap_or(line)),
        "TypeScript" | "JavaScript" => {
            let rest = line.strip_prefix("export ")?;
            let rest = rest.strip_prefix("default ").unwrap_or(rest);
            (
                &["function", "class", "interface", "type", "const", "enum"],
                rest.strip_prefix("async ").unwrap_or(rest),
            )
        }
        "Go" => (&["func", "type"], line),
        _ => return None,
    };
    let (kind, rest) =
        kinds.iter().find_map(|kind| Some((*kind, rest.strip_prefix(kind)?.strip_prefix(' ')?)))?;
    let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let hidden = match language {
        "Python" => name.starts_with('_'),
        "Go" => !name.starts_with(char::is_uppercase),
        _ => false,
    };
    (!name.is_empty() && !hidden).then(|| PublicItem { kind: kind.to_owned(), name })
}

/// A package's name and what it depends on. Line by line: enough for the manifests that people write, and a manifest that
/// is not like that gives less, not an error.
fn manifest(text: &str) -> (Option<String>, Vec<String>) {
    let mut section = "";
    let mut package = None;
    let mut depends_on = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix('[') {
            section = head.trim_end_matches(']').trim();
            // `[dependencies.name]` is a section of its own.
            if let Some((table, name)) = section.rsplit_once('.')
                && table.ends_with("dependencies")
                && !table.starts_with("workspace")
            {
                depends_on.push(name.trim_matches('"').to_owned());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.split('.').next().unwrap_or_default().trim().trim_matches('"');
        if matches!(section, "package" | "project") && key == "name" {
            package = Some(value.trim().trim_matches(['"', '\'']).to_owned());
        } else if section.ends_with("dependencies")
            && !section.starts_with("workspace")
            && !line.starts_with('#')
            && !key.is_empty()
        {
            depends_on.push(key.to_owned());
        }
    }
    depends_on.sort();
    depends_on.dedup();
    (package, depends_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_names_are_found_by_language() {
        let names = |text: &str, language| -> Vec<String> {
            public_items(text, language).into_iter().map(|i| format!("{} {}", i.kind, i.name)).collect()
        };
        let rust = "pub fn a() {}\npub const fn b() {}\npub(crate) fn c() {}\nfn d() {}\n    pub struct E<T>(T);\npub const F: u8 = 1;\n\
                    pub unsafe fn g() {}\n#[cfg(test)]\npub fn in_tests() {}";
        assert_eq!(names(rust, "Rust"), ["fn a", "fn b", "struct E", "const F", "fn g"]);
        assert_eq!(names("def a():\n    def inner():\nclass B:\ndef _c():", "Python"), ["def a", "class B"]);
        assert_eq!(
            names("export default class A {\nexport async function b(", "TypeScript"),
            ["class A", "function b"]
        );
        assert_eq!(names("func Put(\nfunc get(\ntype Key struct", "Go"), ["func Put", "type Key"]);
    }

    #[test]
    fn a_manifest_gives_its_name_and_what_it_depends_on() {
        let text = "[package]\nname = \"a\"\nversion.workspace = true\n[dependencies]\nb.workspace = true\nc = { path = \"../c\" }\n\
                    # d = \"1\"\n[dev-dependencies]\ne = \"1\"\n[dependencies.f]\nversion = \"1\"\n[workspace.dependencies]\ng = \"1\"";
        let (name, depends_on) = manifest(text);
        assert_eq!(name.as_deref(), Some("a"));
        assert_eq!(depends_on, ["b", "c", "e", "f"]);
    }

    #[test]
    fn the_first_comment_says_what_a_file_is_about() {
        assert_eq!(about("//! A log.\n//! More.", "Rust"), "A log.");
        assert_eq!(about("# Title\n", "Markdown"), "Title");
        assert_eq!(about("", "Rust"), "");
    }
}
