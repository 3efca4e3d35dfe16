//! DaemonSet: one pod on every node that suits it.

mod nodes;
mod pass;
mod view;

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{ControllerRevision, Node, Pod};
use orlop_core::plan::FailureReason;
use orlop_core::rules::pod::{available_at, is_available};
use orlop_core::{Item, Key, Name, Note, Object, OwnerReference, Plan, World, Write};
use serde_json::{Map, Value, json};

pub use nodes::Fit;
pub use pass::{Change, NoSuchNode, Survey};
pub use view::{DaemonSetStatus, DaemonSetView};

use crate::claim::{Claim, claim, is_adoption, watch_orphans};
use crate::deployment::template_hash;
use crate::history::{self, Newest, POD_REVISION};

/// As many pods are made or deleted in one plan.
const BURST: usize = 250;
/// The annotation with the generation of the template, which pods carry as a label of another name.
const GENERATION: &str = "deprecated.daemonset.template.generation";
const POD_GENERATION: &str = "pod-template-generation";

/// Keeps one pod on every node. See the module's documentation.
pub struct DaemonSetController;

impl Controller for DaemonSetController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<DaemonSetView>().owned::<Pod, DaemonSetView>();
        watches.owned::<ControllerRevision, DaemonSetView>();
        watch_orphans(watches, |set: &DaemonSetView, pod| {
            !set.spec.selector.is_empty() && set.spec.selector.matches(&pod.metadata.labels)
        });
        watches.mapped::<Node>(|_, world| world.all::<DaemonSetView>().map(|set| set.key()).collect());
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(set) = world.get::<DaemonSetView>(key) else { return Plan::nothing() };
        if set.spec.selector.is_empty() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            if set.status.observed_generation >= set.metadata.generation {
                return Plan::nothing();
            }
            let patch = json!({"status": {"observedGeneration": set.metadata.generation}});
            return Plan::write(Write::merge_seen(set, patch).on("status")).note(Note::warning(
                set,
                "SelectingAll",
                message,
            ));
        }
        let Ok(selector) = set.spec.selector.to_selector() else { return Plan::nothing() };
        let owner = OwnerReference::controller_of(&DaemonSetView::KIND, &set.metadata);
        let mut plan = Plan::nothing();
        let mut pods: Vec<&Pod> = Vec::new();
        for pod in world.in_namespace::<Pod>(&key.namespace) {
            let decision = claim(&set.metadata, &owner, &selector, pod);
            if decision == Claim::Mine || is_adoption(&decision, pod) {
                pods.push(pod);
            }
            if let Claim::Change(write) = decision {
                plan = plan.and(*write);
            }
        }
        let mut revisions: Vec<&Item<ControllerRevision>> = Vec::new();
        for revision in world.in_namespace::<ControllerRevision>(&key.namespace) {
            match claim(&set.metadata, &owner, &selector, revision) {
                Claim::Mine => revisions.push(revision),
                Claim::Change(write) if revision.metadata.controller().is_none() => plan = plan.and(*write),
                _ if history::is_left_behind(&set.metadata, &selector, revision) => revisions.push(revision),
                _ => {}
            }
        }
        if !plan.is_empty() {
            // What was adopted or released is looked at when the world shows it.
            return plan;
        }
        revisions.sort_by(|a, b| history::by_age(a, b));
        self.sync(set, &pods, &revisions, world, ctx)
    }
}

impl DaemonSetController {
    fn sync(
        &self,
        set: &Item<DaemonSetView>,
        pods: &[&Pod],
        revisions: &[&Item<ControllerRevision>],
        world: &World,
        ctx: &mut Context<'_>,
    ) -> Plan {
        let mut plan = Plan::nothing();
        let data = history::template_patch(&set.spec.template);
        let mut collisions = set.status.collision_count.unwrap_or(0);
        let newest = history::newest(
            &set.metadata.name,
            &data,
            revisions.iter().map(|revision| &***revision),
            &mut collisions,
            |name| {
                let key = Key::new(set.metadata.namespace.clone(), name);
                world.get::<ControllerRevision>(&key).is_some()
            },
            |collisions| template_hash(&set.spec.template, Some(collisions)),
        );
        let mine = |name: &Name| revisions.iter().find(|revision| revision.metadata.name == *name);
        let hash = match &newest {
            Newest::Create { hash, .. } => hash.clone(),
            Newest::Is(name) | Newest::Renumber(name, _) => {
                mine(name).and_then(|revision| revision.metadata.label(POD_REVISION)).unwrap_or("").to_owned()
            }
        };
        match &newest {
            Newest::Is(_) => {}
            Newest::Renumber(name, number) => {
                let renumbered = mine(name).map(|revision| history::renumber(revision, *number));
                plan.writes.extend(renumbered);
            }
            Newest::Create { name, revision, hash } => {
                let mut labels = set.spec.template["metadata"]["labels"].clone();
                labels[POD_REVISION] = hash.as_str().into();
                let (kind, revision) = (&DaemonSetView::KIND, *revision);
                let object = history::object(kind, &set.metadata, &labels, name, revision, data);
                plan = plan.and(Write::create(ControllerRevision::KIND, object));
            }
        }
        let nodes = world.all::<Node>().map(|node| &**node);
        let mut survey = Survey::new(set, &hash, nodes, pods, ctx.now);
        let mut status = survey.status();
        status.collision_count = (collisions > 0).then_some(collisions).or(set.status.collision_count);
        if set.metadata.is_terminating() {
            // Who is being deleted does no more than tell what is.
            status.observed_generation = set.status.observed_generation;
            let told = (status != set.status).then(|| write_status(set, &status));
            return told.map_or_else(Plan::nothing, Plan::write);
        }
        let mut change = survey.manage();
        if change.is_empty() && set.spec.update_strategy.r#type != "OnDelete" {
            change = survey.rolling_update().unwrap_or_default();
        }
        let told = (status != set.status).then(|| write_status(set, &status));
        let refused = ctx.failure.filter(|failure| failure.reason == FailureReason::Refused);
        if let Some(refused) = refused.filter(|_| !change.create.is_empty()) {
            let message = format!("Error creating: {}", refused.message);
            plan = plan.note(Note::warning(set, "FailedCreate", message));
        }
        // After a failure the status comes first: what failed may fail again, and would end the plan before it.
        let (before, after) = if ctx.failure.is_some() { (told, None) } else { (None, told) };
        plan.writes.extend(before);
        plan = carry_out(plan, set, &change, &hash, world, ctx);
        for name in outlived(set, pods, revisions, newest.name()) {
            plan.writes.extend(mine(&name).map(|revision| Write::delete_seen(revision)));
        }
        plan.writes.extend(after);
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        let waiting = pods.iter().filter(|pod| !is_available(pod, min_ready, ctx.now));
        let ready = waiting.filter_map(|pod| available_at(pod, min_ready)).min();
        ready.into_iter().chain(survey.wake).fold(plan, Plan::wake_at)
    }
}

