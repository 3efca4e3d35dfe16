//! The cluster as decisions see it: [`Snapshot`], columns over nodes that are kept up to date change by change.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::{Key, Name};
use rustc_hash::FxHashMap;

use crate::bitset::NodeSet;
use crate::change::Change;
use crate::columns::Columns;
use crate::crowds::{Crowd, CrowdId, Crowds};
use crate::facts::{NodeFacts, PodFacts};
use crate::journal::{Journal, Touch};
use crate::others::Others;

pub use crate::view::{Delta, NodeView};

/// A node's place in the columns of one snapshot. Reused after the node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    pub(crate) fn new(index: usize) -> NodeId {
        NodeId(u32::try_from(index).expect("a cluster has fewer than 2^32 nodes"))
    }

    /// The index into columns.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A bound or assumed pod's place in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId(u32);

impl PodId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Nodes, the pods on them, and what else decisions depend on.
///
/// [`Snapshot::apply`] takes one change; the result equals, for every decision, a snapshot that was built anew from
/// the same facts. Pods that are not assigned to a node are not part of it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: Vec<Option<NodeRow>>,
    free_nodes: Vec<NodeId>,
    by_name: BTreeMap<Name, NodeId>,
    columns: Columns,
    pods: Vec<Option<PodRow>>,
    free_pods: Vec<PodId>,
    by_key: FxHashMap<Key, PodId>,
    /// Pods bound to a node that is not here (yet).
    stray: FxHashMap<Name, Vec<PodId>>,
    crowds: Crowds,
    journal: Journal,
    nominated: BTreeMap<Key, Arc<PodFacts>>,
    /// The same, by node.
    awaited: FxHashMap<Name, Vec<Arc<PodFacts>>>,
    pub(crate) others: Others,
    /// How many assigned pods of each group are on nodes that are here.
    members: FxHashMap<Key, usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct NodeRow {
    pub(crate) facts: Arc<NodeFacts>,
    pub(crate) pods: Vec<PodId>,
}

#[derive(Clone, Debug)]
struct PodRow {
    facts: Arc<PodFacts>,
    node: Option<NodeId>,
    crowd: CrowdId,
}

impl Snapshot {
    /// A cluster without nodes.
    pub fn new() -> Snapshot {
        Snapshot::default()
    }

