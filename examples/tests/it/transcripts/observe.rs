//! What a watch on the API sees while a scenario runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use orlop::api::Link;
use orlop::base::{Key, Kind, Name};
use serde_json::Value;

use super::mask::Names;

/// Everything that changed in the namespaces of a scenario: its own, and those that it makes.
#[derive(Clone)]
pub(super) struct Observer(Arc<Mutex<Seen>>);

struct Seen {
    objects: BTreeMap<(Name, Key), Value>,
    history: Vec<Change>,
    names: BTreeMap<String, String>,
    hashes: BTreeMap<String, usize>,
    last: Instant,
}

/// A change, as the transcripts write it down.
#[derive(Clone)]
pub(super) enum Change {
    /// A step began.
    Step(String),
    /// An object was added, changed or deleted: its kind, key and state (that before its end).
    Object { kind: Name, key: Key, gone: bool, state: Value, at: Instant },
}

impl Observer {
    /// Follows `kinds` in all namespaces but the system's own.
    pub(super) async fn start(link: &Link, kinds: Vec<Kind>) -> Observer {
        let observer = Observer(Arc::new(Mutex::new(Seen {
            objects: BTreeMap::new(),
            history: Vec::new(),
            names: BTreeMap::new(),
            hashes: BTreeMap::new(),
            last: now(),
        })));
        let mut cuts = link.api.follow(&link.user, &kinds).await.expect("the API can be followed");
        let seen = observer.0.clone();
        tokio::spawn(async move {
            while let Some(cut) = cuts.next().await {
                let mut seen = seen.lock().expect("no panic under the lock");
                let own = |key: &Key| !key.namespace.is_empty() && !key.namespace.starts_with("kube-");
                for change in cut.changes.into_iter().filter(|change| own(&change.key)) {
                    seen.take(change.kind.kind, change.key, change.object.map(|object| object.to_value()));
                }
            }
        });
        observer
    }

    pub(super) fn step(&self, name: String) {
        self.0.lock().expect("no panic under the lock").history.push(Change::Step(name));
    }

    /// Waits until nothing has changed for `quiet`, at most ten seconds.
    pub(super) async fn settle(&self, quiet: Duration) {
        let begun = now();
        loop {
            let calm = self.0.lock().expect("no panic under the lock").last.max(begun - quiet).elapsed();
            if calm >= quiet || begun.elapsed() > Duration::from_secs(10) {
                return;
            }
            tokio::time::sleep(quiet.saturating_sub(calm).max(Duration::from_millis(5))).await;
        }
    }

    /// Prints what happened to pods, with milliseconds.
    pub(super) fn print(&self) {
        let history = self.history();
        let mut begun = None;
        for change in &history {
            match change {
                Change::Step(name) => println!("    {name}"),
                Change::Object { kind, key, gone, state, at } => {
                    let begun = *begun.get_or_insert(*at);
                    let what = match kind.as_str() {
                        "Pod" => format!(
                            "{} {}{}{}",
                            state["status"]["phase"].as_str().unwrap_or_default(),
                            if ready(state) { "ready " } else { "" },
                            if state["metadata"]["deletionTimestamp"].is_null() {
                                ""
                            } else {
                                "terminating "
                            },
                            state["spec"]["nodeName"].as_str().unwrap_or_default()
                        ),
                        "ReplicaSet" | "Deployment" => {
                            format!("{} {}", state["spec"]["replicas"], state["status"])
                        }
                        "Event" => state["message"].to_string(),
                        _ => String::new(),
                    };
                    let ms = at.duration_since(begun).as_millis();
                    println!("    {ms:6} {kind} {} {}{what}", key.name, if *gone { "GONE " } else { "" });
                }
            }
        }
    }

    pub(super) fn names(&self) -> Names {
        Names::new(self.0.lock().expect("no panic under the lock").names.clone())
    }

    pub(super) fn history(&self) -> Vec<Change> {
        self.0.lock().expect("no panic under the lock").history.clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "the test waits for real time to pass")]
fn now() -> Instant {
    Instant::now()
}

impl Seen {
    fn take(&mut self, kind: Name, key: Key, object: Option<Value>) {
        self.last = now();
        let at = (kind.clone(), key.clone());
        let (gone, state) = match object {
            Some(object) => {
                self.learn(&kind, &object);
                self.objects.insert(at, object.clone());
                (false, object)
            }
            None => (true, self.objects.remove(&at).unwrap_or(Value::Null)),
        };
        self.history.push(Change::Object { kind, key, gone, state, at: self.last });
    }

