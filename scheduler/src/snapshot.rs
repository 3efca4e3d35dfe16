//! The cluster as decisions see it: [`Snapshot`], columns over nodes that are kept up to date change by change.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::{Key, Labels, Name};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::bitset::NodeSet;
use crate::change::{BudgetFacts, Change, WorkloadFacts};
use crate::columns::{Columns, LabelColumn, ResourceId};
use crate::facts::{NodeFacts, PodFacts};
use crate::resources::Resources;
use crate::volumes::{ClaimFacts, ClassFacts, VolumeFacts};

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
    /// Pods that keep others away, or draw them near: only they matter to newcomers with no affinity of their own.
    with_anti_affinity: FxHashSet<PodId>,
    with_affinity: FxHashSet<PodId>,
    nominated: BTreeMap<Key, Arc<PodFacts>>,
    namespaces: BTreeMap<Name, Labels>,
    workloads: BTreeMap<(Name, Key), WorkloadFacts>,
    budgets: BTreeMap<Key, BudgetFacts>,
    volumes: BTreeMap<Name, VolumeFacts>,
    claims: BTreeMap<Key, ClaimFacts>,
    classes: BTreeMap<Name, ClassFacts>,
}

#[derive(Clone, Debug)]
struct NodeRow {
    facts: Arc<NodeFacts>,
    pods: Vec<PodId>,
}

