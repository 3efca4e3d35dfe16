//! What people are warned of in pods and in templates of pods.

use orlop_core::rules::quote::go_quoted as quoted;
use serde_json::Value;

use super::{fraction, keys, newer_label, node_terms, old_source};
use crate::validation::path::{Path, Read};

/// Annotations that nobody heeds any more: since when, and the field that is.
const OLD_ANNOTATIONS: [(&str, &str, &str); 3] = [
    ("scheduler.alpha.kubernetes.io/critical-pod", "v1.16", "priorityClassName"),
    ("security.alpha.kubernetes.io/sysctls", "v1.11", "sysctls"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "v1.11", "sysctls"),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn pod(out: &mut Vec<String>, at: &Path<'_>, spec: &Value, meta_at: &Path<'_>, meta: &Value) {
    // A pod's own metadata has no path before it.
    let root = Path::root("metadata");
    let metadata = if meta_at.to_string().is_empty() { root } else { meta_at.field("metadata") };
    let annotations = metadata.field("annotations");
    let given = &meta["annotations"];
    placement(out, at, spec);
    for (old, since, newer) in OLD_ANNOTATIONS {
        if given.has(old) {
            out.push(format!(
                "{}: non-functional in {since}+; use the \"{newer}\" field instead",
                annotations.key(old)
            ));
        }
    }
    let list = at.field("volumes");
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        old_source(out, &list.index(i), volume);
        let (at, template) = (list.index(i), &volume["ephemeral"]["volumeClaimTemplate"]);
        let at = at.field("ephemeral");
        let at = at.field("volumeClaimTemplate");
        let at = at.field("spec");
        let at = at.field("resources");
        fraction(out, &at.field("requests"), &template["spec"]["resources"]["requests"], "storage");
    }
    repeated(out, at, spec, "hostAliases", "ip");
    repeated(out, at, spec, "imagePullSecrets", "name");
    let secrets = at.field("imagePullSecrets");
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            out.push(format!("{}: invalid empty name \"\"", secrets.index(i).field("name")));
        }
    }
    for resource in ["memory", "ephemeral-storage"] {
        fraction(out, &at.field("overhead"), &spec["overhead"], resource);
    }
    let seccomp = |owner: &Value| owner["securityContext"].has("seccompProfile");
    let unheeded = |key: &str| {
        format!(
            "{}: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            annotations.key(key)
        )
    };
    if given.has(SECCOMP_POD) && !seccomp(spec) {
        out.push(unheeded(SECCOMP_POD));
    }
    for name in ["initContainers", "containers", "ephemeralContainers"] {
        let list = at.field(name);
        for (i, container) in spec.list(name).iter().enumerate() {
            let key = format!("{SECCOMP_CONTAINER}{}", container.text("name"));
            if given.has(&key) && !seccomp(container) {
                out.push(unheeded(&key));
            }
            app_armor(out, meta_at, meta, container);
            self::container(out, &list.index(i), container);
        }
    }
    ports(out, at, spec);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0) {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            at.field("terminationGracePeriodSeconds")
        ));
    }
    let affinity = at.field("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (rules, at) = (&spec["affinity"][kind], affinity.field(kind));
        let list = at.field(REQUIRED);
        for (i, term) in rules.list(REQUIRED).iter().enumerate() {
            no_selector(out, &list.index(i), term);
        }
        let list = at.field(PREFERRED);
        for (i, term) in rules.list(PREFERRED).iter().enumerate() {
            no_selector(out, &list.index(i).field("podAffinityTerm"), &term["podAffinityTerm"]);
        }
    }
}

/// Where a pod is to be.
fn placement(out: &mut Vec<String>, at: &Path<'_>, spec: &Value) {
    let selector = at.field("nodeSelector");
    for (label, _) in spec.entries("nodeSelector") {
        if let Some(why) = newer_label(label) {
            out.push(format!("{}: {why}", selector.key(label)));
        }
    }
    let (affinity, rules) = (at.field("affinity"), &spec["affinity"]["nodeAffinity"]);
    let affinity = affinity.field("nodeAffinity");
    node_terms(out, &affinity.field(REQUIRED), rules[REQUIRED].list("nodeSelectorTerms"));
    let list = affinity.field(PREFERRED);
    for (i, term) in rules.list(PREFERRED).iter().enumerate() {
        let at = list.index(i);
        let at = at.field("preference");
        keys(out, &at.field("matchExpressions"), term["preference"].list("matchExpressions"));
    }
    let list = at.field("topologySpreadConstraints");
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let (at, key) = (list.index(i), constraint.text("topologyKey"));
        if let Some(why) = newer_label(key) {
            out.push(format!("{}: {key} is {why}", at.field("topologyKey")));
        }
        no_selector(out, &at, constraint);
    }
}

