//! Admission webhooks and admission policies.

use orlop_core::rules::names::{dns_1035_label, dns_label, dns_subdomain, label_key};
use serde_json::Value;

use super::common::{label_selector, named, path_segment};
use super::error::Errors;
use super::path::{Path, Read};
use crate::admission::expressions::{self, Names, Wanted};
use crate::cel::Type;

const SPEC: Path<'static> = Path::root("spec");
const POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCHES: [&str; 2] = ["Equivalent", "Exact"];

fn known(e: &mut Errors, at: &Path<'_>, object: &Value, field: &str, values: &[&str]) {
    if object.has(field) && !values.contains(&object.text(field)) {
        e.unsupported(at.field(field), &object[field], values);
    }
}

fn required_known(e: &mut Errors, at: &Path<'_>, object: &Value, field: &str, values: &[&str]) {
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
fn expression(e: &mut Errors, at: Path<'_>, source: &str, names: &Names, wanted: Wanted) -> Type {
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

fn match_conditions(e: &mut Errors, at: &Path<'_>, object: &Value, seen: &Names) {
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

fn match_resources(e: &mut Errors, at: &Path<'_>, resources: &Value) {
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

/// What both sorts of policies say first. Answers with what their expressions may name.
fn policy_head(e: &mut Errors, spec: &Value) -> Names {
    required_known(e, &SPEC, spec, "failurePolicy", &POLICIES);
    let kind = &spec["paramKind"];
    if !kind.is_null() {
        let at = SPEC.field("paramKind");
        let version = kind.text("apiVersion");
        match version.split('/').collect::<Vec<_>>().as_slice() {
            [""] => e.required(at.field("apiVersion"), ""),
            [version] | [_, version] => e.rule(at.field("apiVersion"), version, dns_1035_label(version)),
            _ => {
                let text = format!("unexpected GroupVersion string: {version}");
                e.invalid_text(at.field("apiVersion"), version, &text);
            }
        }
        match kind.text("kind") {
            "" => e.required(at.field("kind"), ""),
            name => {
                let complaints = dns_1035_label(&name.to_lowercase());
                if !complaints.is_empty() {
                    let text =
                        format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
                    e.invalid_text(at.field("kind"), name, &text);
                }
            }
        }
    }
    let constraints = &spec["matchConstraints"];
    let at = SPEC.field("matchConstraints");
    if constraints.is_null() {
        e.required(at, "");
    } else {
        match_resources(e, &at, constraints);
        if constraints.is_empty("resourceRules") {
            e.required(at.field("resourceRules"), "");
        }
    }
    let mut names = Names { params: !kind.is_null(), authorizer: true, ..Names::default() };
    match_conditions(e, &SPEC, spec, &names);
    names.variables = Some(Vec::new());
    let list = SPEC.field("variables");
    for (i, variable) in spec.list("variables").iter().enumerate() {
        let at = list.index(i);
        match variable.text("name") {
            "" => e.required(at.field("name"), "name is not specified"),
            name if !is_identifier(name) => {
                e.invalid_text(at.field("name"), name, "must be a valid CEL identifier");
            }
            _ => {}
        }
        let source = variable.text("expression");
        if source.trim().is_empty() {
            e.required(at.field("expression"), "expression is not specified");
        } else {
            let ty = expression(e, at.field("expression"), source, &names, Wanted::Anything);
            names.variables.get_or_insert_default().push((variable.text("name").to_owned(), ty));
        }
    }
    names
}

/// A name in CEL that is no word of the language.
fn is_identifier(name: &str) -> bool {
    const WORDS: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !WORDS.contains(&name)
}

pub(super) fn validating_policy(e: &mut Errors, object: &Value) {
    const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
    let spec = &object["spec"];
    let names = policy_head(e, spec);
    let (validations, annotations) = (SPEC.field("validations"), SPEC.field("auditAnnotations"));
    if spec.is_empty("validations") && spec.is_empty("auditAnnotations") {
        let text = "validations or auditAnnotations must contain at least one item";
        e.required(validations, text);
        return e.required(annotations, text);
    }
    for (i, validation) in spec.list("validations").iter().enumerate() {
        let at = validations.index(i);
        let source = validation.text("expression");
        let message = validation.text("message");
        if source.trim().is_empty() {
            e.required(at.field("expression"), "expression is not specified");
        } else {
            expression(e, at.field("expression"), source, &names, Wanted::Bool);
        }
        let says = validation.text("messageExpression");
        if !says.trim().is_empty() {
            let unasked = Names { authorizer: false, ..names.clone() };
            expression(e, at.field("messageExpression"), says, &unasked, Wanted::Text);
        } else if !says.is_empty() {
            e.invalid_text(at.field("messageExpression"), says, "must be non-empty if specified");
        }
        if !message.is_empty() && message.trim().is_empty() {
            e.invalid_text(at.field("message"), message, "message must be non-empty if specified");
        } else if message.trim().contains(['\n', '\r']) {
            e.invalid_text(at.field("message"), message, "must not contain line breaks");
        } else if message.is_empty() && source.trim().contains(['\n', '\r']) {
            e.required(at.field("message"), "message must be specified if expression contains line breaks");
        }
        if validation.has("reason") && !REASONS.contains(&validation.text("reason")) {
            e.unsupported(at.field("reason"), &validation["reason"], &REASONS[..3]);
        }
    }
    let list = spec.list("auditAnnotations");
    if list.len() > 20 {
        let text = "must not have more than 20 auditAnnotations";
        e.invalid(annotations, &spec["auditAnnotations"], text);
    }
    let mut keys: Vec<&str> = Vec::new();
    for (i, annotation) in list.iter().enumerate() {
        let at = annotations.index(i);
        let key = annotation.text("key");
        let name = object["metadata"].text("name");
        let qualified = if name.is_empty() { key.to_owned() } else { format!("{name}/{key}") };
        e.rule(at.field("key"), &qualified, label_key(&qualified));
        let value = annotation.text("valueExpression");
        if value.trim().is_empty() {
            e.required(at.field("valueExpression"), "valueExpression is not specified");
        } else if value.trim().len() > 5 * 1024 {
            e.required(at.field("valueExpression"), "must not exceed 5kb in length");
        } else {
            expression(e, at.field("valueExpression"), value, &names, Wanted::TextOrNull);
        }
        if keys.contains(&key) {
            e.duplicate_text(at.field("key"), key);
        }
        keys.push(key);
    }
}

pub(super) fn mutating_policy(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let names = Names { constructs: true, ..policy_head(e, spec) };
    let list = SPEC.field("mutations");
    if spec.is_empty("mutations") {
        e.required(list, "mutations must contain at least one item");
    }
    for (i, mutation) in spec.list("mutations").iter().enumerate() {
        let at = list.index(i);
        let kind = mutation.text("patchType");
        let fields = [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];
        match fields.iter().find(|(name, _)| *name == kind) {
            Some((name, field)) => {
                if !mutation.has(field) {
                    e.required(at.field(field), &format!("must be specified when patchType is {name}"));
                } else if mutation[field].text("expression").trim().is_empty() {
                    e.required(at.field(field).field("expression"), "expression is not specified");
                } else {
                    let wanted = if *name == "JSONPatch" { Wanted::Patches } else { Wanted::Object };
                    let source = mutation[field].text("expression");
                    expression(e, at.field(field).field("expression"), source, &names, wanted);
                }
                for (_, other) in fields.iter().filter(|(n, other)| n != name && mutation.has(other)) {
                    e.invalid_text(
                        at.field(other),
                        kind,
                        &format!("must not be specified when patchType is {name}"),
                    );
                }
            }
            None if kind.is_empty() => e.required(at.field("patchType"), ""),
            None => e.unsupported(at.field("patchType"), &kind.into(), &["ApplyConfiguration", "JSONPatch"]),
        }
    }
    match spec.text("reinvocationPolicy") {
        "" => e.required(SPEC.field("reinvocationPolicy"), ""),
        _ => known(e, &SPEC, spec, "reinvocationPolicy", &["IfNeeded", "Never"]),
    }
}

pub(super) fn policy_binding(e: &mut Errors, object: &Value) {
    const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
    let spec = &object["spec"];
    named(e, &SPEC, spec, "policyName", dns_subdomain);
    let param = &spec["paramRef"];
    if !param.is_null() {
        let at = SPEC.field("paramRef");
        match (!param.text("name").is_empty(), param.has("selector")) {
            (false, false) => e.required(at, "one of name or selector must be specified"),
            (true, selector) => {
                let name = param.text("name");
                e.rule(at.field("name"), name, path_segment(name));
                if selector {
                    e.forbidden(at.field("name"), "name and selector are mutually exclusive");
                }
            }
            (false, true) => label_selector(e, at.field("selector"), &param["selector"]),
        }
        required_known(e, &at, param, "parameterNotFoundAction", &["Allow", "Deny"]);
        let namespace = param.text("namespace");
        if !namespace.is_empty() {
            e.rule(at.field("namespace"), namespace, dns_label(namespace));
        }
    }
    if spec.has("matchResources") {
        match_resources(e, &SPEC.field("matchResources"), &spec["matchResources"]);
    }
    if object.text("kind") != "ValidatingAdmissionPolicyBinding" {
        return;
    }
    let list = SPEC.field("validationActions");
    let actions = spec.list("validationActions");
    if actions.is_empty() {
        e.required(list, "at least one validation action is required");
    }
    for (i, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(&action.as_str().unwrap_or_default()) {
            e.unsupported(list.index(i), action, &ACTIONS);
        }
        if actions[..i].contains(action) {
            e.duplicate(list.index(i), action);
        }
    }
    if actions.iter().any(|a| a == "Deny") && actions.iter().any(|a| a == "Warn") {
        let text = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        e.invalid(list, &spec["validationActions"], text);
    }
}
