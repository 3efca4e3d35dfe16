//! What storage drivers say of themselves, and where volumes are attached.

use orlop_core::rules::names::{dns_subdomain, label_key};
use serde_json::Value;

use super::common::{NOT_NEGATIVE, label_selector, quantity};
use super::config::fixed;
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");
/// The field `attachRequired`, as Kubernetes' complaints spell it.
const ATTACH: &str = "attachedRequired";

pub(super) fn driver(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    for (field, shown) in [
        ("attachRequired", ATTACH),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if !spec.has(field) {
            e.required(SPEC.field(shown), "");
        }
    }
    policy(e, spec);
    let list = SPEC.field("tokenRequests");
    let mut audiences: Vec<&str> = Vec::new();
    for (i, request) in spec.list("tokenRequests").iter().enumerate() {
        let at = list.index(i);
        let audience = request.text("audience");
        if audiences.contains(&audience) {
            e.duplicate_text(at.field("audience"), audience);
            continue;
        }
        audiences.push(audience);
        let (at, seconds) = (at.field("expirationSeconds"), &request["expirationSeconds"]);
        match seconds.as_i64() {
            Some(s) if s < 600 => e.invalid(at, seconds, "may not specify a duration less than 10 minutes"),
            Some(s) if s > 1 << 32 => {
                e.invalid(at, seconds, "may not specify a duration larger than 2^32 seconds");
            }
            _ => {}
        }
    }
    const MODES: [&str; 2] = ["Persistent", "Ephemeral"];
    for mode in spec.list("volumeLifecycleModes") {
        if !MODES.contains(&mode.as_str().unwrap_or_default()) {
            e.unsupported(SPEC.field("volumeLifecycleModes"), mode, &MODES);
        }
    }
    if !spec.has("seLinuxMount") {
        e.required(SPEC.field("seLinuxMount"), "");
    }
    let period = &spec["nodeAllocatableUpdatePeriodSeconds"];
    if period.as_i64().is_some_and(|s| s < 10) {
        let text = "must be greater than or equal to 10 seconds";
        e.invalid(SPEC.field("nodeAllocatableUpdatePeriodSeconds"), period, text);
    }
}

fn policy(e: &mut Errors, spec: &Value) {
    const POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
    match spec["fsGroupPolicy"].as_str() {
        None => e.required(SPEC.field("fsGroupPolicy"), ""),
        Some(policy) if !POLICIES.contains(&policy) => {
            e.unsupported(SPEC.field("fsGroupPolicy"), &spec["fsGroupPolicy"], &POLICIES);
        }
        Some(_) => {}
    }
}

pub(super) fn driver_change(e: &mut Errors, old: &Value, new: &Value) {
    for (field, shown) in [("attachRequired", ATTACH), ("volumeLifecycleModes", "volumeLifecycleModes")] {
        fixed(e, SPEC.field(shown), &old["spec"][field], &new["spec"][field]);
    }
}

pub(super) fn node(e: &mut Errors, object: &Value) {
    const ID_MAX: usize = 256;
    let list = SPEC.field("drivers");
    let mut names: Vec<&str> = Vec::new();
    for (i, driver) in object["spec"].list("drivers").iter().enumerate() {
        let at = list.index(i);
        let name = driver.text("name");
        super::common::named(e, &at, driver, "name", super::storage::driver_name);
        let id = driver.text("nodeID");
        if id.is_empty() {
            e.required(at.field("nodeID"), "");
        } else if id.len() > ID_MAX {
            let text = format!("must be {ID_MAX} characters or less");
            e.invalid_text(at.field("nodeID"), id, &text);
        }
        let count = &driver["allocatable"]["count"];
        if count.as_i64().is_some_and(|n| n < 0) {
            e.invalid(at.field("allocatable").field("count"), count, NOT_NEGATIVE);
        }
        if names.contains(&name) {
            e.duplicate_text(at.field("name"), name);
        }
        names.push(name);
        let keys = driver.list("topologyKeys");
        for (n, key) in keys.iter().enumerate() {
            let text = key.as_str().unwrap_or_default();
            if text.is_empty() {
                e.required(at, "");
            } else if keys[..n].contains(key) {
                e.duplicate(at, key);
            } else {
                e.rule(at, text, label_key(text));
            }
        }
    }
}

