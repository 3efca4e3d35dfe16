//! CronJobs and their schedules.

use orlop_core::oracle::Answer;
use orlop_core::rules::schedule::{Schedule, zone};
use orlop_core::{Name, Timestamp};
use serde_json::{Value, json};

use super::{answered, now, parse};
use crate::cronjob::{CronJobView, Due, Missed, due, job_name, next_look};

fn schedule(input: &Value) -> Result<Schedule, Answer> {
    let text: Name = parse(&input["schedule"])?;
    let schedule = Schedule::parse(&text).map_err(Answer::Error)?;
    let name: Option<Name> = parse(&input["timeZone"])?;
    match name {
        None => Ok(schedule),
        Some(name) => match zone(&name) {
            Some(zone) => Ok(schedule.in_zone(zone)),
            None => Err(Answer::Error(format!("unknown time zone {name}"))),
        },
    }
}

pub(super) fn answer(input: &Value) -> Answer {
    answered(match input["op"].as_str() {
        Some("parse") => schedule(input).map(|_| json!({"ok": true})),
        Some("next") => next(input),
        _ => missed(input),
    })
}

fn next(input: &Value) -> Result<Value, Answer> {
    let schedule = schedule(input)?;
    let from: Option<Timestamp> = parse(&input["from"])?;
    let count: usize = parse(&input["count"])?;
    let mut at = from.unwrap_or(Timestamp::EPOCH);
    let mut times = Vec::new();
    while times.len() < count {
        let Some(next) = schedule.next(at) else { break };
        times.push(next);
        at = next;
    }
    let never = times.len() < count;
    let mut out = json!({"times": times});
    if never {
        out["never"] = true.into();
    }
    Ok(out)
}

fn missed(input: &Value) -> Result<Value, Answer> {
    let schedule = schedule(input)?;
    let now = now(input);
    let cron: CronJobView = parse(&json!({
        "metadata": {"name": "c", "creationTimestamp": input["creationTimestamp"]},
        "spec": {"startingDeadlineSeconds": input["startingDeadlineSeconds"]},
        "status": {"lastScheduleTime": input["lastScheduleTime"]},
    }))?;
    let look = |with_deadline| match due(&cron, &schedule, now, with_deadline) {
        Err(e) => json!({"error": e.to_string()}),
        Ok(Due { earliest, most_recent, missed }) => {
            let missed = match missed {
                Missed::None => "none",
                Missed::Few => "few",
                Missed::Many => "many",
            };
            let mut out = json!({"earliest": earliest, "missed": missed});
            if let Some(most_recent) = most_recent {
                out["mostRecent"] = json!(most_recent);
            }
            out
        }
    };
    let mut out = json!({"withDeadline": look(true), "withoutDeadline": look(false)});
    if let Ok(Due { most_recent: Some(moment), .. }) = due(&cron, &schedule, now, true) {
        out["jobName"] = job_name(&cron.metadata.name, moment).into();
    }
    if let Some(at) = next_look(&cron, &schedule, now) {
        out["requeueAfterMillis"] = ((at.nanos() - now.nanos()) / 1_000_000).into();
    }
    Ok(out)
}
