//! Pairs: written and read each way, found by prefix and range, paged, counted, and gone when their time is over.

use std::time::Duration;

use in_mem::{Database, Error, KeyBytes, Kv, ManualClock, Timestamp, Value, WriteError, value};
use serde::{Deserialize, Serialize};

use crate::modes;

fn texts(keys: &[KeyBytes]) -> Vec<&str> {
    keys.iter().map(|key| key.as_str().expect("text")).collect()
}

fn keys_of(pairs: &[(KeyBytes, Value)]) -> Vec<&str> {
    pairs.iter().map(|(key, _)| key.as_str().expect("text")).collect()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Plan {
    steps: Vec<String>,
    done: bool,
}

#[test]
fn what_is_put_is_read_each_way() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("pairs").expect("begins");
        let kv = run.kv();
        let first = kv.put("a", 1).unwrap();
        let second = kv.put("a", value!({ "n": [1, 2] })).unwrap();
        assert!(second > first);
        let read = kv.get_versioned("a").unwrap().unwrap();
        assert_eq!((read.version, &read.value["n"][1]), (second, &Value::from(2)));
        let many = kv.put_many([("b", 2), ("c", 3)]).unwrap();
        assert!(many > second);
        for key in ["b", "c"] {
            assert_eq!(kv.get_versioned(key).unwrap().unwrap().version, many, "written at once");
        }
        assert_eq!(
            kv.get_many(["c", "none", "b"]).unwrap(),
            [Some(Value::from(3)), None, Some(Value::from(2))]
        );
        assert!(!kv.put_if_absent("a", 0).unwrap());
        assert!(kv.put_if_absent("d", 4).unwrap());
        assert_eq!((kv.exists("d").unwrap(), kv.exists("e").unwrap()), (true, false));
        assert_eq!((kv.delete("d").unwrap(), kv.delete("d").unwrap()), (true, false));
        assert!(kv.put_if_absent("d", 5).unwrap(), "what was deleted is absent");
        assert_eq!((kv.increment("n", 5).unwrap(), kv.increment("n", -7).unwrap()), (5, -2));
        let plan = Plan { steps: vec!["look".to_owned(), "leap".to_owned()], done: false };
        kv.put_as("plan", &plan).unwrap();
        let version = kv.put_async("late", 1).unwrap().wait().unwrap();
        assert_eq!(kv.get_versioned("late").unwrap().unwrap().version, version);
        assert!(kv.delete_async("late").unwrap().wait().unwrap());
        let before = kv.get_versioned("a").unwrap();
        let db = reopen(db);
        let run = db.run(run.id()).unwrap();
        assert_eq!(run.kv().get_versioned("a").unwrap(), before);
        assert_eq!(run.kv().get_as::<Plan>("plan").unwrap(), Some(plan));
        assert_eq!(texts(&run.kv().keys("").unwrap()), ["a", "b", "c", "d", "n", "plan"]);
    });
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("refused").expect("begins");
        let kv = run.kv();
        kv.put("text", "seven").unwrap();
        kv.put("most", i64::MAX).unwrap();
        let version = kv.get_versioned("text").unwrap().unwrap().version;
        let no_number = kv.increment("text", 1);
        assert!(matches!(no_number, Err(Error::Write(WriteError::NotAnInteger { .. }))), "{no_number:?}");
        let too_much = kv.increment("most", 1);
        assert!(matches!(too_much, Err(Error::Write(WriteError::Overflow { .. }))), "{too_much:?}");
        assert!(kv.get_as::<Plan>("text").is_err());
        let long = vec![b'k'; in_mem::limits::MAX_KEY_BYTES + 1];
        assert!(kv.put(&long, 1).is_err());
        assert!(kv.put_many([(&b"good"[..], 1), (&long[..], 2)]).is_err());
        assert_eq!(kv.get("good").unwrap(), None, "all or none of them");
        assert_eq!(kv.get_versioned("text").unwrap().unwrap().version, version);
        assert_eq!(kv.get("most").unwrap(), Some(Value::from(i64::MAX)));
    });
}

