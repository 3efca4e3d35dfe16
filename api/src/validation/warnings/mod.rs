//! What people are warned of although it is accepted.

mod pod;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orlop_core::Kind;
use orlop_core::rules::names::dns_label;
use orlop_core::rules::quote::go_quoted as quoted;
use orlop_core::rules::volume::CLASS_ANNOTATION as OLD_CLASS;
use serde_json::Value;

use super::path::{Path, Read};
pub(crate) use pod::APP_ARMOR;
use pod::pod;

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
    let (spec, annotations) = (&object["spec"], &object["metadata"]["annotations"]);
    owners(&mut out, object);
    let workload = |out: &mut Vec<String>, path: Path<'_>, template: &Value| {
        pod(out, &path.field("spec"), &template["spec"], &path, &template["metadata"]);
    };
    let root = Path::root("spec");
    let same_template = old.is_some_and(|old| old["spec"]["template"] == spec["template"]);
    if old.is_none() {
        name(&mut out, kind, object["metadata"].text("name"));
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") if old.is_none() => pod(&mut out, &root, spec, &Path::root(""), &object["metadata"]),
        ("", "PodTemplate") => workload(&mut out, Path::root("template"), &object["template"]),
        ("apps", "StatefulSet") => {
            if !same_template {
                workload(&mut out, root.field("template"), &spec["template"]);
            }
            let list = root.field("volumeClaimTemplates");
            for (i, template) in spec.list("volumeClaimTemplates").iter().enumerate() {
                let at = list.index(i);
                claim(&mut out, &at.field("metadata"), &at.field("Spec"), template);
            }
        }
        ("", "ReplicationController") | ("apps", _) | ("batch", "Job") if !same_template => {
            workload(&mut out, root.field("template"), &spec["template"]);
        }
        ("batch", "CronJob") => {
            let (job, path) = (&spec["jobTemplate"]["spec"], root.field("jobTemplate"));
            let path = path.field("spec");
            workload(&mut out, path.field("template"), &job["template"]);
        }
        ("", "Service") => service(&mut out, annotations, spec),
        ("", "PersistentVolume") => volume(&mut out, annotations, spec),
        ("", "PersistentVolumeClaim") => claim(&mut out, &Path::root("metadata"), &root, object),
        ("", "Node") => {
            if !spec.text("externalID").is_empty() {
                out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
            }
            if spec.has("configSource") {
                out.push("spec.configSource: the feature is removed".to_owned());
            }
        }
        ("", "Secret") if object.text("type") == "kubernetes.io/tls" => key_pair(&mut out, &object["data"]),
        ("discovery.k8s.io", "EndpointSlice") if object.text("addressType") == "FQDN" => {
            out.push("addressType: FQDN endpoints are deprecated".to_owned());
        }
        ("storage.k8s.io", "StorageClass") => {
            let list = Path::root("allowedTopologies");
            for (i, term) in object.list("allowedTopologies").iter().enumerate() {
                let at = list.index(i);
                keys(&mut out, &at.field("matchLabelExpressions"), term.list("matchLabelExpressions"));
            }
        }
        ("storage.k8s.io", "CSIDriver")
            if !spec.is_empty("tokenRequests") && !spec.has("serviceAccountTokenInSecrets") =>
        {
            out.push(
                "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
                 possible logging of tokens in volume attributes"
                    .to_owned(),
            );
        }
        ("networking.k8s.io", "Ingress")
            if old.is_none() && annotations.get("kubernetes.io/ingress.class").is_some() =>
        {
            out.push(
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
                    .to_owned(),
            );
        }
        ("", "ServiceAccount") => {
            const OLD: &str = "kubernetes.io/enforce-mountable-secrets";
            if annotations.get(OLD).is_some() {
                out.push(format!(
                    "metadata.annotations[{OLD}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
                ));
            }
        }
        _ => {}
    }
    out
}

/// A name that becomes that of a host.
fn name(out: &mut Vec<String>, kind: &Kind, name: &str) {
    let of = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => "the Pod's hostname",
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet")
        | ("", "ReplicationController")
        | ("batch", "Job" | "CronJob") => "Pod names and hostnames",
        _ => return,
    };
    let complaints = dns_label(name);
    if !complaints.is_empty() {
        out.push(format!(
            "metadata.name: this is used in {of}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            complaints.join(" ")
        ));
    }
}

