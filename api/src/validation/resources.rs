//! Quotas and limits.

use orlop_core::rules::names::label_key;
use serde_json::Value;

use super::common::quantity;
use super::config::fixed;
use super::container::amount;
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const QUOTA_RESOURCES: [&str; 18] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
];

/// The name of something that quotas count.
pub(super) fn quota_resource(e: &mut Errors, at: Path<'_>, name: &str) {
    let before = e.0.len();
    e.rule(at, name, label_key(name));
    if name.contains('/') || e.0.len() > before && name.is_empty() {
        return;
    }
    let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    let standard = huge || QUOTA_RESOURCES.contains(&name) || name == "services.loadbalancers";
    if e.0.len() == before && !standard && !super::common::standard_resource(name) {
        e.invalid_text(at, name, "must be a standard resource type or fully qualified");
    }
    if !standard {
        e.invalid_text(at, name, "must be a standard resource for quota");
    }
}

pub(super) fn quota(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let hard = SPEC.field("hard");
    for (name, value) in spec.entries("hard") {
        quota_resource(e, hard.key(name), name);
        super::container::quantity(e, hard.key(name), name, value);
    }
    let at = SPEC.field("scopes");
    let mut hard: Vec<&str> = spec.entries("hard").iter().map(|(name, _)| *name).collect();
    hard.sort_unstable();
    let scopes: Vec<&str> = spec.list("scopes").iter().filter_map(Value::as_str).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            e.invalid(at, &spec["scopes"], "unsupported scope");
        }
        for _ in hard.iter().filter(|name| !scoped(scope, name)) {
            e.invalid(at, &spec["scopes"], "unsupported scope applied to resource");
        }
    }
    conflicts(e, at, &scopes, &spec["scopes"]);
    let at = SPEC.field("scopeSelector");
    let at = at.field("matchExpressions");
    let mut scopes: Vec<&str> = Vec::new();
    for requirement in spec["scopeSelector"].list("matchExpressions") {
        let (scope, operator) = (requirement.text("scopeName"), requirement.text("operator"));
        scopes.push(scope);
        if !SCOPES.contains(&scope) {
            e.invalid_text(at.field("scopeName"), scope, "unsupported scope");
        }
        for _ in hard.iter().filter(|name| !scoped(scope, name)) {
            e.invalid(at, &shown_selector(spec), "unsupported scope applied to resource");
        }
        let simple = !["PriorityClass", "VolumeAttributesClass"].contains(&scope) && SCOPES.contains(&scope);
        if simple && operator != "Exists" {
            let text = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                        ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                        ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            e.invalid_text(at.field("operator"), operator, text);
        }
        let empty = requirement.is_empty("values");
        match operator {
            "In" | "NotIn" if empty => e.required(
                at.field("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !empty => e.invalid(
                at.field("values"),
                &requirement["values"],
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => e.invalid_text(at.field("operator"), operator, "not a valid selector operator"),
        }
    }
    conflicts(e, at, &scopes, &spec["scopes"]);
}

/// Whether what a quota counts may be narrowed to a scope; what is not standard may be, and an unknown scope says nothing.
fn scoped(scope: &str, resource: &str) -> bool {
    const COMPUTE: [&str; 7] =
        ["pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    if !QUOTA_RESOURCES.contains(&resource) {
        return true;
    }
    match scope {
        "BestEffort" => resource == "pods",
        "CrossNamespacePodAffinity"
        | "NotBestEffort"
        | "NotTerminating"
        | "PriorityClass"
        | "Terminating" => COMPUTE.contains(&resource),
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&resource),
        _ => true,
    }
}

/// Scopes of which no object is in both.
fn conflicts(e: &mut Errors, at: Path<'_>, scopes: &[&str], shown: &Value) {
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            e.invalid(at, shown, "conflicting scopes");
        }
    }
}

/// A quota's selector as a complaint shows it.
fn shown_selector(spec: &Value) -> Value {
    let requirements = spec["scopeSelector"].list("matchExpressions").iter().map(|requirement| {
        serde_json::json!({
            "ScopeName": requirement.text("scopeName"),
            "Operator": requirement.text("operator"),
            "Values": requirement["values"],
        })
    });
    serde_json::json!({"MatchExpressions": requirements.collect::<Vec<_>>()})
}

