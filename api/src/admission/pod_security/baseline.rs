//! The profile "baseline": no known ways out of a container.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::{Setters, Spec, plural, quoted, security, told, violation};
use super::{Check, Violation};
use crate::tree::{items, text};

/// Every check in its forms over time, and since when "restricted" has a stricter one in its place.
pub(super) const ALL: &[(&[Check], Option<u32>)] = &[
    (&[(0, app_armor)], None),
    (&[(0, capabilities)], Some(22)),
    (&[(0, host_namespaces)], None),
    (&[(0, host_paths)], Some(0)),
    (&[(0, host_ports)], None),
    (&[(34, hosts_of_probes)], None),
    (&[(0, privileged)], None),
    (&[(0, proc_mount), (35, proc_mount_unless_own_users)], None),
    (&[(0, selinux_to_30), (31, selinux)], None),
    (&[(0, seccomp_annotations), (19, seccomp)], Some(19)),
    (&[(0, sysctls_0), (27, sysctls_27), (29, sysctls_29), (32, sysctls_32)], None),
    (&[(0, host_process)], None),
];

fn app_armor(spec: &Spec<'_>) -> Option<Violation> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut found = Setters::find(spec, &["appArmorProfile", "type"], |ty| {
        let ty = ty.as_str().unwrap_or_default();
        (!matches!(ty, "RuntimeDefault" | "Localhost")).then(|| ty.to_owned())
    });
    let wrong = |profile: &str| {
        !profile.is_empty() && profile != "runtime/default" && !profile.starts_with("localhost/")
    };
    let annotations: Vec<String> = spec
        .annotations
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| key.starts_with(PREFIX) && value.as_str().is_some_and(wrong))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut setters = found.told();
    if !annotations.is_empty() {
        let word = plural("annotation", "annotations", annotations.len());
        setters = if setters.is_empty() { word.to_owned() } else { format!("{setters} and {word}") };
    }
    found.values.extend(annotations);
    if setters.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", found.values.len());
    let values = quoted(found.values.iter().map(String::as_str));
    Some(violation(reason, format!("{setters} must not set AppArmor profile type to {values}")))
}

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capabilities(spec: &Spec<'_>) -> Option<Violation> {
    let mut added = BTreeSet::new();
    let containers = spec.containers_where(|container| {
        let wrong: Vec<&str> = items(container, &["securityContext", "capabilities", "add"])
            .iter()
            .filter_map(Value::as_str)
            .filter(|c| !CAPABILITIES.contains(c))
            .collect();
        added.extend(wrong.iter().copied());
        !wrong.is_empty()
    });
    if containers.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        told(&containers),
        quoted(added)
    );
    Some(violation("non-default capabilities", detail))
}

fn host_namespaces(spec: &Spec<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| spec.spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!shared.is_empty()).then(|| violation("host namespaces", shared.join(", ")))
}

fn host_paths(spec: &Spec<'_>) -> Option<Violation> {
    let volumes: Vec<&str> = items(spec.spec, &["volumes"])
        .iter()
        .filter(|v| v.get("hostPath").is_some_and(|p| !p.is_null()))
        .map(|v| text(v, &["name"]))
        .collect();
    if volumes.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", volumes.len());
    Some(violation("hostPath volumes", format!("{word} {}", quoted(volumes))))
}

fn host_ports(spec: &Spec<'_>) -> Option<Violation> {
    let mut ports: BTreeSet<String> = BTreeSet::new();
    let containers = spec.containers_where(|container| {
        let used: Vec<String> = items(container, &["ports"])
            .iter()
            .filter_map(|port| port["hostPort"].as_i64())
            .filter(|port| *port != 0)
            .map(|port| port.to_string())
            .collect();
        let any = !used.is_empty();
        ports.extend(used);
        any
    });
    if containers.is_empty() {
        return None;
    }
    let word = plural("hostPort", "hostPorts", ports.len());
    let verb = plural("uses", "use", containers.len());
    let all: Vec<&str> = ports.iter().map(String::as_str).collect();
    Some(violation(word, format!("{} {verb} {word} {}", told(&containers), all.join(", "))))
}

fn hosts_of_probes(spec: &Spec<'_>) -> Option<Violation> {
    let mut hosts: BTreeSet<&str> = BTreeSet::new();
    let handlers: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let mut containers = spec.containers_where(|container| {
        let before = hosts.len();
        let mut any = false;
        for handler in handlers.iter().filter_map(|path| crate::tree::at(container, path)) {
            for action in ["httpGet", "tcpSocket"] {
                let host = text(handler, &[action, "host"]);
                if !host.is_empty() {
                    hosts.insert(host);
                    any = true;
                }
            }
        }
        any || hosts.len() > before
    });
    if containers.is_empty() {
        return None;
    }
    containers.sort_unstable();
    containers.dedup();
    let verb = plural("uses", "use", containers.len());
    let word = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    Some(violation(
        "probe or lifecycle host",
        format!("{} {verb} {word} {}", told(&containers), quoted(hosts)),
    ))
}

