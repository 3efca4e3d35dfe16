//! LimitRanges: what containers take that say nothing, and between which bounds they and claims must stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::Object;
use orlop_core::kinds::{Container, LimitRange, PersistentVolumeClaim, Pod};
use orlop_core::rules::Quantity;
use orlop_core::rules::pod_resources::{Counting, Resources, limits, requests};
use serde::Deserialize;
use serde_json::Value;

use super::{Operation, Review};
use crate::status::Status;
use crate::tree::{object, text};

const NOTE: &str = "kubernetes.io/limit-ranger";

/// The ranges that hold for what is written; none where it is nothing that they concern.
fn ranges(review: &Review<'_>) -> Vec<Arc<LimitRange>> {
    let claims = review.is("", "persistentvolumeclaims") && review.operation != Operation::Delete;
    // A pod's resources change only through `resize`.
    let pods = review.creates("", "pods")
        || review.kind.plural == "pods" && review.kind.group.is_empty() && review.subresource == "resize";
    let going = review.old.is_some_and(|old| !old["metadata"]["deletionTimestamp"].is_null());
    if going || !claims && !pods {
        return Vec::new();
    }
    let all = review.all_in(&LimitRange::KIND, &review.key.namespace);
    all.iter().filter_map(|range| range.body.known().ok()).collect()
}

