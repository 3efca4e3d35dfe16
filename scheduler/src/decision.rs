//! What was decided for a pod, and why: [`Decision`].

use std::collections::BTreeMap;
use std::fmt;

use orlop_core::{Key, Name};

use crate::explain::Objection;
use crate::framework::Refusal;

/// The outcome of one attempt to place a pod.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The pod.
    pub pod: Key,
    /// Its UID.
    pub uid: Name,
    /// The chosen node; `None`: no node takes the pod.
    pub node: Option<Name>,
    /// How many nodes the cluster has.
    pub nodes: usize,
    /// Set when a predicate refused all nodes while preparing.
    pub refused: Option<Rejection>,
    /// Set when predicates left only some nodes to look at while preparing.
    pub narrowed: Option<Narrowed>,
    /// The first predicate that refused, for each node that was looked at and refused.
    pub rejected: BTreeMap<Name, Rejection>,
    /// How many nodes each first refusal keeps off, where `rejected` does not tell it node by node.
    pub tally: Vec<(Rejection, usize)>,
    /// All predicates that keep the pod off each node that does not take it.
    pub every: BTreeMap<Name, Vec<Objection>>,
    /// For each node that was left, every priority's score, normalised and times its weight.
    pub scores: BTreeMap<Name, BTreeMap<Name, i64>>,
    /// The sums of those.
    pub totals: BTreeMap<Name, i64>,
    /// The nodes with the highest sum, from which the seed chose.
    pub best: Vec<Name>,
    /// What making room led to, when no node was left.
    pub post_filter: Option<PostFilterResult>,
    /// Set when a plugin panicked, which ends the attempt.
    pub fault: Option<Fault>,
}

/// A plugin's refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// The plugin.
    pub plugin: Name,
    /// What it said.
    pub refusal: Refusal,
}

/// The nodes that preparing left.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrowed {
    /// Who left them.
    pub plugins: Vec<Name>,
    /// The nodes, by name.
    pub nodes: Vec<Name>,
}

/// A way to make room, or why there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PostFilterResult {
    /// The node where there will be room.
    pub nominated: Option<Name>,
    /// The pods that must go, by key.
    pub victims: Vec<Key>,
    /// Whether a node for which the pod was nominated earlier is of no use any more.
    pub give_up_nomination: bool,
    /// What the plugins said, for people.
    pub message: String,
}

/// A plugin that panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} panicked: {message}")]
pub struct Fault {
    /// The plugin.
    pub plugin: Name,
    /// What it panicked with.
    pub message: String,
}

impl Decision {
    /// What people are told of a pod that no node takes, in Kubernetes' words: the text of the `FailedScheduling` event
    /// and of the `PodScheduled` condition. Empty if a node was found.
    pub fn message(&self) -> String {
        if let Some(fault) = &self.fault {
            return format!("running scheduling plugins: {fault}");
        }
        if self.node.is_some() {
            return String::new();
        }
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut text = format!("0/{} nodes are available:", self.nodes);
        if let Some(refused) = &self.refused {
            text.push_str(&format!(" {}.", refused.refusal.reasons.join(", ")));
        } else {
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for rejection in self.rejected.values() {
                for reason in &rejection.refusal.reasons {
                    *counts.entry(reason.to_string()).or_default() += 1;
                }
            }
            for (rejection, nodes) in &self.tally {
                for reason in &rejection.refusal.reasons {
                    *counts.entry(reason.to_string()).or_default() += nodes;
                }
            }
            if let Some(narrowed) = &self.narrowed {
                let absent = self.nodes - self.rejected.len();
                if absent > 0 {
                    counts.insert(narrowed.reason(), absent);
                }
            }
            text.push_str(&histogram(counts));
        }
        if let Some(result) = self.post_filter.as_ref().filter(|r| !r.message.is_empty()) {
            text.push(' ');
            text.push_str(&result.message);
        }
        text
    }

    /// The names of the plugins whose refusals kept the pod from some node.
    pub fn rejected_by(&self) -> Vec<Name> {
        let first = self.rejected.values().chain(&self.refused);
        let first = first.chain(self.tally.iter().map(|(rejection, _)| rejection));
        let mut names: Vec<Name> = first.map(|rejection| rejection.plugin.clone()).collect();
        names.extend(self.narrowed.iter().flat_map(|n| n.plugins.iter().cloned()));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// ` 2 A, 1 B.`, ordered as Kubernetes orders it: by text, counts included.
pub(crate) fn histogram(counts: impl IntoIterator<Item = (String, usize)>) -> String {
    let mut parts: Vec<String> = counts.into_iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    if parts.is_empty() {
        return String::new();
    }
    parts.sort_unstable();
    format!(" {}.", parts.join(", "))
}

impl Narrowed {
    /// What the nodes that were not looked at are counted under.
    pub fn reason(&self) -> String {
        let names: Vec<&str> = self.plugins.iter().map(Name::as_str).collect();
        format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" "))
    }
}

impl fmt::Display for Decision {
    /// `default/web -> node-a`, or why not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{} -> {node}", self.pod),
            None => write!(f, "{}: {}", self.pod, self.message()),
        }
    }
}
