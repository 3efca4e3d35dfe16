//! NodeAffinity: keeps a pod to the nodes that its node selector and required node affinity pick, and prefers those
//! that its preferred terms pick.
//!
//! The predicate reads label columns: a requirement's values are interned once, then each node costs a comparison of
//! numbers.

use orlop_core::kinds::{self, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use orlop_core::rules::node_affinity::{NodeTerm, terms};
use orlop_core::rules::{Operator, Requirement, Selector};
use orlop_core::{Labels, Name};
use smallvec::SmallVec;

use crate::bitset::NodeSet;
use crate::columns::LabelColumn;
use crate::facts::{NodeFacts, PodFacts};
use crate::framework::{
    Code, Depends, PreFilter, PreScore, Predicate, Prepared, Priority, Reach, Refusal, Scale, Verdict,
    normalize,
};
use crate::snapshot::{NodeId, NodeView, Snapshot};

/// The plugin.
#[derive(Clone, Debug, Default)]
pub struct NodeAffinity {
    /// What all pods of the profile must and would like to have besides what they say themselves.
    pub added: Option<kinds::NodeAffinity>,
}

/// What a pod requires of its node, ready to match.
pub(crate) struct Required {
    labels: Selector,
    terms: Option<Vec<NodeTerm>>,
    added: Option<Vec<NodeTerm>>,
}

impl Required {
    /// What the pod itself says.
    pub(crate) fn of(pod: &PodFacts) -> Required {
        Required {
            labels: Selector::from_labels(&pod.node_selector),
            terms: required(pod.node_affinity.as_deref()).map(terms),
            added: None,
        }
    }

    pub(crate) fn says_nothing(&self) -> bool {
        self.labels.is_everything() && self.terms.is_none() && self.added.is_none()
    }

    /// Whether a node is what the pod asks for.
    pub(crate) fn matches(&self, node: &NodeFacts) -> bool {
        self.labels.matches(&node.labels) && any(self.terms.as_deref(), node)
    }

    /// Keeps the nodes that the pod asks for.
    pub(crate) fn retain(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        keep_all(cluster, nodes, &self.labels);
        for terms in [&self.terms, &self.added].into_iter().flatten() {
            let mut any = NodeSet::new();
            for term in terms {
                any.unite(&picked(term, cluster, nodes));
            }
            *nodes = any;
        }
    }
}

fn any(terms: Option<&[NodeTerm]>, node: &NodeFacts) -> bool {
    terms.is_none_or(|terms| terms.iter().any(|term| term.matches(&node.labels, &node.name)))
}

fn required(affinity: Option<&kinds::NodeAffinity>) -> Option<&NodeSelector> {
    affinity?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// The nodes of `among` that a term picks.
fn picked(term: &NodeTerm, cluster: &Snapshot, among: &NodeSet) -> NodeSet {
    let mut nodes = among.clone();
    keep_all(cluster, &mut nodes, term.selector());
    if term.names_nodes() {
        nodes.retain(|node| {
            let facts = cluster.view(node).facts();
            term.matches(&facts.labels, &facts.name)
        });
    }
    nodes
}

/// Keeps the nodes that fulfil a selector.
fn keep_all(cluster: &Snapshot, nodes: &mut NodeSet, selector: &Selector) {
    match selector.requirements() {
        Some(requirements) => requirements.iter().for_each(|r| keep(cluster, nodes, r)),
        None => *nodes = NodeSet::new(),
    }
}

/// Keeps the nodes that fulfil a requirement.
fn keep(cluster: &Snapshot, nodes: &mut NodeSet, requirement: &Requirement) {
    let Some(column) = cluster.columns().label(requirement.key()) else {
        if !requirement.matches(&Labels::new()) {
            *nodes = NodeSet::new();
        }
        return;
    };
    let ids: SmallVec<[u32; 4]> = requirement.values().iter().filter_map(|v| column.id(v)).collect();
    match requirement.operator() {
        Operator::In | Operator::Equals | Operator::DoubleEquals => {
            nodes.retain(|node| ids.contains(&column.value(node)));
        }
        Operator::NotIn | Operator::NotEquals => nodes.retain(|node| !ids.contains(&column.value(node))),
        Operator::Exists => nodes.retain(|node| column.value(node) != LabelColumn::ABSENT),
        Operator::DoesNotExist => nodes.retain(|node| column.value(node) == LabelColumn::ABSENT),
        Operator::GreaterThan | Operator::LessThan => {
            nodes.retain(|node| requirement.matches(&cluster.view(node).facts().labels));
        }
    }
}

/// The nodes that the terms name, if every term names some; a node outside cannot match.
fn named(required: &NodeSelector) -> Option<Vec<&Name>> {
    if required.node_selector_terms.is_empty() {
        return None;
    }
    let mut all = Vec::new();
    for term in &required.node_selector_terms {
        let mut of_term: Option<Vec<&Name>> = None;
        for r in term.match_fields.iter().filter(|r| r.key == "metadata.name" && r.operator == "In") {
            of_term = Some(match of_term {
                None => r.values.iter().collect(),
                Some(before) => before.into_iter().filter(|name| r.values.contains(name)).collect(),
            });
        }
        all.extend(of_term?);
    }
    Some(all)
}

impl PreFilter for NodeAffinity {
    fn name(&self) -> &str {
        "NodeAffinity"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        let wanted = Required { added: required(self.added.as_ref()).map(terms), ..Required::of(pod) };
        if wanted.says_nothing() {
            return Prepared::Skip;
        }
        match required(pod.node_affinity.as_deref()).and_then(named) {
            None => Prepared::ready(Asked { pod, wanted }),
            Some(names) if names.is_empty() => Prepared::Refuse(Refusal::new(
                Code::UnschedulableAndUnresolvable,
                "pod affinity terms conflict",
            )),
            Some(names) => {
                let nodes = names.into_iter().filter_map(|name| Some(cluster.node(name)?.id()));
                Prepared::Only(nodes.collect(), Box::new(Asked { pod, wanted }))
            }
        }
    }

    fn remedy(&self, pod: &PodFacts, _: &Snapshot) -> Option<String> {
        let names = required(pod.node_affinity.as_deref()).and_then(named)?;
        names
            .is_empty()
            .then(|| "the terms of its node affinity must leave a node's name possible".to_owned())
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_LABELS.and(Depends::NODE_NAME)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

struct Asked<'a> {
    pod: &'a PodFacts,
    wanted: Required,
}

impl Predicate for Asked<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        let node = node.facts();
        if !any(self.wanted.added.as_deref(), node) {
            return Verdict::refuse_firmly("node(s) didn't match scheduler-enforced node affinity");
        }
        Verdict::fits_or(self.wanted.matches(node), || {
            Verdict::refuse_firmly("node(s) didn't match Pod's node affinity/selector")
        })
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let mut lacks = Vec::new();
        for (key, value) in self.pod.node_selector.iter() {
            let had = node.label(key);
            if had != Some(value.as_str()) {
                let had = had.map_or(format!("no label {key}"), |had| format!("{key}={had}"));
                lacks.push(format!("the node must have {key}={value} (it has {had})"));
            }
        }
        if !any(self.wanted.terms.as_deref(), node.facts()) {
            lacks.push(lacking(self.pod, node.facts()));
        }
        Some(match lacks.is_empty() {
            true => "the profile's added affinity asks for other nodes".to_owned(),
            false => lacks.join("; "),
        })
    }

    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        self.wanted.retain(cluster, nodes);
    }
}

