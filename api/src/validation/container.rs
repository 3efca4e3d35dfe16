//! Containers.

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key};
use serde_json::Value;

use super::common::{
    self, PROTOCOLS, config_key, env_name, named, one_of, one_of_if_set, port_name, port_or_name,
};
use super::error::Errors;
use super::path::{Path, Read};
use super::pod::Of;
use super::volume::{self, Volumes};

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
pub(super) const RESOURCE_FIELDS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What is asked of containers of all sorts.
pub(super) fn common(e: &mut Errors, at: &Path<'_>, container: &Value, volumes: &Volumes) {
    named(e, at, container, "name", dns_label);
    if container.text("image").is_empty() {
        e.required(at.field("image"), "");
    }
    one_of(e, at, container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"]);
    one_of(e, at, container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    one_of_if_set(e, at, container, "restartPolicy", &["Always", "OnFailure", "Never"]);
    ports(e, &at.field("ports"), container.list("ports"));
    env(e, at, container);
    volume::mounts(e, &at.field("volumeMounts"), container.list("volumeMounts"), volumes);
    resources(e, &at.field("resources"), &container["resources"]);
    let policies = at.field("resizePolicy");
    for (i, policy) in container.list("resizePolicy").iter().enumerate() {
        let at = policies.index(i);
        one_of(e, &at, policy, "resourceName", &["cpu", "memory"]);
        one_of(e, &at, policy, "restartPolicy", &["NotRequired", "RestartContainer"]);
    }
    security(e, &at.field("securityContext"), &container["securityContext"]);
}

/// What is asked of containers that run as long as the pod does.
pub(super) fn running(e: &mut Errors, at: &Path<'_>, container: &Value, of: Of<'_>) {
    let lifecycle = at.field("lifecycle");
    for hook in ["postStart", "preStop"] {
        if container["lifecycle"].has(hook) {
            handler(e, &lifecycle.field(hook), &container["lifecycle"][hook], of.grace);
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = &container[kind];
        if probe.is_null() {
            continue;
        }
        let at = at.field(kind);
        handler(e, &at, probe, of.grace);
        for field in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            common::not_negative(e, &at, probe, field);
        }
        if kind != "readinessProbe" && probe.int("successThreshold") != 1 {
            e.invalid(at.field("successThreshold"), &probe["successThreshold"], "must be 1");
        }
        if probe["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s <= 0) {
            let field = at.field("terminationGracePeriodSeconds");
            e.invalid(field, &probe["terminationGracePeriodSeconds"], "must be greater than 0");
        }
        if kind == "readinessProbe" && probe.has("terminationGracePeriodSeconds") {
            let field = at.field("terminationGracePeriodSeconds");
            e.invalid(field, &probe["terminationGracePeriodSeconds"], "must not be set for readinessProbes");
        }
    }
}

fn handler(e: &mut Errors, at: &Path<'_>, handler: &Value, grace: i64) {
    let mut found = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = &handler[kind];
        if action.is_null() {
            continue;
        }
        let at = at.field(kind);
        found += 1;
        if found > 1 {
            e.forbidden(at, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" => {
                if action.is_empty("command") {
                    e.required(at.field("command"), "");
                }
            }
            "httpGet" => {
                if action.text("path").is_empty() {
                    e.required(at.field("path"), "");
                }
                port_or_name(e, at.field("port"), &action["port"]);
                one_of(e, &at, action, "scheme", &["HTTP", "HTTPS"]);
                let headers = at.field("httpHeaders");
                for header in action.list("httpHeaders") {
                    let name = header.text("name");
                    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                        let text = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. \
                                    'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
                        e.invalid_text(headers, name, text);
                    }
                }
            }
            "tcpSocket" => port_or_name(e, at.field("port"), &action["port"]),
            "grpc" => port_or_name(e, at.field("port"), &action["port"]),
            _ => {
                let seconds = action.int("seconds");
                if seconds < 0 || seconds > grace {
                    let text =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    e.invalid(at, &seconds.into(), &text);
                }
            }
        }
    }
    if found == 0 {
        e.required(*at, "must specify a handler type");
    }
}

