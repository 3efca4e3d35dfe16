//! What controllers may say in the status of an object.

use std::collections::BTreeSet;

use orlop_core::rules::names::dns_subdomain;
use serde_json::Value;

use super::batch::indexes;
use super::common::{self, not_negative};
use super::error::Errors;
use super::path::{Path, Read};

const AT: Path<'static> = Path::root("status");

/// What is wrong with a change of the status of a kind.
pub(super) fn change(e: &mut Errors, group: &str, kind: &str, old: &Value, new: &Value) {
    let status = &new["status"];
    match (group, kind) {
        ("", "Pod") => pod(e, old, new),
        ("", "Service") => load_balancer(e, status, new["spec"].text("type")),
        ("networking.k8s.io", "Ingress") => ingress(e, status),
        ("", "Namespace") => namespace(e, new),
        ("", "PersistentVolumeClaim") => {
            for field in ["capacity", "allocatedResources"] {
                for (name, amount) in status.entries(field) {
                    let Some(quantity) = common::quantity(amount).filter(|q| q.signum() < 0) else {
                        continue;
                    };
                    let text = "must be a valid resource quantity";
                    e.invalid(AT.field(field).key(name), &quantity.value().into(), text);
                }
            }
        }
        ("", "Node") => super::config::node_change(e, old, new),
        ("resource.k8s.io", "ResourceClaim") => super::devices::claim_status(e, old, new),
        ("flowcontrol.apiserver.k8s.io", _) => named_conditions(e, status),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => conditions(e, status),
        ("", "ResourceQuota") => {
            for field in ["hard", "used"] {
                let at = AT.field(field);
                for (name, amount) in status.entries(field) {
                    super::resources::quota_resource(e, at.key(name), name);
                    super::container::quantity(e, at.key(name), name, amount);
                }
            }
        }
        ("apps", "Deployment") => {
            counts(
                e,
                status,
                &[
                    "observedGeneration",
                    "replicas",
                    "updatedReplicas",
                    "readyReplicas",
                    "availableReplicas",
                    "unavailableReplicas",
                    "terminatingReplicas",
                    "collisionCount",
                ],
            );
            within(e, status, &["updatedReplicas", "readyReplicas", "availableReplicas"]);
            collisions(e, &old["status"], status);
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            counts(
                e,
                status,
                &[
                    "replicas",
                    "fullyLabeledReplicas",
                    "readyReplicas",
                    "availableReplicas",
                    "terminatingReplicas",
                    "observedGeneration",
                ],
            );
            within(e, status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"]);
        }
        ("apps", "StatefulSet") => {
            counts(
                e,
                status,
                &[
                    "replicas",
                    "readyReplicas",
                    "currentReplicas",
                    "updatedReplicas",
                    "availableReplicas",
                    "observedGeneration",
                    "collisionCount",
                ],
            );
            within(e, status, &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"]);
            collisions(e, &old["status"], status);
        }
        ("apps", "DaemonSet") => {
            counts(
                e,
                status,
                &[
                    "currentNumberScheduled",
                    "numberMisscheduled",
                    "desiredNumberScheduled",
                    "numberReady",
                    "observedGeneration",
                    "updatedNumberScheduled",
                    "numberAvailable",
                    "numberUnavailable",
                    "collisionCount",
                ],
            );
            collisions(e, &old["status"], status);
        }
        ("batch", "Job") => job(e, old, new),
        ("policy", "PodDisruptionBudget") => {
            conditions(e, status);
            counts(e, status, &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"]);
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            counts(e, status, &["currentReplicas", "desiredReplicas"]);
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            super::certificates::conditions(e, new);
            super::certificates::certificate(e, new);
            super::certificates::decided(e, old, new);
        }
        _ => {}
    }
}

fn counts(e: &mut Errors, status: &Value, fields: &[&str]) {
    for field in fields {
        not_negative(e, &AT, status, field);
    }
}

/// Parts are no more than the whole.
fn within(e: &mut Errors, status: &Value, fields: &[&str]) {
    for field in fields {
        let count = status.int(field);
        if count > status.int("replicas") {
            e.invalid(AT.field(field), &count.into(), "cannot be greater than status.replicas");
        }
    }
    let available = status.int("availableReplicas");
    if available > status.int("readyReplicas") {
        e.invalid(AT.field("availableReplicas"), &available.into(), "cannot be greater than readyReplicas");
    }
}

fn collisions(e: &mut Errors, old: &Value, new: &Value) {
    let Some(before) = old["collisionCount"].as_i64() else { return };
    if new.int("collisionCount") < before {
        let text = "cannot be decremented";
        e.invalid(AT.field("collisionCount"), &new.int("collisionCount").into(), text);
    }
}

/// Conditions in the form that kinds share.
fn conditions(e: &mut Errors, status: &Value) {
    let list = AT.field("conditions");
    let mut types: Vec<&str> = Vec::new();
    for (i, condition) in status.list("conditions").iter().enumerate() {
        let at = list.index(i);
        let kind = condition.text("type");
        if kind.is_empty() {
            e.required(at.field("type"), "must be set");
        } else {
            e.rule(at.field("type"), kind, orlop_core::rules::names::label_key(kind));
        }
        if types.contains(&kind) {
            e.duplicate_text(at.field("type"), kind);
        }
        types.push(kind);
        let known = ["False", "True", "Unknown"];
        if !known.contains(&condition.text("status")) {
            e.unsupported(at.field("status"), &condition.text("status").into(), &known);
        }
        not_negative(e, &at, condition, "observedGeneration");
        if !condition.has("lastTransitionTime") {
            e.required(at.field("lastTransitionTime"), "must be set");
        }
        if condition.text("reason").is_empty() {
            e.required(at.field("reason"), "must be set");
        }
    }
}

/// Conditions of which no more is asked than that each has a type of its own.
fn named_conditions(e: &mut Errors, status: &Value) {
    let list = AT.field("conditions");
    let mut kinds = BTreeSet::new();
    for (i, condition) in status.list("conditions").iter().enumerate() {
        let (at, kind) = (list.index(i), condition.text("type"));
        if !kinds.insert(kind) {
            e.duplicate_text(at.field("type"), kind);
        }
        if kind.is_empty() {
            e.required(at.field("type"), "must not be empty");
        }
    }
}

fn namespace(e: &mut Errors, new: &Value) {
    let phase = &new["status"]["phase"];
    let going = new["metadata"].has("deletionTimestamp");
    let (wanted, when) = if going { ("Terminating", "not empty") } else { ("Active", "empty") };
    if phase != wanted {
        let why = format!("may only be '{wanted}' if `deletionTimestamp` is {when}");
        e.invalid_text(AT.field("Phase"), phase.as_str().unwrap_or_default(), &why);
    }
}

fn host(e: &mut Errors, at: &Path<'_>, ingress: &Value) {
    let name = ingress.text("hostname");
    if name.is_empty() {
        return;
    }
    e.rule(at.field("hostname"), name, dns_subdomain(name));
    if name.parse::<std::net::IpAddr>().is_ok() {
        e.invalid_text(at.field("hostname"), name, "must be a DNS name, not an IP address");
    }
}

fn ingress(e: &mut Errors, status: &Value) {
    let at = AT.field("loadBalancer");
    let list = at.field("ingress");
    for (i, ingress) in status["loadBalancer"].list("ingress").iter().enumerate() {
        let at = list.index(i);
        if !ingress.text("ip").is_empty() {
            common::ip(e, at.field("ip"), ingress.text("ip"));
        }
        host(e, &at, ingress);
    }
}

fn load_balancer(e: &mut Errors, status: &Value, kind: &str) {
    let at = AT.field("loadBalancer");
    let list = at.field("ingress");
    let all = status["loadBalancer"].list("ingress");
    if kind != "LoadBalancer" && !all.is_empty() {
        return e.forbidden(list, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (i, ingress) in all.iter().enumerate() {
        let at = list.index(i);
        let ip = ingress.text("ip");
        if !ip.is_empty() {
            common::ip(e, at.field("ip"), ip);
        }
        match (ip.is_empty(), ingress["ipMode"].as_str()) {
            (true, Some(_)) => e.forbidden(at.field("ipMode"), "may not be specified when `ip` is not set"),
            (false, None) => e.required(at.field("ipMode"), "must be specified when `ip` is set"),
            (false, Some(mode)) if !["Proxy", "VIP"].contains(&mode) => {
                e.unsupported(at.field("ipMode"), &mode.into(), &["Proxy", "VIP"]);
            }
            _ => {}
        }
        host(e, &at, ingress);
    }
}

fn pod(e: &mut Errors, old: &Value, new: &Value) {
    let status = &new["status"];
    let nominated = status.text("nominatedNodeName");
    if nominated != old["status"].text("nominatedNodeName") && !nominated.is_empty() {
        e.rule(AT.field("nominatedNodeName"), nominated, dns_subdomain(nominated));
    }
    let class = |object: &Value| object["status"]["qosClass"].clone();
    if class(old) != class(new) && !class(old).is_null() {
        e.invalid(AT.field("qosClass"), &class(new), common::IMMUTABLE);
    }
    transitions(e, old, new);
    let list = AT.field("resourceClaimStatuses");
    let claims = new["spec"].list("resourceClaims");
    let mut names: Vec<&str> = Vec::new();
    for (i, claim) in status.list("resourceClaimStatuses").iter().enumerate() {
        let at = list.index(i);
        let name = claim.text("name");
        if names.contains(&name) {
            e.duplicate_text(at.field("name"), name);
        }
        names.push(name);
        if !claims.iter().any(|known| known.text("name") == name) {
            let text = "must match the name of an entry in `spec.resourceClaims`";
            e.invalid_text(at.field("name"), name, text);
        }
        if let Some(text) = claim["resourceClaimName"].as_str() {
            e.rule(at.field("resourceClaimName"), text, dns_subdomain(text));
        }
    }
    addresses(e, status, "podIPs", "podIP");
    addresses(e, status, "hostIPs", "hostIP");
}

fn addresses(e: &mut Errors, status: &Value, many: &str, one: &str) {
    let list = AT.field(many);
    let all = status.list(many);
    if let Some(first) = all.first()
        && one == "hostIP"
        && first.text("ip") != status.text(one)
    {
        let text = format!("must be equal to `{one}`");
        e.invalid_text(list.index(0).field("ip"), first.text("ip"), &text);
    }
    for (i, address) in all.iter().enumerate() {
        if one == "podIP" {
            common::lenient(e, list.index(i), address.text("ip"));
        } else {
            common::lenient(e, list.index(i).field("ip"), address.text("ip"));
        }
    }
    let six: BTreeSet<bool> = all.iter().map(|address| address.text("ip").contains(':')).collect();
    if all.len() > 2 || all.len() == 2 && six.len() < 2 {
        e.invalid(list, &status[many], "may specify no more than one IP for each IP family");
    }
}

/// Where nothing is restarted, what has ended stays ended.
fn transitions(e: &mut Errors, old: &Value, new: &Value) {
    let policy = new["spec"].text("restartPolicy");
    if policy == "Always" {
        return;
    }
    for (field, containers) in
        [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")]
    {
        let list = AT.field(field);
        for (i, status) in new["status"].list(field).iter().enumerate() {
            let name = status.text("name");
            let before = old["status"].list(field).iter().find(|s| s.text("name") == name);
            let Some(ended) = before.map(|s| &s["state"]["terminated"]).filter(|t| !t.is_null()) else {
                continue;
            };
            // A failed container of a pod that restarts on failure may come back.
            if policy == "OnFailure" && ended.int("exitCode") != 0 {
                continue;
            }
            let restarts =
                new["spec"].list(containers).iter().any(|c| c.text("name") == name && c.has("restartPolicy"));
            if !restarts && status["state"]["terminated"].is_null() {
                let text = "may not be transitioned to non-terminated state";
                e.forbidden(list.index(i).field("state"), text);
            }
        }
    }
}

fn job(e: &mut Errors, old: &Value, new: &Value) {
    let (status, spec, before) = (&new["status"], &new["spec"], &old["status"]);
    let is = |status: &Value, kind: &str| {
        status.list("conditions").iter().any(|c| c.text("type") == kind && c.text("status") == "True")
    };
    counts(e, status, &["active", "succeeded", "failed", "ready", "terminating"]);
    let uncounted = AT.field("uncountedTerminatedPods");
    let mut seen: Vec<&str> = Vec::new();
    for field in ["succeeded", "failed"] {
        let list = uncounted.field(field);
        let pods = status["uncountedTerminatedPods"].list(field);
        for (i, uid) in pods.iter().filter_map(Value::as_str).enumerate() {
            if uid.is_empty() {
                e.invalid_text(list.index(i), uid, "must not be empty");
            } else if seen.contains(&uid) {
                e.duplicate_text(list.index(i), uid);
            } else {
                seen.push(uid);
            }
        }
    }
    let (complete, failed) = (is(status, "Complete"), is(status, "Failed"));
    let finished = complete || failed;
    let conditions = AT.field("conditions");
    if complete && failed {
        e.invalid_unshown(conditions, "cannot set Complete=True and Failed=true conditions");
    }
    if complete && is(status, "FailureTarget") {
        e.invalid_unshown(conditions, "cannot set Complete=True and FailureTarget=true conditions");
    }
    let (started, completed) = (status["startTime"].as_str(), status["completionTime"].as_str());
    if let Some(time) = completed.filter(|_| !complete) {
        let text = "cannot set completionTime when there is no Complete=True condition";
        e.invalid_text(AT.field("completionTime"), time, text);
    }
    if complete && completed.is_none() {
        e.required(AT.field("completionTime"), "completionTime is required for Complete jobs");
    }
    if let (Some(start), Some(end)) = (started, completed)
        && end < start
    {
        e.invalid_text(AT.field("completionTime"), end, "must be equal to or after `startTime`");
    }
    if failed && !is(status, "FailureTarget") {
        let text = "cannot set Failed=True condition without the FailureTarget=true condition";
        e.invalid_unshown(conditions, text);
    }
    if complete && !is(status, "SuccessCriteriaMet") {
        let text = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        e.invalid_unshown(conditions, text);
    }
    if finished {
        for field in ["active", "terminating"] {
            if status.int(field) > 0 {
                let text = format!("{field}>0 is invalid for finished job");
                e.invalid(AT.field(field), &status[field], &text);
            }
        }
        if started.is_none() {
            e.required(AT.field("startTime"), "startTime is required for finished job");
        }
        if !seen.is_empty() {
            let text = "uncountedTerminatedPods needs to be empty for finished job";
            e.invalid(uncounted, &status["uncountedTerminatedPods"], text);
        }
    }
    let indexed = spec.text("completionMode") == "Indexed";
    for field in ["completedIndexes", "failedIndexes"] {
        let text = status.text(field);
        if let (Some(completions), false) = (spec["completions"].as_i64(), text.is_empty())
            && let Err(why) = indexes(text, completions)
        {
            e.invalid_text(AT.field(field), text, &format!("error parsing {field}: {why}"));
        }
    }
    let text = status.text("completedIndexes");
    if !text.is_empty() && !indexed {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        e.invalid_text(AT.field("completedIndexes"), text, why);
    }
    if status.has("failedIndexes") && !spec.has("backoffLimitPerIndex") {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        e.invalid_text(AT.field("failedIndexes"), status.text("failedIndexes"), why);
    }
    if status.has("ready") && status.int("ready") > status.int("active") {
        let why = "cannot set more ready pods than active";
        e.invalid(AT.field("ready"), &status["ready"], why);
    }
    for kind in ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"] {
        if is(before, kind) && !is(status, kind) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            e.invalid_unshown(conditions, &why);
        }
    }
    if status.int("failed") < before.int("failed") {
        e.invalid(AT.field("failed"), &status.int("failed").into(), "cannot decrease the failed counter");
    }
    if !indexed && status.int("succeeded") < before.int("succeeded") {
        let why = "cannot decrease the succeeded counter";
        e.invalid(AT.field("succeeded"), &status.int("succeeded").into(), why);
    }
    if let Some(then) = before["startTime"].as_str()
        && !spec.is_true("suspend")
    {
        match started {
            None => e.required(AT.field("startTime"), "startTime cannot be removed for unsuspended job"),
            Some(now) if now != then => {
                e.required(AT.field("startTime"), "startTime cannot be updated for unsuspended job");
            }
            Some(_) => {}
        }
    }
}

/// The finalizers of a namespace.
pub(super) fn finalizers(e: &mut Errors, object: &Value) {
    let spec = Path::root("spec");
    let list = spec.field("finalizers");
    for (i, name) in object["spec"].list("finalizers").iter().filter_map(Value::as_str).enumerate() {
        super::meta::finalizer(e, list.index(i), name);
    }
}