/// Gives containers what the ranges say for those that say nothing.
pub(super) fn default(review: &mut Review<'_>) -> Result<(), Status> {
    if review.kind.plural != "pods" {
        return Ok(());
    }
    for range in ranges(review) {
        let (mut requests, mut limits) = (Resources::new(), Resources::new());
        for item in range.spec.limits.iter().filter(|item| item.r#type == "Container") {
            requests.extend(item.default_request.clone());
            limits.extend(item.default.clone());
        }
        let mut notes = Vec::new();
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            let Some(Value::Array(containers)) = object(review.object, "spec").get_mut(list) else {
                continue;
            };
            for container in containers {
                let name = text(container, &["name"]).to_owned();
                let limited = fill(container, "limits", &limits);
                for (field, set) in [("request", fill(container, "requests", &requests)), ("limit", limited)]
                {
                    if !set.is_empty() {
                        notes.push(format!("{} {field} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
        if !notes.is_empty() {
            let meta = crate::tree::metadata(review.object);
            let annotations = meta.entry("annotations".to_owned()).or_insert(Value::Null);
            if !annotations.is_object() {
                *annotations = Value::Object(serde_json::Map::new());
            }
            annotations[NOTE] = format!("LimitRanger plugin set: {}", notes.join("; ")).into();
        }
    }
    Ok(())
}

/// Sets what is missing, and tells the names of it.
fn fill(container: &mut Value, field: &str, defaults: &Resources) -> Vec<String> {
    let resources = object(container, "resources");
    let known = |name: &str| resources.get(field).is_some_and(|list| list.get(name).is_some());
    let missing: Vec<_> = defaults.iter().filter(|(name, _)| !known(name)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let list = resources.entry(field.to_owned()).or_insert(Value::Null);
    if !list.is_object() {
        *list = Value::Object(serde_json::Map::new());
    }
    missing
        .into_iter()
        .map(|(name, amount)| {
            list[name.as_str()] = amount.to_string().into();
            name.to_string()
        })
        .collect()
}

/// Refuses what is out of bounds.
pub(super) fn judge(review: &mut Review<'_>) -> Result<(), Status> {
    for range in ranges(review) {
        let mut wrong = Vec::new();
        if review.kind.plural == "pods" {
            // Validation has seen to the types.
            let Ok(pod) = Pod::deserialize(&*review.object) else { return Ok(()) };
            check_pod(&range, &pod, &mut wrong);
        } else {
            let Ok(claim) = PersistentVolumeClaim::deserialize(&*review.object) else { return Ok(()) };
            for item in range.spec.limits.iter().filter(|item| item.r#type == "PersistentVolumeClaim") {
                let asked = &claim.spec.resources.requests;
                wrong.extend(each(&item.min, |n, bound| {
                    least(&item.r#type, n, bound, asked, &Resources::new())
                }));
                wrong.extend(each(&item.max, |n, bound| most_requested(&item.r#type, n, bound, asked)));
            }
        }
        wrong.dedup();
        match wrong.as_slice() {
            [] => {}
            [one] => return Err(review.forbidden(one)),
            all => return Err(review.forbidden(&format!("[{}]", all.join(", ")))),
        }
    }
    Ok(())
}

fn check_pod(range: &LimitRange, pod: &Pod, wrong: &mut Vec<String>) {
    for item in &range.spec.limits {
        let ty = item.r#type.as_str();
        let mut check = |requests: &Resources, limits: &Resources| {
            wrong.extend(each(&item.min, |n, bound| least(ty, n, bound, requests, limits)));
            wrong.extend(each(&item.max, |n, bound| most(ty, n, bound, requests, limits)));
            wrong.extend(each(&item.max_limit_request_ratio, |n, b| ratio(ty, n, b, requests, limits)));
        };
        match ty {
            "Container" => {
                let all = pod.spec.containers.iter().chain(&pod.spec.init_containers);
                all.for_each(|Container { resources, .. }| check(&resources.requests, &resources.limits));
            }
            "Pod" => check(&requests(pod, Counting::default()), &limits(pod, Counting::default())),
            _ => {}
        }
    }
}

fn each(
    bounds: &BTreeMap<orlop_core::Name, Quantity>,
    check: impl Fn(&str, &Quantity) -> Option<String>,
) -> Vec<String> {
    bounds.iter().filter_map(|(name, bound)| check(name, bound)).collect()
}

fn least(ty: &str, name: &str, bound: &Quantity, requests: &Resources, limits: &Resources) -> Option<String> {
    let lead = format!("minimum {name} usage per {ty} is {bound}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{lead}.  No request is specified")),
        (Some(request), _) if request < bound => Some(format!("{lead}, but request is {request}")),
        (_, Some(limit)) if limit < bound => Some(format!("{lead}, but limit is {limit}")),
        _ => None,
    }
}

fn most(ty: &str, name: &str, bound: &Quantity, requests: &Resources, limits: &Resources) -> Option<String> {
    let lead = format!("maximum {name} usage per {ty} is {bound}");
    match (limits.get(name), requests.get(name)) {
        (None, _) => Some(format!("{lead}.  No limit is specified")),
        (Some(limit), _) if limit > bound => Some(format!("{lead}, but limit is {limit}")),
        (_, Some(request)) if request > bound => Some(format!("{lead}, but request is {request}")),
        _ => None,
    }
}

fn most_requested(ty: &str, name: &str, bound: &Quantity, requests: &Resources) -> Option<String> {
    let lead = format!("maximum {name} usage per {ty} is {bound}");
    match requests.get(name) {
        None => Some(format!("{lead}.  No request is specified")),
        Some(request) if request > bound => Some(format!("{lead}, but request is {request}")),
        Some(_) => None,
    }
}

fn ratio(ty: &str, name: &str, bound: &Quantity, requests: &Resources, limits: &Resources) -> Option<String> {
    let lead = format!("{name} max limit to request ratio per {ty} is {bound}");
    let missing = |what: &str| Some(format!("{lead}, but no {what} is specified or {what} is 0"));
    let Some(request) = requests.get(name).filter(|r| !r.is_zero()) else { return missing("request") };
    let Some(limit) = limits.get(name).filter(|l| !l.is_zero()) else { return missing("limit") };
    let number =
        |q: &Quantity| q.to_decimal_string().and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::MAX);
    let given = number(limit) / number(request);
    (given > number(bound)).then(|| format!("{lead}, but provided ratio is {given:.6}"))
}
