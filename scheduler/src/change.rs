//! What a snapshot is told: [`Change`], read from the API's objects.

use orlop_core::body::Malformed;
use orlop_core::kinds::{
    CSINode, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodDisruptionBudget, ReplicaSet,
    Service, StatefulSet, StorageClass,
};
use orlop_core::rules::LabelSelector;
use orlop_core::{Key, Kind, Labels, Name, Object};

use crate::facts::{NodeFacts, PodFacts};
use crate::volumes::{AttachmentFacts, ClaimFacts, ClassFacts, CsiNodeFacts, VolumeFacts, volume_attachment};

/// One change of what decisions depend on.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "a change is taken in at once and kept nowhere")]
pub enum Change {
    /// A node as it is now.
    Node(NodeFacts),
    /// A node is gone.
    NodeGone(Name),
    /// A pod as it is now.
    Pod(PodFacts),
    /// A pod is gone.
    PodGone(Key),
    /// A namespace's labels.
    Namespace(Name, Labels),
    /// A namespace is gone.
    NamespaceGone(Name),
    /// What selects pods.
    Workload(WorkloadFacts),
    /// A workload, by kind, is gone.
    WorkloadGone(Name, Key),
    /// A disruption budget.
    Budget(BudgetFacts),
    /// A disruption budget is gone.
    BudgetGone(Key),
    /// A persistent volume.
    Volume(VolumeFacts),
    /// A persistent volume is gone.
    VolumeGone(Name),
    /// A claim of one.
    Claim(ClaimFacts),
    /// A claim is gone.
    ClaimGone(Key),
    /// A storage class.
    Class(ClassFacts),
    /// A storage class is gone.
    ClassGone(Name),
    /// What drivers can attach to a node.
    CsiNode(CsiNodeFacts),
    /// Nobody says any more what drivers can attach to a node.
    CsiNodeGone(Name),
    /// A volume is attached to a node.
    Attachment(AttachmentFacts),
    /// An attachment, by name, is gone.
    AttachmentGone(Name),
    /// A group of pods.
    Group(GroupFacts),
    /// A group of pods is gone.
    GroupGone(Key),
}

/// A `PodGroup` of `scheduling.k8s.io/v1alpha2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFacts {
    /// Namespace and name.
    pub key: Key,
    /// How many of its pods must be placed together; `None`: each is placed by itself.
    pub min_count: Option<usize>,
}

impl GroupFacts {
    /// From an object of the API.
    pub fn from_json(group: &serde_json::Value) -> GroupFacts {
        let text = |field: &str| group["metadata"][field].as_str().unwrap_or_default();
        let gang = &group["spec"]["schedulingPolicy"]["gang"];
        let least = gang.is_object().then(|| gang["minCount"].as_u64().unwrap_or(1));
        GroupFacts {
            key: Key::new(text("namespace"), text("name")),
            min_count: least.map(|least| usize::try_from(least).unwrap_or(usize::MAX)),
        }
    }
}

/// The kind of groups of pods. It is followed only where a profile schedules gangs: the API serves it where it is
/// defined, as a custom resource for example.
pub fn pod_group() -> Kind {
    Kind::namespaced("scheduling.k8s.io", "v1alpha2", "PodGroup", "podgroups")
}

/// A Service or a controller, as far as it selects pods: what default spreading spreads.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadFacts {
    /// `Service`, `ReplicaSet`, `StatefulSet` or `ReplicationController`.
    pub kind: Name,
    /// Namespace and name.
    pub key: Key,
    /// The pods that it selects.
    pub selector: LabelSelector,
}

/// A disruption budget.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetFacts {
    /// Namespace and name.
    pub key: Key,
    /// The pods that it protects; `None` protects none.
    pub selector: Option<LabelSelector>,
    /// How many more of them may go now.
    pub allowed: i32,
    /// Pods that are already on their way out and counted.
    pub disrupted: Vec<Name>,
}

/// What says how many volumes can be attached to a node, and which are. They are followed only where a profile counts
/// volumes.
pub(crate) fn attaching() -> [Kind; 2] {
    [CSINode::KIND, volume_attachment()]
}

/// The kinds that decisions depend on.
pub fn watched() -> Vec<Kind> {
    vec![
        Node::KIND,
        Pod::KIND,
        Namespace::KIND,
        Service::KIND,
        ReplicaSet::KIND,
        StatefulSet::KIND,
        PodDisruptionBudget::KIND,
        PersistentVolume::KIND,
        PersistentVolumeClaim::KIND,
        StorageClass::KIND,
    ]
}

