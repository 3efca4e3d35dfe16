//! What decisions need of volumes, claims and storage classes.

use orlop_core::Labels;
use orlop_core::kinds::{PersistentVolume, PersistentVolumeClaim, StorageClass};
use orlop_core::rules::node_affinity::{NodeTerm, terms};
use orlop_core::rules::{Quantity, Selector};
use orlop_core::{Key, Name, Object};

use crate::facts::selector_of;

/// The annotation of a claim that is bound for good.
const BOUND: &str = "pv.kubernetes.io/bind-completed";
/// The annotation of a claim whose volume is being made for a node.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// What a storage class names that makes no volumes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A persistent volume.
#[derive(Clone, Debug)]
pub struct VolumeFacts {
    /// The name.
    pub name: Name,
    /// The labels; those that name zones say where it is.
    pub labels: Labels,
    /// How much it holds.
    pub capacity: Quantity,
    /// The class that it is of.
    pub class: Name,
    /// How it may be used.
    pub access_modes: Vec<Name>,
    /// `Filesystem` or `Block`.
    pub mode: Name,
    /// The claim that has it, with its UID, which may be empty.
    pub claim: Option<(Key, Name)>,
    /// Whether it is free.
    pub available: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Where it can be reached from; `None`: anywhere.
    pub nodes: Option<Vec<NodeTerm>>,
}

impl VolumeFacts {
    /// Whether it can be reached from a node with these labels.
    pub fn reaches(&self, labels: &Labels) -> bool {
        self.nodes.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(labels, "")))
    }

    fn is_of(&self, claim: &ClaimFacts) -> bool {
        self.claim
            .as_ref()
            .is_some_and(|(key, uid)| *key == claim.key && (uid.is_empty() || *uid == claim.uid))
    }

    /// Whether it can be had by `claim` from a node with these labels. `Some(true)`: it is that claim's already.
    fn offers(&self, claim: &ClaimFacts, labels: &Labels) -> Option<bool> {
        if self.claim.is_some() && !self.is_of(claim)
            || self.capacity < claim.requested
            || self.mode != claim.mode
            || self.terminating
        {
            return None;
        }
        if self.is_of(claim) {
            return Some(true);
        }
        let fits = self.available
            && claim.selector.as_ref().is_none_or(|s| s.matches(&self.labels))
            && self.class == claim.class
            && self.reaches(labels)
            && claim.access_modes.iter().all(|mode| self.access_modes.contains(mode));
        fits.then_some(false)
    }
}

impl From<&PersistentVolume> for VolumeFacts {
    fn from(volume: &PersistentVolume) -> VolumeFacts {
        let spec = &volume.spec;
        VolumeFacts {
            name: volume.metadata.name.clone(),
            labels: volume.metadata.labels.clone(),
            capacity: spec.capacity.get("storage").cloned().unwrap_or_default(),
            class: spec.storage_class_name.clone(),
            access_modes: spec.access_modes.clone(),
            mode: mode(&spec.volume_mode),
            claim: spec
                .claim_ref
                .as_ref()
                .map(|c| (Key::new(c.namespace.clone(), c.name.clone()), c.uid.clone())),
            available: volume.status.phase == "Available",
            terminating: volume.metadata.is_terminating(),
            nodes: spec.node_affinity.as_ref().and_then(|a| a.required.as_ref()).map(terms),
        }
    }
}

fn mode(mode: &Name) -> Name {
    if mode.is_empty() { Name::new_static("Filesystem") } else { mode.clone() }
}

