//! Recorded kubectl sessions against a real control plane, run again against an Orlop cluster.
//!
//! `cargo test --release -p orlop-examples --test it transcripts -- --nocapture`; `ORLOP_SCENARIO=services,jobs` picks
//! scenarios, `ORLOP_VERBOSE=1` shows every disagreement in full.

mod cluster;
mod mask;
mod observe;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use observe::Observer;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::shared;

/// How long nothing may have changed before the next command is run. The recorder waited for 0.9 s, which on a busy
/// machine ends while a pod is still at `ErrImagePull`, a second before `ImagePullBackOff`.
const QUIET: Duration = Duration::from_millis(1300);
/// The recorder's own time.
const RECORDED_QUIET: Duration = Duration::from_millis(900);
/// The longest time that a command may take.
const LIMIT: Duration = Duration::from_secs(90);

/// Steps that need a controller which is not in the tree, and its name: none at present. The step after the last stands
/// for the checks.
const WAITING: &[(&str, usize, &str)] = &[];

/// How often a scenario that disagreed is tried again by itself: some show how many pods there were at once, which a
/// machine that stalls for a moment tears apart.
const AGAIN: usize = 3;

/// Steps that show the recording's own surroundings and are not to be compared (see the recordings' README). The last
/// reads a log, which the recording's nodes did not have.
const SURROUNDINGS: [(&str, usize); 8] = [
    ("discovery-explain", 0),
    ("discovery-explain", 1),
    ("discovery-explain", 18),
    ("discovery-explain", 20),
    ("discovery-explain", 21),
    ("discovery-explain", 25),
    ("discovery-explain", 2),
    ("run-and-pods", 18),
];

#[derive(Deserialize)]
struct Scenario {
    scenario: String,
    namespace: String,
    #[serde(default)]
    namespace_labels: BTreeMap<String, String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    steps: Vec<Step>,
    #[serde(default)]
    checks: Option<Value>,
}

impl Scenario {
    /// How long nothing may have changed before the next command is run. Between the binding of a claim and that of the
    /// pod that waits for it a second passes, in which the recorder went on.
    fn quiet(&self) -> Duration {
        let waits = self.files.values().any(|file| file.contains("volumeBindingMode: WaitForFirstConsumer"));
        if waits { RECORDED_QUIET } else { QUIET }
    }

    /// Whether a policy ends one of its Jobs.
    fn ends_by_policy(&self) -> bool {
        self.files.values().any(|file| file.contains("action: FailJob") || file.contains("successPolicy:"))
    }
}

#[derive(Deserialize)]
struct Step {
    cmd: String,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    writes: Vec<String>,
    exit: Value,
    stdout: String,
    stderr: String,
    #[serde(default)]
    unstable: bool,
    #[serde(default)]
    no_settle: bool,
    #[serde(default)]
    during: Vec<Value>,
}

struct Output {
    exit: Value,
    stdout: String,
    stderr: String,
}

