//! ValidatingAdmissionPolicies, MutatingAdmissionPolicies and their bindings.

use orlop_core::rules::names::{dns_1035_label, dns_label, dns_subdomain, label_key};
use serde_json::Value;

use super::common::{label_selector, named, path_segment};
use super::error::Errors;
use super::path::{Path, Read};
use super::webhook::{POLICIES, expression, known, match_conditions, match_resources, required_known};
use crate::admission::expressions::{Names, Wanted};
use crate::cel;

const SPEC: Path<'static> = Path::root("spec");

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
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !cel::WORDS.contains(&name)
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
