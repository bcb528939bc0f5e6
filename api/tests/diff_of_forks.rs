//! A diff of runs that share a past finds what a comparison of everything finds, whoever changed what since they parted.

use std::collections::BTreeMap;

use in_mem::{Database, Durability, ForkOptions, KeyBytes, Point, Run, Value};

fn pairs(run: &Run) -> BTreeMap<KeyBytes, Value> {
    run.kv().list("").expect("lists").into_iter().collect()
}

/// Every key that differs, with what each side holds.
fn compared(a: &Run, b: &Run) -> Vec<(KeyBytes, Option<Value>, Option<Value>)> {
    let (a, b) = (pairs(a), pairs(b));
    let mut keys: Vec<_> = a.keys().chain(b.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(|key| (key.clone(), a.get(&key).cloned(), b.get(&key).cloned()))
        .filter(|(_, a, b)| a != b)
        .collect()
}

fn first_difference(a: &Run, b: &Run) -> Option<u64> {
    let payloads = |run: &Run| -> Vec<Value> {
        run.events().iter().map(|event| event.expect("reads").payload).collect()
    };
    let (a, b) = (payloads(a), payloads(b));
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    (same < a.len().max(b.len())).then_some(same as u64)
}

fn check(db: &Database, a: &Run, b: &Run) {
    let diff = db.diff(a.id(), b.id()).expect("compares");
    let found: Vec<_> = diff.kv.iter().map(|d| (d.key.clone(), d.a.clone(), d.b.clone())).collect();
    assert_eq!(found, compared(a, b));
    assert_eq!(diff.divergence.as_ref().map(|d| d.sequence), first_difference(a, b));
    assert_eq!(diff.events, (a.events().len().expect("counts"), b.events().len().expect("counts")));
    assert!(diff.traces.unshared_only, "they share a past: nothing else was read");
}

#[test]
fn a_family_of_forks_differs_as_a_comparison_of_everything_says() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let db = Database::builder().durability(Durability::InMemory).shards(1).open().expect("opens");
        let mut family = vec![db.begin_run("parent").expect("begins")];
        for step in 0..400 {
            let run = &family[random.usize(..family.len())];
            let key = format!("key-{}", random.u8(..30));
            match random.u8(..20) {
                0 if family.len() < 7 => {
                    let fork = run.fork(ForkOptions::default()).expect("forks");
                    family.push(fork);
                }
                1 if family.len() > 3 => {
                    let gone = family.swap_remove(random.usize(..family.len()));
                    gone.delete().expect("deletes");
                }
                2..6 => drop(run.kv().delete(&key).expect("deletes")),
                6..9 => drop(run.events().append("say", i64::from(random.u8(..3))).expect("appends")),
                _ => drop(run.kv().put(&key, i64::from(random.u8(..4))).expect("puts")),
            }
            if step % 20 == 19 {
                let related = |run: &Run| run.info().expect("there").meta.forked_from.map(|point| point.run);
                for a in &family {
                    // With its own parent, while that is there; and with itself.
                    check(&db, a, a);
                    for b in family.iter().filter(|b| related(a) == Some(b.id())) {
                        check(&db, a, b);
                        check(&db, b, a);
                    }
                }
            }
        }
    }
}

#[test]
fn forks_of_one_run_and_forks_of_forks_part_where_they_were_made() {
    let db = Database::builder().durability(Durability::InMemory).shards(1).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    for n in 0..500 {
        parent.kv().put(format!("key-{n}"), n).expect("puts");
    }
    let first = parent.fork(ForkOptions::default()).expect("forks");
    parent.kv().put("key-1", "between the two").expect("puts");
    parent.kv().delete("key-2").expect("deletes");
    let second = parent.fork(ForkOptions::default()).expect("forks");
    let grandchild = second.fork(ForkOptions::default()).expect("forks");
    grandchild.kv().delete("key-3").expect("deletes");
    second.kv().delete("key-4").expect("deletes");
    parent.kv().put("key-5", "after all").expect("puts");
    let all = [&parent, &first, &second, &grandchild];
    for a in all {
        for b in all {
            check(&db, a, b);
        }
    }
}

#[test]
fn two_points_of_one_run_differ_by_what_lies_between_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let run = db.begin_run("walk").expect("begins");
    let mut random = fastrand::Rng::with_seed(1);
    let mut versions = Vec::new();
    for n in 0..120 {
        let key = format!("key-{}", random.u8(..20));
        versions.push(match random.u8(..3) {
            0 => {
                run.kv().delete(&key).expect("deletes");
                run.info().expect("there").last_version
            }
            1 => {
                run.events().append("say", n).expect("appends");
                run.info().expect("there").last_version
            }
            _ => run.kv().put(&key, n).expect("puts"),
        });
    }
    let at = |version| run.at(version).expect("was there");
    for (from, to) in [(0, 119), (40, 41), (60, 60), (100, 20)] {
        let (a, b) = (at(versions[from]), at(versions[to]));
        let diff = db
            .diff_at((run.id(), Point::Version(versions[from])), (run.id(), Point::Version(versions[to])))
            .expect("compares");
        let (x, y): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (a.kv().list("").into_iter().collect(), b.kv().list("").into_iter().collect());
        let mut keys: Vec<_> = x.keys().chain(y.keys()).filter(|key| x.get(*key) != y.get(*key)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(diff.kv.iter().map(|d| &d.key).collect::<Vec<_>>(), keys, "{from} to {to}");
        assert_eq!(diff.events, (a.events().len(), b.events().len()));
        let shorter = a.events().len().min(b.events().len());
        let parts = a.events().len() != b.events().len();
        assert_eq!(diff.divergence.map(|d| d.sequence), parts.then_some(shorter));
    }
}
