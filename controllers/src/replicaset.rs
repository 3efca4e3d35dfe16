//! ReplicaSet: as many pods of one template as asked for. A ReplicationController is the same with a simpler selector.

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{Pod, ReplicaSetCondition};
use orlop_core::plan::FailureReason;
use orlop_core::rules::pod::{available_at, is_active, is_available, is_ready, is_terminal};
use orlop_core::{Item, Key, Kind, Meta, Name, Note, Object, OwnerReference, Plan, World, Write};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::marker::PhantomData;

use crate::claim::{Claim, claim, is_adoption, watch_orphans};
use crate::deployment::{ReplicaSetSpec, ReplicaSetStatus, ReplicaSetView};
use crate::ranking::{per_node, sort_for_deletion};

/// The condition of a set whose pods are refused.
const FAILURE: &str = "ReplicaFailure";
/// As many pods are made or deleted in one plan.
const BURST: usize = 500;

/// What keeps a number of pods: a ReplicaSet or a ReplicationController.
pub trait Replicated: Object {
    /// The name of the controller in events.
    const CONTROLLER: &'static str;
    /// Whether the status tells how many pods are being deleted.
    const TELLS_TERMINATING: bool;

    /// What should be.
    fn spec(&self) -> &ReplicaSetSpec;
    /// What is.
    fn status(&self) -> &ReplicaSetStatus;
}

impl Replicated for ReplicaSetView {
    const CONTROLLER: &'static str = "replicaset-controller";
    const TELLS_TERMINATING: bool = true;

    fn spec(&self) -> &ReplicaSetSpec {
        &self.spec
    }

    fn status(&self) -> &ReplicaSetStatus {
        &self.status
    }
}

/// A ReplicationController.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicationControllerView {
    /// Metadata.
    pub metadata: Meta,
    /// What should be.
    #[serde(deserialize_with = "with_labels")]
    pub spec: ReplicaSetSpec,
    /// What is.
    pub status: ReplicaSetStatus,
}

/// A ReplicationController's selector is the labels themselves.
fn with_labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ReplicaSetSpec, D::Error> {
    let mut spec = Value::deserialize(deserializer)?;
    spec["selector"] = json!({"matchLabels": spec["selector"]});
    if spec["selector"]["matchLabels"].is_null() {
        spec["selector"] = json!({});
    }
    serde_json::from_value(spec).map_err(serde::de::Error::custom)
}

impl Object for ReplicationControllerView {
    const KIND: Kind = Kind::namespaced("", "v1", "ReplicationController", "replicationcontrollers");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Replicated for ReplicationControllerView {
    const CONTROLLER: &'static str = "replication-controller";
    const TELLS_TERMINATING: bool = false;

    fn spec(&self) -> &ReplicaSetSpec {
        &self.spec
    }

    fn status(&self) -> &ReplicaSetStatus {
        &self.status
    }
}

/// Keeps the number of pods. See the module's documentation.
pub struct ReplicasController<T>(PhantomData<fn() -> T>);

/// Keeps the number of pods of ReplicaSets.
pub type ReplicaSetController = ReplicasController<ReplicaSetView>;
/// Keeps the number of pods of ReplicationControllers.
pub type ReplicationManager = ReplicasController<ReplicationControllerView>;

impl<T> Default for ReplicasController<T> {
    fn default() -> Self {
        ReplicasController(PhantomData)
    }
}

impl<T: Replicated> Controller for ReplicasController<T> {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        T::CONTROLLER
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<T>().owned::<Pod, T>();
        // An orphan may be adopted.
        watch_orphans(watches, |set: &T, pod| {
            !set.spec().selector.is_empty() && set.spec().selector.matches(&pod.metadata.labels)
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(set) = world.get::<T>(key) else { return Plan::nothing() };
        let Ok(selector) = set.spec().selector.to_selector() else { return Plan::nothing() };
        let owner = OwnerReference::controller_of(&T::KIND, set.meta());
        let mut plan = Plan::nothing();
        let mut active: Vec<&Pod> = Vec::new();
        let mut terminating = 0;
        for pod in candidates(set, world) {
            let decision = claim(set.meta(), &owner, &selector, pod);
            let mine = decision == Claim::Mine || is_adoption(&decision, pod);
            if let Claim::Change(write) = decision
                && (!mine || is_active(pod))
            {
                plan = plan.and(*write);
            }
            if mine && is_active(pod) {
                active.push(pod);
            } else if mine && pod.metadata.is_terminating() && !is_terminal(pod) {
                terminating += 1;
            }
        }
        let status = observe(set, &active, terminating, ctx);
        let refused = status.conditions.iter().find(|c| c.reason == "FailedCreate");
        if let Some(refused) = refused.filter(|_| ctx.failure.is_some()) {
            // Said before the next attempt, which may end the plan as the last one did.
            let message = format!("Error creating: {}", refused.message);
            plan = plan.note(Note::warning(set, "FailedCreate", message));
            if status != *set.status() {
                return plan.and(write_status(set, &status)).wake_at(ctx.now);
            }
        }
        if !set.meta().is_terminating() {
            plan = resize(plan, set, active.clone(), world, ctx);
        }
        let min_ready = set.spec().min_ready_seconds.unwrap_or(0);
        let soonest = active
            .iter()
            .filter(|pod| !is_available(pod, min_ready, ctx.now))
            .filter_map(|pod| available_at(pod, min_ready))
            .min();
        if status != *set.status() {
            plan = plan.and(write_status(set, &status));
        }
        match soonest {
            Some(at) => plan.wake_at(at),
            None => plan,
        }
    }
}

/// Pods that the set owns, and orphans.
fn candidates<'a, T: Replicated>(set: &'a Item<T>, world: &'a World) -> impl Iterator<Item = &'a Item<Pod>> {
    world.in_namespace::<Pod>(&set.meta().namespace).filter(|pod| match pod.metadata.controller() {
        Some(controller) => controller.uid == set.meta().uid,
        None => !set.spec().selector.is_empty(),
    })
}

/// What the pods add up to, before anything is done about it.
fn observe<T: Replicated>(
    set: &Item<T>,
    active: &[&Pod],
    terminating: i32,
    ctx: &Context<'_>,
) -> ReplicaSetStatus {
    let count = |of: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| of(pod)).count()).unwrap_or(i32::MAX)
    };
    let labels = set.spec().template["metadata"]["labels"].as_object();
    let labeled = |pod: &Pod| {
        labels.into_iter().flatten().all(|(k, v)| pod.metadata.label(k).is_some_and(|label| v == label))
    };
    let min_ready = set.spec().min_ready_seconds.unwrap_or(0);
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: count(&labeled),
        ready_replicas: count(&is_ready),
        available_replicas: count(&|pod| is_available(pod, min_ready, ctx.now)),
        terminating_replicas: T::TELLS_TERMINATING.then_some(terminating),
        observed_generation: set.meta().generation,
        conditions: conditions(&**set, active.len(), ctx),
    }
}

