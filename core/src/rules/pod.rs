//! What state a pod is in.

use std::time::Duration;

use crate::kinds::{Pod, PodCondition};
use crate::object::Name;
use crate::time::Timestamp;

/// Whether the pod has ended, and will never run again.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

/// Whether the pod counts: it neither has ended nor is being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// One of the pod's conditions.
pub fn condition<'a>(pod: &'a Pod, r#type: &str) -> Option<&'a PodCondition> {
    pod.status.conditions.iter().find(|condition| condition.r#type == r#type)
}

/// Whether the pod can serve.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// When a ready pod becomes available, which is after `min_ready_seconds` of readiness; `None` if it is not ready.
pub fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    match u64::try_from(min_ready_seconds) {
        Err(_) | Ok(0) => Some(Timestamp::EPOCH),
        Ok(seconds) => Some(ready.last_transition_time? + Duration::from_secs(seconds)),
    }
}

/// Whether the pod has been ready for `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    available_at(pod, min_ready_seconds).is_some_and(|at| at <= now)
}

/// Puts a condition among the others, and answers whether that changed anything. The transition time is kept where the
/// status stays the same, and is `now` where it does not.
pub fn set_condition(
    conditions: &mut Vec<PodCondition>,
    mut condition: PodCondition,
    now: Timestamp,
) -> bool {
    match conditions.iter_mut().find(|c| c.r#type == condition.r#type) {
        Some(present) => {
            condition.last_transition_time = if present.status == condition.status {
                present.last_transition_time
            } else {
                Some(now.truncate_to_secs())
            };
            condition.last_probe_time = condition.last_probe_time.or(present.last_probe_time);
            let changed = *present != condition;
            *present = condition;
            changed
        }
        None => {
            condition.last_transition_time.get_or_insert(now.truncate_to_secs());
            conditions.push(condition);
            true
        }
    }
}

/// A condition without times.
pub fn new_condition(
    r#type: impl Into<Name>,
    status: bool,
    reason: impl Into<Name>,
    message: impl Into<Name>,
) -> PodCondition {
    PodCondition {
        r#type: r#type.into(),
        status: Name::new_static(if status { "True" } else { "False" }),
        reason: reason.into(),
        message: message.into(),
        ..PodCondition::default()
    }
}
