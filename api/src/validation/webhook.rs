//! Admission webhooks, and what admission policies share with them.

use orlop_core::rules::names::{dns_1035_label, dns_subdomain, label_key};
use serde_json::Value;

use super::common::{label_selector, path_segment};
use super::error::Errors;
use super::path::{Path, Read};
use crate::admission::expressions::{self, Names, Wanted};
use crate::cel::Type;

pub(super) const POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const MATCHES: [&str; 2] = ["Equivalent", "Exact"];

pub(super) fn known(e: &mut Errors, at: &Path<'_>, object: &Value, field: &str, values: &[&str]) {
    if object.has(field) && !values.contains(&object.text(field)) {
        e.unsupported(at.field(field), &object[field], values);
    }
}

pub(super) fn required_known(e: &mut Errors, at: &Path<'_>, object: &Value, field: &str, values: &[&str]) {
    match object.has(field) {
        true => known(e, at, object, field, values),
        false => e.required(at.field(field), ""),
    }
}

pub(super) fn configuration(e: &mut Errors, object: &Value) {
    let list = Path::root("webhooks");
    let mut names: Vec<&str> = Vec::new();
    for (i, hook) in object.list("webhooks").iter().enumerate() {
        let at = list.index(i);
        webhook(e, &at, hook, object.text("kind") == "MutatingWebhookConfiguration");
        review_versions(e, &at.field("admissionReviewVersions"), hook);
        let name = hook.text("name");
        if names.contains(&name) && !name.is_empty() {
            e.duplicate_text(at.field("name"), name);
        }
        names.push(name);
    }
}

fn webhook(e: &mut Errors, at: &Path<'_>, hook: &Value, mutating: bool) {
    let name = hook.text("name");
    if name.is_empty() {
        e.required(at.field("name"), "");
    } else {
        let complaints = dns_subdomain(name);
        if !complaints.is_empty() {
            e.invalid_text(at.field("name"), name, &complaints.join(","));
        } else if name.split('.').count() < 3 {
            let text = "should be a domain with at least three segments separated by dots";
            e.invalid_text(at.field("name"), name, text);
        }
    }
    let rules = at.field("rules");
    for (i, rule) in hook.list("rules").iter().enumerate() {
        operations(e, &rules.index(i), rule);
    }
    known(e, at, hook, "failurePolicy", &POLICIES);
    known(e, at, hook, "matchPolicy", &MATCHES);
    match hook["sideEffects"].as_str() {
        None => e.required(at.field("sideEffects"), "must specify one of None, NoneOnDryRun"),
        Some("None" | "NoneOnDryRun") => {}
        Some(_) => e.unsupported(at.field("sideEffects"), &hook["sideEffects"], &["None", "NoneOnDryRun"]),
    }
    if hook["timeoutSeconds"].as_i64().is_some_and(|s| !(1..=30).contains(&s)) {
        let text = "the timeout value must be between 1 and 30 seconds";
        e.invalid(at.field("timeoutSeconds"), &hook["timeoutSeconds"], text);
    }
    if mutating {
        known(e, at, hook, "reinvocationPolicy", &["IfNeeded", "Never"]);
    }
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector(e, at.field(field), &hook[field]);
    }
    client(e, &at.field("clientConfig"), &hook["clientConfig"]);
    let names = Names { authorizer: true, ..Names::default() };
    match_conditions(e, at, hook, &names);
}

/// What is wrong with an expression that must come to something. Answers with its type, as far as that is known.
pub(super) fn expression(e: &mut Errors, at: Path<'_>, source: &str, names: &Names, wanted: Wanted) -> Type {
    match expressions::compile(source, names, wanted) {
        Ok(program) => program.result_type().clone(),
        Err(why) => {
            e.invalid_text(at, source, &why);
            Type::Dyn
        }
    }
}

