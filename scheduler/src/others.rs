//! What a snapshot knows besides nodes and pods: [`Others`].

use std::collections::{BTreeMap, BTreeSet};

use orlop_core::{Key, Kind, Labels, Name};
use rustc_hash::FxHashMap;

use crate::change::{BudgetFacts, Change, GroupFacts, WorkloadFacts};
use crate::snapshot::Snapshot;
use crate::volumes::{AttachmentFacts, ClaimFacts, ClassFacts, CsiNodeFacts, VolumeFacts};

/// Objects that are neither nodes nor pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Others {
    namespaces: BTreeMap<Name, Labels>,
    workloads: BTreeMap<(Name, Key), WorkloadFacts>,
    budgets: BTreeMap<Key, BudgetFacts>,
    volumes: BTreeMap<Name, VolumeFacts>,
    claims: BTreeMap<Key, ClaimFacts>,
    classes: BTreeMap<Name, ClassFacts>,
    csi_nodes: BTreeMap<Name, CsiNodeFacts>,
    attachments: BTreeMap<Name, AttachmentFacts>,
    /// The names of the attachments to each node.
    attached: FxHashMap<Name, BTreeSet<Name>>,
    groups: BTreeMap<Key, GroupFacts>,
}

impl Others {
    /// Takes in a change of something that is neither node nor pod.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Namespace(name, labels) => drop(self.namespaces.insert(name, labels)),
            Change::NamespaceGone(name) => drop(self.namespaces.remove(&name)),
            Change::Workload(facts) => {
                drop(self.workloads.insert((facts.kind.clone(), facts.key.clone()), facts));
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
            Change::CsiNode(facts) => drop(self.csi_nodes.insert(facts.name.clone(), facts)),
            Change::CsiNodeGone(name) => drop(self.csi_nodes.remove(&name)),
            Change::Attachment(facts) => {
                self.detach(&facts.name);
                self.attached.entry(facts.node.clone()).or_default().insert(facts.name.clone());
                self.attachments.insert(facts.name.clone(), facts);
            }
            Change::AttachmentGone(name) => self.detach(&name),
            Change::Group(facts) => drop(self.groups.insert(facts.key.clone(), facts)),
            Change::GroupGone(key) => drop(self.groups.remove(&key)),
            Change::Node(_) | Change::NodeGone(_) | Change::Pod(_) | Change::PodGone(_) => {}
        }
    }

    /// Whether a change changes nothing.
    pub(crate) fn knows(&self, change: &Change) -> bool {
        match change {
            Change::Namespace(name, labels) => self.namespaces.get(name) == Some(labels),
            Change::NamespaceGone(name) => !self.namespaces.contains_key(name),
            Change::Workload(facts) => {
                self.workloads.get(&(facts.kind.clone(), facts.key.clone())) == Some(facts)
            }
            Change::WorkloadGone(kind, key) => !self.workloads.contains_key(&(kind.clone(), key.clone())),
            Change::Budget(facts) => self.budgets.get(&facts.key) == Some(facts),
            Change::BudgetGone(key) => !self.budgets.contains_key(key),
            Change::Volume(facts) => self.volumes.get(&facts.name) == Some(facts),
            Change::VolumeGone(name) => !self.volumes.contains_key(name),
            Change::Claim(facts) => self.claims.get(&facts.key) == Some(facts),
            Change::ClaimGone(key) => !self.claims.contains_key(key),
            Change::Class(facts) => self.classes.get(&facts.name) == Some(facts),
            Change::ClassGone(name) => !self.classes.contains_key(name),
            Change::CsiNode(facts) => self.csi_nodes.get(&facts.name) == Some(facts),
            Change::CsiNodeGone(name) => !self.csi_nodes.contains_key(name),
            Change::Attachment(facts) => self.attachments.get(&facts.name) == Some(facts),
            Change::AttachmentGone(name) => !self.attachments.contains_key(name),
            Change::Group(facts) => self.groups.get(&facts.key) == Some(facts),
            Change::GroupGone(key) => !self.groups.contains_key(key),
            Change::Node(_) | Change::NodeGone(_) | Change::Pod(_) | Change::PodGone(_) => false,
        }
    }

    fn detach(&mut self, name: &str) {
        let Some(facts) = self.attachments.remove(name) else { return };
        if let Some(all) = self.attached.get_mut(&facts.node) {
            all.remove(name);
            if all.is_empty() {
                self.attached.remove(&facts.node);
            }
        }
    }

    /// The keys of everything of a kind.
    pub(crate) fn keys(&self, kind: &Kind) -> Vec<Key> {
        fn cluster<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<Key> {
            names.map(|name| Key::cluster(name.clone())).collect()
        }
        match (kind.group.as_str(), kind.plural.as_str()) {
            ("", "namespaces") => cluster(self.namespaces.keys()),
            ("", "persistentvolumes") => cluster(self.volumes.keys()),
            ("", "persistentvolumeclaims") => self.claims.keys().cloned().collect(),
            ("scheduling.k8s.io", _) => self.groups.keys().cloned().collect(),
            ("storage.k8s.io", "csinodes") => cluster(self.csi_nodes.keys()),
            ("storage.k8s.io", "volumeattachments") => cluster(self.attachments.keys()),
            ("storage.k8s.io", _) => cluster(self.classes.keys()),
            ("policy", "poddisruptionbudgets") => self.budgets.keys().cloned().collect(),
            _ => {
                let of_kind = self.workloads.keys().filter(|(k, _)| *k == kind.kind);
                of_kind.map(|(_, key)| key.clone()).collect()
            }
        }
    }
}

