//! Which pods a ReplicaSet gives up first.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use orlop_core::kinds::{ContainerStatus, Pod};
use orlop_core::rules::pod::{condition, is_active, is_ready};
use orlop_core::{Name, Timestamp};

/// The annotation that makes a pod dearer, or cheaper, than its siblings.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// How many active pods of `related` share each node.
pub fn per_node<'a>(related: impl IntoIterator<Item = &'a Pod>) -> BTreeMap<Name, usize> {
    let mut counts = BTreeMap::new();
    for pod in related.into_iter().filter(|pod| is_active(pod)) {
        *counts.entry(pod.spec.node_name.clone()).or_default() += 1;
    }
    counts
}

/// Puts the pods in the order in which they are given up: unassigned before assigned, pending before running, not ready
/// before ready, cheap before dear, crowded before lonely (`crowd` counts pods by node), lately ready before long ready,
/// often restarted before steady, young before old. Ages compare by their magnitude only, so that chance (the UID) decides
/// among pods of about the same age.
pub fn sort_for_deletion(pods: &mut [&Pod], crowd: &BTreeMap<Name, usize>, now: Timestamp) {
    // The rule is no total order (equal ages leave it to restarts, unequal ones of one magnitude to the UID), which a
    // library's sort may punish.
    merge_sort(pods, &|a, b| compare(a, b, crowd, now).is_le());
}

fn merge_sort<'a>(pods: &mut [&'a Pod], in_order: &impl Fn(&Pod, &Pod) -> bool) {
    if pods.len() < 2 {
        return;
    }
    let (left, right) = pods.split_at_mut(pods.len() / 2);
    merge_sort(left, in_order);
    merge_sort(right, in_order);
    let (mut i, mut j) = (0, 0);
    let mut merged: Vec<&'a Pod> = Vec::with_capacity(left.len() + right.len());
    while i < left.len() && j < right.len() {
        if in_order(left[i], right[j]) {
            merged.push(left[i]);
            i += 1;
        } else {
            merged.push(right[j]);
            j += 1;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    pods.copy_from_slice(&merged);
}

fn compare(a: &Pod, b: &Pod, crowd: &BTreeMap<Name, usize>, now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| !pod.spec.node_name.is_empty();
    let crowded = |pod: &Pod| crowd.get(&pod.spec.node_name).copied().unwrap_or(0);
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| crowded(b).cmp(&crowded(a)))
        .then_with(|| {
            if is_ready(a) { by_age(ready_since(a), ready_since(b), a, b, now) } else { Ordering::Equal }
        })
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| by_age(a.metadata.creation_timestamp, b.metadata.creation_timestamp, a, b, now))
}

fn phase(pod: &Pod) -> u8 {
    match pod.status.phase.as_str() {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn cost(pod: &Pod) -> i32 {
    // A leading plus or zero makes it invalid.
    let plain = |text: &&str| text.starts_with(|c| matches!(c, '-' | '1'..='9')) || *text == "0";
    pod.metadata.annotation(DELETION_COST).filter(plain).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").and_then(|ready| ready.last_transition_time)
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let sidecar = |status: &&ContainerStatus| {
        pod.spec.init_containers.iter().any(|c| c.name == status.name && c.restart_policy == "Always")
    };
    let own = pod.status.container_statuses.iter().map(|status| status.restart_count).max();
    let sidecars = pod.status.init_container_statuses.iter().filter(sidecar).map(|s| s.restart_count).max();
    (own.unwrap_or(0), sidecars.unwrap_or(0))
}

/// The young first, and first of all those whose age is not known.
fn by_age(a: Option<Timestamp>, b: Option<Timestamp>, pod: &Pod, other: &Pod, now: Timestamp) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (Some(a), Some(b)) = (a, b) else { return a.is_some().cmp(&b.is_some()) };
    let magnitude = |since: Timestamp| {
        let nanos = now.nanos().saturating_sub(since.nanos());
        u64::try_from(nanos).ok().and_then(u64::checked_ilog2).map_or(-1, i64::from)
    };
    magnitude(a).cmp(&magnitude(b)).then_with(|| pod.metadata.uid.cmp(&other.metadata.uid))
}