fn ports(e: &mut Errors, list: &Path<'_>, ports: &[Value]) {
    let mut names: Vec<&str> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let at = list.index(i);
        let name = port.text("name");
        if !name.is_empty() {
            let complaints = port_name(name);
            if !complaints.is_empty() {
                e.rule(at.field("name"), name, complaints);
            } else if names.contains(&name) {
                e.duplicate_text(at.field("name"), name);
            } else {
                names.push(name);
            }
        }
        if port.int("containerPort") == 0 {
            e.required(at.field("containerPort"), "");
        } else {
            common::port(e, at.field("containerPort"), &port["containerPort"]);
        }
        if port.int("hostPort") != 0 {
            common::port(e, at.field("hostPort"), &port["hostPort"]);
        }
        one_of(e, &at, port, "protocol", &PROTOCOLS);
    }
}

/// No two containers take the same port of the node.
pub(super) fn host_ports(e: &mut Errors, list: &Path<'_>, containers: &[Value]) {
    let mut taken = Vec::new();
    for (i, container) in containers.iter().enumerate() {
        let at = list.index(i);
        let at = at.field("ports");
        for (j, port) in container.list("ports").iter().enumerate() {
            let number = port.int("hostPort");
            if number == 0 {
                continue;
            }
            let text = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if taken.contains(&text) {
                e.duplicate_text(at.index(j).field("hostPort"), &text);
            } else {
                taken.push(text);
            }
        }
    }
}

fn env(e: &mut Errors, at: &Path<'_>, container: &Value) {
    let list = at.field("env");
    for (i, variable) in container.list("env").iter().enumerate() {
        let at = list.index(i);
        named(e, &at, variable, "name", env_name);
        if variable.has("valueFrom") {
            value_from(e, &at.field("valueFrom"), variable);
        }
    }
    let list = at.field("envFrom");
    for (i, source) in container.list("envFrom").iter().enumerate() {
        let at = list.index(i);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            e.rule(at.field("prefix"), prefix, env_name(prefix));
        }
        let mut found = 0;
        for kind in ["configMapRef", "secretRef"] {
            if source.has(kind) {
                found += 1;
                named(e, &at.field(kind), &source[kind], "name", dns_subdomain);
            }
        }
        match found {
            0 => e.invalid_text(list, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => e.invalid_text(list, "", "may not have more than one field specified at a time"),
        }
    }
}

fn value_from(e: &mut Errors, at: &Path<'_>, variable: &Value) {
    const FIELDS: [&str; 9] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let from = &variable["valueFrom"];
    let mut found = 0;
    if from.has("fieldRef") {
        found += 1;
        field_ref(e, &at.field("fieldRef"), &from["fieldRef"], &FIELDS);
    }
    if from.has("resourceFieldRef") {
        found += 1;
        resource_ref(e, &at.field("resourceFieldRef"), &from["resourceFieldRef"], false);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        if from.has(kind) {
            found += 1;
            let (at, source) = (at.field(kind), &from[kind]);
            let name = source.text("name");
            e.rule(at.field("name"), name, dns_subdomain(name));
            named(e, &at, source, "key", config_key);
        }
    }
    if from.has("fileKeyRef") {
        found += 1;
        let (at, source) = (at.field("fileKeyRef"), &from["fileKeyRef"]);
        named(e, &at, source, "key", env_name);
        named(e, &at, source, "volumeName", dns_label);
        if source.text("path").is_empty() {
            e.required(at.field("path"), "");
        }
    }
    if found == 0 {
        let text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        e.invalid_text(*at, "", text);
    } else if !variable.text("value").is_empty() {
        e.invalid_text(*at, "", "may not be specified when `value` is not empty");
    } else if found > 1 {
        e.invalid_text(*at, "", "may not have more than one field specified at a time");
    }
}

/// A field of the pod that a variable or a file shows.
pub(super) fn field_ref(e: &mut Errors, at: &Path<'_>, field: &Value, supported: &[&str]) {
    const KNOWN: [&str; 14] = [
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let path = field.text("fieldPath");
    if field.text("apiVersion").is_empty() {
        e.required(at.field("apiVersion"), "");
    } else if path.is_empty() {
        e.required(at.field("fieldPath"), "");
    } else if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        match map {
            "metadata.annotations" => e.rule(at.field("fieldPath"), key, label_key(&key.to_lowercase())),
            "metadata.labels" => e.rule(at.field("fieldPath"), key, label_key(key)),
            _ => e.invalid_text(at.field("fieldPath"), path, "does not support subscript"),
        }
    } else if path != "spec.host" && !KNOWN.contains(&path) {
        let text = format!("error converting fieldPath: field label not supported: {path}");
        e.invalid_text(at.field("fieldPath"), path, &text);
    } else if path != "spec.host" && !supported.contains(&path) {
        e.unsupported(at.field("fieldPath"), &field["fieldPath"], supported);
    }
}

