//! A pod's runtime class brings its overhead and says where its pods can run (KEP-688).

use orlop_core::{Key, Kind};
use serde_json::Value;

use super::{Operation, Review};
use crate::status::Status;
use crate::tree::{at, items, object, text};

const RUNTIME_CLASS: Kind = Kind::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses");

pub(super) fn admit(review: &mut Review<'_>) -> Result<(), Status> {
    if !review.is("", "pods") || review.operation != Operation::Create {
        return Ok(());
    }
    let name = text(review.object, &["spec", "runtimeClassName"]).to_owned();
    let given = at(review.object, &["spec", "overhead"])
        .filter(|o| o.as_object().is_some_and(|o| !o.is_empty()))
        .cloned();
    let class = match name.as_str() {
        "" => None,
        name => match review.get(&RUNTIME_CLASS, &Key::cluster(name)) {
            Some(class) => Some(class.to_value()),
            None => {
                return Err(review.forbidden(&format!("pod rejected: RuntimeClass \"{name}\" not found")));
            }
        },
    };
    let overhead = class.as_ref().and_then(|c| at(c, &["overhead", "podFixed"])).cloned();
    match (&given, overhead) {
        (None, None) => {}
        (Some(_), None) => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(review.forbidden(why));
        }
        (Some(given), Some(overhead)) if *given != overhead => {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(review.forbidden(why));
        }
        (_, Some(overhead)) => {
            object(review.object, "spec").insert("overhead".into(), overhead);
        }
    }
    match class.as_ref().and_then(|c| c.get("scheduling")) {
        Some(scheduling) => schedule(review, scheduling),
        None => Ok(()),
    }
}

/// The class's node selector and tolerations become the pod's, too.
fn schedule(review: &mut Review<'_>, scheduling: &Value) -> Result<(), Status> {
    let wanted = scheduling["nodeSelector"].as_object().cloned().unwrap_or_default();
    let mut selector =
        at(review.object, &["spec", "nodeSelector"]).and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in wanted {
        if let Some(other) = selector.get(&key).filter(|other| **other != value) {
            let shown = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            return Err(review.forbidden(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                shown(&value),
                shown(other)
            )));
        }
        selector.insert(key, value);
    }
    let mut tolerations = items(review.object, &["spec", "tolerations"]).to_vec();
    for toleration in items(scheduling, &["tolerations"]) {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    let spec = object(review.object, "spec");
    if !selector.is_empty() {
        spec.insert("nodeSelector".into(), selector.into());
    }
    if !tolerations.is_empty() {
        spec.insert("tolerations".into(), tolerations.into());
    }
    Ok(())
}
