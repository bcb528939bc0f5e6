//! `demo`.
use super::Failure;
use crate::args::{Common, DemoAgentArgs, DemoArgs};
use std::process::ExitCode;
pub(super) fn demo(_: &DemoArgs, _: &Common) -> Result<ExitCode, Failure> {
    Err(Failure::Failed("not yet".into()))
}
pub(super) fn agent(_: &DemoAgentArgs, _: &Common) -> Result<ExitCode, Failure> {
    Err(Failure::Failed("not yet".into()))
}
