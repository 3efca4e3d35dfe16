//! Services.

use std::collections::BTreeSet;

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key};
use serde_json::Value;

use super::common::{PROTOCOLS, cidr, ip, labels, one_of, one_of_if_set, port, port_or_name};
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");
const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
const KUBELET_PORT: i64 = 10250;
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) fn service(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let kind = spec.text("type");
    let headless = spec.text("clusterIP") == "None";
    if spec.is_empty("ports") && !headless && kind != "ExternalName" {
        e.required(SPEC.field("ports"), "");
    }
    if kind == "LoadBalancer" {
        let list = SPEC.field("ports");
        for (i, _) in
            spec.list("ports").iter().enumerate().filter(|(_, port)| port.int("port") == KUBELET_PORT)
        {
            let text = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
            e.invalid(list.index(i), &KUBELET_PORT.into(), &text);
        }
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let text = format!("may not be set to 'None' for {kind} services");
            e.invalid_text(SPEC.field("clusterIPs").index(0), "None", &text);
        }
        "ExternalName" => external_name(e, spec),
        _ => {}
    }
    ports(e, spec);
    labels(e, SPEC.field("selector"), &spec["selector"]);
    one_of(e, &SPEC, spec, "sessionAffinity", &["ClientIP", "None"]);
    affinity(e, spec);
    if kind != "ExternalName" {
        addresses(e, spec);
    }
    let list = SPEC.field("externalIPs");
    for (i, text) in spec.list("externalIPs").iter().filter_map(Value::as_str).enumerate() {
        let before = e.0.len();
        ip(e, list.index(i), text);
        if e.0.len() == before {
            super::address::special_address(e, list.index(i), text);
        }
    }
    one_of(e, &SPEC, spec, "type", &TYPES);
    ports_together(e, spec);
    source_ranges(e, object);
    balancer(e, spec);
    traffic(e, spec);
    if let Some(wish) = spec["trafficDistribution"].as_str().filter(|wish| !DISTRIBUTIONS.contains(wish)) {
        e.unsupported(SPEC.field("trafficDistribution"), &wish.into(), &DISTRIBUTIONS);
    }
}

/// Addresses of another family than the one that is asked for. Asked before anything else.
pub(super) fn families(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let list = SPEC.field("clusterIPs");
    for (i, text) in spec.list("clusterIPs").iter().filter_map(Value::as_str).enumerate() {
        let Ok(ip) = text.parse::<std::net::IpAddr>() else { continue };
        let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
        match spec.list("ipFamilies").get(i).and_then(Value::as_str) {
            Some(asked @ ("IPv4" | "IPv6")) if asked != family => {
                let why = format!("expected an {asked} value as indicated by `ipFamilies[{i}]`");
                e.invalid_text(list.index(i), text, &why);
            }
            _ => {}
        }
    }
}

fn external_name(e: &mut Errors, spec: &Value) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !spec.is_empty(field) {
            e.forbidden(SPEC.field(field), "may not be set for ExternalName services");
        }
    }
    let name = spec.text("externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => e.required(SPEC.field("externalName"), ""),
        domain => e.rule(SPEC.field("externalName"), domain, dns_subdomain(domain)),
    }
}

fn ports(e: &mut Errors, spec: &Value) {
    let ports = spec.list("ports");
    let list = SPEC.field("ports");
    let mut names = BTreeSet::new();
    for (i, entry) in ports.iter().enumerate() {
        let at = list.index(i);
        let name = entry.text("name");
        if name.is_empty() {
            if ports.len() > 1 {
                e.required(at.field("name"), "");
            }
        } else {
            e.rule(at.field("name"), name, dns_label(name));
            if !names.insert(name) {
                e.duplicate_text(at.field("name"), name);
            }
        }
        port(e, at.field("port"), &entry["port"]);
        one_of(e, &at, entry, "protocol", &PROTOCOLS);
        port_or_name(e, at.field("targetPort"), &entry["targetPort"]);
        if let Some(protocol) = entry["appProtocol"].as_str() {
            e.rule(at.field("appProtocol"), protocol, label_key(protocol));
        }
    }
}

