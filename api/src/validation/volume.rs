//! Volumes of pods and how containers mount them.

use orlop_core::rules::names::dns_label;
use serde_json::Value;

use super::common::{named, one_of_if_set};
use super::container::{field_ref, resource_ref};
use super::error::Errors;
use super::path::{Path, Read};
use super::storage;

/// The names of the volumes that are well described.
pub(super) type Volumes = Vec<String>;

const MORE: &str = "may not specify more than 1 volume type";
const HOST_PATHS: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const FILE_FIELDS: [&str; 5] =
    ["metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"];

pub(super) fn volumes(e: &mut Errors, list: &Path<'_>, volumes: &[Value]) -> Volumes {
    let mut names = Volumes::new();
    for (i, volume) in volumes.iter().enumerate() {
        let at = list.index(i);
        let before = e.0.len();
        source(e, &at, volume);
        named(e, &at, volume, "name", dns_label);
        let name = volume.text("name");
        if names.iter().any(|n| n == name) {
            e.duplicate_text(at.field("name"), name);
        }
        if e.0.len() == before {
            names.push(name.to_owned());
        }
    }
    names
}

fn source(e: &mut Errors, at: &Path<'_>, volume: &Value) {
    let mut found = 0;
    for (kind, source) in volume.as_object().into_iter().flatten() {
        if kind == "name" || !source.is_object() {
            continue;
        }
        let at = at.field(kind);
        found += 1;
        if found > 1 {
            e.forbidden(at, MORE);
            continue;
        }
        of_kind(e, &at, kind, source);
    }
    if found == 0 {
        e.required(*at, "must specify a volume type");
    }
}

fn of_kind(e: &mut Errors, at: &Path<'_>, kind: &str, source: &Value) {
    match kind {
        "hostPath" => host_path(e, at, source),
        "emptyDir" if super::common::quantity(&source["sizeLimit"]).is_some_and(|q| q.signum() < 0) => {
            e.forbidden(at.field("sizeLimit"), "SizeLimit field must be a valid resource quantity");
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
        "persistentVolumeClaim" if source.text("claimName").is_empty() => {
            e.required(at.field("claimName"), "");
        }
        "nfs" => {
            for field in ["server", "path"] {
                if source.text(field).is_empty() {
                    e.required(at.field(field), "");
                }
            }
            if !source.text("path").is_empty() && !source.text("path").starts_with('/') {
                e.invalid(at.field("path"), &source["path"], "must be an absolute path");
            }
        }
        "csi" => named(e, at, source, "driver", storage::driver_name),
        "ephemeral" => {
            let template = &source["volumeClaimTemplate"];
            let at = at.field("volumeClaimTemplate");
            if template.is_null() {
                e.required(at, "");
            } else {
                storage::claim_spec(e, &at.field("spec"), &template["spec"]);
            }
        }
        _ => {}
    }
}

pub(super) fn host_path(e: &mut Errors, at: &Path<'_>, source: &Value) {
    let path = source.text("path");
    if path.is_empty() {
        e.required(at.field("path"), "");
    } else {
        backsteps(e, at.field("path"), path);
    }
    one_of_if_set(e, at, source, "type", &HOST_PATHS);
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
    if path.starts_with("..") && path != ".." && !path.starts_with("../") {
        e.invalid_text(at, path, "must not start with '..'");
    }
}

fn descending(e: &mut Errors, at: Path<'_>, path: &str) {
    if path.starts_with('/') {
        e.invalid_text(at, path, "must be a relative path");
    }
    backsteps(e, at, path);
}

fn backsteps(e: &mut Errors, at: Path<'_>, path: &str) {
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
        let mut once = |e: &mut Errors, path: &'v str| {
            if paths.contains(&path) && !path.is_empty() {
                e.invalid_text(*at, path, "conflicting duplicate paths");
            }
            paths.push(path);
        };
        for kind in ["secret", "configMap"] {
            if source.has(kind) {
                found += 1;
                let of = of.field(kind);
                if source[kind].text("name").is_empty() {
                    e.required(of.field("name"), "");
                }
                files(e, &of, &source[kind]);
                for item in source[kind].list("items") {
                    once(e, item.text("path"));
                }
            }
        }
        if source.has("downwardAPI") {
            found += 1;
            for item in source["downwardAPI"].list("items") {
                downward(e, &of.field("downwardAPI"), item);
                once(e, item.text("path"));
            }
        }
        let token = &source["serviceAccountToken"];
        if !token.is_null() {
            found += 1;
            let of = of.field("serviceAccountToken");
            let seconds = token["expirationSeconds"].as_i64().unwrap_or(3600);
            if seconds < 600 {
                let text = "may not specify a duration less than 10 minutes";
                e.invalid(of.field("expirationSeconds"), &seconds.into(), text);
            }
            if seconds > 1 << 32 {
                let text = "may not specify a duration larger than 2^32 seconds";
                e.invalid(of.field("expirationSeconds"), &seconds.into(), text);
            }
            match token.text("path") {
                "" => e.required(at.field("path"), ""),
                path => local(e, at.field("path"), path),
            }
        }
        let bundle = &source["clusterTrustBundle"];
        if !bundle.is_null() {
            found += 1;
            if bundle.text("path").is_empty() {
                e.required(at.field("path"), "");
            }
        }
        if found > 1 {
            e.forbidden(of, "may not specify more than 1 volume type per source");
        }
    }
}

pub(super) fn mounts(e: &mut Errors, list: &Path<'_>, mounts: &[Value], volumes: &Volumes) {
    let mut paths: Vec<&str> = Vec::new();
    for (i, mount) in mounts.iter().enumerate() {
        let at = list.index(i);
        let name = mount.text("name");
        if name.is_empty() {
            e.required(at.field("name"), "");
        }
        if !volumes.iter().any(|volume| volume == name) {
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
        for field in ["subPath", "subPathExpr"] {
            if !mount.text(field).is_empty() {
                descending(e, at.field(field), mount.text(field));
            }
        }
        if !mount.text("subPath").is_empty() && !mount.text("subPathExpr").is_empty() {
            let text = "subPathExpr and subPath are mutually exclusive";
            e.invalid(at.field("subPathExpr"), &mount["subPathExpr"], text);
        }
        one_of_if_set(e, &at, mount, "mountPropagation", &["Bidirectional", "HostToContainer", "None"]);
    }
}
