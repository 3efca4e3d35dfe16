//! What is known of all nodes, column by column: [`Columns`].

use orlop_core::Name;
use orlop_core::kinds::Taint;
use rustc_hash::FxHashMap;

use crate::bitset::NodeSet;
use crate::facts::{NodeFacts, PodFacts};
use crate::resources::Resources;
use crate::snapshot::NodeId;

/// A resource that some node has or some pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(u32);

impl ResourceId {
    /// CPU, in thousandths.
    pub const CPU: ResourceId = ResourceId(0);
    /// Memory, in bytes.
    pub const MEMORY: ResourceId = ResourceId(1);
    /// Ephemeral storage, in bytes.
    pub const EPHEMERAL_STORAGE: ResourceId = ResourceId(2);

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Columns over nodes, indexed by [`NodeId::index`]. Slots without a node hold zeros.
#[derive(Clone, Debug)]
pub struct Columns {
    pub(crate) live: NodeSet,
    pub(crate) unschedulable: NodeSet,
    pub(crate) with_host_ports: NodeSet,
    pub(crate) pods: Vec<i64>,
    pub(crate) pod_limit: Vec<i64>,
    pub(crate) scored_cpu: Vec<i64>,
    pub(crate) scored_memory: Vec<i64>,
    host_ports: Vec<u32>,
    resources: Vec<ResourceColumn>,
    resource_ids: FxHashMap<Name, ResourceId>,
    labels: FxHashMap<Name, LabelColumn>,
    taints: Vec<TaintSet>,
    images: FxHashMap<Name, ImageRow>,
    image_changes: u64,
}

#[derive(Clone, Debug, Default)]
struct ResourceColumn {
    allocatable: Vec<i64>,
    requested: Vec<i64>,
}

/// The nodes that carry exactly these taints.
#[derive(Clone, Debug)]
pub struct TaintSet {
    /// The taints, as the nodes list them.
    pub taints: Vec<Taint>,
    /// Who carries them.
    pub nodes: NodeSet,
}

/// One label over all nodes, its values interned.
#[derive(Clone, Debug, Default)]
pub struct LabelColumn {
    values: Vec<u32>,
    ids: FxHashMap<Name, u32>,
    names: Vec<Name>,
}

impl LabelColumn {
    /// What stands for nodes that do not have the label.
    pub const ABSENT: u32 = 0;

    /// The value of one node; [`LabelColumn::ABSENT`] if it lacks the label.
    pub fn value(&self, node: NodeId) -> u32 {
        self.values.get(node.index()).copied().unwrap_or(LabelColumn::ABSENT)
    }

    /// The number that stands for a value, if any node ever had it.
    pub fn id(&self, value: &str) -> Option<u32> {
        self.ids.get(value).copied()
    }

    /// The value that a number stands for.
    pub fn name(&self, id: u32) -> Option<&Name> {
        self.names.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    /// One more than the highest number in use: the room that a table by value needs.
    pub fn bound(&self) -> usize {
        self.names.len() + 1
    }

    fn set(&mut self, node: NodeId, value: Option<&Name>) {
        if node.index() >= self.values.len() {
            self.values.resize(node.index() + 1, LabelColumn::ABSENT);
        }
        self.values[node.index()] = match value {
            None => LabelColumn::ABSENT,
            Some(value) => *self.ids.entry(value.clone()).or_insert_with(|| {
                self.names.push(value.clone());
                u32::try_from(self.names.len()).expect("fewer than 2^32 label values")
            }),
        };
    }
}

/// Which nodes have an image.
#[derive(Clone, Debug, Default)]
pub struct ImageRow {
    /// The nodes that have it, and its size there in bytes.
    pub nodes: FxHashMap<NodeId, i64>,
    /// Changes whenever a node gets or loses it.
    pub(crate) version: u64,
}

impl Default for Columns {
    fn default() -> Columns {
        let mut columns = Columns {
            live: NodeSet::new(),
            unschedulable: NodeSet::new(),
            with_host_ports: NodeSet::new(),
            pods: Vec::new(),
            pod_limit: Vec::new(),
            scored_cpu: Vec::new(),
            scored_memory: Vec::new(),
            host_ports: Vec::new(),
            resources: Vec::new(),
            resource_ids: FxHashMap::default(),
            labels: FxHashMap::default(),
            taints: Vec::new(),
            images: FxHashMap::default(),
            image_changes: 0,
        };
        for name in ["cpu", "memory", "ephemeral-storage"] {
            columns.intern(&Name::new_static(name));
        }
        columns
    }
}

impl Columns {
    /// The resource of this name, if any node or pod ever named it.
    pub fn resource(&self, name: &str) -> Option<ResourceId> {
        self.resource_ids.get(name).copied()
    }

    /// What pods may have of a resource, node by node.
    pub fn allocatable(&self, resource: ResourceId) -> &[i64] {
        &self.resources[resource.index()].allocatable
    }

    /// What pods ask for, node by node.
    pub fn requested(&self, resource: ResourceId) -> &[i64] {
        &self.resources[resource.index()].requested
    }

    /// How many pods there are, node by node.
    pub fn pod_counts(&self) -> &[i64] {
        &self.pods
    }

    /// How many pods there may be, node by node.
    pub fn pod_limits(&self) -> &[i64] {
        &self.pod_limit
    }

