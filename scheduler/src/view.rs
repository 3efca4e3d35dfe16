//! One node as decisions see it: [`NodeView`], and as it would be: [`Delta`].

use orlop_core::Name;

use crate::columns::{LabelColumn, ResourceId};
use crate::facts::{NodeFacts, PodFacts};
use crate::resources::Resources;
use crate::snapshot::{NodeId, NodeRow, Snapshot};

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
    pub(crate) cluster: &'a Snapshot,
    pub(crate) id: NodeId,
    pub(crate) delta: Option<&'a Delta<'a>>,
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
        self.cluster.node_row(self.id)
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
            .map(|id| cluster.pod_at(*id))
            .filter(|pod| !without.iter().any(|gone| gone.key == pod.key))
            .chain(with.iter().copied())
    }

    /// How many pods are on it.
    pub fn pod_count(&self) -> i64 {
        let delta = self.delta.map_or(0, |d| d.with.len() as i64 - d.without.len() as i64);
        self.cluster.columns().pods[self.id.index()] + delta
    }

    /// What its pods may have in all, by Kubernetes' name of the resource; CPU in thousandths.
    pub fn allocatable(&self, resource: &str) -> i64 {
        self.facts().allocatable.get(resource)
    }

    /// What its pods ask for in all.
    pub fn requested(&self, resource: &str) -> i64 {
        self.cluster.columns().resource(resource).map_or(0, |id| self.requested_of(id))
            + self.differing(|pod| pod.requests.get(resource))
    }

    fn requested_of(&self, resource: ResourceId) -> i64 {
        self.cluster.columns().requested(resource)[self.id.index()]
    }

    /// What its pods are taken to use when nodes are scored: CPU in thousandths, memory in bytes.
    pub fn scored_usage(&self) -> (i64, i64) {
        let columns = self.cluster.columns();
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
