//! Versions of one object: how it is stored, and how the clients of another version see it.

use std::sync::Arc;

use orlop_core::body::Malformed;
use orlop_core::codec;
use orlop_core::scheme::Resource;
use orlop_core::{Body, Stored};
use serde_json::Value;

use super::autoscaler;
use super::served::Served;
use crate::status::Status;

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
        ("autoscaling", "horizontalpodautoscalers") => autoscaler::to_v2(value),
        _ => {}
    }
}

fn from_stored(resource: &Resource, value: &mut Value) {
    match (resource.kind.group.as_str(), resource.kind.plural.as_str()) {
        ("events.k8s.io", "events") => rename(value, EVENT.iter().map(|(new, old)| (*old, *new))),
        ("autoscaling", "horizontalpodautoscalers") => autoscaler::to_v1(value),
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
