//! Jobs and what starts them.

use orlop_core::Timestamp;
use serde_json::Value;

use super::{age, bool_text, condition, containers, int, items, name, or, selector, text};
use crate::render::age::{between, since, time};
use crate::render::columns::{AGE, Known, NAME, Printer};

pub(super) static JOB: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Status"),
        Known::text("Completions"),
        Known::text("Duration"),
        AGE,
        Known::wide("Containers"),
        Known::wide("Images"),
        Known::wide("Selector"),
    ],
    cells: job,
};

fn job(o: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let succeeded = int(&status["succeeded"]);
    let completions = match spec["completions"].as_i64() {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if int(&spec["parallelism"]) > 1 => format!("{succeeded}/1 of {}", int(&spec["parallelism"])),
        None => format!("{succeeded}/1"),
    };
    let duration = match (time(&status["startTime"]), time(&status["completionTime"])) {
        (None, _) => String::new(),
        (Some(start), None) => between(start, now),
        (Some(start), Some(end)) => between(start, end),
    };
    let [names, images] = containers(&spec["template"]);
    vec![
        name(o),
        job_status(o).into(),
        completions.into(),
        duration.into(),
        age(o, now),
        names,
        images,
        selector(&spec["selector"]).into(),
    ]
}

fn job_status(job: &Value) -> &'static str {
    let conditions = &job["status"]["conditions"];
    if condition(conditions, "Complete") {
        "Complete"
    } else if condition(conditions, "Failed") {
        "Failed"
    } else if !job["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if condition(conditions, "Suspended") {
        "Suspended"
    } else if condition(conditions, "FailureTarget") {
        "FailureTarget"
    } else if condition(conditions, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

pub(super) static CRON_JOB: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Schedule"),
        Known::text("Timezone"),
        Known::typed("Suspend", "boolean"),
        Known::typed("Active", "integer"),
        Known::text("Last Schedule"),
        AGE,
        Known::wide("Containers"),
        Known::wide("Images"),
        Known::wide("Selector"),
    ],
    cells: |o, now| {
        let (spec, status) = (&o["spec"], &o["status"]);
        let last = &status["lastScheduleTime"];
        let [names, images] = containers(&spec["jobTemplate"]["spec"]["template"]);
        vec![
            name(o),
            text(&spec["schedule"]).into(),
            or(text(&spec["timeZone"]), "<none>"),
            bool_text(&spec["suspend"]),
            items(&status["active"]).len().into(),
            if last.is_null() { "<none>".into() } else { since(last, now).into() },
            age(o, now),
            names,
            images,
            selector(&spec["jobTemplate"]["spec"]["selector"]).into(),
        ]
    },
};