/// What a node lacks of a pod's required node affinity. One term must hold in full: the one of which least is lacking
/// says what is the least to do. An empty one never holds.
fn lacking(pod: &PodFacts, node: &NodeFacts) -> String {
    let holds = |term: NodeSelectorTerm| NodeTerm::new(&term).matches(&node.labels, &node.name);
    let misses = |term: &NodeSelectorTerm| -> Vec<String> {
        let expressions = term.match_expressions.iter().map(|r| {
            (r, NodeSelectorTerm { match_expressions: vec![r.clone()], ..NodeSelectorTerm::default() })
        });
        let fields = term
            .match_fields
            .iter()
            .map(|r| (r, NodeSelectorTerm { match_fields: vec![r.clone()], ..NodeSelectorTerm::default() }));
        expressions.chain(fields).filter(|(_, t)| !holds(t.clone())).map(|(r, _)| as_text(r)).collect()
    };
    let terms = required(pod.node_affinity.as_deref()).into_iter().flat_map(|r| &r.node_selector_terms);
    match terms.map(misses).filter(|missing| !missing.is_empty()).min_by_key(Vec::len) {
        Some(least) => format!("the node must have {}", least.join(" and ")),
        None => "the pod's required node affinity is empty, which no node fulfils".to_owned(),
    }
}

/// A requirement as people write it.
fn as_text(requirement: &NodeSelectorRequirement) -> String {
    let NodeSelectorRequirement { key, operator, values } = requirement;
    match (operator.as_str(), values.join(", ")) {
        ("In", values) if requirement.values.len() == 1 => format!("{key}={values}"),
        ("In", values) => format!("{key} in ({values})"),
        ("NotIn", values) => format!("{key} not in ({values})"),
        ("Exists", _) => format!("a label {key}"),
        ("DoesNotExist", _) => format!("no label {key}"),
        (operator, values) => format!("{key} {operator} {values}"),
    }
}

impl PreScore for NodeAffinity {
    fn name(&self) -> &str {
        "NodeAffinity"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn scale(&self) -> Scale {
        Scale::Highest { reverse: false }
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        _: &'a Snapshot,
        _: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        let all = [pod.node_affinity.as_deref(), self.added.as_ref()];
        let all =
            all.into_iter().flatten().flat_map(|a| &a.preferred_during_scheduling_ignored_during_execution);
        let wishes: Vec<(NodeTerm, i64)> =
            all.map(|wish| (NodeTerm::new(&wish.preference), i64::from(wish.weight))).collect();
        if wishes.is_empty() { None } else { Some(Box::new(Wishes(wishes))) }
    }
}

/// What a pod would like of its node, and how much.
struct Wishes(Vec<(NodeTerm, i64)>);

impl Priority for Wishes {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        let node = node.facts();
        let granted = self.0.iter().filter(|(term, _)| term.matches(&node.labels, &node.name));
        granted.map(|(_, weight)| weight).sum()
    }

    fn score_all(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        scores.fill(0);
        let among: NodeSet = nodes.iter().copied().collect();
        for (term, weight) in &self.0 {
            let picked = picked(term, cluster, &among);
            for (node, score) in nodes.iter().zip(scores.iter_mut()) {
                if picked.contains(*node) {
                    *score += weight;
                }
            }
        }
    }

    fn normalize(&self, _: &Snapshot, _: &[NodeId], scores: &mut [i64]) {
        normalize(scores, false);
    }
}
