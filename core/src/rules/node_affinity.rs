//! Which nodes a pod asks for.

use crate::kinds::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use crate::object::Name;

use super::selector::{LabelSet, Operator, Requirement, Selector};

/// One term of a node selector, ready to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTerm {
    labels: Selector,
    /// Whether the node's name must (`true`) or must not be this one.
    names: Vec<(bool, Name)>,
}

impl NodeTerm {
    /// A term that is empty or not valid matches no node.
    pub fn new(term: &NodeSelectorTerm) -> NodeTerm {
        let never = NodeTerm { labels: Selector::nothing(), names: Vec::new() };
        if term.match_expressions.is_empty() && term.match_fields.is_empty() {
            return never;
        }
        let labels: Option<Vec<Requirement>> = term.match_expressions.iter().map(requirement).collect();
        let names: Option<Vec<(bool, Name)>> = term.match_fields.iter().map(name_requirement).collect();
        match labels.zip(names) {
            Some((labels, names)) => NodeTerm { labels: Selector::new(labels), names },
            None => never,
        }
    }

    /// Whether a node with these labels and this name fulfils the term.
    pub fn matches(&self, labels: &(impl LabelSet + ?Sized), name: &str) -> bool {
        self.names.iter().all(|(wanted, n)| (n == name) == *wanted) && self.labels.matches(labels)
    }

    /// The requirements on labels.
    pub fn selector(&self) -> &Selector {
        &self.labels
    }

    /// Whether the term speaks of nodes' names.
    pub fn names_nodes(&self) -> bool {
        !self.names.is_empty()
    }

    /// The only node that can match, if the term names one.
    pub fn only_name(&self) -> Option<&Name> {
        self.names.iter().find(|(wanted, _)| *wanted).map(|(_, name)| name)
    }
}

fn requirement(requirement: &NodeSelectorRequirement) -> Option<Requirement> {
    let operator = match requirement.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    Requirement::new(requirement.key.clone(), operator, requirement.values.clone()).ok()
}

/// Only `metadata.name` can be asked for, and only by one value.
fn name_requirement(requirement: &NodeSelectorRequirement) -> Option<(bool, Name)> {
    let [value] = requirement.values.as_slice() else { return None };
    let wanted = match requirement.operator.as_str() {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    (requirement.key == "metadata.name").then(|| (wanted, value.clone()))
}

/// What a pod requires of its node by `nodeSelector` and required node affinity, ready to match.
#[derive(Clone, Debug)]
pub struct RequiredNodes {
    labels: Selector,
    /// One of these must match; `None`: nothing is asked.
    terms: Option<Vec<NodeTerm>>,
}

impl RequiredNodes {
    /// What the pod requires.
    pub fn new(pod: &PodSpec) -> RequiredNodes {
        let required = pod
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref())
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        RequiredNodes { labels: Selector::from_labels(&pod.node_selector), terms: required.map(terms) }
    }

    /// Whether a node with these labels and this name will do.
    pub fn matches(&self, labels: &(impl LabelSet + ?Sized), name: &str) -> bool {
        self.labels.matches(labels)
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(labels, name)))
    }

    /// The alternatives of the affinity; `None`: nothing is asked.
    pub fn terms(&self) -> Option<&[NodeTerm]> {
        self.terms.as_deref()
    }
}

/// The terms of a node selector, one of which must match.
pub fn terms(selector: &NodeSelector) -> Vec<NodeTerm> {
    selector.node_selector_terms.iter().map(NodeTerm::new).collect()
}
