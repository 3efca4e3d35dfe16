//! `orlop preflight`: whether this machine can be a node, and what mends it.

use std::path::Path;
use std::process::{Command, ExitCode};

use orlop::node::preflight::{Facts, Finding, Level, Wants, check, is_fit, mending};
use serde_json::json;

use crate::options::Preflight;

/// Runs the command.
pub(crate) fn run(options: &Preflight) -> ExitCode {
    let mut wants = Wants::control_plane();
    if !options.ports.is_empty() {
        wants.ports = options.ports.iter().map(|port| (*port, "asked for by --ports")).collect();
    }
    let mut findings = check(&Facts::read(Path::new("/")), &wants);
    if options.apply {
        for command in mending(&findings) {
            if !options.json {
                say!("$ {command}");
            }
            match Command::new("sh").args(["-c", &command]).status() {
                Ok(status) if status.success() => {}
                Ok(status) => eprintln!("error: {command}: {status}"),
                Err(error) => eprintln!("error: {command}: {error}"),
            }
        }
        findings = check(&Facts::read(Path::new("/")), &wants);
    }
    if options.json {
        say!(
            "{:#}",
            json!({"fit": is_fit(&findings), "checks": findings.iter().map(as_json).collect::<Vec<_>>()})
        );
    } else {
        print(&findings, options.apply);
    }
    if is_fit(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn level(finding: &Finding) -> &'static str {
    match finding.level {
        Level::Pass => "ok",
        Level::Warn => "warning",
        Level::Fail => "FAILS",
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({
        "name": finding.name,
        "level": level(finding).to_lowercase(),
        "found": finding.found,
        "why": finding.why,
        "mend": finding.mend,
        "byHand": finding.by_hand,
    })
}

fn print(findings: &[Finding], applied: bool) {
    for finding in findings {
        say!("{:8} {:20} {}", level(finding), finding.name, finding.found);
        if finding.level == Level::Pass {
            continue;
        }
        say!("         why: {}", finding.why);
        for command in &finding.mend {
            say!("         {}: {command}", if finding.by_hand { "see" } else { "mend" });
        }
    }
    say!("");
    if is_fit(findings) {
        say!("This machine can be a node.");
    } else if applied {
        say!("This machine cannot be a node yet: what is left needs a decision of yours.");
    } else {
        say!("This machine cannot be a node yet. Nothing was changed; --apply runs the commands above.");
    }
}
