//! Job: pods that are to end well, so many of them, and are tried again when they do not.

mod failure;
mod indexes;
mod pass;
mod pod;
mod ttl;
mod view;

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::Pod;
use orlop_core::plan::FailureReason;
use orlop_core::{Item, Key, Name, Note, Object, OwnerReference, Plan, World, Write};
use serde_json::{Map, Value, json};

pub use failure::backoff_until;
pub use indexes::Indexes;
pub use pass::{Facts, Pass};
pub use pod::{NewPod, TRACKING};
pub use ttl::TtlAfterFinishedController;
pub use view::{JobStatus, JobView};

use crate::claim::{Claim, claim, is_adoption, watch_orphans};
use crate::gc::without_finalizer;

/// The name by which `managedBy` means this controller.
const MANAGER: &str = "kubernetes.io/job-controller";

/// Runs Jobs. See the module's documentation.
pub struct JobController;

impl Controller for JobController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<JobView>().owned::<Pod, JobView>();
        watch_orphans(watches, |job: &JobView, pod| {
            !job.spec.selector.is_empty() && job.spec.selector.matches(&pod.metadata.labels)
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let job = world.get::<JobView>(key);
        let mut plan = Plan::nothing();
        let managed = |job: &&Item<JobView>| {
            matches!(job.spec.managed_by.as_str(), "" | MANAGER) && job.status.finished().is_none()
        };
        let live = job.filter(managed).and_then(|job| Some((job, job.spec.selector.to_selector().ok()?)));
        let owner = job.map(|job| OwnerReference::controller_of(&JobView::KIND, &job.metadata));
        let mut pods: Vec<&Item<Pod>> = Vec::new();
        for pod in world.in_namespace::<Pod>(&key.namespace) {
            if pod::is_tracked(pod) && counts_for_nobody(pod, key, job) {
                plan = plan.and(release(pod));
                continue;
            }
            let (Some((job, selector)), Some(owner)) = (&live, &owner) else { continue };
            let ours = pod.metadata.is_controlled_by(&job.metadata);
            if !ours && (job.spec.selector.is_empty() || pod.metadata.controller().is_some()) {
                continue;
            }
            let decision = claim(&job.metadata, owner, selector, pod);
            if decision == Claim::Mine || is_adoption(&decision, pod) {
                pods.push(pod);
            }
            if let Claim::Change(write) = decision {
                plan = plan.and(*write);
            }
        }
        let Some((job, _)) = live.filter(|_| plan.is_empty()) else {
            // What was adopted, released or let go is looked at when the world shows it.
            return plan;
        };
        let views: Vec<&Pod> = pods.iter().map(|pod| &***pod).collect();
        let facts = Facts { pods: &views, remembers: true, now: ctx.now };
        let pass = Pass::run(job, &facts);
        let refused = ctx.failure.filter(|failure| failure.reason == FailureReason::Refused);
        if let Some(refused) = refused.filter(|_| !pass.create.is_empty()) {
            let message = format!("Error creating: {}", refused.message);
            plan = plan.note(Note::warning(job, "FailedCreate", message));
        }
        carry_out(plan, job, &pods, &pass, ctx)
    }
}

/// Whether nobody counts a pod any more, so that nothing is to keep it: its Job is gone or has finished.
fn counts_for_nobody(pod: &Pod, key: &Key, job: Option<&Item<JobView>>) -> bool {
    let Some(owner) = pod.metadata.controller() else {
        return job.is_none() && pod.metadata.label("batch.kubernetes.io/job-name") == Some(&key.name);
    };
    match job {
        Some(job) if job.metadata.uid == owner.uid => job.status.finished().is_some(),
        _ => owner.kind == JobView::KIND.kind && owner.name == key.name,
    }
}

fn release(pod: &Item<Pod>) -> Write {
    let patch = json!({"metadata": without_finalizer(&pod.metadata.finalizers, pod::TRACKING)});
    let mut write = Write::merge(Pod::KIND, pod.key(), patch);
    write.uid = Some(pod.metadata.uid.clone());
    write
}