/// A claim of a persistent volume.
#[derive(Clone, Debug)]
pub struct ClaimFacts {
    /// Namespace and name.
    pub key: Key,
    /// The UID.
    pub uid: Name,
    /// The volume that it has or asks for; mostly empty while it is not bound.
    pub volume: Name,
    /// Whether it is bound for good.
    pub bound: bool,
    /// Whether its volume is gone.
    pub lost: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The class that it asks for.
    pub class: Name,
    /// How much it asks for.
    pub requested: Quantity,
    /// How it is to be used.
    pub access_modes: Vec<Name>,
    /// `Filesystem` or `Block`.
    pub mode: Name,
    /// Which volumes it takes; `None`: any.
    pub selector: Option<Selector>,
    /// The node for which its volume is being made.
    pub selected_node: Option<Name>,
}

impl From<&PersistentVolumeClaim> for ClaimFacts {
    fn from(claim: &PersistentVolumeClaim) -> ClaimFacts {
        let (meta, spec) = (&claim.metadata, &claim.spec);
        ClaimFacts {
            key: claim.key(),
            uid: meta.uid.clone(),
            volume: spec.volume_name.clone(),
            bound: !spec.volume_name.is_empty() && meta.annotation(BOUND).is_some(),
            lost: claim.status.phase == "Lost",
            terminating: meta.is_terminating(),
            class: spec.storage_class_name.clone(),
            requested: spec.resources.requests.get("storage").cloned().unwrap_or_default(),
            access_modes: spec.access_modes.clone(),
            mode: mode(&spec.volume_mode),
            selector: spec.selector.as_ref().map(|s| selector_of(Some(s))),
            selected_node: meta.annotations.get(SELECTED_NODE).cloned(),
        }
    }
}

/// A storage class.
#[derive(Clone, Debug)]
pub struct ClassFacts {
    /// The name.
    pub name: Name,
    /// Whether volumes are made on demand.
    pub provisions: bool,
    /// Whether a claim is bound only once a pod needs it.
    pub waits_for_consumer: bool,
    /// Where volumes can be made: one of these must hold, each a list of labels with the values they may have.
    pub topologies: Vec<Vec<(Name, Vec<Name>)>>,
}

impl ClassFacts {
    /// Whether a volume can be made for a node with these labels.
    pub fn can_provision(&self, labels: &Labels) -> bool {
        let holds = |(key, values): &(Name, Vec<Name>)| labels.get(key).is_some_and(|v| values.contains(v));
        self.provisions
            && (self.topologies.is_empty()
                || self.topologies.iter().any(|term| !term.is_empty() && term.iter().all(holds)))
    }
}

impl From<&StorageClass> for ClassFacts {
    fn from(class: &StorageClass) -> ClassFacts {
        let name = |value: &serde_json::Value| Name::from(value.as_str().unwrap_or_default());
        let term = |term: &serde_json::Value| -> Vec<(Name, Vec<Name>)> {
            let expressions = term["matchLabelExpressions"].as_array().into_iter().flatten();
            expressions
                .map(|e| {
                    let values = e["values"].as_array().into_iter().flatten().map(name).collect();
                    (name(&e["key"]), values)
                })
                .collect()
        };
        ClassFacts {
            name: class.metadata.name.clone(),
            provisions: !class.provisioner.is_empty() && class.provisioner != NO_PROVISIONER,
            waits_for_consumer: class.volume_binding_mode == "WaitForFirstConsumer",
            topologies: class.allowed_topologies.iter().map(term).collect(),
        }
    }
}

/// The free volume that suits a claim best from a node with these labels, those in `taken` left out: its own, or else
/// the smallest that is large enough.
pub(crate) fn suitable<'a>(
    claim: &ClaimFacts,
    volumes: impl Iterator<Item = &'a VolumeFacts>,
    labels: &Labels,
    taken: &[&Name],
) -> Option<&'a VolumeFacts> {
    let mut best: Option<&VolumeFacts> = None;
    for volume in volumes.filter(|v| !taken.contains(&&v.name)) {
        match volume.offers(claim, labels) {
            Some(true) => return volume.reaches(labels).then_some(volume),
            Some(false) if best.is_none_or(|b| volume.capacity < b.capacity) => best = Some(volume),
            _ => {}
        }
    }
    best
}
