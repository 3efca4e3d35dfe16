//! What the pods in a node's domains mean to a class of pods, kept up to date as pods come and go: [`Lane`].

use std::collections::BTreeMap;

use orlop_core::{Labels, Name};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::bitset::NodeSet;
use crate::columns::LabelColumn;
use crate::crowds::CrowdId;
use crate::facts::{AffinityTerm, PodFacts, SpreadConstraint};
use crate::framework::Reach;
use crate::plugins::InterPodAffinity;
use crate::plugins::inter_pod_affinity::resolve;
use crate::plugins::pod_topology_spread::{HOSTNAME, Inclusion, counts_for};
use crate::profile::Profile;
use crate::snapshot::{NodeId, Snapshot};

use super::buckets::Axes;

/// What an axis says of a node that lacks the label.
pub(super) const LACKING: i64 = i64::MIN;
/// A label whose values have at most so many nodes each, on average, is narrow.
const NARROW: usize = 8;
/// A label with no more values is not, however few nodes there are.
const FEW: usize = 4;

/// Amounts by domain: one term or constraint, over the values of one label.
pub(super) struct Lane {
    pub(super) rule: Rule,
    key: Name,
    measure: Measure,
    pub(super) axis: usize,
    /// Whether a node's place on the axis is the amount, not the value of the label. For labels with many values: few
    /// nodes change when an amount does.
    narrow: bool,
    /// Whether amounts are by node, whatever the label says.
    by_node: bool,
    amounts: Vec<i64>,
    /// The nodes whose pods count; `None`: all.
    counted: Option<NodeSet>,
    /// What a pod of each crowd adds.
    shares: Vec<i64>,
    /// The nodes of each value, if narrow.
    members: FxHashMap<u32, SmallVec<[NodeId; 2]>>,
    /// The sum of all amounts.
    pub(super) sum: i64,
    /// How many domains have which amount; for hard constraints of spreading.
    fewest: BTreeMap<i64, usize>,
}

/// What amounts mean.
pub(super) enum Rule {
    /// There must be some.
    Near,
    /// There must be none.
    Apart,
    /// More is better.
    Wish,
    /// There must not be more than in others.
    HardSpread { max_skew: i64, min_domains: usize, own: bool },
    /// Less is better.
    SoftSpread { max_skew: i64 },
}

/// How much a pod of a crowd counts.
enum Measure {
    /// As one, if all of these mean it.
    All(Vec<AffinityTerm>),
    /// By how many of its required terms keep the class away.
    Keepers(Name),
    /// By what the class wishes of it, and it of the class.
    Wishes { own: Vec<(i64, AffinityTerm)>, key: Name, hard_weight: i64 },
    /// As one, if it is to be spread.
    Spread(SpreadConstraint),
}

impl Measure {
    fn share(&self, pod: &PodFacts, namespace: Option<&Labels>, other: &PodFacts) -> i64 {
        match self {
            Measure::All(terms) => i64::from(terms.iter().all(|term| term.matches(other, None))),
            Measure::Keepers(key) => {
                let terms = other.anti_affinity.iter().filter(|term| term.topology_key == *key);
                terms.filter(|term| term.matches(pod, namespace)).count() as i64
            }
            Measure::Wishes { own, key, hard_weight } => {
                let mine = own.iter().filter(|(_, term)| term.matches(other, None)).map(|(weight, _)| weight);
                let theirs = wishes_of(other, *hard_weight).filter(|(_, term)| term.topology_key == *key);
                let theirs = theirs.filter(|(_, term)| term.matches(pod, namespace));
                mine.sum::<i64>() + theirs.map(|(weight, _)| weight).sum::<i64>()
            }
            Measure::Spread(constraint) => i64::from(counts_for(pod, constraint, other)),
        }
    }
}

/// What a pod would like of newcomers.
fn wishes_of(pod: &PodFacts, hard_weight: i64) -> impl Iterator<Item = (i64, &AffinityTerm)> {
    let hard = pod.affinity.iter().filter(move |_| hard_weight > 0).map(move |term| (hard_weight, term));
    hard.chain(pod.preferred_affinity.iter().map(|(weight, term)| (*weight, term)))
}

