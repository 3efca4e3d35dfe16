//! The laws: what must hold for every plugin, whatever the cluster.

mod filters;
mod queueing;
mod reserving;
mod scoring;
mod whole;

use std::collections::BTreeMap;
use std::fmt;

use orlop_core::{Key, Name};

use super::notation::Scene;
use crate::facts::{NodeFacts, PodFacts};
use crate::framework::{Code, PreFilter, Prepared, Refusal, Verdict};
use crate::profile::{Profile, Weighted};
use crate::schedule::guarded;
use crate::snapshot::{NodeView, Snapshot};

/// A law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Law {
    /// No plugin panics.
    Answers,
    /// The same question has the same answer.
    Deterministic,
    /// The order in which nodes and pods came is irrelevant.
    OrderIsIrrelevant,
    /// Looking at all nodes at once and at one after the other is the same.
    ColumnsAgree,
    /// A predicate depends only on what it declares.
    DependsOnWhatItDeclares,
    /// Scores are within bounds after normalisation.
    ScoresInBounds,
    /// What is placed never asks for more than there is.
    NeverOverCommits,
    /// A pod that fits an empty cluster is never refused by it.
    FitsEmptyCluster,
    /// More capacity never makes a feasible pod infeasible, for predicates that claim so.
    Monotone,
    /// Reserving and taking it back leaves no trace.
    LeavesNoTrace,
    /// A refused pod is tried again when the cause of the refusal goes.
    RetriedWhenCured,
}

impl Law {
    /// Every law.
    pub const ALL: [Law; 11] = [
        Law::Answers,
        Law::Deterministic,
        Law::OrderIsIrrelevant,
        Law::ColumnsAgree,
        Law::DependsOnWhatItDeclares,
        Law::ScoresInBounds,
        Law::NeverOverCommits,
        Law::FitsEmptyCluster,
        Law::Monotone,
        Law::LeavesNoTrace,
        Law::RetriedWhenCured,
    ];

    fn check(self) -> fn(&Trial<'_>) -> Result<(), Broken> {
        match self {
            Law::Answers => whole::answers,
            Law::Deterministic => whole::deterministic,
            Law::OrderIsIrrelevant => whole::order_is_irrelevant,
            Law::ColumnsAgree => scoring::columns_agree,
            Law::DependsOnWhatItDeclares => filters::depends_on_what_it_declares,
            Law::ScoresInBounds => scoring::in_bounds,
            Law::NeverOverCommits => whole::never_over_commits,
            Law::FitsEmptyCluster => filters::fits_empty_cluster,
            Law::Monotone => filters::monotone,
            Law::LeavesNoTrace => reserving::leaves_no_trace,
            Law::RetriedWhenCured => queueing::retried_when_cured,
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Law::Answers => "it answers without panicking",
            Law::Deterministic => "the same question has the same answer",
            Law::OrderIsIrrelevant => "the order of nodes and pods is irrelevant",
            Law::ColumnsAgree => "all nodes at once and one after the other are the same",
            Law::DependsOnWhatItDeclares => "a filter depends only on what it declares",
            Law::ScoresInBounds => "scores are within 0 and 100 after normalisation",
            Law::NeverOverCommits => "what is placed never asks for more than there is",
            Law::FitsEmptyCluster => "a pod that fits an empty cluster is never rejected by it",
            Law::Monotone => "adding capacity never makes a feasible pod infeasible",
            Law::LeavesNoTrace => "reserve followed by unreserve leaves no trace",
            Law::RetriedWhenCured => "every rejected pod is retried when its cause goes",
        })
    }
}

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The law.
    pub law: Law,
    /// The plugin that breaks it.
    pub plugin: Name,
    /// The pod in question.
    pub pod: Key,
    /// What happened.
    pub what: String,
}

/// Whether a pod should not be expected to fit a node, though nothing that Kubernetes knows of keeps it off.
pub(super) type Exempt = dyn Fn(&PodFacts, &NodeFacts) -> bool + Send + Sync;

