//! PodSecurity: what pods may ask of the kernel, by the namespace's labels (Kubernetes' documentation, "Pod Security
//! Standards").

mod baseline;
mod policy;
mod restricted;
mod spec;

use std::collections::BTreeMap;

use orlop_core::{Key, Kind};
use serde_json::Value;

use super::{Operation, Review};
use crate::status::Status;
use crate::tree::{at, items, text};

use policy::{Level, Policy, Profile};
use spec::Spec;

const NAMESPACE: Kind = Kind::cluster("", "v1", "Namespace", "namespaces");
const POD: Kind = Kind::namespaced("", "v1", "Pod", "pods");
/// As many pods are looked at when a namespace's labels change.
const PODS_MAX: usize = 3000;

/// What a profile forbids about a pod: in a few words, and what exactly.
pub(super) struct Violation {
    reason: String,
    detail: String,
}

/// One check of a profile: from which minor version on, and what it finds.
type Check = (u32, fn(&Spec<'_>) -> Option<Violation>);

/// Everything that a profile forbids about a pod, in Kubernetes' order: the baseline first, each by the names of the
/// checks.
fn violations(profile: Profile, spec: &Spec<'_>) -> Vec<Violation> {
    let version = profile.version.unwrap_or(u32::MAX);
    // Of a check that has changed over time, the newest form that the version knows of.
    let current = |forms: &&[Check]| {
        let check = forms.iter().rev().find(|(since, _)| *since <= version);
        check.and_then(|(_, check)| check(spec))
    };
    match profile.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline::ALL.iter().map(|(forms, _)| forms).filter_map(current).collect(),
        Level::Restricted => {
            let kept =
                baseline::ALL.iter().filter(|(_, stricter)| stricter.is_none_or(|since| version < since));
            kept.map(|(forms, _)| forms).chain(restricted::ALL).filter_map(current).collect()
        }
    }
}

fn in_full(violations: &[Violation]) -> String {
    let each = violations.iter().map(|v| match v.detail.as_str() {
        "" => v.reason.clone(),
        detail => format!("{} ({detail})", v.reason),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn in_short(violations: &[Violation]) -> String {
    violations.iter().map(|v| v.reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// Where a kind's objects hold the template of their pods.
fn template_of(kind: &Kind) -> Option<&'static [&'static str]> {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "podtemplates") => Some(&["template"]),
        ("", "replicationcontrollers")
        | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets")
        | ("batch", "jobs") => Some(&["spec", "template"]),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// Refuses pods that the namespace's labels forbid, and warns of those that they frown upon.
pub(super) fn judge(review: &mut Review<'_>) -> Result<(), Status> {
    if review.operation == Operation::Delete {
        return Ok(());
    }
    if review.kind.same_resource(&NAMESPACE) {
        return if review.subresource.is_empty() { namespace(review) } else { Ok(()) };
    }
    let pod = review.kind.same_resource(&POD);
    let template = template_of(review.kind);
    let (path, enforced) = match (pod, template) {
        (true, _) if matches!(review.subresource, "" | "ephemeralcontainers" | "resize") => (&[][..], true),
        (false, Some(path)) if review.subresource.is_empty() => (path, false),
        _ => return Ok(()),
    };
    let Some(namespace) = review.get(&NAMESPACE, &Key::cluster(review.key.namespace.clone())) else {
        return Ok(());
    };
    let (policy, _) = Policy::of(&namespace.to_value());
    if policy == Policy::default() {
        return Ok(());
    }
    let Some(pod) = at(review.object, path) else { return Ok(()) };
    if enforced && review.old.is_some_and(|old| !is_significant(pod, old)) {
        return Ok(());
    }
    let spec = Spec::of(pod);
    if enforced {
        let found = violations(policy.enforce, &spec);
        if !found.is_empty() {
            let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, in_full(&found));
            return Err(review.forbidden(&why));
        }
    }
    let told = |profile: Profile| {
        let found = violations(profile, &spec);
        (!found.is_empty()).then(|| format!("would violate PodSecurity \"{profile}\": {}", in_full(&found)))
    };
    review.warnings.extend(told(policy.warn));
    Ok(())
}

/// Whether an update of a pod changes what the checks look at; all else of a pod cannot change.
fn is_significant(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value, list: &str| -> Vec<(String, String)> {
        let of = |c: &Value| (text(c, &["name"]).to_owned(), text(c, &["image"]).to_owned());
        items(pod, &["spec", list]).iter().map(of).collect()
    };
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .any(|list| images(new, list) != images(old, list))
}

/// Labels must be readable; who makes them stricter is told of the pods that are there already.
fn namespace(review: &mut Review<'_>) -> Result<(), Status> {
    let (new, causes) = Policy::of(review.object);
    let invalid = |causes| {
        let kind = review.kind;
        Err(Status::invalid(&kind.group, &kind.kind, &review.key.name, causes))
    };
    let Some(old) = review.old else {
        return if causes.is_empty() { Ok(()) } else { invalid(causes) };
    };
    let (old, known) = Policy::of(old);
    if !causes.is_empty() && causes != known {
        return invalid(causes);
    }
    let laxer = new.enforce.version == old.enforce.version && new.enforce.level <= old.enforce.level;
    if new.enforce.level == Level::Privileged || laxer {
        return Ok(());
    }
    let found = existing(review, new.enforce);
    review.warnings.extend(found);
    Ok(())
}

/// What a stricter profile forbids about the pods that are there, equal complaints as one.
fn existing(review: &Review<'_>, profile: Profile) -> Vec<String> {
    let pods = review.all_in(&POD, &review.key.name);
    let mut out = Vec::new();
    if pods.len() > PODS_MAX {
        out.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    // By complaint: the first pod by name, and how many there are.
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let pod = pod.to_value();
        let violations = violations(profile, &Spec::of(&pod));
        if !violations.is_empty() {
            let name = text(&pod, &["metadata", "name"]).to_owned();
            found.entry(in_short(&violations)).or_insert((name, 0)).1 += 1;
        }
    }
    if found.is_empty() {
        return out;
    }
    let mut each: Vec<String> = found
        .into_iter()
        .map(|(complaint, (name, count))| match count {
            1 => format!("{name}: {complaint}"),
            2 => format!("{name} (and 1 other pod): {complaint}"),
            _ => format!("{name} (and {} other pods): {complaint}", count - 1),
        })
        .collect();
    each.sort();
    out.push(format!(
        "existing pods in namespace \"{}\" violate the new PodSecurity enforce level \"{profile}\"",
        review.key.name
    ));
    out.extend(each);
    out
}
