//! Budgets, roles, priorities and autoscalers.

use orlop_core::rules::names::dns_subdomain;
use serde_json::Value;

use super::common::{
    at_most_100_percent, count_or_percent, label_selector, named, one_of_if_set, path_segment,
};
use super::config::fixed;
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");
const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn budget(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        e.invalid(SPEC, spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if spec.has(field) {
            count_or_percent(e, SPEC.field(field), &spec[field]);
            at_most_100_percent(e, SPEC.field(field), &spec[field]);
        }
    }
    label_selector(e, SPEC.field("selector"), &spec["selector"]);
    one_of_if_set(e, &SPEC, spec, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"]);
}

pub(super) fn role(e: &mut Errors, object: &Value) {
    let cluster = object.text("kind") == "ClusterRole";
    let list = Path::root("rules");
    for (i, rule) in object.list("rules").iter().enumerate() {
        let at = list.index(i);
        if rule.is_empty("verbs") {
            e.required(at.field("verbs"), "verbs must contain at least one value");
        }
        if !rule.is_empty("nonResourceURLs") {
            let urls = &rule["nonResourceURLs"];
            if !cluster {
                let text = "namespaced rules cannot apply to non-resource URLs";
                e.invalid(at.field("nonResourceURLs"), urls, text);
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|field| !rule.is_empty(field)) {
                let text = "rules cannot apply to both regular resources and non-resource URLs";
                e.invalid(at.field("nonResourceURLs"), urls, text);
            }
            continue;
        }
        if rule.is_empty("apiGroups") {
            e.required(at.field("apiGroups"), "resource rules must supply at least one api group");
        }
        if rule.is_empty("resources") {
            e.required(at.field("resources"), "resource rules must supply at least one resource");
        }
    }
    let rule = &object["aggregationRule"];
    if cluster && !rule.is_null() {
        let at = Path::root("aggregationRule");
        let list = at.field("clusterRoleSelectors");
        if rule.is_empty("clusterRoleSelectors") {
            e.required(list, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (i, selector) in rule.list("clusterRoleSelectors").iter().enumerate() {
            let before = e.0.len();
            label_selector(e, list.index(i), selector);
            if e.0.len() > before {
                // The original shows what it could not read: nothing.
                e.invalid(list.index(i), &Value::Null, "invalid label selector.");
            }
        }
    }
}

pub(super) fn binding(e: &mut Errors, object: &Value) {
    let cluster = object.text("kind") == "ClusterRoleBinding";
    let (role, at) = (&object["roleRef"], Path::root("roleRef"));
    if role.text("apiGroup") != RBAC {
        e.unsupported(at.field("apiGroup"), &role["apiGroup"], &[RBAC]);
    }
    let kinds: &[&str] = if cluster { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
    if !kinds.contains(&role.text("kind")) {
        e.unsupported(at.field("kind"), &role.text("kind").into(), kinds);
    }
    named(e, &at, role, "name", path_segment);
    let list = Path::root("subjects");
    for (i, subject) in object.list("subjects").iter().enumerate() {
        let at = list.index(i);
        let name = subject.text("name");
        if name.is_empty() {
            e.required(at.field("name"), "");
        }
        let group = subject.text("apiGroup");
        match subject.text("kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    e.rule(at.field("name"), name, dns_subdomain(name));
                }
                if !group.is_empty() {
                    e.unsupported(at.field("apiGroup"), &subject["apiGroup"], &[""]);
                }
                if cluster && subject.text("namespace").is_empty() {
                    e.required(at.field("namespace"), "");
                }
            }
            "User" | "Group" => {
                if group != RBAC {
                    e.unsupported(at.field("apiGroup"), &subject["apiGroup"], &[RBAC]);
                }
            }
            kind => e.unsupported(at.field("kind"), &kind.into(), &["ServiceAccount", "User", "Group"]),
        }
    }
}

pub(super) fn binding_change(e: &mut Errors, old: &Value, new: &Value) {
    let reference = &new["roleRef"];
    if old["roleRef"] != *reference {
        // Kubernetes shows the reference under the names of its internal type.
        let shown = serde_json::json!({
            "APIGroup": reference.text("apiGroup"),
            "Kind": reference.text("kind"),
            "Name": reference.text("name"),
        });
        e.invalid(Path::root("roleRef"), &shown, "cannot change roleRef");
    }
}

pub(super) fn priority_class(e: &mut Errors, object: &Value) {
    const USER_MAX: i64 = 1_000_000_000;
    let name = object["metadata"].text("name");
    if name.starts_with("system-") {
        if !["system-node-critical", "system-cluster-critical"].contains(&name) {
            let meta = Path::root("metadata");
            let text = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"
            );
            e.forbidden(meta.field("name"), &text);
        }
    } else if object.int("value") > USER_MAX {
        let text = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        e.forbidden(Path::root("value"), &text);
    }
    match object.text("preemptionPolicy") {
        "" => e.required(Path::root("preemptionPolicy"), ""),
        "PreemptLowerPriority" | "Never" => {}
        _ => e.unsupported(
            Path::root("preemptionPolicy"),
            &object["preemptionPolicy"],
            &["PreemptLowerPriority", "Never"],
        ),
    }
}

pub(super) fn priority_class_change(e: &mut Errors, old: &Value, new: &Value) {
    if old.int("value") != new.int("value") {
        e.forbidden(Path::root("value"), "may not be changed in an update.");
    }
    fixed(e, Path::root("preemptionPolicy"), &old["preemptionPolicy"], &new["preemptionPolicy"]);
}

pub(super) fn autoscaler(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    if spec.has("minReplicas") && spec.int("minReplicas") < 1 {
        let text = "must be greater than or equal to 1";
        e.invalid(SPEC.field("minReplicas"), &spec["minReplicas"], text);
    }
    let max = spec.int("maxReplicas");
    if max < 1 {
        e.required(SPEC.field("maxReplicas"), "must be set and greater than 0");
    }
    if spec.has("minReplicas") && max < spec.int("minReplicas") {
        let text = "must be greater than or equal to `minReplicas`";
        e.invalid(SPEC.field("maxReplicas"), &max.into(), text);
    }
    let (target, at) = (&spec["scaleTargetRef"], SPEC.field("scaleTargetRef"));
    reference(e, &at, target);
    let version = target.text("apiVersion");
    let grouped =
        version.split_once('/').is_some_and(|(group, rest)| !group.is_empty() && !rest.contains('/'));
    if !grouped && target.text("kind") != "ReplicationController" {
        e.invalid_text(at.field("apiVersion"), version, "apiVersion must specify API group");
    }
    let list = SPEC.field("metrics");
    for (i, metric) in spec.list("metrics").iter().enumerate() {
        self::metric(e, &list.index(i), metric);
    }
    if spec["minReplicas"].as_i64() == Some(0)
        && !spec.list("metrics").iter().any(|m| m.has("object") || m.has("external"))
    {
        let text = "must specify at least one Object or External metric to support scaling to zero replicas";
        e.forbidden(list, text);
    }
    let at = SPEC.field("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        if spec["behavior"].has(direction) {
            scaling(e, &at.field(direction), &spec["behavior"][direction]);
        }
    }
}

