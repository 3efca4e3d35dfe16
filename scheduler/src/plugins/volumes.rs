//! VolumeBinding, VolumeZone: keep pods to the nodes from which their volumes can be reached, or on which volumes can be
//! found or made for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_core::kinds::{PersistentVolume, PersistentVolumeClaim};
use orlop_core::{Key, Labels, Name, Object, Revision, Write};
use serde_json::json;

use crate::facts::PodFacts;
use crate::framework::{
    Code, Depends, PreBind, PreFilter, Predicate, Prepared, Reason, Refusal, Reserve, Verdict,
};
use crate::snapshot::{NodeView, Snapshot};
use crate::volumes::{ClaimFacts, SELECTED_NODE, VolumeFacts, suitable};

/// Keeps a pod to the nodes that its bound volumes can be reached from, and to which those that it still needs can be
/// bound. Once a node is chosen, the volumes are claimed for the pod; before the pod is bound, they are bound to its
/// claims, or the claims are marked with the node for which volumes are to be made.
///
/// What follows is another's work, in Kubernetes the volume controller's and the provisioner's: that volumes are made,
/// and that the claim names its volume. The pod is bound once that is so.
#[derive(Clone, Debug, Default)]
pub struct VolumeBinding {
    /// Volumes that are claimed though their objects do not say so yet, and for which claim. Clones share it.
    claimed: Arc<Mutex<BTreeMap<Name, Key>>>,
}

/// Keeps a pod to the zones that its bound volumes' labels name.
#[derive(Clone, Copy, Debug)]
pub struct VolumeZone;

fn refuse<'a>(reason: impl Into<Reason>) -> Prepared<'a> {
    Prepared::Refuse(Refusal::new(Code::UnschedulableAndUnresolvable, reason))
}

pub(super) fn not_found<'a>(name: &str) -> Prepared<'a> {
    refuse(format!("persistentvolumeclaim {name:?} not found"))
}

pub(super) fn key(pod: &PodFacts, name: &Name) -> Key {
    Key { namespace: pod.key.namespace.clone(), name: name.clone() }
}

/// Whether a claim gets its volume once a pod that uses it has a node.
fn waits(claim: &ClaimFacts, cluster: &Snapshot) -> bool {
    claim.volume.is_empty()
        && cluster.storage_class(&claim.class).is_some_and(|class| class.waits_for_consumer)
}

/// What of a pod's claims and their volumes is not there.
pub(super) fn missing(pod: &PodFacts, cluster: &Snapshot) -> Option<String> {
    let mut said = Vec::new();
    for claim in &pod.claims {
        let name = &claim.name;
        match cluster.claim(&key(pod, name)) {
            None => said.push(format!("claim {name} must be created")),
            Some(facts) if facts.terminating => said.push(format!("claim {name} must be created anew")),
            Some(facts) if waits(facts, cluster) => {}
            Some(facts) if !facts.volume.is_empty() && cluster.volume(&facts.volume).is_none() => {
                said.push(format!("volume {} of claim {name} must exist", facts.volume));
            }
            Some(facts) if !facts.bound => said.push(format!("claim {name} must be bound")),
            Some(_) => {}
        }
    }
    (!said.is_empty()).then(|| said.join("; "))
}

impl PreFilter for VolumeBinding {
    fn name(&self) -> &str {
        "VolumeBinding"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        if pod.claims.is_empty() {
            return Prepared::Skip;
        }
        let claimed = self.still_claimed(cluster);
        let mut wanted = Wanted { cluster, claimed, bound: Vec::new(), unbound: Vec::new() };
        let mut immediate = false;
        for claim in &pod.claims {
            let name = &claim.name;
            let Some(facts) = cluster.claim(&key(pod, name)) else {
                if claim.ephemeral {
                    return refuse(format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                    ));
                }
                return not_found(name);
            };
            if facts.lost {
                let volume = &facts.volume;
                return refuse(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
                ));
            }
            if facts.terminating {
                return refuse(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if facts.bound {
                wanted.bound.push(facts);
            } else if waits(facts, cluster) {
                wanted.unbound.push(facts);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return refuse("pod has unbound immediate PersistentVolumeClaims");
        }
        small_first(&mut wanted.unbound);
        Prepared::ready(wanted)
    }

    fn remedy(&self, pod: &PodFacts, cluster: &Snapshot) -> Option<String> {
        missing(pod, cluster)
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_LABELS.and(Depends::NODE_NAME).and(Depends::OTHER_OBJECTS)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

struct Wanted<'a> {
    cluster: &'a Snapshot,
    claimed: BTreeMap<Name, Key>,
    bound: Vec<&'a ClaimFacts>,
    unbound: Vec<&'a ClaimFacts>,
}

/// How an unbound claim gets its volume.
enum Way<'a> {
    /// This volume is free for it.
    Volume(&'a ClaimFacts, &'a VolumeFacts),
    /// One is to be made for the node.
    Made(&'a ClaimFacts),
}

impl<'a> Wanted<'a> {
    /// How each unbound claim can be bound from a node; `None` if one cannot.
    fn ways(&self, node: &str, labels: &Labels) -> Option<Vec<Way<'a>>> {
        let mut taken: Vec<&Name> = Vec::new();
        let mut ways = Vec::new();
        for &claim in &self.unbound {
            match &claim.selected_node {
                Some(selected) if selected != node => return None,
                Some(_) => {}
                None => {
                    let others =
                        self.claimed.iter().filter(|(_, by)| **by != claim.key).map(|(name, _)| name);
                    let not: Vec<&Name> = taken.iter().copied().chain(others).collect();
                    if let Some(volume) = suitable(claim, self.cluster.volumes(), labels, &not) {
                        taken.push(&volume.name);
                        ways.push(Way::Volume(claim, volume));
                        continue;
                    }
                }
            }
            let class = self.cluster.storage_class(&claim.class);
            if !class.is_some_and(|class| class.can_provision(labels)) {
                return None;
            }
            ways.push(Way::Made(claim));
        }
        Some(ways)
    }

    /// Whether all unbound claims can be bound from a node.
    fn can_bind(&self, node: &NodeView<'_>) -> bool {
        self.ways(node.name(), &node.facts().labels).is_some()
    }
}

impl VolumeBinding {
    fn claimed(&self) -> MutexGuard<'_, BTreeMap<Name, Key>> {
        // Nobody leaves it half changed.
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is claimed and does not say so itself yet.
    fn still_claimed(&self, cluster: &Snapshot) -> BTreeMap<Name, Key> {
        let mut claimed = self.claimed();
        claimed.retain(|name, by| {
            let volume = cluster.volume(name);
            volume.is_some_and(|v| v.claim.as_ref().is_none_or(|(key, _)| key != by))
                && cluster.claim(by).is_some()
        });
        claimed.clone()
    }

