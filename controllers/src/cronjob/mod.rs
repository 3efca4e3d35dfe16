//! CronJob: begins a Job whenever its schedule says so.

mod missed;
mod view;

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::plan::{Action, FailureReason, Propagation};
use orlop_core::rules::schedule::{Schedule, show, zone};
use orlop_core::{Item, Key, Name, Note, Object, OwnerReference, Plan, Timestamp, World, Write};
use serde_json::{Map, Value, json};

pub use missed::{Due, Missed, Unusable, due, job_name, next_look};
pub use view::{Active, CronJobStatus, CronJobView};

use crate::job::JobView;

/// The annotation with the moment for which a Job was begun.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Begins Jobs. See the module's documentation.
pub struct CronJobController;

impl Controller for CronJobController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<CronJobView>().owned::<JobView, CronJobView>();
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(cron) = world.get::<CronJobView>(key) else { return Plan::nothing() };
        let jobs: Vec<&Item<JobView>> = world
            .owned_by::<JobView>(&cron.metadata.uid)
            .filter(|job| job.metadata.is_controlled_by(&cron.metadata))
            .collect();
        let mut status = CronJobStatus {
            active: active(cron, &jobs),
            last_successful_time: last_success(cron, &jobs),
            ..cron.status.clone()
        };
        let mut plan = tell(Plan::nothing(), cron, &jobs);
        if !cron.metadata.is_terminating() {
            plan = begin(plan, cron, &jobs, &mut status, world, ctx);
        }
        plan = forget(plan, cron, &jobs);
        if status != cron.status {
            let write = Write::merge_seen(cron, patch(&status)).on("status");
            plan = plan.and(write);
        }
        plan
    }
}

/// The Jobs that have not ended: those that were known, then others.
fn active(cron: &CronJobView, jobs: &[&Item<JobView>]) -> Vec<Active> {
    let running = || jobs.iter().filter(|job| job.status.finished().is_none());
    let known = cron.status.active.iter();
    let mut active: Vec<Active> =
        known.filter(|a| running().any(|job| job.metadata.uid == a.uid)).cloned().collect();
    for job in running() {
        if !active.iter().any(|a| a.uid == job.metadata.uid) {
            active.push(Active {
                kind: JobView::KIND.kind,
                namespace: job.metadata.namespace.clone(),
                name: job.metadata.name.clone(),
                uid: job.metadata.uid.clone(),
                api_version: JobView::KIND.api_version(),
                resource_version: smol_str::format_smolstr!("{}", job.revision()),
            });
        }
    }
    active
}

fn last_success(cron: &CronJobView, jobs: &[&Item<JobView>]) -> Option<Timestamp> {
    let times = jobs.iter().filter(|job| job.status.condition("Complete").is_some());
    times.filter_map(|job| job.status.completion_time).chain(cron.status.last_successful_time).max()
}