/// Why there are too few pods, as long as that is so.
fn conditions(set: &impl Replicated, active: usize, ctx: &Context<'_>) -> Vec<ReplicaSetCondition> {
    let mut conditions = set.status().conditions.clone();
    let refused = ctx.failure.filter(|failure| failure.reason == FailureReason::Refused);
    match refused.filter(|_| active < wanted(set)) {
        None if ctx.failure.is_none() => conditions.retain(|c| c.r#type != FAILURE),
        Some(failure) if !conditions.iter().any(|c| c.r#type == FAILURE) => {
            conditions.push(ReplicaSetCondition {
                r#type: Name::new_static(FAILURE),
                status: Name::new_static("True"),
                reason: Name::new_static("FailedCreate"),
                message: failure.message.as_str().into(),
                last_transition_time: Some(ctx.now.truncate_to_secs()),
            })
        }
        _ => {}
    }
    conditions
}

fn wanted(set: &impl Replicated) -> usize {
    usize::try_from(set.spec().replicas.unwrap_or(1)).unwrap_or(0)
}

fn write_status<T: Replicated>(set: &Item<T>, status: &ReplicaSetStatus) -> Write {
    Write::merge_seen(set, json!({"status": patch(status)})).on("status")
}

fn patch(status: &ReplicaSetStatus) -> Value {
    let some = |n: i64| if n == 0 { Value::Null } else { n.into() };
    json!({
        "replicas": status.replicas,
        "fullyLabeledReplicas": some(status.fully_labeled_replicas.into()),
        "readyReplicas": some(status.ready_replicas.into()),
        "availableReplicas": some(status.available_replicas.into()),
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": some(status.observed_generation),
        "conditions": if status.conditions.is_empty() { Value::Null } else { json!(status.conditions) },
    })
}

fn resize<T: Replicated>(
    mut plan: Plan,
    set: &Item<T>,
    mut active: Vec<&Pod>,
    world: &World,
    ctx: &mut Context<'_>,
) -> Plan {
    let wanted = wanted(&**set);
    if active.len() < wanted {
        for _ in 0..(wanted - active.len()).min(BURST) {
            let name = ctx.new_name(&format!("{}-", set.meta().name));
            let owner = OwnerReference::controller_of(&T::KIND, set.meta());
            plan = plan.and(Write::create(Pod::KIND, pod(&**set, &name, &owner))).note(Note::normal(
                set,
                "SuccessfulCreate",
                format!("Created pod: {name}"),
            ));
        }
    } else if active.len() > wanted {
        let surplus = (active.len() - wanted).min(BURST);
        let crowd = per_node(related(set, world));
        sort_for_deletion(&mut active, &crowd, ctx.now);
        for pod in &active[..surplus] {
            let mut write = Write::delete(Pod::KIND, pod.key());
            write.uid = Some(pod.metadata.uid.clone());
            plan = plan.and(write).note(Note::normal(
                set,
                "SuccessfulDelete",
                format!("Deleted pod: {}", pod.metadata.name),
            ));
        }
    }
    plan
}

/// The pods of this set and of those with the same controller.
fn related<'a, T: Replicated>(set: &'a Item<T>, world: &'a World) -> impl Iterator<Item = &'a Pod> {
    let controller = set.meta().controller().map(|c| c.uid.clone());
    world
        .in_namespace::<T>(&set.meta().namespace)
        .filter(move |other| {
            other.meta().uid == set.meta().uid
                || controller.is_some() && other.meta().controller().map(|c| &c.uid) == controller.as_ref()
        })
        .flat_map(|set| {
            world
                .owned_by::<Pod>(&set.meta().uid)
                .filter(|pod| pod.metadata.is_controlled_by(set.meta()))
                .map(|pod| &**pod)
        })
}

/// A pod after the template. The server would make a name from `generateName` as well, but the event is to tell it.
fn pod(set: &impl Replicated, name: &Name, owner: &OwnerReference) -> Value {
    let template = &set.spec().template;
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("generateName".to_owned(), json!(format!("{}-", set.meta().name)));
    metadata.insert("namespace".to_owned(), json!(set.meta().namespace));
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    metadata.insert("ownerReferences".to_owned(), json!([owner]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}
