//! VolumeRestrictions: lets a disk that one node alone, or one pod alone, may use be used so.

use orlop_core::Name;
use smallvec::SmallVec;

use crate::bitset::NodeSet;
use crate::facts::PodFacts;
use crate::framework::{Depends, PreFilter, Predicate, Prepared, Verdict};
use crate::plugins::volumes::{key, missing, not_found};
use crate::snapshot::{NodeView, Snapshot};

/// Keeps a pod off nodes where another has a disk that it names itself and that both cannot have, and lets a claim of
/// access mode `ReadWriteOncePod` be used by one pod alone.
#[derive(Clone, Copy, Debug)]
pub struct VolumeRestrictions;

impl PreFilter for VolumeRestrictions {
    fn name(&self) -> &str {
        "VolumeRestrictions"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
        let mut exclusive: SmallVec<[&Name; 4]> = SmallVec::new();
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
        let mut restricted = Restricted { pod, exclusive, others: 0 };
        if !restricted.exclusive.is_empty() {
            let users = cluster.pods().filter(|(other, _)| other.key.namespace == pod.key.namespace);
            let used: Vec<&PodFacts> = users.map(|(other, _)| other).collect();
            // However many pods use a claim, it counts once.
            let in_use = |claim: &&&Name| used.iter().any(|pod| uses(pod, claim));
            restricted.others = restricted.exclusive.iter().filter(in_use).count() as i64;
        }
        if pod.disks.is_empty() && restricted.others == 0 {
            return Prepared::Skip;
        }
        Prepared::ready(restricted)
    }

    fn remedy(&self, pod: &PodFacts, cluster: &Snapshot) -> Option<String> {
        missing(pod, cluster)
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

struct Restricted<'a> {
    pod: &'a PodFacts,
    /// Claims that one pod alone may use.
    exclusive: SmallVec<[&'a Name; 4]>,
    /// How many of them others use.
    others: i64,
}

impl Restricted<'_> {
    fn change(&mut self, other: &PodFacts, by: i64) {
        if other.key.namespace == self.pod.key.namespace {
            self.others += by * self.exclusive.iter().filter(|claim| uses(other, claim)).count() as i64;
        }
    }

    fn has_its_disks(&self, node: &NodeView<'_>) -> bool {
        self.pod.disks.is_empty() || !node.pods().any(|other| self.is_kept_off_by(other))
    }

    /// Whether another pod has a disk that both cannot have.
    fn is_kept_off_by(&self, other: &PodFacts) -> bool {
        other.disks.iter().any(|had| self.pod.disks.iter().any(|disk| disk.conflicts(had)))
    }
}

impl Predicate for Restricted<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        if !self.has_its_disks(node) {
            return Verdict::refuse("node(s) had no available disk");
        }
        Verdict::fits_or(self.others <= 0, || {
            Verdict::refuse(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by \
                 another pod",
            )
        })
    }

    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        if self.others > 0 {
            *nodes = NodeSet::new();
        } else {
            nodes.retain(|node| self.has_its_disks(&cluster.view(node)));
        }
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        if self.has_its_disks(node) {
            return Some("the pods that use the claim must end first".to_owned());
        }
        let holders = node.pods().filter(|other| self.is_kept_off_by(other));
        let mut holders: Vec<String> = holders.map(|other| other.key.to_string()).collect();
        holders.sort_unstable();
        Some(format!("{} must leave the node: it has the disk", holders.join(", ")))
    }

    fn add_pod(&mut self, pod: &PodFacts, _: &NodeView<'_>) {
        self.change(pod, 1);
    }

    fn remove_pod(&mut self, pod: &PodFacts, _: &NodeView<'_>) {
        self.change(pod, -1);
    }
}
