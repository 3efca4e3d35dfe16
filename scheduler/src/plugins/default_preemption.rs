//! DefaultPreemption: makes room for a pod by evicting pods of lower priority from one node: as few and as unimportant
//! ones as will do, and budgets honoured where that can be.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use orlop_core::rules::Selector;
use orlop_core::{Key, Name, Timestamp};
use rustc_hash::FxHashMap;

use crate::bitset::NodeSet;
use crate::decision::{Rejection, histogram};
use crate::facts::{PodFacts, selector_of};
use crate::framework::{Code, PostFilter, PostFiltered};
use crate::preempt::{Kept, PostFilterContext};
use crate::snapshot::{Delta, NodeId, Snapshot};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct DefaultPreemption;

/// A node, and whom to evict there, the most important first.
struct Candidate<'a> {
    node: &'a Name,
    victims: Vec<&'a PodFacts>,
    violations: usize,
}

impl PostFilter for DefaultPreemption {
    fn name(&self) -> &str {
        "DefaultPreemption"
    }

    fn post_filter(&self, pod: &PodFacts, context: &mut PostFilterContext<'_, '_>) -> PostFiltered {
        let none = |message: String| PostFiltered {
            message: format!("preemption: {message}"),
            ..PostFiltered::default()
        };
        if let Some(reason) = ineligible(pod, context) {
            return none(reason.to_owned());
        }
        let cluster = context.cluster();
        let budgets: Vec<Budget<'_>> = Budget::all(cluster);
        let (reasons, best) = match context.kept() {
            Some(kept) => {
                let Kept { sample, refusals, candidates, own } = kept;
                for node in candidates.awaited(cluster).iter() {
                    let outcome = outcome(sample, node, refusals.of(node), &budgets, context);
                    candidates.put(node, outcome);
                }
                let own =
                    own.map(|(node, refused)| (*node, outcome(pod, *node, Some(refused), &budgets, context)));
                candidates.best(own)
            }
            None => {
                let mut candidates = Candidates::default();
                for node in cluster.node_set().iter() {
                    let refused = context.rejection(cluster.view(node).name());
                    candidates.put(node, outcome(pod, node, refused, &budgets, context));
                }
                candidates.best(None)
            }
        };
        match best {
            Some(best) => PostFiltered {
                nominated: Some(best.rank.5),
                victims: best.victims,
                ..PostFiltered::default()
            },
            None => PostFiltered {
                give_up_nomination: true,
                ..none(format!("0/{} nodes are available:{}", cluster.len(), histogram(reasons)))
            },
        }
    }
}

/// What evicting pods from a node comes to.
#[derive(Clone, Debug)]
enum Outcome {
    /// It does not help; for these reasons.
    Vain(Vec<String>),
    /// Room is made.
    Room(Box<Found>),
}

/// Whom to evict, and how bad that is.
#[derive(Clone, Debug)]
struct Found {
    rank: Rank,
    victims: Vec<Key>,
}

/// Orders candidates, the best first: fewest broken budgets; the most important victim the least important; the least
/// importance in all; the fewest victims; the most important ones started last; the node's name.
type Rank = (usize, i32, i64, usize, Reverse<Timestamp>, Name);

fn outcome(
    pod: &PodFacts,
    node: NodeId,
    refused: Option<&Rejection>,
    budgets: &[Budget<'_>],
    context: &mut PostFilterContext<'_, '_>,
) -> Outcome {
    if refused.is_none_or(|r| r.refusal.code != Code::Unschedulable) {
        return Outcome::Vain(vec!["Preemption is not helpful for scheduling".to_owned()]);
    }
    match victims_on(pod, node, budgets, context) {
        Ok(candidate) => Outcome::Room(Box::new(Found {
            rank: candidate.rank(),
            victims: candidate.victims.iter().map(|v| v.key.clone()).collect(),
        })),
        Err(reasons) => Outcome::Vain(reasons),
    }
}

/// What is known of each node: for pods that are alike, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    by_node: FxHashMap<NodeId, Outcome>,
    ranked: BTreeSet<(Rank, NodeId)>,
    /// How many nodes are not helped, for each list of reasons.
    vain: BTreeMap<Vec<String>, usize>,
    /// Nodes to look at again.
    stale: NodeSet,
    /// The budgets that this holds for.
    budgets: Option<u64>,
}

impl Candidates {
    /// These have changed.
    pub(crate) fn mark(&mut self, nodes: &NodeSet) {
        self.stale.unite(nodes);
    }

    /// The nodes that must be looked at: those that have changed, or all if budgets have.
    fn awaited(&mut self, cluster: &Snapshot) -> NodeSet {
        let budgets = Some(cluster.journal().budgets);
        if self.budgets != budgets {
            *self = Candidates { budgets, ..Candidates::default() };
            return cluster.node_set().clone();
        }
        std::mem::take(&mut self.stale)
    }

    fn put(&mut self, node: NodeId, outcome: Outcome) {
        self.forget(node);
        match &outcome {
            Outcome::Vain(reasons) => *self.vain.entry(reasons.clone()).or_default() += 1,
            Outcome::Room(found) => drop(self.ranked.insert((found.rank.clone(), node))),
        }
        self.by_node.insert(node, outcome);
    }

    fn forget(&mut self, node: NodeId) -> Option<Outcome> {
        let outcome = self.by_node.remove(&node)?;
        match &outcome {
            Outcome::Vain(reasons) => {
                if let Some(n) = self.vain.get_mut(reasons) {
                    *n -= 1;
                    if *n == 0 {
                        self.vain.remove(reasons);
                    }
                }
            }
            Outcome::Room(found) => drop(self.ranked.remove(&(found.rank.clone(), node))),
        }
        Some(outcome)
    }

