//! Pods stay five minutes on a node that stops being ready or reachable, unless they say otherwise.

use serde_json::{Value, json};

use super::Review;
use crate::status::Status;
use crate::tree::{items, object, text};

const SECONDS: i64 = 300;

pub(super) fn admit(review: &mut Review<'_>) -> Result<(), Status> {
    if !review.is("", "pods") || review.operation == super::Operation::Delete {
        return Ok(());
    }
    let given = items(review.object, &["spec", "tolerations"]);
    let tolerated = |key: &str| {
        given.iter().any(|t| {
            let (own, effect) = (text(t, &["key"]), text(t, &["effect"]));
            (own == key || own.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        })
    };
    let missing: Vec<Value> = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
        .into_iter()
        .filter(|key| !tolerated(key))
        .map(|key| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all: Vec<Value> = given.iter().cloned().chain(missing).collect();
    object(review.object, "spec").insert("tolerations".into(), all.into());
    Ok(())
}
