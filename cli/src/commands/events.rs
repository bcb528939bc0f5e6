//! `events`: a run's event log.

use std::{io, process::ExitCode};

use in_mem::Event;
use serde_json::{Value, json};

use super::{Failure, find, open, print, store};
use crate::{
    args::{Common, EventsArgs},
    render::{JsonLines, TimelineEvent, Tone, human, timeline},
};

pub(super) fn events(args: &EventsArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let run = find::run(&db, &args.run)?;
    let of_kind = |event: &Event| args.kind.as_deref().is_none_or(|kind| kind_matches(kind, &event.kind));
    let mut rest = run.events().iter_range(args.from..).filter(|e| e.as_ref().map_or(true, of_kind));
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    if common.json {
        let mut lines = JsonLines::new(io::stdout().lock());
        for event in rest.take(limit) {
            lines.write(&event_json(&event?))?;
        }
        lines.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    let imported = store::is_imported(&run.info()?);
    let shown: Vec<TimelineEvent> =
        rest.by_ref().take(limit).map(|event| Ok(line(&event?, imported))).collect::<in_mem::Result<_>>()?;
    let more = rest.count();
    print(
        common,
        || Value::Null,
        |screen| {
            if shown.is_empty() {
                return "no such events\n".to_owned();
            }
            let mut out = timeline(&shown, screen);
            if more > 0 {
                let next = shown.last().map_or(0, |e| e.sequence + 1);
                let words = format!("and {} more, from --from {next} on", human::count(more as u64));
                out.push_str(&screen.paint(Tone::Quiet, &words));
                out.push('\n');
            }
            out
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// `message` asks for `message.user`, too.
fn kind_matches(wanted: &str, kind: &str) -> bool {
    kind.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn line(event: &Event, imported: bool) -> TimelineEvent {
    // Where the source had no times, the time of the import says nothing.
    let committed = (!imported).then_some(event.timestamp);
    TimelineEvent {
        sequence: event.sequence,
        at: event.occurred_at.or(committed).map(|at| at.0),
        kind: event.kind.to_string(),
        payload: event.payload.to_json(),
    }
}

/// An event as `--json` has it: the hash in hex.
pub(super) fn event_json(event: &Event) -> Value {
    let hash: String = event.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "sequence": event.sequence, "kind": event.kind, "stream": event.stream.as_ref().map(|(name, _)| name),
        "payload": event.payload, "timestamp": event.timestamp, "occurred_at": event.occurred_at,
        "version": event.version, "hash": hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_asked_for_whole_or_by_its_first_words() {
        assert!(kind_matches("message", "message.user"));
        assert!(kind_matches("message.user", "message.user"));
        assert!(!kind_matches("mess", "message.user"));
        assert!(!kind_matches("message.user", "message"));
    }
}
