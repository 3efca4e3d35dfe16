//! The priority of pods: classes become numbers.

use orlop_core::{Key, Kind, Meta};
use serde::Deserialize;
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
            Some(class) => class.body.known::<Class>().unwrap_or_default().facts(),
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

/// What is read of a class.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Class {
    metadata: Meta,
    value: i64,
    preemption_policy: Option<String>,
    global_default: bool,
}

impl Class {
    fn facts(&self) -> (String, i64, String) {
        let policy = self.preemption_policy.as_deref().unwrap_or(PREEMPTS);
        (self.metadata.name.to_string(), self.value, policy.to_owned())
    }
}

/// The global default with the lowest value; without any, 0.
fn global_default(review: &Review<'_>) -> (String, i64, String) {
    let classes = review.all(&PRIORITY_CLASS);
    let classes = classes.iter().filter_map(|class| class.body.known::<Class>().ok());
    let default = classes.filter(|class| class.global_default).min_by_key(|class| class.value);
    default.map_or_else(|| (String::new(), 0, PREEMPTS.to_owned()), |class| class.facts())
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