fn reference(e: &mut Errors, at: &Path<'_>, target: &Value) {
    named(e, at, target, "kind", path_segment);
    named(e, at, target, "name", path_segment);
}

fn scaling(e: &mut Errors, at: &Path<'_>, rules: &Value) {
    const WINDOW_MAX: i64 = 3600;
    const PERIOD_MAX: i64 = 1800;
    if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64() {
        let field = at.field("stabilizationWindowSeconds");
        if seconds < 0 {
            e.invalid(field, &seconds.into(), "must be greater than or equal to zero");
        }
        if seconds > WINDOW_MAX {
            e.invalid(field, &seconds.into(), &format!("must be less than or equal to {WINDOW_MAX}"));
        }
    }
    one_of_if_set(e, at, rules, "selectPolicy", &["Disabled", "Max", "Min"]);
    let list = at.field("policies");
    if rules.is_empty("policies") {
        e.required(list, "must specify at least one Policy");
    }
    for (i, policy) in rules.list("policies").iter().enumerate() {
        let at = list.index(i);
        let kind = policy.text("type");
        if !["Percent", "Pods"].contains(&kind) {
            e.unsupported(at.field("type"), &kind.into(), &["Percent", "Pods"]);
        }
        for (field, max) in [("value", i64::MAX), ("periodSeconds", PERIOD_MAX)] {
            let number = policy.int(field);
            if number <= 0 {
                e.invalid(at.field(field), &number.into(), "must be greater than zero");
            }
            if number > max {
                e.invalid(at.field(field), &number.into(), &format!("must be less than or equal to {max}"));
            }
        }
    }
    if let Some(tolerance) = super::common::quantity(&rules["tolerance"]).filter(|q| q.signum() < 0) {
        e.invalid_text(at.field("tolerance"), &tolerance.to_string(), super::common::NOT_NEGATIVE);
    }
}

