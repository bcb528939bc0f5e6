//! Every example does what it says: it checks itself.
#![allow(dead_code, reason = "an example is a program of its own")]

#[path = "../examples/exactly_once_tool_calls.rs"]
mod exactly_once_tool_calls;
#[path = "../examples/resume_after_crash.rs"]
mod resume_after_crash;
#[path = "../examples/shared_lock_and_queue.rs"]
mod shared_lock_and_queue;
#[path = "../examples/supervisor.rs"]
mod supervisor;
#[path = "../examples/tool_using_agent.rs"]
mod tool_using_agent;
#[path = "../examples/tracing_an_agent.rs"]
mod tracing_an_agent;

macro_rules! run {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                $name::main().expect("the example runs");
            }
        )*
    };
}

run!(
    exactly_once_tool_calls,
    resume_after_crash,
    shared_lock_and_queue,
    supervisor,
    tool_using_agent,
    tracing_an_agent,
);
