//! Nodes, ConfigMaps, Secrets and leases.

use std::collections::BTreeSet;

use serde_json::Value;

use super::common::{IMMUTABLE, cidr, config_key, immutable, not_negative};
use super::error::Errors;
use super::path::{Path, Read};
use super::placement;

const SIZE_MAX: usize = 1024 * 1024;
const SPEC: Path<'static> = Path::root("spec");

/// Whether two values say the same, the empty and the absent being one.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || same(&Value::Null, v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Value::Object(map), other) | (other, Value::Object(map)) if empty(other) => {
            map.values().all(|v| same(v, &Value::Null))
        }
        _ => a == b || empty(a) && empty(b),
    }
}

pub(super) fn config_map(e: &mut Errors, object: &Value) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        let at = Path::root(field);
        for (key, value) in object.entries(field) {
            e.rule(at.key(key), key, config_key(key));
            if field == "data" && object["binaryData"].get(key).is_some() {
                e.invalid_text(at.key(key), key, "duplicate of key present in binaryData");
            }
            size += value.as_str().map_or(0, str::len);
        }
    }
    if size > SIZE_MAX {
        // A path without a name is shown as that of a key without one.
        e.too_long(Path::root("[]"), SIZE_MAX);
    }
}

const SEALED: &str = "field is immutable when `immutable` is set";

fn sealed(e: &mut Errors, old: &Value, new: &Value, fields: &[&str]) {
    if !old.is_true("immutable") {
        return;
    }
    if !new.is_true("immutable") {
        e.forbidden(Path::root("immutable"), SEALED);
    }
    for field in fields {
        if !same(&old[*field], &new[*field]) {
            e.forbidden(Path::root(field), SEALED);
        }
    }
}

pub(super) fn config_map_change(e: &mut Errors, old: &Value, new: &Value) {
    sealed(e, old, new, &["data", "binaryData"]);
}

pub(super) fn secret(e: &mut Errors, object: &Value) {
    let data = Path::root("data");
    let mut size = 0;
    for (key, value) in object.entries("data") {
        e.rule(data.key(key), key, config_key(key));
        size += value.as_str().map_or(0, |text| text.len() / 4 * 3);
    }
    if size > SIZE_MAX {
        e.too_long(data, SIZE_MAX);
    }
    let value = |key: &str| object["data"].get(key);
    match object.text("type") {
        "kubernetes.io/service-account-token" => {
            let meta = Path::root("metadata");
            let at = meta.field("annotations");
            if object["metadata"]["annotations"].text("kubernetes.io/service-account.name").is_empty() {
                e.required(at.key("kubernetes.io/service-account.name"), "");
            }
        }
        "kubernetes.io/dockercfg" => json_key(e, data, object, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json_key(e, data, object, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
            e.required(data.key("username"), "");
            e.required(data.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if object["data"].text("ssh-privatekey").is_empty() => {
            e.required(data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if value(key).is_none() {
                    e.required(data.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn json_key(e: &mut Errors, data: Path<'_>, object: &Value, key: &str) {
    use base64::Engine as _;
    let Some(text) = object["data"].get(key).and_then(Value::as_str) else {
        return e.required(data.key(key), "");
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        e.invalid_text(data.key(key), "<secret contents redacted>", &error.to_string());
    }
}

pub(super) fn secret_change(e: &mut Errors, old: &Value, new: &Value) {
    immutable(e, Path::root("type"), &old["type"], &new["type"]);
    sealed(e, old, new, &["data"]);
}

pub(super) fn namespace(e: &mut Errors, object: &Value) {
    for name in object["spec"].list("finalizers").iter().filter_map(Value::as_str) {
        super::meta::finalizer(e, SPEC.field("finalizers"), name);
    }
}

pub(super) fn node(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let meta = Path::root("metadata");
    placement::taints(e, &meta.field("taints"), spec.list("taints"));
    node_resources(e, object);
    let list = SPEC.field("podCIDRs");
    let cidrs = spec.list("podCIDRs");
    for (i, text) in cidrs.iter().filter_map(Value::as_str).enumerate() {
        cidr(e, list.index(i), text);
    }
    let of_family =
        |six: bool| cidrs.iter().filter_map(Value::as_str).filter(|c| c.contains(':') == six).count();
    if cidrs.len() > 1 && (of_family(false) != 1 || of_family(true) != 1 || cidrs.len() > 2) {
        e.invalid(list, &spec["podCIDRs"], "may specify no more than one CIDR for each IP family");
    }
}

fn node_resources(e: &mut Errors, object: &Value) {
    let status = Path::root("status");
    for field in ["capacity", "allocatable"] {
        let at = status.field(field);
        for (name, amount) in object["status"].entries(field) {
            super::container::quantity(e, at.field(name), name, amount);
        }
    }
}

/// Of the node or of its status.
pub(super) fn node_change(e: &mut Errors, old: &Value, new: &Value) {
    node_resources(e, new);
    let status = Path::root("status");
    let list = status.field("addresses");
    let mut addresses = BTreeSet::new();
    for (i, address) in new["status"].list("addresses").iter().enumerate() {
        if !addresses.insert((address.text("type"), address.text("address"))) {
            let shown = serde_json::json!({"Type": address["type"], "Address": address["address"]});
            e.duplicate(list.index(i), &shown);
        }
    }
    let meta = Path::root("metadata");
    placement::taints(e, &meta.field("taints"), new["spec"].list("taints"));
    let (old, new) = (&old["spec"], &new["spec"]);
    if !old.is_empty("podCIDRs") && !same(&old["podCIDRs"], &new["podCIDRs"]) {
        e.forbidden(SPEC.field("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
    }
    if !old.text("providerID").is_empty() && old["providerID"] != new["providerID"] {
        let text = "node updates may not change providerID except from \"\" to valid";
        e.forbidden(SPEC.field("providerID"), text);
    }
}

pub(super) fn lease(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    if spec.has("leaseDurationSeconds") && spec.int("leaseDurationSeconds") <= 0 {
        e.invalid(
            SPEC.field("leaseDurationSeconds"),
            &spec["leaseDurationSeconds"],
            "must be greater than 0",
        );
    }
    not_negative(e, &SPEC, spec, "leaseTransitions");
}

pub(super) fn fixed(e: &mut Errors, at: Path<'_>, old: &Value, new: &Value) {
    if !same(old, new) {
        e.invalid(at, new, IMMUTABLE);
    }
}
