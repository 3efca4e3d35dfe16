//! Pod garbage collection: pods whose node is gone end; pods that wait in vain for a node are let go.

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{Node, Pod};
use orlop_core::plan::Action;
use orlop_core::rules::pod::{is_terminal, new_condition, set_condition};
use orlop_core::{Item, Key, Object, Plan, World, Write};
use serde_json::json;

use crate::endpointslice::ByNode;

/// Removes pods that nobody else will. See the module's documentation.
pub struct PodGcController;

impl Controller for PodGcController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Pod>().index::<ByNode>();
        watches.mapped::<Node>(|node, world| {
            if world.get::<Node>(&node.key()).is_some() {
                return Vec::new();
            }
            world.lookup::<ByNode>(&node.metadata.name).map(|pod| pod.key()).collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(pod) = world.get::<Pod>(key) else { return Plan::nothing() };
        if pod.spec.node_name.is_empty() {
            // Nobody runs it, so nobody ends it.
            let in_vain =
                pod.metadata.is_terminating() && pod.metadata.deletion_grace_period_seconds != Some(0);
            return if in_vain { Plan::write(delete_now(pod)) } else { Plan::nothing() };
        }
        if world.get::<Node>(&Key::cluster(pod.spec.node_name.clone())).is_some() {
            return Plan::nothing();
        }
        let mut plan = Plan::nothing();
        if !is_terminal(pod) {
            let mut conditions = pod.status.conditions.clone();
            let reason =
                new_condition("DisruptionTarget", true, "DeletionByPodGC", "PodGC: node no longer exists");
            set_condition(&mut conditions, reason, ctx.now);
            let patch = json!({"status": {"phase": "Failed", "conditions": conditions}});
            plan = plan.and(Write::merge_seen(pod, patch).on("status"));
        }
        if pod.metadata.is_terminating() && pod.metadata.deletion_grace_period_seconds == Some(0) {
            return plan;
        }
        plan.and(delete_now(pod))
    }
}

fn delete_now(pod: &Item<Pod>) -> Write {
    let mut write = Write::delete_seen(pod);
    write.action = Action::Delete { grace: Some(0), propagation: None };
    write
}
