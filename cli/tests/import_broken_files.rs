//! A broken file is named with the place of its fault, and takes nothing else down with it.

use std::{fs, ops::ControlFlow, path::Path};

use in_mem_cli::import::{Format, ImportError, ImportedRun, read_all, read_bytes, read_file};

fn read(format: Format, text: impl AsRef<[u8]>) -> Vec<Result<ImportedRun, ImportError>> {
    let mut all = Vec::new();
    read_bytes(Path::new("some/file.json"), text.as_ref(), format, |run| {
        all.push(run);
        ControlFlow::Continue(())
    });
    all
}

fn only_error(format: Format, text: impl AsRef<[u8]>) -> ImportError {
    let mut all = read(format, text);
    assert_eq!(all.len(), 1);
    all.remove(0).expect_err("this file is broken")
}

/// A sound tau-bench run with one call and its answer.
fn tau(task: u32) -> String {
    format!(
        r#"{{"task_id":{task},"trial":0,"reward":1.0,"info":{{"reward_info":{{}}}},"traj":[
            {{"role":"user","content":"hello"}},
            {{"role":"assistant","content":null,"tool_calls":[{{"id":"c1","type":"function",
              "function":{{"name":"look","arguments":"{{\"at\": 1}}"}}}}]}},
            {{"role":"tool","tool_call_id":"c1","name":"look","content":"Error: nothing there"}}]}}"#
    )
}

#[test]
fn an_empty_file_says_so_in_every_format() {
    for format in Format::ALL {
        for text in ["", " \n\t ", "\u{feff}"] {
            assert!(matches!(only_error(format, text), ImportError::Empty { .. }));
        }
    }
}

#[test]
fn a_file_that_is_not_json_is_named_with_line_and_column() {
    for format in Format::ALL {
        match only_error(format, "{\n  \"a\": hello\n}") {
            ImportError::Syntax { line: 2, column: 8, run: None, .. } => {}
            other => panic!("{other}"),
        }
    }
    let message = only_error(Format::SweAgent, "hello").to_string();
    assert!(message.starts_with("some/file.json:1:1: is not JSON"), "{message}");
}

#[test]
fn bytes_that_are_not_utf8_are_named_with_line_and_column() {
    match only_error(Format::TauBench, b"[\n  {\"a\": \"\xff\"}]") {
        ImportError::NotUtf8 { line: 2, column: 10, offset: 11, .. } => {}
        other => panic!("{other}"),
    }
}

