//! The plugins whose rule is a line: SchedulingGates, PrioritySort, NodeUnschedulable, NodeName, DefaultBinder.

use orlop_core::kinds::{Pod, Taint};
use orlop_core::{Action, Name, Object, Write};
use serde_json::json;

use crate::bitset::NodeSet;
use crate::facts::PodFacts;
use crate::framework::{
    Bind, Depends, PreEnqueue, PreFilter, Predicate, Prepared, QueueSort, Reach, Verdict,
};
use crate::snapshot::{NodeView, Snapshot};

/// Holds pods back while `spec.schedulingGates` is not empty (KEP-3521).
#[derive(Clone, Copy, Debug)]
pub struct SchedulingGates;

impl PreEnqueue for SchedulingGates {
    fn name(&self) -> &str {
        "SchedulingGates"
    }

    fn pre_enqueue(&self, pod: &PodFacts) -> Verdict {
        Verdict::fits_or(pod.gates.is_empty(), || {
            let gates: Vec<&str> = pod.gates.iter().map(Name::as_str).collect();
            Verdict::refuse_firmly(format!("waiting for scheduling gates: [{}]", gates.join(" ")))
        })
    }
}

/// Higher priority first.
#[derive(Clone, Copy, Debug)]
pub struct PrioritySort;

impl QueueSort for PrioritySort {
    fn name(&self) -> &str {
        "PrioritySort"
    }

    fn rank(&self, pod: &PodFacts) -> i64 {
        -i64::from(pod.priority)
    }
}

/// Keeps pods off nodes that are cordoned, unless they tolerate the taint that says the same.
#[derive(Clone, Copy, Debug)]
pub struct NodeUnschedulable;

impl PreFilter for NodeUnschedulable {
    fn name(&self) -> &str {
        "NodeUnschedulable"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Snapshot) -> Prepared<'a> {
        let taint = Taint {
            key: Name::new_static("node.kubernetes.io/unschedulable"),
            effect: Name::new_static("NoSchedule"),
            ..Taint::default()
        };
        match pod.tolerations.iter().any(|t| t.tolerates(&taint)) {
            true => Prepared::Skip,
            false => Prepared::ready(NotCordoned),
        }
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_CORDON
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

struct NotCordoned;

impl Predicate for NotCordoned {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(!node.facts().unschedulable, || Verdict::refuse_firmly("node(s) were unschedulable"))
    }

    fn remedy(&self, _: &NodeView<'_>) -> Option<String> {
        Some("uncordon the node".to_owned())
    }

    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        nodes.subtract(cluster.columns().unschedulable());
    }
}

/// Keeps a pod that names its node off all others.
#[derive(Clone, Copy, Debug)]
pub struct NodeName;

impl PreFilter for NodeName {
    fn name(&self) -> &str {
        "NodeName"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Snapshot) -> Prepared<'a> {
        if pod.node.is_empty() { Prepared::Skip } else { Prepared::ready(Named(&pod.node)) }
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_NAME
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

struct Named<'a>(&'a Name);

impl Predicate for Named<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(self.0 == node.name(), || {
            Verdict::refuse_firmly("node(s) didn't match the requested node name")
        })
    }

    fn remedy(&self, _: &NodeView<'_>) -> Option<String> {
        Some(format!("the pod asks for node {}", self.0))
    }
}

/// Binds through the pod's `binding` subresource.
#[derive(Clone, Copy, Debug)]
pub struct DefaultBinder;

impl Bind for DefaultBinder {
    fn name(&self) -> &str {
        "DefaultBinder"
    }

    fn bind(&self, pod: &PodFacts, node: &str) -> Option<Write> {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        });
        Some(Write {
            kind: Pod::KIND,
            key: pod.key.clone(),
            subresource: "binding",
            uid: Some(pod.uid.clone()),
            revision: None,
            action: Action::Create(binding),
        })
    }
}