    /// The best candidate, given that one node is otherwise than this says; without any, the reasons.
    fn best(&mut self, own: Option<(NodeId, Outcome)>) -> (BTreeMap<String, usize>, Option<Found>) {
        let (own, otherwise) = own.unzip();
        let kept = own.map(|node| (node, self.forget(node)));
        if let Some((node, otherwise)) = own.zip(otherwise) {
            self.put(node, otherwise);
        }
        let best = self.ranked.first().and_then(|(_, node)| match self.by_node.get(node)? {
            Outcome::Room(found) => Some(Found::clone(found)),
            Outcome::Vain(_) => None,
        });
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        if best.is_none() {
            for (said, nodes) in &self.vain {
                said.iter().for_each(|reason| *reasons.entry(reason.clone()).or_default() += nodes);
            }
        }
        if let Some((node, Some(kept))) = kept {
            self.put(node, kept);
        }
        (reasons, best)
    }
}

/// Why the pod may not evict others, if so.
fn ineligible(pod: &PodFacts, context: &PostFilterContext<'_, '_>) -> Option<&'static str> {
    if !pod.may_preempt {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let node = context.cluster().node(&pod.nominated)?;
    let firmly = |code| code == Code::UnschedulableAndUnresolvable;
    if context.rejection(node.name()).is_some_and(|r| firmly(r.refusal.code)) {
        return None;
    }
    let going = node.pods().any(|p| p.priority < pod.priority && p.preempted);
    going.then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Whom to evict from a node so that the pod fits, or why that does not help.
fn victims_on<'s>(
    pod: &PodFacts,
    node: NodeId,
    budgets: &[Budget<'_>],
    context: &mut PostFilterContext<'s, '_>,
) -> Result<Candidate<'s>, Vec<String>> {
    let view = context.cluster().view(node);
    let mut lower: Vec<&'s PodFacts> = view.pods().filter(|p| p.priority < pod.priority).collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".to_owned()]);
    }
    if let Some(rejection) = context.refusal_for(pod, node, without(&lower)) {
        return Err(rejection.refusal.reasons.iter().map(ToString::to_string).collect());
    }
    lower.sort_by_key(|p| importance(p));
    let (violating, harmless) = split_by_budget(&lower, budgets);
    let protected = violating.len();
    // Spare as many as possible, those first whose budget would be broken, then the most important.
    let mut gone = lower;
    let mut violations = 0;
    for (at, spared) in violating.into_iter().chain(harmless).enumerate() {
        let rest: Vec<&PodFacts> = gone.iter().copied().filter(|p| p.key != spared.key).collect();
        if context.refusal_for(pod, node, without(&rest)).is_none() {
            gone = rest;
        } else if at < protected {
            violations += 1;
        }
    }
    Ok(Candidate { node: view.name(), victims: gone, violations })
}

fn without<'a>(pods: &[&'a PodFacts]) -> Delta<'a> {
    Delta { without: pods.to_vec(), with: Vec::new() }
}

fn started(pod: &PodFacts) -> Timestamp {
    pod.started.unwrap_or(Timestamp::MAX)
}

/// Orders pods by importance, the most important first.
fn importance(pod: &PodFacts) -> (Reverse<i32>, Timestamp, &orlop_core::Key) {
    (Reverse(pod.priority), started(pod), &pod.key)
}

impl Candidate<'_> {
    fn rank(&self) -> Rank {
        let highest = self.victims.first().map_or(i32::MIN, |v| v.priority);
        let sum = self.victims.iter().map(|v| i64::from(v.priority) + (1 << 31)).sum();
        let top = self.victims.iter().filter(|v| v.priority == highest);
        let earliest = top.map(|v| started(v)).min().unwrap_or(Timestamp::MAX);
        (self.violations, highest, sum, self.victims.len(), Reverse(earliest), self.node.clone())
    }
}

/// A disruption budget, ready to match.
struct Budget<'a> {
    facts: &'a crate::change::BudgetFacts,
    selector: Selector,
}

impl<'a> Budget<'a> {
    fn all(cluster: &'a Snapshot) -> Vec<Budget<'a>> {
        let ready = |facts: &'a crate::change::BudgetFacts| Budget {
            facts,
            selector: selector_of(facts.selector.as_ref()),
        };
        // An empty selector protects nothing.
        cluster.budgets().map(ready).filter(|b| !b.selector.is_everything()).collect()
    }

    fn protects(&self, pod: &PodFacts) -> bool {
        self.facts.key.namespace == pod.key.namespace
            && !pod.labels.is_empty()
            && self.selector.matches(&pod.labels)
            && !self.facts.disrupted.contains(&pod.key.name)
    }
}

/// Parts pods, in their order, into those whose eviction would break a budget and the others.
fn split_by_budget<'a>(
    pods: &[&'a PodFacts],
    budgets: &[Budget<'_>],
) -> (Vec<&'a PodFacts>, Vec<&'a PodFacts>) {
    let mut allowed: Vec<i32> = budgets.iter().map(|b| b.facts.allowed).collect();
    pods.iter().partition(|pod| {
        let mut breaks = false;
        for (_, allowed) in budgets.iter().zip(&mut allowed).filter(|(b, _)| b.protects(pod)) {
            *allowed -= 1;
            breaks |= *allowed < 0;
        }
        breaks
    })
}