impl Lane {
    fn new(rule: Rule, key: &Name, measure: Measure) -> Lane {
        Lane {
            rule,
            key: key.clone(),
            measure,
            axis: 0,
            narrow: false,
            by_node: false,
            amounts: Vec::new(),
            counted: None,
            shares: Vec::new(),
            members: FxHashMap::default(),
            sum: 0,
            fewest: BTreeMap::new(),
        }
    }

    pub(super) fn is_hard(&self) -> bool {
        !matches!(self.rule, Rule::Wish | Rule::SoftSpread { .. })
    }

    pub(super) fn is_by_node(&self) -> bool {
        self.by_node
    }

    /// Where nodes are on the axis before any pod counts.
    fn start(&self) -> Start {
        Start { key: self.key.clone(), narrow: self.narrow }
    }

    /// Where a node with this value of the label is on the lane's axis, which is narrow.
    fn narrow_place(&self, value: u32, node: NodeId) -> i64 {
        if value == LabelColumn::ABSENT {
            return LACKING;
        }
        let at = if self.by_node { node.index() } else { value as usize };
        self.seen(self.amounts.get(at).copied().unwrap_or(0))
    }

    /// An amount as far as it makes a difference.
    fn seen(&self, amount: i64) -> i64 {
        if matches!(self.rule, Rule::Near | Rule::Apart) { i64::from(amount > 0) } else { amount }
    }

    /// The amount for nodes at a place on the axis; `None` if they lack the label.
    pub(super) fn amount(&self, place: i64) -> Option<i64> {
        if self.narrow {
            return (place != LACKING).then_some(place);
        }
        let value = usize::try_from(place).ok().filter(|value| *value != LabelColumn::ABSENT as usize)?;
        Some(self.amounts.get(value).copied().unwrap_or(0))
    }

    /// The highest amount that a domain may have, the pod itself not among it.
    pub(super) fn limit(&self) -> i64 {
        let Rule::HardSpread { max_skew, min_domains, own } = &self.rule else { return i64::MAX };
        let domains: usize = if *min_domains > 1 { self.fewest.values().sum() } else { self.fewest.len() };
        let fewest = if domains < *min_domains {
            0
        } else {
            self.fewest.first_key_value().map_or(i64::from(i32::MAX), |(n, _)| *n)
        };
        max_skew + fewest - i64::from(*own)
    }

    /// Pods of a crowd came to a node, or left it. `changed` gets the nodes whose place on the axis changes.
    fn count(&mut self, cluster: &Snapshot, node: NodeId, by: i64, changed: &mut Vec<NodeId>) {
        if self.counted.as_ref().is_some_and(|nodes| !nodes.contains(node)) {
            return;
        }
        let at = if self.by_node {
            node.index()
        } else {
            let value = cluster.columns().label(&self.key).map_or(LabelColumn::ABSENT, |c| c.value(node));
            if value == LabelColumn::ABSENT {
                return;
            }
            value as usize
        };
        if at >= self.amounts.len() {
            self.amounts.resize(at + 1, 0);
        }
        let before = self.amounts[at];
        let after = before + by;
        self.amounts[at] = after;
        self.sum += by;
        if matches!(self.rule, Rule::HardSpread { .. }) {
            if let Some(n) = self.fewest.get_mut(&before) {
                *n -= 1;
                if *n == 0 {
                    self.fewest.remove(&before);
                }
            }
            *self.fewest.entry(after).or_insert(0) += 1;
        }
        if self.narrow && self.seen(before) != self.seen(after) {
            if self.by_node {
                changed.push(node);
            } else {
                changed.extend(self.members.get(&(at as u32)).into_iter().flatten());
            }
        }
    }

