//! What decisions need of volumes, claims and storage classes, and of what is attached to nodes.

use std::collections::BTreeMap;

use orlop_core::kinds::{self, CSINode, PersistentVolume, PersistentVolumeClaim, StorageClass};
use orlop_core::rules::node_affinity::{NodeTerm, terms};
use orlop_core::rules::volume::class_of;
use orlop_core::rules::{Quantity, Selector};
use orlop_core::{Key, Kind, Labels, Name, Object, Revision};
use serde_json::Value;

use crate::facts::selector_of;

/// The annotation of a claim that is bound for good.
const BOUND: &str = "pv.kubernetes.io/bind-completed";
/// The annotation of a claim whose volume is being made for a node.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// What a storage class names that makes no volumes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Which driver has taken the place of a plugin that was once part of Kubernetes. `None`: it is no such plugin;
/// `Some(None)`: its volumes do not count.
pub(crate) fn successor(plugin: &str) -> Option<Option<&'static str>> {
    Some(match plugin {
        "kubernetes.io/aws-ebs" => Some(AWS),
        "kubernetes.io/azure-disk" => Some(AZURE),
        "kubernetes.io/cinder" => Some(CINDER),
        "kubernetes.io/gce-pd" => Some(GCE),
        "kubernetes.io/portworx-volume" => Some(PORTWORX),
        "kubernetes.io/azure-file" | "kubernetes.io/vsphere-volume" => None,
        _ => return None,
    })
}

const AWS: &str = "ebs.csi.aws.com";
const AZURE: &str = "disk.csi.azure.com";
const CINDER: &str = "cinder.csi.openstack.org";
const GCE: &str = "pd.csi.storage.gke.io";
const PORTWORX: &str = "pxd.portworx.com";

/// A volume that a driver attaches to nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachable {
    /// The driver.
    pub driver: Name,
    /// What the driver calls the volume.
    pub handle: Name,
}

impl Attachable {
    fn new(driver: &'static str, handle: impl Into<Name>) -> Attachable {
        Attachable { driver: Name::new_static(driver), handle: handle.into() }
    }

    /// The volume that a pod names itself, if a driver attaches it.
    pub(crate) fn of_pod(volume: &kinds::Volume) -> Option<Attachable> {
        InTree {
            aws: volume.aws_elastic_block_store.as_ref(),
            gce: volume.gce_persistent_disk.as_ref(),
            labels: &Labels::new(),
            azure: &volume.azure_disk,
            portworx: &volume.portworx_volume,
            cinder: &volume.cinder,
        }
        .attachable()
    }

    /// The same of a persistent volume.
    fn of_volume(volume: &PersistentVolume) -> Option<Attachable> {
        let spec = &volume.spec;
        if let Some(csi) = &spec.csi {
            let known = !csi.driver.is_empty() && !csi.volume_handle.is_empty();
            return known
                .then(|| Attachable { driver: csi.driver.clone(), handle: csi.volume_handle.clone() });
        }
        InTree {
            aws: spec.aws_elastic_block_store.as_ref(),
            gce: spec.gce_persistent_disk.as_ref(),
            labels: &volume.metadata.labels,
            azure: &spec.azure_disk,
            portworx: &spec.portworx_volume,
            cinder: &spec.cinder,
        }
        .attachable()
    }
}

/// The sources that were once plugins of Kubernetes' own. Pods and volumes name them alike.
struct InTree<'a> {
    aws: Option<&'a kinds::AWSElasticBlockStoreVolumeSource>,
    gce: Option<&'a kinds::GCEPersistentDiskVolumeSource>,
    /// Of the volume; they say where a disk of Compute Engine is.
    labels: &'a Labels,
    azure: &'a Value,
    portworx: &'a Value,
    cinder: &'a Value,
}

