//! An agent that answers a question with a tool: its messages are events, what it knows is KV, every call of the model and of the
//! tool is a span, and an answer is given and the run ended in one transaction.

use in_mem::{Database, RunStatus, SpanDraft, SpanEnd, SpanKind, Value, value};

/// Stands for a language model: asks for the tool first, then answers.
fn model(messages: &[Value]) -> Value {
    match messages.iter().rev().find(|m| m["role"].as_str() == Some("tool")) {
        None => value!({ "role": "assistant", "tool": "weather", "arguments": { "city": "Bergen" } }),
        Some(tool) => {
            let degrees = tool["content"]["degrees"].as_i64().unwrap_or(0);
            value!({ "role": "assistant", "content": format!("It is {degrees} degrees in Bergen.") })
        }
    }
}

/// Stands for a tool.
fn weather(arguments: &Value) -> Value {
    value!({ "city": arguments["city"].clone(), "degrees": 11, "rain": true })
}

pub(crate) fn main() -> in_mem::Result<()> {
    let db = Database::in_memory()?;
    let run = db.new_run("weather in Bergen").tag("demo").begin()?;
    let agent = run.traces().start_span(&SpanDraft::new(SpanKind::Agent, "weather agent"))?;
    run.events().append("message", value!({ "role": "user", "content": "How warm is it in Bergen?" }))?;

    loop {
        // The conversation is the log: there is no other copy of it that could differ.
        let messages: Vec<Value> = run.events().of_kind("message")?.into_iter().map(|e| e.payload).collect();
        let draft =
            SpanDraft::model_call("example-model").parent(&*agent).input(Value::array(messages.clone()));
        let mut call = run.traces().span(draft)?;
        let answer = model(&messages);
        call.output(answer.clone());
        call.tokens(40, 12);
        call.finish()?;
        run.events().append("message", answer.clone())?;

        let Some(tool) = answer["tool"].as_str() else {
            // The answer, the end of the agent's span and the end of the run: all of it or nothing.
            run.transaction(|tx| {
                tx.kv().put("answer", answer["content"].clone())?;
                tx.traces().end(&agent, SpanEnd::ok().output(answer["content"].clone()))?;
                tx.end_run(RunStatus::Completed);
                Ok(())
            })?;
            break;
        };
        let draft = SpanDraft::tool_call(tool).parent(&*agent).input(answer["arguments"].clone());
        let mut call = run.traces().span(draft)?;
        let found = weather(&answer["arguments"]);
        call.output(found.clone());
        call.finish()?;
        run.events().append("message", value!({ "role": "tool", "content": found }))?;
    }

    println!("{}", run.kv().get("answer")?.as_ref().and_then(Value::as_str).unwrap_or("no answer"));
    for (kind, totals) in run.traces().query().totals()? {
        println!(
            "{kind}: {} calls, {} tokens in, {} out",
            totals.spans, totals.input_tokens, totals.output_tokens
        );
    }
    assert_eq!(run.traces().query().kind(SpanKind::ToolCall).count()?, 1);
    assert_eq!(run.events().len()?, 4);
    assert_eq!(run.status()?, RunStatus::Completed);
    Ok(())
}
