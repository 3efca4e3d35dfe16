//! Containers.

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key};
use serde_json::Value;

use super::common::{self, PROTOCOLS, config_key, env_name, named, one_of, port_name, port_or_name};
use super::error::Errors;
use super::path::{Path, Read};
use super::pod::Of;
use super::security;
use super::volume::{self, Volumes};

pub(super) const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
pub(super) const RESOURCE_FIELDS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What is asked of containers of all sorts.
pub(super) fn common(e: &mut Errors, at: &Path<'_>, container: &Value, of: Of<'_>, volumes: &Volumes) {
    named(e, at, container, "name", dns_label);
    if container.text("image").is_empty() {
        e.required(at.field("image"), "");
    }
    one_of(e, at, container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"]);
    ports(e, &at.field("ports"), container.list("ports"));
    env(e, at, container);
    volume::mounts(e, at, container, volumes);
    one_of(e, at, container, "imagePullPolicy", &PULL_POLICIES);
    resources(e, &at.field("resources"), &container["resources"]);
    claims(e, &at.field("resources").field("claims"), container["resources"].list("claims"), of);
    resize_policy(e, &at.field("resizePolicy"), container.list("resizePolicy"), of);
    security::of_container(e, &at.field("securityContext"), &container["securityContext"], of);
    stop_signal(e, at, container, of);
}

fn claims(e: &mut Errors, list: &Path<'_>, claims: &[Value], of: Of<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, claim) in claims.iter().enumerate() {
        let (name, request) = (claim.text("name"), claim.text("request"));
        let at = list.index(i);
        if name.is_empty() {
            e.required(at, "");
            continue;
        }
        if seen.iter().any(|(n, r)| *n == name && (*r == request || r.is_empty() || request.is_empty())) {
            let shown = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            e.duplicate_text(at, &shown);
        }
        seen.push((name, request));
        if !of.spec.list("resourceClaims").iter().any(|known| known.text("name") == name) {
            e.not_found(at, name);
        }
    }
}

fn resize_policy(e: &mut Errors, at: &Path<'_>, policies: &[Value], of: Of<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, policy) in policies.iter().enumerate() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if seen.contains(&resource) {
            e.duplicate_text(at.index(i), resource);
        }
        seen.push(resource);
        for (value, known) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])]
        {
            match value {
                "" => e.required(*at, ""),
                value if known.contains(&value) => {}
                value => e.unsupported(*at, &value.into(), &known),
            }
        }
        if of.spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let text = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            e.invalid_text(*at, restart, text);
        }
    }
}

fn stop_signal(e: &mut Errors, at: &Path<'_>, container: &Value, of: Of<'_>) {
    let signal = container["lifecycle"].text("stopSignal");
    if signal.is_empty() {
        return;
    }
    let field = at.field("lifecycle");
    let field = field.field("stopSignal");
    let os = of.spec["os"].text("name");
    if os.is_empty() {
        e.forbidden(field, "may not be set for containers with empty `spec.os.name`");
    } else if os == "windows" && !["SIGTERM", "SIGKILL"].contains(&signal) {
        e.unsupported(field, &signal.into(), &["SIGKILL", "SIGTERM"]);
    }
}