fn carry_out(
    mut plan: Plan,
    job: &Item<JobView>,
    pods: &[&Item<Pod>],
    pass: &Pass<'_>,
    ctx: &mut Context<'_>,
) -> Plan {
    let item = |pod: &Pod| pods.iter().find(|item| item.metadata.uid == pod.metadata.uid);
    let normal = |reason, message| Note::normal(job, reason, message);
    for pod in pass.drop.iter().filter_map(|pod| item(pod)) {
        if pod::is_tracked(pod) {
            plan = plan.and(release(pod));
        }
    }
    for pod in pass.drop.iter().chain(&pass.end).filter_map(|pod| item(pod)) {
        let message = format!("Deleted pod: {}", pod.metadata.name);
        plan = plan.and(Write::delete_seen(pod)).note(normal("SuccessfulDelete", message));
    }
    for new in &pass.create {
        let name = ctx.new_name(&new.prefix(job));
        plan = plan
            .and(Write::create(Pod::KIND, new.object(job, &name)))
            .note(normal("SuccessfulCreate", format!("Created pod: {name}")));
    }
    let mut previous = &job.status;
    if let Some(status) = &pass.before {
        plan = plan.and(Write::merge_seen(job, status_patch(previous, status)).on("status"));
        plan = tell(plan, job, previous, status);
        previous = status;
    }
    for pod in pass.release.iter().filter_map(|pod| item(pod)) {
        plan = plan.and(release(pod));
    }
    if let Some(status) = &pass.after {
        let mut write = Write::merge(JobView::KIND, job.key(), status_patch(previous, status)).on("status");
        write.uid = Some(job.metadata.uid.clone());
        plan = tell(plan.and(write), job, previous, status);
    }
    match pass.wake {
        Some(at) => plan.wake_at(at),
        None => plan,
    }
}

/// What people should know of a change of the status.
fn tell(mut plan: Plan, job: &Item<JobView>, before: &JobStatus, after: &JobStatus) -> Plan {
    for condition in after.conditions.iter().filter(|condition| !before.conditions.contains(condition)) {
        let note = match (condition.r#type.as_str(), condition.status.as_str()) {
            ("Complete", _) => Note::normal(job, "Completed", "Job completed"),
            ("Failed", _) => {
                let note = Note::warning(job, "Failed", condition.message.as_str());
                Note { reason: condition.reason.clone(), ..note }
            }
            ("Suspended", "True") => Note::normal(job, "Suspended", "Job suspended"),
            ("Suspended", _) => Note::normal(job, "Resumed", "Job resumed"),
            _ => continue,
        };
        plan = plan.note(note);
    }
    plan
}

/// The fields of the status that differ.
fn status_patch(before: &JobStatus, after: &JobStatus) -> Value {
    let optional = |n: i32| if n == 0 { Value::Null } else { n.into() };
    let fields = |status: &JobStatus| {
        json!({
            "conditions": if status.conditions.is_empty() { Value::Null } else { json!(status.conditions) },
            "startTime": status.start_time,
            "completionTime": status.completion_time,
            "active": optional(status.active),
            "terminating": status.terminating,
            "ready": status.ready,
            "succeeded": optional(status.succeeded),
            "failed": optional(status.failed),
            "completedIndexes": if status.completed_indexes.is_empty() { Value::Null } else { json!(status.completed_indexes) },
            "failedIndexes": status.failed_indexes,
        })
    };
    let uncounted = &after.uncounted_terminated_pods;
    let list = |uids: &Vec<Name>| if uids.is_empty() { Value::Null } else { json!(uids) };
    let (old, new) = (fields(before), fields(after));
    let mut changed: Map<String, Value> = new
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| old[name.as_str()] != **value)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let lists = json!({"succeeded": list(&uncounted.succeeded), "failed": list(&uncounted.failed)});
    changed.insert("uncountedTerminatedPods".to_owned(), lists);
    json!({"status": changed})
}