#[derive(Clone, Debug)]
struct PodRow {
    facts: Arc<PodFacts>,
    node: Option<NodeId>,
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
            Change::Namespace(name, labels) => drop(self.namespaces.insert(name, labels)),
            Change::NamespaceGone(name) => drop(self.namespaces.remove(&name)),
            Change::Workload(facts) => {
                self.workloads.insert((facts.kind.clone(), facts.key.clone()), facts);
            }
            Change::WorkloadGone(kind, key) => drop(self.workloads.remove(&(kind, key))),
            Change::Budget(facts) => drop(self.budgets.insert(facts.key.clone(), facts)),
            Change::BudgetGone(key) => drop(self.budgets.remove(&key)),
            Change::Volume(facts) => drop(self.volumes.insert(facts.name.clone(), facts)),
            Change::VolumeGone(name) => drop(self.volumes.remove(&name)),
            Change::Claim(facts) => drop(self.claims.insert(facts.key.clone(), facts)),
            Change::ClaimGone(key) => drop(self.claims.remove(&key)),
            Change::Class(facts) => drop(self.classes.insert(facts.name.clone(), facts)),
            Change::ClassGone(name) => drop(self.classes.remove(&name)),
        }
    }

    /// Whether a change of something other than nodes and pods changes nothing.
    pub(crate) fn knows(&self, change: &Change) -> bool {
        match change {
            Change::Namespace(name, labels) => self.namespaces.get(name) == Some(labels),
            Change::Workload(facts) => self.workload(&facts.kind, &facts.key) == Some(facts),
            Change::WorkloadGone(kind, key) => self.workload(kind, key).is_none(),
            Change::Budget(facts) => self.budgets.get(&facts.key) == Some(facts),
            _ => false,
        }
    }

    fn put_node(&mut self, facts: NodeFacts) {
        let facts = Arc::new(facts);
        if let Some(&id) = self.by_name.get(&facts.name) {
            let row = self.nodes[id.index()].as_mut().expect("a named node has a row");
            self.columns.describe(id, Some(&row.facts), Some(&facts));
            row.facts = facts;
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
            self.columns.account(id, &row.facts, 1);
        }
        self.nodes[id.index()] = Some(NodeRow { facts, pods });
    }

    fn remove_node(&mut self, name: &str) {
        let Some(id) = self.by_name.remove(name) else { return };
        let row = self.nodes[id.index()].take().expect("a named node has a row");
        for pod in &row.pods {
            let pod = self.pods[pod.index()].as_mut().expect("a node's pod has a row");
            pod.node = None;
            self.columns.account(id, &pod.facts, -1);
        }
        if !row.pods.is_empty() {
            self.stray.insert(row.facts.name.clone(), row.pods);
        }
        self.columns.describe(id, Some(&row.facts), None);
        self.free_nodes.push(id);
    }

    /// Takes in a pod as it is now. One that holds no place on a node is forgotten.
    pub(crate) fn put_pod(&mut self, facts: Arc<PodFacts>) {
        if self.nominated.contains_key(&facts.key) && facts.is_assigned() {
            self.nominated.remove(&facts.key);
        }
        self.remove_pod_row(&facts.key);
        if !facts.is_assigned() {
            return;
        }
        let id = self.free_pods.pop().unwrap_or_else(|| {
            self.pods.push(None);
            PodId(u32::try_from(self.pods.len() - 1).expect("a cluster has fewer than 2^32 pods"))
        });
        let node = self.by_name.get(&facts.node).copied();
        match node {
            Some(node) => {
                self.columns.account(node, &facts, 1);
                self.nodes[node.index()].as_mut().expect("a named node has a row").pods.push(id);
            }
            None => self.stray.entry(facts.node.clone()).or_default().push(id),
        }
        if !facts.anti_affinity.is_empty() {
            self.with_anti_affinity.insert(id);
        }
        if !facts.affinity.is_empty() || !facts.preferred_affinity.is_empty() {
            self.with_affinity.insert(id);
        }
        self.by_key.insert(facts.key.clone(), id);
        self.pods[id.index()] = Some(PodRow { facts, node });
    }

    fn remove_pod(&mut self, key: &Key) {
        self.nominated.remove(key);
        self.remove_pod_row(key);
    }

    fn remove_pod_row(&mut self, key: &Key) {
        let Some(id) = self.by_key.remove(key) else { return };
        let row = self.pods[id.index()].take().expect("a known pod has a row");
        let siblings = match row.node {
            Some(node) => {
                self.columns.account(node, &row.facts, -1);
                &mut self.nodes[node.index()].as_mut().expect("a pod's node has a row").pods
            }
            None => self.stray.entry(row.facts.node.clone()).or_default(),
        };
        siblings.retain(|pod| *pod != id);
        if siblings.is_empty() && row.node.is_none() {
            self.stray.remove(&row.facts.node);
        }
        self.with_anti_affinity.remove(&id);
        self.with_affinity.remove(&id);
        self.free_pods.push(id);
    }

    /// Keeps room for `pod` on the node that it was nominated for, against pods of lower priority.
    pub fn nominate(&mut self, pod: &PodFacts, node: &str) {
        if node.is_empty() {
            self.nominated.remove(&pod.key);
        } else {
            let facts = PodFacts { nominated: Name::from(node), ..pod.clone() };
            self.nominated.insert(pod.key.clone(), Arc::new(facts));
        }
    }

    /// Pods that wait for room on a node, by key.
    pub fn nominated(&self) -> impl Iterator<Item = &Arc<PodFacts>> {
        self.nominated.values()
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

    /// All assigned pods whose node is here.
    pub fn pods(&self) -> impl Iterator<Item = (&PodFacts, NodeId)> {
        self.pods.iter().flatten().filter_map(|row| Some((&*row.facts, row.node?)))
    }

    /// Assigned pods with a required anti-affinity.
    pub fn pods_with_anti_affinity(&self) -> impl Iterator<Item = (&PodFacts, NodeId)> {
        self.members(&self.with_anti_affinity)
    }

    /// Assigned pods with any affinity but a required anti-affinity alone.
    pub fn pods_with_affinity(&self) -> impl Iterator<Item = (&PodFacts, NodeId)> {
        self.members(&self.with_affinity)
    }

    fn members<'a>(&'a self, of: &'a FxHashSet<PodId>) -> impl Iterator<Item = (&'a PodFacts, NodeId)> {
        of.iter().map(|id| self.row(*id)).filter_map(|row| Some((&*row.facts, row.node?)))
    }

    /// The labels of a namespace; `None` if it is not known.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// The namespaces that are known, with their labels.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Name, &Labels)> {
        self.namespaces.iter()
    }

    /// The keys of everything of a kind that is here; pods: the assigned ones.
    pub(crate) fn keys(&self, kind: &orlop_core::Kind) -> Vec<Key> {
        match (kind.group.as_str(), kind.plural.as_str()) {
            ("", "nodes") => self.by_name.keys().map(|name| Key::cluster(name.clone())).collect(),
            ("", "pods") => self.by_key.keys().cloned().collect(),
            ("", "namespaces") => self.namespaces.keys().map(|name| Key::cluster(name.clone())).collect(),
            ("", "persistentvolumes") => self.volumes.keys().map(|name| Key::cluster(name.clone())).collect(),
            ("", "persistentvolumeclaims") => self.claims.keys().cloned().collect(),
            ("storage.k8s.io", _) => self.classes.keys().map(|name| Key::cluster(name.clone())).collect(),
            ("policy", "poddisruptionbudgets") => self.budgets.keys().cloned().collect(),
            _ => {
                let of_kind = self.workloads.keys().filter(|(k, _)| *k == kind.kind);
                of_kind.map(|(_, key)| key.clone()).collect()
            }
        }
    }

    /// What selects pods: Services, ReplicaSets and the like.
    pub fn workloads(&self) -> impl Iterator<Item = &WorkloadFacts> {
        self.workloads.values()
    }

    /// One of them, by kind and key.
    pub fn workload(&self, kind: &str, key: &Key) -> Option<&WorkloadFacts> {
        self.workloads.get(&(Name::from(kind), key.clone()))
    }

    /// Persistent volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeFacts> {
        self.volumes.values()
    }

    /// One persistent volume.
    pub fn volume(&self, name: &str) -> Option<&VolumeFacts> {
        self.volumes.get(name)
    }

    /// One claim of a persistent volume.
    pub fn claim(&self, key: &Key) -> Option<&ClaimFacts> {
        self.claims.get(key)
    }

    /// One storage class.
    pub fn storage_class(&self, name: &str) -> Option<&ClassFacts> {
        self.classes.get(name)
    }

    /// Disruption budgets.
    pub fn budgets(&self) -> impl Iterator<Item = &BudgetFacts> {
        self.budgets.values()
    }
}

