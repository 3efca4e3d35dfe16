//! `orlop preflight`.
use std::process::ExitCode;
pub(crate) fn run(_: &crate::options::Preflight) -> ExitCode { ExitCode::FAILURE }