    /// Names that the cluster made up.
    fn learn(&mut self, kind: &str, object: &Value) {
        let meta = &object["metadata"];
        let (name, owner) = (text(&meta["name"]), text(&meta["ownerReferences"][0]["name"]));
        let hash = match kind {
            "ReplicaSet" => text(&meta["labels"]["pod-template-hash"]),
            "ControllerRevision" => name.strip_prefix(&format!("{owner}-")).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        if !hash.is_empty() && !self.names.contains_key(&name) {
            let number = self.hashes.entry(owner.clone()).or_default();
            *number += 1;
            let placeholder = format!("<hash{number}>");
            self.names.insert(name.clone(), format!("{owner}-{placeholder}"));
            self.names.entry(hash).or_insert(placeholder);
        }
        let prefix = text(&meta["generateName"]);
        if !prefix.is_empty() && name.len() == prefix.len() + 5 && name.starts_with(&prefix) {
            let stem = prefix.trim_end_matches('-');
            let masked = self.names.get(stem).cloned().unwrap_or_else(|| stem.to_owned());
            self.names.insert(name, format!("{masked}{}<rand>", &prefix[stem.len()..]));
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The numbers that can be compared of a transcript's `checks`.
///
/// A step that did not wait for the one before it divides what happens at a moment of chance; its numbers are joined to
/// those of the step before.
#[derive(Debug, PartialEq)]
pub(super) struct Checks {
    most_pods_at_once: u64,
    most_pods_not_terminating: u64,
    groups: Vec<Group>,
}

/// What happened from one quiet moment to the next.
#[derive(Debug, PartialEq)]
struct Group {
    most_pods_not_terminating: u64,
    fewest_ready: u64,
    end_pods: u64,
    end_ready: u64,
}

impl Checks {
    /// Without how many pods there are in the end: how many of a Job's pods finish before a policy ends it is chance.
    pub(super) fn without_end(mut self) -> Checks {
        self.most_pods_at_once = 0;
        self.groups.iter_mut().for_each(|group| group.end_pods = 0);
        self
    }
}

impl Group {
    fn join(&mut self, next: Group) {
        self.most_pods_not_terminating = self.most_pods_not_terminating.max(next.most_pods_not_terminating);
        self.fewest_ready = self.fewest_ready.min(next.fewest_ready);
        (self.end_pods, self.end_ready) = (next.end_pods, next.end_ready);
    }
}

fn push(groups: &mut Vec<Group>, group: Group, joined: bool) {
    match groups.last_mut() {
        Some(last) if joined => last.join(group),
        _ => groups.push(group),
    }
}

/// The recorded numbers. `joined` says of each step's title whether it followed at once.
pub(super) fn recorded(checks: &Value, joined: impl Fn(&str) -> bool) -> Checks {
    let number = |value: &Value, field: &str| value[field].as_u64().unwrap_or(0);
    let mut groups = Vec::new();
    for step in checks["per_step"].as_array().into_iter().flatten() {
        let group = Group {
            most_pods_not_terminating: number(step, "most_pods_not_terminating"),
            fewest_ready: number(step, "fewest_ready"),
            end_pods: number(step, "end_pods"),
            end_ready: number(step, "end_ready"),
        };
        push(&mut groups, group, joined(step["step"].as_str().unwrap_or_default()));
    }
    Checks {
        most_pods_at_once: number(checks, "most_pods_at_once"),
        most_pods_not_terminating: number(checks, "most_pods_not_terminating"),
        groups,
    }
}

/// The numbers of what was seen; steps in which no pod changed do not count, as in the recordings.
pub(super) fn checks(history: &[Change], joined: impl Fn(&str) -> bool) -> Checks {
    let mut pods: BTreeMap<Key, Value> = BTreeMap::new();
    let mut checks = Checks { most_pods_at_once: 0, most_pods_not_terminating: 0, groups: Vec::new() };
    let mut open: Option<Group> = None;
    // Whether a step began that waited for quiet since the last numbers were noted.
    let mut anew = true;
    for change in history {
        match change {
            Change::Step(name) => {
                if let Some(group) = open.take() {
                    push(&mut checks.groups, group, !anew);
                    anew = false;
                }
                anew |= !joined(name);
            }
            Change::Object { kind, key, gone, state, .. } if kind == "Pod" => {
                let before = if *gone { pods.remove(key) } else { pods.insert(key.clone(), state.clone()) };
                if !gone && before.is_some_and(|before| noted(&before) == noted(state)) {
                    continue;
                }
                let (all, live, ready) = (pods.len() as u64, count(&pods, live), count(&pods, ready));
                checks.most_pods_at_once = checks.most_pods_at_once.max(all);
                checks.most_pods_not_terminating = checks.most_pods_not_terminating.max(live);
                let now = Group {
                    most_pods_not_terminating: live,
                    fewest_ready: ready,
                    end_pods: all,
                    end_ready: ready,
                };
                match &mut open {
                    Some(group) => group.join(now),
                    None => open = Some(now),
                }
            }
            Change::Object { .. } => {}
        }
    }
    if let Some(group) = open.take() {
        push(&mut checks.groups, group, !anew);
    }
    checks
}

/// The fields of a pod that the recordings note; a change of others is left out of them.
fn noted(pod: &Value) -> [Value; 6] {
    let meta = &pod["metadata"];
    [
        meta["ownerReferences"].clone(),
        meta["deletionTimestamp"].is_null().into(),
        meta["finalizers"].clone(),
        pod["status"]["phase"].clone(),
        ready(pod).into(),
        pod["spec"]["nodeName"].clone(),
    ]
}

fn count(pods: &BTreeMap<Key, Value>, wanted: impl Fn(&Value) -> bool) -> u64 {
    pods.values().filter(|pod| wanted(pod)).count() as u64
}

fn live(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn ready(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && pod["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}
