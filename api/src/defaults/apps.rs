//! What keeps pods running.

use serde_json::{Value, json};

use super::pod::template;
use super::storage;
use super::tree::{Object, absent, at, each, is_empty, made, text, within, zero};

pub(super) fn deployment(object: &mut Object) {
    within(object, "spec", |spec| {
        absent(spec, "replicas", 1);
        if let Some(strategy) = made(spec, "strategy") {
            zero(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = made(strategy, "rollingUpdate")
            {
                absent(rolling, "maxUnavailable", "25%");
                absent(rolling, "maxSurge", "25%");
            }
        }
        absent(spec, "revisionHistoryLimit", 10);
        absent(spec, "progressDeadlineSeconds", 600);
        within(spec, "template", template);
    });
}

pub(super) fn replica_set(object: &mut Object) {
    within(object, "spec", |spec| {
        absent(spec, "replicas", 1);
        within(spec, "template", template);
    });
}

/// Labels and selector come from the template where the controller has none.
pub(super) fn replication_controller(object: &mut Object) {
    let labels = |object: &Object| {
        let labels = object.get("spec")?.get("template")?.get("metadata")?.get("labels")?;
        labels.as_object().filter(|labels| !labels.is_empty()).cloned()
    };
    if let Some(labels) = labels(object) {
        within(object, "spec", |spec| {
            if is_empty(spec, "selector") {
                spec.insert("selector".into(), Value::Object(labels.clone()));
            }
        });
        labels_of_template(object, labels);
    }
    within(object, "spec", |spec| {
        absent(spec, "replicas", 1);
        at(spec, "template", template);
    });
}

pub(super) fn labels_of_template(object: &mut Object, labels: Object) {
    if let Some(meta) = made(object, "metadata")
        && is_empty(meta, "labels")
    {
        meta.insert("labels".into(), Value::Object(labels));
    }
}

pub(super) fn stateful_set(object: &mut Object) {
    within(object, "spec", |spec| {
        zero(spec, "podManagementPolicy", "OrderedReady");
        if let Some(strategy) = made(spec, "updateStrategy") {
            if text(strategy, "type").is_empty() {
                strategy.insert("type".into(), "RollingUpdate".into());
                made(strategy, "rollingUpdate");
            }
            if text(strategy, "type") == "RollingUpdate" {
                at(strategy, "rollingUpdate", |rolling| absent(rolling, "partition", 0));
            }
        }
        if let Some(policy) = made(spec, "persistentVolumeClaimRetentionPolicy") {
            zero(policy, "whenDeleted", "Retain");
            zero(policy, "whenScaled", "Retain");
        }
        absent(spec, "replicas", 1);
        absent(spec, "revisionHistoryLimit", 10);
        within(spec, "template", template);
        each(spec, "volumeClaimTemplates", storage::persistent_volume_claim);
    });
}

pub(super) fn daemon_set(object: &mut Object) {
    within(object, "spec", |spec| {
        if let Some(strategy) = made(spec, "updateStrategy") {
            zero(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = made(strategy, "rollingUpdate")
            {
                absent(rolling, "maxUnavailable", json!(1));
                absent(rolling, "maxSurge", json!(0));
            }
        }
        absent(spec, "revisionHistoryLimit", 10);
        within(spec, "template", template);
    });
}
