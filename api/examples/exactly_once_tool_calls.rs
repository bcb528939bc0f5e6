//! A tool with an effect outside (a payment) is called once, however often the agent is started again. The call is noted before
//! it is made, under a key that the tool, too, knows it by; its result is noted with the event of it, in one transaction.
//!
//! What a crash between the call and the note leaves open only the tool can say: so it is asked by the same key, which every tool
//! worth paying with accepts.

use std::collections::HashMap;

use in_mem::{Database, Run, SpanDraft, SpanEnd, Value, value};

/// Stands for the payment service: it keeps what it was asked by key, and answers a repeated key with the first answer.
#[derive(Default)]
struct Payments {
    made: HashMap<String, Value>,
}

impl Payments {
    fn pay(&mut self, key: &str, request: &Value) -> Value {
        let number = self.made.len() + 1;
        self.made
            .entry(key.to_owned())
            .or_insert_with(|| value!({ "payment": number, "cents": request["cents"].clone() }))
            .clone()
    }
}

/// Where the process dies in this example.
#[derive(PartialEq)]
enum Crash {
    BeforeCall,
    AfterCall,
    Never,
}

/// Calls the tool, unless its result is known already; `None`: the process died.
fn call_once(
    run: &Run,
    step: &str,
    request: &Value,
    tool: &mut Payments,
    crash: &Crash,
) -> in_mem::Result<Option<Value>> {
    let (cell, span) = (format!("call/{step}"), format!("call-{step}"));
    match run.state().read(&cell)? {
        Some(call) if call.value["done"].as_bool() == Some(true) => {
            return Ok(Some(call.value["result"].clone()));
        }
        Some(call) => assert_eq!(&call.value["request"], request, "the same step with another request"),
        None => run.transaction(|tx| {
            tx.state().set(&cell, value!({ "done": false, "request": request.clone() }))?;
            tx.traces().start(&SpanDraft::tool_call("pay").id(&*span).input(request.clone()))?;
            Ok(())
        })?,
    }
    if *crash == Crash::BeforeCall {
        return Ok(None);
    }
    let key = format!("{}/{step}", run.id());
    let result = tool.pay(&key, request);
    if *crash == Crash::AfterCall {
        return Ok(None);
    }
    run.transaction(|tx| {
        tx.state()
            .set(&cell, value!({ "done": true, "request": request.clone(), "result": result.clone() }))?;
        tx.events().append("paid", result.clone())?;
        tx.traces().end(&span, SpanEnd::ok().output(result.clone()))
    })?;
    Ok(Some(result))
}

pub(crate) fn main() -> in_mem::Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut payments = Payments::default();
    let request = value!({ "cents": 4_200, "to": "the bakery" });
    let id = Database::open(dir.path())?.begin_run("pay the bakery")?.id();
    let mut results = Vec::new();
    for crash in [Crash::BeforeCall, Crash::AfterCall, Crash::Never, Crash::Never] {
        // Each time a process of its own, as far as the database can tell.
        let db = Database::open(dir.path())?;
        let run = db.resume(id)?;
        results.extend(call_once(&run, "pay", &request, &mut payments, &crash)?);
    }
    println!("paid once: {}", results[0]["payment"]);
    assert_eq!(payments.made.len(), 1);
    assert_eq!(results.len(), 2);
    assert_eq!(results[0], results[1]);
    let db = Database::open(dir.path())?;
    let run = db.run(id)?;
    assert_eq!(run.events().len()?, 1);
    assert_eq!(run.traces().query().name("pay").count()?, 1);
    Ok(())
}
