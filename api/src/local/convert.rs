//! Versions of one object: how it is stored, and how the clients of another version see it.

use std::sync::Arc;

use orlop_core::body::Malformed;
use orlop_core::codec;
use orlop_core::scheme::Resource;
use orlop_core::{Body, Stored};
use serde_json::{Map, Value, json};

use super::served::Served;
use crate::status::Status;
use crate::tree::{object, remove};

/// The bytes of an object of `resource`'s version, as they are stored.
pub(crate) fn encode(served: &Served, resource: &Arc<Resource>, value: &Value) -> Result<Arc<Body>, Status> {
    encode_with(served, resource, value, None)
}

/// [`encode`] with the managed fields as text, where they are not in the tree.
pub(crate) fn encode_with(
    served: &Served,
    resource: &Arc<Resource>,
    value: &Value,
    managed: Option<&[u8]>,
) -> Result<Arc<Body>, Status> {
    let broken = |e: Malformed| match e {
        Malformed::TooDeep(_) => Status::bad_request(e.to_string()),
        Malformed::Contents(_) => Status::internal(&e.to_string()),
    };
    if resource.kind == resource.stored_as {
        return codec::encode_with(&resource.schema, resource.ty, value, managed)
            .map(Arc::new)
            .map_err(broken);
    }
    let stored = served.scheme.storage(&resource.kind).ok_or_else(Status::no_resource)?.clone();
    let mut value = value.clone();
    to_stored(resource, &mut value);
    set_kind(&stored, &mut value);
    codec::encode_with(&stored.schema, stored.ty, &value, managed).map(Arc::new).map_err(broken)
}

/// The object as a tree of `resource`'s version, with its `resourceVersion`.
pub(crate) fn tree(served: &Served, resource: &Arc<Resource>, stored: &Stored) -> Value {
    if as_stored(served, resource) {
        let mut value = stored.to_value();
        set_kind(resource, &mut value);
        return value;
    }
    let mut value = stored.to_value();
    from_stored(resource, &mut value);
    set_kind(resource, &mut value);
    // What this version does not know of is not shown; that it fits was checked when it was stored.
    let _ = codec::conform(&resource.schema, resource.ty, &mut value, &[]);
    value
}

/// The object as clients of `resource`'s version see it. The stored bytes, where those will do.
pub(crate) fn shown(served: &Served, resource: &Arc<Resource>, stored: &Stored) -> Stored {
    if as_stored(served, resource) {
        return stored.clone();
    }
    let value = tree(served, resource, stored);
    match codec::encode(&resource.schema, resource.ty, &value) {
        Ok(body) => Stored { body: Arc::new(body), revision: stored.revision },
        Err(_) => stored.clone(),
    }
}

/// Whether nothing but `apiVersion` differs from what is stored. Rendering writes that anew anyway.
fn as_stored(_served: &Served, resource: &Resource) -> bool {
    resource.kind == resource.stored_as
}

fn set_kind(resource: &Resource, value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.insert("kind".into(), resource.kind.kind.as_str().into());
        map.insert("apiVersion".into(), resource.kind.api_version().as_str().into());
    }
}

/// The pairs of names that an Event's fields have in `events.k8s.io` and in the legacy group.
const EVENT: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn to_stored(resource: &Resource, value: &mut Value) {
    match (resource.kind.group.as_str(), resource.kind.plural.as_str()) {
        ("events.k8s.io", "events") => rename(value, EVENT.iter().copied()),
        ("autoscaling", "horizontalpodautoscalers") => autoscaler_to_v2(value),
        _ => {}
    }
}

fn from_stored(resource: &Resource, value: &mut Value) {
    match (resource.kind.group.as_str(), resource.kind.plural.as_str()) {
        ("events.k8s.io", "events") => rename(value, EVENT.iter().map(|(new, old)| (*old, *new))),
        ("autoscaling", "horizontalpodautoscalers") => autoscaler_to_v1(value),
        _ => {}
    }
}

fn rename(value: &mut Value, pairs: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(map) = value.as_object_mut() else { return };
    for (from, to) in pairs {
        if let Some(value) = map.shift_remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn is_cpu_percent(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

/// Version 1 knows one metric; others travel in annotations.
fn autoscaler_to_v1(value: &mut Value) {
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = value.get_mut("spec") {
        let metrics = remove(spec, "metrics").and_then(|m| m.as_array().cloned()).unwrap_or_default();
        let percent = |m: &Value| m["resource"]["target"]["averageUtilization"].clone();
        let (cpu, others): (Vec<Value>, Vec<Value>) =
            metrics.into_iter().partition(|m| is_cpu_percent(m) && !percent(m).is_null());
        if let Some(cpu) = cpu.first() {
            spec["targetCPUUtilizationPercentage"] = percent(cpu);
        }
        if !others.is_empty() {
            notes.push((METRICS, others.into()));
        }
        if let Some(behavior) = remove(spec, "behavior") {
            notes.push((BEHAVIOR, behavior));
        }
    }
    if let Some(status) = value.get_mut("status") {
        let metrics =
            remove(status, "currentMetrics").and_then(|m| m.as_array().cloned()).unwrap_or_default();
        let percent = |m: &Value| m["resource"]["current"]["averageUtilization"].clone();
        if let Some(cpu) = metrics.iter().find(|m| is_cpu_percent(m) && !percent(m).is_null()) {
            status["currentCPUUtilizationPercentage"] = percent(cpu);
        }
        if !metrics.is_empty() {
            notes.push((CURRENT, metrics.into()));
        }
        if let Some(conditions) = remove(status, "conditions") {
            notes.push((CONDITIONS, conditions));
        }
    }
    if !notes.is_empty() {
        let meta = crate::tree::metadata(value);
        let annotations = meta.entry("annotations".to_owned()).or_insert_with(|| Value::Object(Map::new()));
        for (name, note) in notes {
            annotations[name] = note.to_string().into();
        }
    }
}

fn autoscaler_to_v2(value: &mut Value) {
    let mut note = |name: &str| -> Option<Value> {
        let annotations = value.get_mut("metadata")?.get_mut("annotations")?;
        let text = remove(annotations, name)?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let (metrics, current, conditions, behavior) =
        (note(METRICS), note(CURRENT), note(CONDITIONS), note(BEHAVIOR));
    let spec = object(value, "spec");
    let percent = spec.shift_remove("targetCPUUtilizationPercentage").filter(|p| !p.is_null());
    let cpu = percent.map(|percent| {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    });
    let mut all: Vec<Value> = metrics.and_then(|m| m.as_array().cloned()).unwrap_or_default();
    all.extend(cpu);
    if !all.is_empty() {
        spec.insert("metrics".into(), all.into());
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior);
    }
    if let Some(status) = value.get_mut("status") {
        remove(status, "currentCPUUtilizationPercentage");
        if let Some(current) = current {
            status["currentMetrics"] = current;
        }
        if let Some(conditions) = conditions {
            status["conditions"] = conditions;
        }
    }
}
