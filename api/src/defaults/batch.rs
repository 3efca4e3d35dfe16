//! Jobs, and what scales by measure.

use serde_json::{Value, json};

use super::apps::labels_of_template;
use super::pod::template;
use super::tree::{Object, absent, at, each, is_empty, within, zero};

pub(super) fn job(object: &mut Object) {
    within(object, "spec", |spec| {
        let none = |spec: &Object, key| spec.get(key).is_none_or(Value::is_null);
        if none(spec, "parallelism") {
            absent(spec, "parallelism", 1);
            // Neither given: one pod, once. A work queue says its parallelism and no completions.
            absent(spec, "completions", 1);
        }
        let limit = if none(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
        absent(spec, "backoffLimit", limit);
        absent(spec, "completionMode", "NonIndexed");
        absent(spec, "suspend", false);
        absent(spec, "manualSelector", false);
        let replaced = if none(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
        absent(spec, "podReplacementPolicy", replaced);
        job_spec(spec);
    });
    let labels = |object: &Object| {
        let labels = object.get("spec")?.get("template")?.get("metadata")?.get("labels")?;
        labels.as_object().filter(|labels| !labels.is_empty()).cloned()
    };
    if let Some(labels) = labels(object) {
        labels_of_template(object, labels);
    }
}

/// What a CronJob's template has too; the rest waits until a Job is made from it.
fn job_spec(spec: &mut Object) {
    at(spec, "podFailurePolicy", |policy| {
        each(policy, "rules", |rule| {
            each(rule, "onPodConditions", |pattern| zero(pattern, "status", "True"));
        });
    });
    within(spec, "template", template);
}

pub(super) fn cron_job(object: &mut Object) {
    within(object, "spec", |spec| {
        zero(spec, "concurrencyPolicy", "Allow");
        absent(spec, "suspend", false);
        absent(spec, "successfulJobsHistoryLimit", 3);
        absent(spec, "failedJobsHistoryLimit", 1);
        within(spec, "jobTemplate", |job| within(job, "spec", job_spec));
    });
}

pub(super) fn horizontal_pod_autoscaler(object: &mut Object) {
    let v1 = object.get("apiVersion").is_some_and(|v| v == "autoscaling/v1");
    within(object, "spec", |spec| {
        absent(spec, "minReplicas", 1);
        if v1 {
            return;
        }
        if is_empty(spec, "metrics") {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
            spec.insert("metrics".into(), json!([metric]));
        }
        at(spec, "behavior", |behavior| {
            let up = json!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]);
            rules(behavior, "scaleUp", up, Some(0));
            rules(
                behavior,
                "scaleDown",
                json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
                None,
            );
        });
    });
}

fn rules(behavior: &mut Object, direction: &str, policies: Value, window: Option<i64>) {
    absent(behavior, direction, Object::new());
    at(behavior, direction, |rules| {
        absent(rules, "selectPolicy", "Max");
        absent(rules, "policies", policies);
        if let Some(window) = window {
            absent(rules, "stabilizationWindowSeconds", window);
        }
    });
}