    /// Takes one change in.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Node(facts) => self.put_node(facts),
            Change::NodeGone(name) => self.remove_node(&name),
            Change::Pod(facts) => self.put_pod(Arc::new(facts)),
            Change::PodGone(key) => self.remove_pod(&key),
            other => {
                self.take_other(other);
            }
        }
    }

    /// Takes in a change of something other than nodes and pods. Answers whether that changed anything.
    pub(crate) fn take_other(&mut self, change: Change) -> bool {
        let counter = match &change {
            Change::Namespace(..) | Change::NamespaceGone(_) => Some(&mut self.journal.terms),
            Change::Workload(_) | Change::WorkloadGone(..) => Some(&mut self.journal.selectors),
            Change::Budget(_) | Change::BudgetGone(_) => Some(&mut self.journal.budgets),
            _ => None,
        };
        let changed = self.others.apply(change);
        if let Some(counter) = counter.filter(|_| changed) {
            *counter += 1;
        }
        changed
    }

    /// A pod came to a node that is here, or left it.
    fn count(&mut self, facts: &PodFacts, node: NodeId, crowd: CrowdId, came: bool) {
        self.columns.account(node, facts, if came { 1 } else { -1 });
        self.crowds.count(crowd, node, came);
        let Some(group) = facts.group_key() else { return };
        if came {
            *self.members.entry(group).or_default() += 1;
        } else if let Some(n) = self.members.get_mut(&group) {
            *n -= 1;
            if *n == 0 {
                self.members.remove(&group);
            }
        }
    }

    fn put_node(&mut self, facts: NodeFacts) {
        let facts = Arc::new(facts);
        if let Some(&id) = self.by_name.get(&facts.name) {
            let row = self.nodes[id.index()].as_mut().expect("a named node has a row");
            if row.facts == facts {
                return;
            }
            self.journal.layout +=
                u64::from(row.facts.labels != facts.labels || row.facts.taints != facts.taints);
            self.columns.describe(id, Some(&row.facts), Some(&facts));
            row.facts = facts;
            self.note(Touch::Node(id));
            return;
        }
        let id = self.free_nodes.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            NodeId::new(self.nodes.len() - 1)
        });
        self.columns.describe(id, None, Some(&facts));
        self.by_name.insert(facts.name.clone(), id);
        let pods = self.stray.remove(&facts.name).unwrap_or_default();
        for pod in &pods {
            let row = self.pods[pod.index()].as_mut().expect("a stray pod has a row");
            row.node = Some(id);
            let (pod, crowd) = (row.facts.clone(), row.crowd);
            self.count(&pod, id, crowd, true);
        }
        self.nodes[id.index()] = Some(NodeRow { facts, pods });
        self.journal.layout += 1;
    }

    fn remove_node(&mut self, name: &str) {
        let Some(id) = self.by_name.remove(name) else { return };
        let row = self.nodes[id.index()].take().expect("a named node has a row");
        for pod in &row.pods {
            let row = self.pods[pod.index()].as_mut().expect("a node's pod has a row");
            row.node = None;
            let (pod, crowd) = (row.facts.clone(), row.crowd);
            self.count(&pod, id, crowd, false);
        }
        if !row.pods.is_empty() {
            self.stray.insert(row.facts.name.clone(), row.pods);
        }
        self.columns.describe(id, Some(&row.facts), None);
        self.free_nodes.push(id);
        self.journal.layout += 1;
    }

    fn note(&mut self, touch: Touch) {
        // Who has not looked for as many changes as there are nodes looks at all of them anew.
        self.journal.note(touch, self.nodes.len().max(1_024));
    }

    /// Takes in a pod as it is now. One that holds no place on a node is forgotten.
    pub(crate) fn put_pod(&mut self, facts: Arc<PodFacts>) {
        if facts.is_assigned() {
            self.forget_nomination(&facts.key);
        }
        if let Some(id) = self.by_key.get(&facts.key) {
            if let Some(row) = &mut self.pods[id.index()]
                && *row.facts == *facts
            {
                row.facts = facts;
                return;
            }
            self.remove_pod_row(&facts.key);
        }
        if !facts.is_assigned() {
            return;
        }
        let id = self.free_pods.pop().unwrap_or_else(|| {
            self.pods.push(None);
            PodId(u32::try_from(self.pods.len() - 1).expect("a cluster has fewer than 2^32 pods"))
        });
        let node = self.by_name.get(&facts.node).copied();
        let crowd = self.crowds.join(&facts);
        match node {
            Some(node) => {
                self.count(&facts, node, crowd, true);
                self.nodes[node.index()].as_mut().expect("a named node has a row").pods.push(id);
                self.note(Touch::Pod { node, crowd, by: 1 });
            }
            None => self.stray.entry(facts.node.clone()).or_default().push(id),
        }
        self.by_key.insert(facts.key.clone(), id);
        self.pods[id.index()] = Some(PodRow { facts, node, crowd });
    }

    fn remove_pod(&mut self, key: &Key) {
        self.forget_nomination(key);
        self.remove_pod_row(key);
    }

    fn remove_pod_row(&mut self, key: &Key) {
        let Some(id) = self.by_key.remove(key) else { return };
        let PodRow { facts, node, crowd } = self.pods[id.index()].take().expect("a known pod has a row");
        let siblings = match node {
            Some(node) => {
                self.count(&facts, node, crowd, false);
                self.note(Touch::Pod { node, crowd, by: -1 });
                &mut self.nodes[node.index()].as_mut().expect("a pod's node has a row").pods
            }
            None => self.stray.entry(facts.node.clone()).or_default(),
        };
        siblings.retain(|pod| *pod != id);
        if siblings.is_empty() && node.is_none() {
            self.stray.remove(&facts.node);
        }
        self.free_pods.push(id);
        self.crowds.leave(crowd);
        if self.crowds.is_sparse() {
            let numbers = self.crowds.renumber();
            for row in self.pods.iter_mut().flatten() {
                row.crowd = numbers[row.crowd as usize];
            }
            self.journal.terms += 1;
        }
    }

    /// Keeps room for `pod` on the node that it was nominated for, against pods of lower priority.
    pub fn nominate(&mut self, pod: &PodFacts, node: &str) {
        if self.nominated.get(&pod.key).is_some_and(|p| p.nominated == node && p.uid == pod.uid) {
            return;
        }
        self.forget_nomination(&pod.key);
        if !node.is_empty() {
            let facts = Arc::new(PodFacts { nominated: Name::from(node), ..pod.clone() });
            self.awaited.entry(facts.nominated.clone()).or_default().push(facts.clone());
            self.touch_named(node);
            self.nominated.insert(pod.key.clone(), facts);
        }
    }

    fn forget_nomination(&mut self, key: &Key) {
        if self.nominated.is_empty() {
            return;
        }
        let Some(facts) = self.nominated.remove(key) else { return };
        if let Some(here) = self.awaited.get_mut(&facts.nominated) {
            here.retain(|pod| pod.key != *key);
            if here.is_empty() {
                self.awaited.remove(&facts.nominated);
            }
        }
        self.touch_named(&facts.nominated);
    }

    fn touch_named(&mut self, node: &str) {
        if let Some(id) = self.by_name.get(node).copied() {
            self.note(Touch::Node(id));
        }
    }

    /// Pods that wait for room on a node, by key.
    pub fn nominated(&self) -> impl Iterator<Item = &Arc<PodFacts>> {
        self.nominated.values()
    }

    /// The nodes of `among` on which pods wait for room; in no order.
    pub(crate) fn awaited_among(&self, among: &NodeSet) -> Vec<NodeId> {
        if self.awaited.is_empty() {
            return Vec::new();
        }
        if among.len() < self.awaited.len() {
            let awaited = |node: &NodeId| self.awaited.contains_key(&self.node_row(*node).facts.name);
            return among.iter().filter(awaited).collect();
        }
        let nodes = self.awaited.keys().filter_map(|name| self.by_name.get(name).copied());
        nodes.filter(|node| among.contains(*node)).collect()
    }

    /// The node for which a pod is nominated.
    pub(crate) fn nomination(&self, pod: &Key) -> Option<&Name> {
        if self.nominated.is_empty() {
            return None;
        }
        self.nominated.get(pod).map(|facts| &facts.nominated)
    }

    /// The pods that wait for room on one node.
    pub(crate) fn awaited_on(&self, node: &str) -> &[Arc<PodFacts>] {
        if self.awaited.is_empty() {
            return &[];
        }
        self.awaited.get(node).map_or(&[], Vec::as_slice)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The nodes, ordered by name.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.by_name.values().map(|id| self.view(*id))
    }

    /// All nodes as a set.
    pub fn node_set(&self) -> &NodeSet {
        &self.columns.live
    }

    /// One node by name.
    pub fn node(&self, name: &str) -> Option<NodeView<'_>> {
        self.by_name.get(name).map(|id| self.view(*id))
    }

    /// One node.
    ///
    /// # Panics
    /// When `id` is not from this snapshot, or its node is gone.
    pub fn view(&self, id: NodeId) -> NodeView<'_> {
        NodeView { cluster: self, id, delta: None }
    }

    /// One node as it would be after `delta`.
    pub fn view_with<'a>(&'a self, id: NodeId, delta: &'a Delta<'a>) -> NodeView<'a> {
        NodeView { cluster: self, id, delta: Some(delta) }
    }

    /// The columns, for plugins that look at all nodes at once.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// One assigned pod.
    pub fn pod(&self, key: &Key) -> Option<&Arc<PodFacts>> {
        self.by_key.get(key).map(|id| &self.row(*id).facts)
    }

    fn row(&self, id: PodId) -> &PodRow {
        self.pods[id.index()].as_ref().expect("a known pod has a row")
    }

    pub(crate) fn pod_at(&self, id: PodId) -> &PodFacts {
        &self.row(id).facts
    }

    pub(crate) fn node_row(&self, id: NodeId) -> &NodeRow {
        self.nodes[id.index()].as_ref().expect("a view is of a node that is there")
    }

    /// All assigned pods whose node is here.
    pub fn pods(&self) -> impl Iterator<Item = (&PodFacts, NodeId)> {
        self.pods.iter().flatten().filter_map(|row| Some((&*row.facts, row.node?)))
    }

    /// The assigned pods whose node is here, counted: one crowd for all that no term can tell apart.
    pub fn crowds(&self) -> impl Iterator<Item = &Crowd> {
        self.crowds.iter().map(|(_, crowd)| crowd)
    }

    /// The crowds whose pods have terms of affinity of their own.
    pub fn choosy_crowds(&self) -> impl Iterator<Item = &Crowd> {
        self.crowds.choosy().filter(|crowd| crowd.by_node().next().is_some())
    }

    pub(crate) fn crowd_rows(&self) -> &Crowds {
        &self.crowds
    }

    /// How many assigned pods of a group there are.
    pub(crate) fn members_of(&self, group: &Key) -> usize {
        self.members.get(group).copied().unwrap_or(0)
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The keys of everything of a kind that is here; pods: the assigned ones.
    pub(crate) fn keys(&self, kind: &orlop_core::Kind) -> Vec<Key> {
        match (kind.group.as_str(), kind.plural.as_str()) {
            ("", "nodes") => self.by_name.keys().map(|name| Key::cluster(name.clone())).collect(),
            ("", "pods") => self.by_key.keys().cloned().collect(),
            _ => self.others.keys(kind),
        }
    }
}