pub(super) fn quota_change(e: &mut Errors, old: &Value, new: &Value) {
    let sorted = |object: &Value| {
        let mut scopes: Vec<String> = object["spec"]
            .list("scopes")
            .iter()
            .filter_map(|scope| scope.as_str().map(str::to_owned))
            .collect();
        scopes.sort();
        scopes
    };
    if sorted(old) != sorted(new) {
        e.invalid(SPEC.field("scopes"), &new["spec"]["scopes"], super::common::IMMUTABLE);
    }
    fixed(e, SPEC.field("scopes"), &old["spec"]["scopes"], &new["spec"]["scopes"]);
}

pub(super) fn limit_range(e: &mut Errors, object: &Value) {
    let list = SPEC.field("limits");
    let mut types: Vec<&str> = Vec::new();
    for (i, limit) in object["spec"].list("limits").iter().enumerate() {
        let at = list.index(i);
        let kind = limit.text("type");
        let before = e.0.len();
        e.rule(at.field("type"), kind, label_key(kind));
        let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind);
        if e.0.len() == before && !kind.contains('/') && !standard {
            e.invalid_text(at.field("type"), kind, "must be a standard limit type or fully qualified");
        }
        if types.contains(&kind) {
            e.duplicate_text(at.field("type"), kind);
        }
        types.push(kind);
        for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            let fields = at.field(field);
            if kind == "Pod" && field.starts_with("default") && !limit.is_empty(field) {
                e.forbidden(fields, "may not be specified when `type` is 'Pod'");
            }
            for (name, value) in limit.entries(field) {
                if name == "storage" && kind != "Container" {
                    continue;
                }
                amount(e, fields.key(name), name, value);
            }
        }
        if kind == "PersistentVolumeClaim" {
            let has = |field: &str| limit[field].get("storage").is_some();
            if !has("min") && !has("max") {
                let text = "either minimum or maximum storage value is required, but neither was provided";
                e.required(at.field("limits"), text);
            }
        }
        ordered(e, &at, limit);
    }
}

/// min ≤ defaultRequest ≤ default ≤ max, and a ratio that these allow.
fn ordered(e: &mut Errors, at: &Path<'_>, limit: &Value) {
    let mut names: Vec<&str> = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"]
        .iter()
        .flat_map(|field| limit.entries(field))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let amount = |field: &str| quantity(&limit[field][name]);
        let mut check = |low: &str, high: &str, field: &str, shows_high: bool, words: (&str, &str)| {
            let (Some(a), Some(b)) = (amount(low), amount(high)) else { return };
            if a > b {
                let shown = if shows_high { b.to_string() } else { a.to_string() };
                let text = format!("{} value {a} is greater than {} value {b}", words.0, words.1);
                e.invalid_text(at.field(field).key(name), &shown, &text);
            }
        };
        check("min", "max", "min", false, ("min", "max"));
        check("min", "defaultRequest", "defaultRequest", true, ("min", "default request"));
        check("defaultRequest", "max", "defaultRequest", false, ("default request", "max"));
        check("defaultRequest", "default", "defaultRequest", false, ("default request", "default limit"));
        check("min", "default", "default", false, ("min", "default"));
        check("default", "max", "default", true, ("default", "max"));
        let Some(ratio) = amount("maxLimitRequestRatio") else { continue };
        let field = at.field("maxLimitRequestRatio");
        if ratio.milli_value() < 1000 {
            e.invalid_text(field.key(name), &ratio.to_string(), &format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (amount("min"), amount("max")) {
            // Whole units where they tell the amounts apart, thousandths otherwise.
            let whole =
                |q: &orlop_core::rules::Quantity| q.as_whole().is_some() || q.milli_value() == i64::MAX;
            let fine = !(whole(&min) && whole(&max) && whole(&ratio));
            #[expect(clippy::cast_precision_loss, reason = "as the original computes it")]
            let number = |q: &orlop_core::rules::Quantity| {
                if fine { q.milli_value() as f64 } else { q.value() as f64 }
            };
            let most = number(&max) / number(&min);
            let asked = if fine { number(&ratio) / 1000.0 } else { number(&ratio) };
            if asked > most {
                let text = format!("ratio {ratio} is greater than max/min = {most:.6}");
                e.invalid_text(field.key(name), &ratio.to_string(), &text);
            }
        }
    }
}
