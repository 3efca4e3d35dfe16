//! PodTopologySpread: keeps pods spread over zones, hosts or other domains: no domain may have many more of them than
//! the one with the fewest (required constraints), and fewer is better (preferred ones). Pods that say nothing are
//! spread by what owns them: their Services, ReplicaSet or StatefulSet.

use std::collections::BTreeMap;

use orlop_core::kinds::Taint;
use orlop_core::rules::{Operator, Requirement, Selector, taints};
use orlop_core::{Key, Name};

use crate::bitset::NodeSet;
use crate::columns::LabelColumn;
use crate::facts::{PodFacts, SpreadConstraint};
use crate::framework::{
    Depends, MAX_SCORE, PreFilter, PreScore, Predicate, Prepared, Priority, Reach, Verdict,
};
use crate::plugins::node_affinity::Required;
use crate::snapshot::{NodeId, NodeView, Snapshot};

pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";

/// The plugin.
#[derive(Clone, Debug)]
pub struct PodTopologySpread {
    /// What holds for pods that say nothing; the selector is that of their owner.
    pub defaults: Vec<SpreadConstraint>,
    /// Whether `defaults` are the system's own, which do not ask that a node have every label.
    pub system: bool,
}

impl Default for PodTopologySpread {
    /// Preferred: over hosts by 3, over zones by 5.
    fn default() -> PodTopologySpread {
        let over = |key, max_skew| SpreadConstraint {
            topology_key: Name::new_static(key),
            selector: Selector::nothing(),
            max_skew,
            min_domains: 1,
            required: false,
            honor_affinity: true,
            honor_taints: false,
        };
        PodTopologySpread {
            defaults: vec![over(HOSTNAME, 3), over("topology.kubernetes.io/zone", 5)],
            system: true,
        }
    }
}

impl PodTopologySpread {
    pub(crate) fn constraints(
        &self,
        pod: &PodFacts,
        cluster: &Snapshot,
        required: bool,
    ) -> Vec<SpreadConstraint> {
        let of_kind =
            |all: &[SpreadConstraint]| all.iter().filter(|c| c.required == required).cloned().collect();
        if !pod.spread.is_empty() {
            return of_kind(&pod.spread);
        }
        let mut constraints: Vec<SpreadConstraint> = of_kind(&self.defaults);
        if !constraints.is_empty() {
            let selector = owners_selector(pod, cluster);
            if selector.is_everything() {
                return Vec::new();
            }
            constraints.iter_mut().for_each(|c| c.selector.clone_from(&selector));
        }
        constraints
    }
}

/// The pods that belong with `pod`: what its Services and its controller select, all of it at once.
fn owners_selector(pod: &PodFacts, cluster: &Snapshot) -> Selector {
    let mut labels = BTreeMap::new();
    let mut requirements: Vec<Requirement> = Vec::new();
    let controller = pod.owner.as_ref().and_then(|owner| {
        cluster.workload(&owner.kind, &Key::new(pod.key.namespace.clone(), owner.name.clone()))
    });
    for workload in controller.into_iter().filter(|workload| workload.kind != "Service") {
        if let Ok(selector) = workload.selector.to_selector() {
            requirements.extend(selector.requirements().into_iter().flatten().cloned());
        }
    }
    for service in cluster.services(&pod.key.namespace) {
        // A Service selects by equality alone.
        let selected = &service.selector.match_labels;
        if selected.iter().all(|(key, value)| pod.labels.get(key) == Some(value)) {
            labels.extend(service.selector.match_labels.iter());
        }
    }
    for (key, value) in labels {
        requirements.extend(Requirement::new(key.clone(), Operator::Equals, vec![value.clone()]));
    }
    Selector::new(requirements)
}

/// Which nodes a constraint counts, by its inclusion policies.
pub(crate) struct Inclusion<'a> {
    pod: &'a PodFacts,
    wanted: Required,
}

