//! Node lifecycle: greets new nodes, notices those that have fallen silent, and marks nodes by taints after their
//! conditions.

mod ttl;

use std::convert::Infallible;
use std::time::Duration;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{Lease, Node, NodeCondition, Taint};
use orlop_core::rules::pod::{condition, is_terminal};
use orlop_core::{Item, Key, Name, Note, Object, Plan, Timestamp, World, Write};
use serde_json::{Value, json};

use crate::endpointslice::ByNode;

/// Where nodes renew their leases.
const LEASES: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// How patient the controller is.
#[derive(Clone, Copy, Debug)]
pub struct NodeSettings {
    /// How long a node may be silent.
    pub grace: Duration,
    /// How long a new node may be silent.
    pub startup_grace: Duration,
    /// Silence before this moment is forgiven: nobody listened.
    pub since: Timestamp,
}

impl Default for NodeSettings {
    fn default() -> NodeSettings {
        let seconds = Duration::from_secs;
        NodeSettings { grace: seconds(50), startup_grace: seconds(60), since: Timestamp::EPOCH }
    }
}

/// Watches over nodes. See the module's documentation.
#[derive(Default)]
pub struct NodeLifecycleController {
    settings: NodeSettings,
}

impl NodeLifecycleController {
    /// A controller with this patience.
    pub fn new(settings: NodeSettings) -> NodeLifecycleController {
        NodeLifecycleController { settings }
    }

    /// When the node counts as silent.
    fn silent_at(&self, node: &Node, lease: Option<&Lease>) -> Timestamp {
        let ready = ready(node);
        let heard = ready.and_then(|ready| ready.last_heartbeat_time);
        let renewed = lease.and_then(|lease| lease.spec.renew_time);
        let grace = if ready.is_some() { self.settings.grace } else { self.settings.startup_grace };
        let last = heard.max(renewed).max(node.metadata.creation_timestamp).unwrap_or(Timestamp::EPOCH);
        last.max(self.settings.since) + grace
    }
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    node.status.conditions.iter().find(|condition| condition.r#type == "Ready")
}

impl Controller for NodeLifecycleController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Node>().index::<ByNode>();
        watches.mapped::<Lease>(|lease, world| {
            // A renewal matters where the node was given up; else the wake looks at it in time.
            let node = Key::cluster(lease.metadata.name.clone());
            let unknown =
                world.get::<Node>(&node).and_then(|node| ready(node)).is_some_and(|r| r.status == "Unknown");
            if lease.metadata.namespace == LEASES && unknown { vec![node] } else { Vec::new() }
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(node) = world.get::<Node>(key) else { return Plan::nothing() };
        let lease = world.get::<Lease>(&Key::new(LEASES, key.name.clone()));
        let silent_at = self.silent_at(node, lease.map(|lease| &**lease));
        let mut plan = Plan::nothing();
        let mut conditions = node.status.conditions.clone();
        if ctx.now < silent_at {
            plan = plan.wake_at(silent_at);
        } else if give_up(&mut conditions, node.metadata.creation_timestamp, ctx.now) {
            let patch = json!({"status": {"conditions": conditions}});
            plan = plan.and(Write::merge_seen(node, patch).on("status"));
        }
        let was_ready = ready(node).is_some_and(|ready| ready.status == "True");
        let status = conditions.iter().find(|c| c.r#type == "Ready").map_or("", |c| c.status.as_str());
        if status != "True" {
            plan = unready_pods(plan, node, world, ctx.now);
            if was_ready {
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                plan = plan.note(Note::normal(node, "NodeNotReady", message));
            }
        }
        let taints = execute_taints(
            no_schedule_taints(&node.spec.taints, &conditions, node.spec.unschedulable),
            status,
            ctx.now,
        );
        if let Some(seconds) = ttl::annotation(node, || world.all::<Node>().len()) {
            if !node.metadata.annotations.contains_key(ttl::ANNOTATION) {
                let message = format!("Node {0} event: Registered Node {0} in Controller", key.name);
                plan = plan.note(Note::normal(node, "RegisteredNode", message));
            }
            let patch = json!({"metadata": {"annotations": {ttl::ANNOTATION: seconds}}});
            let mut write = Write::merge(Node::KIND, key.clone(), patch);
            write.uid = Some(node.metadata.uid.clone());
            plan = plan.and(write);
        }
        if taints != node.spec.taints {
            let taints = if taints.is_empty() { Value::Null } else { json!(taints) };
            let mut write = Write::merge(Node::KIND, key.clone(), json!({"spec": {"taints": taints}}));
            write.uid = Some(node.metadata.uid.clone());
            if plan.writes.is_empty() {
                write.revision = Some(node.revision());
            }
            plan = plan.and(write);
        }
        plan
    }
}

/// Sets what a silent node can no longer vouch for to `Unknown`, and answers whether that changed anything.
fn give_up(conditions: &mut Vec<NodeCondition>, created: Option<Timestamp>, now: Timestamp) -> bool {
    let mut changed = false;
    for r#type in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let at = conditions.iter().position(|c| c.r#type == r#type);
        let known = at.is_some();
        let condition = match at {
            Some(at) => &mut conditions[at],
            None => {
                conditions.push(NodeCondition {
                    r#type: Name::new_static(r#type),
                    last_heartbeat_time: created,
                    ..NodeCondition::default()
                });
                let last = conditions.len() - 1;
                &mut conditions[last]
            }
        };
        if condition.status == "Unknown" {
            continue;
        }
        let (reason, message) = if known {
            ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        } else {
            ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        };
        condition.status = Name::new_static("Unknown");
        condition.reason = Name::new_static(reason);
        condition.message = Name::new_static(message);
        condition.last_transition_time = Some(now.truncate_to_secs());
        changed = true;
    }
    changed
}

/// The taint that a condition in this state asks for.
fn taint_of(condition: &NodeCondition) -> Option<&'static str> {
    match (condition.r#type.as_str(), condition.status.as_str()) {
        ("Ready", "False") => Some(NOT_READY),
        ("Ready", "Unknown") => Some(UNREACHABLE),
        ("MemoryPressure", "True") => Some("node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "True") => Some("node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "True") => Some("node.kubernetes.io/pid-pressure"),
        ("NetworkUnavailable", "True") => Some("node.kubernetes.io/network-unavailable"),
        _ => None,
    }
}