impl InTree<'_> {
    fn attachable(&self) -> Option<Attachable> {
        let text = |value: &Value, field: &str| value[field].as_str().map(Name::from);
        if let Some(disk) = self.aws {
            return Some(Attachable::new(AWS, last_part(&disk.volume_id)));
        }
        if let Some(disk) = self.gce {
            return Some(Attachable::new(GCE, gce_handle(&disk.pd_name, self.labels)));
        }
        if let Some(uri) = text(self.azure, "diskURI") {
            return Some(Attachable::new(AZURE, uri));
        }
        if let Some(id) = text(self.portworx, "volumeID") {
            return Some(Attachable::new(PORTWORX, id));
        }
        text(self.cinder, "volumeID").map(|id| Attachable::new(CINDER, id))
    }
}

/// `vol-1` of `aws://zone/vol-1`.
fn last_part(id: &Name) -> Name {
    id.rsplit('/').next().map_or_else(|| id.clone(), Name::from)
}

/// What the driver calls a disk of Compute Engine, given what its volume's labels say of where it is.
fn gce_handle(disk: &Name, labels: &Labels) -> Name {
    let of = |kind: &str| {
        let names =
            [format!("topology.kubernetes.io/{kind}"), format!("failure-domain.beta.kubernetes.io/{kind}")];
        names.iter().find_map(|name| labels.get(name.as_str())).filter(|value| !value.is_empty()).cloned()
    };
    match (of("zone"), of("region")) {
        // A disk in several zones is one of their region.
        (Some(zones), region) if zones.contains("__") => {
            let region = region.unwrap_or_else(|| {
                let first = zones.split("__").next().unwrap_or_default();
                Name::from(first.rsplit_once('-').map_or(first, |(region, _)| region))
            });
            smol_str::format_smolstr!("projects/UNSPECIFIED/regions/{region}/disks/{disk}")
        }
        (zone, _) => {
            let zone = zone.unwrap_or(Name::new_static("UNSPECIFIED"));
            smol_str::format_smolstr!("projects/UNSPECIFIED/zones/{zone}/disks/{disk}")
        }
    }
}

/// A disk that a pod names itself and that not everybody can have at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Of Compute Engine, by name; many may read it.
    Gce(Name, bool),
    /// Of Elastic Block Store, by ID; one pod alone may have it.
    Ebs(Name),
    /// By its iSCSI name; many may read it.
    Iscsi(Name, bool),
    /// An image of Ceph in a pool, at these monitors; many may read it.
    Rbd {
        /// The monitors.
        monitors: Vec<Name>,
        /// Pool and image.
        image: (Name, Name),
        /// Whether it is only read.
        read_only: bool,
    },
}

impl Disk {
    /// The disk that a volume names, if it is of such a kind.
    pub(crate) fn of(volume: &kinds::Volume) -> Option<Disk> {
        if let Some(disk) = &volume.gce_persistent_disk {
            return Some(Disk::Gce(disk.pd_name.clone(), disk.read_only));
        }
        if let Some(disk) = &volume.aws_elastic_block_store {
            return Some(Disk::Ebs(disk.volume_id.clone()));
        }
        if let Some(disk) = &volume.iscsi {
            return Some(Disk::Iscsi(disk.iqn.clone(), disk.read_only));
        }
        let disk = volume.rbd.as_ref()?;
        Some(Disk::Rbd {
            monitors: disk.monitors.clone(),
            image: (disk.pool.clone(), disk.image.clone()),
            read_only: disk.read_only,
        })
    }

    /// Whether two pods on one node cannot have both.
    pub fn conflicts(&self, other: &Disk) -> bool {
        match (self, other) {
            (Disk::Gce(a, a_reads), Disk::Gce(b, b_reads))
            | (Disk::Iscsi(a, a_reads), Disk::Iscsi(b, b_reads)) => a == b && !(*a_reads && *b_reads),
            (Disk::Ebs(a), Disk::Ebs(b)) => a == b,
            (
                Disk::Rbd { monitors: a, image, read_only: a_reads },
                Disk::Rbd { monitors: b, image: other, read_only: b_reads },
            ) => image == other && !(*a_reads && *b_reads) && a.iter().any(|monitor| b.contains(monitor)),
            _ => false,
        }
    }
}

