//! NodeVolumeLimits: keeps a pod off nodes to which no more volumes of a driver can be attached.
//!
//! A node's `CSINode` says how many volumes each driver can attach to it. What counts are the volumes of the pods there
//! and those that a `VolumeAttachment` says are attached, each once. Volumes of plugins that were once part of Kubernetes
//! count for the drivers that have taken their place (KEP-625).

use std::collections::BTreeSet;

use orlop_core::Name;

use crate::facts::PodFacts;
use crate::framework::{Depends, PreFilter, Predicate, Prepared, Verdict};
use crate::plugins::volumes::{key, missing, not_found};
use crate::snapshot::{NodeView, Snapshot};
use crate::volumes::{Attachable, ClaimFacts, successor};

/// Its name.
pub(crate) const NODE_VOLUME_LIMITS: &str = "NodeVolumeLimits";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct NodeVolumeLimits;

/// Volumes to attach.
type Attached = BTreeSet<Attachable>;

impl PreFilter for NodeVolumeLimits {
    fn name(&self) -> &str {
        NODE_VOLUME_LIMITS
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        if pod.claims.is_empty() && pod.attached.is_empty() {
            return Prepared::Skip;
        }
        for claim in &pod.claims {
            if cluster.claim(&key(pod, &claim.name)).is_none() {
                return not_found(&claim.name);
            }
        }
        Prepared::ready(Limits { cluster, wanted: volumes(pod, cluster) })
    }

    fn remedy(&self, pod: &PodFacts, cluster: &Snapshot) -> Option<String> {
        missing(pod, cluster)
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_NAME.and(Depends::PODS_THERE).and(Depends::OTHER_OBJECTS)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

/// The volumes of a pod that drivers attach.
fn volumes(pod: &PodFacts, cluster: &Snapshot) -> Attached {
    let claims = pod.claims.iter().filter_map(|claim| cluster.claim(&key(pod, &claim.name)));
    pod.attached.iter().cloned().chain(claims.filter_map(|claim| of_claim(claim, cluster))).collect()
}

/// The volume of a claim; one that is still to be made counts for who will make it.
fn of_claim(claim: &ClaimFacts, cluster: &Snapshot) -> Option<Attachable> {
    if let Some(volume) = cluster.volume(&claim.volume) {
        return volume.attachable.clone();
    }
    let class = cluster.storage_class(&claim.class)?;
    let driver = match successor(&class.provisioner) {
        Some(taken_over) => Name::new_static(taken_over?),
        None => class.provisioner.clone(),
    };
    // No volume is called so.
    Some(Attachable { driver, handle: smol_str::format_smolstr!("claim {}", claim.key) })
}

struct Limits<'a> {
    cluster: &'a Snapshot,
    wanted: Attached,
}

impl Limits<'_> {
    /// The first driver of which too many volumes would be attached to the node.
    fn exceeded(&self, node: &NodeView<'_>) -> Option<&Name> {
        let limits = &self.cluster.csi_node(node.name())?.limits;
        if !self.wanted.iter().any(|volume| limits.contains_key(&volume.driver)) {
            return None;
        }
        let mut there = self.attached_to(node.name());
        for pod in node.pods() {
            there.extend(volumes(pod, self.cluster));
        }
        let new = self.wanted.iter().filter(|volume| !there.contains(volume));
        new.map(|volume| &volume.driver).find(|driver| {
            let Some(limit) = limits.get(*driver) else { return false };
            let count = self.wanted.union(&there).filter(|volume| volume.driver == **driver).count();
            count as i64 > i64::from(*limit)
        })
    }

    /// What is attached to a node, whoever uses it.
    fn attached_to(&self, node: &Name) -> Attached {
        let attachments = self.cluster.attachments_of(node);
        attachments
            .filter_map(|attachment| {
                let volume = self.cluster.volume(&attachment.volume)?;
                // Only what a driver's own volume says is known to be one of it.
                let handle = volume.attachable.as_ref().filter(|_| volume.is_csi)?.handle.clone();
                Some(Attachable { driver: attachment.attacher.clone(), handle })
            })
            .collect()
    }
}

impl Predicate for Limits<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(self.exceeded(node).is_none(), || Verdict::refuse("node(s) exceed max volume count"))
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let driver = self.exceeded(node)?;
        let limit = self.cluster.csi_node(node.name())?.limits.get(driver)?;
        Some(format!("{driver} attaches at most {limit} volumes to the node: pods with such volumes must go"))
    }
}