    /// How a pod's unbound claims would be bound from a node.
    fn ways<'a>(&self, pod: &PodFacts, node: &str, cluster: &'a Snapshot) -> Option<Vec<Way<'a>>> {
        let labels = &cluster.node(node)?.facts().labels;
        let claims = pod.claims.iter().filter_map(|claim| cluster.claim(&key(pod, &claim.name)));
        let mut unbound: Vec<&ClaimFacts> = claims.filter(|claim| !claim.bound).collect();
        small_first(&mut unbound);
        Wanted { cluster, claimed: self.still_claimed(cluster), bound: Vec::new(), unbound }
            .ways(node, labels)
    }
}

/// Small claims first, so that they do not take the large volumes.
fn small_first(claims: &mut [&ClaimFacts]) {
    claims.sort_by(|a, b| a.requested.partial_cmp(&b.requested).unwrap_or(std::cmp::Ordering::Equal));
}

impl Reserve for VolumeBinding {
    fn name(&self) -> &str {
        "VolumeBinding"
    }

    fn reserve(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
        let Some(ways) = self.ways(pod, node.name(), node.cluster()) else {
            return Verdict::refuse_firmly("node(s) didn't find available persistent volumes to bind");
        };
        let mut claimed = self.claimed();
        for way in ways {
            if let Way::Volume(claim, volume) = way {
                claimed.insert(volume.name.clone(), claim.key.clone());
            }
        }
        Verdict::Fits
    }

    fn unreserve(&self, pod: &PodFacts, _: &str) {
        let own = |by: &Key| {
            by.namespace == pod.key.namespace && pod.claims.iter().any(|claim| claim.name == by.name)
        };
        self.claimed().retain(|_, by| !own(by));
    }
}

impl PreBind for VolumeBinding {
    fn name(&self) -> &str {
        "VolumeBinding"
    }

    fn pre_bind(&self, pod: &PodFacts, node: &str, cluster: &Snapshot) -> Vec<Write> {
        let ways = self.ways(pod, node, cluster).unwrap_or_default();
        // Whoever has given a volume away meanwhile has given it away.
        let seen = |write: Write, revision: Revision| Write {
            revision: Some(revision).filter(|revision| revision.0 > 0),
            ..write
        };
        let write = |way: &Way<'_>| match way {
            Way::Volume(claim, volume) => {
                let reference = json!({
                    "apiVersion": "v1",
                    "kind": PersistentVolumeClaim::KIND.kind,
                    "namespace": claim.key.namespace,
                    "name": claim.key.name,
                    "uid": claim.uid,
                });
                let patch = json!({
                    "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
                    "spec": {"claimRef": reference},
                });
                let key = Key::cluster(volume.name.clone());
                seen(Write::merge(PersistentVolume::KIND, key, patch), volume.revision)
            }
            Way::Made(claim) => {
                let annotations = json!({SELECTED_NODE: node});
                let patch = json!({"metadata": {"annotations": annotations}});
                seen(Write::merge(PersistentVolumeClaim::KIND, claim.key.clone(), patch), claim.revision)
            }
        };
        ways.iter().map(write).collect()
    }

    fn is_done(&self, pod: &PodFacts, node: &str, cluster: &Snapshot) -> Result<bool, String> {
        let node = cluster.node(node).ok_or_else(|| format!("node {node} is gone"))?;
        let mut done = true;
        for claim in &pod.claims {
            let name = &claim.name;
            let facts = cluster.claim(&key(pod, name)).filter(|facts| !facts.terminating);
            let facts = facts.ok_or_else(|| format!("claim {name} is gone"))?;
            if facts.bound {
                let volume = cluster.volume(&facts.volume);
                if volume.is_some_and(|volume| !volume.reaches(&node.facts().labels)) {
                    return Err(format!("volume {} of claim {name} is elsewhere", facts.volume));
                }
                continue;
            }
            done = false;
            // A provisioner takes the node away where it cannot make a volume for it, so that another is chosen.
            let chosen = cluster.volumes().any(|v| v.claim.as_ref().is_some_and(|(by, _)| *by == facts.key));
            if facts.selected_node.is_none() && facts.volume.is_empty() && !chosen {
                return Err(format!("no volume is made for claim {name} on this node"));
            }
        }
        Ok(done)
    }
}

