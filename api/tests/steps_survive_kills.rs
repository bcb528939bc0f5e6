//! An agent written with steps, stopped anywhere and begun again as often as it takes, comes to the state of one that was
//! never stopped, and no effect whose result was recorded is carried out again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use in_mem::{Database, Error, Result, Run, RunId, RunStatus, Value};

const ROUNDS: i64 = 6;
const CHILD: &str = "IN_MEM_TEST_AGENT_DIR";
const ID: RunId = RunId::from_bytes([7; 16]);

/// An agent: each round asks a tool, inside a step that asks another, and keeps what it learned. `boundary` is called between
/// all that it does, and may stop it there; `effect` is called by each effect, `got` with each step's result.
fn agent(
    run: &Run,
    boundary: &dyn Fn() -> Result<()>,
    effect: &dyn Fn(&str),
    got: &dyn Fn(&str, i64),
) -> Result<()> {
    let mut sum = 0;
    for round in 0..ROUNDS {
        boundary()?;
        let answer: i64 = run.step("ask", round, || {
            boundary()?;
            let inner: i64 = run.step("look up", (round, "x"), || {
                boundary()?;
                effect(&format!("look up {round}"));
                Ok::<_, Error>(round * 10)
            })?;
            got(&format!("look up {round}"), inner);
            boundary()?;
            effect(&format!("ask {round}"));
            Ok::<_, Error>(inner + 1)
        })?;
        got(&format!("ask {round}"), answer);
        boundary()?;
        sum += answer;
        run.kv().put(format!("answer-{round}"), answer)?;
        boundary()?;
        run.state().set("sum", sum)?;
    }
    boundary()?;
    run.end(RunStatus::Completed)
}

fn open(dir: &Path) -> Database {
    Database::builder().path(dir).shards(1).segment_bytes(1 << 20).open().expect("opens")
}

fn run_of(db: &Database) -> Run {
    match db.resume(ID) {
        Ok(run) => run,
        Err(_) => db.new_run("agent").id(ID).begin().expect("begins"),
    }
}

fn never_stopped() -> in_mem::Digest {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let run = run_of(&db);
    agent(&run, &|| Ok(()), &|_| {}, &|_, _| {}).expect("runs");
    assert_eq!(run.state().read("sum").unwrap().unwrap().value, Value::from(156));
    run.digest().expect("reads")
}

#[test]
fn stopped_at_every_boundary() {
    let expected = never_stopped();
    for stop_at in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let effects = std::cell::RefCell::new(Vec::new());
        let stopped = {
            let db = open(dir.path());
            let passed = Cell::new(0);
            let boundary = || {
                passed.set(passed.get() + 1);
                if passed.get() > stop_at {
                    Err(Error::Aborted { reason: "killed".to_owned() })
                } else {
                    Ok(())
                }
            };
            let stopped = agent(
                &run_of(&db),
                &boundary,
                &|name| effects.borrow_mut().push(name.to_owned()),
                &|_, _| {},
            );
            if stopped.is_ok() {
                assert!(stop_at > 30, "the agent has more boundaries than that");
                break;
            }
            stopped
        };
        assert!(matches!(stopped, Err(Error::Aborted { .. } | Error::Step(_))), "{stopped:?}");
        let db = open(dir.path());
        let run = run_of(&db);
        agent(&run, &|| Ok(()), &|name| effects.borrow_mut().push(name.to_owned()), &|_, _| {})
            .expect("goes on");
        // What was stopped inside a step leaves an event saying so; the state is the same.
        let failed = run.events().of_kind(in_mem::STEP_FAILED_EVENT).expect("reads").len();
        if failed == 0 {
            assert_eq!(run.digest().expect("reads").content, expected.content, "stopped at {stop_at}");
        }
        assert_eq!(run.state().read("sum").unwrap().unwrap().value, Value::from(156));
        let mut effects = effects.into_inner();
        let all = effects.len();
        effects.sort();
        effects.dedup();
        assert_eq!((all, effects.len()), (2 * ROUNDS as usize, 2 * ROUNDS as usize), "stopped at {stop_at}");
        assert!(run.verify().expect("verifies").is_same());
    }
}

#[test]
#[ignore = "the agent of `killed_anywhere`, in a process of its own"]
fn child_agent() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let db = open(Path::new(&dir));
    let say = |what: &str| {
        let mut out = std::io::stdout();
        writeln!(out, "{what}").and_then(|()| out.flush()).expect("the parent listens");
    };
    let boundary = || {
        say("boundary");
        Ok(())
    };
    let run = run_of(&db);
    // Killed between its end and its last word, it has nothing left to do.
    if run.status().expect("there") != RunStatus::Completed {
        agent(&run, &boundary, &|name| say(&format!("effect {name}")), &|name, result| {
            say(&format!("got {name}={result}"))
        })
        .expect("runs");
    }
    say("done");
}

