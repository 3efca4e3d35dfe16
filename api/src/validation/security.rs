//! Security contexts of pods and of containers.

use orlop_core::rules::names::dns_subdomain;
use serde_json::Value;

use super::common::one_of_if_set;
use super::error::Errors;
use super::path::{Path, Read};
use super::pod::Of;
use super::volume;

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";

/// The security context of a pod.
pub(super) fn of_pod(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    let context = &spec["securityContext"];
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(e, at.field(field), &context[field]);
    }
    let groups = at.field("supplementalGroups");
    for (i, group) in context.list("supplementalGroups").iter().enumerate() {
        id(e, groups.index(i), group);
    }
    if spec.is_true("shareProcessNamespace") && spec.is_true("hostPID") {
        let text = "ShareProcessNamespace and HostPID cannot both be enabled";
        e.invalid(at.field("shareProcessNamespace"), &Value::Bool(true), text);
    }
    let list = at.field("sysctls");
    let mut names: Vec<&str> = Vec::new();
    for (i, sysctl) in context.list("sysctls").iter().enumerate() {
        let at = list.index(i);
        let name = sysctl.text("name");
        if name.is_empty() {
            e.required(at.field("name"), "");
        } else if !is_sysctl(name) {
            let text = "must have at most 253 characters and match regex \
                        ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            e.invalid_text(at.field("name"), name, text);
        } else if names.contains(&name) {
            e.duplicate_text(at.field("name"), name);
        }
        let dotted = name.replace('/', ".");
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
        for (field, there) in [
            ("hostNetwork", dotted.starts_with("net.")),
            ("hostIPC", ipc.iter().any(|prefix| dotted.starts_with(prefix))),
        ] {
            if there && spec.is_true(field) {
                let text = format!("may not be specified when '{field}' is true");
                e.invalid_text(at.field("name"), name, &text);
            }
        }
        names.push(name);
    }
    one_of_if_set(e, at, context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    profile(e, &at.field("seccompProfile"), &context["seccompProfile"], "seccomp");
    windows(e, &at.field("windowsOptions"), &context["windowsOptions"]);
    profile(e, &at.field("appArmorProfile"), &context["appArmorProfile"], "AppArmor");
    one_of_if_set(e, at, context, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    one_of_if_set(e, at, context, "seLinuxChangePolicy", &["Recursive"]);
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let part = |part: &str| {
        edge(part.bytes().next())
            && edge(part.bytes().next_back())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

fn id(e: &mut Errors, at: Path<'_>, value: &Value) {
    if value.as_i64().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
        e.invalid(at, value, ID_RANGE);
    }
}

/// The security context of a container.
pub(super) fn of_container(e: &mut Errors, at: &Path<'_>, context: &Value, of: Of<'_>) {
    if context.is_null() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        id(e, at.field(field), &context[field]);
    }
    one_of_if_set(e, at, context, "procMount", &["Default", "Unmasked"]);
    if context.text("procMount") == "Unmasked" && of.spec["hostUsers"] != false {
        let text = "`hostUsers` must be false to use `Unmasked`";
        e.invalid_text(at.field("procMount"), "Unmasked", text);
    }
    profile(e, &at.field("seccompProfile"), &context["seccompProfile"], "seccomp");
    if context["allowPrivilegeEscalation"] == false {
        if context.is_true("privileged") {
            let text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            e.invalid(*at, context, text);
        }
        for _ in context["capabilities"].list("add").iter().filter(|c| *c == "CAP_SYS_ADMIN") {
            let text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            e.invalid(*at, context, text);
        }
    }
    windows(e, &at.field("windowsOptions"), &context["windowsOptions"]);
    profile(e, &at.field("appArmorProfile"), &context["appArmorProfile"], "AppArmor");
}

/// Options of containers on Windows.
fn windows(e: &mut Errors, at: &Path<'_>, options: &Value) {
    let name = at.field("gmsaCredentialSpecName");
    if let Some(text) = options["gmsaCredentialSpecName"].as_str() {
        e.rule(name, text, dns_subdomain(text));
    }
    if let Some(text) = options["gmsaCredentialSpec"].as_str() {
        const MAX: usize = 64 * 1024;
        if text.is_empty() {
            e.invalid_text(
                at.field("gmsaCredentialSpec"),
                "",
                "gmsaCredentialSpec cannot be an empty string",
            );
        } else if text.len() > MAX {
            let why = format!("gmsaCredentialSpec size must be under {} KiB", MAX / 1024);
            e.invalid_text(at.field("gmsaCredentialSpec"), text, &why);
        }
    }
    let Some(user) = options["runAsUserName"].as_str() else { return };
    let at = at.field("runAsUserName");
    if user.is_empty() {
        return e.invalid_text(at, user, "runAsUserName cannot be an empty string");
    }
    if user.chars().any(char::is_control) {
        e.invalid_text(at, user, "runAsUserName cannot contain control characters");
    }
    let parts: Vec<&str> = user.split('\\').collect();
    let (domain, name) = match parts.as_slice() {
        [name] => (None, *name),
        [domain, name] => (Some(*domain), *name),
        _ => {
            return e.invalid_text(at, user, "runAsUserName cannot contain more than one backslash");
        }
    };
    if domain.is_some_and(|domain| domain.len() >= 256) {
        e.invalid_text(at, user, "runAsUserName's Domain length must be under 256 characters");
    }
    if name.is_empty() {
        e.invalid_text(at, user, "runAsUserName's User cannot be empty");
    } else if name.len() > 104 {
        e.invalid_text(at, user, "runAsUserName's User length must not be longer than 104 characters");
    }
    if name.bytes().all(|b| b == b' ' || b == b'.') && !name.is_empty() {
        e.invalid_text(at, user, "runAsUserName's User cannot contain only periods or spaces");
    }
    if name.contains(['"', '/', '\\', '[', ']', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@']) {
        let text = "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        e.invalid_text(at, user, text);
    }
}

/// A seccomp or AppArmor profile.
fn profile(e: &mut Errors, at: &Path<'_>, profile: &Value, what: &str) {
    if profile.is_null() {
        return;
    }
    let kind = profile.text("type");
    let local = kind == "Localhost";
    let text = profile["localhostProfile"].as_str();
    let field = at.field("localhostProfile");
    if what == "seccomp" {
        match kind {
            "" => return e.required(at.field("type"), "type is required when seccompProfile is set"),
            "Localhost" | "RuntimeDefault" | "Unconfined" => {}
            _ => {
                let known = ["Localhost", "RuntimeDefault", "Unconfined"];
                e.unsupported(at.field("type"), &profile["type"], &known);
            }
        }
        if local {
            match text {
                None => e.required(field, "must be set when seccomp type is Localhost"),
                Some(path) => volume::descending(e, field, path),
            }
        } else if text.is_some() {
            e.invalid(field, profile, "can only be set when seccomp type is Localhost");
        }
        return;
    }
    match kind {
        "Localhost" => match text {
            None => e.required(field, "must be set when AppArmor type is Localhost"),
            Some(path) => {
                let trimmed = path.trim();
                if trimmed.is_empty() {
                    e.required(field, "must be set when AppArmor type is Localhost");
                } else if trimmed != path {
                    e.invalid_text(field, path, "must not be padded with whitespace");
                }
                if path.len() > 4095 {
                    e.too_long(field, 4095);
                }
            }
        },
        "RuntimeDefault" | "Unconfined" => {
            if text.is_some() {
                e.invalid(
                    field,
                    &profile["localhostProfile"],
                    "can only be set when AppArmor type is Localhost",
                );
            }
        }
        "" => e.required(at.field("type"), "type is required when appArmorProfile is set"),
        _ => {
            let known = ["Localhost", "RuntimeDefault", "Unconfined"];
            e.unsupported(at.field("type"), &profile["type"], &known);
        }
    }
}
