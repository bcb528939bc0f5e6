//! Conventions of manifests.

use std::fs;

use toml::{Table, Value};

use super::Findings;
use crate::Error;

/// The layers: a folder, its package, and the packages of this workspace that it may name. Lower never names higher.
const LAYERS: &[(&str, &str, &[&str])] = &[
    ("model", "in-mem-model", &[]),
    ("wal", "in-mem-wal", &[]),
    ("shard", "in-mem-shard", &["in-mem-model", "in-mem-wal"]),
    ("engine", "in-mem-engine", &["in-mem-model", "in-mem-wal", "in-mem-shard"]),
    ("api", "in-mem", &["in-mem-model", "in-mem-engine"]),
    ("cli", "in-mem-cli", &["in-mem"]),
];

fn manifest(folder: &str) -> Result<Table, Error> {
    let path = if folder.is_empty() { "Cargo.toml".to_owned() } else { format!("{folder}/Cargo.toml") };
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(text.parse().map_err(|error| format!("{path}: {error}"))?)
}

/// All dependencies of a manifest, whatever they are for; development's too where `development`.
fn dependencies(manifest: &Table, development: bool) -> Vec<(String, Value)> {
    let mut kinds = vec!["dependencies", "build-dependencies"];
    if development {
        kinds.push("dev-dependencies");
    }
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|t| t.values());
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    tables
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind).and_then(Value::as_table)))
        .flat_map(|found| found.iter().map(|(name, value)| (name.clone(), value.clone())))
        .collect()
}

pub(super) fn point_down() -> Findings {
    let mut findings = Vec::new();
    for (folder, package, below) in LAYERS {
        let manifest = manifest(folder)?;
        let name = manifest.get("package").and_then(|p| p.get("name")).and_then(Value::as_str);
        if name != Some(package) {
            findings.push(format!("{folder}/Cargo.toml: the package is not called {package}"));
        }
        for (name, _) in dependencies(&manifest, false) {
            if (name == "in-mem" || name.starts_with("in-mem-")) && !below.contains(&name.as_str()) {
                findings.push(format!("{folder}/Cargo.toml: {package} names {name}, which is not below it"));
            }
        }
    }
    Ok(findings)
}

pub(super) fn from_the_workspace() -> Findings {
    let workspace = manifest("")?;
    let members = workspace
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(Value::as_array)
        .ok_or("Cargo.toml: no members")?;
    let mut findings = Vec::new();
    for member in members.iter().filter_map(Value::as_str) {
        for (name, value) in dependencies(&manifest(member)?, true) {
            if value.get("workspace").and_then(Value::as_bool) != Some(true) {
                findings.push(format!("{member}/Cargo.toml: {name} has a version of its own"));
            }
        }
    }
    Ok(findings)
}