impl Snapshot {
    /// The labels of a namespace; `None` if it is not known.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.others.namespaces.get(name)
    }

    /// The namespaces that are known, with their labels.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Name, &Labels)> {
        self.others.namespaces.iter()
    }

    /// The Services of a namespace.
    pub(crate) fn services(&self, namespace: &Name) -> impl Iterator<Item = &WorkloadFacts> {
        let kind = Name::new_static("Service");
        let first = (kind.clone(), Key::new(namespace.clone(), ""));
        let own = self.others.workloads.range(first..);
        let own = own.take_while(move |((k, key), _)| *k == kind && key.namespace == *namespace);
        own.map(|(_, facts)| facts)
    }

    /// What selects pods: Services, ReplicaSets and the like.
    pub fn workloads(&self) -> impl Iterator<Item = &WorkloadFacts> {
        self.others.workloads.values()
    }

    /// One of them, by kind and key.
    pub fn workload(&self, kind: &str, key: &Key) -> Option<&WorkloadFacts> {
        self.others.workloads.get(&(Name::from(kind), key.clone()))
    }

    /// Persistent volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeFacts> {
        self.others.volumes.values()
    }

    /// One persistent volume.
    pub fn volume(&self, name: &str) -> Option<&VolumeFacts> {
        self.others.volumes.get(name)
    }

    /// One claim of a persistent volume.
    pub fn claim(&self, key: &Key) -> Option<&ClaimFacts> {
        self.others.claims.get(key)
    }

    /// One group of pods.
    pub fn group(&self, key: &Key) -> Option<&GroupFacts> {
        self.others.groups.get(key)
    }

    /// What drivers can attach to a node.
    pub fn csi_node(&self, node: &str) -> Option<&CsiNodeFacts> {
        self.others.csi_nodes.get(node)
    }

    /// What is attached to a node, by name.
    pub fn attachments_of(&self, node: &str) -> impl Iterator<Item = &AttachmentFacts> {
        let names = self.others.attached.get(node).into_iter().flatten();
        names.filter_map(|name| self.others.attachments.get(name))
    }

    /// One storage class.
    pub fn storage_class(&self, name: &str) -> Option<&ClassFacts> {
        self.others.classes.get(name)
    }

    /// Disruption budgets.
    pub fn budgets(&self) -> impl Iterator<Item = &BudgetFacts> {
        self.others.budgets.values()
    }
}