impl Change {
    /// Reads a change of an API object; `None` for kinds that no decision depends on.
    ///
    /// # Errors
    /// When the object is not of its kind's form.
    pub fn read(change: &orlop_core::Change) -> Result<Option<Change>, Malformed> {
        let (kind, key) = (&change.kind, &change.key);
        let Some(stored) = &change.object else { return Ok(Change::gone(kind, key)) };
        let is = |other: &Kind| kind.same_resource(other);
        Ok(Some(if is(&Pod::KIND) {
            Change::Pod(PodFacts::from(&stored.decode::<Pod>()?))
        } else if is(&Node::KIND) {
            Change::Node(NodeFacts::from(&stored.decode::<Node>()?))
        } else if is(&Namespace::KIND) {
            Change::from(&stored.decode::<Namespace>()?)
        } else if is(&Service::KIND) {
            Change::from(&stored.decode::<Service>()?)
        } else if is(&ReplicaSet::KIND) {
            let set = stored.decode::<ReplicaSet>()?;
            Change::workload(&ReplicaSet::KIND, set.key(), set.spec.selector)
        } else if is(&StatefulSet::KIND) {
            let set = stored.decode::<StatefulSet>()?;
            Change::workload(&StatefulSet::KIND, set.key(), set.spec.selector)
        } else if is(&PodDisruptionBudget::KIND) {
            Change::from(&stored.decode::<PodDisruptionBudget>()?)
        } else if is(&PersistentVolume::KIND) {
            let facts = VolumeFacts::from(&stored.decode::<PersistentVolume>()?);
            Change::Volume(VolumeFacts { revision: stored.revision, ..facts })
        } else if is(&PersistentVolumeClaim::KIND) {
            let facts = ClaimFacts::from(&stored.decode::<PersistentVolumeClaim>()?);
            Change::Claim(ClaimFacts { revision: stored.revision, ..facts })
        } else if is(&StorageClass::KIND) {
            Change::Class(ClassFacts::from(&stored.decode::<StorageClass>()?))
        } else if is(&CSINode::KIND) {
            Change::CsiNode(CsiNodeFacts::from(&stored.decode::<CSINode>()?))
        } else if is(&volume_attachment()) {
            Change::Attachment(AttachmentFacts::from_json(&stored.to_value()))
        } else if is(&pod_group()) {
            Change::Group(GroupFacts::from_json(&stored.to_value()))
        } else {
            return Ok(None);
        }))
    }

    /// An object of a kind is gone; `None` for kinds that no decision depends on.
    pub fn gone(kind: &Kind, key: &Key) -> Option<Change> {
        Some(match (kind.group.as_str(), kind.plural.as_str()) {
            ("", "pods") => Change::PodGone(key.clone()),
            ("", "nodes") => Change::NodeGone(key.name.clone()),
            ("", "namespaces") => Change::NamespaceGone(key.name.clone()),
            ("", "persistentvolumes") => Change::VolumeGone(key.name.clone()),
            ("", "persistentvolumeclaims") => Change::ClaimGone(key.clone()),
            ("storage.k8s.io", "csinodes") => Change::CsiNodeGone(key.name.clone()),
            ("storage.k8s.io", "volumeattachments") => Change::AttachmentGone(key.name.clone()),
            ("storage.k8s.io", "storageclasses") => Change::ClassGone(key.name.clone()),
            ("scheduling.k8s.io", "podgroups") => Change::GroupGone(key.clone()),
            ("policy", "poddisruptionbudgets") => Change::BudgetGone(key.clone()),
            ("", "services") | ("apps", "replicasets" | "statefulsets") => {
                Change::WorkloadGone(kind.kind.clone(), key.clone())
            }
            _ => return None,
        })
    }

    fn workload(kind: &Kind, key: Key, selector: LabelSelector) -> Change {
        Change::Workload(WorkloadFacts { kind: kind.kind.clone(), key, selector })
    }
}

impl From<&Namespace> for Change {
    fn from(namespace: &Namespace) -> Change {
        Change::Namespace(namespace.metadata.name.clone(), namespace.metadata.labels.clone())
    }
}

impl From<&Service> for Change {
    fn from(service: &Service) -> Change {
        let key = service.key();
        if service.spec.selector.is_empty() {
            return Change::WorkloadGone(Service::KIND.kind, key);
        }
        let selector =
            LabelSelector { match_labels: service.spec.selector.clone(), ..LabelSelector::default() };
        Change::workload(&Service::KIND, key, selector)
    }
}

impl From<&PodDisruptionBudget> for Change {
    fn from(budget: &PodDisruptionBudget) -> Change {
        Change::Budget(BudgetFacts {
            key: budget.key(),
            selector: budget.spec.selector.clone(),
            allowed: budget.status.disruptions_allowed,
            disrupted: budget.status.disrupted_pods.keys().cloned().collect(),
        })
    }
}
