//! Priority and fairness.

use orlop_core::rules::names::{dns_label, dns_subdomain};
use serde_json::Value;

use super::common::named;
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");
const VERBS: [&str; 10] =
    ["connect", "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub(super) fn schema(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let (precedence, at) = (spec.int("matchingPrecedence"), SPEC.field("matchingPrecedence"));
    if precedence <= 0 {
        e.invalid(at, &precedence.into(), "must be a positive value");
    }
    if precedence > 10_000 {
        e.invalid(at, &precedence.into(), "must not be greater than 10000");
    }
    if precedence == 1 && object["metadata"].text("name") != "exempt" {
        let text = "only the schema named 'exempt' may have matchingPrecedence 1";
        e.invalid(at, &precedence.into(), text);
    }
    let method = &spec["distinguisherMethod"];
    if !method.is_null() && !["ByNamespace", "ByUser"].contains(&method.text("type")) {
        let at = SPEC.field("distinguisherMethod");
        let shown = serde_json::json!({"Type": method.text("type")});
        e.unsupported(at.field("type"), &shown, &["ByNamespace", "ByUser"]);
    }
    let level = spec["priorityLevelConfiguration"].text("name");
    let at = SPEC.field("priorityLevelConfiguration");
    match level {
        "" => e.required(at.field("name"), "must reference a priority level"),
        level => e.rule(at.field("name"), level, dns_subdomain(level)),
    }
    let list = SPEC.field("rules");
    for (i, rule) in spec.list("rules").iter().enumerate() {
        let at = list.index(i);
        let subjects = at.field("subjects");
        if rule.is_empty("subjects") {
            e.required(subjects, "subjects must contain at least one value");
        }
        for (i, subject) in rule.list("subjects").iter().enumerate() {
            self::subject(e, &subjects.index(i), subject);
        }
        if rule.is_empty("resourceRules") && rule.is_empty("nonResourceRules") {
            e.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
        }
        let list = at.field("resourceRules");
        for (i, rule) in rule.list("resourceRules").iter().enumerate() {
            resource_rule(e, &list.index(i), rule);
        }
        let list = at.field("nonResourceRules");
        for (i, rule) in rule.list("nonResourceRules").iter().enumerate() {
            path_rule(e, &list.index(i), rule);
        }
    }
}

