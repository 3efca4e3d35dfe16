//! What is answered, as data and as tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use orlop::base::Name;
use orlop::base::kinds::Pod;
use orlop::base::rules::pod::condition;
use orlop::scheduler::explain::Explanation;
use orlop::scheduler::what_if::{Drain, Outcome, Room};
use orlop::scheduler::{Decision, PodFacts};
use serde::Serialize;

use crate::summary::table;

/// Why a pod is where it is, or nowhere.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Why {
    /// What the cluster says of it.
    state: String,
    /// What would be decided now.
    now: Explanation,
}

impl Why {
    pub(super) fn new(pod: &Pod, facts: &PodFacts, runs_on: Name, now: Explanation) -> Why {
        let said = condition(pod, "PodScheduled");
        let state = if !facts.gates.is_empty() {
            let gates: Vec<&str> = facts.gates.iter().map(Name::as_str).collect();
            format!("held back by the scheduling gates {}", gates.join(", "))
        } else if !runs_on.is_empty() {
            format!("runs on {runs_on}; were it placed now:")
        } else {
            match said.filter(|condition| !condition.message.is_empty()) {
                Some(condition) => format!("{}: {}", condition.reason, condition.message),
                None => "pending".to_owned(),
            }
        };
        Why { state, now }
    }

    pub(super) fn text(&self) -> String {
        format!("{} {}\n{}", self.now.pod, self.state, self.now)
    }
}

/// Whether pods would be placed, and how many more would.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fit {
    what: String,
    wanted: usize,
    placed: usize,
    /// How many of them each node would get.
    nodes: BTreeMap<Name, usize>,
    /// How many more would fit after them.
    more: Room,
}

impl Fit {
    pub(super) fn new(what: String, decisions: &[Decision], more: Room) -> Fit {
        let mut nodes = BTreeMap::new();
        for node in decisions.iter().filter_map(|decision| decision.node.clone()) {
            *nodes.entry(node).or_default() += 1;
        }
        let placed = nodes.values().sum();
        Fit { what, wanted: decisions.len(), placed, nodes, more }
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let more = if self.more.at_least { "or more " } else { "" };
        let _ = writeln!(
            out,
            "{}: {} of {} would be placed, {} {more}more would fit",
            self.what, self.placed, self.wanted, self.more.count
        );
        let mut names: Vec<&Name> = self.nodes.keys().chain(self.more.nodes.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let count = |of: &BTreeMap<Name, usize>, node: &Name| of.get(node).copied().unwrap_or(0).to_string();
        let rows: Vec<[String; 3]> = names
            .into_iter()
            .map(|node| [node.to_string(), count(&self.nodes, node), count(&self.more.nodes, node)])
            .collect();
        if !rows.is_empty() {
            table(&mut out, &["NODE", "PODS", "MORE"], &rows);
        }
        let limit = |limit: &orlop::scheduler::what_if::Limit| {
            [limit.reason.clone(), limit.plugin.to_string(), limit.nodes.to_string(), limit.alone.to_string()]
        };
        let limits: Vec<[String; 4]> = self.more.limits.iter().map(limit).collect();
        if !limits.is_empty() {
            out.push('\n');
            table(&mut out, &["LIMITED BY", "PLUGIN", "NODES", "ALONE"], &limits);
        }
        out
    }
}

/// What draining a node would do, for people.
pub(super) fn drain(drain: &Drain) -> String {
    let mut out = String::new();
    let count = |outcome: Outcome| drain.pods.iter().filter(|fate| fate.outcome == outcome).count();
    let _ = writeln!(
        out,
        "draining {}: {} pods move, {} would be pending, {} are lost, {} stay",
        drain.node,
        count(Outcome::Moves),
        count(Outcome::Pending),
        count(Outcome::Lost),
        count(Outcome::Stays)
    );
    let rows: Vec<[String; 4]> = drain
        .pods
        .iter()
        .map(|fate| {
            let outcome = match fate.outcome {
                Outcome::Moves => "moves to",
                Outcome::Pending => "pending",
                Outcome::Lost => "lost",
                Outcome::Stays => "stays",
            };
            let detail = fate.to.as_ref().map_or(fate.because.clone(), ToString::to_string);
            [fate.pod.namespace.to_string(), fate.pod.name.to_string(), outcome.to_owned(), detail]
        })
        .collect();
    if !rows.is_empty() {
        table(&mut out, &["NAMESPACE", "POD", "OUTCOME", ""], &rows);
    }
    for wait in &drain.budgets {
        let _ = writeln!(
            out,
            "budget {} allows {} of the {} evictions now; the others wait",
            wait.budget, wait.allowed, wait.needed
        );
    }
    out
}
