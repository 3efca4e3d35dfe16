//! Where volumes come from that both pods and PersistentVolumes can name.

use orlop_core::rules::names::dns_subdomain;
use serde_json::Value;

use super::common::{named, one_of_if_set};
use super::error::Errors;
use super::path::{Path, Read};
use super::volume::backsteps;

pub(super) const MORE: &str = "may not specify more than 1 volume type";
const HOST_PATHS: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const LUN: &str = "must be between 0 and 255, inclusive";

fn required(e: &mut Errors, at: &Path<'_>, source: &Value, fields: &[&str]) {
    for field in fields {
        if source.is_empty(field) {
            e.required(at.field(field), "");
        }
    }
}

/// The rules of one kind of source.
pub(super) fn of_kind(e: &mut Errors, at: &Path<'_>, kind: &str, source: &Value) {
    match kind {
        "hostPath" => host_path(e, at, source),
        "gcePersistentDisk" => disk(e, at, source, "pdName"),
        "awsElasticBlockStore" => disk(e, at, source, "volumeID"),
        "nfs" => {
            required(e, at, source, &["server", "path"]);
            if !source.text("path").starts_with('/') {
                e.invalid_text(at.field("path"), source.text("path"), "must be an absolute path");
            }
        }
        "iscsi" => iscsi(e, at, source),
        "glusterfs" => required(e, at, source, &["endpoints", "path"]),
        "flocker" => match (source.is_empty("datasetName"), source.is_empty("datasetUUID")) {
            (true, true) => e.required(*at, "one of datasetName and datasetUUID is required"),
            (false, false) => e.invalid_text(
                *at,
                "resource",
                "datasetName and datasetUUID can not be specified simultaneously",
            ),
            _ => {
                if source.text("datasetName").contains('/') {
                    let text = "must not contain '/'";
                    e.invalid_text(at.field("datasetName"), source.text("datasetName"), text);
                }
            }
        },
        "rbd" => required(e, at, source, &["monitors", "image"]),
        "cinder" => {
            required(e, at, source, &["volumeID"]);
            let secret = &source["secretRef"];
            if !secret.is_null() && secret.is_empty("name") {
                e.required(at.field("secretRef").field("name"), "");
            }
        }
        "cephfs" => required(e, at, source, &["monitors"]),
        "quobyte" => {
            required(e, at, source, &["registry", "volume"]);
        }
        "fc" => fibre_channel(e, at, source),
        "azureFile" => required(e, at, source, &["secretName", "shareName"]),
        "vsphereVolume" => required(e, at, source, &["volumePath"]),
        "photonPersistentDisk" => required(e, at, source, &["pdID"]),
        "portworxVolume" => required(e, at, source, &["volumeID"]),
        "azureDisk" => azure_disk(e, at, source),
        "scaleIO" => required(e, at, source, &["gateway", "system", "secretRef", "volumeName"]),
        "storageos" => {
            let secret = &source["secretRef"];
            if !secret.is_null() && secret.is_empty("name") {
                e.required(at.field("secretRef").field("name"), "");
            }
        }
        "flexVolume" => required(e, at, source, &["driver"]),
        _ => {}
    }
}

fn host_path(e: &mut Errors, at: &Path<'_>, source: &Value) {
    let path = source.text("path");
    if path.is_empty() {
        return e.required(at.field("path"), "");
    }
    backsteps(e, at.field("path"), path);
    one_of_if_set(e, at, source, "type", &HOST_PATHS);
}

fn disk(e: &mut Errors, at: &Path<'_>, source: &Value, name: &str) {
    required(e, at, source, &[name]);
    if !(0..=255).contains(&source.int("partition")) {
        e.invalid(at.field("partition"), &source["partition"], "must be between 1 and 255, inclusive");
    }
}

