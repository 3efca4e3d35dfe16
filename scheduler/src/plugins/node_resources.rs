//! NodeResourcesFit: keeps pods off nodes that lack what they ask for, and prefers nodes by how full they are.
//! NodeResourcesBalancedAllocation: prefers nodes whose resources the pod
//! makes to be used more evenly.

use std::borrow::Cow;

use orlop_core::Name;
use smallvec::SmallVec;

use crate::bitset::NodeSet;
use crate::columns::Columns;
use crate::facts::PodFacts;
use crate::framework::{
    Code, Depends, MAX_SCORE, PreFilter, PreScore, Predicate, Prepared, Priority, Reach, Reason, Refusal,
    Verdict,
};
use crate::resources::Resources;
use crate::snapshot::{NodeId, NodeView, Snapshot};

/// NodeResourcesFit.
#[derive(Clone, Debug)]
pub struct Fit {
    /// What a good node is.
    pub strategy: Strategy,
    /// The resources that count for the score, with their weights.
    pub resources: Vec<(Name, i64)>,
    /// Resources that nodes need not have: somebody else sees to them.
    pub ignored: Vec<Name>,
    /// The same of all resources with these prefixes: what stands before the `/`.
    pub ignored_groups: Vec<Name>,
}

/// What a good node is to [`Fit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One with much left.
    LeastAllocated,
    /// One with little left.
    MostAllocated,
    /// As a curve says: points of (percent used, score 0 to 10), ascending, with straight lines between.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

impl Default for Fit {
    /// Least allocated, CPU and memory alike.
    fn default() -> Fit {
        Fit {
            strategy: Strategy::LeastAllocated,
            resources: cpu_and_memory(),
            ignored: Vec::new(),
            ignored_groups: Vec::new(),
        }
    }
}

fn cpu_and_memory() -> Vec<(Name, i64)> {
    vec![(Name::new_static("cpu"), 1), (Name::new_static("memory"), 1)]
}

impl PreFilter for Fit {
    fn name(&self) -> &str {
        "NodeResourcesFit"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Snapshot) -> Prepared<'a> {
        Prepared::ready(Wanted(self.counted(&pod.requests)))
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_CAPACITY.and(Depends::PODS_THERE)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

impl Fit {
    /// What of the requests counts.
    fn counted<'a>(&self, requests: &'a Resources) -> Cow<'a, Resources> {
        let ignored = |name: &Name| {
            let group = name.split_once('/').map(|(group, _)| group);
            self.ignored.contains(name) || group.is_some_and(|g| self.ignored_groups.iter().any(|i| i == g))
        };
        if !requests.others.iter().any(|(name, _)| ignored(name)) {
            return Cow::Borrowed(requests);
        }
        let mut counted = requests.clone();
        counted.others.retain(|(name, _)| !ignored(name));
        Cow::Owned(counted)
    }
}

struct Wanted<'a>(Cow<'a, Resources>);

/// What a pod asks for of each resource that it asks anything of, in the order in which people read it.
fn wanted(requests: &Resources) -> impl Iterator<Item = (&str, i64)> {
    [
        ("cpu", requests.cpu_milli),
        ("memory", requests.memory),
        ("ephemeral-storage", requests.ephemeral_storage),
    ]
    .into_iter()
    .chain(requests.others.iter().map(|(name, amount)| (name.as_str(), *amount)))
    .filter(|(_, amount)| *amount > 0)
}

/// An amount as people write it.
fn as_text(resource: &str, amount: i64) -> String {
    const MI: i64 = 1 << 20;
    match resource {
        "cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "cpu" => format!("{amount}m"),
        "memory" | "ephemeral-storage" if amount != 0 && amount % (MI << 10) == 0 => {
            format!("{}Gi", amount / (MI << 10))
        }
        "memory" | "ephemeral-storage" if amount != 0 && amount % MI == 0 => format!("{}Mi", amount / MI),
        _ => amount.to_string(),
    }
}

