//! Volumes of pods, and how containers mount them.

use orlop_core::rules::names::{dns_label, dns_subdomain};
use serde_json::Value;

use super::common::{named, one_of_if_set};
use super::container::{field_ref, resource_ref};
use super::error::Errors;
use super::path::{Path, Read};
use super::source::{self, MORE};
use super::storage;

/// The volumes that are well described: their names, and whether they can be block devices.
pub(super) type Volumes = Vec<(String, bool)>;

const FILE_FIELDS: [&str; 5] =
    ["metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"];

/// Where volumes are: in a pod, whose name is known, or in a template.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The pod's name; empty in a template.
    pub(super) pod: &'a str,
    pub(super) is_pod: bool,
}

pub(super) fn volumes(e: &mut Errors, list: &Path<'_>, volumes: &[Value], place: Place<'_>) -> Volumes {
    let mut names = Volumes::new();
    let made: Vec<String> = volumes
        .iter()
        .filter(|v| v.has("ephemeral") && !place.pod.is_empty())
        .map(|v| format!("{}-{}", place.pod, v.text("name")))
        .collect();
    for (i, volume) in volumes.iter().enumerate() {
        let at = list.index(i);
        let before = e.0.len();
        sources(e, &at, volume, place);
        named(e, &at, volume, "name", dns_label);
        let name = volume.text("name");
        if names.iter().any(|(n, _)| n == name) {
            e.duplicate_text(at.field("name"), name);
        }
        if e.0.len() == before {
            let device = volume.has("persistentVolumeClaim") || volume.has("ephemeral");
            names.push((name.to_owned(), device));
        }
        let claim = volume["persistentVolumeClaim"].text("claimName");
        if made.iter().any(|name| name == claim) {
            let text = "must not reference a PVC that gets created for an ephemeral volume";
            e.invalid_text(at.field("persistentVolumeClaim").field("claimName"), claim, text);
        }
    }
    names
}

/// The kinds of volumes in the order in which they are looked at.
const KINDS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
    "flexVolume",
];

fn sources(e: &mut Errors, at: &Path<'_>, volume: &Value, place: Place<'_>) {
    let mut found = 0;
    for kind in KINDS.into_iter().filter(|kind| volume[*kind].is_object()) {
        let path = at.field(kind);
        found += 1;
        if found > 1 {
            e.forbidden(path, MORE);
            continue;
        }
        of_kind(e, &path, kind, volume, place);
    }
    if found == 0 {
        e.required(*at, "must specify a volume type");
    }
}

