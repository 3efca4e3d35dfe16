//! What people are warned of although it is accepted.

use orlop_core::Kind;
use serde_json::Value;

use super::error::quoted;
use super::path::{Path, Read};

/// Labels of nodes that have newer names: since when, and which.
const OLD_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];

/// Sources of volumes that are of no use any more.
const OLD_VOLUMES: [(&str, &str); 10] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("portworxVolume", "deprecated in v1.25, non-functional in v1.31+"),
];

/// What is remarkable about an object that was found to be valid; `old` is what it was before a change.
pub fn warnings(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    let spec = &object["spec"];
    owners(&mut out, object);
    let workload = |out: &mut Vec<String>, path: Path<'_>, template: &Value| {
        pod(out, &path.field("spec"), &template["spec"], &path, &template["metadata"]);
    };
    let root = Path::root("spec");
    let same_template = old.is_some_and(|old| old["spec"]["template"] == spec["template"]);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") if old.is_none() => pod(&mut out, &root, spec, &Path::root(""), &object["metadata"]),
        ("", "PodTemplate") => workload(&mut out, Path::root("template"), &object["template"]),
        ("", "ReplicationController") | ("apps", _) | ("batch", "Job") if !same_template => {
            workload(&mut out, root.field("template"), &spec["template"]);
        }
        ("batch", "CronJob") => {
            let (job, path) = (&spec["jobTemplate"]["spec"], root.field("jobTemplate"));
            let path = path.field("spec");
            workload(&mut out, path.field("template"), &job["template"]);
        }
        ("", "Service") => service(&mut out, &object["metadata"]["annotations"], spec),
        ("storage.k8s.io", "CSIDriver")
            if !spec.is_empty("tokenRequests") && !spec.has("serviceAccountTokenInSecrets") =>
        {
            out.push(
                "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
                 possible logging of tokens in volume attributes"
                    .to_owned(),
            );
        }
        ("networking.k8s.io", "Ingress") if old.is_none() => {
            let annotations = &object["metadata"]["annotations"];
            if annotations.get("kubernetes.io/ingress.class").is_some() {
                out.push(
                    "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
                        .to_owned(),
                );
            }
        }
        ("", "ServiceAccount") => {
            const OLD: &str = "kubernetes.io/enforce-mountable-secrets";
            if object["metadata"]["annotations"].get(OLD).is_some() {
                out.push(format!(
                    "metadata.annotations[{OLD}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
                ));
            }
        }
        _ => {}
    }
    out
}

fn owners(out: &mut Vec<String>, object: &Value) {
    let owners = object["metadata"].list("ownerReferences");
    let mut twice: Vec<&str> = Vec::new();
    for (i, owner) in owners.iter().enumerate() {
        let uid = owner.text("uid");
        if owners[..i].iter().any(|other| other.text("uid") == uid) && !twice.contains(&uid) {
            twice.push(uid);
        }
    }
    if !twice.is_empty() {
        out.push(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        ));
    }
}

fn service(out: &mut Vec<String>, annotations: &Value, spec: &Value) {
    if annotations.has("service.kubernetes.io/topology-aware-hints") {
        out.push(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
             service.kubernetes.io/topology-mode instead"
                .to_owned(),
        );
    }
    if !spec.is_empty("externalIPs") {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    if spec.text("clusterIP") == "None" {
        if !spec.text("loadBalancerIP").is_empty() {
            out.push("spec.loadBalancerIP is ignored when spec.clusterIP is \"None\"".to_owned());
        }
        if spec.text("sessionAffinity") == "ClientIP" {
            out.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
}

fn pod(out: &mut Vec<String>, at: &Path<'_>, spec: &Value, meta_at: &Path<'_>, meta: &Value) {
    for (label, since, newer) in OLD_LABELS {
        if spec["nodeSelector"].get(label).is_some() {
            let path = at.field("nodeSelector");
            out.push(format!("{}: deprecated since {since}; use \"{newer}\" instead", path.key(label)));
        }
    }
    let volumes = at.field("volumes");
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        for (source, why) in OLD_VOLUMES {
            if volume.has(source) {
                out.push(format!("{}: {why}", volumes.index(i).field(source)));
            }
        }
    }
    let secrets = at.field("imagePullSecrets");
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            out.push(format!("{}: invalid empty name \"\"", secrets.index(i).field("name")));
        }
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0) {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            at.field("terminationGracePeriodSeconds")
        ));
    }
    for name in ["initContainers", "containers"] {
        let list = at.field(name);
        for (i, container) in spec.list(name).iter().enumerate() {
            app_armor(out, meta_at, meta, container);
            self::container(out, &list.index(i), container);
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
    let list = at.field("env");
    let variables = container.list("env");
    for (i, variable) in variables.iter().enumerate() {
        let name = variable.text("name");
        if variables[..i].iter().any(|other| other.text("name") == name) {
            out.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                list.index(i),
                quoted(name)
            ));
        }
    }
    let list = at.field("ports");
    let ports = container.list("ports");
    for (i, port) in ports.iter().enumerate() {
        let key = |port: &Value| (port.int("containerPort"), port.text("protocol").to_owned());
        let host = |port: &Value| (port.int("hostPort"), port.text("hostIP").to_owned());
        let same = ports[..i].iter().position(|other| key(other) == key(port) && host(other) == host(port));
        if let Some(first) = same {
            out.push(format!("{}: duplicate port definition with {}", list.index(i), list.index(first)));
        }
    }
    let resources = at.field("resources");
    for field in ["limits", "requests"] {
        let Some(amount) = super::common::quantity(&container["resources"][field]["memory"]) else {
            continue;
        };
        if amount.as_whole().is_none() && amount.value() < i64::MAX {
            out.push(format!(
                "{}: fractional byte value \"{amount}\" is invalid, must be an integer",
                resources.field(field).key("memory")
            ));
        }
    }
}