/// What is different on one node in thought: pods gone from it, pods added to it.
#[derive(Clone, Debug, Default)]
pub struct Delta<'a> {
    /// Pods of the node that are thought away.
    pub without: Vec<&'a PodFacts>,
    /// Pods that are thought there.
    pub with: Vec<&'a PodFacts>,
}

/// One node, with the pods on it.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    cluster: &'a Snapshot,
    id: NodeId,
    delta: Option<&'a Delta<'a>>,
}

impl<'a> NodeView<'a> {
    /// The place in the columns.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The snapshot that the node is in.
    pub fn cluster(&self) -> &'a Snapshot {
        self.cluster
    }

    /// What is known of the node itself.
    pub fn facts(&self) -> &'a NodeFacts {
        &self.node_row().facts
    }

    fn node_row(&self) -> &'a NodeRow {
        self.cluster.nodes[self.id.index()].as_ref().expect("a view is of a node that is there")
    }

    /// The name.
    pub fn name(&self) -> &'a Name {
        &self.facts().name
    }

    /// One label's text.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        self.facts().labels.get(name).map(Name::as_str)
    }

    /// The pods on it.
    pub fn pods(&self) -> impl Iterator<Item = &'a PodFacts> + use<'a> {
        let cluster = self.cluster;
        let (without, with): (&[&PodFacts], &[&'a PodFacts]) = match self.delta {
            Some(delta) => (&delta.without, &delta.with),
            None => (&[], &[]),
        };
        self.node_row()
            .pods
            .iter()
            .map(|id| &*cluster.row(*id).facts)
            .filter(|pod| !without.iter().any(|gone| gone.key == pod.key))
            .chain(with.iter().copied())
    }

    /// How many pods are on it.
    pub fn pod_count(&self) -> i64 {
        let delta = self.delta.map_or(0, |d| d.with.len() as i64 - d.without.len() as i64);
        self.cluster.columns.pods[self.id.index()] + delta
    }

    /// What its pods may have in all, by Kubernetes' name of the resource; CPU in thousandths.
    pub fn allocatable(&self, resource: &str) -> i64 {
        self.facts().allocatable.get(resource)
    }

    /// What its pods ask for in all.
    pub fn requested(&self, resource: &str) -> i64 {
        self.cluster.columns.resource(resource).map_or(0, |id| self.requested_of(id))
            + self.differing(|pod| pod.requests.get(resource))
    }

    fn requested_of(&self, resource: ResourceId) -> i64 {
        self.cluster.columns.requested(resource)[self.id.index()]
    }

    /// What its pods are taken to use when nodes are scored: CPU in thousandths, memory in bytes.
    pub fn scored_usage(&self) -> (i64, i64) {
        let columns = &self.cluster.columns;
        (
            columns.scored_cpu[self.id.index()] + self.differing(|pod| pod.scored_usage.0),
            columns.scored_memory[self.id.index()] + self.differing(|pod| pod.scored_usage.1),
        )
    }

    /// What is left of a resource.
    pub fn free(&self, resource: &str) -> i64 {
        self.allocatable(resource) - self.requested(resource)
    }

    fn differing(&self, of: impl Fn(&PodFacts) -> i64) -> i64 {
        self.delta.map_or(0, |delta| {
            delta.with.iter().map(|pod| of(pod)).sum::<i64>()
                - delta.without.iter().map(|pod| of(pod)).sum::<i64>()
        })
    }

    /// Whether `requests` can be had of what is left.
    pub fn has_room_for(&self, requests: &Resources) -> bool {
        let rest = ["cpu", "memory", "ephemeral-storage"];
        let others = requests.others.iter().map(|(name, _)| name.as_str());
        rest.into_iter().chain(others).all(|r| requests.get(r) == 0 || requests.get(r) <= self.free(r))
    }

    /// The column of one label.
    pub fn label_value(&self, column: &LabelColumn) -> u32 {
        column.value(self.id)
    }
}
