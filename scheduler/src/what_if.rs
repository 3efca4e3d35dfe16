//! What would be if: pure functions on a [`Snapshot`], which they leave as it is.
//!
//! ```
//! use orlop_scheduler::{Change, NodeFacts, PodFacts, Profile, Snapshot, what_if};
//! use serde_json::json;
//!
//! let mut cluster = Snapshot::new();
//! for (name, cpu) in [("a", "2"), ("b", "1")] {
//!     cluster.apply(Change::Node(NodeFacts::from_json(&json!({
//!         "metadata": {"name": name},
//!         "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
//!     }))?));
//! }
//! let pod = PodFacts::from_json(&json!({
//!     "metadata": {"name": "web", "namespace": "default"},
//!     "spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "500m"}}}]},
//! }))?;
//! let room = what_if::room_for(&pod, &cluster, &Profile::default(), 1, 1_000);
//! assert_eq!((room.count, room.nodes["a"], room.nodes["b"]), (6, 4, 2));
//! assert_eq!(room.limits[0].reason, "Insufficient cpu");
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::kinds::Taint;
use orlop_core::{Key, Name};
use serde::Serialize;

use crate::change::{BudgetFacts, Change};
use crate::decision::Decision;
use crate::explain::Explanation;
use crate::facts::{NodeFacts, PodFacts, selector_of};
use crate::placer::Memory;
use crate::profile::Profile;
use crate::schedule::schedule;
use crate::snapshot::Snapshot;

/// How many more of a pod fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// The pod that was asked about.
    pub pod: Key,
    /// How many more of it fit.
    pub count: usize,
    /// Whether that is only as far as was asked: more may fit.
    pub at_least: bool,
    /// How many would run on each node that takes some.
    pub nodes: BTreeMap<Name, usize>,
    /// What keeps the next one off, by how many nodes say so, most first. Empty if `at_least`.
    pub limits: Vec<Limit>,
    /// The next one's decision in full; `None` if `at_least`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Explanation>,
}

/// A reason that keeps a pod off nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The plugin.
    pub plugin: Name,
    /// What it says.
    pub reason: String,
    /// Of how many nodes.
    pub nodes: usize,
    /// Of how many of those it alone says so: where it is the only thing in the way.
    pub alone: usize,
}

/// How many more of `pod` fit, up to `at_most`, and what limits them. Nobody is evicted for them.
pub fn room_for(pod: &PodFacts, cluster: &Snapshot, profile: &Profile, seed: u64, at_most: usize) -> Room {
    let mut cluster = cluster.clone();
    let mut room = Room {
        pod: pod.key.clone(),
        count: 0,
        at_least: true,
        nodes: BTreeMap::new(),
        limits: Vec::new(),
        next: None,
    };
    let mut memory = Memory::new(profile, seed);
    while room.count < at_most {
        let next = copy(pod, room.count);
        let decision = memory.place(&next, &cluster, profile);
        let Some(node) = decision.node else {
            let decision = schedule(&next, &cluster, profile, seed);
            room.at_least = false;
            room.limits = limits(&decision);
            room.next = Some(Decision { pod: pod.key.clone(), ..decision }.explain());
            break;
        };
        *room.nodes.entry(node.clone()).or_default() += 1;
        room.count += 1;
        cluster.apply(Change::Pod(PodFacts { node, ..next }));
    }
    room
}

/// One more pod of the same kind.
fn copy(pod: &PodFacts, number: usize) -> PodFacts {
    let name = smol_str::format_smolstr!("{}+{number}", pod.key.name);
    PodFacts {
        key: Key { namespace: pod.key.namespace.clone(), name },
        uid: smol_str::format_smolstr!("{}+{number}", pod.uid),
        ..unplaced(pod)
    }
}

/// A pod as it would be created anew.
fn unplaced(pod: &PodFacts) -> PodFacts {
    PodFacts {
        node: Name::default(),
        nominated: Name::default(),
        started: None,
        deleted: None,
        preempted: false,
        ..pod.clone()
    }
}

fn limits(decision: &Decision) -> Vec<Limit> {
    let mut all: BTreeMap<(Name, String), (usize, usize)> = BTreeMap::new();
    for objections in decision.every.values() {
        for objection in objections {
            for reason in &objection.refusal.reasons {
                let alone = objections.len() == 1 && objection.refusal.reasons.len() == 1;
                let counts = all.entry((objection.plugin.clone(), reason.to_string())).or_default();
                counts.0 += 1;
                counts.1 += usize::from(alone);
            }
        }
    }
    let limit = |((plugin, reason), (nodes, alone))| Limit { plugin, reason, nodes, alone };
    let mut limits: Vec<Limit> = all.into_iter().map(limit).collect();
    limits.sort_by_key(|limit| std::cmp::Reverse((limit.alone, limit.nodes)));
    limits
}

/// Where these pods would go, in the order in which they would be tried; each counts for those after it. Pods that no
/// node takes stay out. The decisions know as much as those of a [`Placer`](crate::Placer).
pub fn place_all(pods: &[PodFacts], cluster: &Snapshot, profile: &Profile, seed: u64) -> Vec<Decision> {
    let mut cluster = cluster.clone();
    let mut pods: Vec<PodFacts> = pods.iter().map(unplaced).collect();
    pods.sort_by_key(|pod| profile.queue_sort.rank(pod));
    place_each(&pods, &mut cluster, profile, seed)
}

