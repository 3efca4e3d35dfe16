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
    /// Takes in a change of something that is neither node nor pod. Answers whether that changed anything.
    pub(crate) fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Namespace(name, labels) => put(&mut self.namespaces, name, labels),
            Change::NamespaceGone(name) => self.namespaces.remove(&name).is_some(),
            Change::Workload(facts) => {
                put(&mut self.workloads, (facts.kind.clone(), facts.key.clone()), facts)
            }
            Change::WorkloadGone(kind, key) => self.workloads.remove(&(kind, key)).is_some(),
            Change::Budget(facts) => put(&mut self.budgets, facts.key.clone(), facts),
            Change::BudgetGone(key) => self.budgets.remove(&key).is_some(),
            Change::Volume(facts) => put(&mut self.volumes, facts.name.clone(), facts),
            Change::VolumeGone(name) => self.volumes.remove(&name).is_some(),
            Change::Claim(facts) => put(&mut self.claims, facts.key.clone(), facts),
            Change::ClaimGone(key) => self.claims.remove(&key).is_some(),
            Change::Class(facts) => put(&mut self.classes, facts.name.clone(), facts),
            Change::ClassGone(name) => self.classes.remove(&name).is_some(),
            Change::CsiNode(facts) => put(&mut self.csi_nodes, facts.name.clone(), facts),
            Change::CsiNodeGone(name) => self.csi_nodes.remove(&name).is_some(),
            Change::Attachment(facts) => {
                if self.attachments.get(&facts.name) == Some(&facts) {
                    return false;
                }
                self.detach(&facts.name);
                self.attached.entry(facts.node.clone()).or_default().insert(facts.name.clone());
                put(&mut self.attachments, facts.name.clone(), facts)
            }
            Change::AttachmentGone(name) => self.detach(&name),
            Change::Group(facts) => put(&mut self.groups, facts.key.clone(), facts),
            Change::GroupGone(key) => self.groups.remove(&key).is_some(),
            Change::Node(_) | Change::NodeGone(_) | Change::Pod(_) | Change::PodGone(_) => false,
        }
    }

    fn detach(&mut self, name: &str) -> bool {
        let Some(facts) = self.attachments.remove(name) else { return false };
        if let Some(all) = self.attached.get_mut(&facts.node) {
            all.remove(name);
            if all.is_empty() {
                self.attached.remove(&facts.node);
            }
        }
        true
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

/// Whether the value is another than the one that was there.
fn put<K: Ord, V: PartialEq>(all: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    let changed = all.get(&key) != Some(&value);
    if changed {
        all.insert(key, value);
    }
    changed
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