fn subject(e: &mut Errors, at: &Path<'_>, subject: &Value) {
    const KINDS: [(&str, &str); 3] =
        [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = subject.text("kind");
    let Some((_, field)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        return e.unsupported(at.field("kind"), &kind.into(), &KINDS.map(|(name, _)| name));
    };
    let who = &subject[*field];
    let path = at.field(field);
    if who.is_null() {
        e.required(path, &format!("{field} is required when subject kind is '{kind}'"));
    } else if kind == "ServiceAccount" {
        match who.text("name") {
            "" => e.required(path.field("name"), ""),
            "*" => {}
            name => e.rule(path.field("name"), name, dns_subdomain(name)),
        }
        match who.text("namespace") {
            "" => e.required(path.field("namespace"), "must specify namespace for service account"),
            namespace => e.rule(path.field("namespace"), namespace, dns_label(namespace)),
        }
    } else if who.text("name").is_empty() {
        e.required(path.field("name"), "");
    }
    for (name, other) in KINDS.iter().filter(|(name, field)| *name != kind && subject.has(field)) {
        e.forbidden(at.field(other), &format!("{other} is forbidden when subject kind is not '{name}'"));
    }
}

fn verbs(e: &mut Errors, at: &Path<'_>, rule: &Value) {
    let (list, verbs) = (at.field("verbs"), rule.list("verbs"));
    if verbs.is_empty() {
        return e.required(list, "verbs must contain at least one value");
    }
    if verbs.iter().any(|verb| verb == "*") {
        if verbs.len() > 1 {
            e.invalid(list, &rule["verbs"], "if '*' is present, must not specify other verbs");
        }
    } else if !verbs.iter().all(|verb| VERBS.contains(&verb.as_str().unwrap_or_default())) {
        e.unsupported(list, &rule["verbs"], &VERBS);
    }
}

fn resource_rule(e: &mut Errors, at: &Path<'_>, rule: &Value) {
    verbs(e, at, rule);
    for (field, missing, others) in [
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        ("resources", "resource rules must supply at least one resource", "resources"),
    ] {
        let list = at.field(field);
        if rule.is_empty(field) {
            e.required(list, missing);
        } else if rule.list(field).len() > 1 && rule.list(field).iter().any(|v| v == "*") {
            let text = format!("if '*' is present, must not specify other {others}");
            e.invalid(list, &rule[field], &text);
        }
    }
    let (list, namespaces) = (at.field("namespaces"), rule.list("namespaces"));
    if namespaces.is_empty() && !rule.is_true("clusterScope") {
        e.required(list, "resource rules that are not cluster scoped must supply at least one namespace");
    } else if namespaces.iter().any(|n| n == "*") {
        if namespaces.len() > 1 {
            e.invalid(list, &rule["namespaces"], "if '*' is present, must not specify other namespaces");
        }
    } else {
        for (i, name) in namespaces.iter().filter_map(Value::as_str).enumerate() {
            e.rule(list.index(i), name, dns_label(name));
        }
    }
}

fn path_rule(e: &mut Errors, at: &Path<'_>, rule: &Value) {
    verbs(e, at, rule);
    let (list, urls) = (at.field("nonResourceURLs"), rule.list("nonResourceURLs"));
    if urls.is_empty() {
        return e.required(list, "nonResourceURLs must contain at least one value");
    }
    if urls.iter().any(|url| url == "*") {
        if urls.len() > 1 {
            let text = "if '*' is present, must not specify other non-resource URLs";
            e.invalid(list, &rule["nonResourceURLs"], text);
        }
        return;
    }
    for (i, url) in urls.iter().filter_map(Value::as_str).enumerate() {
        let stars = url.matches('*').count();
        let why = match url {
            "" => "must not be empty",
            "/" => continue,
            _ if !url.starts_with('/') => "must start with slash",
            _ if url.contains(' ') => "must not contain white-space",
            _ if url.contains("//") => "must not contain double slash",
            _ if stars > 1 || stars == 1 && !url.ends_with("/*") => "wildcard can only do suffix matching",
            _ => continue,
        };
        e.invalid_text(list.index(i), url, why);
    }
}

pub(super) fn level(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let name = object["metadata"].text("name");
    let kind = spec.text("type");
    if (name == "exempt") != (kind == "Exempt") && (name == "exempt" || kind == "Exempt") {
        let text = "type must be 'Exempt' if and only if name is 'exempt'";
        e.invalid_text(SPEC.field("type"), kind, text);
    }
    match kind {
        "Exempt" => {
            if spec.has("limited") {
                let text = "must be nil if the type is not Limited";
                e.forbidden(SPEC.field("limited"), text);
            }
            if spec.has("exempt") {
                shares(e, &SPEC.field("exempt"), &spec["exempt"]);
                lendable(e, &SPEC.field("exempt"), &spec["exempt"]);
            }
        }
        "Limited" => {
            if spec.has("exempt") {
                e.forbidden(SPEC.field("exempt"), "must be nil if the type is Limited");
            }
            if spec.has("limited") {
                limited(e, &SPEC.field("limited"), &spec["limited"]);
            } else {
                e.required(SPEC.field("limited"), "must not be empty when type is Limited");
            }
        }
        _ => e.unsupported(SPEC.field("type"), &kind.into(), &["Exempt", "Limited"]),
    }
}

fn shares(e: &mut Errors, at: &Path<'_>, level: &Value) {
    if level.int("nominalConcurrencyShares") < 0 {
        let text = "must be a non-negative integer";
        e.invalid(at.field("nominalConcurrencyShares"), &level["nominalConcurrencyShares"], text);
    }
}

fn lendable(e: &mut Errors, at: &Path<'_>, level: &Value) {
    if level["lendablePercent"].as_i64().is_some_and(|n| !(0..=100).contains(&n)) {
        let text = "must be between 0 and 100, inclusive";
        e.invalid(at.field("lendablePercent"), &level["lendablePercent"], text);
    }
}

fn limited(e: &mut Errors, at: &Path<'_>, level: &Value) {
    shares(e, at, level);
    let (response, path) = (&level["limitResponse"], at.field("limitResponse"));
    match response.text("type") {
        "Reject" => {
            if response.has("queuing") {
                e.forbidden(
                    path.field("queuing"),
                    "must be nil if limited.limitResponse.type is not Limited",
                );
            }
        }
        "Queue" => match response.has("queuing") {
            true => queuing(e, &path.field("queuing"), &response["queuing"]),
            false => e.required(
                path.field("queuing"),
                "must not be empty if limited.limitResponse.type is Limited",
            ),
        },
        kind => e.unsupported(path.field("type"), &kind.into(), &["Queue", "Reject"]),
    }
    lendable(e, at, level);
    if level["borrowingLimitPercent"].as_i64().is_some_and(|n| n < 0) {
        let text = "if specified, must be a non-negative integer";
        e.invalid(at.field("borrowingLimitPercent"), &level["borrowingLimitPercent"], text);
    }
}

fn queuing(e: &mut Errors, at: &Path<'_>, queuing: &Value) {
    const QUEUES_MAX: i64 = 10_000_000;
    let number = |field: &str| queuing.int(field);
    if number("queueLengthLimit") <= 0 {
        e.invalid(at.field("queueLengthLimit"), &number("queueLengthLimit").into(), "must be positive");
    }
    let queues = number("queues");
    if queues <= 0 {
        e.invalid(at.field("queues"), &queues.into(), "must be positive");
    } else if queues > QUEUES_MAX {
        e.invalid(at.field("queues"), &queues.into(), "must not be greater than 10000000");
    }
    let hand = number("handSize");
    if hand <= 0 {
        e.invalid(at.field("handSize"), &hand.into(), "must be positive");
    } else if hand > queues {
        let text = format!("should not be greater than queues ({queues})");
        e.invalid(at.field("handSize"), &hand.into(), &text);
    } else {
        let bits = entropy(queues, hand);
        if bits > HASH_BITS {
            let text = format!(
                "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
            );
            e.invalid(at.field("handSize"), &hand.into(), &text);
        }
    }
}

/// So many bits of a flow's hash choose its hand of queues.
const HASH_BITS: i64 = 60;

/// The bits of a hash that dealing `hand` of `queues` takes, rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "both are at most ten million"
)]
fn entropy(queues: i64, hand: i64) -> i64 {
    ((queues as f64).log2() * hand as f64).ceil() as i64
}