/// Restarting on its own terms.
pub(super) fn restart_policy(e: &mut Errors, at: &Path<'_>, container: &Value) {
    if let Some(policy) = container["restartPolicy"].as_str()
        && !RESTART_POLICIES.contains(&policy)
    {
        e.unsupported(at.field("restartPolicy"), &policy.into(), &RESTART_POLICIES);
    }
    let list = at.field("restartPolicyRules");
    let rules = container.list("restartPolicyRules");
    if !rules.is_empty() && !container.has("restartPolicy") {
        e.required(at.field("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > 20 {
        e.too_many(list, rules.len(), 20);
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = list.index(i);
        one_of(e, &at, rule, "action", &["Restart", "RestartAllContainers"]);
        let codes = &rule["exitCodes"];
        if codes.is_null() {
            e.required(at.field("exitCodes"), "must be specified");
            continue;
        }
        let at = at.field("exitCodes");
        one_of(e, &at, codes, "operator", &["In", "NotIn"]);
        if codes.list("values").len() > 255 {
            e.too_many(at.field("values"), codes.list("values").len(), 255);
        }
    }
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
        let (grace, field) =
            (&probe["terminationGracePeriodSeconds"], at.field("terminationGracePeriodSeconds"));
        if grace.as_i64().is_some_and(|s| s <= 0) {
            e.invalid(field, grace, "must be greater than 0");
        }
        if kind == "readinessProbe" {
            if probe.has("terminationGracePeriodSeconds") {
                e.invalid(field, grace, "must not be set for readinessProbes");
            }
        } else if probe.int("successThreshold") != 1 {
            e.invalid(at.field("successThreshold"), &probe.int("successThreshold").into(), "must be 1");
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
                if !["HTTP", "HTTPS"].contains(&action.text("scheme")) {
                    e.unsupported(at.field("scheme"), &action.text("scheme").into(), &["HTTP", "HTTPS"]);
                }
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

/// What a container may use, and what it is promised.
pub(super) fn resources(e: &mut Errors, at: &Path<'_>, resources: &Value) {
    let limits = at.field("limits");
    for (name, value) in sorted(resources, "limits") {
        amount(e, limits.key(name), name, value);
    }
    let requests = at.field("requests");
    for (name, value) in sorted(resources, "requests") {
        amount(e, requests.key(name), name, value);
        let Some(request) = common::quantity(value) else { continue };
        let counted =
            name.contains('/') && !name.contains("kubernetes.io/") || name.starts_with("hugepages-");
        match common::quantity(&resources["limits"][name]) {
            Some(limit) if counted && request != limit => {
                let text = format!("must be equal to {name} limit of {limit}");
                e.invalid_text(requests, &request.to_string(), &text);
            }
            Some(limit) if request > limit => {
                let text = format!("must be less than or equal to {name} limit of {limit}");
                e.invalid_text(requests, &request.to_string(), &text);
            }
            Some(_) => {}
            None if counted => e.required(limits, "Limit must be set for non overcommitable resources"),
            None => {}
        }
    }
    let any = |test: fn(&str) -> bool| {
        ["limits", "requests"].iter().any(|list| resources.entries(list).iter().any(|(name, _)| test(name)))
    };
    if any(|name| name.starts_with("hugepages-")) && !any(|name| matches!(name, "cpu" | "memory")) {
        e.forbidden(*at, "HugePages require cpu or memory");
    }
}

/// The entries of a map in a fixed order.
fn sorted<'v>(value: &'v Value, field: &str) -> Vec<(&'v str, &'v Value)> {
    let mut entries: Vec<_> = value
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str(), v))
        .collect();
    entries.sort_by_key(|(name, _)| *name);
    entries
}

/// The name of a container's resource, and its amount.
pub(super) fn amount(e: &mut Errors, at: Path<'_>, name: &str, value: &Value) {
    resource_name(e, at, name);
    quantity(e, at, name, value);
}

/// The amount of a resource: not negative, and whole where it counts things.
pub(super) fn quantity(e: &mut Errors, at: Path<'_>, name: &str, value: &Value) {
    const WHOLE: [&str; 8] = [
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
    ];
    let Some(quantity) = common::quantity(value) else { return };
    if quantity.signum() < 0 {
        e.invalid_text(at, &quantity.to_string(), common::NOT_NEGATIVE);
    }
    let extended = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    if (WHOLE.contains(&name) || name == "services.loadbalancers" || extended)
        && quantity.as_whole().is_none()
    {
        e.invalid_text(at, &quantity.to_string(), "must be an integer");
    }
}

/// The name of a container's resource.
pub(super) fn resource_name(e: &mut Errors, at: Path<'_>, name: &str) {
    let before = e.0.len();
    e.rule(at, name, label_key(name));
    let standard =
        |name: &str| ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    if !name.contains('/') {
        if e.0.len() == before && !standard(name) && !common::standard_resource(name) {
            e.invalid_text(at, name, "must be a standard resource type or fully qualified");
        }
        if !standard(name) {
            e.invalid_text(at, name, "must be a standard resource for containers");
        }
    } else if !name.contains("kubernetes.io/")
        && (name.starts_with("requests.") || !label_key(&format!("requests.{name}")).is_empty())
    {
        e.invalid_text(at, name, "doesn't follow extended resource name standard");
    }
}
