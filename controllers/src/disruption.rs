//! Disruption: how many pods of a PodDisruptionBudget may be evicted now.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{
    Deployment, Pod, PodDisruptionBudget, PodDisruptionBudgetStatus, ReplicaSet, StatefulSet,
};
use orlop_core::rules::pod::is_ready;
use orlop_core::rules::{IntOrString, LabelSelector, Selector};
use orlop_core::{Item, Key, Meta, Name, Note, Object, OwnerReference, Plan, Timestamp, World, Write};
use serde_json::{Value, json};

use crate::replicaset::ReplicationControllerView;

/// So long an eviction counts whose pod has not begun to end.
const EVICTION_PATIENCE: Duration = Duration::from_secs(120);
/// The condition that says whether any pod may be evicted.
const ALLOWED: &str = "DisruptionAllowed";

/// Reckons up budgets. See the module's documentation.
pub struct DisruptionController;

impl Controller for DisruptionController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "controllermanager"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<PodDisruptionBudget>();
        watches.reads::<Pod>().mapped_of(Pod::KIND, |key, stored, world| {
            if budgets(&key.namespace, world).is_empty() {
                return Vec::new();
            }
            let Ok(pod) = Item::<Pod>::decode(stored) else { return Vec::new() };
            world
                .in_namespace::<PodDisruptionBudget>(&key.namespace)
                .filter(|budget| {
                    let selector = budget.spec.selector.as_ref();
                    selector.is_some_and(|selector| selector.matches(&pod.metadata.labels))
                })
                .map(|budget| budget.metadata.key())
                .collect()
        });
        // Their sizes are what percentages are of.
        watches.mapped::<Deployment>(|it, world| budgets(&it.metadata.namespace, world));
        watches.mapped::<ReplicaSet>(|it, world| budgets(&it.metadata.namespace, world));
        watches.mapped::<StatefulSet>(|it, world| budgets(&it.metadata.namespace, world));
        watches.mapped::<ReplicationControllerView>(|it, world| budgets(&it.metadata.namespace, world));
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(budget) = world.get::<PodDisruptionBudget>(key) else { return Plan::nothing() };
        let Ok(selector) = selector(budget) else { return Plan::nothing() };
        let pods: Vec<&Pod> = world
            .in_namespace::<Pod>(&key.namespace)
            .filter(|pod| selector.matches(&pod.metadata.labels))
            .map(|pod| &**pod)
            .collect();
        let scale =
            |owner: &OwnerReference| scale_of(owner, &|kind, name| find(kind, name, &key.namespace, world));
        let reckoned = reckon(budget, &pods, &scale, ctx.now);
        let status = match &reckoned {
            Ok(reckoning) => reckoning.status.clone(),
            Err(message) => {
                let mut failed = budget.status.clone();
                failed.disruptions_allowed = 0;
                failed.observed_generation = budget.metadata.generation;
                let condition = condition(budget, false, "SyncFailed", message, ctx.now);
                put_condition(&mut failed.conditions, condition);
                failed
            }
        };
        let mut plan = Plan::nothing();
        if status != budget.status {
            plan = plan.and(Write::merge_seen(budget, patch(&status)).on("status"));
            if pods.is_empty() && budget.status.observed_generation < budget.metadata.generation {
                plan = plan.note(Note::normal(budget, "NoPods", "No matching pods found"));
            }
        }
        if let Err(message) = &reckoned
            && status != budget.status
        {
            let message = format!("Failed to calculate the number of expected pods: {message}");
            plan = plan.note(Note::warning(budget, "CalculateExpectedPodCountFailed", message));
        }
        match reckoned.ok().and_then(|reckoning| reckoning.wake) {
            Some(at) => plan.wake_at(at),
            None => plan,
        }
    }
}

fn budgets(namespace: &str, world: &World) -> Vec<Key> {
    world.in_namespace::<PodDisruptionBudget>(namespace).map(|budget| budget.metadata.key()).collect()
}

/// Which pods a budget is about: without a selector none, with an empty one all.
pub fn selector(budget: &PodDisruptionBudget) -> Result<Selector, orlop_core::rules::InvalidSelector> {
    budget.spec.selector.as_ref().map_or_else(|| Ok(Selector::nothing()), LabelSelector::to_selector)
}

/// Something that has a size.
pub struct Scaled {
    uid: Name,
    replicas: i32,
    controller: Option<OwnerReference>,
}

impl Scaled {
    /// What has these metadata and this many pods, 1 if that is not said.
    pub fn new(meta: &Meta, replicas: Option<i32>) -> Scaled {
        let controller = meta.controller().cloned();
        Scaled { uid: meta.uid.clone(), replicas: replicas.unwrap_or(1), controller }
    }
}

/// The UID and the size of what controls a pod in the end: a Deployment, where the ReplicaSet belongs to one. `find`
/// looks a kind and name up.
pub fn scale_of(owner: &OwnerReference, find: &dyn Fn(&str, &Name) -> Option<Scaled>) -> Option<(Name, i32)> {
    let found = find(&owner.kind, &owner.name).filter(|found| found.uid == owner.uid)?;
    match &found.controller {
        Some(deployment) if owner.kind == "ReplicaSet" && deployment.kind == "Deployment" => {
            scale_of(deployment, find)
        }
        _ => Some((found.uid, found.replicas)),
    }
}