fn place_each(pods: &[PodFacts], cluster: &mut Snapshot, profile: &Profile, seed: u64) -> Vec<Decision> {
    let mut decisions = Vec::new();
    let mut memory = Memory::new(profile, seed);
    for pod in pods {
        let decision = memory.place(pod, cluster, profile);
        if let Some(node) = &decision.node {
            cluster.put_pod(Arc::new(PodFacts { node: node.clone(), ..pod.clone() }));
        }
        decisions.push(decision);
    }
    decisions
}

/// What draining a node would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drain {
    /// The node.
    pub node: Name,
    /// The pods on it, by key, and what becomes of each.
    pub pods: Vec<Fate>,
    /// Budgets that make evictions wait.
    pub budgets: Vec<Wait>,
}

/// What becomes of one pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fate {
    /// The pod.
    pub pod: Key,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Where its successor would go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
    /// Why there, or why nowhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub because: String,
}

/// What becomes of a pod on a node that is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is evicted, and its successor runs elsewhere.
    Moves,
    /// It is evicted, and its successor stays pending.
    Pending,
    /// Nobody makes another: it is gone for good.
    Lost,
    /// It belongs to the node and stays.
    Stays,
}

/// A budget that allows fewer evictions at once than the drain needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// The budget.
    pub budget: Key,
    /// How many of its pods must go.
    pub needed: usize,
    /// How many may go now.
    pub allowed: usize,
}

/// What draining `node` would do: the node is cordoned, its pods are evicted, and their successors placed.
/// `None`: there is no such node.
pub fn drain(node: &str, cluster: &Snapshot, profile: &Profile, seed: u64) -> Option<Drain> {
    let view = cluster.node(node)?;
    let mut after = cluster.clone();
    after.apply(Change::Node(cordoned(view.facts())));
    let mut pods: Vec<&PodFacts> = view.pods().filter(|pod| !pod.finished).collect();
    pods.sort_by_key(|pod| (profile.queue_sort.rank(pod), &pod.key));
    let owner = |pod: &PodFacts| pod.owner.as_ref().map(|owner| owner.kind.clone());
    let belongs = |pod: &PodFacts| owner(pod).is_some_and(|kind| kind == "DaemonSet" || kind == "Node");
    let (staying, going): (Vec<&PodFacts>, Vec<&PodFacts>) = pods.into_iter().partition(|pod| belongs(pod));
    for pod in &going {
        after.apply(Change::PodGone(pod.key.clone()));
    }
    let mut fates: Vec<Fate> = staying
        .iter()
        .map(|pod| Fate {
            pod: pod.key.clone(),
            outcome: Outcome::Stays,
            to: None,
            because: format!("it belongs to a {}", owner(pod).unwrap_or_default()),
        })
        .collect();
    let (managed, alone): (Vec<&PodFacts>, Vec<&PodFacts>) =
        going.iter().copied().partition(|pod| pod.owner.is_some());
    let successors: Vec<PodFacts> = managed.iter().map(|pod| unplaced(pod)).collect();
    for decision in place_each(&successors, &mut after, profile, seed) {
        let because = match &decision.node {
            Some(_) => String::new(),
            None => decision.message(),
        };
        let outcome = if decision.node.is_some() { Outcome::Moves } else { Outcome::Pending };
        fates.push(Fate { pod: decision.pod, outcome, to: decision.node, because });
    }
    fates.extend(alone.iter().map(|pod| Fate {
        pod: pod.key.clone(),
        outcome: Outcome::Lost,
        to: None,
        because: "no controller makes another".to_owned(),
    }));
    fates.sort_by(|a, b| a.pod.cmp(&b.pod));
    Some(Drain { node: view.name().clone(), pods: fates, budgets: waits(cluster, &going) })
}

/// The node as `kubectl cordon` leaves it, with the taint that follows.
fn cordoned(node: &NodeFacts) -> NodeFacts {
    let mut node = NodeFacts { unschedulable: true, ..node.clone() };
    let taint = Taint {
        key: Name::new_static("node.kubernetes.io/unschedulable"),
        effect: Name::new_static("NoSchedule"),
        ..Taint::default()
    };
    if !node.taints.contains(&taint) {
        node.taints.push(taint);
    }
    node
}

fn waits(cluster: &Snapshot, going: &[&PodFacts]) -> Vec<Wait> {
    let wait = |budget: &BudgetFacts| {
        let selector = selector_of(budget.selector.as_ref());
        let protects =
            |pod: &&&PodFacts| pod.key.namespace == budget.key.namespace && selector.matches(&pod.labels);
        let needed = going.iter().filter(protects).count();
        let allowed = usize::try_from(budget.allowed).unwrap_or(0);
        (needed > allowed).then(|| Wait { budget: budget.key.clone(), needed, allowed })
    };
    cluster.budgets().filter_map(wait).collect()
}
