//! Which nodes a DaemonSet's pods run on.

use orlop_core::Name;
use orlop_core::kinds::{Node, Pod, PodSpec, Toleration};
use orlop_core::rules::node_affinity::{RequiredNodes, terms};
use orlop_core::rules::taints::untolerated;
use serde_json::{Value, json};

use super::view::DaemonSetView;

/// Taints that concern the node's health or its being set aside do not keep a DaemonSet's pods away.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Pods on the host's network are what brings it up.
const HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a DaemonSet asks of its nodes, ready to match.
pub struct Fit {
    name: Name,
    required: RequiredNodes,
    tolerations: Vec<Toleration>,
}

impl Fit {
    /// What the DaemonSet asks.
    pub fn new(set: &DaemonSetView) -> Fit {
        // A template that does not read as a pod fits no node: the API does not let one in.
        let spec: PodSpec = serde_json::from_value(set.spec.template["spec"].clone()).unwrap_or_default();
        let mut tolerations = spec.tolerations.clone();
        tolerations.extend(own_tolerations(spec.host_network).map(|(key, effect)| Toleration {
            key: Name::new_static(key),
            operator: Name::new_static("Exists"),
            effect: Name::new_static(effect),
            ..Toleration::default()
        }));
        Fit { name: spec.node_name.clone(), required: RequiredNodes::new(&spec), tolerations }
    }

    /// Whether a pod should be created on the node, and whether one that is there may stay.
    pub fn of(&self, node: &Node) -> (bool, bool) {
        let name = &node.metadata.name;
        let named = self.name.is_empty() || self.name == *name;
        if !named || !self.required.matches(&node.metadata.labels, name) {
            return (false, false);
        }
        let bars = |effects: &[&str]| {
            untolerated(&node.spec.taints, &self.tolerations, |t| effects.contains(&t.effect.as_str()))
                .is_some()
        };
        (!bars(&["NoSchedule", "NoExecute"]), !bars(&["NoExecute"]))
    }
}

fn own_tolerations(host_network: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    TOLERATED.into_iter().chain(host_network.then_some(HOST_NETWORK))
}

/// The node that a pod is on or is made for.
pub(super) fn node_of(pod: &Pod) -> Option<Name> {
    if !pod.spec.node_name.is_empty() {
        return Some(pod.spec.node_name.clone());
    }
    let affinity = pod.spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    terms(required).iter().find_map(|term| term.only_name().cloned())
}

/// The template's specification for the pod on one node: the scheduler binds it there, and nowhere else.
pub(super) fn spec_for(template: &Value, node: &str) -> Value {
    let mut spec = template["spec"].clone();
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for (key, effect) in own_tolerations(spec["hostNetwork"] == true) {
        let own = json!({"key": key, "operator": "Exists", "effect": effect});
        if !tolerations.contains(&own) {
            tolerations.push(own);
        }
    }
    spec["tolerations"] = tolerations.into();
    spec
}