/// What to use instead of an old label of nodes.
fn newer_label(label: &str) -> Option<String> {
    let (_, since, newer) = OLD_LABELS.iter().find(|(old, ..)| *old == label)?;
    Some(format!("deprecated since {since}; use {} instead", quoted(newer)))
}

/// The keys of requirements on nodes.
fn keys(out: &mut Vec<String>, list: &Path<'_>, requirements: &[Value]) {
    for (i, requirement) in requirements.iter().enumerate() {
        let key = requirement.text("key");
        if let Some(why) = newer_label(key) {
            out.push(format!("{}: {key} is {why}", list.index(i).field("key")));
        }
    }
}

/// The terms of a selector of nodes.
fn node_terms(out: &mut Vec<String>, selector: &Path<'_>, terms: &[Value]) {
    let list = selector.field("nodeSelectorTerms");
    for (i, term) in terms.iter().enumerate() {
        let at = list.index(i);
        keys(out, &at.field("matchExpressions"), term.list("matchExpressions"));
    }
}

/// An amount of bytes that is no whole number.
fn fraction(out: &mut Vec<String>, amounts: &Path<'_>, all: &Value, name: &str) {
    let Some(amount) = super::common::quantity(&all[name]) else { return };
    if amount.milli_value() % 1000 != 0 && amount.milli_value() < i64::MAX {
        out.push(format!(
            "{}: fractional byte value \"{amount}\" is invalid, must be an integer",
            amounts.key(name)
        ));
    }
}

fn claim(out: &mut Vec<String>, meta: &Path<'_>, at: &Path<'_>, claim: &Value) {
    if claim["metadata"]["annotations"].has(OLD_CLASS) {
        let list = meta.field("annotations");
        let at = list.key(OLD_CLASS);
        out.push(format!("{at}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
    let resources = at.field("resources");
    fraction(out, &resources.field("requests"), &claim["spec"]["resources"]["requests"], "storage");
}

fn volume(out: &mut Vec<String>, annotations: &Value, spec: &Value) {
    for (old, since, newer) in [
        (OLD_CLASS, "v1.8", "storageClassName"),
        ("volume.beta.kubernetes.io/mount-options", "v1.31", "mountOptions"),
    ] {
        if annotations.has(old) {
            out.push(format!(
                "metadata.annotations[{old}]: deprecated since {since}; use \"{newer}\" attribute instead"
            ));
        }
    }
    if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        out.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .to_owned(),
        );
    }
    let root = Path::root("spec");
    let affinity = root.field("nodeAffinity");
    let terms = spec["nodeAffinity"]["required"].list("nodeSelectorTerms");
    node_terms(out, &affinity.field("required"), terms);
    old_source(out, &root, spec);
}

/// A source of a volume that is of no use any more.
fn old_source(out: &mut Vec<String>, at: &Path<'_>, volume: &Value) {
    for (source, why) in OLD_VOLUMES.iter().filter(|(source, _)| volume.has(source)) {
        out.push(format!("{}: {why}", at.field(source)));
    }
}

/// A certificate or a key that holds none at all.
fn key_pair(out: &mut Vec<String>, data: &Value) {
    for (field, what) in [("tls.crt", "certificate"), ("tls.key", "key")] {
        let bytes = STANDARD.decode(data.text(field)).unwrap_or_default();
        let is_pem = |line: &[u8]| line.starts_with(b"-----BEGIN ");
        if !bytes.split(|byte| *byte == b'\n').any(is_pem) {
            out.push(format!("tls: failed to find any PEM data in {what} input"));
            return;
        }
    }
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
    let (headless, outward) = (spec.text("clusterIP") == "None", spec.text("type") == "ExternalName");
    if headless {
        for (given, field) in [
            (!spec.text("loadBalancerIP").is_empty(), "loadBalancerIP"),
            (!spec.is_empty("externalIPs"), "externalIPs"),
            (spec.text("sessionAffinity") == "ClientIP", "SessionAffinity"),
        ] {
            if given {
                out.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    if !spec.is_empty("externalIPs") {
        if outward {
            out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
        }
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    if !outward && !spec.text("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
}
