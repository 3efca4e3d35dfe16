//! Where it counts how an object was spelt as it was stored, and not only what it says.
//!
//! Kubernetes skips a write whose encoded object is, to the byte, what is stored. Whatever it reads it fills in with
//! defaults, so what was stored without one of them is encoded otherwise at the first update, though nothing changes:
//! that update is a write, and the next is none. Two sorts of objects are stored so:
//!
//! - A new one from which its kind's rules took, or to which they gave, something after defaults had been filled in: a
//!   claim, whose status is emptied, and a Job, whose labels follow those of its template.
//! - One with free-form parts (`RawExtension`), which are stored in the very bytes that a client sent, white space
//!   included, until a patch decodes and encodes them. Where such a part may not change, the bytes are what is compared:
//!   a generation goes up, or an update is refused, for white space.
//!
//! Which objects these are is not to be seen from an object here: it is stored once, filled in and without white space,
//! so that reads serve the stored bytes as they are. That it is stored otherwise in Kubernetes is one bit, noted in
//! spaces behind the object, which mean nothing to JSON. Not told apart are two texts of one free-form part that both
//! have white space, but not in the same places.

use std::sync::Arc;

use orlop_core::scheme::Resource;
use orlop_core::store::Entry;
use serde_json::Value;

use crate::request::{Body, MediaType};
use crate::tree::{items, text};

/// How an object is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As every update would store it.
    #[default]
    Settled,
    /// Without what is filled in as it is read.
    Unsettled,
    /// With white space of a client's in its free-form parts.
    Spaced,
}

impl Spelling {
    /// How an object is stored now.
    pub(super) fn of(entry: &Entry) -> Spelling {
        let bytes = entry.object.body.bytes();
        match bytes.iter().rev().take_while(|b| **b == b' ').count() {
            0 => Spelling::Settled,
            1 => Spelling::Unsettled,
            _ => Spelling::Spaced,
        }
    }

    /// The body with the mark of this spelling.
    pub(super) fn mark(self, body: Arc<orlop_core::Body>) -> Arc<orlop_core::Body> {
        let spaces: &[u8] = match self {
            Spelling::Settled => return body,
            Spelling::Unsettled => b" ",
            Spelling::Spaced => b"  ",
        };
        let marked = [body.bytes(), spaces].concat();
        orlop_core::Body::parse(marked.into()).map_or(body, Arc::new)
    }
}

/// The free-form parts of an object whose spelling counts.
fn parts<'a>(resource: &Resource, value: &'a Value) -> Vec<&'a Value> {
    let parameters = |spec: &'a Value, path: &[&str]| -> Vec<&'a Value> {
        items(spec, path).iter().map(|config| &config["opaque"]["parameters"]).collect()
    };
    match (resource.kind.group.as_str(), resource.kind.plural.as_str()) {
        ("resource.k8s.io", "deviceclasses") => parameters(value, &["spec", "config"]),
        ("resource.k8s.io", "resourceclaims") => parameters(value, &["spec", "devices", "config"]),
        ("resource.k8s.io", "resourceclaimtemplates") => {
            parameters(value, &["spec", "spec", "devices", "config"])
        }
        ("apps", "controllerrevisions") => vec![&value["data"]],
        _ => Vec::new(),
    }
}

/// How an object that comes in this body is to be stored.
pub(super) fn sent(resource: &Resource, body: Option<&Body>, value: &Value) -> Spelling {
    let Some(Body::Bytes(MediaType::Json, bytes)) = body else { return Spelling::Settled };
    let filled = |part: &&Value| match part {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if parts(resource, value).iter().any(filled) && has_space(bytes) {
        return Spelling::Spaced;
    }
    Spelling::Settled
}

/// Whether there is white space between the tokens of a JSON text.
fn has_space(json: &[u8]) -> bool {
    let mut quoted = false;
    let mut bytes = json.trim_ascii().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if quoted => drop(bytes.next()),
            b'"' => quoted = !quoted,
            b' ' | b'\n' | b'\r' | b'\t' if !quoted => return true,
            _ => {}
        }
    }
    false
}

/// The field that may not change, where a new spelling is a change.
pub(super) fn fixed(resource: &Resource) -> Option<&'static str> {
    match resource.kind.plural.as_str() {
        "resourceclaims" | "resourceclaimtemplates" => Some("spec"),
        "controllerrevisions" => Some("data"),
        _ => None,
    }
}

/// Whether a new object of this kind lacks, in the store, what is filled in as it is read. `labels`: a Job's own before
/// it got those of its template.
pub(super) fn unsettled(resource: &Resource, labels: Option<&Value>, value: &Value) -> bool {
    match (resource.kind.group.as_str(), resource.kind.plural.as_str()) {
        ("", "persistentvolumeclaims") => text(value, &["status", "phase"]) == "Pending",
        ("batch", "jobs") => labels != value["metadata"].get("labels"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_counts_between_tokens_only() {
        assert!(!has_space(br#"{"a b":"c \" d"}"#));
        assert!(!has_space(b" {} \n"));
        assert!(has_space(br#"{"a": 1}"#));
    }
}