#[test]
fn transcripts() {
    let (Some(dir), Some(kubectl)) = (shared::file("kubectl-transcripts"), shared::kubectl()) else { return };
    let wanted = std::env::var("ORLOP_SCENARIO").unwrap_or_default();
    if cfg!(debug_assertions) && wanted.is_empty() {
        // Numbers such as the most pods at once need controllers that are quicker than the recorded kubelet.
        eprintln!("ignored: recorded sessions are compared in release builds, or with ORLOP_SCENARIO=NAME");
        return;
    }
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .expect("a readable folder")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            wanted.is_empty() || wanted.split(',').any(|w| w == name)
        })
        .collect();
    files.sort();
    let scenarios: Arc<Vec<Scenario>> = Arc::new(
        files
            .iter()
            .map(|path| {
                serde_json::from_slice(&std::fs::read(path).expect("a readable file")).expect("a scenario")
            })
            .collect(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let results = runtime.block_on(run_all(&scenarios, &kubectl));
    let mut failed = Vec::new();
    let mut steps = (0, 0);
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    for (scenario, disagreements) in scenarios.iter().zip(&results) {
        let name = scenario.scenario.as_str();
        let missing = |step: usize| WAITING.iter().find(|w| (w.0, w.1) == (name, step)).map(|w| w.2);
        let (wait, wrong): (BTreeSet<usize>, BTreeSet<usize>) =
            disagreements.iter().map(|d| d.0).partition(|step| missing(*step).is_some());
        steps.0 += scenario.steps.len() - wrong.union(&wait).filter(|at| **at < scenario.steps.len()).count();
        steps.1 += scenario.steps.len();
        let mut verdict =
            if wrong.is_empty() { "agreed".to_owned() } else { format!("not, in steps {wrong:?}") };
        for step in wait {
            let controller = missing(step).unwrap_or_default();
            *waiting.entry(controller).or_default() += 1;
            verdict += &format!("; {step} waits for the {controller}");
        }
        println!("{name:34} {:3} steps  {verdict}", scenario.steps.len());
        let shown = if std::env::var_os("ORLOP_VERBOSE").is_some() { usize::MAX } else { 3 };
        for (_, text) in disagreements.iter().filter(|(step, _)| wrong.contains(step)).take(shown) {
            println!("{text}");
        }
        if !wrong.is_empty() {
            failed.push(name);
        }
    }
    println!("steps: {} of {} agreed", steps.0, steps.1);
    for (controller, steps) in &waiting {
        println!("waiting for the {controller}: {steps}");
    }
    let (agreed, waiting) = (scenarios.len() - failed.len(), waiting.values().sum::<usize>());
    println!("{agreed} of {} agreed, {waiting} waiting", scenarios.len());
    assert!(failed.is_empty(), "these must agree: {failed:?}");
}

/// Runs every scenario against a cluster of its own: some at a time, and those that disagree again, one by one.
async fn run_all(scenarios: &Arc<Vec<Scenario>>, kubectl: &Path) -> Vec<Vec<(usize, String)>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (next, scenarios, kubectl) = (next.clone(), scenarios.clone(), kubectl.to_owned());
        workers.spawn(async move {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(scenario) = scenarios.get(at) else { return done };
                done.push((at, run(scenario, &kubectl).await));
            }
        });
    }
    let mut results: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    results.sort_by_key(|(at, _)| *at);
    for (at, wrong) in &mut results {
        let scenario = &scenarios[*at];
        let waits = |step: usize| WAITING.iter().any(|w| (w.0, w.1) == (&*scenario.scenario, step));
        for _ in 0..AGAIN {
            if wrong.iter().all(|(step, _)| waits(*step)) {
                break;
            }
            println!("{}: once more, after", scenario.scenario);
            wrong.iter().for_each(|(_, text)| println!("{text}"));
            *wrong = run(scenario, kubectl).await;
        }
    }
    results.into_iter().map(|(_, result)| result).collect()
}

/// Runs one scenario; answers with its disagreements: the step, and what to show of it.
async fn run(scenario: &Scenario, kubectl: &Path) -> Vec<(usize, String)> {
    let home = tempfile::tempdir().expect("a temporary folder");
    let (dir, tmp) = (home.path().join("work"), home.path().join("tmp"));
    for folder in [&dir, &tmp] {
        std::fs::create_dir(folder).expect("a temporary folder");
    }
    for (name, content) in &scenario.files {
        write(&dir, name, content);
    }
    let cluster = cluster::start(&scenario.namespace, &scenario.namespace_labels).await;
    let config = home.path().join("kubeconfig");
    std::fs::write(&config, cluster::kubeconfig(&cluster, &scenario.namespace)).expect("a writable folder");
    let observer = cluster::observe(&cluster).await;
    let shell = Shell { kubectl, home: home.path(), dir: &dir, tmp: &tmp, config: &config, scenario };
    let mut wrong = Vec::new();
    for (at, step) in scenario.steps.iter().enumerate() {
        if !step.no_settle {
            observer.settle(scenario.quiet()).await;
        }
        for name in &step.writes {
            write(&dir, name, &scenario.files[name]);
        }
        observer.step(format!("step {at}: {}", step.cmd));
        let output = shell.step(step, &observer).await;
        if let Some(text) = shell.compare(at, step, &output, &observer) {
            wrong.push((at, text));
        }
    }
    observer.settle(scenario.quiet()).await;
    if let Some(expected) = &scenario.checks {
        let joined = |title: &str| {
            let at = title.strip_prefix("step ").and_then(|rest| rest.split_once(':')).map(|(at, _)| at);
            at.and_then(|at| at.parse::<usize>().ok())
                .and_then(|at| scenario.steps.get(at))
                .is_some_and(|s| s.no_settle)
        };
        let (mut expected, mut got) =
            (observe::recorded(expected, joined), observe::checks(&observer.history(), joined));
        if scenario.ends_by_policy() {
            (expected, got) = (expected.without_end(), got.without_end());
        }
        if got != expected {
            if std::env::var_os("ORLOP_TIMELINE").is_some() {
                observer.print();
            }
            wrong.push((scenario.steps.len(), format!("  checks\n    - {expected:?}\n    + {got:?}\n")));
        }
    }
    cluster.shutdown().await;
    wrong
}

