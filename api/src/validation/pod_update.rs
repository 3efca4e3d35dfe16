//! What may change about a pod that is there.

use serde_json::Value;

use super::config::same;
use super::error::Errors;
use super::path::{Path, Read};
use super::pod;

const SPEC: Path<'static> = Path::root("spec");

pub(super) fn pod(e: &mut Errors, old: &Value, new: &Value) {
    let (before, after) = (&old["spec"], &new["spec"]);
    pod::common_rules(e, new);
    for list in ["containers", "initContainers"] {
        if before.list(list).len() != after.list(list).len() {
            return e.forbidden(SPEC.field(list), "pod updates may not add or remove containers");
        }
    }
    deadline(e, before, after);
    tolerations(e, before, after);
    let mut expected = before.clone();
    for list in ["containers", "initContainers"] {
        for (i, container) in after.list(list).iter().enumerate() {
            if expected[list][i].is_object() {
                expected[list][i]["image"] = container["image"].clone();
            }
        }
    }
    if !expected.is_object() {
        return;
    }
    for field in ["activeDeadlineSeconds", "tolerations"] {
        expected[field] = after[field].clone();
    }
    if before.int("terminationGracePeriodSeconds") < 0 && after.int("terminationGracePeriodSeconds") == 1 {
        expected["terminationGracePeriodSeconds"] = 1.into();
    }
    let gates = SPEC.field("schedulingGates");
    let kept = |gate: &&Value| !before.list("schedulingGates").contains(gate);
    if let Some(added) = after.list("schedulingGates").iter().find(kept) {
        let text =
            format!("only deletion is allowed, but found new scheduling gate '{}'", added.text("name"));
        e.forbidden(gates, &text);
    }
    expected["schedulingGates"] = after["schedulingGates"].clone();
    if !before.is_empty("schedulingGates") {
        // A pod that waits at a gate may still be told more narrowly where to go.
        expected["nodeSelector"] = after["nodeSelector"].clone();
        expected["affinity"] = after["affinity"].clone();
    }
    if !same(&expected, after) {
        e.forbidden(
            SPEC,
            "pod updates may not change fields other than \
             `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` \
             (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it \
             was previously negative)",
        );
    }
}

fn deadline(e: &mut Errors, before: &Value, after: &Value) {
    let at = SPEC.field("activeDeadlineSeconds");
    match (before["activeDeadlineSeconds"].as_i64(), after["activeDeadlineSeconds"].as_i64()) {
        (Some(old), Some(new)) if new > old => {
            e.invalid(at, &new.into(), "must be less than or equal to previous value");
        }
        (Some(_), None) => {
            e.invalid(at, &Value::Null, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
}

/// Those that were there stay, but for the time that they last.
fn tolerations(e: &mut Errors, before: &Value, after: &Value) {
    let untimed = |toleration: &Value| {
        let mut map = toleration.as_object().cloned().unwrap_or_default();
        map.shift_remove("tolerationSeconds");
        Value::Object(map)
    };
    let now: Vec<Value> = after.list("tolerations").iter().map(untimed).collect();
    let all = before.list("tolerations").iter().map(untimed).all(|old| now.iter().any(|new| same(&old, new)));
    if !all {
        let text = "existing toleration can not be modified except its tolerationSeconds";
        e.forbidden(SPEC.field("tolerations"), text);
    }
}

/// What may change about the containers that have joined a pod.
pub(super) fn ephemeral_containers(e: &mut Errors, old: &Value, new: &Value) {
    pod::common_rules(e, new);
    let at = SPEC.field("ephemeralContainers");
    for container in old["spec"].list("ephemeralContainers") {
        let name = container.text("name");
        let now = new["spec"].list("ephemeralContainers").iter().find(|c| c.text("name") == name);
        match now {
            None => {
                e.forbidden(at, &format!("existing ephemeral containers \"{name}\" may not be removed\n"))
            }
            Some(now) if !same(container, now) => {
                e.forbidden(at, &format!("existing ephemeral containers \"{name}\" may not be changed"));
            }
            Some(_) => {}
        }
    }
}

/// How the resources of a running pod may change.
pub(super) fn resize(e: &mut Errors, old: &Value, new: &Value) {
    pod::common_rules(e, new);
    let (before, after) = (&old["spec"], &new["spec"]);
    let class = |object: &Value| {
        use serde::Deserialize as _;
        orlop_core::kinds::Pod::deserialize(object)
            .map_or("BestEffort", |pod| orlop_core::rules::pod_resources::qos_class(&pod))
    };
    if class(old) != class(new) {
        let text = "Pod QOS Class may not change as a result of resizing";
        e.invalid(SPEC, &old["status"]["qosClass"], text);
    }
    for list in ["containers", "initContainers"] {
        if before.list(list).len() != after.list(list).len() {
            return e.forbidden(SPEC.field(list), "containers may not be added or removed on resize");
        }
    }
    let mut kept = after.clone();
    for list in ["containers", "initContainers"] {
        for (i, container) in before.list(list).iter().enumerate() {
            for field in ["limits", "requests"] {
                for resource in ["cpu", "memory"] {
                    let amount = container["resources"][field].get(resource);
                    let Some(kept) = kept[list][i].get_mut("resources") else { continue };
                    if !kept[field].is_object() {
                        kept[field] = serde_json::json!({});
                    }
                    match (amount, kept[field].as_object_mut()) {
                        (Some(amount), Some(map)) => drop(map.insert(resource.into(), amount.clone())),
                        (None, Some(map)) => drop(map.shift_remove(resource)),
                        _ => {}
                    }
                }
            }
            if container.has("resizePolicy") || kept[list][i].has("resizePolicy") {
                kept[list][i]["resizePolicy"] = container["resizePolicy"].clone();
            }
        }
    }
    if !same(before, &kept) {
        e.forbidden(SPEC, "only cpu and memory resources are mutable");
    }
}
