//! Pods and pod templates.

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key, label_value};
use serde_json::{Value, json};

use super::common::{self, ip, label_selector, labels, named_if_set, one_of};
use super::error::Errors;
use super::path::{Path, Read};
use super::volume::{self, Volumes};
use super::{affinity, container, meta};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// What a pod's rules depend on.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) spec: &'a Value,
    /// Seconds that the pod has to end.
    pub(super) grace: i64,
}

pub(super) fn pod(e: &mut Errors, object: &Value) {
    meta::create(e, object, dns_subdomain);
    let spec = &object["spec"];
    let at = Path::root("spec");
    pod_spec(e, &at, spec, &[]);
    if spec.text("serviceAccountName").is_empty() {
        let volumes = at.field("volumes");
        for (i, v) in spec.list("volumes").iter().enumerate() {
            let projected = volumes.index(i);
            let projected = projected.field("projected");
            let sources = projected.field("sources");
            for (j, source) in v["projected"].list("sources").iter().enumerate() {
                if source.has("serviceAccountToken") {
                    e.forbidden(
                        sources.index(j).field("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    );
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let containers = at.field(list);
        for (i, container) in spec.list(list).iter().enumerate() {
            let image = container.text("image");
            if image.trim().len() != image.len() {
                let text = "must not have leading or trailing whitespace";
                e.invalid_text(containers.index(i).field("image"), image, text);
            }
        }
    }
}

/// The template of whatever makes pods, without the question whether a selector chooses it.
pub(super) fn template(e: &mut Errors, at: &Path<'_>, template: &Value, claims: &[&str]) {
    let meta = &template["metadata"];
    labels(e, at.field("labels"), &meta["labels"]);
    meta::annotations(e, at.field("annotations"), &meta["annotations"]);
    pod_spec(e, &at.field("spec"), &template["spec"], claims);
    if !template["spec"].is_empty("ephemeralContainers") {
        let spec = at.field("spec");
        e.forbidden(spec.field("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

pub(super) fn pod_spec(e: &mut Errors, at: &Path<'_>, spec: &Value, claims: &[&str]) {
    let grace = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    let of = Of { spec, grace };
    let list = at.field("volumes");
    let volumes = match claims {
        [] => volume::volumes(e, &list, spec.list("volumes")),
        claims => {
            // Claims become volumes, before those that the template has under other names.
            let claimed =
                claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
            let others = spec.list("volumes").iter().filter(|v| !claims.contains(&v.text("name")));
            let all: Vec<Value> = claimed.chain(others.cloned()).collect();
            volume::volumes(e, &list, &all)
        }
    };
    containers(e, at, of, &volumes);
    one_of(e, at, spec, "restartPolicy", &["Always", "OnFailure", "Never"]);
    one_of(e, at, spec, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    labels(e, at.field("nodeSelector"), &spec["nodeSelector"]);
    security(e, &at.field("securityContext"), &spec["securityContext"]);
    affinity::affinity(e, &at.field("affinity"), &spec["affinity"]);
    spread(e, &at.field("topologySpreadConstraints"), spec.list("topologySpreadConstraints"));
    for field in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        named_if_set(e, at, spec, field, dns_subdomain);
    }
    for field in ["hostname", "subdomain"] {
        named_if_set(e, at, spec, field, dns_label);
    }
    let deadline = &spec["activeDeadlineSeconds"];
    if deadline.as_i64().is_some_and(|s| !(1..=i64::from(i32::MAX)).contains(&s)) {
        e.invalid(at.field("activeDeadlineSeconds"), deadline, "must be between 1 and 2147483647, inclusive");
    }
    if grace < 0 {
        common::not_negative(e, at, spec, "terminationGracePeriodSeconds");
    }
    tolerations(e, &at.field("tolerations"), spec.list("tolerations"));
    let aliases = at.field("hostAliases");
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let at = aliases.index(i);
        ip(e, at.field("ip"), alias.text("ip"));
        for host in alias.list("hostnames").iter().filter_map(Value::as_str) {
            e.rule(at.field("hostnames"), host, dns_subdomain(host));
        }
    }
    dns(e, at, spec);
    let gates = at.field("readinessGates");
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let condition = gate.text("conditionType");
        e.rule(gates.index(i).field("conditionType"), condition, label_key(condition));
    }
    let gates = at.field("schedulingGates");
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        e.rule(gates.index(i), name, label_key(name));
        if spec.list("schedulingGates")[..i].iter().any(|other| other.text("name") == name) {
            e.duplicate_text(gates.index(i).field("name"), name);
        }
    }
    let overhead = at.field("overhead");
    for (name, amount) in spec.entries("overhead") {
        container::amount(e, overhead.key(name), name, amount);
    }
}

fn containers(e: &mut Errors, at: &Path<'_>, of: Of<'_>, volumes: &Volumes) {
    let spec = of.spec;
    let list = at.field("containers");
    let mut names: Vec<&str> = Vec::new();
    if spec.is_empty("containers") {
        e.required(list, "");
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        let at = list.index(i);
        container::common(e, &at, container, volumes);
        unique(e, &at, container, &mut names);
        container::running(e, &at, container, of);
    }
    container::host_ports(e, &list, spec.list("containers"));
    let list = at.field("initContainers");
    for (i, container) in spec.list("initContainers").iter().enumerate() {
        let at = list.index(i);
        container::common(e, &at, container, volumes);
        unique(e, &at, container, &mut names);
        if container.text("restartPolicy") == "Always" {
            container::running(e, &at, container, of);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(field) {
                    e.forbidden(
                        at.field(field),
                        "may not be set for init containers without restartPolicy=Always",
                    );
                }
            }
        }
    }
    container::host_ports(e, &list, spec.list("initContainers"));
}

fn unique<'a>(e: &mut Errors, at: &Path<'_>, container: &'a Value, names: &mut Vec<&'a str>) {
    let name = container.text("name");
    match names.contains(&name) {
        true => e.duplicate_text(at.field("name"), name),
        false => names.push(name),
    }
}

fn security(e: &mut Errors, at: &Path<'_>, context: &Value) {
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        container::id(e, at.field(field), &context[field]);
    }
    let groups = at.field("supplementalGroups");
    for (i, group) in context.list("supplementalGroups").iter().enumerate() {
        container::id(e, groups.index(i), group);
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
        names.push(name);
    }
    common::one_of_if_set(e, at, context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    container::profile(e, &at.field("seccompProfile"), &context["seccompProfile"]);
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

fn spread(e: &mut Errors, list: &Path<'_>, constraints: &[Value]) {
    const PAIR: &str = "{topologyKey, whenUnsatisfiable}";
    for (i, constraint) in constraints.iter().enumerate() {
        let at = list.index(i);
        if constraint.int("maxSkew") <= 0 {
            let skew = constraint.int("maxSkew").into();
            e.invalid(at.field("maxSkew"), &skew, "must be greater than zero");
        }
        if constraint.text("topologyKey").is_empty() {
            e.required(at.field("topologyKey"), "can not be empty");
        }
        let action = constraint.text("whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            e.unsupported(
                at.field("whenUnsatisfiable"),
                &action.into(),
                &["DoNotSchedule", "ScheduleAnyway"],
            );
        }
        let pair = |c: &Value| (c.text("topologyKey").to_owned(), c.text("whenUnsatisfiable").to_owned());
        if constraints[i + 1..].iter().any(|other| pair(other) == pair(constraint)) {
            let (key, action) = pair(constraint);
            e.duplicate_text(at.field(PAIR), &format!("{{{key}, {action}}}"));
        }
        if let Some(domains) = constraint["minDomains"].as_i64() {
            if domains <= 0 {
                e.invalid(at.field("minDomains"), &domains.into(), "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let text = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway";
                e.invalid(at.field("minDomains"), &domains.into(), text);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            common::one_of_if_set(e, &at, constraint, field, &["Honor", "Ignore"]);
        }
        label_selector(e, at.field("labelSelector"), &constraint["labelSelector"]);
    }
}

pub(super) fn tolerations(e: &mut Errors, list: &Path<'_>, tolerations: &[Value]) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let at = list.index(i);
        let key = toleration.text("key");
        let operator = toleration.text("operator");
        if !key.is_empty() {
            e.rule(at.field("key"), key, label_key(key));
        } else if operator != "Exists" {
            let text =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            e.invalid_text(at.field("operator"), operator, text);
        }
        let effect = toleration.text("effect");
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            let text = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            e.invalid_text(at.field("effect"), effect, text);
        }
        let value = toleration.text("value");
        match operator {
            "" | "Equal" => e.rule(at.field("operator"), value, label_value(value)),
            "Exists" if !value.is_empty() => e.invalid(
                at.field("operator"),
                &toleration["value"],
                "value must be empty when `operator` is 'Exists'",
            ),
            "Exists" => {}
            _ => e.unsupported(at.field("operator"), &toleration["operator"], &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            e.unsupported(at.field("effect"), &toleration["effect"], &EFFECTS);
        }
    }
}

/// Taints of a node.
pub(super) fn taints(e: &mut Errors, list: &Path<'_>, taints: &[Value]) {
    let mut seen = Vec::new();
    for (i, taint) in taints.iter().enumerate() {
        let at = list.index(i);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        e.rule(at.field("key"), key, label_key(key));
        e.rule(at.field("value"), value, label_value(value));
        if effect.is_empty() {
            e.required(at.field("effect"), "");
        } else if !EFFECTS.contains(&effect) {
            e.unsupported(at.field("effect"), &taint["effect"], &EFFECTS);
        }
        if seen.contains(&(key, effect)) {
            e.duplicate(at, taint);
        }
        seen.push((key, effect));
    }
}

fn dns(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    let config = &spec["dnsConfig"];
    let path = at.field("dnsConfig");
    let servers = config.list("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            e.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if servers.is_empty() {
            let text = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            e.required(path.field("nameservers"), text);
        }
    }
    let list = path.field("nameservers");
    if servers.len() > 3 {
        e.invalid(list, &config["nameservers"], "must not have more than 3 nameservers");
    }
    for (i, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        ip(e, list.index(i), server);
    }
    let list = path.field("searches");
    for (i, search) in config.list("searches").iter().filter_map(Value::as_str).enumerate() {
        let domain = search.strip_suffix('.').unwrap_or(search);
        if search != "." {
            e.rule(list.index(i), search, dns_subdomain(domain));
        }
    }
    let list = path.field("options");
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            e.required(list.index(i), "must not be empty");
        }
    }
}