/// An amount of a container that a variable or a file shows.
pub(super) fn resource_ref(e: &mut Errors, at: &Path<'_>, field: &Value, in_volume: bool) {
    let resource = field.text("resource");
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|p| resource.starts_with(p));
    if in_volume && field.text("containerName").is_empty() {
        e.required(at.field("containerName"), "");
    } else if resource.is_empty() {
        e.required(at.field("resource"), "");
    } else if !huge && !RESOURCE_FIELDS.contains(&resource) {
        e.unsupported(at.field("resource"), &field["resource"], &RESOURCE_FIELDS);
    }
}

fn resources(e: &mut Errors, at: &Path<'_>, resources: &Value) {
    let limits = at.field("limits");
    for (name, value) in resources.entries("limits") {
        amount(e, limits.key(name), name, value);
    }
    let requests = at.field("requests");
    for (name, value) in resources.entries("requests") {
        amount(e, requests.key(name), name, value);
        let (Some(request), Some(limit)) =
            (common::quantity(value), common::quantity(&resources["limits"][name]))
        else {
            continue;
        };
        let counted = name.contains('/') || name.starts_with("hugepages-");
        if counted && request != limit {
            e.invalid(requests, value, &format!("must be equal to {name} limit of {limit}"));
        } else if request > limit {
            e.invalid(requests, value, &format!("must be less than or equal to {name} limit of {limit}"));
        }
    }
}

/// The name of a container's resource, and its amount.
pub(super) fn amount(e: &mut Errors, at: Path<'_>, name: &str, value: &Value) {
    resource_name(e, at, name);
    let Some(quantity) = common::quantity(value) else { return };
    if quantity.signum() < 0 {
        e.invalid(at, value, common::NOT_NEGATIVE);
    }
    if name.contains('/') && quantity.as_whole().is_none() {
        e.invalid(at, value, "must be an integer");
    }
}

/// The name of a container's resource.
pub(super) fn resource_name(e: &mut Errors, at: Path<'_>, name: &str) {
    e.rule(at, name, label_key(name));
    let standard = |name: &str| {
        ["cpu", "memory", "ephemeral-storage", "storage"].contains(&name) || name.starts_with("hugepages-")
    };
    if !name.contains('/') {
        if !standard(name) {
            e.invalid_text(at, name, "must be a standard resource type or fully qualified");
        }
        if !standard(name) || name == "storage" {
            e.invalid_text(at, name, "must be a standard resource for containers");
        }
    } else if !name.contains("kubernetes.io/")
        && (name.starts_with("requests.") || !label_key(&format!("requests.{name}")).is_empty())
    {
        e.invalid_text(at, name, "doesn't follow extended resource name standard");
    }
}

pub(super) fn id(e: &mut Errors, at: Path<'_>, value: &Value) {
    if value.as_i64().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
        e.invalid(at, value, ID_RANGE);
    }
}

fn security(e: &mut Errors, at: &Path<'_>, context: &Value) {
    for field in ["runAsUser", "runAsGroup"] {
        id(e, at.field(field), &context[field]);
    }
    one_of_if_set(e, at, context, "procMount", &["Default", "Unmasked"]);
    profile(e, &at.field("seccompProfile"), &context["seccompProfile"]);
    if context["allowPrivilegeEscalation"] == false {
        let field = at.field("allowPrivilegeEscalation");
        if context.is_true("privileged") {
            let text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            e.invalid(field, &context["allowPrivilegeEscalation"], text);
        }
        if context["capabilities"].list("add").iter().any(|c| c == "CAP_SYS_ADMIN") {
            let text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            e.invalid(field, &context["allowPrivilegeEscalation"], text);
        }
    }
}

/// A seccomp profile.
pub(super) fn profile(e: &mut Errors, at: &Path<'_>, profile: &Value) {
    if profile.is_null() {
        return;
    }
    one_of(e, at, profile, "type", &["Localhost", "RuntimeDefault", "Unconfined"]);
    let local = profile.text("type") == "Localhost";
    if local && !profile.has("localhostProfile") {
        e.required(at.field("localhostProfile"), "must be set when seccomp type is Localhost");
    }
    if !local && profile.has("localhostProfile") {
        let text = "can only be set when seccomp type is Localhost";
        e.invalid(at.field("localhostProfile"), &profile["localhostProfile"], text);
    }
}