    /// Lays out axes and amounts for the nodes that are there.
    fn lay_out(&mut self, cluster: &Snapshot) {
        let column = cluster.columns().label(&self.key);
        let values = column.map_or(0, |c| c.bound() - 1);
        let wide = matches!(self.rule, Rule::SoftSpread { .. }) && !self.by_node;
        self.narrow = self.by_node || !wide && values > FEW && values * NARROW >= cluster.len();
        let Some(column) = column else { return };
        if self.by_node {
            return;
        }
        self.amounts = vec![0; column.bound()];
        if self.narrow {
            for node in cluster.node_set().iter() {
                self.members.entry(column.value(node)).or_default().push(node);
            }
        }
        if matches!(self.rule, Rule::HardSpread { .. }) {
            let mut domains = vec![false; column.bound()];
            let nodes = self.counted.as_ref().unwrap_or_else(|| cluster.node_set());
            nodes.iter().for_each(|node| domains[column.value(node) as usize] = true);
            domains[LabelColumn::ABSENT as usize] = false;
            let domains = domains.into_iter().filter(|there| *there).count();
            if domains > 0 {
                self.fewest.insert(0, domains);
            }
        }
    }
}

/// Where nodes are on an axis before any pod counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Start {
    key: Name,
    narrow: bool,
}

impl Start {
    /// The label.
    pub(super) fn column<'a>(&self, cluster: &'a Snapshot) -> Option<&'a LabelColumn> {
        cluster.columns().label(&self.key)
    }

    /// Where a node is.
    pub(super) fn place(&self, column: Option<&LabelColumn>, node: NodeId) -> i64 {
        let value = column.map_or(LabelColumn::ABSENT, |c| c.value(node));
        if self.narrow { lane_start(value != LabelColumn::ABSENT) } else { value.into() }
    }
}

/// Where a node is on a narrow axis before any pod counts.
fn lane_start(has_label: bool) -> i64 {
    if has_label { 0 } else { LACKING }
}

/// All lanes of one class of pods.
pub(super) struct Lanes {
    pub(super) all: Vec<Lane>,
    /// The lanes' axes, the first of all.
    pub(super) starts: Vec<Start>,
    /// How many crowds have been looked at.
    crowds: usize,
    affinity: Option<InterPodAffinity>,
    hard_affinity: bool,
    /// What the total of wishes counts.
    pub(super) wish_weight: i64,
    /// What spreading counts.
    pub(super) spread_weight: i64,
    /// Whether nodes that lack a label score nothing for spreading.
    pub(super) all_labels: bool,
    /// Whether the class's own terms mean the class itself.
    pub(super) means_itself: bool,
    constraints: [Vec<SpreadConstraint>; 2],
}

impl Lanes {
    /// The lanes for pods like `pod`, and the nodes that pods there have moved from where they start.
    pub(super) fn build(pod: &PodFacts, cluster: &Snapshot, profile: &Profile) -> (Lanes, Vec<NodeId>) {
        let mut lanes = Lanes {
            all: Vec::new(),
            starts: Vec::new(),
            crowds: 0,
            affinity: None,
            hard_affinity: false,
            wish_weight: 0,
            spread_weight: 0,
            all_labels: false,
            means_itself: false,
            constraints: constraints(pod, cluster, profile),
        };
        for plugin in &profile.filters {
            match plugin.reach() {
                Reach::Affinity(_) => lanes.add_hard_affinity(pod, cluster),
                Reach::Spread(_) => lanes.add_hard_spread(pod, cluster),
                _ => {}
            }
        }
        for weighted in &profile.scores {
            match weighted.plugin.reach() {
                Reach::Affinity(plugin) => {
                    lanes.wish_weight = weighted.weight;
                    lanes.add_wishes(plugin, pod, cluster);
                }
                Reach::Spread(plugin) => {
                    lanes.spread_weight = weighted.weight;
                    lanes.all_labels = !pod.spread.is_empty() || !plugin.system;
                    lanes.add_soft_spread(pod, cluster);
                }
                _ => {}
            }
        }
        lanes.lay_out(cluster);
        lanes.meet(pod, cluster);
        let mut moved = Vec::new();
        for (id, crowd) in cluster.crowd_rows().iter() {
            for lane in &mut lanes.all {
                let share = lane.shares[id as usize];
                if share != 0 {
                    crowd.by_node().for_each(|(node, n)| lane.count(cluster, node, n * share, &mut moved));
                }
            }
        }
        (lanes, moved)
    }

