//! VolumeRestrictions, VolumeBinding, VolumeZone: keep pods to the nodes from which their volumes can be reached, or on
//! which volumes can be found or made for them.

use orlop_core::{Key, Name};

use crate::facts::PodFacts;
use crate::framework::{Code, Depends, PreFilter, Predicate, Prepared, Reason, Refusal, Verdict};
use crate::snapshot::{NodeView, Snapshot};
use crate::volumes::{ClaimFacts, VolumeFacts, suitable};

/// Lets a claim that one pod alone may use be used by one pod alone.
#[derive(Clone, Copy, Debug)]
pub struct VolumeRestrictions;

/// Keeps a pod to the nodes that its bound volumes can be reached from, and to which those that it still needs can be
/// bound.
#[derive(Clone, Copy, Debug)]
pub struct VolumeBinding;

/// Keeps a pod to the zones that its bound volumes' labels name.
#[derive(Clone, Copy, Debug)]
pub struct VolumeZone;

fn refuse<'a>(reason: impl Into<Reason>) -> Prepared<'a> {
    Prepared::Refuse(Refusal::new(Code::UnschedulableAndUnresolvable, reason))
}

fn not_found<'a>(name: &str) -> Prepared<'a> {
    refuse(format!("persistentvolumeclaim {name:?} not found"))
}

fn key(pod: &PodFacts, name: &Name) -> Key {
    Key { namespace: pod.key.namespace.clone(), name: name.clone() }
}

impl PreFilter for VolumeRestrictions {
    fn name(&self) -> &str {
        "VolumeRestrictions"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        let mut exclusive = Vec::new();
        for claim in pod.claims.iter().filter(|c| !c.ephemeral) {
            match cluster.claim(&key(pod, &claim.name)) {
                None => return not_found(&claim.name),
                Some(facts) if facts.access_modes.iter().any(|m| m == "ReadWriteOncePod") => {
                    exclusive.push(&claim.name);
                }
                Some(_) => {}
            }
        }
        exclusive.sort_unstable();
        exclusive.dedup();
        if exclusive.is_empty() {
            return Prepared::Skip;
        }
        let mut alone = Alone { pod, exclusive, others: 0 };
        let users = cluster.pods().filter(|(other, _)| other.key.namespace == pod.key.namespace);
        let used: Vec<&PodFacts> = users.map(|(other, _)| other).collect();
        // However many pods use a claim, it counts once.
        alone.others = alone.exclusive.iter().filter(|c| used.iter().any(|p| uses(p, c))).count() as i64;
        if alone.others == 0 { Prepared::Skip } else { Prepared::ready(alone) }
    }

    fn depends_on(&self) -> Depends {
        Depends::PODS_THERE.and(Depends::ELSEWHERE).and(Depends::OTHER_OBJECTS)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

fn uses(pod: &PodFacts, claim: &Name) -> bool {
    pod.claims.iter().any(|c| !c.ephemeral && c.name == *claim)
}

struct Alone<'a> {
    pod: &'a PodFacts,
    exclusive: Vec<&'a Name>,
    /// Claims that others use.
    others: i64,
}

impl Alone<'_> {
    fn change(&mut self, other: &PodFacts, by: i64) {
        if other.key.namespace == self.pod.key.namespace {
            self.others += by * self.exclusive.iter().filter(|claim| uses(other, claim)).count() as i64;
        }
    }
}

impl Predicate for Alone<'_> {
    fn filter(&self, _: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(self.others <= 0, || {
            Verdict::refuse(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by \
                 another pod",
            )
        })
    }

    fn add_pod(&mut self, pod: &PodFacts, _: &NodeView<'_>) {
        self.change(pod, 1);
    }

    fn remove_pod(&mut self, pod: &PodFacts, _: &NodeView<'_>) {
        self.change(pod, -1);
    }
}

impl PreFilter for VolumeBinding {
    fn name(&self) -> &str {
        "VolumeBinding"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        if pod.claims.is_empty() {
            return Prepared::Skip;
        }
        let mut wanted = Wanted { cluster, bound: Vec::new(), unbound: Vec::new() };
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
            let waits = || cluster.storage_class(&facts.class).is_some_and(|class| class.waits_for_consumer);
            if facts.bound {
                wanted.bound.push(facts);
            } else if facts.volume.is_empty() && waits() {
                wanted.unbound.push(facts);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return refuse("pod has unbound immediate PersistentVolumeClaims");
        }
        // Small claims first, so that they do not take the large volumes.
        wanted
            .unbound
            .sort_by(|a, b| a.requested.partial_cmp(&b.requested).unwrap_or(std::cmp::Ordering::Equal));
        Prepared::ready(wanted)
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
    bound: Vec<&'a ClaimFacts>,
    unbound: Vec<&'a ClaimFacts>,
}

impl Wanted<'_> {
    /// Whether all unbound claims can be bound from a node.
    fn can_bind(&self, node: &NodeView<'_>) -> bool {
        let labels = &node.facts().labels;
        let mut taken: Vec<&Name> = Vec::new();
        self.unbound.iter().all(|claim| {
            match &claim.selected_node {
                Some(selected) if selected != node.name() => return false,
                Some(_) => {}
                None => {
                    if let Some(volume) = suitable(claim, self.cluster.volumes(), labels, &taken) {
                        taken.push(&volume.name);
                        return true;
                    }
                }
            }
            self.cluster.storage_class(&claim.class).is_some_and(|class| class.can_provision(labels))
        })
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
}
