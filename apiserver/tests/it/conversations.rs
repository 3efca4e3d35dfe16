//! Recorded conversations with a real kube-apiserver, replayed against a fresh server each and compared in full:
//! status, headers, body.
//!
//! `ORLOP_CONVERSATION=PREFIX` picks conversations and prints where they disagree; `ORLOP_CONVERSATIONS_ALL=1` prints
//! it for all. With `ORLOP_SERVER=https://127.0.0.1:6443` they are held with that server instead, see
//! [`crate::remote`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::compare::differences;
use crate::local::Local;
use crate::normal::normalise;
use crate::placeholders::fill;
use crate::remote::Remote;
use crate::wire::{Asked, contains, project};

/// A floor for the steps that agree in this process: what agrees goes on agreeing.
const AGREED: usize = 4500;

/// Whoever the conversations are held with.
pub(crate) trait Server {
    /// Sends a request and waits for the whole answer, in the recorded form.
    fn send(&mut self, asked: &Asked) -> Value;
    /// Sends a request whose answer goes on, and waits until it is under way.
    fn begin(&mut self, asked: &Asked) -> usize;
    /// The whole of an answer that was begun.
    fn end(&mut self, watch: usize) -> Value;
    /// Waits, where that makes a difference.
    fn pause(&mut self, time: Duration) -> bool;
}

/// Holds a conversation; answers with the responses.
fn hold(conversation: &Value, server: &mut dyn Server) -> Vec<Value> {
    let mut answers: Vec<Value> = Vec::new();
    let mut background = Vec::new();
    for (at, step) in conversation["steps"].as_array().into_iter().flatten().enumerate() {
        let asked = Asked::new(&fill(&step["request"], &answers));
        if let Some(delay) = step["request"]["delayMs"].as_u64() {
            server.pause(Duration::from_millis(delay));
        }
        if step["request"]["background"] == true {
            background.push((at, server.begin(&asked)));
            answers.push(Value::Null);
            continue;
        }
        let mut answer = server.send(&asked);
        let until = &step["request"]["repeatUntil"];
        for _ in 0..75 {
            if until.is_null() || contains(&answer, until) || !server.pause(Duration::from_millis(200)) {
                break;
            }
            answer = server.send(&asked);
        }
        answers.push(answer);
    }
    for (at, watch) in background {
        answers[at] = server.end(watch);
    }
    answers
}

/// What one conversation came to.
struct Outcome {
    topic: String,
    steps: usize,
    agreed: usize,
    told: String,
}

fn judge(conversation: &Value, mut got: Vec<Value>) -> Outcome {
    let steps = conversation["steps"].as_array().cloned().unwrap_or_default();
    let requests: Vec<&Value> = steps.iter().map(|step| &step["request"]).collect();
    let mut expected: Vec<Value> = steps.iter().map(|step| step["response"].clone()).collect();
    for (step, answer) in steps.iter().zip(&mut got) {
        if let Some(how) = step["project"].as_str()
            && answer["status"] == 200
            && answer["body"].is_object()
        {
            answer["body"] = project(how, &answer["body"]);
        }
        if step["response"]["jwtClaims"].is_null()
            && let Some(answer) = answer.as_object_mut()
        {
            answer.shift_remove("jwtClaims");
        }
    }
    for side in [&mut expected, &mut got] {
        for response in side.iter_mut().filter(|response| response["body"].is_null()) {
            response["body"] = "".into();
        }
        normalise(&requests, side);
    }
    let name = conversation["name"].as_str().unwrap_or_default();
    let mut outcome = Outcome {
        topic: conversation["topic"].as_str().unwrap_or_default().to_owned(),
        steps: steps.len(),
        agreed: 0,
        told: String::new(),
    };
    for (at, step) in steps.iter().enumerate() {
        let found = match step["project"].as_str() {
            Some("version") => {
                let major = |v: &Value| json!([v["status"], v["body"]["major"], v["body"]["minor"]]);
                differences(&major(&expected[at]), &major(&got[at]))
            }
            _ => differences(&expected[at], &got[at]),
        };
        if found.is_empty() {
            outcome.agreed += 1;
            continue;
        }
        let (method, path) = (&step["request"]["method"], &step["request"]["path"]);
        outcome.told.push_str(&format!("{name} [{at}] {method} {path}\n"));
        for difference in found.iter().take(12) {
            let cut: String = difference.chars().take(1500).collect();
            outcome.told.push_str(&format!("    {cut}\n"));
        }
    }
    outcome
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let only = std::env::var("ORLOP_CONVERSATION").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|name| name.starts_with(&only)))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// Holds every conversation with a server of its own, on all processors.
fn with_local(files: &[PathBuf]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let conversation = read(path);
                    let server = conversation["server"].as_str().unwrap_or_default();
                    let answers = hold(&conversation, &mut Local::new(server));
                    let outcome = judge(&conversation, answers);
                    outcomes.lock().push((path.clone(), outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner();
    outcomes.sort_by(|a, b| a.0.cmp(&b.0));
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Holds the conversations of one kind of server with the one at `url`.
fn with_remote(files: &[PathBuf], url: &str) -> Vec<Outcome> {
    let kind = std::env::var("ORLOP_SERVER_KIND").unwrap_or_else(|_| "main".into());
    let mut conversations: Vec<Value> = files.iter().map(|path| read(path)).collect();
    conversations.retain(|c| c["server"] == kind.as_str());
    // What a server without custom kinds answers is asked first.
    conversations.sort_by_key(|c| c["topic"] != "discovery");
    let mut server = Remote::new(url);
    conversations
        .iter()
        .map(|conversation| {
            let answers = hold(conversation, &mut server);
            judge(conversation, answers)
        })
        .collect()
}

#[test]
fn conversations() {
    let Some(folder) = orlop_core::oracle::shared("api-conversations") else { return };
    let files = files(&folder);
    let remote = std::env::var("ORLOP_SERVER").ok();
    let outcomes = match &remote {
        Some(url) => with_remote(&files, url),
        None => with_local(&files),
    };
    let some = std::env::var("ORLOP_CONVERSATION").is_ok();
    let show = some || std::env::var("ORLOP_CONVERSATIONS_ALL").is_ok();
    let mut topics: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for outcome in &outcomes {
        let entry = topics.entry(&outcome.topic).or_default();
        entry.0 += outcome.agreed;
        entry.1 += outcome.steps;
        if show {
            print!("{}", outcome.told);
        }
    }
    for (topic, (agreed, steps)) in &topics {
        println!("{topic:<14} {agreed:>5} of {steps:>5}");
    }
    let agreed: usize = outcomes.iter().map(|o| o.agreed).sum();
    let steps: usize = outcomes.iter().map(|o| o.steps).sum();
    println!("{agreed} of {steps} agreed");
    assert!(some || remote.is_some() || agreed >= AGREED, "{agreed} of {steps}");
}
