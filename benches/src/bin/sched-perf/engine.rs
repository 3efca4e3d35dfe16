//! Snapshot, queue and decision, without the API.

use std::sync::Arc;
use std::time::Duration;

use orlop_core::kinds::{Namespace, Node, ReplicaSet, Service};
use orlop_core::{Name, Object, Timestamp};
use orlop_scheduler::{Change, NodeFacts, Placer, PodFacts, Profile, Queue, Snapshot, WorkloadFacts};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::workload::Workload;
use crate::{Run, now};

const EVERY: Duration = Duration::from_millis(200);
const SEED: u64 = 7;

/// The pods are in the queue at once; the clock runs until the last is placed.
pub(crate) fn run(row: &Workload) -> Run {
    let mut engine = Engine::new(row);
    let pods: Vec<PodFacts> = facts(row.pods, |n| row.pod(n));
    let start = now();
    for pod in pods {
        engine.queue.add(Arc::new(pod), 0);
    }
    let mut run = Run::expecting(row.pods);
    let (mut besides, mut due) = (0, Duration::ZERO);
    let mut at = start;
    while run.placed < row.pods {
        if at - start >= due && row.meanwhile(0).is_some() {
            let pod = facts(1, |_| row.meanwhile(besides).unwrap_or_default()).remove(0);
            let rank = -i64::from(pod.priority);
            engine.queue.add(Arc::new(pod), rank);
            besides += 1;
            due += EVERY;
        }
        let Some(pod) = engine.queue.pop() else { break };
        let counts = !pod.key.name.starts_with("meanwhile");
        let placed = engine.place(pod);
        let after = now();
        if counts {
            run.latencies.push(after - at);
            run.placed += usize::from(placed);
        }
        at = after;
    }
    run.took = now() - start;
    run
}

struct Engine {
    snapshot: Snapshot,
    queue: Queue,
    placer: Placer,
    now: Timestamp,
}

impl Engine {
    fn new(row: &Workload) -> Engine {
        let mut snapshot = Snapshot::new();
        for (kind, object) in row.surroundings() {
            let is = |other: &orlop_core::Kind| kind.same_resource(other);
            snapshot.apply(if is(&Node::KIND) {
                Change::Node(NodeFacts::from(&read::<Node>(&object)))
            } else if is(&Namespace::KIND) {
                Change::from(&read::<Namespace>(&object))
            } else if is(&Service::KIND) {
                Change::from(&read::<Service>(&object))
            } else {
                let set = read::<ReplicaSet>(&object);
                Change::Workload(WorkloadFacts {
                    kind: ReplicaSet::KIND.kind,
                    key: set.key(),
                    selector: set.spec.selector,
                })
            });
        }
        for (n, mut pod) in facts(row.init, |n| row.there(n)).into_iter().enumerate() {
            pod.node = row.place(n).into();
            snapshot.apply(Change::Pod(pod));
        }
        Engine {
            snapshot,
            queue: Queue::new(),
            placer: Placer::new(Profile::default(), SEED),
            now: Timestamp::from_secs(1_767_225_600),
        }
    }

    /// Tries one pod: binds it, or makes room for it and lets it wait.
    fn place(&mut self, pod: Arc<PodFacts>) -> bool {
        let decision = self.placer.place(&pod, &self.snapshot);
        if let Some(node) = decision.node {
            self.queue.remove(&pod.key);
            let mut pod = Arc::unwrap_or_clone(pod);
            pod.node = node;
            self.snapshot.apply(Change::Pod(pod));
            return true;
        }
        self.queue.fail(&pod.key, decision.rejected_by(), self.now);
        if let Some(found) = decision.post_filter
            && let Some(node) = found.nominated
        {
            self.snapshot.nominate(&pod, &node);
            let mut waiting = PodFacts::clone(&pod);
            waiting.nominated = node;
            self.queue.update(Arc::new(waiting), -i64::from(pod.priority));
            for victim in found.victims {
                self.snapshot.apply(Change::PodGone(victim));
            }
            self.queue.retry(&pod.key);
        }
        false
    }
}

fn read<T: DeserializeOwned>(object: &Value) -> T {
    T::deserialize(object).expect("a workload's objects are of their form")
}

/// Facts of `n` pods, as they would be read from the API. Pods that differ in their name alone are read once.
fn facts(n: usize, object: impl Fn(usize) -> Value) -> Vec<PodFacts> {
    let mut last: Option<(Value, PodFacts)> = None;
    (0..n)
        .map(|n| {
            let mut object = object(n);
            let name = Name::from(object["metadata"]["name"].take().as_str().unwrap_or_default());
            let mut pod = match &last {
                Some((alike, pod)) if *alike == object => pod.clone(),
                _ => {
                    let pod = PodFacts::from_json(&named(&object, &name)).expect("a workload's pod is a pod");
                    last = Some((object, pod.clone()));
                    pod
                }
            };
            pod.uid = format!("uid-{}-{name}", pod.key.namespace).into();
            pod.key.name = name;
            pod
        })
        .collect()
}

fn named(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["name"] = name.into();
    object
}
