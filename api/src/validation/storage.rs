//! Volumes, claims and storage classes.

use orlop_core::rules::names::{dns_subdomain, label_key};
use serde_json::Value;

use super::common::{label_selector, named_if_set, one_of, one_of_if_set, quantity};
use super::config::{fixed, same};
use super::error::Errors;
use super::path::{Path, Read};
use super::{affinity, source, volume};

const SPEC: Path<'static> = Path::root("spec");
const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// What a volume's spec holds besides its source.
const NO_SOURCES: [&str; 8] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeMode",
];

/// The name of a CSI driver.
pub(super) fn driver_name(name: &str) -> Vec<String> {
    let mut errors = dns_subdomain(&name.to_lowercase());
    if name.len() > 63 {
        errors.push("must be no more than 63 characters".into());
    }
    errors
}

fn access_modes(e: &mut Errors, at: &Path<'_>, spec: &Value, missing: &str) {
    let list = at.field("accessModes");
    let modes = spec.list("accessModes");
    if modes.is_empty() {
        e.required(list, missing);
    }
    for mode in modes {
        if !MODES.contains(&mode.as_str().unwrap_or_default()) {
            e.unsupported(list, mode, &MODES);
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        e.forbidden(list, "may not use ReadWriteOncePod with other access modes");
    }
}

fn sources(spec: &Value) -> Vec<(&str, &Value)> {
    let fields = spec.as_object().into_iter().flatten();
    let sources = fields.filter(|(k, v)| v.is_object() && !NO_SOURCES.contains(&k.as_str()));
    sources.map(|(k, v)| (k.as_str(), v)).collect()
}

pub(super) fn volume(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    access_modes(e, &SPEC, spec, "");
    let capacity = spec.entries("capacity");
    let at = SPEC.field("capacity");
    if capacity.is_empty() {
        e.required(at, "");
    }
    if capacity.len() != 1 || capacity[0].0 != "storage" {
        let sorted: std::collections::BTreeMap<&str, &Value> = capacity.iter().copied().collect();
        let shown = if spec.has("capacity") { serde_json::json!(sorted) } else { Value::Null };
        e.unsupported(at, &shown, &["storage"]);
    }
    for (name, amount) in capacity {
        let Some(amount) = quantity(amount) else { continue };
        if amount.signum() < 0 {
            e.invalid(at.key(name), &amount.value().into(), "must be a valid resource quantity");
        }
        if amount.signum() != 1 {
            e.invalid_text(at.key(name), &amount.to_string(), "must be greater than zero");
        }
    }
    if !spec.text("persistentVolumeReclaimPolicy").is_empty() {
        one_of(e, &SPEC, spec, "persistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"]);
    }
    let affinity = &spec["nodeAffinity"];
    if !affinity.is_null() {
        let at = SPEC.field("nodeAffinity");
        if affinity["required"].is_null() {
            e.required(at.field("required"), "must specify required node constraints");
        } else {
            affinity::node_selector(e, &at.field("required"), &affinity["required"]);
        }
    }
    for (i, (kind, source)) in sources(spec).into_iter().enumerate() {
        let at = SPEC.field(kind);
        if i > 0 {
            e.forbidden(at, "may not specify more than 1 volume type");
            continue;
        }
        match kind {
            "local" => {
                let path = source.text("path");
                if path.is_empty() {
                    e.required(at.field("path"), "");
                } else {
                    volume::backsteps(e, at.field("path"), path);
                }
                if affinity.is_null() {
                    e.required(SPEC.field("nodeAffinity"), "Local volume requires node affinity");
                }
            }
            "csi" => source::csi(e, &at, source),
            _ => source::of_kind(e, &at, kind, source),
        }
    }
    if sources(spec).is_empty() {
        e.required(SPEC, "must specify a volume type");
    }
    if spec["hostPath"].text("path") == "/" && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let text = "may not be 'recycle' for a hostPath mount of '/'";
        e.forbidden(SPEC.field("persistentVolumeReclaimPolicy"), text);
    }
    named_if_set(e, &SPEC, spec, "storageClassName", dns_subdomain);
    one_of_if_set(e, &SPEC, spec, "volumeMode", &["Block", "Filesystem"]);
    if let Some(class) = spec["volumeAttributesClassName"].as_str() {
        let at = SPEC.field("volumeAttributesClassName");
        match class {
            "" => e.required(at, "an empty string is disallowed"),
            class => e.rule(at, class, dns_subdomain(class)),
        }
        if !spec.has("csi") {
            e.required(SPEC.field("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

pub(super) fn volume_change(e: &mut Errors, old: &Value, new: &Value) {
    let (old, new) = (&old["spec"], &new["spec"]);
    let source = |spec| sources(spec).into_iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
    if !same(&Value::Object(source(old)), &Value::Object(source(new))) {
        let text = "spec.persistentvolumesource is immutable after creation";
        e.forbidden(SPEC.field("persistentvolumesource"), text);
    }
    fixed(e, Path::root("volumeMode"), &old["volumeMode"], &new["volumeMode"]);
    if old.has("nodeAffinity") && !same(&old["nodeAffinity"], &new["nodeAffinity"]) {
        let text = "field is immutable, except for updating from beta label to GA";
        e.invalid(Path::root("nodeAffinity"), &new["nodeAffinity"], text);
    }
}

pub(super) fn claim(e: &mut Errors, object: &Value) {
    claim_spec(e, &SPEC, &object["spec"]);
}

pub(super) fn claim_spec(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    access_modes(e, at, spec, "at least 1 access mode is required");
    label_selector(e, at.field("selector"), &spec["selector"]);
    let field = at.field("resources");
    let size = &spec["resources"]["requests"]["storage"];
    match quantity(size) {
        None => e.required(field.key("storage"), ""),
        Some(amount) if amount.signum() != 1 => {
            e.invalid(field.key("storage"), size, "must be greater than zero");
        }
        Some(_) => {}
    }
    named_if_set(e, at, spec, "storageClassName", dns_subdomain);
    one_of_if_set(e, at, spec, "volumeMode", &["Block", "Filesystem"]);
    data_sources(e, at, spec);
    let class = spec.text("volumeAttributesClassName");
    if !class.is_empty() {
        e.rule(at.field("volumeAttributesClassName"), class, dns_subdomain(class));
    }
}

/// What a volume is filled with, in its older and its newer form.
fn data_sources(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    for field in ["dataSource", "dataSourceRef"] {
        let source = &spec[field];
        if source.is_null() {
            continue;
        }
        let at = at.field(field);
        for part in ["name", "kind"] {
            if source.text(part).is_empty() {
                e.required(at.field(part), "");
            }
        }
        let group = source.text("apiGroup");
        if group.is_empty() && source.text("kind") != "PersistentVolumeClaim" {
            e.invalid_text(
                at,
                source.text("kind"),
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            );
        }
        if !group.is_empty() {
            e.rule(at.field("apiGroup"), group, dns_subdomain(group));
        }
    }
    let reference = &spec["dataSourceRef"];
    if spec.has("dataSource") && spec.has("dataSourceRef") {
        let same_parts =
            ["apiGroup", "kind", "name"].iter().all(|f| spec["dataSource"].text(f) == reference.text(f));
        if !same_parts {
            e.invalid(*at, &serde_json::json!({}), "must match dataSourceRef");
        }
    }
}

pub(super) fn claim_change(e: &mut Errors, old: &Value, new: &Value) {
    let (before, after) = (&old["spec"], &new["spec"]);
    let size = |spec: &Value| quantity(&spec["resources"]["requests"]["storage"]);
    if !before.is_object() || !after.is_object() {
        return fixed(e, SPEC, before, after);
    }
    let mut expected = before.clone();
    if before.text("volumeName").is_empty() {
        expected["volumeName"] = after["volumeName"].clone();
    }
    if before["storageClassName"].is_null() {
        expected["storageClassName"] = after["storageClassName"].clone();
    }
    let mut found = after.clone();
    if new["status"].text("phase") == "Bound" {
        if found["resources"]["requests"].is_object() {
            found["resources"]["requests"]["storage"] = before["resources"]["requests"]["storage"].clone();
        }
        if after.has("volumeAttributesClassName") {
            expected["volumeAttributesClassName"] = after["volumeAttributesClassName"].clone();
        }
    }
    if !same(&expected, &found) {
        e.forbidden(
            SPEC,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    let zero = orlop_core::rules::Quantity::default();
    let (old_size, new_size) =
        (size(before).unwrap_or_else(|| zero.clone()), size(after).unwrap_or_else(|| zero.clone()));
    let capacity = quantity(&old["status"]["capacity"]["storage"]).unwrap_or(zero);
    if new_size < old_size && new_size <= capacity {
        let at = SPEC.field("resources");
        let at = at.field("requests");
        e.forbidden(at.field("storage"), "field can not be less than status.capacity");
    }
    fixed(e, Path::root("volumeMode"), &before["volumeMode"], &after["volumeMode"]);
}

pub(super) fn class(e: &mut Errors, object: &Value) {
    let provisioner = object.text("provisioner");
    if provisioner.is_empty() {
        e.required(Path::root("provisioner"), "");
    } else {
        e.rule(Path::root("provisioner"), provisioner, label_key(&provisioner.to_lowercase()));
    }
    super::csi::parameters(e, &object["parameters"]);
    for (field, values) in [
        ("reclaimPolicy", ["Delete", "Retain"]),
        ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
    ] {
        if !object.has(field) {
            e.required(Path::root(field), "");
        } else if !values.contains(&object.text(field)) {
            e.unsupported(Path::root(field), &object[field], &values);
        }
    }
    let list = Path::root("allowedTopologies");
    let mut terms = Vec::new();
    for (i, term) in object.list("allowedTopologies").iter().enumerate() {
        let at = list.index(i);
        let expressions = topology(e, &at, term);
        // A term that says nothing is refused as a repetition, even where it is the only one.
        if expressions.is_empty() || terms.contains(&expressions) {
            e.duplicate_text(at.field("matchLabelExpressions"), "");
        }
        terms.push(expressions);
    }
}

type Terms = std::collections::BTreeMap<String, std::collections::BTreeSet<String>>;

fn topology(e: &mut Errors, at: &Path<'_>, term: &Value) -> Terms {
    let mut found = Terms::new();
    let list = at.field("matchLabelExpressions");
    for (i, requirement) in term.list("matchLabelExpressions").iter().enumerate() {
        let at = list.index(i);
        let key = requirement.text("key");
        let values = at.field("values");
        if requirement.is_empty("values") {
            e.required(values, "");
        }
        let mut set = std::collections::BTreeSet::new();
        for (i, value) in requirement.list("values").iter().filter_map(Value::as_str).enumerate() {
            if !set.insert(value.to_owned()) {
                e.duplicate_text(values.index(i), value);
            }
        }
        e.rule(at.field("key"), key, label_key(key));
        if found.insert(key.to_owned(), set).is_some() {
            e.duplicate_text(at.field("key"), key);
        }
    }
    found
}

pub(super) fn class_change(e: &mut Errors, old: &Value, new: &Value) {
    for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        fixed(e, Path::root(field), &old[field], &new[field]);
    }
}