/// What became of Jobs that were active.
fn tell(mut plan: Plan, cron: &Item<CronJobView>, jobs: &[&Item<JobView>]) -> Plan {
    for active in &cron.status.active {
        match jobs.iter().find(|job| job.metadata.uid == active.uid) {
            None => {
                let message = format!("Active job went missing: {}", active.name);
                plan = plan.note(Note::normal(cron, "MissingJob", message));
            }
            Some(job) => {
                if let Some(end) = job.status.finished() {
                    let message = format!("Saw completed job: {}, condition: {}", active.name, end.r#type);
                    plan = plan.note(Note::normal(cron, "SawCompletedJob", message));
                }
            }
        }
    }
    plan
}

/// The schedule in force.
///
/// # Errors
/// The reason and the words of a warning.
fn schedule(cron: &CronJobView) -> Result<Schedule, (&'static str, String)> {
    let text = &cron.spec.schedule;
    let schedule = Schedule::parse(text)
        .map_err(|e| ("UnparseableSchedule", format!("unparseable schedule: {text:?} : {e}")))?;
    match &cron.spec.time_zone {
        None => Ok(schedule),
        Some(name) => match zone(name) {
            Some(zone) => Ok(schedule.in_zone(zone)),
            None => {
                let message = format!("invalid timeZone: {:?}: unknown time zone {name}", name.as_str());
                Err(("UnknownTimeZone", message))
            }
        },
    }
}

/// Begins the Job that is due, if one is.
fn begin(
    mut plan: Plan,
    cron: &Item<CronJobView>,
    jobs: &[&Item<JobView>],
    status: &mut CronJobStatus,
    world: &World,
    ctx: &mut Context<'_>,
) -> Plan {
    if cron.spec.suspend {
        return plan;
    }
    let schedule = match schedule(cron) {
        Ok(schedule) => schedule,
        Err((reason, message)) => return plan.note(Note::warning(cron, reason, message)),
    };
    let due = match due(cron, &schedule, ctx.now, true) {
        Ok(due) => due,
        Err(e) => {
            let message = format!("invalid schedule schedule: {:?} : {e}", cron.spec.schedule.as_str());
            return plan.note(Note::warning(cron, "InvalidSchedule", message));
        }
    };
    if let Some(at) = next_look(cron, &schedule, ctx.now) {
        plan = plan.wake_at(at.max(ctx.now));
    }
    let Some(moment) = due.most_recent else { return plan };
    if due.missed == Missed::Many {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan = plan.note(Note::warning(cron, "TooManyMissedTimes", message));
    }
    let name = Name::from(job_name(&cron.metadata.name, moment));
    if cron.status.last_schedule_time == Some(moment) {
        return plan;
    }
    if cron.spec.concurrency_policy == "Forbid" && !status.active.is_empty() {
        let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
        return plan.note(Note::normal(cron, "JobAlreadyActive", message));
    }
    let taken = world.get::<JobView>(&Key::new(cron.metadata.namespace.clone(), name.clone())).is_some();
    if cron.spec.concurrency_policy == "Replace" && !taken {
        for job in jobs.iter().filter(|job| job.status.finished().is_none()) {
            plan = delete(plan, cron, job);
            status.active.retain(|active| active.uid != job.metadata.uid);
        }
    }
    if !taken {
        let refused = ctx.failure.filter(|failure| failure.reason == FailureReason::Refused);
        if let Some(refused) = refused {
            let message = format!("Error creating job: {}", refused.message);
            plan = plan.note(Note::warning(cron, "FailedCreate", message));
        }
        plan = plan.and(Write::create(JobView::KIND, job(cron, &name, moment))).note(Note::normal(
            cron,
            "SuccessfulCreate",
            format!("Created job {name}"),
        ));
    }
    status.last_schedule_time = Some(moment);
    plan
}

/// The Job for a moment.
fn job(cron: &CronJobView, name: &str, moment: Timestamp) -> Value {
    let template = &cron.spec.job_template;
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), local(cron, moment).into());
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), name.into());
    metadata.insert("namespace".to_owned(), json!(cron.metadata.namespace));
    if let Some(labels) = template["metadata"].get("labels") {
        metadata.insert("labels".to_owned(), labels.clone());
    }
    metadata.insert("annotations".to_owned(), annotations.into());
    let owner = OwnerReference::controller_of(&CronJobView::KIND, &cron.metadata);
    metadata.insert("ownerReferences".to_owned(), json!([owner]));
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}

/// A moment as the clocks of the CronJob's time zone show it.
fn local(cron: &CronJobView, moment: Timestamp) -> String {
    let zone = cron.spec.time_zone.as_ref().and_then(|name| zone(name));
    zone.map_or_else(|| moment.to_string(), |zone| show(moment, &zone))
}

fn delete(plan: Plan, cron: &Item<CronJobView>, job: &Item<JobView>) -> Plan {
    let mut write = Write::delete_seen(job);
    write.action = Action::Delete { grace: None, propagation: Some(Propagation::Background) };
    let message = format!("Deleted job {}", job.metadata.name);
    plan.and(write).note(Note::normal(cron, "SuccessfulDelete", message))
}

/// Deletes the oldest Jobs that have ended, beyond the limits.
fn forget(mut plan: Plan, cron: &Item<CronJobView>, jobs: &[&Item<JobView>]) -> Plan {
    let limits = [
        ("Complete", cron.spec.successful_jobs_history_limit),
        ("Failed", cron.spec.failed_jobs_history_limit),
    ];
    for (end, limit) in limits {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let ended = |job: &&&Item<JobView>| job.status.finished().is_some_and(|c| c.r#type == end);
        let mut ended: Vec<&&Item<JobView>> = jobs.iter().filter(ended).collect();
        // Who never began comes last.
        ended.sort_by_key(|job| (job.status.start_time.unwrap_or(Timestamp::MAX), job.metadata.name.clone()));
        let surplus = ended.len().saturating_sub(limit);
        for job in ended.into_iter().take(surplus).filter(|job| !job.metadata.is_terminating()) {
            plan = delete(plan, cron, job);
        }
    }
    plan
}

fn patch(status: &CronJobStatus) -> Value {
    json!({"status": {
        "active": if status.active.is_empty() { Value::Null } else { json!(status.active) },
        "lastScheduleTime": status.last_schedule_time,
        "lastSuccessfulTime": status.last_successful_time,
    }})
}
