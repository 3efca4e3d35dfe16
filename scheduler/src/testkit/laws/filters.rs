//! Laws of predicates.

use std::sync::Arc;

use orlop_core::Name;
use orlop_core::kinds::Taint;

use super::{Broken, Law, Trial, difference, say, verdict, verdicts};
use crate::change::Change;
use crate::facts::{NodeFacts, PodFacts};
use crate::framework::{Depends, Verdict};
use crate::resources::Resources;
use crate::snapshot::Snapshot;

/// Changes one thing about one node, or about everything else, in every way that another verdict could come of.
type Mutation = (Depends, &'static str, fn(&mut Snapshot, &NodeFacts));

const MUTATIONS: [Mutation; 9] = [
    (Depends::NODE_LABELS, "the node's labels", |cluster, node| {
        for (key, value) in [("topology.kubernetes.io/zone", "q"), ("disk", "q"), ("other", "q")] {
            let mut node = cluster.node(&node.name).map_or_else(|| node.clone(), |n| n.facts().clone());
            node.labels.insert(Name::new_static(key), Name::new_static(value));
            cluster.apply(Change::Node(node));
        }
    }),
    (Depends::NODE_TAINTS, "the node's taints", |cluster, node| {
        let taint =
            Taint { key: Name::new_static("q"), effect: Name::new_static("NoSchedule"), ..Taint::default() };
        let taints = if node.taints.is_empty() { vec![taint] } else { Vec::new() };
        cluster.apply(Change::Node(NodeFacts { taints, ..node.clone() }));
    }),
    (Depends::NODE_CORDON, "whether the node is cordoned", |cluster, node| {
        cluster.apply(Change::Node(NodeFacts { unschedulable: !node.unschedulable, ..node.clone() }));
    }),
    (Depends::NODE_CAPACITY, "the node's capacity", |cluster, node| {
        cluster.apply(Change::Node(NodeFacts { allocatable: Resources::default(), pods: 0, ..node.clone() }));
    }),
    (Depends::NODE_CAPACITY, "the node's capacity", |cluster, node| {
        cluster.apply(Change::Node(larger(node)));
    }),
    (Depends::NODE_IMAGES, "the node's images", |cluster, node| {
        let images = vec![(vec![Name::new_static("web:1")], 1 << 30)];
        cluster.apply(Change::Node(NodeFacts { images, ..node.clone() }));
    }),
    (Depends::PODS_THERE, "the pods on the node", |cluster, node| {
        let pods: Vec<_> =
            cluster.node(&node.name).map(|n| n.pods().map(|p| p.key.clone()).collect()).unwrap_or_default();
        pods.into_iter().for_each(|key| cluster.apply(Change::PodGone(key)));
    }),
    (Depends::ELSEWHERE, "other nodes and their pods", |cluster, node| {
        let others: Vec<Name> =
            cluster.nodes().map(|n| n.name().clone()).filter(|n| *n != node.name).collect();
        others.into_iter().for_each(|name| cluster.apply(Change::NodeGone(name)));
    }),
    (Depends::OTHER_OBJECTS, "claims, volumes and classes", |cluster, _| {
        let claims: Vec<_> =
            cluster.keys(&<orlop_core::kinds::PersistentVolumeClaim as orlop_core::Object>::KIND);
        claims.into_iter().for_each(|key| cluster.apply(Change::ClaimGone(key)));
    }),
];

/// Twice of everything.
fn larger(node: &NodeFacts) -> NodeFacts {
    let mut larger = node.clone();
    let all = &mut larger.allocatable;
    all.cpu_milli *= 2;
    all.memory *= 2;
    all.ephemeral_storage *= 2;
    all.others.iter_mut().for_each(|(_, amount)| *amount *= 2);
    larger.pods *= 2;
    larger
}

pub(super) fn depends_on_what_it_declares(trial: &Trial<'_>) -> Result<(), Broken> {
    let cluster = &trial.cluster;
    let pods = &trial.pods;
    for (of, what, mutate) in MUTATIONS {
        let silent: Vec<_> = trial.filters().filter(|plugin| !plugin.depends_on().includes(of)).collect();
        if silent.is_empty() {
            continue;
        }
        for node in cluster.nodes() {
            let mut other = cluster.clone();
            mutate(&mut other, node.facts());
            for (plugin, pod) in silent.iter().flat_map(|plugin| pods.iter().map(move |pod| (*plugin, pod))) {
                let (a, b) =
                    (verdict(plugin, pod, cluster, node.name()), verdict(plugin, pod, &other, node.name()));
                if a != b {
                    let what = format!(
                        "it does not declare {what}, but when they change for node {}: first {}, then {}",
                        node.name(),
                        say(&a),
                        say(&b)
                    );
                    return Err(trial.broken(Law::DependsOnWhatItDeclares, plugin.name(), pod, what));
                }
            }
        }
    }
    Ok(())
}

pub(super) fn monotone(trial: &Trial<'_>) -> Result<(), Broken> {
    let cluster = &trial.cluster;
    let mut more = cluster.clone();
    for node in cluster.nodes() {
        more.apply(Change::Node(larger(node.facts())));
    }
    let mut and_more = more.clone();
    and_more.apply(Change::Node(NodeFacts {
        name: Name::new_static("another"),
        allocatable: Resources { cpu_milli: 64_000, memory: 1 << 40, ..Resources::default() },
        pods: 110,
        ..NodeFacts::default()
    }));
    for pod in &trial.pods {
        for plugin in trial.filters().filter(|plugin| plugin.is_monotone()) {
            let before = verdicts(plugin, pod, cluster);
            for (how, larger) in [("with twice the capacity", &more), ("with another node", &and_more)] {
                let after = verdicts(plugin, pod, larger);
                let lost = before
                    .iter()
                    .filter(|(_, verdict)| verdict.fits())
                    .find_map(|(node, _)| Some((node, after.get(node).filter(|v| !v.fits())?)));
                if let Some((node, verdict)) = lost {
                    let what = format!("node {node} took it and refuses it {how}: {}", say(verdict));
                    return Err(trial.broken(Law::Monotone, plugin.name(), pod, what));
                }
            }
        }
    }
    Ok(())
}

/// A node made to suit a pod: large enough, without taints, with the labels that it asks for.
fn suiting(pod: &PodFacts) -> NodeFacts {
    let mut node = NodeFacts {
        name: Name::new_static("suiting"),
        allocatable: pod.requests.clone(),
        pods: 110,
        ..NodeFacts::default()
    };
    node.allocatable.cpu_milli += 1000;
    node.allocatable.memory += 1 << 30;
    for key in ["kubernetes.io/hostname", "topology.kubernetes.io/zone"] {
        node.labels.insert(Name::new_static(key), node.name.clone());
    }
    let keys = pod.spread.iter().map(|c| &c.topology_key);
    for key in keys.chain(pod.affinity.iter().chain(&pod.anti_affinity).map(|t| &t.topology_key)) {
        node.labels.insert(key.clone(), node.name.clone());
    }
    for (key, value) in pod.node_selector.iter() {
        node.labels.insert(key.clone(), value.clone());
    }
    node
}

/// Whether Kubernetes would have the pod run on a node that suits it, with nobody else there: it needs nobody to be
/// near, no particular node, and nothing that is to be found or made first.
fn is_content_alone(pod: &PodFacts, cluster: &Snapshot) -> bool {
    pod.claims.is_empty()
        && pod.device_claims == 0
        && pod.affinity.iter().all(|term| term.matches(pod, cluster.namespace(&pod.key.namespace)))
        && pod
            .node_affinity
            .as_ref()
            .is_none_or(|a| a.required_during_scheduling_ignored_during_execution.is_none())
}

pub(super) fn fits_empty_cluster(trial: &Trial<'_>) -> Result<(), Broken> {
    let full = &trial.cluster;
    for pod in &trial.pods {
        if !is_content_alone(pod, full) {
            continue;
        }
        let node = suiting(pod);
        if (trial.exempt)(pod, &node) {
            continue;
        }
        let mut empty = Snapshot::new();
        empty.apply(Change::Node(node.clone()));
        for plugin in trial.filters() {
            for round in ["", " after others came and went"] {
                if !round.is_empty() {
                    let other = PodFacts { node: node.name.clone(), ..pod.clone() };
                    let key = other.key.clone();
                    empty.put_pod(Arc::new(other));
                    drop(verdicts(plugin, pod, &empty));
                    empty.apply(Change::PodGone(key));
                }
                let verdict = verdicts(plugin, pod, &empty).remove(&node.name).unwrap_or(Verdict::Fits);
                if !verdict.fits() {
                    let what = format!("an empty node made for the pod refuses it{round}: {}", say(&verdict));
                    return Err(trial.broken(Law::FitsEmptyCluster, plugin.name(), pod, what));
                }
            }
        }
    }
    Ok(())
}

/// Used by the law of traces: adding and removing a pod in thought is undone exactly.
pub(super) fn undone(trial: &Trial<'_>, pod: &PodFacts, cluster: &Snapshot) -> Result<(), Broken> {
    use crate::framework::Prepared;
    use crate::schedule::guarded;
    for plugin in trial.filters() {
        let said = guarded(plugin.name(), || {
            let (Prepared::Ready(mut predicate) | Prepared::Only(_, mut predicate)) =
                plugin.pre_filter(pod, cluster)
            else {
                return None;
            };
            let all = |predicate: &dyn crate::framework::Predicate| {
                cluster.nodes().map(|n| (n.name().clone(), predicate.filter(&n))).collect()
            };
            let before = all(&*predicate);
            for node in cluster.nodes() {
                let there = PodFacts { node: node.name().clone(), ..pod.clone() };
                predicate.add_pod(&there, &node);
                predicate.remove_pod(&there, &node);
                for other in node.pods() {
                    predicate.remove_pod(other, &node);
                    predicate.add_pod(other, &node);
                }
            }
            difference(&before, &all(&*predicate))
        });
        if let Ok(Some(what)) = said {
            let what = format!("adding and removing a pod in thought is not undone: {what}");
            return Err(trial.broken(Law::LeavesNoTrace, plugin.name(), pod, what));
        }
    }
    Ok(())
}