fn iscsi(e: &mut Errors, at: &Path<'_>, source: &Value) {
    required(e, at, source, &["targetPortal"]);
    let iqn = source.text("iqn");
    if iqn.is_empty() {
        e.required(at.field("iqn"), "");
    } else if !["iqn", "eui", "naa"].iter().any(|prefix| iqn.starts_with(prefix)) {
        e.invalid_text(at.field("iqn"), iqn, "must be valid format starting with iqn, eui, or naa");
    } else if !qualified_target(iqn) {
        e.invalid_text(at.field("iqn"), iqn, "must be valid format");
    }
    if !(0..=255).contains(&source.int("lun")) {
        e.invalid(at.field("lun"), &source["lun"], LUN);
    }
    let chap = source.is_true("chapAuthDiscovery") || source.is_true("chapAuthSession");
    if chap && !source.has("secretRef") {
        e.required(at.field("secretRef"), "");
    }
    if source.has("initiatorName") && !qualified_target(source.text("initiatorName")) {
        e.invalid_text(at.field("initiatorname"), source.text("initiatorName"), "must be valid format");
    }
}

/// A name of a target: `iqn.2001-04.com.example:storage`, `eui.0123456789abcdef`, `naa.…`.
fn qualified_target(name: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(rest) = name.strip_prefix("iqn.") {
        let date = rest.get(..7).is_some_and(|date| {
            date.bytes().enumerate().all(|(i, b)| if i == 4 { b == b'-' } else { b.is_ascii_digit() })
        });
        return date && rest[7..].strip_prefix('.').is_some_and(|domain| !domain.is_empty());
    }
    if let Some(rest) = name.strip_prefix("eui.") {
        return rest.len() == 16 && hex(rest);
    }
    name.strip_prefix("naa.").is_some_and(|rest| matches!(rest.len(), 16 | 32) && hex(rest))
}

fn fibre_channel(e: &mut Errors, at: &Path<'_>, source: &Value) {
    let names = at.field("targetWWNs");
    match (source.is_empty("targetWWNs"), source.is_empty("wwids")) {
        (true, true) => e.required(names, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => e.invalid(
            names,
            &source["targetWWNs"],
            "targetWWNs and wwids can not be specified simultaneously",
        ),
        _ => {}
    }
    if !source.is_empty("targetWWNs") {
        match source["lun"].as_i64() {
            None => e.required(at.field("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) if !(0..=255).contains(&lun) => e.invalid(at.field("lun"), &lun.into(), LUN),
            Some(_) => {}
        }
    }
}

fn azure_disk(e: &mut Errors, at: &Path<'_>, source: &Value) {
    required(e, at, source, &["diskName", "diskURI"]);
    one_of_if_set(e, at, source, "cachingMode", &["None", "ReadOnly", "ReadWrite"]);
    one_of_if_set(e, at, source, "kind", &["Dedicated", "Managed", "Shared"]);
    let uri = source.text("diskURI");
    if source.text("kind") == "Managed" {
        if !uri.starts_with("/subscriptions/") {
            e.unsupported(
                at.field("diskURI"),
                &uri.into(),
                &["/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"],
            );
        }
    } else if source.has("kind") && !uri.starts_with("https://") {
        let form = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
        e.unsupported(at.field("diskURI"), &uri.into(), &[form]);
    }
}

/// A CSI driver's volume that is there already.
pub(super) fn csi(e: &mut Errors, at: &Path<'_>, source: &Value) {
    named(e, at, source, "driver", super::storage::driver_name);
    if source.text("volumeHandle").is_empty() {
        e.required(at.field("volumeHandle"), "");
    }
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = &source[field];
        if secret.is_null() {
            continue;
        }
        let at = at.field(field);
        for part in ["name", "namespace"] {
            match secret.text(part) {
                "" => e.required(at.field(part), ""),
                text if part == "name" => e.rule(at.field(part), text, dns_subdomain(text)),
                text => {
                    let complaints = orlop_core::rules::names::dns_label(text);
                    e.rule(at.field(part), text, complaints);
                }
            }
        }
    }
}
