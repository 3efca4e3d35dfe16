//! Which pods are alike: those that get the same answers from every plugin that looks at no more of a pod than it says.

use std::hash::{Hash, Hasher};

use orlop_core::Name;
use rustc_hash::FxHasher;

use crate::crowds::hash_term;
use crate::facts::PodFacts;
use crate::resources::Resources;

/// A pod like this one, without what is its own: name, UID, times, nomination.
pub(super) fn sample(pod: &PodFacts) -> PodFacts {
    let mut pod = pod.clone();
    pod.key.name = Name::default();
    pod.uid = Name::default();
    pod.nominated = Name::default();
    (pod.created, pod.started) = (None, None);
    pod
}

/// The same for pods that are alike.
pub(super) fn hash(pod: &PodFacts) -> u64 {
    let mut hasher = FxHasher::default();
    pod.key.namespace.hash(&mut hasher);
    pod.labels.hash(&mut hasher);
    pod.priority.hash(&mut hasher);
    amounts(&pod.requests, &mut hasher);
    if let Some(owner) = &pod.owner {
        owner.name.hash(&mut hasher);
    }
    for image in &pod.images {
        image.hash(&mut hasher);
    }
    for (key, value) in &pod.node_selector {
        key.hash(&mut hasher);
        value.hash(&mut hasher);
    }
    for term in pod.anti_affinity.iter().chain(&pod.affinity) {
        hash_term(term, &mut hasher);
    }
    (pod.tolerations.len(), pod.preferred_affinity.len(), pod.spread.len()).hash(&mut hasher);
    hasher.finish()
}

fn amounts(resources: &Resources, hasher: &mut FxHasher) {
    (resources.cpu_milli, resources.memory).hash(hasher);
    resources.others.hash(hasher);
}

/// Whether two pods are alike. Every field of a pod is named here, so that a new one is not forgotten.
pub(super) fn alike(a: &PodFacts, b: &PodFacts) -> bool {
    let PodFacts {
        key,
        uid: _,
        labels,
        owner,
        created: _,
        started: _,
        deleted,
        finished,
        priority,
        may_preempt,
        scheduler,
        node,
        nominated: _,
        gates,
        requests,
        scored_requests,
        scored_usage,
        best_effort,
        tolerations,
        node_selector,
        node_affinity,
        affinity,
        anti_affinity,
        preferred_affinity,
        spread,
        host_ports,
        images,
        claims,
        device_claims,
        preempted,
        group: _,
    } = a;
    key.namespace == b.key.namespace
        && *labels == b.labels
        && *priority == b.priority
        && *requests == b.requests
        && *scored_requests == b.scored_requests
        && *scored_usage == b.scored_usage
        && *best_effort == b.best_effort
        && *images == b.images
        && *owner == b.owner
        && *tolerations == b.tolerations
        && *node_selector == b.node_selector
        && *node_affinity == b.node_affinity
        && *anti_affinity == b.anti_affinity
        && *affinity == b.affinity
        && *preferred_affinity == b.preferred_affinity
        && *spread == b.spread
        && *host_ports == b.host_ports
        && *claims == b.claims
        && *device_claims == b.device_claims
        && *may_preempt == b.may_preempt
        && *scheduler == b.scheduler
        && *node == b.node
        && *gates == b.gates
        && *preempted == b.preempted
        && *finished == b.finished
        && *deleted == b.deleted
}
