//! `get` and `put`: a run's key-value store.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use in_mem::Value;
use serde_json::json;

use super::{Failure, find, open, print};
use crate::{
    args::{Common, GetArgs, PutArgs},
    render::text,
};

/// Keys named where the one asked for is not there.
const MAX_KEYS_NAMED: usize = 5;

pub(super) fn get(args: &GetArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let run = find::run(&db, &args.run)?;
    let Some(found) = run.kv().get_versioned(&args.key)? else {
        let keys = run.kv().page("", None, MAX_KEYS_NAMED)?;
        let some: Vec<String> =
            keys.entries.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
        let more = if keys.next.is_some() { ", ..." } else { "" };
        let there = match some.is_empty() {
            true => "it has no keys".to_owned(),
            false => format!("it has {}{more}", some.join(", ")),
        };
        return Err(Failure::Failed(format!("run {} has no key `{}`; {there}", run.id(), args.key)));
    };
    if common.json {
        print(
            common,
            || {
                json!({
                    "run": run.id(), "key": args.key, "value": found.value, "version": found.version,
                    "timestamp": found.timestamp, "expires_at": found.expires_at,
                })
            },
            |_| String::new(),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = io::stdout().lock();
    match &found.value {
        Value::String(words) if out.is_terminal() => out.write_all(text::many_lines(words).as_bytes())?,
        // Into a pipe goes what is stored, byte for byte.
        Value::String(words) => writeln!(out, "{words}")?,
        Value::Bytes(bytes) if !out.is_terminal() => out.write_all(bytes)?,
        value => {
            let pretty = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
            out.write_all(text::many_lines(&pretty).as_bytes())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn put(args: &PutArgs, common: &Common) -> Result<ExitCode, Failure> {
    let value = args.json_value().map_err(Failure::Usage)?;
    let db = open::existing(common)?;
    let run = find::run(&db, &args.run)?;
    let version = run.kv().put(&args.key, value)?;
    let id = run.id();
    drop(run);
    db.close()?;
    print(
        common,
        || json!({"run": id, "key": args.key, "version": version}),
        |_| format!("{} of run {id} is stored, version {}\n", text::one_line(&args.key), version.0),
    )?;
    Ok(ExitCode::SUCCESS)
}