/// What drivers can attach to a node: of its `CSINode`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiNodeFacts {
    /// The node.
    pub name: Name,
    /// How many volumes each driver can attach to it, where it says so.
    pub limits: BTreeMap<Name, i32>,
}

impl From<&CSINode> for CsiNodeFacts {
    fn from(node: &CSINode) -> CsiNodeFacts {
        let limit = |driver: &kinds::CSINodeDriver| {
            Some((driver.name.clone(), driver.allocatable.as_ref().and_then(|a| a.count)?))
        };
        CsiNodeFacts {
            name: node.metadata.name.clone(),
            limits: node.spec.drivers.iter().filter_map(limit).collect(),
        }
    }
}

/// That a volume is attached to a node: of a `VolumeAttachment`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachmentFacts {
    /// The name.
    pub name: Name,
    /// The node.
    pub node: Name,
    /// The driver.
    pub attacher: Name,
    /// The persistent volume; empty for one that a pod names itself.
    pub volume: Name,
}

impl AttachmentFacts {
    /// From an object of the API.
    pub fn from_json(attachment: &Value) -> AttachmentFacts {
        let spec = &attachment["spec"];
        let text = |value: &Value| Name::from(value.as_str().unwrap_or_default());
        AttachmentFacts {
            name: text(&attachment["metadata"]["name"]),
            node: text(&spec["nodeName"]),
            attacher: text(&spec["attacher"]),
            volume: text(&spec["source"]["persistentVolumeName"]),
        }
    }
}

/// The kind of what says that a volume is attached.
pub(crate) fn volume_attachment() -> Kind {
    Kind::cluster("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments")
}

/// A persistent volume.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeFacts {
    /// The commit that this state was read at; 0: not known.
    pub revision: Revision,
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
    /// What it is to the driver that attaches it, if one does.
    pub attachable: Option<Attachable>,
    /// Whether it names that driver itself.
    pub is_csi: bool,
}

impl VolumeFacts {
    /// Whether it can be reached from a node with these labels.
    pub fn reaches(&self, labels: &Labels) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.iter().any(|term| term.matches(labels, "")))
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
            revision: Revision::default(),
            name: volume.metadata.name.clone(),
            labels: volume.metadata.labels.clone(),
            capacity: spec.capacity.get("storage").cloned().unwrap_or_default(),
            class: class_of(&volume.metadata, &spec.storage_class_name).clone(),
            access_modes: spec.access_modes.clone(),
            mode: mode(&spec.volume_mode),
            claim: spec
                .claim_ref
                .as_ref()
                .map(|c| (Key::new(c.namespace.clone(), c.name.clone()), c.uid.clone())),
            available: volume.status.phase == "Available",
            terminating: volume.metadata.is_terminating(),
            nodes: spec.node_affinity.as_ref().and_then(|a| a.required.as_ref()).map(terms),
            attachable: Attachable::of_volume(volume),
            is_csi: spec.csi.is_some(),
        }
    }
}

fn mode(mode: &Name) -> Name {
    if mode.is_empty() { Name::new_static("Filesystem") } else { mode.clone() }
}

/// A claim of a persistent volume.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimFacts {
    /// The commit that this state was read at; 0: not known.
    pub revision: Revision,
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
            revision: Revision::default(),
            key: claim.key(),
            uid: meta.uid.clone(),
            volume: spec.volume_name.clone(),
            bound: !spec.volume_name.is_empty() && meta.annotation(BOUND).is_some(),
            lost: claim.status.phase == "Lost",
            terminating: meta.is_terminating(),
            class: class_of(meta, &spec.storage_class_name).clone(),
            requested: spec.resources.requests.get("storage").cloned().unwrap_or_default(),
            access_modes: spec.access_modes.clone(),
            mode: mode(&spec.volume_mode),
            selector: spec.selector.as_ref().map(|s| selector_of(Some(s))),
            selected_node: meta.annotations.get(SELECTED_NODE).cloned(),
        }
    }
}

/// A storage class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFacts {
    /// The name.
    pub name: Name,
    /// Who makes volumes.
    pub provisioner: Name,
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
            provisioner: class.provisioner.clone(),
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
