//! Whatever is done to stored events, checking the chain names the first that is wrong.

use in_mem::{ChainCheck, ChainFault, Database, Run, Tag, Value};
use in_mem_engine::Condition;

use crate::modes;

fn filled(db: &Database) -> Run {
    let run = db.begin_run("chain").expect("begins");
    for n in 0..10 {
        run.events().append("n", n).expect("appends");
    }
    run
}

/// Writes below the event log, as damage or an intruder would.
fn overwrite(db: &Database, run: &Run, sequence: u64, value: Option<Value>) {
    let key = sequence.to_be_bytes();
    match value {
        Some(value) => {
            db.engine().put(run.id(), Tag::Event, &key, value, None, Condition::Any).expect("puts");
        }
        None => assert!(db.engine().delete(run.id(), Tag::Event, &key, Condition::Any).expect("deletes")),
    }
}

fn stored(db: &Database, run: &Run, sequence: u64) -> Vec<u8> {
    let stored = db.engine().get(run.id(), Tag::Event, &sequence.to_be_bytes()).unwrap().unwrap();
    stored.value.as_bytes().expect("packed").to_vec()
}

fn fault(run: &Run) -> ChainFault {
    match run.events().verify_chain().expect("answers") {
        ChainCheck::Broken(fault) => fault,
        ChainCheck::Intact(head) => panic!("intact up to {head:?}"),
    }
}

#[test]
fn an_untouched_chain_is_intact_also_after_reopening() {
    modes::in_every_mode(|db, reopen| {
        let run = filled(&db);
        let head = run.events().export_head().unwrap();
        assert_eq!(run.events().verify_chain().unwrap(), ChainCheck::Intact(head));
        let db = reopen(db);
        let run = db.run(run.id()).expect("is there");
        assert_eq!(run.events().verify_against(&head).unwrap(), ChainCheck::Intact(head));
        run.events().append("n", 10).expect("appends");
        assert!(run.events().verify_against(&head).unwrap().is_intact());
    });
}

#[test]
fn every_changed_byte_is_found() {
    modes::in_every_mode(|db, _| {
        let run = filled(&db);
        let whole = stored(&db, &run, 4);
        for place in 0..whole.len() {
            let mut bent = whole.clone();
            bent[place] ^= 1;
            overwrite(&db, &run, 4, Some(Value::from(bent)));
            let found = fault(&run);
            assert_eq!(found, ChainFault::Changed { sequence: 4 }, "byte {place}: {found}");
        }
    });
}

#[test]
fn a_missing_event_is_found() {
    modes::in_every_mode(|db, _| {
        let run = filled(&db);
        overwrite(&db, &run, 6, None);
        assert_eq!(fault(&run), ChainFault::Missing { sequence: 6 });
    });
}

#[test]
fn what_is_no_event_is_found() {
    modes::in_every_mode(|db, _| {
        let run = filled(&db);
        overwrite(&db, &run, 2, Some(Value::from(1)));
        assert!(matches!(fault(&run), ChainFault::Malformed { sequence: 2, .. }));
    });
}

#[test]
fn two_events_that_changed_places_are_found() {
    modes::in_every_mode(|db, _| {
        let run = filled(&db);
        let (three, four) = (stored(&db, &run, 3), stored(&db, &run, 4));
        overwrite(&db, &run, 3, Some(Value::from(four)));
        overwrite(&db, &run, 4, Some(Value::from(three)));
        assert_eq!(fault(&run), ChainFault::Changed { sequence: 3 });
    });
}

#[test]
fn a_cut_tail_and_other_events_are_shown_by_the_exported_head() {
    modes::in_every_mode(|db, _| {
        let run = filled(&db);
        let head = run.events().export_head().unwrap();
        let other = filled(&db);
        // The same events at other times have other hashes; and there are as many of them.
        other.events().append("n", 10).expect("appends");
        let check = other.events().verify_against(&head).unwrap();
        assert_eq!(check, ChainCheck::Broken(ChainFault::OtherHead { sequence: 9 }));
        let shorter = db.begin_run("cut").expect("begins");
        shorter.events().append("n", 0).expect("appends");
        assert!(shorter.events().verify_chain().unwrap().is_intact(), "alone, the chain cannot show it");
        let check = shorter.events().verify_against(&head).unwrap();
        assert_eq!(check, ChainCheck::Broken(ChainFault::Cut { found: 1, expected: 10 }));
    });
}
