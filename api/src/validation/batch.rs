//! Jobs and CronJobs.

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key};
use orlop_core::rules::schedule::{self, Schedule};
use serde_json::Value;

use super::common::{label_selector, not_negative, one_of, one_of_if_set};
use super::config::{fixed, same};
use super::error::Errors;
use super::path::{Path, Read};
use super::{meta, pod};

const SPEC: Path<'static> = Path::root("spec");
const NOT_INDEXED: &str = "requires indexed completion mode";
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

pub(super) fn job_create(e: &mut Errors, object: &Value) {
    meta::create(e, object, dns_subdomain);
    // The selector is generated, unless its author has one of their own.
    let spec = &object["spec"];
    if spec.has("selector") || spec.is_true("manualSelector") {
        job(e, object);
    } else {
        job_fields(e, object);
    }
}

fn job_fields(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let completions = spec.int("completions");
    if spec.text("completionMode") == "Indexed" && completions > 0 {
        let name = object["metadata"].text("name");
        let host = format!("{name}-{}", completions - 1);
        if !dns_label(&host).is_empty() {
            let text = format!("will not able to create pod with invalid DNS label: {host}");
            e.invalid_text(Path::root("metadata").field("name"), name, &text);
        }
    }
    job_spec(e, &SPEC, spec);
}

/// A job whose selector is there.
pub(super) fn job(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let (selector, at) = (&spec["selector"], SPEC.field("selector"));
    let labels = &spec["template"]["metadata"]["labels"];
    let template = SPEC.field("template");
    let path = template.field("metadata");
    let path = path.field("labels");
    let chosen = super::common::selects(selector, labels);
    if !spec.is_true("manualSelector") && !selector.is_null() {
        generated(e, object, &path);
    }
    job_fields(e, object);
    if selector.is_null() {
        e.required(at, "");
    } else {
        label_selector(e, at, selector);
    }
    if let super::common::Chosen::No = chosen {
        e.invalid(path, labels, "`selector` does not match template `labels`");
    }
}

/// A generated selector and the labels that go with it are as they were generated.
fn generated(e: &mut Errors, object: &Value, path: &Path<'_>) {
    let spec = &object["spec"];
    let labels = &spec["template"]["metadata"]["labels"];
    let (uid, name) = (object["metadata"].text("uid"), object["metadata"].text("name"));
    for (key, expected) in [
        ("controller-uid", uid),
        ("batch.kubernetes.io/controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/job-name", name),
    ] {
        match labels.get(key).and_then(Value::as_str) {
            None => e.required(path.key(key), &format!("must be '{expected}'")),
            Some(value) if value != expected => {
                e.invalid(path.key(key), labels, &format!("must be '{expected}'"));
            }
            Some(_) => {}
        }
    }
    let keys: Vec<&str> = spec["selector"].entries("matchLabels").iter().map(|(key, _)| *key).collect();
    let plain = keys.iter().all(|key| key.ends_with("controller-uid")) && !keys.is_empty();
    if !plain || !spec["selector"].is_empty("matchExpressions") {
        e.invalid(SPEC.field("selector"), &spec["selector"], "`selector` not auto-generated");
        if let super::common::Chosen::No = super::common::selects(&spec["selector"], labels)
            && object["metadata"].has("resourceVersion")
        {
            e.invalid(*path, labels, "`selector` does not match template `labels`");
        }
    }
}

fn job_spec(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    const PARALLEL_MAX: i64 = 100_000;
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(e, at, spec, field);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        e.required(at.field("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec["managedBy"].as_str() {
        let field = at.field("managedBy");
        domain_path(e, field, manager);
        if manager.len() > 63 {
            e.too_long(field, 63);
        }
    }
    one_of_if_set(e, at, spec, "completionMode", &["NonIndexed", "Indexed"]);
    if spec.text("completionMode") == "Indexed" {
        if !spec.has("completions") {
            e.required(at.field("completions"), "when completion mode is Indexed");
        }
        if spec.int("parallelism") > PARALLEL_MAX {
            let text =
                format!("must be less than or equal to {PARALLEL_MAX} when completion mode is Indexed");
            e.invalid(at.field("parallelism"), &spec["parallelism"], &text);
        }
        if spec.has("completions") && spec.int("maxFailedIndexes") > spec.int("completions") {
            let text = "must be less than or equal to completions";
            e.invalid(at.field("maxFailedIndexes"), &spec["maxFailedIndexes"], text);
        }
    } else if matches!(spec.text("completionMode"), "" | "NonIndexed") {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if spec.has(field) {
                e.invalid(at.field(field), &spec[field], NOT_INDEXED);
            }
        }
    }
    let template = at.field("template");
    let path = template.field("spec");
    let restart = spec["template"]["spec"].text("restartPolicy");
    if spec.has("podFailurePolicy") {
        failure_policy(e, &at.field("podFailurePolicy"), spec);
        if restart == "OnFailure" {
            let text = "only \"Never\" is supported when podFailurePolicy is specified";
            e.invalid_text(path.field("restartPolicy"), restart, text);
        }
    }
    if spec.has("successPolicy") {
        success_policy(e, &at.field("successPolicy"), spec);
    }
    if spec.has("podReplacementPolicy") {
        let values: &[&str] =
            if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        one_of(e, at, spec, "podReplacementPolicy", values);
    }
    pod::template(e, &template, &spec["template"], &[]);
    match restart {
        "" | "Always" => {
            e.required(path.field("restartPolicy"), "valid values: \"OnFailure\", \"Never\"");
        }
        "OnFailure" | "Never" => {}
        other => e.unsupported(path.field("restartPolicy"), &other.into(), &["OnFailure", "Never"]),
    }
}

