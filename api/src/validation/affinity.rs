//! Affinity of pods to nodes and to each other.

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key, label_value};
use serde_json::Value;

use super::common::label_selector;
use super::error::Errors;
use super::path::{Path, Read};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn affinity(e: &mut Errors, at: &Path<'_>, affinity: &Value) {
    let node = &affinity["nodeAffinity"];
    let path = at.field("nodeAffinity");
    if node.has(REQUIRED) {
        node_selector(e, &path.field(REQUIRED), &node[REQUIRED]);
    }
    let list = path.field(PREFERRED);
    for (i, term) in node.list(PREFERRED).iter().enumerate() {
        let at = list.index(i);
        weight(e, &at, term);
        node_term(e, &at.field("preference"), &term["preference"]);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = &affinity[kind];
        let path = at.field(kind);
        let list = path.field(REQUIRED);
        for (i, term) in pods.list(REQUIRED).iter().enumerate() {
            pod_term(e, &list.index(i), term);
        }
        let list = path.field(PREFERRED);
        for (i, term) in pods.list(PREFERRED).iter().enumerate() {
            let at = list.index(i);
            weight(e, &at, term);
            pod_term(e, &at.field("podAffinityTerm"), &term["podAffinityTerm"]);
        }
    }
}

fn weight(e: &mut Errors, at: &Path<'_>, term: &Value) {
    let weight = term.int("weight");
    if !(1..=100).contains(&weight) {
        e.invalid(at.field("weight"), &weight.into(), "must be in the range 1-100");
    }
}

fn pod_term(e: &mut Errors, at: &Path<'_>, term: &Value) {
    label_selector(e, at.field("labelSelector"), &term["labelSelector"]);
    label_selector(e, at.field("namespaceSelector"), &term["namespaceSelector"]);
    for namespace in term.list("namespaces").iter().filter_map(Value::as_str) {
        e.rule(at.field("namespace"), namespace, dns_label(namespace));
    }
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(e, at, term, field);
    }
    for (i, key) in term.list("mismatchLabelKeys").iter().enumerate() {
        if term.list("matchLabelKeys").contains(key) {
            let text = "exists in both matchLabelKeys and mismatchLabelKeys";
            e.invalid(at.field("matchLabelKeys").index(i), key, text);
        }
    }
    let key = term.text("topologyKey");
    if key.is_empty() {
        e.required(at.field("topologyKey"), "can not be empty");
    }
    e.rule(at.field("topologyKey"), key, label_key(key));
}

/// Keys of labels whose values a pod takes over into a selector.
pub(super) fn label_keys(e: &mut Errors, at: &Path<'_>, term: &Value, field: &str) {
    let list = at.field(field);
    if term.is_empty(field) {
        return;
    }
    if !term.has("labelSelector") {
        return e.forbidden(list, "must not be specified when labelSelector is not set");
    }
    for (i, key) in term.list(field).iter().filter_map(Value::as_str).enumerate() {
        e.rule(list.index(i), key, label_key(key));
    }
}

pub(super) fn node_selector(e: &mut Errors, at: &Path<'_>, selector: &Value) {
    let list = at.field("nodeSelectorTerms");
    if selector.is_empty("nodeSelectorTerms") {
        e.required(list, "must have at least one node selector term");
    }
    for (i, term) in selector.list("nodeSelectorTerms").iter().enumerate() {
        node_term(e, &list.index(i), term);
    }
}

fn node_term(e: &mut Errors, at: &Path<'_>, term: &Value) {
    let list = at.field("matchExpressions");
    for (i, requirement) in term.list("matchExpressions").iter().enumerate() {
        let at = list.index(i);
        let values = requirement.list("values");
        match requirement.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                e.required(at.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => e.forbidden(
                at.field("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "Gt" | "Lt" if values.len() != 1 => e.required(
                at.field("values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            operator => e.invalid_text(at.field("operator"), operator, "not a valid selector operator"),
        }
        let key = requirement.text("key");
        e.rule(at.field("key"), key, label_key(key));
        for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
            e.rule(at.field("values").index(i), value, label_value(value));
        }
    }
    let list = at.field("matchFields");
    for (i, requirement) in term.list("matchFields").iter().enumerate() {
        let at = list.index(i);
        let values = requirement.list("values");
        match requirement.text("operator") {
            "In" | "NotIn" if values.len() != 1 => e.required(
                at.field("values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ),
            "In" | "NotIn" => {}
            operator => e.invalid_text(at.field("operator"), operator, "not a valid selector operator"),
        }
        match requirement.text("key") {
            "metadata.name" => {
                for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
                    e.rule(at.field("values").index(i), value, dns_subdomain(value));
                }
            }
            key => e.invalid_text(at.field("key"), key, "not a valid field selector key"),
        }
    }
}
