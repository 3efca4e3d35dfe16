//! The law of queueing hints: whatever makes a refused pod fit makes the scheduler try it again.

use std::sync::Arc;

use orlop_core::kinds::{Node, PersistentVolume, PersistentVolumeClaim, StorageClass};
use orlop_core::{Name, Object};

use super::{Broken, Law, Trial, verdicts};
use crate::change::Change;
use crate::facts::{NodeFacts, PodFacts};
use crate::framework::Event;
use crate::resources::Resources;
use crate::scheduler::worth_it;
use crate::snapshot::Snapshot;
use crate::testkit::notation::Line;

/// Something that happens.
enum Happening {
    /// To a node, which may be new.
    Node(NodeFacts),
    NodeGone(Name),
    /// To a pod that is on a node, which may be new.
    Bound(PodFacts),
    PodGone(Arc<PodFacts>),
    /// To something of another kind.
    Other(Change, orlop_core::Kind),
}

pub(super) fn retried_when_cured(trial: &Trial<'_>) -> Result<(), Broken> {
    let cluster = &trial.cluster;
    let happenings = happenings(trial, cluster);
    for pod in &trial.pods {
        let refusing: Vec<_> = trial
            .filters()
            .map(|plugin| (plugin, verdicts(plugin, pod, cluster)))
            .filter(|(_, before)| before.values().any(|verdict| !verdict.fits()))
            .collect();
        if refusing.is_empty() {
            continue;
        }
        for happening in &happenings {
            let mut after = cluster.clone();
            let old_node = match happening {
                Happening::Node(new) => cluster.node(&new.name).map(|n| n.facts().clone()),
                _ => None,
            };
            let old_pod = match happening {
                Happening::Bound(new) => cluster.pod(&new.key).cloned(),
                _ => None,
            };
            let event = match happening {
                Happening::Node(new) => {
                    after.apply(Change::Node(new.clone()));
                    Event::Node { old: old_node.as_ref(), new }
                }
                Happening::NodeGone(name) => {
                    after.apply(Change::NodeGone(name.clone()));
                    Event::Other(&Node::KIND)
                }
                Happening::Bound(new) => {
                    after.put_pod(Arc::new(new.clone()));
                    Event::AssignedPod { old: old_pod.as_deref(), new }
                }
                Happening::PodGone(old) => {
                    after.apply(Change::PodGone(old.key.clone()));
                    Event::AssignedPodGone(old)
                }
                Happening::Other(change, kind) => {
                    after.apply(change.clone());
                    Event::Other(kind)
                }
            };
            for (plugin, before) in &refusing {
                let cured = verdicts(*plugin, pod, &after).into_iter().find(|(node, verdict)| {
                    verdict.fits() && before.get(node).is_none_or(|before| !before.fits())
                });
                let by = [Name::from(plugin.name())];
                if let Some((node, _)) = cured
                    && !worth_it(trial.profile, pod, &by, &event)
                {
                    let what = format!("node {node} takes it after {event:?}, but the hint says to leave it");
                    return Err(trial.broken(Law::RetriedWhenCured, plugin.name(), pod, shorter(&what)));
                }
            }
        }
    }
    Ok(())
}

/// The beginning of a long text.
fn shorter(text: &str) -> String {
    match text.char_indices().nth(400) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}

/// What may happen next in a scene; each by itself.
fn happenings(trial: &Trial<'_>, cluster: &Snapshot) -> Vec<Happening> {
    let mut all = Vec::new();
    for node in cluster.nodes() {
        let facts = node.facts();
        let mut labelled = facts.clone();
        for (key, value) in [("disk", "ssd"), ("topology.kubernetes.io/zone", "y")] {
            labelled.labels.insert(Name::new_static(key), Name::new_static(value));
        }
        let large = Resources {
            cpu_milli: 64_000,
            memory: 1 << 40,
            others: std::iter::once((Name::new_static("example.com/gpu"), 8)).collect(),
            ..Resources::default()
        };
        all.push(Happening::Node(labelled));
        all.push(Happening::Node(NodeFacts { unschedulable: false, taints: Vec::new(), ..facts.clone() }));
        all.push(Happening::Node(NodeFacts { allocatable: large, pods: 110, ..facts.clone() }));
        all.push(Happening::NodeGone(facts.name.clone()));
        all.push(Happening::Bound(PodFacts {
            key: orlop_core::Key::new("default", "newcomer"),
            uid: Name::new_static("newcomer"),
            labels: [(Name::new_static("app"), Name::new_static("web"))].into_iter().collect(),
            node: facts.name.clone(),
            ..PodFacts::default()
        }));
        for pod in node.pods() {
            all.push(Happening::PodGone(Arc::new(pod.clone())));
            let labels = [(Name::new_static("app"), Name::new_static("other"))].into_iter().collect();
            all.push(Happening::Bound(PodFacts { labels, ..pod.clone() }));
        }
    }
    let other = |line: &str, kind: orlop_core::Kind| {
        let change = line.parse::<Line>().ok().and_then(|line| line.change().ok());
        change.map(|change| Happening::Other(change, kind))
    };
    let uses_claims = trial.scene.lines.iter().any(|line| line.kind == "claim");
    if uses_claims {
        all.extend(other("class s0 wait makes", StorageClass::KIND));
        all.extend(other("volume v9 class=s0 size=9Gi", PersistentVolume::KIND));
        all.extend(other("volume v0 class=s0 for=c0", PersistentVolume::KIND));
        all.extend(other("claim c0 class=s0 volume=v0", PersistentVolumeClaim::KIND));
        all.extend(other("claim c1 class=s1 volume=v1", PersistentVolumeClaim::KIND));
    }
    let mut new = match "node new cpu=64 gpu=8 zone=x disk=ssd".parse::<Line>().map(|line| line.change()) {
        Ok(Ok(Change::Node(facts))) => facts,
        _ => NodeFacts::default(),
    };
    new.name = Name::new_static("new");
    all.push(Happening::Node(new));
    all
}