fn no_selector(out: &mut Vec<String>, at: &Path<'_>, term: &Value) {
    if !term.has("labelSelector") {
        out.push(format!("{}: a null labelSelector results in matching no pod", at.field("labelSelector")));
    }
}

fn repeated(out: &mut Vec<String>, at: &Path<'_>, spec: &Value, list: &str, field: &str) {
    let (path, items) = (at.field(list), spec.list(list));
    for (i, item) in items.iter().enumerate() {
        let text = item.text(field);
        if items[..i].iter().any(|other| other.text(field) == text) {
            out.push(format!("{}: duplicate {field} {}", path.index(i).field(field), quoted(text)));
        }
    }
}

/// The beginning of the annotations that said, before there was a field, which AppArmor profile a container has.
pub(crate) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// A template's annotation in the place of a container's field. Those of pods are seen to when the field is set.
fn app_armor(out: &mut Vec<String>, at: &Path<'_>, meta: &Value, container: &Value) {
    let key = format!("{APP_ARMOR}{}", container.text("name"));
    let field = container["securityContext"].has("appArmorProfile");
    if !at.to_string().is_empty() && !field && meta["annotations"].has(&key) {
        let (meta, list) = (at.field("metadata"), "annotations");
        let list = meta.field(list);
        out.push(format!(
            "{}: deprecated since v1.30; use the \"appArmorProfile\" field instead",
            list.key(&key)
        ));
    }
}

fn container(out: &mut Vec<String>, at: &Path<'_>, container: &Value) {
    let resources = at.field("resources");
    for name in ["memory", "ephemeral-storage"] {
        for field in ["limits", "requests"] {
            fraction(out, &resources.field(field), &container["resources"][field], name);
        }
    }
    let list = at.field("env");
    let variables = container.list("env");
    for (i, variable) in variables.iter().enumerate() {
        let (name, value) = (variable.text("name"), variable.text("value"));
        let reference = format!("$({name})");
        // Who adds to what there was does not hide it.
        let adds = !variable.has("valueFrom") && value != reference && value.contains(&reference);
        if !adds && variables[..i].iter().any(|other| other.text("name") == name) {
            out.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                list.index(i),
                quoted(name)
            ));
        }
    }
}

/// Ports that get in each other's way, across all containers.
fn ports(out: &mut Vec<String>, at: &Path<'_>, spec: &Value) {
    let mut seen: Vec<(String, &Value)> = Vec::new();
    for name in ["initContainers", "containers", "ephemeralContainers"] {
        let list = at.field(name);
        for (i, container) in spec.list(name).iter().enumerate() {
            let at = list.index(i);
            let at = at.field("ports");
            for (i, port) in container.list("ports").iter().enumerate() {
                let at = at.index(i);
                let (ip, number) = (port.text("hostIP"), port.int("hostPort"));
                let (inner, protocol) = (port.int("containerPort"), port.text("protocol"));
                if !ip.is_empty() && number == 0 {
                    let name = port.text("name");
                    out.push(format!(
                        "{at}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{inner} Protocol:{protocol} HostIP:{ip}}}"
                    ));
                }
                for (place, other) in &seen {
                    if (other.int("containerPort"), other.text("protocol")) != (inner, protocol) {
                        continue;
                    }
                    let (their_ip, their_number) = (other.text("hostIP"), other.int("hostPort"));
                    let what = if (their_ip, their_number) == (ip, number) {
                        "duplicate"
                    } else if number == 0 || their_number == 0 {
                        "overlapping"
                    } else if number == their_number && ip.is_empty() != their_ip.is_empty() {
                        "dangerously ambiguous"
                    } else {
                        continue;
                    };
                    out.push(format!("{at}: {what} port definition with {place}"));
                }
                seen.push((at.to_string(), port));
            }
        }
    }
}