impl Predicate for Wanted<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        let mut code = Code::Unschedulable;
        let mut reasons: SmallVec<[Reason; 1]> = SmallVec::new();
        if node.pod_count() + 1 > node.facts().pods {
            reasons.push("Too many pods".into());
        }
        for (resource, amount) in wanted(&self.0) {
            let allocatable = node.allocatable(resource);
            if amount > allocatable - node.requested(resource) {
                reasons.push(format!("Insufficient {resource}").into());
                if amount > allocatable {
                    code = Code::UnschedulableAndUnresolvable;
                }
            }
        }
        Verdict::fits_or(reasons.is_empty(), || Verdict::Refuses(Refusal { code, reasons }))
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let mut lacks = Vec::new();
        if node.pod_count() + 1 > node.facts().pods {
            lacks.push(format!("one of its {} pods must go", node.facts().pods));
        }
        for (resource, wanted) in wanted(&self.0) {
            let (free, all) = (node.free(resource), node.allocatable(resource));
            let say = |n| as_text(resource, n);
            if wanted > all {
                lacks.push(format!(
                    "{resource}: {} asked for, the node has {} in all",
                    say(wanted),
                    say(all)
                ));
            } else if wanted > free {
                lacks.push(format!(
                    "{resource}: {} asked for, {} of {} free, {} more needed",
                    say(wanted),
                    say(free),
                    say(all),
                    say(wanted - free)
                ));
            }
        }
        Some(lacks.join("; "))
    }

    fn fits(&self, node: &NodeView<'_>) -> bool {
        node.pod_count() < node.facts().pods && node.has_room_for(&self.0)
    }

    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        let columns = cluster.columns();
        let (counts, limits) = (columns.pod_counts(), columns.pod_limits());
        nodes.retain(|node| counts[node.index()] < limits[node.index()]);
        for (resource, amount) in wanted(&self.0) {
            let Some(resource) = columns.resource(resource) else {
                *nodes = NodeSet::new();
                return;
            };
            let (allocatable, requested) = (columns.allocatable(resource), columns.requested(resource));
            nodes.retain(|node| amount <= allocatable[node.index()] - requested[node.index()]);
        }
    }
}

impl PreScore for Fit {
    fn name(&self) -> &str {
        "NodeResourcesFit"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        _: &'a Snapshot,
        _: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        Some(Box::new(Fullness { plugin: self, pod }))
    }
}

struct Fullness<'a> {
    plugin: &'a Fit,
    pod: &'a PodFacts,
}

/// Whether nodes' resources other than these count only for pods that ask for them.
fn is_scalar(resource: &str) -> bool {
    !matches!(resource, "cpu" | "memory" | "ephemeral-storage")
}

impl Fullness<'_> {
    /// The pod's own part of a resource, as the strategy counts it.
    fn own(&self, resource: &str) -> i64 {
        match self.plugin.strategy {
            Strategy::RequestedToCapacityRatio(_) => self.pod.requests.get(resource),
            _ => self.pod.scored_requests.get(resource),
        }
    }

    fn points(&self, used: i64, allocatable: i64) -> i64 {
        match &self.plugin.strategy {
            Strategy::LeastAllocated if used > allocatable => 0,
            Strategy::LeastAllocated => (allocatable - used) * MAX_SCORE / allocatable,
            Strategy::MostAllocated => used.min(allocatable) * MAX_SCORE / allocatable,
            Strategy::RequestedToCapacityRatio(curve) => {
                let percent = if used > allocatable { 100 } else { used * 100 / allocatable };
                on_curve(curve, percent)
            }
        }
    }

    fn combine(&self, amounts: impl Iterator<Item = (i64, i64, i64)>) -> i64 {
        let ratio = matches!(self.plugin.strategy, Strategy::RequestedToCapacityRatio(_));
        let (mut sum, mut weights) = (0, 0);
        for (used, allocatable, weight) in amounts.filter(|(_, allocatable, _)| *allocatable != 0) {
            let points = self.points(used, allocatable);
            // A resource that scores nothing on the curve does not count at all.
            if !ratio || points > 0 {
                sum += points * weight;
                weights += weight;
            }
        }
        match (weights, ratio) {
            (0, _) => 0,
            (_, true) => (sum as f64 / weights as f64).round() as i64,
            (_, false) => sum / weights,
        }
    }

    fn counts_requests(&self) -> bool {
        matches!(self.plugin.strategy, Strategy::RequestedToCapacityRatio(_))
    }
}

/// The value at `x` of a curve given by its corners, scaled from 10 to [`MAX_SCORE`].
fn on_curve(curve: &[(i64, i64)], x: i64) -> i64 {
    let scaled = |y: i64| y * (MAX_SCORE / 10);
    let Some(next) = curve.iter().position(|(at, _)| x <= *at) else {
        return curve.last().map_or(0, |(_, y)| scaled(*y));
    };
    if next == 0 {
        return scaled(curve[0].1);
    }
    let ((x0, y0), (x1, y1)) = (curve[next - 1], curve[next]);
    scaled(y0) + (scaled(y1) - scaled(y0)) * (x - x0) / (x1 - x0)
}

