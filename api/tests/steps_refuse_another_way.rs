//! Steps that do not come as they were recorded are refused, with both sides shown.

use std::time::Duration;

use in_mem::{Database, Error, Result, Run, RunStatus, StepError, StepOptions};

fn step(run: &Run, name: &str, input: i64) -> Result<i64> {
    run.step(name, input, || Ok::<_, Error>(input + 1))
}

fn recorded() -> (Database, Run) {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("steps").expect("begins");
    for (name, input) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(step(&run, name, input).expect("steps"), input + 1);
    }
    let again = db.resume(run.id()).expect("there");
    (db, again)
}

#[test]
fn another_input_shows_both() {
    let (_db, run) = recorded();
    let refused = step(&run, "a", 9).expect_err("another input");
    let said = refused.to_string();
    assert!(said.contains("recorded: a with input 1") && said.contains("now:      a with input 9"), "{said}");
    assert!(matches!(refused, Error::Step(error) if matches!(*error, StepError::Mismatch { .. })));
}

#[test]
fn another_order_shows_both() {
    let (_db, run) = recorded();
    assert_eq!(step(&run, "a", 1).expect("as recorded"), 2);
    let said = step(&run, "c", 3).expect_err("b comes next").to_string();
    assert!(
        said.contains("step 1 of") && said.contains("b with input 2") && said.contains("c with input 3"),
        "{said}"
    );
}

#[test]
fn a_lost_step_is_found_at_the_end() {
    let (_db, run) = recorded();
    step(&run, "a", 1).expect("as recorded");
    let refused = run.end(RunStatus::Completed).expect_err("b is missing");
    assert!(
        matches!(refused, Error::Step(error) if matches!(&*error, StepError::Missing { path, recorded, .. } if path == "1" && recorded == "b"))
    );
    step(&run, "b", 2).expect("as recorded");
    step(&run, "c", 3).expect("as recorded");
    run.end(RunStatus::Completed).expect("all were called");
}

#[test]
fn an_agent_that_takes_no_step_any_more_has_lost_them_all() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("lost").expect("begins");
    run.step("only", 1, || Ok::<_, String>(1)).expect("works");
    let again = db.resume(run.id()).expect("there");
    let refused = again.finish_steps().expect_err("a step was recorded");
    assert!(
        matches!(&refused, Error::Step(error) if matches!(&**error, StepError::Missing { .. })),
        "{refused}"
    );
    // It can go on: the step is still what comes first.
    assert_eq!(again.step("only", 1, || Err::<i64, _>("recorded")).expect("recorded"), 1);
    again.finish_steps().expect("all were called");
}

#[test]
fn a_result_of_another_type_names_the_step() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("typed").expect("begins");
    run.step("count", 1, || Ok::<_, String>(1)).expect("works");
    let again = db.resume(run.id()).expect("there");
    let refused = again.step("count", 1, || Ok::<_, String>("one".to_owned())).expect_err("it is a number");
    assert!(
        matches!(&refused, Error::Step(error) if matches!(&**error, StepError::OtherType { name, .. } if name == "count")),
        "{refused}"
    );
    assert!(refused.to_string().contains("step 0 (count) of run"), "{refused}");
}

