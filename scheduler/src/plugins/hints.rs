//! Which events may cure the built-in plugins' rejections.
//!
//! A hint that is too eager costs a vain attempt after a back-off; one that is too strict leaves a pod pending for up to
//! five minutes. Where a rule is not certain, it queues.

use orlop_core::kinds::{Namespace, PersistentVolume, PersistentVolumeClaim, StorageClass};
use orlop_core::{Kind, Object, kinds};

use crate::change::{attaching, pod_group};
use crate::facts::{NodeFacts, PodFacts};
use crate::framework::{Event, Hint, QueueingHint};
use crate::plugins::node_affinity::Required;
use crate::profile::Profile;

/// The hint of one built-in plugin.
struct BuiltIn {
    name: &'static str,
    worth_it: Rule,
}

/// Whether an event may make a pod fit.
type Rule = fn(&PodFacts, &Event<'_>) -> bool;

impl QueueingHint for BuiltIn {
    fn name(&self) -> &str {
        self.name
    }

    fn hint(&self, pod: &PodFacts, event: &Event<'_>) -> Hint {
        if matches!(event, Event::ThisPod { .. }) || (self.worth_it)(pod, event) {
            Hint::Queue
        } else {
            Hint::Skip
        }
    }
}

/// The hints of all built-in plugins.
const ALL: [(&str, Rule); 14] = [
    ("SchedulingGates", |_, _| false),
    ("NodeName", |pod, event| of_node(event, |node| node.name == pod.node)),
    ("NodeUnschedulable", |_, event| of_node(event, |_| true)),
    ("TaintToleration", |_, event| of_node(event, |_| true)),
    ("NodeAffinity", |pod, event| of_node(event, |node| Required::of(pod).matches(node))),
    ("NodePorts", node_ports),
    ("NodeResourcesFit", node_resources),
    ("PodTopologySpread", spread),
    ("InterPodAffinity", affinity),
    ("VolumeRestrictions", volume_restrictions),
    ("NodeVolumeLimits", volume_limits),
    ("VolumeBinding", |_, event| of_node(event, |_| true) || of_volumes(event)),
    ("GangScheduling", gang),
    ("VolumeZone", |_, event| of_node(event, |_| true) || of_volumes(event)),
];

/// Adds the hints of all built-in plugins.
pub(super) fn add_to(profile: Profile) -> Profile {
    ALL.into_iter().fold(profile, |profile, (name, worth_it)| profile.hint(BuiltIn { name, worth_it }))
}

/// The hint of one built-in plugin, if it has one.
pub(crate) fn hint_of(name: &str) -> Option<Box<dyn QueueingHint>> {
    let (name, worth_it) = ALL.into_iter().find(|(n, _)| *n == name)?;
    Some(Box::new(BuiltIn { name, worth_it }))
}

fn of_node(event: &Event<'_>, may_fit: impl Fn(&NodeFacts) -> bool) -> bool {
    matches!(event, Event::Node { new, .. } if may_fit(new))
}

fn of_volumes(event: &Event<'_>) -> bool {
    let kinds = [PersistentVolume::KIND, PersistentVolumeClaim::KIND, StorageClass::KIND];
    matches!(event, Event::Other(kind) if kinds.iter().any(|k| k.same_resource(kind)))
}

/// A pod that goes, or its node with it, leaves its claims.
fn volume_restrictions(_: &PodFacts, event: &Event<'_>) -> bool {
    let node_gone = matches!(event, Event::Other(kind) if kind.same_resource(&kinds::Node::KIND));
    matches!(event, Event::AssignedPodGone(_)) || node_gone || of_volumes(event)
}

/// What is attached goes with the pods that use it, or says so itself.
fn volume_limits(_: &PodFacts, event: &Event<'_>) -> bool {
    let attached = |kind: &Kind| attaching().iter().any(|k| k.same_resource(kind));
    let node_gone = |kind: &Kind| kind.same_resource(&kinds::Node::KIND);
    match event {
        Event::AssignedPodGone(_) => true,
        Event::Other(kind) => attached(kind) || node_gone(kind) || of_volumes(event),
        Event::Node { old, .. } => old.is_none(),
        Event::AssignedPod { .. } | Event::ThisPod { .. } => false,
    }
}

/// Another pod of the group has found a place, or the group itself has changed.
fn gang(pod: &PodFacts, event: &Event<'_>) -> bool {
    match event {
        Event::AssignedPod { new, .. } => new.group == pod.group && new.key.namespace == pod.key.namespace,
        Event::Other(kind) => kind.same_resource(&pod_group()),
        _ => false,
    }
}

fn node_ports(pod: &PodFacts, event: &Event<'_>) -> bool {
    let shares =
        |other: &PodFacts| other.host_ports.iter().any(|p| pod.host_ports.iter().any(|q| p.conflicts(q)));
    match event {
        Event::AssignedPodGone(other) => shares(other),
        Event::AssignedPod { old: Some(old), .. } => shares(old),
        other => of_node(other, |_| true),
    }
}

fn node_resources(pod: &PodFacts, event: &Event<'_>) -> bool {
    match event {
        Event::AssignedPodGone(_) => true,
        Event::AssignedPod { old, new } => old.is_some_and(|old| old.requests != new.requests),
        other => of_node(other, |node| {
            let others = pod.requests.others.iter().map(|(name, _)| name.as_str());
            ["cpu", "memory", "ephemeral-storage"]
                .into_iter()
                .chain(others)
                .all(|resource| pod.requests.get(resource) <= node.allocatable.get(resource))
        }),
    }
}

fn spread(pod: &PodFacts, event: &Event<'_>) -> bool {
    match event {
        Event::AssignedPodGone(other) => other.key.namespace == pod.key.namespace,
        Event::AssignedPod { old, new } => {
            new.key.namespace == pod.key.namespace
                && old.is_none_or(|old| old.labels != new.labels || old.deleted != new.deleted)
        }
        Event::Node { .. } => true,
        Event::Other(kind) => kind.same_resource(&kinds::Node::KIND),
        Event::ThisPod { .. } => true,
    }
}

fn affinity(pod: &PodFacts, event: &Event<'_>) -> bool {
    match event {
        // It may have been what kept the pod off.
        Event::AssignedPodGone(_) => true,
        Event::AssignedPod { old, new } => {
            !pod.affinity.is_empty() && old.is_none() || old.is_some_and(|old| old.labels != new.labels)
        }
        Event::Node { .. } => true,
        // With a node go the pods that kept others out of its domain.
        Event::Other(kind) => kind.same_resource(&Namespace::KIND) || kind.same_resource(&kinds::Node::KIND),
        Event::ThisPod { .. } => true,
    }
}
