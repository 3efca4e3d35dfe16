//! What keeps pods running.

use orlop_core::rules::names::dns_label;
use serde_json::Value;

use super::common::{
    Chosen, amount, at_most_100_percent, count_or_percent, immutable, label_selector, named_if_set,
    not_negative, one_of, selector_is_empty, selects,
};
use super::error::Errors;
use super::path::{Path, Read};
use super::{pod, storage};

const SPEC: Path<'static> = Path::root("spec");
const UNMATCHED: &str = "`selector` does not match template `labels`";

/// A strategy as the original shows it, with all its fields.
fn as_shown(strategy: &Value) -> Value {
    let rolling = match &strategy["rollingUpdate"] {
        Value::Null => Value::Null,
        update => {
            let count = |field: &str| if update.has(field) { update[field].clone() } else { 0.into() };
            serde_json::json!({"MaxUnavailable": count("maxUnavailable"), "MaxSurge": count("maxSurge")})
        }
    };
    serde_json::json!({"Type": strategy.text("type"), "RollingUpdate": rolling})
}

fn counts(e: &mut Errors, spec: &Value) {
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        not_negative(e, &SPEC, spec, field);
    }
}

/// The selector is there and chooses something, the template is chosen by it and runs for good.
fn selector_and_template(e: &mut Errors, spec: &Value, empty: &str, unreadable: &str, claims: &[&str]) {
    let selector = &spec["selector"];
    let at = SPEC.field("selector");
    if selector.is_null() {
        e.required(at, "");
    } else {
        label_selector(e, at, selector);
        if selector_is_empty(selector) {
            e.invalid(at, selector, empty);
        }
    }
    let template = &spec["template"];
    match selects(selector, &template["metadata"]["labels"]) {
        Chosen::Invalid => return e.invalid(at, selector, unreadable),
        Chosen::Yes => {}
        Chosen::No => unmatched(e, template),
    }
    forever(
        e,
        template,
        claims,
        if claims.is_empty() && !empty.ends_with("statefulset") { "ReplicaSet" } else { "StatefulSet" },
    );
}

fn unmatched(e: &mut Errors, template: &Value) {
    let at = SPEC.field("template");
    let at = at.field("metadata");
    e.invalid(at.field("labels"), &template["metadata"]["labels"], UNMATCHED);
}

/// A template of pods that are to run for good.
fn forever(e: &mut Errors, template: &Value, claims: &[&str], kind: &str) {
    let at = SPEC.field("template");
    pod::template(e, &at, template, claims);
    let (at, spec) = (at.field("spec"), &template["spec"]);
    if spec.text("restartPolicy") != "Always" {
        e.unsupported(at.field("restartPolicy"), &spec["restartPolicy"], &["Always"]);
    }
    if spec.has("activeDeadlineSeconds") {
        let text = format!("activeDeadlineSeconds in {kind} is not Supported");
        e.forbidden(at.field("activeDeadlineSeconds"), &text);
    }
}

pub(super) fn pod_template(e: &mut Errors, object: &Value) {
    pod::template(e, &Path::root("template"), &object["template"], &[]);
}