fn write(dir: &Path, name: &str, content: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap_or(dir)).expect("a writable folder");
    std::fs::write(&path, content).expect("a writable folder");
    // Editors among the files are run.
    #[cfg(unix)]
    if content.starts_with("#!") {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("a writable folder");
    }
}

struct Shell<'a> {
    kubectl: &'a Path,
    home: &'a Path,
    dir: &'a Path,
    tmp: &'a Path,
    config: &'a Path,
    scenario: &'a Scenario,
}

impl Shell<'_> {
    fn command(&self, line: &str, env: &BTreeMap<String, String>) -> Command {
        let words = shlex::split(line).expect("a command line");
        let program = if words[0] == "kubectl" { self.kubectl.to_owned() } else { words[0].clone().into() };
        let mut command = Command::new(program);
        command
            .args(&words[1..])
            .current_dir(self.dir)
            .env("HOME", self.home)
            .env("TMPDIR", self.tmp)
            .env("KUBECONFIG", self.config)
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn step(&self, step: &Step, observer: &Observer) -> Output {
        let mut child = self.command(&step.cmd, &step.env).spawn().expect("a program");
        if let Some(mut stdin) = child.stdin.take()
            && let Some(text) = &step.stdin
        {
            // A command that does not read its input may end before it is written.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        let stopped = step.exit == "stopped";
        let id = child.id();
        let output = tokio::spawn(child.wait_with_output());
        if !step.during.is_empty() || stopped {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        for command in &step.during {
            let line = command.as_str().or(command["cmd"].as_str()).unwrap_or_default();
            let _ = self.command(line, &BTreeMap::new()).output().await;
            observer.settle(self.scenario.quiet()).await;
        }
        if stopped {
            observer.settle(self.scenario.quiet()).await;
            if let Some(id) = id {
                let _ = Command::new("kill").args(["-INT", &id.to_string()]).status().await;
            }
        }
        let output = match tokio::time::timeout(LIMIT, output).await {
            Ok(output) => output.expect("no panic").expect("a program that ran"),
            Err(_) => {
                if let Some(id) = id {
                    let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status().await;
                }
                return Output { exit: "hangs".into(), stdout: String::new(), stderr: String::new() };
            }
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output {
            exit: if stopped { "stopped".into() } else { output.status.code().into() },
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// What to show of a step that disagrees.
    fn compare(&self, at: usize, step: &Step, output: &Output, observer: &Observer) -> Option<String> {
        if SURROUNDINGS.contains(&(self.scenario.scenario.as_str(), at)) {
            return None;
        }
        // Nothing is said of what was gone before kubectl looked: the recorded cluster took longer.
        let waits_for_end = step.cmd.starts_with("kubectl wait ") && step.cmd.contains("--for=delete");
        if waits_for_end && output.exit == 0 && step.exit == 0 && output.stderr.is_empty() {
            return None;
        }
        let raw = mask::is_raw(&step.cmd);
        let names = observer.names();
        let (dir, tmp) = (self.dir.display().to_string(), self.tmp.display().to_string());
        let masked = |text: &str| mask::mask(text, &names, raw, &dir, &tmp);
        let mut diff = String::new();
        if output.exit != step.exit {
            diff += &format!("    - exit {}\n    + exit {}\n", step.exit, output.exit);
        }
        if !step.unstable || output.exit != step.exit {
            for (expected, got) in [(&step.stdout, &output.stdout), (&step.stderr, &output.stderr)] {
                let expected = mask::lines(expected, &step.cmd, raw);
                let got = mask::lines(&masked(got), &step.cmd, raw);
                let same_but_for_place = |a: &[String], b: &[String]| {
                    let anywhere = |lines: &[String]| {
                        let mut lines: Vec<_> = lines.iter().map(|line| mask::anywhere(line)).collect();
                        lines.sort();
                        lines
                    };
                    anywhere(a) == anywhere(b)
                };
                if same_but_for_place(&expected, &got) {
                    continue;
                }
                for (sign, some, others) in [('-', &expected, &got), ('+', &got, &expected)] {
                    let mut others = others.clone();
                    for line in some {
                        match others.iter().position(|other| other == line) {
                            Some(found) => {
                                others.swap_remove(found);
                            }
                            None => diff += &format!("    {sign} {line}\n"),
                        }
                    }
                }
            }
        }
        (!diff.is_empty()).then(|| format!("  step {at}: {}\n{diff}", step.cmd))
    }
}