fn of_kind(e: &mut Errors, at: &Path<'_>, kind: &str, volume: &Value, place: Place<'_>) {
    let source = &volume[kind];
    match kind {
        "emptyDir" => {
            if super::common::quantity(&source["sizeLimit"]).is_some_and(|q| q.signum() < 0) {
                e.forbidden(at.field("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "gitRepo" => {
            if source.text("repository").is_empty() {
                e.required(at.field("repository"), "");
            }
            descending(e, at.field("directory"), source.text("directory"));
        }
        "secret" => {
            if source.text("secretName").is_empty() {
                e.required(at.field("secretName"), "");
            }
            mode(e, at.field("defaultMode"), &source["defaultMode"]);
            files(e, at, source);
        }
        "configMap" => {
            if source.text("name").is_empty() {
                e.required(at.field("name"), "");
            }
            mode(e, at.field("defaultMode"), &source["defaultMode"]);
            files(e, at, source);
        }
        "downwardAPI" => {
            mode(e, at.field("defaultMode"), &source["defaultMode"]);
            for file in source.list("items") {
                downward(e, at, file);
            }
        }
        "projected" => projected(e, at, source),
        "persistentVolumeClaim" => {
            if source.text("claimName").is_empty() {
                e.required(at.field("claimName"), "");
            }
        }
        "csi" => {
            named(e, at, source, "driver", storage::driver_name);
            let secret = &source["nodePublishSecretRef"];
            if !secret.is_null() {
                named(e, &at.field("nodePublishSecretRef"), secret, "name", dns_subdomain);
            }
        }
        "ephemeral" => {
            let template = &source["volumeClaimTemplate"];
            let at = at.field("volumeClaimTemplate");
            if template.is_null() {
                return e.required(at, "");
            }
            super::pod::labelled(e, &at.field("metadata"), &template["metadata"]);
            storage::claim_spec(e, &at.field("spec"), &template["spec"]);
            if !place.pod.is_empty() {
                let name = volume.text("name");
                let claim = format!("{}-{name}", place.pod);
                for why in dns_subdomain(&claim) {
                    e.invalid_text(at.field("name"), name, &format!("PVC name \"{claim}\": {why}"));
                }
            }
        }
        "image" => {
            if place.is_pod && source.text("reference").is_empty() {
                e.required(at.field("reference"), "");
            }
            if !source.text("pullPolicy").is_empty() {
                one_of_if_set(e, at, source, "pullPolicy", &super::container::PULL_POLICIES);
            }
        }
        _ => source::of_kind(e, at, kind, source),
    }
}

fn files(e: &mut Errors, at: &Path<'_>, source: &Value) {
    let list = at.field("items");
    for (i, item) in source.list("items").iter().enumerate() {
        file(e, &list.index(i), item);
    }
}

fn file(e: &mut Errors, at: &Path<'_>, item: &Value) {
    if item.text("key").is_empty() {
        e.required(at.field("key"), "");
    }
    match item.text("path") {
        "" => e.required(at.field("path"), ""),
        path => local(e, at.field("path"), path),
    }
    mode(e, at.field("mode"), &item["mode"]);
}

fn local(e: &mut Errors, at: Path<'_>, path: &str) {
    descending(e, at, path);
    if path.starts_with("..") && !path.starts_with("../") {
        e.invalid_text(at, path, "must not start with '..'");
    }
}

/// A path below some folder.
pub(super) fn descending(e: &mut Errors, at: Path<'_>, path: &str) {
    if path.starts_with('/') {
        e.invalid_text(at, path, "must be a relative path");
    }
    backsteps(e, at, path);
}

/// A path that does not lead upwards.
pub(super) fn backsteps(e: &mut Errors, at: Path<'_>, path: &str) {
    if path.split('/').any(|part| part == "..") {
        e.invalid_text(at, path, "must not contain '..'");
    }
}

fn mode(e: &mut Errors, at: Path<'_>, mode: &Value) {
    if mode.as_i64().is_some_and(|m| !(0..=0o777).contains(&m)) {
        e.invalid(at, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn downward(e: &mut Errors, at: &Path<'_>, file: &Value) {
    match file.text("path") {
        "" => e.required(at.field("path"), ""),
        path => local(e, at.field("path"), path),
    }
    if file.has("fieldRef") {
        field_ref(e, &at.field("fieldRef"), &file["fieldRef"], &FILE_FIELDS);
        if file.has("resourceFieldRef") {
            let text = "fieldRef and resourceFieldRef can not be specified simultaneously";
            e.invalid_text(*at, "resource", text);
        }
    } else if file.has("resourceFieldRef") {
        resource_ref(e, &at.field("resourceFieldRef"), &file["resourceFieldRef"], true);
    } else {
        e.required(*at, "one of fieldRef and resourceFieldRef is required");
    }
    mode(e, at.field("mode"), &file["mode"]);
}

fn projected<'v>(e: &mut Errors, at: &Path<'_>, projected: &'v Value) {
    mode(e, at.field("defaultMode"), &projected["defaultMode"]);
    let list = at.field("sources");
    let mut paths: Vec<&'v str> = Vec::new();
    for (i, source) in projected.list("sources").iter().enumerate() {
        let of = list.index(i);
        let mut found = 0;
        for kind in ["secret", "configMap"] {
            if source.has(kind) {
                found += 1;
                let of = of.field(kind);
                if source[kind].text("name").is_empty() {
                    e.required(of.field("name"), "");
                }
                let items = of.field("items");
                for (i, item) in source[kind].list("items").iter().enumerate() {
                    file(e, &items.index(i), item);
                    once(e, at, &mut paths, item.text("path"));
                }
            }
        }
        if source.has("downwardAPI") {
            found += 1;
            for item in source["downwardAPI"].list("items") {
                downward(e, &of.field("downwardAPI"), item);
                once(e, at, &mut paths, item.text("path"));
            }
        }
        if source.has("serviceAccountToken") {
            found += 1;
            account_token(e, at, &of.field("serviceAccountToken"), &source["serviceAccountToken"]);
        }
        for (kind, check) in [
            ("clusterTrustBundle", trust_bundle as fn(&mut Errors, &Path<'_>, &Value)),
            ("podCertificate", pod_certificate),
        ] {
            if source.has(kind) {
                found += 1;
                check(e, &of.field(kind), &source[kind]);
                for field in ["path", "credentialBundlePath", "keyPath", "certificateChainPath"] {
                    once(e, at, &mut paths, source[kind].text(field));
                }
            }
        }
        if found > 1 {
            e.forbidden(of, "may not specify more than 1 volume type per source");
        }
    }
}

fn once<'v>(e: &mut Errors, at: &Path<'_>, paths: &mut Vec<&'v str>, path: &'v str) {
    if path.is_empty() {
        return;
    }
    if paths.contains(&path) {
        e.invalid_text(*at, path, "conflicting duplicate paths");
    }
    paths.push(path);
}

fn account_token(e: &mut Errors, volume: &Path<'_>, at: &Path<'_>, token: &Value) {
    let seconds = token["expirationSeconds"].as_i64().unwrap_or(3600);
    if seconds < 600 {
        let text = "may not specify a duration less than 10 minutes";
        e.invalid(at.field("expirationSeconds"), &seconds.into(), text);
    }
    if seconds > 1 << 32 {
        let text = "may not specify a duration larger than 2^32 seconds";
        e.invalid(at.field("expirationSeconds"), &seconds.into(), text);
    }
    match token.text("path") {
        "" => e.required(volume.field("path"), ""),
        path => local(e, at.field("path"), path),
    }
}

fn trust_bundle(e: &mut Errors, at: &Path<'_>, bundle: &Value) {
    let (name, signer) = (bundle["name"].as_str(), bundle["signerName"].as_str());
    match (name, signer) {
        (Some(_), Some(_)) => {
            e.invalid_text(*at, "", "only one of name and signerName may be used");
        }
        (None, None) => e.required(*at, "either name or signerName must be specified"),
        (Some(""), None) => e.required(at.field("name"), "must be a valid object name"),
        (Some(name), None) => {
            if bundle.has("labelSelector") {
                let text = "labelSelector must be unset if name is specified";
                e.invalid(at.field("labelSelector"), &bundle["labelSelector"], text);
            }
            e.rule(at.field("name"), name, dns_subdomain(&name.replace(':', ".")));
        }
        (None, Some("")) => e.required(at.field("signerName"), "must be a valid signer name"),
        (None, Some(signer)) => super::certificates::signer_name(e, at.field("signerName"), signer),
    }
    match bundle.text("path") {
        "" => e.required(at.field("path"), ""),
        path => local(e, at.field("path"), path),
    }
}

fn pod_certificate(e: &mut Errors, at: &Path<'_>, certificate: &Value) {
    const KEY_TYPES: [&str; 6] = ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];
    super::certificates::signer_name(e, at.field("signerName"), certificate.text("signerName"));
    super::common::one_of(e, at, certificate, "keyType", &KEY_TYPES);
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        if !certificate.text(field).is_empty() {
            local(e, at.field(field), certificate.text(field));
        }
    }
}

/// How a container mounts volumes and takes them as devices.
pub(super) fn mounts(e: &mut Errors, at: &Path<'_>, container: &Value, volumes: &Volumes) {
    let list = at.field("volumeMounts");
    let (mounts, devices) = (container.list("volumeMounts"), container.list("volumeDevices"));
    let mut paths: Vec<&str> = Vec::new();
    for (i, mount) in mounts.iter().enumerate() {
        let at = list.index(i);
        let name = mount.text("name");
        if name.is_empty() {
            e.required(at.field("name"), "");
        }
        if !volumes.iter().any(|(volume, _)| volume == name) {
            e.not_found(at.field("name"), name);
        }
        let path = mount.text("mountPath");
        if path.is_empty() {
            e.required(at.field("mountPath"), "");
        }
        if paths.contains(&path) {
            e.invalid_text(at.field("mountPath"), path, "must be unique");
        }
        paths.push(path);
        if devices.iter().any(|device| device.text("name") == name) {
            e.invalid_text(at.field("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.text("devicePath") == path) {
            e.invalid_text(at.field("mountPath"), path, "must not already exist as a path in volumeDevices");
        }
        descending(e, at.field("subPath"), mount.text("subPath"));
        let expression = mount.text("subPathExpr");
        if !expression.is_empty() {
            if !mount.text("subPath").is_empty() {
                let text = "subPathExpr and subPath are mutually exclusive";
                e.invalid_text(at.field("subPathExpr"), expression, text);
            }
            descending(e, at.field("subPathExpr"), expression);
        }
        propagation(e, &at, mount, container);
        recursive(e, &at, mount);
    }
    let list = at.field("volumeDevices");
    let (mut names, mut paths): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (i, device) in devices.iter().enumerate() {
        let at = list.index(i);
        let (name, path) = (device.text("name"), device.text("devicePath"));
        if name.is_empty() {
            e.required(at.field("name"), "");
        }
        if names.contains(&name) {
            e.invalid_text(at.field("name"), name, "must be unique");
        }
        match volumes.iter().find(|(volume, _)| volume == name) {
            Some((_, true)) => {}
            Some(_) => {
                let text = "can not use volume source type other than PersistentVolumeClaim and Ephemeral for block mode";
                e.invalid_text(at.field("name"), name, text);
            }
            None => e.not_found(at.field("name"), name),
        }
        names.push(name);
        if path.is_empty() {
            e.required(at.field("devicePath"), "");
        }
        if paths.contains(&path) {
            e.invalid_text(at.field("devicePath"), path, "must be unique");
        }
        if path.split('/').any(|part| part == "..") {
            e.invalid_text(at.field("devicePath"), path, "can not contain backsteps ('..')");
        } else {
            paths.push(path);
        }
        if mounts.iter().any(|mount| mount.text("name") == name) {
            e.invalid_text(at.field("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.text("mountPath") == path) {
            e.invalid_text(at.field("devicePath"), path, "must not already exist as a path in volumeMounts");
        }
    }
}

fn propagation(e: &mut Errors, at: &Path<'_>, mount: &Value, container: &Value) {
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    one_of_if_set(e, at, mount, "mountPropagation", &MODES);
    if mount.text("mountPropagation") == "Bidirectional"
        && !container["securityContext"].is_true("privileged")
    {
        e.forbidden(
            at.field("mountPropagation"),
            "Bidirectional mount propagation is available only to privileged containers",
        );
    }
}

fn recursive(e: &mut Errors, at: &Path<'_>, mount: &Value) {
    let field = at.field("recursiveReadOnly");
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.is_true("readOnly") {
                e.forbidden(field, "may only be specified when readOnly is true");
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                e.forbidden(field, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(_) => {
            e.unsupported(field, &mount["recursiveReadOnly"], &["Disabled", "Enabled", "IfPossible"]);
        }
    }
}
