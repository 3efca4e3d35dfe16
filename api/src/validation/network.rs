//! Ingresses, endpoints and network policies.

use orlop_core::rules::names::{dns_label, dns_subdomain, label_value};
use serde_json::Value;

use super::address::special_address;
use super::common::{
    PROTOCOLS, canonical_ip, cidr, label_selector, named, named_if_set, one_of, one_of_if_set, path_segment,
    port, port_name, port_or_name,
};
use super::config::fixed;
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");

/// A name in DNS whose first part may be `*`.
fn host(name: &str) -> Vec<String> {
    if !name.contains('*') {
        return dns_subdomain(name);
    }
    match name.strip_prefix("*.") {
        Some(rest) if dns_subdomain(rest).is_empty() => Vec::new(),
        _ => vec![
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. \
             '*.example.com', regex used for validation is \
             '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        ],
    }
}

pub(super) fn ingress(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    if spec.is_empty("rules") && !spec.has("defaultBackend") {
        let text = "either `defaultBackend` or `rules` must be specified";
        e.invalid(SPEC, &spec["rules"], text);
    }
    if spec.has("defaultBackend") {
        backend(e, &SPEC.field("defaultBackend"), &spec["defaultBackend"]);
    }
    let list = SPEC.field("rules");
    for (i, rule) in spec.list("rules").iter().enumerate() {
        let at = list.index(i);
        let name = rule.text("host");
        if !name.is_empty() {
            if name.parse::<std::net::IpAddr>().is_ok() {
                e.invalid_text(at.field("host"), name, "must be a DNS name, not an IP address");
            }
            e.rule(at.field("host"), name, host(name));
        }
        if !rule.has("http") {
            continue;
        }
        let http = at.field("http");
        let paths = http.field("paths");
        if rule["http"].is_empty("paths") {
            e.required(paths, "");
        }
        for (i, path) in rule["http"].list("paths").iter().enumerate() {
            ingress_path(e, &paths.index(i), path);
        }
    }
    let list = SPEC.field("tls");
    for (i, tls) in spec.list("tls").iter().enumerate() {
        let at = list.index(i);
        let hosts = at.field("hosts");
        for (i, name) in tls.list("hosts").iter().filter_map(Value::as_str).enumerate() {
            e.rule(hosts.index(i), name, host(name));
        }
        named_if_set(e, &at, tls, "secretName", dns_subdomain);
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        e.rule(SPEC.field("ingressClassName"), class, dns_subdomain(class));
    }
}

/// The older way to name a class and the newer one must agree in what is new.
pub(super) fn ingress_create(e: &mut Errors, object: &Value) {
    const CLASS: &str = "kubernetes.io/ingress.class";
    let annotation = object["metadata"]["annotations"].get(CLASS).and_then(Value::as_str);
    let class = object["spec"]["ingressClassName"].as_str();
    if let (Some(older), Some(newer)) = (annotation, class)
        && older != newer
    {
        let text = "must match `ingressClassName` when both are specified";
        e.invalid_text(Path::root("annotations").field(CLASS), older, text);
    }
}

fn ingress_path(e: &mut Errors, at: &Path<'_>, entry: &Value) {
    let path = entry.text("path");
    let absolute = path.starts_with('/');
    let not_absolute = "must be an absolute path";
    if !entry.has("pathType") {
        return e.required(at.field("pathType"), "pathType must be specified");
    }
    match entry.text("pathType") {
        "Exact" | "Prefix" => {
            if !absolute {
                e.invalid_text(at.field("path"), path, not_absolute);
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.contains(part) {
                    e.invalid_text(at.field("path"), path, &format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if path.ends_with(end) {
                    e.invalid_text(at.field("path"), path, &format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !absolute {
                e.invalid_text(at.field("path"), path, not_absolute);
            }
        }
        _ => e.unsupported(
            at.field("pathType"),
            &entry["pathType"],
            &["Exact", "ImplementationSpecific", "Prefix"],
        ),
    }
    backend(e, &at.field("backend"), &entry["backend"]);
}

fn backend(e: &mut Errors, at: &Path<'_>, backend: &Value) {
    let service = &backend["service"];
    match (backend.has("resource"), !service.is_null()) {
        (true, true) => e.invalid_text(*at, "", "cannot set both resource and service backends"),
        (true, false) => {
            let (at, resource) = (at.field("resource"), &backend["resource"]);
            if let Some(group) = resource["apiGroup"].as_str() {
                e.rule(at.field("apiGroup"), group, dns_subdomain(group));
            }
            named(e, &at, resource, "kind", path_segment);
            named(e, &at, resource, "name", path_segment);
        }
        (false, true) => {
            let (name, number) = (service["port"].text("name"), service["port"].int("number"));
            let to = at.field("service");
            named(e, &to, service, "name", dns_label);
            let to = to.field("port");
            match (!name.is_empty(), number != 0) {
                (true, true) => e.invalid_text(*at, "", "cannot set both port name & port number"),
                (true, false) => e.rule(to.field("name"), name, port_name(name)),
                (false, true) => port(e, to.field("number"), &service["port"]["number"]),
                (false, false) => e.required(*at, "port name or number is required"),
            }
        }
        (false, false) => e.invalid_text(*at, "", "resource or service backend is required"),
    }
}

pub(super) fn ingress_class(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let controller = spec.text("controller");
    let at = SPEC.field("controller");
    if controller.len() > 250 {
        e.too_long(at, 250);
    }
    match controller.split_once('/') {
        _ if controller.is_empty() => e.required(at, ""),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            e.rule(at, domain, dns_subdomain(domain));
            if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
                e.invalid_text(at, path, "Invalid path");
            }
        }
        _ => e.invalid_text(at, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    let parameters = &spec["parameters"];
    if parameters.is_null() {
        return;
    }
    let at = SPEC.field("parameters");
    if let Some(group) = parameters["apiGroup"].as_str() {
        e.rule(at.field("apiGroup"), group, dns_subdomain(group));
    }
    named(e, &at, parameters, "kind", path_segment);
    named(e, &at, parameters, "name", path_segment);
    one_of(e, &at, parameters, "scope", &["Cluster", "Namespace"]);
    let namespace = parameters["namespace"].as_str();
    match (parameters.text("scope"), namespace) {
        ("Namespace", None) => {
            e.required(at.field("namespace"), "`parameters.scope` is set to 'Namespace'");
        }
        ("Namespace", Some(name)) => e.rule(at.field("namespace"), name, dns_label(name)),
        ("Cluster", Some(_)) => {
            e.forbidden(at.field("namespace"), "`parameters.scope` is set to 'Cluster'");
        }
        _ => {}
    }
}

pub(super) fn ingress_class_change(e: &mut Errors, old: &Value, new: &Value) {
    fixed(e, SPEC.field("controller"), &old["spec"]["controller"], &new["spec"]["controller"]);
}

pub(super) fn endpoint_slice(e: &mut Errors, object: &Value) {
    one_of_type(e, object);
    let list = Path::root("endpoints");
    for (i, endpoint) in object.list("endpoints").iter().enumerate() {
        let at = list.index(i);
        let addresses = at.field("addresses");
        if endpoint.is_empty("addresses") {
            e.required(addresses, "must contain at least 1 address");
        }
        for (i, address) in endpoint.list("addresses").iter().filter_map(Value::as_str).enumerate() {
            match object.text("addressType") {
                family @ ("IPv4" | "IPv6") => {
                    let before = e.0.len();
                    canonical_ip(e, addresses.index(i), address);
                    if e.0.len() > before {
                        continue;
                    }
                    if address.contains(':') != (family == "IPv6") {
                        let text = format!("must be an {family} address");
                        e.invalid_text(addresses, address, &text);
                    }
                    special_address(e, addresses.index(i), address);
                }
                "FQDN" => e.rule(addresses.index(i), address, dns_subdomain(address)),
                _ => {}
            }
        }
        named_if_set(e, &at, endpoint, "hostname", dns_label);
        named_if_set(e, &at, endpoint, "nodeName", dns_subdomain);
        let hints = at.field("hints");
        let zones = hints.field("forZones");
        let mut seen: Vec<&str> = Vec::new();
        for (i, zone) in endpoint["hints"].list("forZones").iter().enumerate() {
            let name = zone.text("name");
            if seen.contains(&name) {
                e.duplicate_text(zones.index(i).field("name"), name);
            } else {
                seen.push(name);
            }
            e.rule(zones.index(i).field("name"), name, label_value(name));
        }
    }
    let list = Path::root("ports");
    let mut names: Vec<&str> = Vec::new();
    for (i, entry) in object.list("ports").iter().enumerate() {
        let at = list.index(i);
        let name = entry.text("name");
        if !name.is_empty() {
            e.rule(at.field("name"), name, dns_label(name));
        }
        match names.contains(&name) {
            true => e.duplicate_text(at.field("name"), name),
            false => names.push(name),
        }
        one_of(e, &at, entry, "protocol", &PROTOCOLS);
    }
}

fn one_of_type(e: &mut Errors, object: &Value) {
    let at = Path::root("addressType");
    match object.text("addressType") {
        "" => e.required(at, ""),
        "FQDN" | "IPv4" | "IPv6" => {}
        _ => e.unsupported(at, &object["addressType"], &["FQDN", "IPv4", "IPv6"]),
    }
}

pub(super) fn endpoint_slice_change(e: &mut Errors, old: &Value, new: &Value) {
    fixed(e, Path::root("addressType"), &old["addressType"], &new["addressType"]);
}

pub(super) fn network_policy(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    label_selector(e, SPEC.field("podSelector"), &spec["podSelector"]);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let list = SPEC.field(direction);
        for (i, rule) in spec.list(direction).iter().enumerate() {
            let at = list.index(i);
            let ports = at.field("ports");
            for (i, entry) in rule.list("ports").iter().enumerate() {
                policy_port(e, &ports.index(i), entry);
            }
            let list = at.field(peers);
            for (i, peer) in rule.list(peers).iter().enumerate() {
                policy_peer(e, &list.index(i), peer);
            }
        }
    }
    let list = SPEC.field("policyTypes");
    let types = spec.list("policyTypes");
    if types.len() > 2 {
        return e.invalid(list, &spec["policyTypes"], "may not specify more than two policyTypes");
    }
    for (i, name) in types.iter().enumerate() {
        if !["Ingress", "Egress"].contains(&name.as_str().unwrap_or_default()) {
            e.unsupported(list.index(i), name, &["Ingress", "Egress"]);
        }
    }
}

fn policy_port(e: &mut Errors, at: &Path<'_>, entry: &Value) {
    one_of_if_set(e, at, entry, "protocol", &["TCP", "UDP", "SCTP"]);
    let number = &entry["port"];
    if !number.is_null() {
        port_or_name(e, at.field("port"), number);
    }
    let end = &entry["endPort"];
    if end.is_null() {
        return;
    }
    match number.as_i64() {
        Some(start) => {
            if end.as_i64().unwrap_or_default() < start {
                e.invalid(at.field("endPort"), number, "must be greater than or equal to `port`");
            }
            port(e, at.field("endPort"), end);
        }
        None if number.is_null() => {
            e.invalid(at.field("endPort"), end, "may not be specified when `port` is not specified");
        }
        None => e.invalid(at.field("endPort"), end, "may not be specified when `port` is non-numeric"),
    }
}

fn policy_peer(e: &mut Errors, at: &Path<'_>, peer: &Value) {
    let mut found = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if peer.has(field) {
            found += 1;
            label_selector(e, at.field(field), &peer[field]);
        }
    }
    let block = &peer["ipBlock"];
    if !block.is_null() {
        let path = at.field("ipBlock");
        if found > 0 {
            e.forbidden(*at, "may not specify both ipBlock and another peer");
        }
        found += 1;
        match block.text("cidr") {
            "" => e.required(path.field("cidr"), ""),
            text => cidr(e, path.field("cidr"), text),
        }
        let outer = block.text("cidr").parse::<ipnet::IpNet>();
        let list = path.field("except");
        for (i, text) in block.list("except").iter().filter_map(Value::as_str).enumerate() {
            cidr(e, list.index(i), text);
            if let (Ok(outer), Ok(inner)) = (&outer, text.parse::<ipnet::IpNet>())
                && (!outer.contains(&inner) || *outer == inner)
            {
                e.invalid_text(list.index(i), text, "must be a strict subset of `cidr`");
            }
        }
    }
    if found == 0 {
        e.required(*at, "must specify a peer");
    }
}