/// What is asked of the ports once each of them has been looked at.
fn ports_together(e: &mut Errors, spec: &Value) {
    let ports = spec.list("ports");
    let list = SPEC.field("ports");
    if spec.text("type") == "ClusterIP" {
        for (i, _) in ports.iter().enumerate().filter(|(_, port)| port.int("nodePort") != 0) {
            e.forbidden(list.index(i).field("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let (mut on_nodes, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let number = port.int("nodePort");
        if number != 0 && !on_nodes.insert((port.text("protocol"), number)) {
            e.duplicate(list.index(i).field("nodePort"), &port["nodePort"]);
        }
    }
    for (i, port) in ports.iter().enumerate() {
        if !numbers.insert((port.text("protocol"), port.int("port"))) {
            // What must differ, in the form in which Kubernetes compares it.
            let pair = serde_json::json!({
                "Name": "", "Protocol": port["protocol"], "AppProtocol": null, "Port": port["port"], "TargetPort": 0,
                "NodePort": 0,
            });
            e.duplicate(list.index(i), &pair);
        }
    }
}

/// Who may reach a load balancer: a field, or an annotation from before there was one.
fn source_ranges(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let is_balancer = spec.text("type") == "LoadBalancer";
    let ranges = spec.list("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let list = SPEC.field("LoadBalancerSourceRanges");
        if !is_balancer {
            e.forbidden(list, BALANCER_ONLY);
        }
        for (i, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
            cidr(e, list.index(i), range.trim());
        }
    } else if let Some(text) = object["metadata"]["annotations"][SOURCE_RANGES].as_str() {
        let meta = Path::root("metadata");
        let at = meta.field("annotations");
        let at = at.key(SOURCE_RANGES);
        if !is_balancer {
            e.forbidden(at, BALANCER_ONLY);
        }
        for range in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            cidr(e, at, range);
        }
    }
}

fn affinity(e: &mut Errors, spec: &Value) {
    const DAY: i64 = 86_400;
    let config = &spec["sessionAffinityConfig"];
    let at = SPEC.field("sessionAffinityConfig");
    match spec.text("sessionAffinity") {
        "ClientIP" => {
            let (client, at) = (&config["clientIP"], at.field("clientIP"));
            let seconds = client.int("timeoutSeconds");
            if !client.has("timeoutSeconds") {
                e.required(at.field("timeoutSeconds"), "");
            } else if !(1..=DAY).contains(&seconds) {
                let text = format!("must be greater than 0 and less than {DAY}");
                e.invalid(at.field("timeoutSeconds"), &seconds.into(), &text);
            }
        }
        "None" if !config.is_null() => e.forbidden(at, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn addresses(e: &mut Errors, spec: &Value) {
    const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
    one_of_if_set(e, &SPEC, spec, "ipFamilyPolicy", &["SingleStack", "PreferDualStack", "RequireDualStack"]);
    let list = SPEC.field("ipFamilies");
    let families = spec.list("ipFamilies");
    for (i, family) in families.iter().enumerate() {
        if !FAMILIES.contains(&family.as_str().unwrap_or_default()) {
            e.unsupported(list.index(i), family, &FAMILIES);
        }
        if families[..i].contains(family) {
            e.duplicate(list.index(i), family);
        }
    }
    let list = SPEC.field("clusterIPs");
    let (first, all) = (spec.text("clusterIP"), spec.list("clusterIPs"));
    if first.is_empty() && !all.is_empty() {
        e.invalid(list, &spec["clusterIPs"], "must be empty when `clusterIP` is not specified");
    }
    if !first.is_empty() && all.first().is_some_and(|ip| ip != first) {
        e.invalid(list, &spec["clusterIPs"], "first value must match `clusterIP`");
    }
    if all.len() > 2 {
        e.invalid(list, &spec["clusterIPs"], "may only hold up to 2 values");
    }
    if all.len() > 1 && all[0] == "None" {
        let text = "may not contain more than one value when the first is 'None'";
        e.invalid(list, &spec["clusterIPs"], text);
    }
    for (i, text) in all.iter().filter_map(Value::as_str).enumerate() {
        if i == 0 && text == "None" {
            continue;
        }
        ip(e, list.index(i), text);
    }
}

fn balancer(e: &mut Errors, spec: &Value) {
    let is_balancer = spec.text("type") == "LoadBalancer";
    let allocates = SPEC.field("allocateLoadBalancerNodePorts");
    match (is_balancer, spec.has("allocateLoadBalancerNodePorts")) {
        (true, false) => e.required(allocates, ""),
        (false, true) => e.forbidden(allocates, BALANCER_ONLY),
        _ => {}
    }
    let at = SPEC.field("loadBalancerClass");
    match spec["loadBalancerClass"].as_str() {
        Some(class) if is_balancer => e.rule(at, class, label_key(class)),
        Some(_) => e.forbidden(at, BALANCER_ONLY),
        None => {}
    }
}

fn traffic(e: &mut Errors, spec: &Value) {
    const POLICIES: [&str; 2] = ["Cluster", "Local"];
    let kind = spec.text("type");
    let reachable =
        matches!(kind, "LoadBalancer" | "NodePort") || kind == "ClusterIP" && !spec.is_empty("externalIPs");
    let policy = spec.text("externalTrafficPolicy");
    if reachable {
        one_of(e, &SPEC, spec, "externalTrafficPolicy", &POLICIES);
    } else if !policy.is_empty() {
        let text = "may only be set for externally-accessible services";
        e.invalid_text(SPEC.field("externalTrafficPolicy"), policy, text);
    }
    let check = spec.int("healthCheckNodePort");
    let at = SPEC.field("healthCheckNodePort");
    if kind != "LoadBalancer" || policy != "Local" {
        if check != 0 {
            let text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            e.invalid(at, &check.into(), text);
        }
    } else if check == 0 {
        e.required(at, "");
    } else {
        port(e, at, &spec["healthCheckNodePort"]);
    }
    if spec.has("internalTrafficPolicy") {
        one_of(e, &SPEC, spec, "internalTrafficPolicy", &POLICIES);
    } else if matches!(kind, "ClusterIP" | "LoadBalancer" | "NodePort") {
        e.required(SPEC.field("internalTrafficPolicy"), "");
    }
}

pub(super) fn change(e: &mut Errors, old: &Value, new: &Value) {
    let (old, new) = (&old["spec"], &new["spec"]);
    let addressed = |spec: &Value| ["ClusterIP", "NodePort", "LoadBalancer"].contains(&spec.text("type"));
    if addressed(old) && addressed(new) {
        for (field, what) in [("clusterIPs", "clusterIP"), ("ipFamilies", "ipFamily")] {
            let list = SPEC.field(field);
            let (before, after) = (old.list(field), new.list(field));
            for (i, value) in before.iter().enumerate() {
                match after.get(i) {
                    // Families that are left out are those of the addresses.
                    None if i == 0 && new.is_empty("clusterIPs") => {
                        e.invalid(list.index(0), &new[field], &format!("primary {what} can not be unset"));
                    }
                    Some(now) if now != value => {
                        e.invalid(list.index(i), &new[field], "may not change once set");
                    }
                    _ => {}
                }
            }
        }
    }
    let balanced = old.text("type") == "LoadBalancer" && new.text("type") == "LoadBalancer";
    if balanced && old["loadBalancerClass"] != new["loadBalancerClass"] {
        e.invalid(SPEC.field("loadBalancerClass"), &new["loadBalancerClass"], "may not change once set");
    }
    let local =
        |spec: &Value| spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local";
    if local(old) && local(new) && old.int("healthCheckNodePort") != new.int("healthCheckNodePort") {
        e.forbidden(SPEC.field("healthCheckNodePort"), "field is immutable");
    }
}
