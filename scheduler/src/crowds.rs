//! Pods that no term can tell apart, counted by node: [`Crowds`].
//!
//! A term of affinity or spreading looks at a pod's namespace, its labels and, where the pod's own terms matter, at
//! those. However many pods there are, they make few crowds; a term is matched against each crowd once, and what it
//! counts is read off the crowd's nodes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use crate::facts::{AffinityTerm, PodFacts};
use crate::snapshot::NodeId;

/// Pods of one namespace with the same labels and the same terms of affinity.
#[derive(Clone, Debug)]
pub struct Crowd {
    sample: Arc<PodFacts>,
    hash: u64,
    by_node: FxHashMap<NodeId, u32>,
    /// Members, those without a node that is here among them.
    members: usize,
}

impl Crowd {
    /// One of them, or one that was: for its namespace, labels and terms.
    pub fn sample(&self) -> &PodFacts {
        &self.sample
    }

    /// How many there are on each node that has some; in no order.
    pub fn by_node(&self) -> impl Iterator<Item = (NodeId, i64)> + '_ {
        self.by_node.iter().map(|(node, n)| (*node, i64::from(*n)))
    }

    /// Whether its pods have terms of their own.
    pub fn is_choosy(&self) -> bool {
        let pod = &self.sample;
        !(pod.anti_affinity.is_empty() && pod.affinity.is_empty() && pod.preferred_affinity.is_empty())
    }
}

/// A crowd's number in one snapshot, until the crowds are numbered anew.
pub(crate) type CrowdId = u32;

/// All crowds. Those that have become empty keep their number until many have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowds {
    rows: Vec<Crowd>,
    by_hash: FxHashMap<u64, SmallVec<[CrowdId; 1]>>,
    choosy: Vec<CrowdId>,
    empty: usize,
}

impl Crowds {
    /// The crowd of a pod, which becomes a member.
    pub(crate) fn join(&mut self, pod: &Arc<PodFacts>) -> CrowdId {
        let hash = hash(pod);
        let alike = self.by_hash.entry(hash).or_default();
        if let Some(id) = alike.iter().copied().find(|id| same(&self.rows[*id as usize].sample, pod)) {
            let row = &mut self.rows[id as usize];
            self.empty -= usize::from(row.members == 0);
            row.members += 1;
            return id;
        }
        let id = CrowdId::try_from(self.rows.len()).expect("fewer than 2^32 crowds");
        alike.push(id);
        let row = Crowd { sample: pod.clone(), hash, by_node: FxHashMap::default(), members: 1 };
        if row.is_choosy() {
            self.choosy.push(id);
        }
        self.rows.push(row);
        id
    }

    pub(crate) fn leave(&mut self, id: CrowdId) {
        let row = &mut self.rows[id as usize];
        row.members -= 1;
        self.empty += usize::from(row.members == 0);
    }

    /// A member came to a node, or left it.
    pub(crate) fn count(&mut self, id: CrowdId, node: NodeId, came: bool) {
        let by_node = &mut self.rows[id as usize].by_node;
        if came {
            *by_node.entry(node).or_insert(0) += 1;
        } else if let Some(n) = by_node.get_mut(&node) {
            *n -= 1;
            if *n == 0 {
                by_node.remove(&node);
            }
        }
    }

    pub(crate) fn get(&self, id: CrowdId) -> &Crowd {
        &self.rows[id as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The crowds with members on nodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CrowdId, &Crowd)> {
        (0..).zip(&self.rows).filter(|(_, row)| !row.by_node.is_empty())
    }

    /// Those whose pods have terms of their own, empty ones among them.
    pub(crate) fn choosy(&self) -> impl Iterator<Item = &Crowd> {
        self.choosy.iter().map(|id| self.get(*id))
    }

    /// Whether so many are empty that they should be forgotten.
    pub(crate) fn is_sparse(&self) -> bool {
        self.empty > 1_024 && self.empty * 2 > self.rows.len()
    }

    /// Forgets empty crowds; answers with the new number of each that stays.
    pub(crate) fn renumber(&mut self) -> Vec<CrowdId> {
        let mut numbers = Vec::with_capacity(self.rows.len());
        let mut next = 0;
        for row in &self.rows {
            numbers.push(next);
            next += CrowdId::from(row.members > 0);
        }
        self.rows.retain(|row| row.members > 0);
        self.empty = 0;
        self.by_hash.clear();
        self.choosy.clear();
        for (id, row) in (0..).zip(&self.rows) {
            self.by_hash.entry(row.hash).or_default().push(id);
            if row.is_choosy() {
                self.choosy.push(id);
            }
        }
        numbers
    }
}

fn same(a: &PodFacts, b: &PodFacts) -> bool {
    a.key.namespace == b.key.namespace
        && a.labels == b.labels
        && a.is_terminating() == b.is_terminating()
        && a.anti_affinity == b.anti_affinity
        && a.affinity == b.affinity
        && a.preferred_affinity == b.preferred_affinity
}

fn hash(pod: &PodFacts) -> u64 {
    let mut hasher = FxHasher::default();
    pod.key.namespace.hash(&mut hasher);
    pod.labels.hash(&mut hasher);
    pod.is_terminating().hash(&mut hasher);
    let weighted = pod.preferred_affinity.iter().map(|(_, term)| term);
    for term in pod.anti_affinity.iter().chain(&pod.affinity).chain(weighted) {
        hash_term(term, &mut hasher);
    }
    hasher.finish()
}

/// Not all of a term: what differs between most.
pub(crate) fn hash_term(term: &AffinityTerm, hasher: &mut FxHasher) {
    term.topology_key.hash(hasher);
    for requirement in term.selector.requirements().into_iter().flatten() {
        requirement.key().hash(hasher);
        requirement.values().hash(hasher);
    }
}