    /// What pods are taken to use when nodes are scored: thousandths of a CPU, bytes of memory.
    pub fn scored_usage(&self) -> (&[i64], &[i64]) {
        (&self.scored_cpu, &self.scored_memory)
    }

    /// The nodes that keep new pods off.
    pub fn unschedulable(&self) -> &NodeSet {
        &self.unschedulable
    }

    /// The nodes of which some pod has a port.
    pub fn with_host_ports(&self) -> &NodeSet {
        &self.with_host_ports
    }

    /// One label over all nodes; `None` if no node ever had it.
    pub fn label(&self, name: &str) -> Option<&LabelColumn> {
        self.labels.get(name)
    }

    /// The nodes by what taints they carry, those without any left out.
    pub fn taint_sets(&self) -> &[TaintSet] {
        &self.taints
    }

    /// Whether any node has any image.
    pub(crate) fn has_images(&self) -> bool {
        !self.images.is_empty()
    }

    /// Which nodes have an image.
    pub fn image(&self, name: &str) -> Option<&ImageRow> {
        self.images.get(name)
    }

    fn intern(&mut self, name: &Name) -> ResourceId {
        if let Some(id) = self.resource_ids.get(name) {
            return *id;
        }
        let id = ResourceId(u32::try_from(self.resources.len()).expect("fewer than 2^32 resources"));
        let room = vec![0; self.pods.len()];
        self.resources.push(ResourceColumn { allocatable: room.clone(), requested: room });
        self.resource_ids.insert(name.clone(), id);
        id
    }

    fn make_room(&mut self, node: NodeId) {
        let room = node.index() + 1;
        if room <= self.pods.len() {
            return;
        }
        let columns = [&mut self.pods, &mut self.pod_limit, &mut self.scored_cpu, &mut self.scored_memory];
        columns.into_iter().for_each(|column| column.resize(room, 0));
        self.host_ports.resize(room, 0);
        for column in &mut self.resources {
            column.allocatable.resize(room, 0);
            column.requested.resize(room, 0);
        }
    }

    /// A node came (`old` absent), changed, or went (`new` absent).
    pub(crate) fn describe(&mut self, node: NodeId, old: Option<&NodeFacts>, new: Option<&NodeFacts>) {
        self.make_room(node);
        self.live.set(node, new.is_some());
        self.unschedulable.set(node, new.is_some_and(|n| n.unschedulable));
        self.pod_limit[node.index()] = new.map_or(0, |n| n.pods);
        for column in &mut self.resources {
            column.allocatable[node.index()] = 0;
        }
        if let Some(new) = new {
            self.each(&new.allocatable, |column, amount| column.allocatable[node.index()] = amount);
        }
        for name in old.iter().flat_map(|n| n.labels.keys()) {
            if new.is_none_or(|n| !n.labels.contains_key(name)) {
                self.labels.entry(name.clone()).or_default().set(node, None);
            }
        }
        for (name, value) in new.iter().flat_map(|n| &n.labels) {
            self.labels.entry(name.clone()).or_default().set(node, Some(value));
        }
        for set in &mut self.taints {
            set.nodes.remove(node);
        }
        if let Some(new) = new.filter(|n| !n.taints.is_empty()) {
            match self.taints.iter_mut().find(|set| set.taints == new.taints) {
                Some(set) => set.nodes.insert(node),
                None => {
                    let nodes = NodeSet::from_iter([node]);
                    self.taints.push(TaintSet { taints: new.taints.clone(), nodes });
                }
            }
        }
        self.taints.retain(|set| !set.nodes.is_empty());
        if old.map(|n| &n.images) == new.map(|n| &n.images) {
            return;
        }
        self.image_changes += 1;
        for name in old.iter().flat_map(|n| &n.images).flat_map(|(names, _)| names) {
            if let Some(row) = self.images.get_mut(name) {
                row.nodes.remove(&node);
                row.version = self.image_changes;
                if row.nodes.is_empty() {
                    self.images.remove(name);
                }
            }
        }
        for (names, size) in new.iter().flat_map(|n| &n.images) {
            for name in names {
                let row = self.images.entry(name.clone()).or_default();
                row.nodes.insert(node, *size);
                row.version = self.image_changes;
            }
        }
    }

    /// A pod came to a node (`sign` 1) or left it (-1).
    pub(crate) fn account(&mut self, node: NodeId, pod: &PodFacts, sign: i64) {
        let at = node.index();
        self.pods[at] += sign;
        self.scored_cpu[at] += sign * pod.scored_usage.0;
        self.scored_memory[at] += sign * pod.scored_usage.1;
        self.each(&pod.requests, |column, amount| column.requested[at] += sign * amount);
        if !pod.host_ports.is_empty() {
            self.host_ports[at] = self.host_ports[at].wrapping_add_signed(sign as i32);
            self.with_host_ports.set(node, self.host_ports[at] > 0);
        }
    }

    fn each(&mut self, amounts: &Resources, mut act: impl FnMut(&mut ResourceColumn, i64)) {
        act(&mut self.resources[ResourceId::CPU.index()], amounts.cpu_milli);
        act(&mut self.resources[ResourceId::MEMORY.index()], amounts.memory);
        act(&mut self.resources[ResourceId::EPHEMERAL_STORAGE.index()], amounts.ephemeral_storage);
        for (name, amount) in &amounts.others {
            let id = self.intern(name);
            act(&mut self.resources[id.index()], *amount);
        }
    }
}
