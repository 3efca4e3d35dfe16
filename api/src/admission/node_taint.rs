//! A node takes no pods before something has said that it is ready.

use serde_json::json;

use super::Review;
use crate::status::Status;
use crate::tree::{items, object};

pub(super) fn admit(review: &mut Review<'_>) -> Result<(), Status> {
    if !review.creates("", "nodes") {
        return Ok(());
    }
    let not_ready = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let mut taints = items(review.object, &["spec", "taints"]).to_vec();
    if taints.iter().any(|t| t["key"] == not_ready["key"] && t["effect"] == not_ready["effect"]) {
        return Ok(());
    }
    taints.push(not_ready);
    object(review.object, "spec").insert("taints".into(), taints.into());
    Ok(())
}