fn find(kind: &str, name: &Name, namespace: &Name, world: &World) -> Option<Scaled> {
    let key = Key::new(namespace.clone(), name.clone());
    Some(match kind {
        "Deployment" => {
            let it = world.get::<Deployment>(&key)?;
            Scaled::new(&it.metadata, it.spec.replicas)
        }
        "ReplicaSet" => {
            let it = world.get::<ReplicaSet>(&key)?;
            Scaled::new(&it.metadata, it.spec.replicas)
        }
        "StatefulSet" => {
            let it = world.get::<StatefulSet>(&key)?;
            Scaled::new(&it.metadata, it.spec.replicas)
        }
        "ReplicationController" => {
            let it = world.get::<ReplicationControllerView>(&key)?;
            Scaled::new(&it.metadata, it.spec.replicas)
        }
        _ => return None,
    })
}

/// What a budget comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Reckoning {
    /// The status to write.
    pub status: PodDisruptionBudgetStatus,
    /// When an eviction ceases to count whose pod did not begin to end.
    pub wake: Option<Timestamp>,
}

/// Reckons up one budget over the pods that it selects. `scale` finds the size of what controls a pod in the end.
///
/// # Errors
/// When a pod's controller has no known size, and the budget speaks of a share of that.
pub fn reckon(
    budget: &PodDisruptionBudget,
    pods: &[&Pod],
    scale: &dyn Fn(&OwnerReference) -> Option<(Name, i32)>,
    now: Timestamp,
) -> Result<Reckoning, String> {
    let (expected, desired) = expected(budget, pods, scale)?;
    let expires = |since: &Timestamp| *since + EVICTION_PATIENCE;
    let disrupted: BTreeMap<Name, Timestamp> = pods
        .iter()
        .filter(|pod| !pod.metadata.is_terminating())
        .filter_map(|pod| Some((&pod.metadata.name, budget.status.disrupted_pods.get(&pod.metadata.name)?)))
        .filter(|(_, since)| expires(since) >= now)
        .map(|(name, since)| (name.clone(), *since))
        .collect();
    let healthy = pods
        .iter()
        .filter(|pod| !pod.metadata.is_terminating() && is_ready(pod))
        .filter(|pod| !disrupted.contains_key(&pod.metadata.name))
        .count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let mut conditions = budget.status.conditions.clone();
    let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
    put_condition(&mut conditions, condition(budget, allowed > 0, reason, "", now));
    let status = PodDisruptionBudgetStatus {
        conditions,
        current_healthy: healthy,
        desired_healthy: desired,
        disruptions_allowed: allowed,
        expected_pods: expected,
        observed_generation: budget.metadata.generation,
        disrupted_pods: disrupted,
    };
    let wake = status.disrupted_pods.values().map(expires).min();
    Ok(Reckoning { status, wake: wake.map(|at| at + Duration::from_nanos(1)) })
}

/// How many pods there should be, and how many of them must be healthy.
fn expected(
    budget: &PodDisruptionBudget,
    pods: &[&Pod],
    scale: &dyn Fn(&OwnerReference) -> Option<(Name, i32)>,
) -> Result<(i32, i32), String> {
    let there = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let resolve = |amount: &IntOrString, total| amount.scaled(total, true).map_err(|e| e.to_string());
    match (&budget.spec.max_unavailable, &budget.spec.min_available) {
        (Some(most), _) => {
            let expected = expected_scale(pods, scale)?;
            Ok((expected, (expected - resolve(most, expected)?).max(0)))
        }
        (None, Some(IntOrString::Int(count))) => Ok((there, *count)),
        (None, Some(share)) => {
            let expected = expected_scale(pods, scale)?;
            Ok((expected, resolve(share, expected)?))
        }
        (None, None) => Ok((there, 0)),
    }
}

/// The sizes of all that controls the pods.
fn expected_scale(
    pods: &[&Pod],
    scale: &dyn Fn(&OwnerReference) -> Option<(Name, i32)>,
) -> Result<i32, String> {
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    let mut total = 0;
    for pod in pods {
        // A pod on its own has no size that could be counted.
        let Some(owner) = pod.metadata.controller() else { continue };
        let (uid, replicas) = scale(owner)
            .ok_or_else(|| format!("found no controllers for pod {:?}", pod.metadata.name.as_str()))?;
        if seen.insert(uid) {
            total += replicas;
        }
    }
    Ok(total)
}

fn condition(
    budget: &PodDisruptionBudget,
    allowed: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Value {
    json!({
        "type": ALLOWED,
        "status": if allowed { "True" } else { "False" },
        "reason": reason,
        "message": message,
        "observedGeneration": budget.metadata.generation,
        "lastTransitionTime": now.truncate_to_secs(),
    })
}

fn put_condition(conditions: &mut Vec<Value>, mut condition: Value) {
    match conditions.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(present) => {
            if present["status"] == condition["status"] {
                condition["lastTransitionTime"] = present["lastTransitionTime"].clone();
            }
            *present = condition;
        }
        None => conditions.push(condition),
    }
}

fn patch(status: &PodDisruptionBudgetStatus) -> Value {
    let mut disrupted = Value::Null;
    if !status.disrupted_pods.is_empty() {
        disrupted = json!(status.disrupted_pods);
    }
    json!({"status": {
        "conditions": status.conditions,
        "currentHealthy": status.current_healthy,
        "desiredHealthy": status.desired_healthy,
        "disruptedPods": disrupted,
        "disruptionsAllowed": status.disruptions_allowed,
        "expectedPods": status.expected_pods,
        "observedGeneration": status.observed_generation,
    }})
}