fn carry_out(
    mut plan: Plan,
    set: &Item<DaemonSetView>,
    change: &Change,
    hash: &str,
    world: &World,
    ctx: &mut Context<'_>,
) -> Plan {
    for name in change.delete.iter().take(BURST) {
        let key = Key::new(set.metadata.namespace.clone(), name.clone());
        let Some(pod) = world.get::<Pod>(&key) else { continue };
        let node = &pod.spec.node_name;
        let ended = match pod.status.phase.as_str() {
            "Failed" => {
                let message = format!("Found failed daemon pod {key} on node {node}, will try to kill it");
                Some(Note::warning(set, "FailedDaemonPod", message))
            }
            "Succeeded" => {
                let message =
                    format!("Found succeeded daemon pod {key} on node {node}, will try to delete it");
                Some(Note::normal(set, "SucceededDaemonPod", message))
            }
            _ => None,
        };
        plan.events.extend(ended);
        let message = format!("Deleted pod: {name}");
        plan = plan.and(Write::delete_seen(pod)).note(Note::normal(set, "SuccessfulDelete", message));
    }
    for node in change.create.iter().take(BURST) {
        let name = ctx.new_name(&format!("{}-", set.metadata.name));
        let message = format!("Created pod: {name}");
        plan = plan.and(Write::create(Pod::KIND, pod(set, &name, node, hash))).note(Note::normal(
            set,
            "SuccessfulCreate",
            message,
        ));
    }
    plan
}

/// The pod for one node, after the template.
fn pod(set: &DaemonSetView, name: &str, node: &str, hash: &str) -> Value {
    let template = &set.spec.template;
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(POD_REVISION.to_owned(), hash.into());
    if let Some(generation) = set.metadata.annotation(GENERATION) {
        labels.insert(POD_GENERATION.to_owned(), generation.into());
    }
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), name.into());
    metadata.insert("generateName".to_owned(), json!(format!("{}-", set.metadata.name)));
    metadata.insert("namespace".to_owned(), json!(set.metadata.namespace));
    metadata.insert("labels".to_owned(), labels.into());
    for field in ["annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let owner = OwnerReference::controller_of(&DaemonSetView::KIND, &set.metadata);
    metadata.insert("ownerReferences".to_owned(), json!([owner]));
    let spec = nodes::spec_for(template, node);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// Former revisions beyond the limit that no pod has.
fn outlived(
    set: &DaemonSetView,
    pods: &[&Pod],
    revisions: &[&Item<ControllerRevision>],
    newest: &Name,
) -> Vec<Name> {
    let former: Vec<_> = revisions.iter().filter(|revision| revision.metadata.name != *newest).collect();
    let limit = usize::try_from(set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let in_use = |revision: &ControllerRevision| {
        let hash = revision.metadata.label(POD_REVISION).unwrap_or("");
        pods.iter().any(|pod| history::of_pod(&pod.metadata.labels) == hash)
    };
    let surplus = former.len().saturating_sub(limit);
    let unused = former.into_iter().filter(|revision| !in_use(revision));
    unused.take(surplus).map(|revision| revision.metadata.name.clone()).collect()
}

fn write_status(set: &Item<DaemonSetView>, status: &DaemonSetStatus) -> Write {
    let some = |n: i32| if n == 0 { Value::Null } else { n.into() };
    let status = json!({
        "currentNumberScheduled": status.current_number_scheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "numberReady": status.number_ready,
        "numberAvailable": some(status.number_available),
        "numberUnavailable": some(status.number_unavailable),
        "updatedNumberScheduled": some(status.updated_number_scheduled),
        "observedGeneration": status.observed_generation,
        "collisionCount": status.collision_count,
    });
    Write::merge_seen(set, json!({"status": status})).on("status")
}
