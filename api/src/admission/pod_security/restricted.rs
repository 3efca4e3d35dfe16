//! The profile "restricted": hardened as far as is known to be good practice. It has the baseline's checks besides.

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::{bad_seccomp, proc_mount};
use super::spec::{Setters, Spec, plural, quoted, security, told, violation};
use super::{Check, Violation};
use crate::tree::{items, text};

/// Every check in its forms over time.
pub(super) const ALL: &[&[Check]] = &[
    &[(8, escalation), (25, escalation_but_windows)],
    &[(22, capabilities), (25, capabilities_but_windows)],
    &[(35, proc_mount)],
    &[(0, volumes)],
    &[(0, non_root), (35, non_root_unless_own_users)],
    &[(23, root_user), (35, root_user_unless_own_users)],
    &[(19, seccomp), (25, seccomp_but_windows)],
];

fn escalation(spec: &Spec<'_>) -> Option<Violation> {
    let containers =
        spec.containers_where(|c| security(c, &["allowPrivilegeEscalation"]) != Some(&Value::Bool(false)));
    if containers.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", told(&containers));
    Some(violation("allowPrivilegeEscalation != false", detail))
}

fn escalation_but_windows(spec: &Spec<'_>) -> Option<Violation> {
    if spec.is_windows() { None } else { escalation(spec) }
}

fn capabilities(spec: &Spec<'_>) -> Option<Violation> {
    let list = |container, which| -> Vec<&str> {
        items(container, &["securityContext", "capabilities", which])
            .iter()
            .filter_map(Value::as_str)
            .collect()
    };
    let undropped = spec.containers_where(|container| !list(container, "drop").contains(&"ALL"));
    let mut added = BTreeSet::new();
    let adding = spec.containers_where(|container| {
        let wrong: Vec<&str> =
            list(container, "add").into_iter().filter(|c| *c != "NET_BIND_SERVICE").collect();
        added.extend(wrong.iter().copied());
        !wrong.is_empty()
    });
    let mut details = Vec::new();
    if !undropped.is_empty() {
        let who = told(&undropped);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            told(&adding),
            quoted(added)
        ));
    }
    (!details.is_empty()).then(|| violation("unrestricted capabilities", details.join("; ")))
}

fn capabilities_but_windows(spec: &Spec<'_>) -> Option<Violation> {
    if spec.is_windows() { None } else { capabilities(spec) }
}

fn volumes(spec: &Spec<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 8] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    for volume in items(spec.spec, &["volumes"]) {
        let mut sources =
            volume.as_object().into_iter().flatten().filter(|(k, v)| *k != "name" && !v.is_null());
        let source = sources.next().map_or("unknown", |(source, _)| source.as_str());
        if !ALLOWED.contains(&source) {
            names.push(text(volume, &["name"]));
            types.insert(source);
        }
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(names.iter().copied()),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", types.len()),
        quoted(types)
    );
    Some(violation("restricted volume types", detail))
}

/// Those who do not say what they must, unless the pod says it for them.
fn silent<'a>(spec: &Spec<'a>, path: &[&str], said: bool) -> Vec<&'a str> {
    if said { Vec::new() } else { spec.containers_where(|c| security(c, path).is_none()) }
}

fn non_root(spec: &Spec<'_>) -> Option<Violation> {
    const PATH: &[&str] = &["runAsNonRoot"];
    let found = Setters::find(spec, PATH, |set| (*set == Value::Bool(false)).then(String::new));
    if !found.is_empty() {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", found.told());
        return Some(violation("runAsNonRoot != true", detail));
    }
    let silent = silent(spec, PATH, spec.security(PATH) == Some(&Value::Bool(true)));
    if silent.is_empty() {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", told(&silent));
    Some(violation("runAsNonRoot != true", detail))
}

fn non_root_unless_own_users(spec: &Spec<'_>) -> Option<Violation> {
    if spec.has_own_users() { None } else { non_root(spec) }
}

fn root_user(spec: &Spec<'_>) -> Option<Violation> {
    let found = Setters::find(spec, &["runAsUser"], |user| (user.as_i64() == Some(0)).then(String::new));
    (!found.is_empty())
        .then(|| violation("runAsUser=0", format!("{} must not set runAsUser=0", found.told())))
}

fn root_user_unless_own_users(spec: &Spec<'_>) -> Option<Violation> {
    if spec.has_own_users() { None } else { root_user(spec) }
}

fn seccomp(spec: &Spec<'_>) -> Option<Violation> {
    if let Some(bad) = bad_seccomp(spec) {
        return Some(bad);
    }
    let silent = silent(spec, &["seccompProfile"], spec.security(&["seccompProfile"]).is_some());
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        told(&silent)
    );
    Some(violation("seccompProfile", detail))
}

fn seccomp_but_windows(spec: &Spec<'_>) -> Option<Violation> {
    if spec.is_windows() { None } else { seccomp(spec) }
}