#[test]
fn a_failing_effect_is_tried_as_often_as_it_may() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("retries").expect("begins");
    let mut tries = 0;
    let options = StepOptions::default().attempts(3).wait(Duration::ZERO);
    let result: i64 = run
        .step_with("flaky", (), options, || {
            tries += 1;
            if tries < 3 { Err("not yet") } else { Ok(7) }
        })
        .expect("the third works");
    assert_eq!((result, tries), (7, 3));
    assert_eq!(run.events().of_kind(in_mem::STEP_FAILED_EVENT).expect("reads").len(), 2);
    let refused =
        run.step_with("broken", (), options, || Err::<i64, _>("never")).expect_err("it never works");
    assert!(
        matches!(&refused, Error::Step(error) if matches!(&**error, StepError::Failed { attempts: 3, .. })),
        "{refused}"
    );
    // A failed step is not recorded: it may be tried again.
    let again = db.resume(run.id()).expect("there");
    assert_eq!(again.step_with("flaky", (), options, || Err::<i64, _>("recorded")).expect("recorded"), 7);
    assert_eq!(again.step_with("broken", (), options, || Ok::<_, String>(1)).expect("works now"), 1);
    let in_time = StepOptions::default().attempts(1_000_000).wait(Duration::ZERO).timeout(Duration::ZERO);
    let refused =
        again.step_with("late", (), in_time, || Err::<i64, _>("late")).expect_err("the time is over");
    assert!(
        matches!(&refused, Error::Step(error) if matches!(&**error, StepError::Failed { attempts: 1, .. })),
        "{refused}"
    );
}

#[test]
fn chance_and_time_are_recorded() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("chance").expect("begins");
    let first = (run.random().expect("steps"), run.now().expect("steps"), run.random().expect("steps"));
    let again = db.resume(run.id()).expect("there");
    assert_eq!((again.random().unwrap(), again.now().unwrap(), again.random().unwrap()), first);
}

#[test]
fn steps_of_two_threads_do_not_mix() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("threads").expect("begins");
    run.step("outer", (), || {
        let refused = std::thread::scope(|scope| scope.spawn(|| step(&run, "inner", 1)).join().expect("ran"));
        assert!(matches!(refused, Err(Error::Step(error)) if matches!(*error, StepError::Concurrent { .. })));
        step(&run, "inner", 1)
    })
    .expect("steps");
}

fn nested(levels: usize) -> in_mem::Value {
    (0..levels).fold(in_mem::Value::Null, |inner, _| in_mem::Value::from(vec![inner]))
}

#[test]
fn what_can_be_refused_is_refused_before_the_effect_runs() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("agent").expect("begins");
    let ran = std::cell::Cell::new(0);
    let step = |run: &Run, input: in_mem::Value| {
        run.step("s", input, || {
            ran.set(ran.get() + 1);
            Ok::<_, Error>(1)
        })
    };
    let deepest = in_mem::limits::MAX_DEPTH - 1;
    assert!(matches!(step(&run, nested(deepest + 1)), Err(Error::Value(_) | Error::Serde(_))));
    assert_eq!(ran.get(), 0);
    assert_eq!(step(&run, nested(deepest)).expect("is stored"), 1);
    run.end(in_mem::RunStatus::Completed).expect("ends");
    let run = db.run(run.id()).expect("there");
    assert_eq!(step(&run, nested(deepest)).expect("is recorded"), 1);
    let late = step(&run, 2.into());
    assert!(matches!(late, Err(Error::Write(in_mem::WriteError::RunEnded { .. }))), "{late:?}");
    assert_eq!(ran.get(), 1);
}

#[test]
fn a_result_that_cannot_be_stored_is_said_to_be_unrecorded_and_the_step_taken_again() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("agent").expect("begins");
    let deepest = in_mem::limits::MAX_DEPTH - 1;
    let ran = std::cell::Cell::new(0);
    let step = |run: &Run, levels: usize| {
        run.step("s", 1, || {
            ran.set(ran.get() + 1);
            Ok::<_, Error>(nested(levels))
        })
    };
    match step(&run, deepest + 1) {
        Err(Error::Step(error)) => match *error {
            StepError::Unrecorded { ref source, .. } => {
                assert!(matches!(**source, Error::Value(_)), "{source}");
                assert!(error.to_string().contains("its effect ran"), "{error}");
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    assert_eq!(run.events().len().expect("counts"), 0, "nothing is recorded");
    let again = db.resume(run.id()).expect("there");
    assert_eq!(step(&again, deepest).expect("is stored"), nested(deepest));
    assert_eq!(step(&db.resume(run.id()).expect("there"), 0).expect("is recorded"), nested(deepest));
    assert_eq!(ran.get(), 2, "once refused, once recorded");
}