/// The flow schemas and levels that every server needs stay as they are.
pub(super) fn schema_change(e: &mut Errors, old: &Value, new: &Value) {
    mandatory(e, old, new, &old["spec"], &new["spec"]);
}

/// What the exempt level gives away may be said.
pub(super) fn level_change(e: &mut Errors, old: &Value, new: &Value) {
    let but = |object: &Value| {
        let mut spec = object["spec"].clone();
        if object["metadata"].text("name") == "exempt" {
            crate::tree::remove(&mut spec, "exempt");
        }
        spec
    };
    mandatory(e, old, new, &but(old), &but(new));
}

fn mandatory(e: &mut Errors, old: &Value, new: &Value, fixed: &Value, asked: &Value) {
    let name = old["metadata"].text("name");
    if ["catch-all", "exempt"].contains(&name) && fixed != asked {
        e.invalid(SPEC, &new["spec"], &format!("spec of '{name}' must equal the fixed value"));
    }
}

/// An API that another server serves.
pub(super) fn api_service(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let name = object["metadata"].text("name");
    let (group, version) = (spec.text("group"), spec.text("version"));
    let required = format!("{version}.{group}");
    if name != required {
        let text = format!("must be `spec.version+\".\"+spec.group`: \"{required}\"");
        e.invalid_text(Path::root("metadata").field("name"), name, &text);
    }
    if group.is_empty() {
        if version != "v1" || name != "v1." {
            e.required(SPEC.field("group"), "only v1 may have an empty group and it better be legacy kube");
        }
    } else {
        e.rule(SPEC.field("group"), group, dns_subdomain(group));
    }
    named(e, &SPEC, spec, "version", orlop_core::rules::names::dns_1035_label);
    let (minimum, priority) = (spec.int("groupPriorityMinimum"), spec.int("versionPriority"));
    if minimum <= 0 || minimum > 20_000 {
        let text = "must be positive and less than 20000";
        e.invalid(SPEC.field("groupPriorityMinimum"), &minimum.into(), text);
    }
    if priority <= 0 || priority > 1000 {
        let text = "must be positive and less than 1000";
        e.invalid(SPEC.field("versionPriority"), &priority.into(), text);
    }
    if !spec.has("service") {
        if !spec.is_empty("caBundle") {
            let text = "local APIServices may not have a caBundle";
            e.invalid(SPEC.field("caBundle"), &spec["caBundle"], text);
        }
        if spec.is_true("insecureSkipTLSVerify") {
            let text = "local APIServices may not have insecureSkipTLSVerify";
            e.invalid(SPEC.field("insecureSkipTLSVerify"), &Value::Bool(true), text);
        }
        return;
    }
    super::webhook::service(e, &SPEC.field("service"), &spec["service"], 443);
    if spec.is_true("insecureSkipTLSVerify") && !spec.is_empty("caBundle") {
        let text = "may not be true if caBundle is present";
        e.invalid(SPEC.field("insecureSkipTLSVerify"), &Value::Bool(true), text);
    }
}

/// How containers are run.
pub(super) fn runtime_class(e: &mut Errors, object: &Value) {
    let handler = object.text("handler");
    e.rule(Path::root("handler"), handler, dns_label(handler));
    if object.has("overhead") {
        let at = Path::root("overhead");
        let fixed = serde_json::json!({"limits": object["overhead"]["podFixed"]});
        super::container::resources(e, &at.field("podFixed"), &fixed);
    }
    let scheduling = &object["scheduling"];
    if scheduling.is_null() {
        return;
    }
    let at = Path::root("scheduling");
    super::common::labels(e, at.field("nodeSelector"), &scheduling["nodeSelector"]);
    let list = at.field("tolerations");
    super::placement::tolerations(e, &list, scheduling.list("tolerations"));
    let tolerations = scheduling.list("tolerations");
    for (i, toleration) in tolerations.iter().enumerate() {
        if tolerations[..i].contains(toleration) {
            e.duplicate(list.index(i), toleration);
        }
    }
}

pub(super) fn runtime_class_change(e: &mut Errors, old: &Value, new: &Value) {
    super::common::immutable(e, Path::root("handler"), &old["handler"], &new["handler"]);
}