/// Kills in one life, at most; an agent that is left alone then finishes.
const KILLS_PER_LIFE: usize = 6;

/// One life: the agent is killed and begun again until it finishes. Gives the kills, and every effect that was carried out; one
/// whose result the agent had got before is not carried out again, and its result stays what it was.
fn live(dir: &Path, rng: &mut fastrand::Rng) -> (usize, Vec<String>) {
    let (mut kills, mut effects, mut results) = (0, Vec::new(), BTreeMap::<String, String>::new());
    loop {
        // Killed at the n-th sign of life, and whatever it has gone on to do by then.
        let kill_at = if kills < KILLS_PER_LIFE { rng.usize(1..25) } else { usize::MAX };
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_agent", "--ignored", "--nocapture"])
            .env(CHILD, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (mut done, mut killed) = (false, false);
        // Read to the end: what it said between the last line looked at and the kill was done, too.
        for (number, line) in lines.map_while(std::io::Result::ok).enumerate() {
            // Without threads the test harness writes the test's name in front of its first line.
            done |= line.ends_with("done");
            if let Some((_, effect)) = line.split_once("effect ") {
                assert!(!results.contains_key(effect), "{effect} is carried out though its result was given");
                effects.push(effect.to_owned());
            }
            if let Some((name, result)) = line.split_once("got ").and_then(|(_, got)| got.split_once('=')) {
                let before = results.entry(name.to_owned()).or_insert_with(|| result.to_owned());
                assert_eq!(before, result, "{name} has one result");
            }
            if number == kill_at {
                child.kill().expect("SIGKILL");
                killed = true;
            }
        }
        let status = child.wait().expect("ends");
        // One that had ended by itself before the signal came was not killed.
        let was_killed = killed && !status.success();
        kills += usize::from(was_killed);
        if done {
            return (kills, effects);
        }
        assert!(was_killed, "the agent was left alone and did not finish");
    }
}

/// The result of each effect is in the log once, and is the one that the state was made of.
fn check_used_once(run: &Run, effects: &[String], kills: usize, seed: u64) {
    let steps = run.events().of_kind(in_mem::STEP_EVENT).expect("reads");
    assert_eq!(steps.len(), 2 * ROUNDS as usize, "seed {seed}: one result for each step");
    for round in 0..ROUNDS {
        let answer = run.kv().get(format!("answer-{round}")).expect("reads");
        assert_eq!(answer, Some(Value::from(round * 10 + 1)), "seed {seed}");
        for step in ["look up", "ask"] {
            let name = format!("{step} {round}");
            assert!(effects.contains(&name), "seed {seed}: {name} has a result but was never carried out");
        }
    }
    assert_eq!(run.state().read("sum").unwrap().unwrap().value, Value::from(156), "seed {seed}");
    // Each kill lets at most the effect (of one step, and of the step around it) go without a recorded result.
    let again = effects.len() - 2 * ROUNDS as usize;
    assert!(again <= 2 * kills, "seed {seed}: {again} effects were carried out again after {kills} kills");
    // Asked once more, every step gives what it recorded, and carries nothing out.
    assert!(run.verify().expect("verifies").is_same());
}

#[test]
fn killed_anywhere() {
    let expected = never_stopped();
    let asked: Option<usize> = std::env::var("IN_MEM_TEST_KILLS").ok().map(|n| n.parse().expect("a number"));
    // At least so many kills, in as many lives as that takes.
    let kills_wanted = asked.unwrap_or(120);
    let (mut kills, mut again, mut seed) = (0, 0, 0);
    // One that is never met by its signal fails the test instead of living for ever.
    while kills < kills_wanted && seed < 10 * kills_wanted as u64 {
        let dir = tempfile::tempdir().expect("a directory");
        let (killed, effects) = live(dir.path(), &mut fastrand::Rng::with_seed(seed));
        kills += killed;
        again += effects.len() - 2 * ROUNDS as usize;
        let db = open(dir.path());
        let run = db.run(ID).expect("there");
        assert_eq!(run.digest().expect("reads").content, expected.content, "seed {seed}, {killed} kills");
        check_used_once(&run, &effects, killed, seed);
        seed += 1;
    }
    assert!(kills >= kills_wanted, "{kills} kills in {seed} lives");
    println!(
        "{kills} kills in {seed} lives; {again} effects without a recorded result were carried out again"
    );
}
