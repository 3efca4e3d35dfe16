//! StatefulSet: pods with names and claims of their own, one for each number.

mod claims;
mod pass;
mod pod;
mod view;

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{ControllerRevision, PersistentVolumeClaim, Pod};
use orlop_core::plan::FailureReason;
use orlop_core::rules::Selector;
use orlop_core::rules::pod::{available_at, is_available};
use orlop_core::{Item, Key, Name, Note, Object, OwnerReference, Plan, World, Write};
use serde_json::{Value, json};

pub use pass::{Act, Facts, Pass};
pub use view::{StatefulSetStatus, StatefulSetView};

use crate::claim::{Claim, claim, is_adoption, watch_orphans};
use crate::history;

/// Keeps the pods of StatefulSets. See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatefulSetController {
    /// Whether `rollingUpdate.maxUnavailable` counts. Kubernetes 1.36 has it behind the feature
    /// `MaxUnavailableStatefulSet`, which is off unless asked for.
    pub max_unavailable: bool,
}

impl Controller for StatefulSetController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<StatefulSetView>().owned::<Pod, StatefulSetView>();
        watches.owned::<ControllerRevision, StatefulSetView>();
        watch_orphans(watches, |set: &StatefulSetView, pod| {
            !set.spec.selector.is_empty() && set.ordinal_of(&pod.metadata.name).is_some()
        });
        // A claim is found by its name: whose template and number it tells.
        watches.mapped::<PersistentVolumeClaim>(|claim, world| {
            world
                .in_namespace::<StatefulSetView>(&claim.metadata.namespace)
                .filter(|set| is_claim_of(set, &claim.metadata.name))
                .map(|set| set.key())
                .collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(set) = world.get::<StatefulSetView>(key) else { return Plan::nothing() };
        let Ok(selector) = set.spec.selector.to_selector() else { return Plan::nothing() };
        if set.spec.selector.is_empty() {
            return Plan::nothing();
        }
        let owner = OwnerReference::controller_of(&StatefulSetView::KIND, &set.metadata);
        let (mut plan, revisions) = revisions(set, &owner, &selector, world);
        let mut pods: Vec<&Pod> = Vec::new();
        let candidates = world.in_namespace::<Pod>(&key.namespace);
        for pod in candidates.filter(|pod| set.ordinal_of(&pod.metadata.name).is_some()) {
            let decision = claim(&set.metadata, &owner, &selector, pod);
            if decision == Claim::Mine || is_adoption(&decision, pod) {
                pods.push(pod);
            }
            if let Claim::Change(write) = decision {
                plan = plan.and(*write);
            }
        }
        if !plan.is_empty() {
            // What was adopted or released is looked at when the world shows it.
            return plan;
        }
        let views: Vec<&ControllerRevision> = revisions.iter().map(|revision| &***revision).collect();
        let facts = Facts {
            pods: &pods,
            revisions: &views,
            claim: &|name| {
                let key = Key::new(key.namespace.clone(), name);
                world.get::<PersistentVolumeClaim>(&key).map(|claim| &**claim)
            },
            taken: &|name| world.get::<ControllerRevision>(&Key::new(key.namespace.clone(), name)).is_some(),
            now: ctx.now,
            max_unavailable: self.max_unavailable,
        };
        let pass = Pass::run(set, &facts);
        let status = pass
            .status_differs()
            .then(|| Write::merge_seen(set, json!({"status": status_patch(&pass.status)})).on("status"));
        let refused = ctx.failure.filter(|failure| failure.reason == FailureReason::Refused);
        if let Some(refused) = refused
            && let Some(note) = failed(set, &pass.acts, &refused.message)
        {
            plan = plan.note(note);
        }
        // After a failure the status comes first: what failed may fail again, and would end the plan before it.
        let (before, after) = if ctx.failure.is_some() { (status, None) } else { (None, status) };
        plan.writes.extend(before);
        for act in &pass.acts {
            plan = carry_out(plan, act, set, world);
        }
        plan.writes.extend(after);
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        let waiting = pods.iter().filter(|pod| !is_available(pod, min_ready, ctx.now));
        match waiting.filter_map(|pod| available_at(pod, min_ready)).min() {
            Some(at) => plan.wake_at(at),
            None => plan,
        }
    }
}

fn is_claim_of(set: &StatefulSetView, claim: &str) -> bool {
    set.spec.volume_claim_templates.iter().any(|template| {
        let template = template["metadata"]["name"].as_str().unwrap_or_default();
        claim
            .strip_prefix(template)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|pod| set.ordinal_of(pod).is_some())
    })
}