#[test]
fn keys_are_found_by_prefix_and_range_in_their_order() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("order").expect("begins");
        // In no order; and what lies beside them in the run is no pair.
        for n in 0..300_u32 {
            run.kv().put(format!("k{:03}", n * 7 % 300), n * 7 % 300).unwrap();
        }
        run.kv().put([0xff, 0xff], "the last").unwrap();
        run.kv().put("", "the first").unwrap();
        run.state().set("k-cell", 1).unwrap();
        let check = |db: &Database| {
            let run = db.run(run.id()).unwrap();
            let kv = run.kv();
            let all = kv.list("").unwrap();
            assert_eq!(all.len(), 302);
            assert!(all.windows(2).all(|w| w[0].0 < w[1].0));
            assert_eq!((&*all[0].0, &*all[301].0), (&b""[..], &[0xff, 0xff][..]));
            assert_eq!(
                keys_of(&kv.list("k01").unwrap()),
                (10..20).map(|n| format!("k{n:03}")).collect::<Vec<_>>()
            );
            assert_eq!(kv.list([0xff]).unwrap().len(), 1, "a prefix that has no next one");
            let range = kv.range("k005".."k008").unwrap();
            assert_eq!(range.iter().map(|(_, v)| v.as_i64().unwrap()).collect::<Vec<_>>(), [5, 6, 7]);
            assert_eq!(keys_of(&kv.range("k298"..="k299").unwrap()), ["k298", "k299"]);
            let mut back = kv.range_reverse("k100"..).unwrap();
            assert_eq!(back.len(), 201);
            back.reverse();
            assert_eq!(back, kv.range("k100"..).unwrap());
            assert!(kv.range("k2".."k1").unwrap().is_empty(), "an empty range is no fault");
            assert_eq!(
                (kv.count("k").unwrap(), kv.count("k1").unwrap(), kv.count("z").unwrap()),
                (300, 100, 0)
            );
            assert_eq!(kv.count_range("k010".."k020").unwrap(), 10);
        };
        check(&db);
        let db = reopen(db);
        check(&db);
    });
}

/// All pages from one on.
fn pages(kv: Kv<'_>, mut after: Option<KeyBytes>, limit: usize) -> Vec<KeyBytes> {
    let mut keys = Vec::new();
    loop {
        let page = kv.page("k", after.as_ref(), limit).unwrap();
        assert!(page.entries.len() <= limit);
        keys.extend(page.entries.into_iter().map(|(key, _)| key));
        after = page.next;
        if after.is_none() {
            return keys;
        }
    }
}

#[test]
fn a_cursor_is_shifted_by_nothing() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("paged").expect("begins");
        for n in 0..40 {
            run.kv().put(format!("k{n:02}"), n).unwrap();
        }
        let all: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
        for limit in [1, 7, 40, 41, 1_000] {
            assert_eq!(texts(&pages(run.kv(), None, limit)), all, "pages of {limit}");
        }
        let first = run.kv().page("k", None, 10).unwrap();
        // The cursor's own key goes, one comes before it, one behind it.
        run.kv().delete("k09").unwrap();
        run.kv().put("k05-new", 0).unwrap();
        run.kv().put("k15-new", 0).unwrap();
        let db = reopen(db);
        let run = db.run(run.id()).unwrap();
        let rest = pages(run.kv(), first.next, 10);
        let mut expected = all[10..].to_vec();
        expected.insert(6, "k15-new".to_owned());
        assert_eq!(texts(&rest), expected);
    });
}

#[test]
fn a_value_with_a_time_to_live_goes_when_it_is_over() {
    let clock = ManualClock::new(Timestamp(1_000_000));
    modes::in_every_mode_at(&clock, |db, reopen| {
        let run = db.begin_run("ttl").expect("begins");
        run.kv().put_with_ttl("short", 1, Duration::from_secs(1)).unwrap();
        run.kv().put_with_ttl("long", 2, Duration::from_secs(3)).unwrap();
        run.kv().put_with_ttl("again", 3, Duration::from_secs(1)).unwrap();
        run.kv().put("again", 4).unwrap();
        run.kv().put("ever", 5).unwrap();
        assert_eq!(run.kv().count("").unwrap(), 4);
        clock.advance(1_000_000);
        let check = |db: &Database, left: &[&str]| {
            let run = db.run(run.id()).unwrap();
            assert_eq!(texts(&run.kv().keys("").unwrap()), left);
            assert_eq!(run.kv().count("").unwrap(), left.len() as u64);
            for key in ["again", "ever", "long", "short"] {
                assert_eq!(run.kv().exists(key).unwrap(), left.contains(&key), "{key}");
            }
        };
        check(&db, &["again", "ever", "long"]);
        let db = reopen(db);
        check(&db, &["again", "ever", "long"]);
        let run = db.resume(run.id()).unwrap();
        assert!(run.kv().put_if_absent("short", 6).unwrap(), "what is over is absent");
        clock.advance(2_000_000);
        check(&db, &["again", "ever", "short"]);
        // The shard deletes in its own turns, and by its log.
        db.step().unwrap();
        assert_eq!(run.info().unwrap().kv.entries, 3);
        let db = reopen(db);
        check(&db, &["again", "ever", "short"]);
    });
}

/// It gave the keys between the cursor and the prefix, too.
#[test]
fn a_page_behind_a_key_before_its_prefix_begins_at_the_prefix() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("pages").expect("begins");
        run.kv().put_many(["a", "b", "c/1", "c/2", "d"].map(|key| (key, 1))).expect("puts");
        for (after, expected) in [("a", &["c/1", "c/2"][..]), ("c/1", &["c/2"]), ("c/9", &[]), ("d", &[])] {
            let page = run.kv().page("c/", Some(&after.into()), 10).expect("reads");
            let keys: Vec<_> = page.entries.into_iter().map(|(key, _)| key).collect();
            assert_eq!(texts(&keys), expected, "after {after}");
        }
    });
}
