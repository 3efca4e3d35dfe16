//! InterPodAffinity: keeps pods near those that they need and apart from those that they must not meet, prefers what
//! they would like, and honours the same wishes of the pods that are there.
//!
//! Counts are kept by term and domain: the value of the term's label on the node.

use orlop_core::rules::Selector;
use orlop_core::{Labels, Name};

use crate::bitset::NodeSet;
use crate::columns::LabelColumn;
use crate::crowds::Crowd;
use crate::facts::{AffinityTerm, PodFacts};
use crate::framework::{
    Depends, MAX_SCORE, PreFilter, PreScore, Predicate, Prepared, Priority, Reach, Verdict,
};
use crate::snapshot::{NodeId, NodeView, Snapshot};

/// The plugin.
#[derive(Clone, Debug)]
pub struct InterPodAffinity {
    /// What it is worth to be where a pod requires this one to be near.
    pub hard_weight: i64,
    /// Whether what the pods there would like is left out for pods with no wishes of their own.
    pub ignore_preferred_of_existing: bool,
}

impl Default for InterPodAffinity {
    fn default() -> InterPodAffinity {
        InterPodAffinity { hard_weight: 1, ignore_preferred_of_existing: false }
    }
}

/// Amounts by label and value.
#[derive(Default)]
struct Counts {
    by_key: Vec<(Name, Vec<i64>)>,
}

impl Counts {
    /// Adds at the node's domain, if it has the label.
    fn add(&mut self, key: &Name, cluster: &Snapshot, node: NodeId, amount: i64) {
        let Some(column) = cluster.columns().label(key) else { return };
        let value = column.value(node);
        if value == LabelColumn::ABSENT {
            return;
        }
        let at = self.by_key.iter().position(|(k, _)| k == key).unwrap_or_else(|| {
            self.by_key.push((key.clone(), vec![0; column.bound()]));
            self.by_key.len() - 1
        });
        self.by_key[at].1[value as usize] += amount;
    }

    fn get(&self, key: &Name, value: u32) -> i64 {
        let counts = self.by_key.iter().find(|(k, _)| k == key);
        counts.and_then(|(_, counts)| counts.get(value as usize)).copied().unwrap_or(0)
    }

    fn all_zero(&self) -> bool {
        self.by_key.iter().all(|(_, counts)| counts.iter().all(|n| *n == 0))
    }

    /// The sum of what stands at the node's domains.
    fn sum(&self, cluster: &Snapshot, node: NodeId) -> i64 {
        let at = |(key, counts): &(Name, Vec<i64>)| {
            let value = cluster.columns().label(key).map_or(LabelColumn::ABSENT, |c| c.value(node));
            counts.get(value as usize).copied().unwrap_or(0)
        };
        self.by_key.iter().map(at).sum()
    }
}

/// A pod's own terms, their namespace selectors resolved to names.
pub(crate) fn resolve(term: &AffinityTerm, cluster: &Snapshot) -> AffinityTerm {
    let mut term = term.clone();
    let selects_some = term.namespace_selector != Selector::nothing();
    if selects_some && !term.namespace_selector.is_everything() {
        let selected = cluster.namespaces().filter(|(_, labels)| term.namespace_selector.matches(*labels));
        term.namespaces.extend(selected.map(|(name, _)| name.clone()));
        term.namespace_selector = Selector::nothing();
    }
    term
}