/// A domain and a path, `acme.io/foo`.
fn domain_path(e: &mut Errors, at: Path<'_>, text: &str) {
    match text.split_once('/') {
        _ if text.is_empty() => e.required(at, ""),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            e.rule(at, domain, dns_subdomain(domain));
            if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
                e.invalid_text(at, path, "Invalid path");
            }
        }
        _ => e.invalid_text(at, text, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

fn quoted(values: &[&str]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", values.join(" "))
}

fn failure_policy(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    let template = &spec["template"]["spec"];
    let list = at.field("rules");
    for (i, rule) in spec["podFailurePolicy"].list("rules").iter().enumerate() {
        let at = list.index(i);
        match rule.text("action") {
            "" => e.required(at.field("action"), &quoted(&ACTIONS)),
            "FailIndex" if !spec.has("backoffLimitPerIndex") => {
                let text = "requires the backoffLimitPerIndex to be set";
                e.invalid_text(at.field("action"), "FailIndex", text);
            }
            action if ACTIONS.contains(&action) => {}
            _ => e.unsupported(at.field("action"), &rule["action"], &ACTIONS),
        }
        let codes = &rule["onExitCodes"];
        match (codes.is_null(), rule.is_empty("onPodConditions")) {
            (false, false) => {
                e.invalid_unshown(at, "specifying both OnExitCodes and OnPodConditions is not supported");
            }
            (true, true) => {
                e.invalid_unshown(at, "specifying one of OnExitCodes and OnPodConditions is required");
            }
            _ => {}
        }
        if !codes.is_null() {
            exit_codes(e, &at.field("onExitCodes"), codes, template);
        }
        let conditions = at.field("onPodConditions");
        for (i, pattern) in rule.list("onPodConditions").iter().enumerate() {
            let at = conditions.index(i);
            let kind = pattern.text("type");
            e.rule(at.field("type"), kind, label_key(kind));
            one_of(e, &at, pattern, "status", &["False", "True", "Unknown"]);
        }
    }
}

fn exit_codes(e: &mut Errors, at: &Path<'_>, codes: &Value, template: &Value) {
    let operator = codes.text("operator");
    match operator {
        "" => e.required(at.field("operator"), &quoted(&["In", "NotIn"])),
        "In" | "NotIn" => {}
        _ => e.unsupported(at.field("operator"), &codes["operator"], &["In", "NotIn"]),
    }
    if let Some(name) = codes["containerName"].as_str() {
        let lists = ["containers", "initContainers"];
        if !lists.iter().any(|list| template.list(list).iter().any(|c| c.text("name") == name)) {
            let text = "must be one of the container or initContainer names in the pod template";
            e.invalid_text(at.field("containerName"), name, text);
        }
    }
    let list = at.field("values");
    let values = codes.list("values");
    if values.is_empty() {
        e.invalid(list, &codes["values"], "at least one value is required");
    }
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && value.as_i64() == Some(0) {
            e.invalid(list.index(i), value, "must not be 0 for the In operator");
        }
        if values[..i].contains(value) {
            e.duplicate(list.index(i), value);
        } else if i > 0 && values[i - 1].as_i64() > value.as_i64() {
            e.invalid(list, &codes["values"], "must be ordered");
        }
    }
}

fn success_policy(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    let policy = &spec["successPolicy"];
    if spec.text("completionMode") != "Indexed" {
        return e.invalid(*at, policy, NOT_INDEXED);
    }
    let list = at.field("rules");
    if policy.is_empty("rules") {
        e.required(list, "at least one rules must be specified when the successPolicy is specified");
    }
    for (i, rule) in policy.list("rules").iter().enumerate() {
        let at = list.index(i);
        if !rule.has("succeededCount") && !rule.has("succeededIndexes") {
            let text = "at least one of succeededCount or succeededIndexes must be specified";
            e.required(at, text);
        }
        let mut most = None;
        if let Some(text) = rule["succeededIndexes"].as_str() {
            match indexes(text, spec.int("completions")) {
                Ok(count) => most = Some(count),
                Err(error) => {
                    most = Some(0);
                    let detail = format!("error parsing succeededIndexes: {error}");
                    e.invalid_text(at.field("succeededIndexes"), text, &detail);
                }
            }
        }
        if let Some(count) = rule["succeededCount"].as_i64() {
            let field = at.field("succeededCount");
            not_negative(e, &at, rule, "succeededCount");
            let completions = spec.int("completions");
            if count > completions {
                let text = format!(
                    "must be less than or equal to {completions} (the number of specified completions)"
                );
                e.invalid(field, &count.into(), &text);
            }
            if most.is_some_and(|most| count > most) {
                let text = format!(
                    "must be less than or equal to {} (the number of indexes in the specified succeededIndexes field)",
                    most.unwrap_or_default()
                );
                e.invalid(field, &count.into(), &text);
            }
        }
    }
}

