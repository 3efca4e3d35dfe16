//! Asking a pod to go, as far as its disruption budget allows.
//!
//! [`judge`] decides, without reading anything: the rules of Kubernetes' eviction API.

use orlop_core::rules::{LabelSelector, Selector};
use orlop_core::store::{Compare, Op};
use orlop_core::{Kind, Labels, Timestamp};
use serde_json::{Value, json};

use crate::admission::Operation;
use crate::local::{Admitted, Answer, Call, body, delete, observe};
use crate::request::Body;
use crate::status::{Cause, Status};
use crate::tree::{at, items, object, text};

const EVICTION: Kind = Kind::namespaced("policy", "v1", "Eviction", "evictions");
const BUDGET: Kind = Kind::namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");
/// As many evictions may wait for a budget's controller to notice them.
const DISRUPTED_MAX: usize = 2000;

/// What an eviction does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The budget that the eviction is charged to, as it is afterwards: its place among those given.
    pub budget: Option<(usize, Value)>,
    /// The pod must be deleted exactly as it was seen: that it is not healthy is why it may go.
    pub exact: bool,
}

/// Whether a pod may be evicted under these budgets, all of its namespace.
///
/// # Errors
/// 429 where a budget does not allow it now, 403 or 500 where a budget is broken, in Kubernetes' words.
pub fn judge(pod: &Value, budgets: &[Value], now: Timestamp, dry_run: bool) -> Result<Verdict, Status> {
    let phase = text(pod, &["status", "phase"]);
    let deleted = at(pod, &["metadata", "deletionTimestamp"]).is_some_and(|t| !t.is_null());
    if matches!(phase, "Succeeded" | "Failed") || deleted {
        return Ok(Verdict::default());
    }
    if phase == "Pending" {
        return Ok(Verdict { budget: None, exact: true });
    }
    let labels: Labels = at(pod, &["metadata", "labels"])
        .and_then(|labels| serde_json::from_value(labels.clone()).ok())
        .unwrap_or_default();
    let matching: Vec<usize> = (0..budgets.len()).filter(|at| selects(&budgets[*at], &labels)).collect();
    let at = match matching[..] {
        [] => return Ok(Verdict::default()),
        [at] => at,
        _ => {
            return Err(Status::plain(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let budget = &budgets[at];
    let status = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    let ready =
        items(pod, &["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    if !ready {
        let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        let (current, desired) = (status("currentHealthy"), status("desiredHealthy"));
        if always || current >= desired && desired > 0 {
            return Ok(Verdict { budget: None, exact: true });
        }
    }
    let name = text(budget, &["metadata", "name"]);
    charge(budget, name, text(pod, &["metadata", "name"]), now, dry_run)
        .map(|budget| Verdict { budget: Some((at, budget)), exact: false })
}

fn selects(budget: &Value, labels: &Labels) -> bool {
    let selector = &budget["spec"]["selector"];
    if selector.is_null() {
        return false;
    }
    let selector: Option<Selector> =
        serde_json::from_value::<LabelSelector>(selector.clone()).ok().and_then(|s| s.to_selector().ok());
    selector.is_some_and(|s| s.matches(labels))
}

/// Takes one disruption from a budget.
fn charge(budget: &Value, name: &str, pod: &str, now: Timestamp, dry_run: bool) -> Result<Value, Status> {
    const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
    let cause = |message: String| Cause { reason: "DisruptionBudget".into(), message, field: String::new() };
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or_default();
    if number("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Status::too_many_requests(VIOLATES, 10, vec![cause(why)]));
    }
    let allowed = number("disruptionsAllowed");
    let forbidden = |why| Status::forbidden("policy", "poddisruptionbudget", name, why);
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let disrupted = status["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    if disrupted > DISRUPTED_MAX {
        return Err(forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let (desired, current) = (number("desiredHealthy"), number("currentHealthy"));
        let why = match current <= desired {
            true => {
                format!(
                    "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
                )
            }
            false => format!("The disruption budget {name} does not allow evicting pods currently"),
        };
        return Err(Status::too_many_requests(VIOLATES, 0, vec![cause(why)]));
    }
    let mut after = budget.clone();
    let status = object(&mut after, "status");
    status.insert("disruptionsAllowed".into(), (allowed - 1).into());
    if allowed == 1 {
        let condition = json!({"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods",
            "message": "", "observedGeneration": generation, "lastTransitionTime": now.to_string()});
        let mut conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        match conditions.iter_mut().find(|c| c["type"] == "DisruptionAllowed") {
            Some(known) if known["status"] == "False" => known["reason"] = "InsufficientPods".into(),
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
        status.insert("conditions".into(), conditions.into());
    }
    if !dry_run {
        let pods = status.entry("disruptedPods".to_owned()).or_insert(Value::Null);
        if !pods.is_object() {
            *pods = json!({});
        }
        pods[pod] = now.to_string().into();
    }
    Ok(after)
}

/// The condition that a pod gets as it is asked to go.
pub fn target(now: Timestamp) -> Value {
    json!({"type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now.to_string(), "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting"})
}

fn disrupted(pod: &mut Value, now: Timestamp) {
    let condition = target(now);
    let mut conditions = items(pod, &["status", "conditions"]).to_vec();
    match conditions.iter_mut().find(|c| c["type"] == "DisruptionTarget") {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    object(pod, "status").insert("conditions".into(), conditions.into());
}

/// Evicts a pod: its budget and the pod change together.
pub(crate) fn create(call: &mut Call<'_>, given: Option<&Body>) -> Result<Admitted, Status> {
    let expect = body::Expect { kind: "Eviction", group: "policy", version: "v1", custom: false };
    let mut eviction = body::object(given, expect, &call.served.scheme)?.value;
    let name = text(&eviction, &["metadata", "name"]);
    if !name.is_empty() && name != call.key.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    observe(call, Operation::Create, &EVICTION, &mut eviction, None)?;
    let asked = eviction.get("deleteOptions").filter(|o| !o.is_null());
    let asked = asked.map(|options| Body::Value(options.clone()));
    let (mut options, dry_run) = delete::options(&call.options.delete, asked.as_ref(), &call.served.scheme)?;
    let entry = call.existing()?;
    let mut pod = call.tree(&entry.object);
    let prefix = call.served.scheme.storage_range(&BUDGET, &call.key.namespace).unwrap_or_default();
    let entries = call.view.range(&prefix, "", usize::MAX);
    let budgets: Vec<Value> = entries.iter().map(|e| e.object.to_value()).collect();
    let verdict = judge(&pod, &budgets, call.now, call.options.dry_run || dry_run)?;
    if let Some((at, budget)) = verdict.budget {
        let resource = call.served.scheme.storage(&BUDGET).ok_or_else(Status::no_resource)?.clone();
        let body = crate::local::encode(call.served, &resource, &budget)?;
        let seen = &entries[at];
        call.txn.compares.push(Compare { key: seen.key.clone(), revision: seen.object.revision });
        call.txn.ops.push(Op::Put(seen.key.clone(), body));
    }
    if verdict.exact {
        options.resource_version = Some(entry.object.revision.to_string().into());
    }
    disrupted(&mut pod, call.now);
    let mut admitted = delete::delete_object(call, &entry, pod, &options)?;
    // What has begun before needs no second beginning.
    admitted.txn.compares.append(&mut call.txn.compares);
    admitted.txn.ops.append(&mut call.txn.ops);
    admitted.answer = Answer::Status(Status::success(201, None));
    admitted.code = 201;
    Ok(admitted)
}