impl PreFilter for InterPodAffinity {
    fn name(&self) -> &str {
        "InterPodAffinity"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Affinity(self)
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        let mut hard = Hard {
            pod,
            namespace: cluster.namespace(&pod.key.namespace),
            near: pod.affinity.iter().map(|t| resolve(t, cluster)).collect(),
            apart: pod.anti_affinity.iter().map(|t| resolve(t, cluster)).collect(),
            near_counts: Vec::new(),
            apart_counts: Vec::new(),
            kept_off: Counts::default(),
            cluster,
        };
        hard.near_counts = hard.near.iter().map(|_| Vec::new()).collect();
        hard.apart_counts = hard.apart.iter().map(|_| Vec::new()).collect();
        for crowd in cluster.choosy_crowds().filter(|crowd| !crowd.sample().anti_affinity.is_empty()) {
            crowd.by_node().for_each(|(node, n)| hard.change_kept_off(crowd.sample(), node, n));
        }
        if hard.near.is_empty() && hard.apart.is_empty() {
            if hard.kept_off.all_zero() {
                return Prepared::Skip;
            }
        } else {
            for crowd in cluster.crowds() {
                hard.change_crowd(crowd);
            }
        }
        Prepared::ready(hard)
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_LABELS.and(Depends::PODS_THERE).and(Depends::ELSEWHERE).and(Depends::OTHER_OBJECTS)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

struct Hard<'a> {
    pod: &'a PodFacts,
    namespace: Option<&'a Labels>,
    near: Vec<AffinityTerm>,
    apart: Vec<AffinityTerm>,
    /// By term, then by the number of the label's value: how many pods that all terms mean are there.
    near_counts: Vec<Vec<i64>>,
    /// The same of pods that the term means.
    apart_counts: Vec<Vec<i64>>,
    /// Pods whose anti-affinity means this pod.
    kept_off: Counts,
    cluster: &'a Snapshot,
}

/// Adds at the domain of `node` by the label `key`.
fn bump(counts: &mut Vec<i64>, cluster: &Snapshot, key: &str, node: NodeId, by: i64) {
    if let Some(column) = cluster.columns().label(key) {
        let value = column.value(node);
        if value != LabelColumn::ABSENT {
            if counts.is_empty() {
                counts.resize(column.bound(), 0);
            }
            counts[value as usize] += by;
        }
    }
}

fn count(counts: &[i64], value: u32) -> i64 {
    counts.get(value as usize).copied().unwrap_or(0)
}

impl Hard<'_> {
    fn means_all(&self, other: &PodFacts) -> bool {
        !self.near.is_empty() && self.near.iter().all(|term| term.matches(other, None))
    }

    fn change_own(&mut self, other: &PodFacts, node: NodeId, by: i64) {
        if self.means_all(other) {
            for (term, counts) in self.near.iter().zip(&mut self.near_counts) {
                bump(counts, self.cluster, &term.topology_key, node, by);
            }
        }
        for (term, counts) in self.apart.iter().zip(&mut self.apart_counts) {
            if term.matches(other, None) {
                bump(counts, self.cluster, &term.topology_key, node, by);
            }
        }
    }

    fn change_crowd(&mut self, crowd: &Crowd) {
        let other = crowd.sample();
        if self.means_all(other) || self.apart.iter().any(|term| term.matches(other, None)) {
            crowd.by_node().for_each(|(node, n)| self.change_own(other, node, n));
        }
    }

    fn change_kept_off(&mut self, other: &PodFacts, node: NodeId, by: i64) {
        for term in &other.anti_affinity {
            if term.matches(self.pod, self.namespace) {
                self.kept_off.add(&term.topology_key, self.cluster, node, by);
            }
        }
    }

    fn change(&mut self, other: &PodFacts, node: NodeId, by: i64) {
        self.change_own(other, node, by);
        self.change_kept_off(other, node, by);
    }

    fn value(&self, term: &AffinityTerm, node: NodeId) -> u32 {
        self.cluster.columns().label(&term.topology_key).map_or(LabelColumn::ABSENT, |c| c.value(node))
    }

    /// Whether the pod starts a group that is near itself: nobody is there yet, and it means itself.
    fn is_first(&self) -> bool {
        self.near_counts.iter().flatten().all(|n| *n == 0) && self.means_all(self.pod)
    }

    fn near_fits(&self, node: NodeId, is_first: bool) -> bool {
        let mut all_there = true;
        for (term, counts) in self.near.iter().zip(&self.near_counts) {
            let value = self.value(term, node);
            if value == LabelColumn::ABSENT {
                return false;
            }
            all_there &= count(counts, value) > 0;
        }
        all_there || is_first
    }

    fn apart_fits(&self, node: NodeId) -> bool {
        self.apart.iter().zip(&self.apart_counts).all(|(term, counts)| {
            let value = self.value(term, node);
            value == LabelColumn::ABSENT || count(counts, value) <= 0
        })
    }

    fn is_let_in(&self, node: NodeId) -> bool {
        self.kept_off.by_key.iter().all(|(key, _)| {
            let value = self.cluster.columns().label(key).map_or(LabelColumn::ABSENT, |c| c.value(node));
            value == LabelColumn::ABSENT || self.kept_off.get(key, value) <= 0
        })
    }
}

impl<'a> Hard<'a> {
    /// Says that the pods in the node's domain for which `is_meant` holds must leave it.
    fn must_leave(
        &self,
        crowds: impl Iterator<Item = &'a Crowd>,
        key: &Name,
        node: &NodeView<'_>,
        is_meant: impl Fn(&PodFacts) -> bool,
    ) -> Vec<String> {
        let column = self.cluster.columns().label(key);
        let here = column.map_or(LabelColumn::ABSENT, |c| c.value(node.id()));
        let (Some(column), Some(value)) = (column, node.label(key)) else { return Vec::new() };
        let mut said = Vec::new();
        for crowd in crowds.filter(|crowd| is_meant(crowd.sample())) {
            for (there, _) in crowd.by_node().filter(|(there, _)| column.value(*there) == here) {
                let others = self.cluster.view(there).pods().filter(|other| is_meant(other));
                said.extend(others.map(|other| format!("{} must leave {key}={value}", other.key)));
            }
        }
        said
    }
}