#[test]
fn the_runs_before_a_cut_go_in_and_the_cut_is_named() {
    let whole = format!("[{},\n{},\n{}]", tau(0), tau(1), tau(2));
    let cut = &whole[..whole.len() - 30];
    let all = read(Format::TauBench, cut);
    assert_eq!(all.iter().filter(|r| r.is_ok()).count(), 2);
    match all.last() {
        Some(Err(ImportError::Syntax { run: Some(2), line, .. })) => assert_eq!(*line, cut.lines().count()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_cut_of_a_file_gives_whole_runs_and_one_error() {
    let whole = format!("[{},{}]", tau(0), tau(1));
    for end in 1..whole.len() {
        let all = read(Format::TauBench, &whole[..end]);
        let (last, before) = all.split_last().unwrap();
        assert!(matches!(last, Err(ImportError::Syntax { .. })), "cut at {end}: {last:?}");
        assert!(before.iter().all(|r| r.as_ref().is_ok_and(|r| r.message_count() == 3)));
    }
}

#[test]
fn a_broken_run_in_a_list_is_named_and_the_others_go_in() {
    let no_trial = tau(1).replace("\"trial\":0,", "");
    let bad_role = tau(2).replace("\"role\":\"tool\"", "\"role\":7");
    let all = read(Format::TauBench, format!("[{},{no_trial},{bad_role},12,{}]", tau(0), tau(4)));
    let messages: Vec<String> =
        all.iter().filter_map(|r| r.as_ref().err()).map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "some/file.json: $[1]: has no `trial`",
            "some/file.json: $[2].traj[2].role: expected text, found the number 7",
            "some/file.json: $[3]: expected an object, found the number 12",
        ]
    );
    assert_eq!(
        all.iter().map(|r| r.as_ref().err().and_then(ImportError::run)).collect::<Vec<_>>(),
        [None, Some(1), Some(2), Some(3), None]
    );
}

#[test]
fn wrong_types_and_missing_fields_are_named_in_every_format() {
    let cases = [
        (
            Format::TauBench,
            r#"{"task_id":"x","trial":0,"reward":0,"traj":[]}"#,
            "$.task_id: expected a whole number",
        ),
        (Format::TauBench, r#"{"task_id":1,"trial":0,"reward":0}"#, "$: has no `traj`"),
        (
            Format::TauBench,
            r#"{"task_id":1,"trial":0,"reward":0,"traj":[{"role":"assistant","tool_calls":[{"function":{}}]}]}"#,
            "$.traj[0].tool_calls[0].function: has no `name`",
        ),
        (Format::SweAgent, r#"{"info":{}}"#, "$: has no `trajectory`"),
        (
            Format::SweAgent,
            r#"{"trajectory":{}}"#,
            "$.trajectory: expected a list, found an object of 0 fields",
        ),
        (Format::SweAgent, r#"{"trajectory":[{"action":"ls"},{}]}"#, "$.trajectory[1]: has no `action`"),
        (
            Format::SweAgent,
            r#"{"trajectory":[{"action":"ls","execution_time":"long"}]}"#,
            "$.trajectory[0].execution_time: expected a number, found the text \"long\"",
        ),
        (Format::Langfuse, r#"{"observations":[]}"#, "$: has no `trace`"),
        (
            Format::Langfuse,
            r#"{"trace":{"id":1},"observations":[]}"#,
            "$.trace.id: expected text, found the number 1",
        ),
        (Format::Langfuse, r#"{"trace":{"id":"t"},"observations":[{}]}"#, "$.observations[0]: has no `id`"),
        (
            Format::Langfuse,
            r#"{"trace":{"id":"t"},"observations":[{"id":"o","type":"SPAN","startTime":"noon"}]}"#,
            "$.observations[0].startTime: expected a time like",
        ),
    ];
    for (format, text, expected) in cases {
        let message = only_error(format, text).to_string();
        assert!(message.contains(expected), "{text}\n gave: {message}\n not: {expected}");
    }
}

#[test]
fn a_file_of_another_format_is_recognised() {
    let message = only_error(Format::Langfuse, r#"{"trajectory":[],"history":[]}"#).to_string();
    assert!(message.contains("looks like a swe-agent file: try `in-mem import swe-agent`"), "{message}");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("absent.json"), dir.path().to_owned()] {
        let all = read_all(&path, Format::TauBench);
        assert!(matches!(&all[..], [Err(ImportError::Unreadable { file, .. })] if *file == path));
    }
}

#[test]
fn nesting_without_end_is_an_error_and_not_a_crash() {
    for format in Format::ALL {
        assert!(matches!(only_error(format, "[".repeat(100_000)), ImportError::Syntax { .. }));
        let _ = only_error(format, "{\"a\":".repeat(100_000));
    }
}

#[test]
fn the_reading_stops_when_the_caller_says_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("[{},{},{}]", tau(0), tau(1), tau(2))).unwrap();
    let mut seen = 0;
    read_file(file.path(), Format::TauBench, |_| {
        seen += 1;
        ControlFlow::Break(())
    });
    assert_eq!(seen, 1);
}

#[test]
fn the_same_run_twice_in_a_file_is_two_runs() {
    let all = read(Format::TauBench, format!("[{},{}]", tau(0), tau(0)));
    let ids: Vec<[u8; 16]> = all.iter().map(|r| r.as_ref().unwrap().run_id()).collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(all[1].as_ref().unwrap().warnings.len(), 1);
}

#[test]
fn a_tool_that_answers_with_an_error_is_a_failed_span() {
    use in_mem_cli::import::SpanStatus;
    let run = read(Format::TauBench, tau(0)).remove(0).unwrap();
    assert_eq!(run.spans[1].status, SpanStatus::Failed("Error: nothing there".to_owned()));
    assert_eq!(run.spans[1].input, serde_json::json!({ "at": 1 }));
}

#[test]
fn an_observation_of_level_error_is_a_failed_span_and_at_the_top_a_failed_run() {
    use in_mem_cli::import::{ImportedStatus, SpanStatus};
    let text = r#"{"trace":{"id":"t"},"observations":[
        {"id":"child","parentObservationId":"top","type":"TOOL","name":"fetch","level":"ERROR","statusMessage":"timed out",
         "startTime":"2025-01-01T00:00:01.5Z","endTime":"2025-01-01T01:00:02+01:00"},
        {"id":"top","type":"AGENT","name":"helper","level":"ERROR","startTime":"2025-01-01T00:00:00Z","endTime":"2025-01-01T00:00:03Z"}]}"#;
    let run = read(Format::Langfuse, text).remove(0).unwrap();
    assert_eq!(run.spans[0].id, "top");
    assert_eq!(run.spans[1].status, SpanStatus::Failed("timed out".to_owned()));
    assert_eq!(run.spans[1].end.unwrap() - run.spans[1].start.unwrap(), 500_000);
    assert_eq!(run.status, ImportedStatus::Failed("helper: no message".to_owned()));
}