/// Where a webhook is.
pub(crate) fn client(e: &mut Errors, at: &Path<'_>, config: &Value) {
    match (config.has("url"), config.has("service")) {
        (true, false) => url(e, at.field("url"), config.text("url")),
        (false, true) => {
            let (at, config) = (at.field("service"), &config["service"]);
            for field in ["name", "namespace"] {
                if config.text(field).is_empty() {
                    e.required(at.field(field), &format!("service {field} is required"));
                }
            }
            service_place(e, &at, config, 443);
        }
        _ => e.required(*at, "exactly one of url or service is required"),
    }
}

fn url(e: &mut Errors, at: Path<'_>, text: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = text.split_once("://").unwrap_or_else(|| {
        // Without slashes there may be a scheme, but no host.
        let (scheme, _) = text.split_once(':').unwrap_or(("", ""));
        (scheme, "")
    });
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if scheme != "https" {
        e.invalid_text(at, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        e.invalid_text(at, host, &format!("host must be specified{FORM}"));
    }
    if let Some((user, _)) = authority.rsplit_once('@') {
        e.invalid_text(at, user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = tail.split_once('#').filter(|(_, f)| !f.is_empty()) {
        e.invalid_text(at, fragment, "fragments are not permitted in the URL");
    }
    let before = tail.split('#').next().unwrap_or_default();
    if let Some((_, query)) = before.split_once('?').filter(|(_, q)| !q.is_empty()) {
        e.invalid_text(at, query, "query parameters are not permitted in the URL");
    }
}

/// A Service that is called.
pub(super) fn service(e: &mut Errors, at: &Path<'_>, service: &Value, default_port: i64) {
    for field in ["name", "namespace"] {
        if service.text(field).is_empty() {
            e.required(at.field(field), "");
        }
    }
    service_place(e, at, service, default_port);
}

/// Where in a Service a call goes.
fn service_place(e: &mut Errors, at: &Path<'_>, service: &Value, default_port: i64) {
    let port = service["port"].as_i64().unwrap_or(default_port);
    if !(1..=65_535).contains(&port) {
        let text = "port is not valid: must be between 1 and 65535, inclusive";
        e.invalid(at.field("port"), &port.into(), text);
    }
    let Some(path) = service["path"].as_str().filter(|path| !matches!(*path, "" | "/")) else { return };
    let at = at.field("path");
    if path == "//" {
        return e.invalid_text(at, path, "segment[0] may not be empty");
    }
    if !path.starts_with('/') {
        e.invalid_text(at, path, "must start with a '/'");
    }
    let mut rest: String = path.chars().skip(1).collect();
    if rest.ends_with('/') {
        rest.pop();
    }
    for (i, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            e.invalid_text(at, path, &format!("segment[{i}] may not be empty"));
            continue;
        }
        for why in dns_subdomain(step) {
            e.invalid_text(at, path, &format!("segment[{i}]: {why}"));
        }
    }
}

fn review_versions(e: &mut Errors, at: &Path<'_>, hook: &Value) {
    let versions = hook.list("admissionReviewVersions");
    if versions.is_empty() {
        return e.required(*at, "must specify one of v1, v1beta1");
    }
    let mut accepted = false;
    for (i, version) in versions.iter().enumerate() {
        let text = version.as_str().unwrap_or_default();
        if versions[..i].contains(version) {
            e.duplicate(at.index(i), version);
        }
        e.rule(at.index(i), text, dns_1035_label(text));
        accepted |= ["v1", "v1beta1"].contains(&text);
    }
    if !accepted {
        let list = &hook["admissionReviewVersions"];
        e.invalid(*at, list, "must include at least one of v1, v1beta1");
    }
}

fn operations(e: &mut Errors, at: &Path<'_>, rule: &Value) {
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let list = at.field("operations");
    let operations = rule.list("operations");
    if operations.is_empty() {
        e.required(list, "");
    }
    if operations.len() > 1 && operations.iter().any(|o| o == "*") {
        e.invalid(list, &rule["operations"], "if '*' is present, must not specify other operations");
    }
    for (i, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(&operation.as_str().unwrap_or_default()) {
            e.unsupported(list.index(i), operation, &OPERATIONS);
        }
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = at.field(field);
        let values = rule.list(field);
        if values.is_empty() {
            e.required(list, "");
        }
        if values.len() > 1 && values.iter().any(|v| v == "*") {
            let text = format!("if '*' is present, must not specify other {what}");
            e.invalid(list, &rule[field], &text);
        }
        if field == "apiVersions" {
            for (i, _) in values.iter().enumerate().filter(|(_, v)| *v == "") {
                e.required(list.index(i), "");
            }
        }
    }
    resources(e, &at.field("resources"), rule);
    known(e, at, rule, "scope", &["*", "Cluster", "Namespaced"]);
}

fn resources(e: &mut Errors, list: &Path<'_>, rule: &Value) {
    let resources = rule.list("resources");
    if resources.is_empty() {
        e.required(*list, "");
    }
    let (mut of_all, mut all_of): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let (mut double, mut single, mut plain) = (false, false, false);
    for (i, text) in resources.iter().filter_map(Value::as_str).enumerate() {
        match text {
            "" => {
                e.required(list.index(i), "");
                continue;
            }
            "*/*" => double = true,
            "*" => single = true,
            _ => {}
        }
        let Some((resource, sub)) = text.split_once('/') else {
            plain |= text != "*";
            continue;
        };
        if of_all.contains(&resource) {
            let why = format!("if '{resource}/*' is present, must not specify {text}");
            e.invalid_text(list.index(i), text, &why);
        }
        if all_of.contains(&sub) {
            e.invalid_text(list.index(i), text, &format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            of_all.push(resource);
        }
        if resource == "*" {
            all_of.push(sub);
        }
    }
    if resources.len() > 1 && double {
        let text = "if '*/*' is present, must not specify other resources";
        e.invalid(*list, &rule["resources"], text);
    }
    if single && plain {
        let text = "if '*' is present, must not specify other resources without subresources";
        e.invalid(*list, &rule["resources"], text);
    }
}

pub(super) fn match_conditions(e: &mut Errors, at: &Path<'_>, object: &Value, seen: &Names) {
    const MAX: usize = 64;
    let list = at.field("matchConditions");
    let conditions = object.list("matchConditions");
    if conditions.len() > MAX {
        e.too_many(list, conditions.len(), MAX);
    }
    let mut names: Vec<&str> = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        let at = list.index(i);
        match condition.text("expression") {
            source if source.trim().is_empty() => e.required(at.field("expression"), ""),
            source => {
                expression(e, at.field("expression"), source, seen, Wanted::Bool);
            }
        }
        let name = condition.text("name");
        if name.is_empty() {
            e.required(at.field("name"), "");
        } else {
            e.rule(at.field("name"), name, label_key(name));
            if names.contains(&name) {
                e.duplicate_text(at.field("name"), name);
            }
        }
        names.push(name);
    }
}

pub(super) fn match_resources(e: &mut Errors, at: &Path<'_>, resources: &Value) {
    for field in ["namespaceSelector", "objectSelector"] {
        match resources.has(field) {
            true => label_selector(e, at.field(field), &resources[field]),
            false => e.required(at.field(field), ""),
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        let list = at.field(field);
        for (i, rule) in resources.list(field).iter().enumerate() {
            let at = list.index(i);
            let names = at.field("resourceNames");
            for (i, name) in rule.list("resourceNames").iter().enumerate() {
                let text = name.as_str().unwrap_or_default();
                e.rule(names.index(i), text, path_segment(text));
                if rule.list("resourceNames")[..i].contains(name) {
                    e.duplicate(names.index(i), name);
                }
            }
            operations(e, &at, rule);
        }
    }
    required_known(e, at, resources, "matchPolicy", &MATCHES);
}