fn is_ours(key: &str) -> bool {
    matches!(
        key.strip_prefix("node.kubernetes.io/"),
        Some(
            "not-ready"
                | "unreachable"
                | "unschedulable"
                | "memory-pressure"
                | "disk-pressure"
                | "pid-pressure"
                | "network-unavailable"
        )
    )
}

fn taint(key: &'static str, effect: &'static str, since: Option<Timestamp>) -> Taint {
    Taint {
        key: Name::new_static(key),
        effect: Name::new_static(effect),
        time_added: since,
        ..Taint::default()
    }
}

/// The taints that a node should have: its own, and those with `NoSchedule` that its conditions ask for.
pub fn no_schedule_taints(
    present: &[Taint],
    conditions: &[NodeCondition],
    unschedulable: bool,
) -> Vec<Taint> {
    let mut wanted: Vec<&'static str> = conditions.iter().filter_map(taint_of).collect();
    wanted.extend(unschedulable.then_some(UNSCHEDULABLE));
    let ours = |taint: &Taint| taint.effect == "NoSchedule" && is_ours(&taint.key);
    let mut kept: Vec<Taint> = Vec::new();
    for taint in present {
        let doubled = || kept.iter().any(|t| t.key == taint.key && t.effect == taint.effect);
        if !ours(taint) || (wanted.iter().any(|key| taint.key == *key) && !doubled()) {
            kept.push(taint.clone());
        }
    }
    for key in wanted {
        if !kept.iter().any(|t| t.key == key && t.effect == "NoSchedule") {
            kept.push(taint(key, "NoSchedule", None));
        }
    }
    kept
}

/// Also those with `NoExecute`, which drive pods away from a node that is not ready.
fn execute_taints(mut taints: Vec<Taint>, ready: &str, now: Timestamp) -> Vec<Taint> {
    let wanted = match ready {
        "True" | "" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    taints.retain(|t| {
        let ours = t.effect == "NoExecute" && (t.key == NOT_READY || t.key == UNREACHABLE);
        !ours || wanted.is_some_and(|wanted| t.key == wanted)
    });
    if let Some(key) = wanted
        && !taints.iter().any(|t| t.key == key && t.effect == "NoExecute")
    {
        taints.push(taint(key, "NoExecute", Some(now.truncate_to_secs())));
    }
    taints
}

/// Pods on a node that is not ready serve nobody, whatever they last said.
fn unready_pods(mut plan: Plan, node: &Item<Node>, world: &World, now: Timestamp) -> Plan {
    for pod in world.lookup::<ByNode>(&node.metadata.name) {
        let is_ready = condition(pod, "Ready").is_some_and(|ready| ready.status == "True");
        if !is_ready || is_terminal(pod) {
            continue;
        }
        let mut conditions = pod.status.conditions.clone();
        for ready in conditions.iter_mut().filter(|c| c.r#type == "Ready") {
            ready.status = Name::new_static("False");
            ready.last_transition_time = Some(now.truncate_to_secs());
        }
        let patch = json!({"status": {"conditions": conditions}});
        plan = plan.and(Write::merge_seen(pod, patch).on("status"));
        plan = plan.note(Note::warning(pod, "NodeNotReady", "Node is not ready"));
    }
    plan
}