/// One scene to try a profile on.
pub(super) struct Trial<'a> {
    pub(super) profile: &'a Profile,
    /// The plugin that is tried; `None`: all of the profile.
    pub(super) only: Option<&'a str>,
    pub(super) scene: &'a Scene,
    pub(super) seed: u64,
    pub(super) exempt: &'a Exempt,
    /// The scene's cluster, and the same built up in the opposite order.
    cluster: Snapshot,
    backwards: Snapshot,
    pods: Vec<PodFacts>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        profile: &'a Profile,
        only: Option<&'a str>,
        scene: &'a Scene,
        seed: u64,
        exempt: &'a Exempt,
    ) -> Trial<'a> {
        let (cluster, backwards) = scene.both_ways();
        Trial { profile, only, scene, seed, exempt, cluster, backwards, pods: scene.pending() }
    }

    /// Tries all of `laws`.
    pub(super) fn run(&self, laws: &[Law]) -> Result<(), Broken> {
        laws.iter().try_for_each(|law| law.check()(self))
    }

    fn meant(&self, name: &str) -> bool {
        self.only.is_none_or(|only| only == name)
    }

    fn filters(&self) -> impl Iterator<Item = &'a dyn PreFilter> {
        let profile = self.profile;
        profile.filters.iter().map(|p| &**p).filter(|p| self.meant(p.name()))
    }

    fn scores(&self) -> impl Iterator<Item = &'a Weighted> {
        let profile = self.profile;
        profile.scores.iter().filter(|p| self.meant(p.plugin.name()))
    }

    fn broken(&self, law: Law, plugin: &str, pod: &PodFacts, what: impl Into<String>) -> Broken {
        Broken { law, plugin: Name::from(plugin), pod: pod.key.clone(), what: what.into() }
    }
}

/// What a predicate says of every node, however it says it.
fn verdicts(plugin: &dyn PreFilter, pod: &PodFacts, cluster: &Snapshot) -> BTreeMap<Name, Verdict> {
    verdicts_of(plugin, pod, cluster, &cluster.nodes().collect::<Vec<_>>()).into_iter().collect()
}

/// The same of one node, which is there.
fn verdict(plugin: &dyn PreFilter, pod: &PodFacts, cluster: &Snapshot, node: &str) -> Verdict {
    let said = verdicts_of(plugin, pod, cluster, cluster.node(node).as_slice());
    said.into_iter().next().map_or(Verdict::Fits, |(_, verdict)| verdict)
}

fn verdicts_of(
    plugin: &dyn PreFilter,
    pod: &PodFacts,
    cluster: &Snapshot,
    nodes: &[NodeView<'_>],
) -> Vec<(Name, Verdict)> {
    let each =
        |say: &dyn Fn(&NodeView<'_>) -> Verdict| nodes.iter().map(|n| (n.name().clone(), say(n))).collect();
    let said = guarded(plugin.name(), || match plugin.pre_filter(pod, cluster) {
        Prepared::Skip => each(&|_| Verdict::Fits),
        Prepared::Refuse(refusal) => each(&|_| Verdict::Refuses(refusal.clone())),
        Prepared::Ready(predicate) => each(&|n| predicate.filter(n)),
        Prepared::Only(only, predicate) => each(&|n| match only.contains(n.id()) {
            true => predicate.filter(n),
            false => Verdict::refuse_firmly("left out while preparing"),
        }),
    });
    // A panic is another law's; here it refuses.
    said.unwrap_or_else(|fault| {
        let refusal = Refusal::new(Code::UnschedulableAndUnresolvable, fault.to_string());
        each(&|_| Verdict::Refuses(refusal.clone()))
    })
}

/// The first node of which two rounds of verdicts differ, with both.
fn difference(before: &BTreeMap<Name, Verdict>, after: &BTreeMap<Name, Verdict>) -> Option<String> {
    before.iter().find_map(|(node, verdict)| {
        let other = after.get(node)?;
        (verdict != other).then(|| format!("node {node}: first {}, then {}", say(verdict), say(other)))
    })
}

fn say(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Fits => "it fits".to_owned(),
        Verdict::Refuses(refusal) => format!("{:?}", refusal.reasons.join(", ")),
    }
}