impl Predicate for Hard<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        let node = node.id();
        if !self.near_fits(node, self.is_first()) {
            return Verdict::refuse_firmly("node(s) didn't match pod affinity rules");
        }
        if !self.apart_fits(node) {
            return Verdict::refuse("node(s) didn't match pod anti-affinity rules");
        }
        Verdict::fits_or(self.is_let_in(node), || {
            Verdict::refuse("node(s) didn't satisfy existing pods anti-affinity rules")
        })
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let place = |key: &str| node.label(key).map(|value| format!("{key}={value}"));
        let mut said = Vec::new();
        let is_first = self.is_first();
        for (term, counts) in self.near.iter().zip(&self.near_counts) {
            match place(&term.topology_key) {
                None => said.push(format!("the node must have a label {}", term.topology_key)),
                Some(at) if !is_first && count(counts, self.value(term, node.id())) == 0 => {
                    said.push(format!("a pod that the affinity means must run in {at}"));
                }
                Some(_) => {}
            }
        }
        for term in &self.apart {
            let is_meant = |other: &PodFacts| term.matches(other, None);
            said.extend(self.must_leave(self.cluster.crowds(), &term.topology_key, node, is_meant));
        }
        for (key, _) in &self.kept_off.by_key {
            let keeps_off = |other: &PodFacts| {
                let mut terms = other.anti_affinity.iter().filter(|term| term.topology_key == *key);
                terms.any(|term| term.matches(self.pod, self.namespace))
            };
            said.extend(self.must_leave(self.cluster.choosy_crowds(), key, node, keeps_off));
        }
        said.sort_unstable();
        said.dedup();
        Some(said.join("; "))
    }

    fn filter_all(&self, _: &Snapshot, nodes: &mut NodeSet) {
        let is_first = self.is_first();
        nodes.retain(|node| self.near_fits(node, is_first) && self.apart_fits(node) && self.is_let_in(node));
    }

    fn add_pod(&mut self, pod: &PodFacts, node: &NodeView<'_>) {
        self.change(pod, node.id(), 1);
    }

    fn remove_pod(&mut self, pod: &PodFacts, node: &NodeView<'_>) {
        self.change(pod, node.id(), -1);
    }
}

impl PreScore for InterPodAffinity {
    fn name(&self) -> &str {
        "InterPodAffinity"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Affinity(self)
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        cluster: &'a Snapshot,
        _: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        let wishes = !pod.preferred_affinity.is_empty();
        if self.ignore_preferred_of_existing && !wishes {
            return None;
        }
        let mut scores = Counts::default();
        if wishes {
            let own = pod.preferred_affinity.iter().map(|(weight, term)| (*weight, resolve(term, cluster)));
            let own: Vec<(i64, AffinityTerm)> = own.collect();
            for crowd in cluster.crowds() {
                for (weight, term) in own.iter().filter(|(_, term)| term.matches(crowd.sample(), None)) {
                    for (node, n) in crowd.by_node() {
                        scores.add(&term.topology_key, cluster, node, n * weight);
                    }
                }
            }
        }
        let namespace = cluster.namespace(&pod.key.namespace);
        for crowd in cluster.choosy_crowds() {
            let other = crowd.sample();
            let hard = other.affinity.iter().filter(|_| self.hard_weight > 0).map(|t| (self.hard_weight, t));
            for (weight, term) in hard.chain(other.preferred_affinity.iter().map(|(w, t)| (*w, t))) {
                if term.matches(pod, namespace) {
                    for (node, n) in crowd.by_node() {
                        scores.add(&term.topology_key, cluster, node, n * weight);
                    }
                }
            }
        }
        if scores.by_key.is_empty() {
            return None;
        }
        Some(Box::new(Soft(scores)))
    }
}

struct Soft(Counts);

impl Priority for Soft {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        self.0.sum(node.cluster(), node.id())
    }

    fn normalize(&self, _: &Snapshot, _: &[NodeId], scores: &mut [i64]) {
        let (min, max) =
            (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
        for score in scores {
            *score = if max == min {
                0
            } else {
                (MAX_SCORE as f64 * ((*score - min) as f64 / (max - min) as f64)) as i64
            };
        }
    }
}