fn metric(e: &mut Errors, at: &Path<'_>, metric: &Value) {
    const SOURCES: [(&str, &str); 5] = [
        ("ContainerResource", "containerResource"),
        ("External", "external"),
        ("Object", "object"),
        ("Pods", "pods"),
        ("Resource", "resource"),
    ];
    let kind = metric.text("type");
    if kind.is_empty() {
        e.required(at.field("type"), "must specify a metric source type");
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind);
    if expected.is_none() {
        e.unsupported(at.field("type"), &kind.into(), &SOURCES.map(|(name, _)| name));
    }
    let mut found = false;
    for (_, field) in SOURCES {
        if !metric.has(field) {
            continue;
        }
        let source = at.field(field);
        if !found {
            self::source(e, &source, field, &metric[field]);
        } else {
            e.forbidden(source, "must populate the given metric source only");
        }
        found = true;
    }
    match expected {
        Some((_, field)) if !metric.has(field) => {
            e.required(at.field(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        None => e.unsupported(at.field("type"), &kind.into(), &SOURCES.map(|(name, _)| name)),
    }
}

fn source(e: &mut Errors, at: &Path<'_>, field: &str, source: &Value) {
    let (target, to) = (&source["target"], at.field("target"));
    match field {
        "resource" | "containerResource" => {
            let name = source.text("name");
            if name.is_empty() {
                e.required(at.field("name"), "must specify a resource name");
            }
            target_type(e, &to, target);
            if field == "containerResource" {
                if source.text("container").is_empty() {
                    e.required(at.field("container"), "must specify a container");
                } else {
                    let container = source.text("container");
                    e.rule(at.field("container"), container, orlop_core::rules::names::dns_label(container));
                }
                if !name.is_empty() {
                    super::container::resource_name(e, at.field("name"), name);
                }
            }
            if !target.has("averageUtilization") && !target.has("averageValue") {
                let text = "must set either a target raw value or a target utilization";
                e.required(to.field("averageUtilization"), text);
            }
            if target.has("averageUtilization") && target.has("averageValue") {
                let text = "may not set both a target raw value and a target utilization";
                e.forbidden(to.field("averageValue"), text);
            }
        }
        "pods" => {
            metric_name(e, at, source);
            target_type(e, &to, target);
            if super::common::quantity(&target["averageValue"]).is_none_or(|q| q.signum() != 1) {
                let text = "must specify a positive target averageValue";
                e.required(to.field("averageValue"), text);
            }
        }
        "object" => {
            reference(e, &at.field("describedObject"), &source["describedObject"]);
            metric_name(e, at, source);
            target_type(e, &to, target);
            if !target.has("value") && !target.has("averageValue") {
                let text = "must set either a target value or averageValue";
                e.required(to.field("averageValue"), text);
            }
        }
        _ => {
            metric_name(e, at, source);
            target_type(e, &to, target);
            if !target.has("value") && !target.has("averageValue") {
                let text = "must set either a target value for metric or a per-pod target";
                e.required(to.field("averageValue"), text);
            }
            if target.has("value") && target.has("averageValue") {
                let text = "may not set both a target value for metric and a per-pod target";
                e.forbidden(to.field("value"), text);
            }
        }
    }
}

fn metric_name(e: &mut Errors, at: &Path<'_>, source: &Value) {
    let metric = at.field("metric");
    match source["metric"].text("name") {
        "" => e.required(metric.field("name"), "must specify a metric name"),
        name => e.rule(metric.field("name"), name, path_segment(name)),
    }
}

fn target_type(e: &mut Errors, at: &Path<'_>, target: &Value) {
    let kind = target.text("type");
    if kind.is_empty() {
        e.required(at.field("type"), "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let text = "must be either Utilization, Value, or AverageValue";
        e.invalid_text(at.field("type"), kind, text);
    }
    for field in ["value", "averageValue"] {
        if super::common::quantity(&target[field]).is_some_and(|q| q.signum() != 1) {
            e.invalid(at.field(field), &target[field], "must be positive");
        }
    }
    if target.has("averageUtilization") && target.int("averageUtilization") < 1 {
        let text = "must be greater than 0";
        e.invalid(at.field("averageUtilization"), &target["averageUtilization"], text);
    }
}
