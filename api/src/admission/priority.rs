//! The priority of pods: classes become numbers.

use orlop_core::{Key, Kind};
use serde_json::Value;

use super::{Operation, Review};
use crate::status::Status;
use crate::tree::{copy, object, text};

const PRIORITY_CLASS: Kind = Kind::cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses");
const PREEMPTS: &str = "PreemptLowerPriority";

/// The classes that exist in every cluster.
pub(crate) const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) fn admit(review: &mut Review<'_>) -> Result<(), Status> {
    if review.is("", "pods") {
        match review.operation {
            Operation::Create => return pod(review),
            Operation::Update => {
                // What was decided stays decided.
                let old = review.old.and_then(|o| o.get("spec"));
                let kept = |field: &str| old.and_then(|o| o.get(field)).cloned();
                let (priority, policy) = (kept("priority"), kept("preemptionPolicy"));
                let spec = object(review.object, "spec");
                for (field, value) in [("priority", priority), ("preemptionPolicy", policy)] {
                    if spec.get(field).is_none_or(Value::is_null) {
                        copy(spec, value.as_ref(), field);
                    }
                }
            }
            Operation::Delete | Operation::Connect => {}
        }
    }
    if review.is("scheduling.k8s.io", "priorityclasses") && review.operation != Operation::Delete {
        return class(review);
    }
    Ok(())
}

fn pod(review: &mut Review<'_>) -> Result<(), Status> {
    let name = text(review.object, &["spec", "priorityClassName"]).to_owned();
    let (name, value, policy) = if name.is_empty() {
        global_default(review)
    } else {
        match review.get(&PRIORITY_CLASS, &Key::cluster(name.as_str())) {
            Some(class) => facts(&class.to_value()),
            None => match SYSTEM.iter().find(|(system, _)| *system == name) {
                Some((_, value)) => (name, *value, PREEMPTS.to_owned()),
                None => return Err(review.forbidden(&format!("no PriorityClass with name {name} was found"))),
            },
        }
    };
    let differs = |field: &str, wanted: &Value| {
        let given = review.object.pointer(&format!("/spec/{field}")).filter(|v| !v.is_null());
        given.is_some_and(|given| given != wanted).then(|| given.cloned()).flatten()
    };
    if let Some(given) = differs("priority", &value.into()) {
        return Err(review.forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    if let Some(given) = differs("preemptionPolicy", &policy.as_str().into()) {
        let given = given.as_str().unwrap_or_default();
        return Err(review.forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    let spec = object(review.object, "spec");
    if !name.is_empty() {
        spec.insert("priorityClassName".into(), name.into());
    }
    spec.insert("priority".into(), value.into());
    spec.insert("preemptionPolicy".into(), policy.into());
    Ok(())
}

fn facts(class: &Value) -> (String, i64, String) {
    let policy = class["preemptionPolicy"].as_str().unwrap_or(PREEMPTS);
    (
        text(class, &["metadata", "name"]).to_owned(),
        class["value"].as_i64().unwrap_or_default(),
        policy.to_owned(),
    )
}

/// The global default with the lowest value; without any, 0.
fn global_default(review: &Review<'_>) -> (String, i64, String) {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Class {
        #[serde(default)]
        global_default: bool,
    }
    let classes: Vec<Value> = review
        .all(&PRIORITY_CLASS)
        .iter()
        .filter(|c| c.body.known::<Class>().is_ok_and(|c| c.global_default))
        .map(|c| c.to_value())
        .collect();
    let default = classes.iter().filter(|c| c["globalDefault"] == true).min_by_key(|c| c["value"].as_i64());
    default.map_or_else(|| (String::new(), 0, PREEMPTS.to_owned()), facts)
}

/// At most one class is the global default.
fn class(review: &mut Review<'_>) -> Result<(), Status> {
    if review.object["globalDefault"] != true {
        return Ok(());
    }
    let own = text(review.object, &["metadata", "name"]);
    let other = review
        .all(&PRIORITY_CLASS)
        .iter()
        .map(|c| c.to_value())
        .find(|c| c["globalDefault"] == true && text(c, &["metadata", "name"]) != own);
    match other {
        None => Ok(()),
        Some(other) => {
            let name = text(&other, &["metadata", "name"]);
            Err(review.forbidden(&format!(
                "PriorityClass {name} is already marked as default. Only one default can exist"
            )))
        }
    }
}
