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

/// The same for pods that ask the same of a node.
pub(super) fn hash_of_wants(pod: &PodFacts) -> u64 {
    let mut hasher = FxHasher::default();
    pod.priority.hash(&mut hasher);
    amounts(&pod.requests, &mut hasher);
    amounts(&pod.scored_requests, &mut hasher);
    for image in &pod.images {
        image.hash(&mut hasher);
    }
    for (key, value) in &pod.node_selector {
        key.hash(&mut hasher);
        value.hash(&mut hasher);
    }
    for toleration in &pod.tolerations {
        toleration.key.hash(&mut hasher);
        toleration.value.hash(&mut hasher);
    }
    for port in &pod.host_ports {
        port.hash(&mut hasher);
    }
    let required = pod.node_affinity.as_ref();
    let required = required.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    for term in required.into_iter().flat_map(|required| &required.node_selector_terms) {
        for requirement in term.match_expressions.iter().chain(&term.match_fields) {
            requirement.key.hash(&mut hasher);
            requirement.values.hash(&mut hasher);
        }
    }
    pod.node.hash(&mut hasher);
    hasher.finish()
}

/// The same for pods that are alike.
pub(super) fn hash(pod: &PodFacts) -> u64 {
    let mut hasher = FxHasher::default();
    hash_of_wants(pod).hash(&mut hasher);
    pod.key.namespace.hash(&mut hasher);
    pod.labels.hash(&mut hasher);
    if let Some(owner) = &pod.owner {
        owner.name.hash(&mut hasher);
    }
    let preferred = pod.preferred_affinity.iter().map(|(_, term)| term);
    for term in pod.anti_affinity.iter().chain(&pod.affinity).chain(preferred) {
        hash_term(term, &mut hasher);
    }
    for constraint in &pod.spread {
        constraint.topology_key.hash(&mut hasher);
        (constraint.max_skew, constraint.required).hash(&mut hasher);
    }
    for claim in &pod.claims {
        claim.name.hash(&mut hasher);
    }
    hasher.finish()
}

fn amounts(resources: &Resources, hasher: &mut FxHasher) {
    (resources.cpu_milli, resources.memory).hash(hasher);
    resources.others.hash(hasher);
}

/// Whether two pods ask the same of a node: all but who they are, and what they have to do with other pods.
pub(super) fn want_alike(a: &PodFacts, b: &PodFacts) -> bool {
    compare(a, b).0
}

/// Whether two pods are alike.
pub(super) fn alike(a: &PodFacts, b: &PodFacts) -> bool {
    let (wants, rest) = compare(a, b);
    wants && rest()
}

/// What two pods ask of a node, and the rest. Every field of a pod is named here, so that a new one is not forgotten.
fn compare<'a>(a: &'a PodFacts, b: &'a PodFacts) -> (bool, impl FnOnce() -> bool + 'a) {
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
        disks,
        attached,
        device_claims,
        preempted,
        group: _,
    } = a;
    let wants = *priority == b.priority
        && *requests == b.requests
        && *scored_requests == b.scored_requests
        && *scored_usage == b.scored_usage
        && *best_effort == b.best_effort
        && *images == b.images
        && *tolerations == b.tolerations
        && *node_selector == b.node_selector
        && *node_affinity == b.node_affinity
        && *host_ports == b.host_ports
        && *device_claims == b.device_claims
        && *may_preempt == b.may_preempt
        && *node == b.node;
    let rest = move || {
        key.namespace == b.key.namespace
            && *labels == b.labels
            && *owner == b.owner
            && *anti_affinity == b.anti_affinity
            && *affinity == b.affinity
            && *preferred_affinity == b.preferred_affinity
            && *spread == b.spread
            && *claims == b.claims
            && *disks == b.disks
            && *attached == b.attached
            && *scheduler == b.scheduler
            && *gates == b.gates
            && *preempted == b.preempted
            && *finished == b.finished
            && *deleted == b.deleted
    };
    (wants, rest)
}
