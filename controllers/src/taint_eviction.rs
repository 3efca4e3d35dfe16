//! Taint eviction: pods leave nodes whose `NoExecute` taints they do not tolerate, or tolerate for a time only.

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{Node, Pod};
use orlop_core::rules::pod::{new_condition, set_condition};
use orlop_core::rules::taints::{Stay, stay};
use orlop_core::{Item, Key, Note, Object, Plan, Timestamp, World, Write};
use serde_json::json;

use crate::endpointslice::ByNode;

/// Sends pods away. See the module's documentation.
pub struct TaintEvictionController;

impl Controller for TaintEvictionController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Pod>().index::<ByNode>();
        watches.mapped::<Node>(|node, world| {
            if !node.spec.taints.iter().any(|taint| taint.effect == "NoExecute") {
                return Vec::new();
            }
            world.lookup::<ByNode>(&node.metadata.name).map(|pod| pod.key()).collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(pod) = world.get::<Pod>(key).filter(|pod| !pod.metadata.is_terminating()) else {
            return Plan::nothing();
        };
        let Some(node) = world.get::<Node>(&Key::cluster(pod.spec.node_name.clone())) else {
            return Plan::nothing();
        };
        match stay(&node.spec.taints, &pod.spec.tolerations) {
            Stay::Untainted | Stay::Forever => Plan::nothing(),
            Stay::Leave => evict(pod, ctx.now),
            Stay::For(time) => match tainted_at(node) {
                // The time runs from the taint: without it, from when it is noted.
                None => note_time(node, ctx.now),
                Some(since) if since + time <= ctx.now => evict(pod, ctx.now),
                Some(since) => Plan::nothing().wake_at(since + time),
            },
        }
    }
}

fn evict(pod: &Item<Pod>, now: Timestamp) -> Plan {
    let mut conditions = pod.status.conditions.clone();
    let message = "Taint manager: deleting due to NoExecute taint";
    set_condition(
        &mut conditions,
        new_condition("DisruptionTarget", true, "DeletionByTaintManager", message),
        now,
    );
    let patch = json!({"status": {"conditions": conditions}});
    Plan::write(Write::merge_seen(pod, patch).on("status")).and(Write::delete_seen(pod)).note(Note::normal(
        pod,
        "TaintManagerEviction",
        format!("Marking for deletion Pod {}", pod.key()),
    ))
}

/// When the last of the node's `NoExecute` taints was put on; `None` if one does not say.
fn tainted_at(node: &Node) -> Option<Timestamp> {
    let times: Option<Vec<Timestamp>> =
        node.spec.taints.iter().filter(|t| t.effect == "NoExecute").map(|t| t.time_added).collect();
    times?.into_iter().max()
}

fn note_time(node: &Item<Node>, now: Timestamp) -> Plan {
    let mut taints = node.spec.taints.clone();
    for taint in taints.iter_mut().filter(|taint| taint.effect == "NoExecute") {
        taint.time_added.get_or_insert(now.truncate_to_secs());
    }
    Plan::write(Write::merge_seen(node, json!({"spec": {"taints": taints}})))
}