    fn lay_out(&mut self, cluster: &Snapshot) {
        for lane in &mut self.all {
            lane.lay_out(cluster);
            let start = lane.start();
            // Lanes over one label share its axis, unless the axis tells amounts.
            let shared = self.starts.iter().position(|other| !lane.narrow && *other == start);
            lane.axis = shared.unwrap_or(self.starts.len());
            if shared.is_none() {
                self.starts.push(start);
            }
        }
    }

    fn add_hard_affinity(&mut self, pod: &PodFacts, cluster: &Snapshot) {
        self.hard_affinity = true;
        let near: Vec<AffinityTerm> = pod.affinity.iter().map(|t| resolve(t, cluster)).collect();
        self.means_itself = !near.is_empty() && near.iter().all(|term| term.matches(pod, None));
        for term in &near {
            self.all.push(Lane::new(Rule::Near, &term.topology_key, Measure::All(near.clone())));
        }
        for term in pod.anti_affinity.iter().map(|t| resolve(t, cluster)) {
            let key = term.topology_key.clone();
            self.all.push(Lane::new(Rule::Apart, &key, Measure::All(vec![term])));
        }
        let namespace = cluster.namespace(&pod.key.namespace);
        let mut keys: Vec<&Name> = Vec::new();
        for crowd in cluster.crowd_rows().choosy() {
            keys.extend(keepers(crowd.sample(), pod, namespace));
        }
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            self.all.push(Lane::new(Rule::Apart, key, Measure::Keepers(key.clone())));
        }
    }

    fn add_wishes(&mut self, plugin: &InterPodAffinity, pod: &PodFacts, cluster: &Snapshot) {
        if plugin.ignore_preferred_of_existing && pod.preferred_affinity.is_empty() {
            return;
        }
        self.affinity = Some(plugin.clone());
        let own: Vec<(i64, AffinityTerm)> =
            pod.preferred_affinity.iter().map(|(weight, term)| (*weight, resolve(term, cluster))).collect();
        let namespace = cluster.namespace(&pod.key.namespace);
        let mut keys: Vec<&Name> = own.iter().map(|(_, term)| &term.topology_key).collect();
        for crowd in cluster.crowd_rows().choosy() {
            let theirs = wishes_of(crowd.sample(), plugin.hard_weight);
            keys.extend(theirs.filter(|(_, t)| t.matches(pod, namespace)).map(|(_, t)| &t.topology_key));
        }
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let own = own.iter().filter(|(_, term)| term.topology_key == *key).cloned().collect();
            let measure = Measure::Wishes { own, key: key.clone(), hard_weight: plugin.hard_weight };
            self.all.push(Lane::new(Rule::Wish, key, measure));
        }
    }

    fn add_hard_spread(&mut self, pod: &PodFacts, cluster: &Snapshot) {
        let constraints = &self.constraints[0];
        let inclusion = Inclusion::new(pod);
        for c in constraints {
            let own = c.selector.matches(&pod.labels);
            let rule = Rule::HardSpread { max_skew: c.max_skew, min_domains: c.min_domains, own };
            let mut lane = Lane::new(rule, &c.topology_key, Measure::Spread(c.clone()));
            lane.counted = inclusion.nodes(c, Some(constraints), cluster);
            self.all.push(lane);
        }
    }

    fn add_soft_spread(&mut self, pod: &PodFacts, cluster: &Snapshot) {
        let constraints = &self.constraints[1];
        let inclusion = Inclusion::new(pod);
        for c in constraints {
            let rule = Rule::SoftSpread { max_skew: c.max_skew };
            let mut lane = Lane::new(rule, &c.topology_key, Measure::Spread(c.clone()));
            if c.topology_key == HOSTNAME {
                lane.by_node = true;
            } else {
                lane.counted = inclusion.nodes(c, Some(constraints).filter(|_| self.all_labels), cluster);
            }
            self.all.push(lane);
        }
    }

    /// The label of each lane.
    pub(super) fn columns<'a>(&self, cluster: &'a Snapshot) -> SmallVec<[Option<&'a LabelColumn>; 4]> {
        self.all.iter().map(|lane| cluster.columns().label(&lane.key)).collect()
    }

    /// Puts a node where pods have moved it to. Answers whether that is elsewhere than where it starts.
    pub(super) fn settle(&self, columns: &[Option<&LabelColumn>], node: NodeId, axes: &mut Axes) -> bool {
        let mut moved = false;
        for (lane, column) in self.all.iter().zip(columns).filter(|(lane, _)| lane.narrow) {
            let value = column.map_or(LabelColumn::ABSENT, |c| c.value(node));
            let place = lane.narrow_place(value, node);
            moved |= place != lane_start(value != LabelColumn::ABSENT);
            axes[lane.axis] = place;
        }
        moved
    }

    /// Whether what selects pods still means the same to pods like `pod`.
    pub(super) fn still_hold(&self, pod: &PodFacts, cluster: &Snapshot, profile: &Profile) -> bool {
        constraints(pod, cluster, profile) == self.constraints
    }

    /// Looks at crowds that are new. Answers `false` if one of them brings a label that has no lane.
    fn meet(&mut self, pod: &PodFacts, cluster: &Snapshot) -> bool {
        let rows = cluster.crowd_rows();
        let namespace = cluster.namespace(&pod.key.namespace);
        for id in self.crowds..rows.len() {
            let crowd = rows.get(id as CrowdId);
            let other = crowd.sample();
            if crowd.is_choosy() && self.is_strange(other, pod, namespace) {
                return false;
            }
            for lane in &mut self.all {
                lane.shares.push(lane.measure.share(pod, namespace, other));
            }
        }
        self.crowds = rows.len();
        true
    }

    fn is_strange(&self, other: &PodFacts, pod: &PodFacts, namespace: Option<&Labels>) -> bool {
        let has = |is: &dyn Fn(&Measure) -> bool| self.all.iter().any(|lane| is(&lane.measure));
        if self.hard_affinity
            && keepers(other, pod, namespace)
                .any(|key| !has(&|m| matches!(m, Measure::Keepers(known) if known == key)))
        {
            return true;
        }
        self.affinity.as_ref().is_some_and(|plugin| {
            wishes_of(other, plugin.hard_weight).any(|(_, term)| {
                let known =
                    |m: &Measure| matches!(m, Measure::Wishes { key, .. } if *key == term.topology_key);
                term.matches(pod, namespace) && !has(&known)
            })
        })
    }

    /// A pod came to a node, or left it. Answers `false` if the lanes must be laid out anew.
    pub(super) fn count(
        &mut self,
        pod: &PodFacts,
        cluster: &Snapshot,
        (node, crowd, by): (NodeId, CrowdId, i64),
        changed: &mut Vec<NodeId>,
    ) -> bool {
        if crowd as usize >= self.crowds && !self.meet(pod, cluster) {
            return false;
        }
        for lane in &mut self.all {
            let share = lane.shares[crowd as usize];
            if share != 0 {
                lane.count(cluster, node, by * share, changed);
            }
        }
        true
    }
}

/// The labels of the terms that keep pods like `pod` away from `other`.
fn keepers<'a>(
    other: &'a PodFacts,
    pod: &PodFacts,
    namespace: Option<&Labels>,
) -> impl Iterator<Item = &'a Name> {
    other.anti_affinity.iter().filter(move |term| term.matches(pod, namespace)).map(|term| &term.topology_key)
}

/// The hard and the soft constraints of spreading.
fn constraints(pod: &PodFacts, cluster: &Snapshot, profile: &Profile) -> [Vec<SpreadConstraint>; 2] {
    let hard = profile.filters.iter().find_map(|plugin| match plugin.reach() {
        Reach::Spread(plugin) => Some(plugin.constraints(pod, cluster, true)),
        _ => None,
    });
    let soft = profile.scores.iter().find_map(|weighted| match weighted.plugin.reach() {
        Reach::Spread(plugin) => Some(plugin.constraints(pod, cluster, false)),
        _ => None,
    });
    [hard.unwrap_or_default(), soft.unwrap_or_default()]
}