/// How many indexes a text such as `1,3-5` names.
pub(super) fn indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut count, mut last) = (0, -1);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let ends: Vec<&str> = part.split('-').collect();
        if ends.len() > 2 {
            return Err(format!(
                "the fragment \"{part}\" violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let mut numbers = Vec::new();
        for end in &ends {
            let number: i64 =
                end.parse().map_err(|_| format!("cannot convert string to integer for index: \"{end}\""))?;
            if number >= completions {
                return Err(format!("too large index: \"{end}\""));
            }
            numbers.push(number);
        }
        let (first, end) = (numbers[0], *numbers.last().unwrap_or(&numbers[0]));
        if first <= last {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        if numbers.len() == 2 && first >= end {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        count += end - first + 1;
        last = end;
    }
    Ok(count)
}

pub(super) fn job_change(e: &mut Errors, old: &Value, new: &Value) {
    let (before, after) = (&old["spec"], &new["spec"]);
    for field in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"] {
        fixed(e, SPEC.field(field), &before[field], &after[field]);
    }
    fixed(e, SPEC.field("successPolicy"), &before["successPolicy"], &after["successPolicy"]);
    if before.has("podFailurePolicy") != after.has("podFailurePolicy")
        && same(&before["podFailurePolicy"], &after["podFailurePolicy"])
    {
        e.invalid(SPEC.field("podFailurePolicy"), &after["podFailurePolicy"], super::common::IMMUTABLE);
    }
    let elastic = after.text("completionMode") == "Indexed"
        && after.has("completions")
        && after["completions"] == after["parallelism"];
    if !same(&before["completions"], &after["completions"]) && !elastic {
        fixed(e, SPEC.field("completions"), &before["completions"], &after["completions"]);
    }
    // A suspended job that has not started may be placed anew.
    let mut expected = before["template"].clone();
    let suspended = before.is_true("suspend") && !old["status"].has("startTime");
    if suspended {
        let now = &after["template"];
        for field in ["nodeSelector", "tolerations", "schedulingGates", "affinity"] {
            if expected["spec"].is_object() {
                expected["spec"][field] = now["spec"][field].clone();
            }
        }
        for field in ["labels", "annotations"] {
            if expected.is_object() && matches!(expected["metadata"], Value::Object(_) | Value::Null) {
                expected["metadata"][field] = now["metadata"][field].clone();
            }
        }
    }
    if !same(&expected, &after["template"]) {
        e.invalid(SPEC.field("template"), &after["template"], super::common::IMMUTABLE);
    }
}

/// A CronJob adds eleven characters to make the names of its Jobs.
pub(super) fn cron_job_name(name: &str) -> Vec<String> {
    let mut errors = dns_subdomain(name);
    if name.len() > 52 {
        errors.push("must be no more than 52 characters".into());
    }
    errors
}

pub(super) fn cron_job(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let at = SPEC.field("schedule");
    match spec.text("schedule") {
        "" => e.required(at, ""),
        schedule => {
            if let Err(problem) = Schedule::parse(schedule) {
                e.invalid_text(at, schedule, &problem);
            } else if schedule.contains("TZ") {
                let text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                e.invalid_text(at, schedule, text);
            }
        }
    }
    if let Some(zone) = spec["timeZone"].as_str() {
        let at = SPEC.field("timeZone");
        if zone.is_empty() {
            e.invalid_text(at, zone, "timeZone must be nil or non-empty string");
        } else if zone.eq_ignore_ascii_case("local") {
            let text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
            e.invalid_text(at, zone, text);
        } else if schedule::zone(zone).is_none() {
            e.invalid_text(at, zone, &format!("unknown time zone {zone}"));
        }
    }
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        not_negative(e, &SPEC, spec, field);
    }
    one_of(e, &SPEC, spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    let at = SPEC.field("jobTemplate");
    job_spec(e, &at.field("spec"), &spec["jobTemplate"]["spec"]);
    if spec["jobTemplate"]["spec"].is_true("manualSelector") {
        let path = at.field("spec");
        e.unsupported(path.field("manualSelector"), &Value::Bool(true), &["nil", "false"]);
    }
}
