//! Pod garbage collection: pods whose node is gone for good end; pods that wait in vain for a node are let go.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{Node, Pod};
use orlop_core::plan::Action;
use orlop_core::rules::pod::{is_terminal, new_condition, set_condition};
use orlop_core::{Item, Key, Name, Object, Plan, Timestamp, World, Write};
use serde_json::json;

use crate::endpointslice::ByNode;

/// How long a node may be away before its pods are taken for lost: it may only be registering anew.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Removes pods that nobody else will. See the module's documentation.
#[derive(Default)]
pub struct PodGcController {
    /// Since when nodes that pods name are away. No object says so.
    away: Mutex<BTreeMap<Name, Timestamp>>,
}

impl PodGcController {
    /// Since when a node that is not there has been missed.
    fn away_since(&self, node: &Name, world: &World, now: Timestamp) -> Timestamp {
        // Nobody leaves it half changed.
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.retain(|name, _| {
            world.get::<Node>(&Key::cluster(name.clone())).is_none()
                && (name == node || world.lookup::<ByNode>(name).next().is_some())
        });
        *away.entry(node.clone()).or_insert(now)
    }
}

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
        let lost_at = self.away_since(&pod.spec.node_name, world, ctx.now) + QUARANTINE;
        if ctx.now < lost_at {
            return Plan::nothing().wake_at(lost_at);
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