impl<'a> Inclusion<'a> {
    pub(crate) fn new(pod: &'a PodFacts) -> Inclusion<'a> {
        Inclusion { pod, wanted: Required::of(pod) }
    }

    /// The nodes that a constraint counts, those that lack a label of `labelled` left out; `None`: all.
    pub(crate) fn nodes(
        &self,
        constraint: &SpreadConstraint,
        labelled: Option<&Vec<SpreadConstraint>>,
        cluster: &Snapshot,
    ) -> Option<NodeSet> {
        let by_affinity = constraint.honor_affinity && !self.wanted.says_nothing();
        if labelled.is_none() && !by_affinity && !constraint.honor_taints {
            return None;
        }
        let mut nodes = cluster.node_set().clone();
        for key in labelled.into_iter().flatten().map(|c| &c.topology_key) {
            match cluster.columns().label(key) {
                Some(column) => nodes.retain(|node| column.value(node) != LabelColumn::ABSENT),
                None => nodes = NodeSet::new(),
            }
        }
        if by_affinity {
            self.wanted.retain(cluster, &mut nodes);
        }
        if constraint.honor_taints {
            let untolerated = cluster.columns().taint_sets().iter().filter(|set| !self.bears(&set.taints));
            untolerated.for_each(|set| nodes.subtract(&set.nodes));
        }
        Some(nodes)
    }

    fn bears(&self, all: &[Taint]) -> bool {
        let hard = |taint: &Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        taints::untolerated(all, &self.pod.tolerations, hard).is_none()
    }

    pub(crate) fn includes(&self, constraint: &SpreadConstraint, node: &NodeView<'_>) -> bool {
        (!constraint.honor_affinity || self.wanted.matches(node.facts()))
            && (!constraint.honor_taints || self.bears(&node.facts().taints))
    }
}

pub(crate) fn has_all_labels(constraints: &[SpreadConstraint], node: &NodeView<'_>) -> bool {
    constraints.iter().all(|c| node.label(&c.topology_key).is_some())
}

/// How many pods on each node a constraint counts.
fn count_by_node(pod: &PodFacts, constraint: &SpreadConstraint, cluster: &Snapshot) -> Vec<i64> {
    let mut counts = vec![0; cluster.columns().pod_counts().len()];
    for crowd in cluster.crowds().filter(|crowd| counts_for(pod, constraint, crowd.sample())) {
        crowd.by_node().for_each(|(node, n)| counts[node.index()] += n);
    }
    counts
}

pub(crate) fn counts_for(pod: &PodFacts, constraint: &SpreadConstraint, other: &PodFacts) -> bool {
    !constraint.selector.is_everything()
        && other.key.namespace == pod.key.namespace
        && !other.is_terminating()
        && constraint.selector.matches(&other.labels)
}

/// The pods of one constraint by domain: a label value's number to its count; `None` for what is no domain.
type Domains = Vec<Option<i64>>;

impl PreFilter for PodTopologySpread {
    fn name(&self) -> &str {
        "PodTopologySpread"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Spread(self)
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        let constraints = self.constraints(pod, cluster, true);
        if constraints.is_empty() {
            return Prepared::Skip;
        }
        let inclusion = Inclusion::new(pod);
        let by_node: Vec<Vec<i64>> = constraints.iter().map(|c| count_by_node(pod, c, cluster)).collect();
        let mut domains: Vec<Domains> = constraints
            .iter()
            .map(|c| vec![None; column(cluster, c).map_or(1, LabelColumn::bound)])
            .collect();
        for node in cluster.node_set().iter().map(|id| cluster.view(id)) {
            if !has_all_labels(&constraints, &node) {
                continue;
            }
            for ((constraint, domains), counts) in constraints.iter().zip(&mut domains).zip(&by_node) {
                if inclusion.includes(constraint, &node) {
                    let value = value(constraint, &node);
                    *domains[value].get_or_insert(0) += counts[node.id().index()];
                }
            }
        }
        Prepared::ready(Hard { constraints, domains, inclusion })
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_LABELS
            .and(Depends::NODE_TAINTS)
            .and(Depends::NODE_NAME)
            .and(Depends::PODS_THERE)
            .and(Depends::ELSEWHERE)
            .and(Depends::OTHER_OBJECTS)
    }
}

fn column<'a>(cluster: &'a Snapshot, constraint: &SpreadConstraint) -> Option<&'a LabelColumn> {
    cluster.columns().label(&constraint.topology_key)
}

/// The number of the domain that a node is in.
fn value(constraint: &SpreadConstraint, node: &NodeView<'_>) -> usize {
    column(node.cluster(), constraint).map_or(LabelColumn::ABSENT, |c| c.value(node.id())) as usize
}

struct Hard<'a> {
    constraints: Vec<SpreadConstraint>,
    domains: Vec<Domains>,
    inclusion: Inclusion<'a>,
}

/// How many pods the domain with the fewest has.
fn fewest(constraint: &SpreadConstraint, domains: &Domains) -> i64 {
    let counts = domains.iter().flatten();
    if counts.clone().count() < constraint.min_domains {
        return 0;
    }
    counts.copied().min().unwrap_or(i64::from(i32::MAX))
}

impl Hard<'_> {
    /// The highest count, the pod itself not among it, that a domain may have.
    fn limit(&self, constraint: &SpreadConstraint, domains: &Domains) -> i64 {
        let own = i64::from(constraint.selector.matches(&self.inclusion.pod.labels));
        constraint.max_skew + fewest(constraint, domains) - own
    }

    fn change(&mut self, pod: &PodFacts, node: &NodeView<'_>, by: i64) {
        if pod.key.namespace != self.inclusion.pod.key.namespace || !has_all_labels(&self.constraints, node) {
            return;
        }
        for (constraint, domains) in self.constraints.iter().zip(&mut self.domains) {
            if constraint.selector.matches(&pod.labels) && self.inclusion.includes(constraint, node) {
                *domains[value(constraint, node)].get_or_insert(0) += by;
            }
        }
    }
}