impl Predicate for Wanted<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        let mut reasons: smallvec::SmallVec<[Reason; 1]> = smallvec::SmallVec::new();
        let (mut reached, mut there) = (true, true);
        for claim in &self.bound {
            match self.cluster.volume(&claim.volume) {
                None => there = false,
                Some(volume) => reached = volume.reaches(&node.facts().labels),
            }
            if !there || !reached {
                break;
            }
        }
        if !reached {
            reasons.push("node(s) didn't match PersistentVolume's node affinity".into());
        }
        if !self.can_bind(node) {
            reasons.push("node(s) didn't find available persistent volumes to bind".into());
        }
        if !there {
            reasons.push("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".into());
        }
        let code = Code::UnschedulableAndUnresolvable;
        Verdict::fits_or(reasons.is_empty(), || Verdict::Refuses(Refusal { code, reasons }))
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let mut said = Vec::new();
        for claim in &self.bound {
            let (name, volume) = (&claim.key.name, &claim.volume);
            match self.cluster.volume(volume) {
                Some(facts) if !facts.reaches(&node.facts().labels) => {
                    said.push(format!("volume {volume} of claim {name} is elsewhere"));
                }
                Some(_) => {}
                None => said.push(format!("volume {volume} of claim {name} must exist")),
            }
        }
        if !self.can_bind(node) {
            let needs = |claim: &&ClaimFacts| {
                format!("claim {} needs a volume that this node reaches", claim.key.name)
            };
            said.extend(self.unbound.iter().map(needs));
        }
        Some(said.join("; "))
    }
}

/// The labels that name zones and regions, each with its older name.
const ZONES: [(&str, &str); 4] = [
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];

impl PreFilter for VolumeZone {
    fn name(&self) -> &str {
        "VolumeZone"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        let mut zones = Zones(Vec::new());
        for claim in pod.claims.iter().filter(|c| !c.ephemeral) {
            let Some(facts) = cluster.claim(&key(pod, &claim.name)) else { return not_found(&claim.name) };
            if facts.volume.is_empty() {
                if facts.class.is_empty() {
                    return refuse("PersistentVolumeClaim had no pv name and storageClass name");
                }
                match cluster.storage_class(&facts.class) {
                    Some(class) if class.waits_for_consumer => continue,
                    Some(_) => return refuse("PersistentVolume had no name"),
                    None => {
                        return refuse(format!("storageclass.storage.k8s.io {:?} not found", facts.class));
                    }
                }
            }
            match cluster.volume(&facts.volume) {
                Some(volume) => zones.add(volume),
                None => return refuse(format!("persistentvolume {:?} not found", facts.volume)),
            }
        }
        if zones.0.is_empty() { Prepared::Skip } else { Prepared::ready(zones) }
    }

    fn remedy(&self, pod: &PodFacts, cluster: &Snapshot) -> Option<String> {
        missing(pod, cluster)
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_LABELS.and(Depends::OTHER_OBJECTS)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

/// What the nodes' labels must be: a label, its other name, and the values that will do.
struct Zones<'a>(Vec<(&'static str, &'static str, Vec<&'a str>)>);

impl<'a> Zones<'a> {
    fn add(&mut self, volume: &'a VolumeFacts) {
        for (key, other) in ZONES {
            if let Some(value) = volume.labels.get(key) {
                self.0.push((key, other, value.split("__").collect()));
            }
        }
    }
}

impl Predicate for Zones<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        if ZONES.iter().all(|(key, _)| node.label(key).is_none()) {
            return Verdict::Fits;
        }
        let fits = self.0.iter().all(|(key, other, values)| {
            node.label(key).or_else(|| node.label(other)).is_some_and(|value| values.contains(&value))
        });
        Verdict::fits_or(fits, || Verdict::refuse_firmly("node(s) had no available volume zone"))
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let elsewhere = self.0.iter().filter(|(key, other, values)| {
            !node.label(key).or_else(|| node.label(other)).is_some_and(|value| values.contains(&value))
        });
        let said = elsewhere.map(|(key, _, values)| format!("a volume is in {key} {}", values.join(", ")));
        Some(said.collect::<Vec<_>>().join("; "))
    }
}
