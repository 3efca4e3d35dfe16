//! Deployment: keeps one ReplicaSet for each revision of a pod template, and moves pods from the old to the new.

mod pass;
mod revision;
mod rollout;
mod scaling;
mod status;
mod template;
mod view;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::Pod;
use orlop_core::rules::Selector;
use orlop_core::{Key, Note, Object, OwnerReference, Plan, World, Write};
use serde_json::{Value, json};
use std::convert::Infallible;

pub use pass::{Act, Pass, fenceposts};
pub use status::DeploymentStatus;
pub use template::template_hash;
pub use view::{DeploymentView, ReplicaSetSpec, ReplicaSetStatus, ReplicaSetView};

use crate::claim::{Claim, claim};

/// The annotation, on a Deployment and on its ReplicaSets, that numbers the template.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// The label that tells the pods of one template from those of another.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// Rolls pod templates out. See the module's documentation.
pub struct DeploymentController;

impl Controller for DeploymentController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<DeploymentView>().owned::<ReplicaSetView, DeploymentView>();
        // An orphan may be adopted.
        watches.mapped::<ReplicaSetView>(|set, world| match set.metadata.controller() {
            Some(_) => Vec::new(),
            None => world
                .in_namespace::<DeploymentView>(&set.metadata.namespace)
                .filter(|d| !d.spec.selector.is_empty() && d.spec.selector.matches(&set.metadata.labels))
                .map(|d| d.key())
                .collect(),
        });
        // Recreate waits for the last old pod to go.
        watches.mapped::<Pod>(|pod, world| {
            let Some(owner) = pod.metadata.controller().filter(|owner| owner.kind == "ReplicaSet") else {
                return Vec::new();
            };
            let set = Key::new(pod.metadata.namespace.clone(), owner.name.clone());
            let deployment = world
                .get::<ReplicaSetView>(&set)
                .and_then(|set| set.metadata.controller())
                .map(|owner| Key::new(set.namespace.clone(), owner.name.clone()));
            deployment
                .filter(|key| {
                    world.get::<DeploymentView>(key).is_some_and(|d| d.spec.strategy.r#type == "Recreate")
                })
                .into_iter()
                .collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(deployment) = world.get::<DeploymentView>(key) else { return Plan::nothing() };
        if deployment.spec.selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            let plan = Plan::nothing().note(Note::warning(deployment, "SelectingAll", message));
            if deployment.status.observed_generation >= deployment.metadata.generation {
                return Plan::nothing();
            }
            let patch = json!({"status": {"observedGeneration": deployment.metadata.generation}});
            return plan.and(Write::merge_seen(deployment, patch).on("status"));
        }
        let Ok(selector) = deployment.spec.selector.to_selector() else { return Plan::nothing() };

        let owner = OwnerReference::controller_of(&DeploymentView::KIND, &deployment.metadata);
        let mut plan = Plan::nothing();
        let mut sets = Vec::new();
        for set in world.in_namespace::<ReplicaSetView>(&key.namespace) {
            match claim(&deployment.metadata, &owner, &selector, set) {
                Claim::Mine => sets.push(set),
                Claim::Change(write) => plan = plan.and(*write),
                Claim::Ignore => {}
            }
        }
        if !plan.is_empty() {
            // What was adopted or released is looked at when the world shows it.
            return plan;
        }
        let pods_of = |uid: &str| -> Vec<&Pod> {
            world.owned_by::<Pod>(uid).filter(|pod| selects(&selector, pod)).map(|pod| &**pod).collect()
        };
        let old_pods: Vec<(&str, Vec<&Pod>)> = if deployment.spec.strategy.r#type == "Recreate" {
            sets.iter().map(|set| (set.metadata.uid.as_str(), pods_of(&set.metadata.uid))).collect()
        } else {
            Vec::new()
        };
        let views: Vec<&ReplicaSetView> = sets.iter().map(|set| &***set).collect();
        let name_taken =
            |name: &str| world.get::<ReplicaSetView>(&Key::new(key.namespace.clone(), name)).is_some();
        let pass = Pass::run(deployment, &views, &old_pods, &name_taken, ctx.now);

        let mut seen = Vec::new();
        let mut first = |uid: &str| {
            let first = !seen.iter().any(|u: &String| u == uid);
            seen.push(uid.to_owned());
            first
        };
        let mut last = None;
        for act in pass.acts {
            // The original reads its own cache twice in a pass, and may say the same twice.
            if last.as_ref() == Some(&act) {
                continue;
            }
            let write = match &act {
                Act::Create { object, .. } => Write::create(ReplicaSetView::KIND, object.clone()),
                Act::Update { uid, name, .. } | Act::Delete { uid, name } => {
                    let set = sets.iter().find(|set| set.metadata.uid == *uid);
                    let mut write = match act.patch() {
                        Some(patch) => Write::merge(
                            ReplicaSetView::KIND,
                            Key::new(key.namespace.clone(), name.clone()),
                            patch,
                        ),
                        None => {
                            Write::delete(ReplicaSetView::KIND, Key::new(key.namespace.clone(), name.clone()))
                        }
                    };
                    write.uid = (!uid.is_empty()).then(|| uid.clone());
                    if let Some(set) = set.filter(|_| first(uid)) {
                        write.revision = Some(set.revision());
                    }
                    write
                }
                Act::Status { .. } => {
                    let patch = act.patch().unwrap_or(Value::Null);
                    let mut write = Write::merge(DeploymentView::KIND, key.clone(), patch).on("status");
                    write.uid = Some(deployment.metadata.uid.clone());
                    if first(&deployment.metadata.uid) {
                        write.revision = Some(deployment.revision());
                    }
                    write
                }
            };
            plan = plan.and(write);
            last = Some(act);
        }
        for (warning, reason, message) in pass.notes {
            let note = Note::normal(deployment, reason, message);
            plan = plan.note(Note { warning, ..note });
        }
        match pass.wake {
            Some(at) => plan.wake_at(at),
            None => plan,
        }
    }
}

fn selects(selector: &Selector, pod: &Pod) -> bool {
    selector.matches(&pod.metadata.labels)
}