fn privileged(spec: &Spec<'_>) -> Option<Violation> {
    let containers = spec.containers_where(|c| security(c, &["privileged"]) == Some(&Value::Bool(true)));
    if containers.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.privileged=true", told(&containers));
    Some(violation("privileged", detail))
}

pub(super) fn proc_mount(spec: &Spec<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let containers = spec.containers_where(|container| {
        let ty = security(container, &["procMount"]).and_then(Value::as_str).filter(|ty| *ty != "Default");
        types.extend(ty);
        ty.is_some()
    });
    if containers.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.procMount to {}", told(&containers), quoted(types));
    Some(violation("procMount", detail))
}

fn proc_mount_unless_own_users(spec: &Spec<'_>) -> Option<Violation> {
    if spec.has_own_users() { None } else { proc_mount(spec) }
}

fn selinux_to_30(spec: &Spec<'_>) -> Option<Violation> {
    selinux_options(spec, &["", "container_t", "container_init_t", "container_kvm_t"])
}

fn selinux(spec: &Spec<'_>) -> Option<Violation> {
    let types = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    selinux_options(spec, &types)
}

fn selinux_options(spec: &Spec<'_>, allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut wrong = |options: &Value| {
        let ty = text(options, &["type"]);
        let bad_type = !allowed.contains(&ty);
        if bad_type {
            types.insert(ty.to_owned());
        }
        let (has_user, has_role) =
            (!text(options, &["user"]).is_empty(), !text(options, &["role"]).is_empty());
        user |= has_user;
        role |= has_role;
        bad_type || has_user || has_role
    };
    let found = Setters {
        pod: spec.security(&["seLinuxOptions"]).is_some_and(&mut wrong),
        containers: spec.containers_where(|c| security(c, &["seLinuxOptions"]).is_some_and(&mut wrong)),
        ..Setters::default()
    };
    if found.is_empty() {
        return None;
    }
    let mut what = Vec::new();
    if !types.is_empty() {
        let word = plural("type", "types", types.len());
        what.push(format!("{word} {}", quoted(types.iter().map(String::as_str))));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    let detail =
        format!("{} set forbidden securityContext.seLinuxOptions: {}", found.told(), what.join("; "));
    Some(violation("seLinuxOptions", detail))
}

fn seccomp_annotations(spec: &Spec<'_>) -> Option<Violation> {
    let wrong = |key: &str| {
        let value = spec.annotations.get(key)?;
        let profile = value.as_str()?;
        let fine =
            matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/");
        (!fine).then(|| format!("{key}={value}"))
    };
    let of_containers = spec.containers.iter().filter_map(|container| {
        wrong(&format!("container.seccomp.security.alpha.kubernetes.io/{}", text(container, &["name"])))
    });
    let all: BTreeSet<String> =
        wrong("seccomp.security.alpha.kubernetes.io/pod").into_iter().chain(of_containers).collect();
    if all.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", all.len());
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Some(violation("seccompProfile", format!("forbidden {word} {}", all.join(", "))))
}

/// Those who set a seccomp profile that is not allowed.
pub(super) fn bad_seccomp(spec: &Spec<'_>) -> Option<Violation> {
    let found = Setters::find(spec, &["seccompProfile", "type"], |ty| {
        let ty = ty.as_str().unwrap_or_default();
        (!matches!(ty, "RuntimeDefault" | "Localhost")).then(|| ty.to_owned())
    });
    if found.is_empty() {
        return None;
    }
    let values = quoted(found.values.iter().map(String::as_str));
    let detail = format!("{} must not set securityContext.seccompProfile.type to {values}", found.told());
    Some(violation("seccompProfile", detail))
}

fn seccomp(spec: &Spec<'_>) -> Option<Violation> {
    bad_seccomp(spec)
}

const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(spec: &Spec<'_>, allowed: &[&str]) -> Option<Violation> {
    let forbidden: Vec<&str> = items(spec.spec, &["securityContext", "sysctls"])
        .iter()
        .map(|sysctl| text(sysctl, &["name"]))
        .filter(|name| !allowed.contains(name))
        .collect();
    (!forbidden.is_empty()).then(|| violation("forbidden sysctls", forbidden.join(", ")))
}

fn sysctls_0(spec: &Spec<'_>) -> Option<Violation> {
    sysctls(spec, &SYSCTLS[..5])
}

fn sysctls_27(spec: &Spec<'_>) -> Option<Violation> {
    sysctls(spec, &SYSCTLS[..6])
}

fn sysctls_29(spec: &Spec<'_>) -> Option<Violation> {
    sysctls(spec, &SYSCTLS[..10])
}

fn sysctls_32(spec: &Spec<'_>) -> Option<Violation> {
    sysctls(spec, SYSCTLS)
}

fn host_process(spec: &Spec<'_>) -> Option<Violation> {
    let found = Setters::find(spec, &["windowsOptions", "hostProcess"], |set| {
        (*set == Value::Bool(true)).then(String::new)
    });
    if found.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.windowsOptions.hostProcess=true", found.told());
    Some(violation("hostProcess", detail))
}