impl Predicate for Hard<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        for (constraint, domains) in self.constraints.iter().zip(&self.domains) {
            let value = value(constraint, node);
            if value == LabelColumn::ABSENT as usize {
                return Verdict::refuse_firmly(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                );
            }
            if domains[value].unwrap_or(0) > self.limit(constraint, domains) {
                return Verdict::refuse("node(s) didn't match pod topology spread constraints");
            }
        }
        Verdict::Fits
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let mut said = Vec::new();
        for (constraint, domains) in self.constraints.iter().zip(&self.domains) {
            let (key, value) = (&constraint.topology_key, value(constraint, node));
            let Some(name) = node.label(key) else {
                said.push(format!("the node must have a label {key}"));
                continue;
            };
            let here = domains[value].unwrap_or(0);
            if here > self.limit(constraint, domains) {
                said.push(format!(
                    "{key}={name} has {here} such pods and another {key} has {}; maxSkew is {}",
                    fewest(constraint, domains),
                    constraint.max_skew
                ));
            }
        }
        Some(said.join("; "))
    }

    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        for (constraint, domains) in self.constraints.iter().zip(&self.domains) {
            let Some(column) = column(cluster, constraint) else {
                *nodes = NodeSet::new();
                return;
            };
            let limit = self.limit(constraint, domains);
            nodes.retain(|node| {
                let value = column.value(node);
                value != LabelColumn::ABSENT && domains[value as usize].unwrap_or(0) <= limit
            });
        }
    }

    fn add_pod(&mut self, pod: &PodFacts, node: &NodeView<'_>) {
        self.change(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodFacts, node: &NodeView<'_>) {
        self.change(pod, node, -1);
    }
}

impl PreScore for PodTopologySpread {
    fn name(&self) -> &str {
        "PodTopologySpread"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Spread(self)
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        cluster: &'a Snapshot,
        nodes: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        let constraints = self.constraints(pod, cluster, false);
        if constraints.is_empty() {
            return None;
        }
        let all_labels = !pod.spread.is_empty() || !self.system;
        let mut ignored = NodeSet::new();
        if all_labels {
            let lacking = nodes.iter().filter(|id| !has_all_labels(&constraints, &cluster.view(**id)));
            ignored = lacking.copied().collect();
        }
        let candidates: Vec<NodeId> = nodes.iter().copied().filter(|id| !ignored.contains(*id)).collect();
        let inclusion = Inclusion::new(pod);
        let lanes = constraints.into_iter().map(|constraint| {
            let by_node = count_by_node(pod, &constraint, cluster);
            if constraint.topology_key == HOSTNAME {
                return Lane {
                    weight: weight(candidates.len()),
                    counts: Counts::ByNode(by_node),
                    constraint,
                };
            }
            let bound = column(cluster, &constraint).map_or(1, LabelColumn::bound);
            let mut domains: Domains = vec![None; bound];
            for id in &candidates {
                domains[value(&constraint, &cluster.view(*id))] = Some(0);
            }
            let size = domains.iter().flatten().count();
            Lane { weight: weight(size), counts: Counts::ByDomain(domains, by_node), constraint }
        });
        let mut lanes: Vec<Lane> = lanes.collect();
        let labelled = |lanes: &[Lane], node: &NodeView<'_>| {
            lanes.iter().all(|l| node.label(&l.constraint.topology_key).is_some())
        };
        for node in cluster.node_set().iter().map(|id| cluster.view(id)) {
            if all_labels && !labelled(&lanes, &node) {
                continue;
            }
            for lane in &mut lanes {
                if let Counts::ByDomain(domains, by_node) = &mut lane.counts
                    && let Some(count) = &mut domains[value(&lane.constraint, &node)]
                    && inclusion.includes(&lane.constraint, &node)
                {
                    *count += by_node[node.id().index()];
                }
            }
        }
        Some(Box::new(Soft { lanes, ignored }))
    }
}

/// Many domains weigh more than few, for each has fewer pods.
pub(crate) fn weight(domains: usize) -> f64 {
    ((domains + 2) as f64).ln()
}

struct Lane {
    constraint: SpreadConstraint,
    weight: f64,
    counts: Counts,
}

enum Counts {
    ByNode(Vec<i64>),
    ByDomain(Domains, Vec<i64>),
}

struct Soft {
    lanes: Vec<Lane>,
    ignored: NodeSet,
}

impl Priority for Soft {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        if self.ignored.contains(node.id()) {
            return 0;
        }
        let mut score = 0.0;
        for lane in &self.lanes {
            let value = value(&lane.constraint, node);
            if value == LabelColumn::ABSENT as usize {
                continue;
            }
            let count = match &lane.counts {
                Counts::ByNode(counts) => counts[node.id().index()],
                Counts::ByDomain(domains, _) => domains[value].unwrap_or(0),
            };
            score += count as f64 * lane.weight + (lane.constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, _: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        let counted =
            || nodes.iter().zip(&*scores).filter(|(id, _)| !self.ignored.contains(**id)).map(|(_, s)| *s);
        let (min, max) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
        for (node, score) in nodes.iter().zip(scores) {
            *score = if self.ignored.contains(*node) {
                0
            } else if max == 0 {
                MAX_SCORE
            } else {
                MAX_SCORE * (max + min - *score) / max
            };
        }
    }
}