impl Priority for Fullness<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        let (cpu, memory) = node.scored_usage();
        self.combine(self.plugin.resources.iter().map(|(name, weight)| {
            let own = self.own(name);
            if own == 0 && is_scalar(name) {
                return (0, 0, *weight);
            }
            let used = match name.as_str() {
                "cpu" if !self.counts_requests() => cpu,
                "memory" if !self.counts_requests() => memory,
                other => node.requested(other),
            };
            (used + own, node.allocatable(name), *weight)
        }))
    }

    fn score_all(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        let columns = cluster.columns();
        let lanes: SmallVec<[Lane<'_>; 4]> = self
            .plugin
            .resources
            .iter()
            .filter_map(|(name, weight)| {
                let own = self.own(name);
                if own == 0 && is_scalar(name) {
                    return None;
                }
                Lane::of(columns, name, own, *weight, !self.counts_requests())
            })
            .collect();
        for (node, score) in nodes.iter().zip(scores) {
            let at = node.index();
            *score = self.combine(lanes.iter().map(|l| (l.used[at] + l.own, l.allocatable[at], l.weight)));
        }
    }
}

/// One resource over all nodes, with the pod's own part.
struct Lane<'a> {
    used: &'a [i64],
    allocatable: &'a [i64],
    own: i64,
    weight: i64,
}

impl<'a> Lane<'a> {
    fn of(columns: &'a Columns, name: &str, own: i64, weight: i64, with_unsaid: bool) -> Option<Lane<'a>> {
        let id = columns.resource(name)?;
        let (cpu, memory) = columns.scored_usage();
        let used = match name {
            "cpu" if with_unsaid => cpu,
            "memory" if with_unsaid => memory,
            _ => columns.requested(id),
        };
        Some(Lane { used, allocatable: columns.allocatable(id), own, weight })
    }
}

/// NodeResourcesBalancedAllocation.
#[derive(Clone, Debug)]
pub struct BalancedAllocation {
    /// The resources that count.
    pub resources: Vec<Name>,
}

impl Default for BalancedAllocation {
    /// CPU and memory.
    fn default() -> BalancedAllocation {
        BalancedAllocation { resources: cpu_and_memory().into_iter().map(|(name, _)| name).collect() }
    }
}

impl PreScore for BalancedAllocation {
    fn name(&self) -> &str {
        "NodeResourcesBalancedAllocation"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        _: &'a Snapshot,
        _: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        let asks = self.resources.iter().any(|name| pod.requests.get(name) != 0);
        asks.then(|| Box::new(Balance { plugin: self, pod }) as Box<dyn Priority>)
    }
}

struct Balance<'a> {
    plugin: &'a BalancedAllocation,
    pod: &'a PodFacts,
}

/// How far apart the used fractions are: their standard deviation.
fn imbalance(fractions: &[f64]) -> f64 {
    match fractions {
        [] | [_] => 0.0,
        [a, b] => ((a - b) / 2.0).abs(),
        many => {
            let mean = many.iter().sum::<f64>() / many.len() as f64;
            let sum = many.iter().fold(0.0, |sum, f| sum + (f - mean) * (f - mean));
            (sum / many.len() as f64).sqrt()
        }
    }
}

/// How evenly a node's resources are used, 50 to 100, given pairs of used and allocatable.
fn evenness(amounts: impl Iterator<Item = (i64, i64)>) -> i64 {
    let fractions: SmallVec<[f64; 4]> = amounts
        .filter(|(_, allocatable)| *allocatable != 0)
        .map(|(used, allocatable)| (used as f64 / allocatable as f64).min(1.0))
        .collect();
    ((1.0 - imbalance(&fractions)) * MAX_SCORE as f64) as i64
}

/// The score of a node by how much more evenly its resources are used with the pod than without: 75 if the pod makes no
/// difference.
fn balance(amounts: impl Iterator<Item = (i64, i64, i64)> + Clone) -> i64 {
    let without = evenness(amounts.clone().map(|(used, _, allocatable)| (used, allocatable)));
    let with = evenness(amounts.map(|(used, own, allocatable)| (used + own, allocatable)));
    (MAX_SCORE + MAX_SCORE / 2 + with - without) / 2
}

impl Priority for Balance<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        balance(self.plugin.resources.iter().map(|name| {
            let own = self.pod.requests.get(name);
            match own == 0 && is_scalar(name) {
                true => (0, 0, 0),
                false => (node.requested(name), own, node.allocatable(name)),
            }
        }))
    }

    fn score_all(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        let lanes: SmallVec<[Lane<'_>; 4]> = self
            .plugin
            .resources
            .iter()
            .filter_map(|name| {
                let own = self.pod.requests.get(name);
                if own == 0 && is_scalar(name) {
                    None
                } else {
                    Lane::of(cluster.columns(), name, own, 1, false)
                }
            })
            .collect();
        for (node, score) in nodes.iter().zip(scores) {
            let at = node.index();
            *score = balance(lanes.iter().map(|l| (l.used[at], l.own, l.allocatable[at])));
        }
    }
}
