//! What a watch on the API sees while a scenario runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use orlop::api::Link;
use orlop::core::{Key, Kind, Name};
use serde_json::{Value, json};

use super::mask::Names;

/// Everything that changed in one namespace.
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
    Object { kind: Name, key: Key, gone: bool, state: Value },
}

impl Observer {
    /// Follows `kinds` in `namespace`.
    pub(super) async fn start(link: &Link, namespace: &str, kinds: Vec<Kind>) -> Observer {
        let observer = Observer(Arc::new(Mutex::new(Seen {
            objects: BTreeMap::new(),
            history: Vec::new(),
            names: BTreeMap::new(),
            hashes: BTreeMap::new(),
            last: now(),
        })));
        let mut cuts = link.api.follow(&link.user, &kinds).await.expect("the API can be followed");
        let (seen, namespace) = (observer.0.clone(), Name::from(namespace));
        tokio::spawn(async move {
            while let Some(cut) = cuts.next().await {
                let mut seen = seen.lock().expect("no panic under the lock");
                for change in cut.changes.into_iter().filter(|change| change.key.namespace == namespace) {
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
        self.history.push(Change::Object { kind, key, gone, state });
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

/// The numbers that a transcript's `checks` hold.
pub(super) fn checks(history: &[Change]) -> Value {
    let mut pods: BTreeMap<Key, Value> = BTreeMap::new();
    let (mut most, mut most_live) = (0, 0);
    let mut steps: Vec<Value> = Vec::new();
    let (mut step_most, mut step_fewest) = (0, None);
    let close = |steps: &mut Vec<Value>, pods: &BTreeMap<Key, Value>, most: usize, fewest: Option<usize>| {
        if let Some(step) = steps.last_mut() {
            step["most_pods_not_terminating"] = most.into();
            step["fewest_ready"] = fewest.unwrap_or(count(pods, ready)).into();
            step["end_pods"] = pods.len().into();
            step["end_ready"] = count(pods, ready).into();
        }
    };
    for change in history {
        match change {
            Change::Step(name) => {
                close(&mut steps, &pods, step_most, step_fewest);
                steps.push(json!({"step": name}));
                (step_most, step_fewest) = (count(&pods, live), None);
            }
            Change::Object { kind, key, gone, state } if kind == "Pod" => {
                if *gone {
                    pods.remove(key);
                } else {
                    pods.insert(key.clone(), state.clone());
                }
                most = most.max(pods.len());
                most_live = most_live.max(count(&pods, live));
                step_most = step_most.max(count(&pods, live));
                let now = count(&pods, ready);
                step_fewest = Some(step_fewest.unwrap_or(now).min(now));
            }
            Change::Object { .. } => {}
        }
    }
    close(&mut steps, &pods, step_most, step_fewest);
    json!({"most_pods_at_once": most, "most_pods_not_terminating": most_live, "per_step": steps})
}

fn count(pods: &BTreeMap<Key, Value>, wanted: impl Fn(&Value) -> bool) -> usize {
    pods.values().filter(|pod| wanted(pod)).count()
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