/// The set's revisions, from old to new, and the writes by which it adopts orphans.
fn revisions<'a>(
    set: &Item<StatefulSetView>,
    owner: &OwnerReference,
    selector: &Selector,
    world: &'a World,
) -> (Plan, Vec<&'a Item<ControllerRevision>>) {
    let mut plan = Plan::nothing();
    let mut revisions = Vec::new();
    for revision in world.in_namespace::<ControllerRevision>(&set.metadata.namespace) {
        match claim(&set.metadata, owner, selector, revision) {
            Claim::Mine => revisions.push(revision),
            Claim::Change(write) if revision.metadata.controller().is_none() => plan = plan.and(*write),
            _ if history::is_left_behind(&set.metadata, selector, revision) => revisions.push(revision),
            _ => {}
        }
    }
    revisions.sort_by(|a, b| history::by_age(a, b));
    (plan, revisions)
}

fn carry_out(plan: Plan, act: &Act, set: &Item<StatefulSetView>, world: &World) -> Plan {
    let key = |name: &Name| Key::new(set.metadata.namespace.clone(), name.clone());
    let owner = &set.metadata.name;
    match act {
        Act::CreateRevision(object) => plan.and(Write::create(ControllerRevision::KIND, object.clone())),
        Act::Renumber(name, number) => match world.get::<ControllerRevision>(&key(name)) {
            Some(revision) => plan.and(history::renumber(revision, *number)),
            None => plan,
        },
        Act::DeleteRevision(name) => match world.get::<ControllerRevision>(&key(name)) {
            Some(revision) => plan.and(Write::delete_seen(revision)),
            None => plan,
        },
        Act::CreateClaim { name, pod, object } => {
            let message = format!("Create Claim {name} Pod {pod} in StatefulSet {owner} success");
            plan.and(Write::create(PersistentVolumeClaim::KIND, object.clone())).note(Note::normal(
                set,
                "SuccessfulCreate",
                message,
            ))
        }
        Act::OwnClaim(name, owners) => {
            let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
            let patch = json!({"metadata": {"ownerReferences": owners}});
            plan.and(match world.get::<PersistentVolumeClaim>(&key(name)) {
                Some(claim) => Write::merge_seen(claim, patch),
                None => Write::merge(PersistentVolumeClaim::KIND, key(name), patch),
            })
        }
        Act::CreatePod { name, object } => {
            let message = format!("Create Pod {name} in StatefulSet {owner} successful");
            plan.and(Write::create(Pod::KIND, object.clone())).note(Note::normal(
                set,
                "SuccessfulCreate",
                message,
            ))
        }
        Act::UpdatePod(name, patch) => match world.get::<Pod>(&key(name)) {
            Some(pod) => {
                let mut write = Write::merge(Pod::KIND, key(name), patch.clone());
                write.uid = Some(pod.metadata.uid.clone());
                plan.and(write)
            }
            None => plan,
        },
        Act::DeletePod(name) => match world.get::<Pod>(&key(name)) {
            Some(pod) => {
                let message = format!("Delete Pod {name} in StatefulSet {owner} successful");
                plan.and(Write::delete_seen(pod)).note(Note::normal(set, "SuccessfulDelete", message))
            }
            None => plan,
        },
    }
}

/// What the last plan was refused, said of the first thing that this one creates.
fn failed(set: &Item<StatefulSetView>, acts: &[Act], why: &str) -> Option<Note> {
    let owner = &set.metadata.name;
    acts.iter().find_map(|act| {
        let message = match act {
            Act::CreateClaim { name, pod, .. } => {
                format!("Create Claim {name} for Pod {pod} in StatefulSet {owner} failed error: {why}")
            }
            Act::CreatePod { name, .. } => {
                format!("Create Pod {name} in StatefulSet {owner} failed error: {why}")
            }
            _ => return None,
        };
        Some(Note::warning(set, "FailedCreate", message))
    })
}

fn status_patch(status: &StatefulSetStatus) -> Value {
    let some = |n: i64| if n == 0 { Value::Null } else { n.into() };
    json!({
        "observedGeneration": some(status.observed_generation),
        "replicas": status.replicas,
        "readyReplicas": some(status.ready_replicas.into()),
        "availableReplicas": status.available_replicas,
        "currentReplicas": some(status.current_replicas.into()),
        "updatedReplicas": some(status.updated_replicas.into()),
        "currentRevision": status.current_revision,
        "updateRevision": status.update_revision,
        "collisionCount": status.collision_count,
    })
}
