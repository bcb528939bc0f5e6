//! An agent written with steps, stopped anywhere and begun again as often as it takes, comes to the state of one that was
//! never stopped, and no effect whose result was recorded is carried out again.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use in_mem::{Database, Error, Result, Run, RunId, RunStatus, Value};

const ROUNDS: i64 = 6;
const CHILD: &str = "IN_MEM_TEST_AGENT_DIR";
const ID: RunId = RunId::from_bytes([7; 16]);

/// An agent: each round asks a tool, inside a step that asks another, and keeps what it learned. `boundary` is called between
/// all that it does, and may stop it there; `effect` is called by each effect.
fn agent(run: &Run, boundary: &dyn Fn() -> Result<()>, effect: &dyn Fn(&str)) -> Result<()> {
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
            boundary()?;
            effect(&format!("ask {round}"));
            Ok::<_, Error>(inner + 1)
        })?;
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
    agent(&run, &|| Ok(()), &|_| {}).expect("runs");
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
            let stopped = agent(&run_of(&db), &boundary, &|name| effects.borrow_mut().push(name.to_owned()));
            if stopped.is_ok() {
                assert!(stop_at > 30, "the agent has more boundaries than that");
                break;
            }
            stopped
        };
        assert!(matches!(stopped, Err(Error::Aborted { .. } | Error::Step(_))), "{stopped:?}");
        let db = open(dir.path());
        let run = run_of(&db);
        agent(&run, &|| Ok(()), &|name| effects.borrow_mut().push(name.to_owned())).expect("goes on");
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
        agent(&run, &boundary, &|name| say(&format!("effect {name}"))).expect("runs");
    }
    say("done");
}

#[test]
fn killed_anywhere() {
    let expected = never_stopped();
    let rounds = std::env::var("IN_MEM_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    for seed in 0..rounds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().expect("a directory");
        let mut kills = 0;
        loop {
            // Killed at the n-th sign of life, and whatever it has gone on to do by then.
            let kill_at = if kills < 6 { rng.usize(1..25) } else { usize::MAX };
            let mut child = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "child_agent", "--ignored", "--nocapture"])
                .env(CHILD, dir.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("starts");
            let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
            let mut done = false;
            for (number, line) in lines.map_while(std::io::Result::ok).enumerate() {
                // Without threads the test harness writes the test's name in front of its first line.
                done |= line.ends_with("done");
                if number == kill_at {
                    child.kill().expect("SIGKILL");
                    kills += 1;
                    break;
                }
            }
            child.wait().expect("ends");
            if done {
                break;
            }
            assert!(kill_at < usize::MAX, "the agent was left alone and did not finish");
        }
        let db = open(dir.path());
        let run = db.run(ID).expect("there");
        if run.status().expect("there") != RunStatus::Completed {
            // Killed between its last word and its end.
            agent(&run, &|| Ok(()), &|_| {}).expect("goes on");
        }
        assert_eq!(run.digest().expect("reads").content, expected.content, "seed {seed}, {kills} kills");
        assert!(run.verify().expect("verifies").is_same());
    }
}
