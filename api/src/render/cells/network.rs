//! Services, endpoints, ingresses, policies, addresses.

use orlop_core::Timestamp;
use serde_json::Value;

use super::{age, int, items, labels, name, or, selector, some_of, text};
use crate::render::columns::{AGE, Known, NAME, Printer};

pub(super) static SERVICE: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Type"),
        Known::text("Cluster-IP"),
        Known::text("External-IP"),
        Known::text("Port(s)"),
        AGE,
        Known::wide("Selector"),
    ],
    cells: |o, now| {
        let spec = &o["spec"];
        let ip = items(&spec["clusterIPs"]).first().map_or("", text);
        vec![
            name(o),
            text(&spec["type"]).into(),
            or(ip, "<none>"),
            external_ip(o).into(),
            ports(items(&spec["ports"])).into(),
            age(o, now),
            labels(&spec["selector"]).into(),
        ]
    },
};

fn texts(value: &Value) -> Vec<&str> {
    items(value).iter().map(text).collect()
}

fn external_ip(service: &Value) -> String {
    let spec = &service["spec"];
    let mut given = texts(&spec["externalIPs"]);
    match text(&spec["type"]) {
        "ClusterIP" | "NodePort" if given.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => given.join(","),
        "LoadBalancer" => {
            let balancers = balancers(&service["status"]);
            if !given.is_empty() {
                let mut all: Vec<&str> = balancers.iter().map(String::as_str).collect();
                all.append(&mut given);
                all.join(",")
            } else if balancers.is_empty() {
                "<pending>".into()
            } else {
                balancers.join(",")
            }
        }
        "ExternalName" => text(&spec["externalName"]).into(),
        _ => "<unknown>".into(),
    }
}

/// Addresses or host names, each once, sorted.
fn balancers(status: &Value) -> Vec<String> {
    let mut all: Vec<String> = items(&status["loadBalancer"]["ingress"])
        .iter()
        .map(|i| if text(&i["ip"]).is_empty() { text(&i["hostname"]) } else { text(&i["ip"]) })
        .filter(|shown| !shown.is_empty())
        .map(str::to_owned)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn ports(ports: &[Value]) -> String {
    if ports.is_empty() {
        return "<none>".into();
    }
    let shown: Vec<String> = ports
        .iter()
        .map(|p| {
            let (port, node, protocol) = (int(&p["port"]), int(&p["nodePort"]), text(&p["protocol"]));
            if node > 0 { format!("{port}:{node}/{protocol}") } else { format!("{port}/{protocol}") }
        })
        .collect();
    shown.join(",")
}

pub(super) static ENDPOINTS: Printer = Printer {
    columns: &[NAME, Known::text("Endpoints"), AGE],
    cells: |o, now| {
        let mut all = Vec::new();
        for subset in items(&o["subsets"]) {
            let addresses = items(&subset["addresses"]);
            let ports = items(&subset["ports"]);
            if ports.is_empty() {
                all.extend(addresses.iter().map(|a| text(&a["ip"]).to_owned()));
            }
            for port in ports {
                all.extend(addresses.iter().map(|a| {
                    let ip = text(&a["ip"]);
                    let port = int(&port["port"]);
                    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
                }));
            }
        }
        let shown = if items(&o["subsets"]).is_empty() { "<none>".to_owned() } else { some_of(&all, 3) };
        vec![name(o), shown.into(), age(o, now)]
    },
};

fn unset(list: &[String]) -> Value {
    or(&some_of(list, 3), "<unset>")
}

pub(super) static ENDPOINT_SLICE: Printer = Printer {
    columns: &[NAME, Known::text("AddressType"), Known::text("Ports"), Known::text("Endpoints"), AGE],
    cells: |o, now| {
        let ports: Vec<String> = items(&o["ports"])
            .iter()
            .map(|p| match (p["port"].as_i64(), p["name"].as_str()) {
                (Some(port), _) => port.to_string(),
                (None, Some(name)) => name.to_owned(),
                (None, None) => "*".to_owned(),
            })
            .collect();
        let addresses: Vec<String> = items(&o["endpoints"])
            .iter()
            .flat_map(|e| items(&e["addresses"]).iter().map(|a| text(a).to_owned()))
            .collect();
        vec![name(o), text(&o["addressType"]).into(), unset(&ports), unset(&addresses), age(o, now)]
    },
};

pub(super) static INGRESS: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Class"),
        Known::text("Hosts"),
        Known::text("Address"),
        Known::text("Ports"),
        AGE,
    ],
    cells: |o, now| {
        let spec = &o["spec"];
        vec![
            name(o),
            spec["ingressClassName"].as_str().unwrap_or("<none>").into(),
            hosts(items(&spec["rules"])).into(),
            balancers(&o["status"]).join(",").into(),
            if items(&spec["tls"]).is_empty() { "80" } else { "80, 443" }.into(),
            age(o, now),
        ]
    },
};

/// Three hosts at most; what is beyond is counted in rules.
fn hosts(rules: &[Value]) -> String {
    let named: Vec<&str> = rules.iter().map(|r| text(&r["host"])).filter(|h| !h.is_empty()).take(3).collect();
    if named.is_empty() {
        return "*".into();
    }
    let third = rules.iter().enumerate().filter(|(_, r)| !text(&r["host"]).is_empty()).nth(2);
    match third {
        Some((at, _)) if at + 1 < rules.len() => {
            format!("{} + {} more...", named.join(","), rules.len() - 3)
        }
        _ => named.join(","),
    }
}

pub(super) static INGRESS_CLASS: Printer = Printer {
    columns: &[NAME, Known::text("Controller"), Known::text("Parameters"), AGE],
    cells: |o, now| {
        let spec = &o["spec"];
        let parameters = &spec["parameters"];
        let shown = if parameters.is_null() {
            "<none>".to_owned()
        } else {
            let group = parameters["apiGroup"].as_str().map(|g| format!(".{g}")).unwrap_or_default();
            format!("{}{group}/{}", text(&parameters["kind"]), text(&parameters["name"]))
        };
        vec![name(o), text(&spec["controller"]).into(), shown.into(), age(o, now)]
    },
};

pub(super) static NETWORK_POLICY: Printer = Printer {
    columns: &[NAME, Known::text("Pod-Selector"), AGE],
    cells: |o, now| vec![name(o), selector(&o["spec"]["podSelector"]).into(), age(o, now)],
};

pub(super) static IP_ADDRESS: Printer =
    Printer { columns: &[NAME, Known::text("ParentRef")], cells: ip_address };

/// One cell more than there are columns, as in Kubernetes.
fn ip_address(o: &Value, now: Timestamp) -> Vec<Value> {
    let parent = &o["spec"]["parentRef"];
    let mut shown = text(&parent["resource"]).to_owned();
    if !text(&parent["group"]).is_empty() {
        shown = format!("{shown}.{}", text(&parent["group"]));
    }
    for part in [&parent["namespace"], &parent["name"]] {
        if !text(part).is_empty() {
            shown = format!("{shown}/{}", text(part));
        }
    }
    vec![name(o), shown.into(), age(o, now)]
}

pub(super) static SERVICE_CIDR: Printer = Printer {
    columns: &[NAME, Known::text("CIDRs"), AGE],
    cells: |o, now| vec![name(o), texts(&o["spec"]["cidrs"]).join(",").into(), age(o, now)],
};
