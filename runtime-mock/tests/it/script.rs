//! What a scripting annotation says, and what a command means.

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use orlop_core::Name;
use orlop_core::runtime::{ContainerSpec, SandboxSpec};
use orlop_runtime_mock::{CommandPolicy, RecordedPolicy, Script, ShellLikePolicy, parse};

fn check(text: &str, expected: Expect) {
    let shown = match parse(text) {
        Ok(overlay) => {
            let mut web = Script::default();
            let mut db = Script::default();
            overlay.apply("web", &mut web);
            overlay.apply("db", &mut db);
            let pull = overlay.pull().map(|pull| format!("pull {:?} {:?}\n", pull.time, pull.failure));
            format!("{}web {}\ndb  {}\n", pull.unwrap_or_default(), show(&web), show(&db))
        }
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&shown);
}

fn show(script: &Script) -> String {
    let mut out = format!("start {:?}", script.start_up);
    if let Some((starts, after, code)) = script.first_exits {
        out += &format!(", first {starts} exit {code} after {after:?}");
    }
    if let Some((after, code)) = script.exit {
        out += &format!(", exit {code} after {after:?}");
    }
    match script.stop {
        Some(after) => out += &format!(", stop {after:?} code {}", script.stop_code),
        None => out += ", stop never",
    }
    for step in &script.probes {
        out += &format!(", {:?} {:?} after {:?}", step.purpose, step.health, step.after);
    }
    for line in &script.log {
        out += &format!(", says {:?} after {:?} every {:?}", line.text, line.after, line.every);
    }
    out
}

#[test]
fn a_script_speaks_to_all_or_to_one() {
    check(
        "start 2s; ready after 5s\nweb: exit 3 after 10s; stop 500ms\ndb: stop never; log \"a; b\" every 1m",
        expect![[r#"
            web start 2s, exit 3 after 10s, stop 500ms code 0, Readiness Bad("HTTP probe failed with statuscode: 503") after 0ns, Readiness Good after 5s
            db  start 2s, stop never, Readiness Bad("HTTP probe failed with statuscode: 503") after 0ns, Readiness Good after 5s, says "a; b" after 0ns every Some(60s)
        "#]],
    );
    check(
        "db: exit 1 after 1s for 4 starts; liveness silent after 1.5m\npull 3s",
        expect![[r#"
            pull 3s None
            web start 150ms, stop 100ms code 0
            db  start 150ms, first 4 exit 1 after 1s, stop 100ms code 0, Liveness Silent after 90s
        "#]],
    );
}

#[test]
fn what_is_no_statement_is_refused_with_its_text() {
    for (text, expected) in [
        (
            "sart 2s",
            expect![[r#"
            annotation mock.orlop.dev/script: "sart 2s": not a statement
        "#]],
        ),
        (
            "start 2 parsecs",
            expect![[r#"
            annotation mock.orlop.dev/script: "start 2 parsecs": not a statement
        "#]],
        ),
        (
            "start soon",
            expect![[r#"
            annotation mock.orlop.dev/script: "start soon": a time is written as 150ms, 2s, 1.5m, 1h or 1d
        "#]],
        ),
        (
            "run; exit one",
            expect![[r#"
            annotation mock.orlop.dev/script: "exit one": the exit code is a number
        "#]],
        ),
    ] {
        check(text, expected);
    }
}

fn command(policy: &dyn CommandPolicy, words: &str, one_shot: bool) -> String {
    let container = ContainerSpec {
        command: words.split_whitespace().map(Name::from).collect(),
        one_shot,
        ..ContainerSpec::default()
    };
    show(&policy.script(&SandboxSpec::default(), &container))
}

#[test]
fn commands_mean_what_a_shell_means_by_them() {
    let policy = ShellLikePolicy { work: Duration::from_secs(7) };
    let server = "start 150ms, stop 100ms code 0";
    assert_eq!(command(&policy, "", false), server);
    assert_eq!(command(&policy, "/usr/sbin/nginx -g daemon", false), server);
    assert_eq!(
        command(&policy, "perl -wle print", true),
        "start 150ms, exit 0 after 7s, stop 100ms code 143"
    );
    assert_eq!(
        command(&policy, "/bin/sleep 3600", false),
        "start 150ms, exit 0 after 3600s, stop 100ms code 143"
    );
    assert_eq!(command(&policy, "false", true), "start 150ms, exit 1 after 0ns, stop 100ms code 143");
    let container = ContainerSpec {
        command: ["/bin/sh", "-ec"].map(Name::from).to_vec(),
        args: vec!["echo hello $WHO; sleep 2; exit 9".into()],
        env: vec![("WHO".into(), "there".into())],
        ..ContainerSpec::default()
    };
    let script = policy.script(&SandboxSpec::default(), &container);
    assert_eq!(
        show(&script),
        r#"start 150ms, exit 9 after 2s, stop 100ms code 143, says "hello there" after 0ns every None"#
    );
}

#[test]
fn the_recorded_kubelet_has_few_rules() {
    let policy: Arc<dyn CommandPolicy> = Arc::new(RecordedPolicy);
    let show = |words: &str, one_shot| command(&*policy, words, one_shot);
    assert_eq!(show("sleep 10", false), "start 150ms, stop 300ms code 0");
    assert_eq!(show("do-it", true), "start 150ms, exit 0 after 800ms, stop 300ms code 143");
    assert_eq!(show("sh -c exit 42", true), "start 150ms, exit 42 after 800ms, stop 300ms code 143");
    assert_eq!(show("sleep 3600", true), "start 150ms, stop 300ms code 143");
}

/// The page for users gave a statement that no runtime read.
#[test]
fn the_examples_of_the_documentation_are_read() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/simulated.md");
    let page = std::fs::read_to_string(page).expect("the page is part of the repository");
    let mut lines = page.lines();
    let mut read = 0;
    while let Some(line) = lines.next() {
        let Some((before, statements)) = line.split_once("mock.orlop.dev/script: ") else { continue };
        let within = |line: &&str| line.starts_with(&format!("{before}  "));
        let text = match statements {
            "|" => lines.by_ref().take_while(within).map(str::trim).collect::<Vec<_>>().join("\n"),
            statement => statement.to_owned(),
        };
        if let Err(error) = parse(&text) {
            panic!("{error}");
        }
        read += text.lines().count();
    }
    assert!(read >= 6, "{read} lines were found");
}
