//! `verify`: whether a run is what its log says.

use std::process::ExitCode;

use in_mem::VersionedValue;
use serde_json::json;

use super::{Failure, changes::preview, find, history::hex, open, print};
use crate::{
    args::{Common, VerifyArgs},
    render::{Tone, human, text},
};

pub(super) fn verify(args: &VerifyArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let run = find::run(&db, &args.run)?;
    let found = run.verify()?;
    let same = found.is_same();
    print(
        common,
        || {
            let digest = |d: &in_mem::Digest| json!({"exact": hex(&d.exact), "content": hex(&d.content)});
            json!({
                "run": found.run, "same": same, "version": found.version, "commits": found.commits, "keys": found.keys,
                "replayed": digest(&found.replayed), "live": digest(&found.live), "mismatch": found.mismatch,
            })
        },
        |screen| {
            let (tone, words) = match same {
                true => (Tone::Good, "is what its log says"),
                false => (Tone::Bad, "is NOT what its log says"),
            };
            let mut out = format!("run {} {}\n", found.run, screen.paint(tone, words));
            let mut line = |name: &str, value: String| {
                out.push_str(&screen.paint(Tone::Quiet, &format!("  {name:<9}")));
                out.push_str(&value);
                out.push('\n');
            };
            let counts = format!(
                "{} after {}, version {}",
                human::counted(found.keys, "key"),
                human::counted(found.commits, "commit"),
                found.version
            );
            line("replayed", counts);
            line("digest", found.replayed.to_string());
            if let Some(mismatch) = &found.mismatch {
                let show = |value: &Option<VersionedValue>| match value {
                    Some(v) => format!("{} (version {})", preview(&v.value), v.version),
                    None => "nothing".to_owned(),
                };
                let key = format!("{} {}", mismatch.key.tag, text::one_line(&mismatch.key.user.to_string()));
                line("first at", screen.paint(Tone::Name, &key));
                line("log", screen.paint(Tone::Bad, &show(&mismatch.replayed)));
                line("live", screen.paint(Tone::Good, &show(&mismatch.live)));
            }
            out
        },
    )?;
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
