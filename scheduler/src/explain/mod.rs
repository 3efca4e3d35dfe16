//! Says why, for people and for machines: [`Decision::explain`].

mod objections;

use std::collections::BTreeMap;
use std::fmt;

use orlop_core::{Key, Name};
use serde::Serialize;

use crate::decision::Decision;
use crate::framework::Refusal;

pub(crate) use objections::objections;

/// One predicate's refusal of one node, and what would have to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Objection {
    /// The plugin.
    pub plugin: Name,
    /// What it says.
    pub refusal: Refusal,
    /// What would have to change for it to take the node, for people; empty if nobody knows.
    pub remedy: String,
}

/// A decision in full. Prints as text with aligned columns; serialises for machines.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The pod.
    pub pod: Key,
    /// The node that it would get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// Kubernetes' message where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The chosen node's scores beside those of the best node that was not chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// Every node that does not take the pod, with all that keeps it off.
    pub refused: Vec<RefusedNode>,
    /// The node on which room is made, and whom that costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption: Option<Room>,
}

/// Where the points went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scores {
    /// The best node that was not chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<Name>,
    /// By plugin, normalised and times its weight: the chosen node's points, and the runner-up's.
    pub plugins: BTreeMap<Name, (i64, Option<i64>)>,
    /// The sums.
    pub total: (i64, Option<i64>),
    /// How many nodes have the highest sum; the seed chooses among several.
    pub equally_good: usize,
}

/// A node that does not take the pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefusedNode {
    /// The node.
    pub node: Name,
    /// All that keeps the pod off.
    pub because: Vec<Because>,
}

/// One thing that keeps a pod off a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Because {
    /// The plugin.
    pub plugin: Name,
    /// Kubernetes' words.
    pub reason: String,
    /// Whether evicting pods may help.
    pub curable: bool,
    /// What would have to change.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Room that is made by evicting pods.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Room {
    /// Where.
    pub node: Name,
    /// Who must go.
    pub victims: Vec<Key>,
}

impl Decision {
    /// The decision in full: for the chosen node its scores beside those of the runner-up, and for every node that does
    /// not take the pod *every* predicate that refuses it, with what would have to change.
    ///
    /// Made by [`crate::schedule()`]; a decision of [`crate::place()`] knows no scores and only first refusals.
    pub fn explain(&self) -> Explanation {
        let mut refused: BTreeMap<&Name, Vec<Because>> = BTreeMap::new();
        for (node, objections) in &self.every {
            let because = objections.iter().map(|o| because(&o.plugin, &o.refusal, &o.remedy));
            refused.insert(node, because.collect());
        }
        for (node, first) in &self.rejected {
            refused.entry(node).or_insert_with(|| vec![because(&first.plugin, &first.refusal, "")]);
        }
        let room = self
            .post_filter
            .as_ref()
            .and_then(|found| Some(Room { node: found.nominated.clone()?, victims: found.victims.clone() }));
        Explanation {
            pod: self.pod.clone(),
            node: self.node.clone(),
            message: self.message(),
            scores: self.node.as_ref().and_then(|chosen| self.scores_of(chosen)),
            refused: refused
                .into_iter()
                .map(|(node, because)| RefusedNode { node: node.clone(), because })
                .collect(),
            preemption: room,
        }
    }

    fn scores_of(&self, chosen: &Name) -> Option<Scores> {
        let own = self.scores.get(chosen)?;
        let total = |node: &Name| self.totals.get(node).copied().unwrap_or(0);
        let others = self.totals.iter().filter(|(node, _)| *node != chosen);
        let runner_up = others.max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))).map(|(node, _)| node.clone());
        let other = |plugin: &Name| self.scores.get(runner_up.as_ref()?)?.get(plugin).copied();
        Some(Scores {
            plugins: own.iter().map(|(name, points)| (name.clone(), (*points, other(name)))).collect(),
            total: (total(chosen), runner_up.as_ref().map(total)),
            equally_good: self.best.len(),
            runner_up,
        })
    }
}

fn because(plugin: &Name, refusal: &Refusal, remedy: &str) -> Because {
    Because {
        plugin: plugin.clone(),
        reason: refusal.reasons.join(", "),
        curable: refusal.code == crate::framework::Code::Unschedulable,
        remedy: remedy.to_owned(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => writeln!(f, "{} -> {node}", self.pod)?,
            None => writeln!(f, "{} -> none: {}", self.pod, self.message)?,
        }
        if let Some((scores, node)) = self.scores.as_ref().zip(self.node.as_ref()) {
            scores.write(node, f)?;
        }
        if !self.refused.is_empty() {
            f.write_str("refused:\n")?;
        }
        let width = self.refused.iter().map(|r| r.node.len()).max().unwrap_or(0);
        for refused in &self.refused {
            for (i, because) in refused.because.iter().enumerate() {
                let name = if i == 0 { refused.node.as_str() } else { "" };
                writeln!(f, "  {name:<width$}  {}: {}", because.plugin, because.reason)?;
                if !because.remedy.is_empty() {
                    writeln!(f, "  {:<width$}    {}", "", because.remedy)?;
                }
            }
        }
        if let Some(room) = &self.preemption {
            let victims: Vec<String> = room.victims.iter().map(ToString::to_string).collect();
            writeln!(f, "room is made on {} by evicting {}", room.node, victims.join(", "))?;
        }
        Ok(())
    }
}

impl Scores {
    /// Plugin by plugin, the chosen node beside the runner-up.
    fn write(&self, chosen: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.plugins.keys().map(|plugin| plugin.len()).max().unwrap_or(0).max("total".len());
        let other = self.runner_up.as_ref();
        let width = chosen.len().max(other.map_or(0, |name| name.len())).max(8);
        let mut row = |name: &str, own: &str, other: Option<String>| {
            let other = other.map(|o| format!("  {o:>width$}")).unwrap_or_default();
            writeln!(f, "  {name:<label$}  {own:>width$}{other}")
        };
        row("", chosen, other.map(ToString::to_string))?;
        for (plugin, (own, other)) in &self.plugins {
            row(plugin, &own.to_string(), other.map(|o| o.to_string()))?;
        }
        row("total", &self.total.0.to_string(), self.total.1.map(|o| o.to_string()))?;
        if self.equally_good > 1 {
            writeln!(f, "  {} nodes are equally good; the seed chose", self.equally_good)?;
        }
        Ok(())
    }
}