/// A driver that is there stays as it is, but for how many volumes it takes.
pub(super) fn node_change(e: &mut Errors, old: &Value, new: &Value) {
    let list = SPEC.field("drivers");
    for driver in new["spec"].list("drivers") {
        let before =
            old["spec"].list("drivers").iter().find(|before| before.text("name") == driver.text("name"));
        let plain = |driver: &Value| {
            let mut driver = driver.clone();
            driver["allocatable"] = Value::Null;
            driver
        };
        if before.is_some_and(|before| !super::config::same(&plain(before), &plain(driver))) {
            e.invalid(list, driver, "field is immutable");
        }
    }
}

pub(super) fn capacity(e: &mut Errors, object: &Value) {
    let topology = Path::root("nodeTopology");
    label_selector(e, topology, &object["nodeTopology"]);
    let class = object.text("storageClassName");
    e.rule(Path::root("storageClassName"), class, dns_subdomain(class));
    if let Some(amount) = quantity(&object["capacity"]).filter(|q| q.signum() < 0) {
        e.invalid_text(Path::root("capacity"), &amount.to_string(), NOT_NEGATIVE);
    }
}

pub(super) fn capacity_change(e: &mut Errors, old: &Value, new: &Value) {
    for field in ["nodeTopology", "storageClassName"] {
        fixed(e, Path::root(field), &old[field], &new[field]);
    }
}

pub(super) fn attachment(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let attacher = spec.text("attacher");
    if attacher.is_empty() {
        e.required(SPEC.field("attacher"), "");
    } else {
        e.rule(SPEC.field("attacher"), attacher, label_key(&attacher.to_lowercase()));
    }
    let (source, at) = (&spec["source"], SPEC.field("source"));
    match (source.has("inlineVolumeSpec"), source["persistentVolumeName"].as_str()) {
        (true, Some(_)) => {
            e.forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        (false, None) => {
            e.required(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        (false, Some(name)) => {
            let at = at.field("persistentVolumeName");
            if name.is_empty() {
                e.required(at, "must specify non empty persistentVolumeName");
            }
            e.rule(at, name, dns_subdomain(name));
        }
        (true, None) => {}
    }
    let node = spec.text("nodeName");
    e.rule(SPEC.field("nodeName"), node, dns_subdomain(node));
    let status = Path::root("status");
    attachment_status(e, &status, &object["status"]);
}

fn attachment_status(e: &mut Errors, at: &Path<'_>, status: &Value) {
    const MAX: usize = 262_144;
    for field in ["attachError", "detachError"] {
        if status[field].text("message").len() > MAX {
            e.too_long(at.field(field).field("message"), MAX);
        }
    }
}

pub(super) fn attachment_change(e: &mut Errors, old: &Value, new: &Value) {
    fixed(e, SPEC, &old["spec"], &new["spec"]);
}

pub(super) fn attributes_class(e: &mut Errors, object: &Value) {
    let name = object.text("driverName");
    if name.is_empty() {
        e.required(Path::root("driverName"), "");
    } else {
        e.rule(Path::root("driverName"), name, label_key(&name.to_lowercase()));
    }
    match object.is_empty("parameters") {
        true => e.required(Path::root("parameters"), "must contain at least one key/value pair"),
        false => parameters(e, &object["parameters"]),
    }
}

/// What a driver is told.
pub(super) fn parameters(e: &mut Errors, parameters: &Value) {
    const COUNT_MAX: usize = 512;
    const SIZE_MAX: usize = 256 * 1024;
    let at = Path::root("parameters");
    let Some(map) = parameters.as_object() else { return };
    if map.len() > COUNT_MAX {
        // Go's error for a map that is too long.
        e.too_long(at, COUNT_MAX);
        return;
    }
    let mut size = 0;
    for (key, value) in map {
        if key.is_empty() {
            e.invalid_text(at, key, "field can not be empty.");
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > SIZE_MAX {
        e.too_long(at, SIZE_MAX);
    }
}

pub(super) fn attributes_class_change(e: &mut Errors, old: &Value, new: &Value) {
    for (field, text) in [
        ("driverName", "updates to driverName are forbidden."),
        ("parameters", "updates to parameters are forbidden."),
    ] {
        if !super::config::same(&old[field], &new[field]) {
            e.forbidden(Path::root(field), text);
        }
    }
}
