//! From names to records.

use std::collections::BTreeSet;
use std::net::IpAddr;

use orlop_core::{Key, Name};
use smol_str::format_smolstr;

use super::{Data, Found, VERSION};
use crate::plan::{Endpoint, NetPlan, Protocol, ServiceKind, ServicePlan};

/// What is at the name with these labels below the zone, the first one first.
pub(super) fn find(plan: &NetPlan, zone: &str, labels: &[&str]) -> Found {
    match labels {
        [] | ["svc"] | ["pod"] => Found::Branch,
        ["dns-version"] => Found::Records(vec![Data::Txt(VERSION.to_owned())]),
        [namespace, "svc"] => branch(plan.services.range(from(namespace)..).map(|(key, _)| key), namespace),
        [pod, namespace, "pod"] => pod_record(plan, pod, namespace),
        // Pods are known by address alone; whether a namespace has any does not decide between two kinds of "no".
        [_, "pod"] => Found::Branch,
        [rest @ .., service, namespace, "svc"] => match plan.services.get(&Key::new(*namespace, *service)) {
            Some(service) => below_service(service, zone, rest),
            None => Found::Nothing,
        },
        _ => Found::Nothing,
    }
}

fn from(namespace: &str) -> Key {
    Key::new(namespace, "")
}

fn branch<'a>(mut keys: impl Iterator<Item = &'a Key>, namespace: &str) -> Found {
    match keys.next() {
        Some(key) if key.namespace == namespace => Found::Branch,
        _ => Found::Nothing,
    }
}

fn pod_record(plan: &NetPlan, pod: &str, namespace: &str) -> Found {
    let ip: Option<IpAddr> = if pod.matches('-').count() == 3 && !pod.contains("--") {
        pod.replace('-', ".").parse().ok()
    } else {
        pod.replace('-', ":").parse().ok()
    };
    match ip.and_then(|ip| plan.pods.get(&ip).map(|entry| (ip, entry))) {
        Some((ip, entry)) if entry.key.namespace == namespace => Found::Records(vec![Data::address(ip)]),
        _ => Found::Nothing,
    }
}

fn below_service(service: &ServicePlan, zone: &str, labels: &[&str]) -> Found {
    match (&service.kind, labels) {
        (ServiceKind::ExternalName(name), []) => {
            Found::Records(vec![Data::Cname(name.trim_end_matches('.').to_owned())])
        }
        (ServiceKind::ClusterIp, []) => {
            Found::Records(service.cluster_ips.iter().copied().map(Data::address).collect())
        }
        (ServiceKind::Headless, []) => {
            let addresses: BTreeSet<IpAddr> = ready(service).map(|e| e.address).collect();
            some(addresses.into_iter().map(Data::address).collect())
        }
        (ServiceKind::ExternalName(_), _) => Found::Nothing,
        (_, [port, protocol]) if port.starts_with('_') => srv(service, zone, &port[1..], protocol),
        (_, [protocol]) if protocol.starts_with('_') => {
            let spoken = |p: &crate::plan::PortPlan| !p.name.is_empty() && spells(p.protocol, protocol);
            if service.ports.iter().any(spoken) { Found::Branch } else { Found::Nothing }
        }
        (ServiceKind::Headless, [host]) => {
            let addresses: BTreeSet<IpAddr> = ready(service)
                .filter(|e| hostname(e).eq_ignore_ascii_case(host))
                .map(|e| e.address)
                .collect();
            some(addresses.into_iter().map(Data::address).collect())
        }
        _ => Found::Nothing,
    }
}

fn some(data: Vec<Data>) -> Found {
    if data.is_empty() { Found::Nothing } else { Found::Records(data) }
}

/// Whether `label` is `_tcp` and the like.
fn spells(protocol: Protocol, label: &str) -> bool {
    label.strip_prefix('_').is_some_and(|p| p.eq_ignore_ascii_case(protocol.as_str()))
}

fn srv(service: &ServicePlan, zone: &str, name: &str, protocol: &str) -> Found {
    let asked =
        |p: &&crate::plan::PortPlan| p.name == name && !name.is_empty() && spells(p.protocol, protocol);
    let Some(port) = service.ports.iter().find(asked) else { return Found::Nothing };
    let record = |port, target| Data::Srv { priority: 0, weight: 100, port, target };
    let own = name_of(&service.key, zone);
    if service.kind == ServiceKind::ClusterIp {
        return Found::Records(vec![record(port.port, own)]);
    }
    let targets: BTreeSet<(Name, u16)> =
        port.endpoints.iter().filter(|e| e.ready).map(|e| (hostname(e), e.port)).collect();
    some(targets.into_iter().map(|(host, port)| record(port, format!("{host}.{own}"))).collect())
}

/// The names that SRV records of the Service lead to, with their addresses.
pub(super) fn hosts<'a>(service: &'a ServicePlan, zone: &str) -> impl Iterator<Item = (String, IpAddr)> + 'a {
    let own = name_of(&service.key, zone);
    let below = own.clone();
    let routed = (service.kind == ServiceKind::ClusterIp).then_some(&service.cluster_ips);
    let headless = (service.kind == ServiceKind::Headless).then(|| ready(service));
    let routed = routed.into_iter().flatten().map(move |ip| (own.clone(), *ip));
    routed.chain(headless.into_iter().flatten().map(move |e| (format!("{}.{below}", hostname(e)), e.address)))
}

/// The endpoints that DNS tells of.
pub(super) fn ready(service: &ServicePlan) -> impl Iterator<Item = &Endpoint> {
    let with_ports = service.ports.iter().flat_map(|port| port.endpoints.iter());
    with_ports.chain(&service.portless).filter(|endpoint| endpoint.ready)
}

/// The name of an endpoint below its Service: its hostname, else its address with dashes.
pub(super) fn hostname(endpoint: &Endpoint) -> Name {
    if endpoint.hostname.is_empty() {
        format_smolstr!("{}", endpoint.address.to_string().replace(['.', ':'], "-"))
    } else {
        endpoint.hostname.clone()
    }
}

/// The Service's name in DNS.
pub(super) fn name_of(service: &Key, zone: &str) -> String {
    format!("{}.{}.svc.{zone}", service.name, service.namespace)
}