pub(super) fn deployment(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    counts(e, spec);
    selector_and_template(e, spec, "empty selector is invalid for deployment", "invalid label selector", &[]);
    let (strategy, at) = (&spec["strategy"], SPEC.field("strategy"));
    let rolling = at.field("rollingUpdate");
    let update = &strategy["rollingUpdate"];
    match strategy.text("type") {
        "Recreate" => {
            if !update.is_null() {
                e.forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" if update.is_null() => {
            e.required(rolling, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (&update["maxUnavailable"], &update["maxSurge"]);
            count_or_percent(e, rolling.field("maxUnavailable"), unavailable);
            count_or_percent(e, rolling.field("maxSurge"), surge);
            if amount(unavailable) == 0 && amount(surge) == 0 {
                let text = "may not be 0 when `maxSurge` is 0";
                e.invalid(rolling.field("maxUnavailable"), unavailable, text);
            }
            at_most_100_percent(e, rolling.field("maxUnavailable"), unavailable);
        }
        _ => e.unsupported(at, &as_shown(strategy), &["Recreate", "RollingUpdate"]),
    }
    if spec.has("progressDeadlineSeconds") {
        not_negative(e, &SPEC, spec, "progressDeadlineSeconds");
        if spec.int("progressDeadlineSeconds") <= spec.int("minReadySeconds") {
            let text = "must be greater than minReadySeconds";
            e.invalid(SPEC.field("progressDeadlineSeconds"), &spec["progressDeadlineSeconds"], text);
        }
    }
}

pub(super) fn replica_set(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    counts(e, spec);
    selector_and_template(e, spec, "empty selector is invalid for deployment", "invalid label selector", &[]);
}

pub(super) fn selector_change(e: &mut Errors, old: &Value, new: &Value) {
    let (old, new) = (&old["spec"]["selector"], &new["spec"]["selector"]);
    if old.is_null() != new.is_null() {
        immutable(e, SPEC.field("selector"), old, new);
    } else {
        super::config::fixed(e, SPEC.field("selector"), old, new);
    }
}

pub(super) fn replication_controller(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    counts(e, spec);
    if spec.is_empty("selector") {
        e.required(SPEC.field("selector"), "");
    }
    let template = &spec["template"];
    if template.is_null() {
        return e.required(SPEC.field("template"), "");
    }
    let labels = &template["metadata"]["labels"];
    if spec.entries("selector").iter().any(|(key, value)| labels.get(*key) != Some(*value)) {
        unmatched(e, template);
    }
    forever(e, template, &[], "ReplicationController");
}

pub(super) fn daemon_set(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    counts(e, spec);
    let (selector, at) = (&spec["selector"], SPEC.field("selector"));
    label_selector(e, at, selector);
    let template = &spec["template"];
    if let Chosen::No = selects(selector, &template["metadata"]["labels"]) {
        unmatched(e, template);
    }
    if !selector.is_null() && selector_is_empty(selector) {
        e.invalid(at, selector, "empty selector is invalid for daemonset");
    }
    forever(e, template, &[], "DaemonSet");
    let (strategy, at) = (&spec["updateStrategy"], SPEC.field("updateStrategy"));
    let rolling = at.field("rollingUpdate");
    let update = &strategy["rollingUpdate"];
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" if update.is_null() => e.required(rolling, ""),
        "RollingUpdate" => {
            for field in ["maxUnavailable", "maxSurge"] {
                count_or_percent(e, rolling.field(field), &update[field]);
                at_most_100_percent(e, rolling.field(field), &update[field]);
            }
            match (amount(&update["maxUnavailable"]) != 0, amount(&update["maxSurge"]) != 0) {
                (true, true) => {
                    let text = "may not be set when maxUnavailable is non-zero";
                    e.invalid(rolling.field("maxSurge"), &update["maxSurge"], text);
                }
                (false, false) => {
                    e.required(rolling.field("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                _ => {}
            }
        }
        _ => e.unsupported(at, &as_shown(strategy), &["RollingUpdate", "OnDelete"]),
    }
}

pub(super) fn stateful_set(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    counts(e, spec);
    match spec.text("podManagementPolicy") {
        "" => e.required(SPEC.field("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        _ => {
            let text = "must be 'OrderedReady' or 'Parallel'";
            e.invalid(SPEC.field("podManagementPolicy"), &spec["podManagementPolicy"], text);
        }
    }
    let (strategy, at) = (&spec["updateStrategy"], SPEC.field("updateStrategy"));
    let update = &strategy["rollingUpdate"];
    match strategy.text("type") {
        "" => e.required(at, ""),
        "OnDelete" => {
            if !update.is_null() {
                let text = "only allowed for updateStrategy 'RollingUpdate'";
                e.invalid(at.field("rollingUpdate"), update, text);
            }
        }
        "RollingUpdate" => {
            not_negative(e, &at.field("rollingUpdate"), update, "partition");
            if update.has("maxUnavailable") {
                let field = at.field("rollingUpdate");
                count_or_percent(e, field.field("maxUnavailable"), &update["maxUnavailable"]);
            }
        }
        _ => e.invalid(at, strategy, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    let (policy, at) =
        (&spec["persistentVolumeClaimRetentionPolicy"], SPEC.field("persistentVolumeClaimRetentionPolicy"));
    if !policy.is_null() {
        for field in ["whenDeleted", "whenScaled"] {
            one_of(e, &at, policy, field, &["Retain", "Delete"]);
        }
    }
    not_negative(e, &SPEC.field("ordinals"), &spec["ordinals"], "start");
    let claims: Vec<&str> =
        spec.list("volumeClaimTemplates").iter().map(|claim| claim["metadata"].text("name")).collect();
    selector_and_template(e, spec, "empty selector is invalid for statefulset", "", &claims);
    // The template's metadata is judged by its own kind once more.
    let template = &spec["template"];
    if !template.is_null() && !spec["selector"].is_null() {
        let at = SPEC.field("template");
        pod::labelled(e, &at, &template["metadata"]);
        pod::annotations(
            e,
            &at.field("annotations"),
            &template["metadata"]["annotations"],
            &template["spec"],
        );
    }
}

/// What is asked of a new one only.
pub(super) fn stateful_set_create(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    named_if_set(e, &SPEC, spec, "serviceName", dns_label);
    let list = SPEC.field("volumeClaimTemplates");
    for (i, claim) in spec.list("volumeClaimTemplates").iter().enumerate() {
        let at = list.index(i);
        storage::claim_spec(e, &at.field("spec"), &claim["spec"]);
    }
}

pub(super) fn stateful_set_change(e: &mut Errors, old: &Value, new: &Value) {
    const MAY_CHANGE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|field, _| !MAY_CHANGE.contains(&field.as_str()));
        Value::Object(spec)
    };
    if !super::config::same(&fixed(old), &fixed(new)) {
        e.forbidden(
            SPEC,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

/// A state that a controller keeps.
pub(super) fn revision(e: &mut Errors, object: &Value) {
    if !object.has("data") {
        e.required(Path::root("data"), "data is mandatory");
    }
    let number = object.int("revision");
    if number < 0 {
        e.invalid(Path::root("revision"), &number.into(), super::common::NOT_NEGATIVE);
    }
}

pub(super) fn revision_change(e: &mut Errors, old: &Value, new: &Value) {
    super::config::fixed(e, Path::root("data"), &old["data"], &new["data"]);
}
