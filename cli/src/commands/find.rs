//! Finding a run by the beginning of its id.

use in_mem::{Database, Run, RunId};

use super::Failure;

/// An id is never shown with fewer characters.
const MIN_SHORT_ID_CHARS: usize = 8;
/// Ids named where several begin alike.
const MAX_CANDIDATES: usize = 4;

/// The run whose id is, or begins like, what was typed.
pub(super) fn run(db: &Database, typed: &str) -> Result<Run, Failure> {
    if let Ok(id) = typed.parse::<RunId>() {
        return Ok(db.run(id)?);
    }
    let wanted: String = typed.trim().to_ascii_lowercase();
    if wanted.is_empty() || !wanted.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Err(Failure::Usage(format!(
            "`{typed}` is not the beginning of a run's id, which is made of 0-9 and a-f; `in-mem runs` lists the runs"
        )));
    }
    let all = db.runs().with_memories().list()?;
    let found: Vec<RunId> =
        all.iter().map(|info| info.id).filter(|id| id.to_string().starts_with(&wanted)).collect();
    match found[..] {
        [id] => Ok(db.run(id)?),
        [] => {
            Err(Failure::Failed(format!("no run's id begins with `{typed}`; `in-mem runs` lists the runs")))
        }
        _ => {
            let some: Vec<String> = found.iter().take(MAX_CANDIDATES).map(ToString::to_string).collect();
            let more = if found.len() > MAX_CANDIDATES { ", ..." } else { "" };
            Err(Failure::Failed(format!(
                "{} runs' ids begin with `{typed}`: {}{more}; type more of it",
                found.len(),
                some.join(", ")
            )))
        }
    }
}

/// How many characters of these ids tell each of them from all others.
pub(super) fn short_id_chars(ids: impl IntoIterator<Item = RunId>) -> usize {
    let mut ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    ids.sort_unstable();
    let alike = |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    let needed = ids.windows(2).map(|pair| alike(pair) + 1).max().unwrap_or(0).max(MIN_SHORT_ID_CHARS);
    // An id that ends in a hyphen looks cut off by accident.
    let ends_in_hyphen = ids.first().is_some_and(|id| id.as_bytes().get(needed - 1) == Some(&b'-'));
    needed + usize::from(ends_in_hyphen)
}

/// So many characters of an id.
pub(super) fn short(id: RunId, chars: usize) -> String {
    let mut text = id.to_string();
    text.truncate(chars);
    text
}

#[cfg(test)]
mod tests {
    use in_mem::Database;

    use super::*;

    fn id(text: &str) -> RunId {
        text.parse().expect("an id")
    }

    #[test]
    fn short_ids_are_all_different_and_found_again() {
        let ids = [
            id("01890a5d-ac96-774b-bcce-b302099a8057"),
            id("01890a5d-ac96-774b-bcce-b302099a8058"),
            id("11890a5d-ac96-774b-bcce-b302099a8058"),
        ];
        assert_eq!(short_id_chars(ids[1..].iter().copied()), 8);
        assert_eq!(short_id_chars(ids), 36);
        assert_eq!(
            short_id_chars([
                id("01890a5d-0c96-774b-bcce-b302099a8057"),
                id("01890a5d-1c96-774b-bcce-b302099a8057")
            ]),
            10
        );
        let db = Database::in_memory().expect("opens");
        for id in ids {
            db.new_run("r").id(id).begin().expect("begins");
        }
        assert_eq!(run(&db, "1189").expect("found").id(), ids[2]);
        assert_eq!(run(&db, "11890A5D-ac").expect("found").id(), ids[2]);
        assert!(matches!(run(&db, "0189"), Err(Failure::Failed(why)) if why.contains("2 runs")));
        assert!(matches!(run(&db, "2"), Err(Failure::Failed(why)) if why.contains("no run")));
        for wrong in ["", "task 07", "\u{1b}[2J", "ü"] {
            assert!(matches!(run(&db, wrong), Err(Failure::Usage(_))), "{wrong}");
        }
        let unknown = run(&db, "21890a5d-ac96-774b-bcce-b302099a8058");
        assert!(matches!(unknown, Err(Failure::Database(in_mem::Error::UnknownRun { .. }))));
    }
}
