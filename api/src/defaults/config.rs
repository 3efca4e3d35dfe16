//! Nodes, namespaces, secrets, roles, and what configures the API itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::tree::{Object, absent, at, each, is_empty, made, text, within, zero};

/// A namespace carries its name as a label, so that selectors can name it.
pub(super) fn namespace(object: &mut Object) {
    if let Some(status) = made(object, "status") {
        zero(status, "phase", "Active");
    }
    at(object, "metadata", |meta| {
        let name = text(meta, "name").to_owned();
        if !name.is_empty()
            && let Some(labels) = made(meta, "labels")
        {
            absent(labels, "kubernetes.io/metadata.name", name);
        }
    });
}

pub(super) fn node(object: &mut Object) {
    at(object, "status", |status| {
        if let Some(capacity) = status.get("capacity").filter(|c| c.is_object()).cloned() {
            absent(status, "allocatable", capacity);
        }
    });
}

pub(super) fn secret(object: &mut Object) {
    zero(object, "type", "Opaque");
}

/// Plain texts become data, which they override.
pub(super) fn encode_texts(secret: &mut Object) {
    if let Some(Value::Object(texts)) = secret.shift_remove("stringData")
        && !texts.is_empty()
        && let Some(data) = made(secret, "data")
    {
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
}

/// The older field for one range, and the newer for several, say the same; the older one wins.
pub(super) fn agree_on_cidrs(node: &mut Object) {
    at(node, "spec", |spec| {
        let one = text(spec, "podCIDR").to_owned();
        let first = spec.get("podCIDRs").and_then(|all| all.get(0)).cloned();
        if one.is_empty() {
            if let Some(first) = first {
                spec.insert("podCIDR".into(), first);
            }
        } else if first.as_ref().and_then(Value::as_str) != Some(&one) {
            spec.insert("podCIDRs".into(), json!([one]));
        }
    });
}

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn role_binding(object: &mut Object) {
    within(object, "roleRef", |role| zero(role, "apiGroup", RBAC));
    each(object, "subjects", |subject| {
        if matches!(text(subject, "kind"), "User" | "Group") {
            zero(subject, "apiGroup", RBAC);
        }
    });
}

pub(super) fn priority_class(object: &mut Object) {
    absent(object, "preemptionPolicy", "PreemptLowerPriority");
}

/// Fields of groups of pods that belong to features of their own, which are off in Kubernetes unless asked for and not
/// there in Orlop. They are dropped, so that nobody relies on them.
const GROUP_FEATURES: [&str; 5] =
    ["disruptionMode", "priority", "priorityClassName", "resourceClaims", "schedulingConstraints"];

pub(super) fn pod_group(object: &mut Object) {
    at(object, "spec", |spec| {
        GROUP_FEATURES.iter().for_each(|field| drop(spec.shift_remove(*field)));
    });
}

pub(super) fn workload(object: &mut Object) {
    at(object, "spec", |spec| {
        each(spec, "podGroupTemplates", |template| {
            GROUP_FEATURES.iter().for_each(|field| drop(template.shift_remove(*field)));
        });
    });
}

pub(super) fn custom_resource_definition(object: &mut Object) {
    let mut stored = Vec::new();
    at(object, "spec", |spec| {
        at(spec, "names", |names| {
            let kind = text(names, "kind").to_owned();
            if !kind.is_empty() {
                zero(names, "singular", kind.to_lowercase());
                zero(names, "listKind", format!("{kind}List"));
            }
        });
        if let Some(conversion) = made(spec, "conversion") {
            zero(conversion, "strategy", "None");
            at(conversion, "webhook", |webhook| at(webhook, "clientConfig", client_config));
        }
        each(spec, "versions", |version| {
            if stored.is_empty() && version.get("storage") == Some(&Value::Bool(true)) {
                stored.push(Value::from(text(version, "name")));
            }
        });
    });
    if !stored.is_empty()
        && let Some(status) = made(object, "status")
        && is_empty(status, "storedVersions")
    {
        status.insert("storedVersions".into(), Value::Array(stored));
    }
}

fn client_config(config: &mut Object) {
    at(config, "service", |service| absent(service, "port", 443));
}

pub(super) fn api_service(object: &mut Object) {
    at(object, "spec", client_config);
}

pub(super) fn validating_webhooks(object: &mut Object) {
    each(object, "webhooks", webhook);
}

pub(super) fn mutating_webhooks(object: &mut Object) {
    each(object, "webhooks", |hook| {
        webhook(hook);
        absent(hook, "reinvocationPolicy", "Never");
    });
}

fn webhook(hook: &mut Object) {
    absent(hook, "failurePolicy", "Fail");
    absent(hook, "timeoutSeconds", 10);
    at(hook, "clientConfig", client_config);
    match_rules(hook, "rules");
}

fn match_rules(map: &mut Object, rules: &str) {
    absent(map, "matchPolicy", "Equivalent");
    absent(map, "namespaceSelector", Object::new());
    absent(map, "objectSelector", Object::new());
    for rules in [rules, "excludeResourceRules"] {
        each(map, rules, |rule| absent(rule, "scope", "*"));
    }
}

pub(super) fn admission_policy(object: &mut Object) {
    at(object, "spec", |spec| {
        absent(spec, "failurePolicy", "Fail");
        at(spec, "matchConstraints", |constraints| match_rules(constraints, "resourceRules"));
    });
}

pub(super) fn admission_policy_binding(object: &mut Object) {
    at(object, "spec", |spec| {
        at(spec, "matchResources", |resources| match_rules(resources, "resourceRules"));
    });
}

pub(super) fn flow_schema(object: &mut Object) {
    if let Some(spec) = made(object, "spec") {
        zero(spec, "matchingPrecedence", 1000);
    }
}

pub(super) fn priority_level(object: &mut Object) {
    at(object, "spec", |spec| {
        at(spec, "exempt", |exempt| {
            absent(exempt, "nominalConcurrencyShares", 0);
            absent(exempt, "lendablePercent", 0);
        });
        at(spec, "limited", |limited| {
            absent(limited, "nominalConcurrencyShares", 30);
            absent(limited, "lendablePercent", 0);
            if let Some(response) = made(limited, "limitResponse") {
                at(response, "queuing", |queuing| {
                    zero(queuing, "queues", 64);
                    zero(queuing, "handSize", 8);
                    zero(queuing, "queueLengthLimit", json!(50));
                });
            }
        });
    });
}
