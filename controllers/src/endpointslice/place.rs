//! Distributing pods over slices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use orlop_core::kinds::{
    Endpoint, EndpointConditions, EndpointHints, EndpointSlice, EndpointSlicePort, ForNode, ForZone, Node,
    ObjectReference, Pod, Service, ServicePort,
};
use orlop_core::rules::IntOrString;
use orlop_core::rules::pod::{is_ready, is_terminal};
use orlop_core::{Labels, Name};

use super::{HEADLESS, MANAGED_BY, MANAGER, SERVICE_NAME, topology};

pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// A slice as it should be. One that is yet to be made has no name.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Its name.
    pub name: Name,
    /// `IPv4` or `IPv6`.
    pub address_type: Name,
    /// All labels.
    pub labels: Labels,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Its ports.
    pub ports: Vec<EndpointSlicePort>,
}

/// What changes about the slices of a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// Slices to make.
    pub create: Vec<Slice>,
    /// Slices to change.
    pub update: Vec<Slice>,
    /// Slices to delete, by name.
    pub delete: Vec<Name>,
    /// Pods that were left out because their node is not known.
    pub homeless: Vec<Name>,
}

/// Distributes the pods of a Service over slices.
///
/// An endpoint stays where it is; new ones fill the slices that change anyway, then the unchanged slice in which all that
/// is left just fits, then new slices. So that something is there, a Service without endpoints has one empty slice.
/// `shares`, each zone's part of all CPUs, is asked for where the Service wants its endpoints shared out by zone.
pub fn place<'a>(
    service: &Service,
    pods: &[&Pod],
    nodes: &dyn Fn(&str) -> Option<&'a Node>,
    shares: &dyn Fn() -> Option<BTreeMap<Name, f64>>,
    existing: &[&EndpointSlice],
    max: usize,
) -> Placement {
    let mut placement = Placement::default();
    let types = address_types(service);
    let by_zone = topology::asked(service).then(shares);
    for slice in existing.iter().filter(|slice| !types.contains(&slice.address_type.as_str())) {
        placement.delete.push(slice.metadata.name.clone());
    }
    for address_type in types {
        let existing: Vec<&EndpointSlice> =
            existing.iter().copied().filter(|slice| slice.address_type == address_type).collect();
        place_family(service, pods, nodes, by_zone.as_ref(), &existing, max, address_type, &mut placement);
    }
    placement
}

/// The families that the Service has. One without an address takes both, unless it says which.
pub(crate) fn address_types(service: &Service) -> Vec<&'static str> {
    let family = |v6| if v6 { "IPv6" } else { "IPv4" };
    if !service.spec.ip_families.is_empty() {
        return service.spec.ip_families.iter().map(|f| family(f == "IPv6")).collect();
    }
    match service.spec.cluster_ip.parse::<IpAddr>() {
        Ok(address) => vec![family(address.is_ipv6())],
        Err(_) => vec!["IPv4", "IPv6"],
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity(Vec<Name>, Name, Name, Name, Name);

fn identity(endpoint: &Endpoint) -> Identity {
    let target = endpoint.target_ref.as_ref();
    let name = target.map(|t| t.name.clone()).unwrap_or_default();
    let namespace = target.map(|t| t.namespace.clone()).unwrap_or_default();
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    Identity(addresses, namespace, name, endpoint.node_name.clone(), endpoint.hostname.clone())
}

type Ports = Vec<(Name, Option<i32>, Name, Name)>;

fn port_key(ports: &[EndpointSlicePort]) -> Ports {
    let mut key: Ports =
        ports.iter().map(|p| (p.name.clone(), p.port, p.protocol.clone(), p.app_protocol.clone())).collect();
    key.sort();
    key
}

#[expect(clippy::too_many_arguments, reason = "one step of one function, kept apart for its length")]
fn place_family<'a>(
    service: &Service,
    pods: &[&Pod],
    nodes: &dyn Fn(&str) -> Option<&'a Node>,
    by_zone: Option<&Option<BTreeMap<Name, f64>>>,
    existing: &[&EndpointSlice],
    max: usize,
    address_type: &'static str,
    placement: &mut Placement,
) {
    let mut by_ports: BTreeMap<Ports, Vec<&EndpointSlice>> = BTreeMap::new();
    let mut delete: Vec<&EndpointSlice> = Vec::new();
    for slice in existing {
        if slice.metadata.is_controlled_by(&service.metadata) {
            by_ports.entry(port_key(&slice.ports)).or_default().push(slice);
        } else {
            delete.push(slice);
        }
    }
    let mut desired: BTreeMap<Ports, (Vec<EndpointSlicePort>, BTreeMap<Identity, Endpoint>)> =
        BTreeMap::new();
    for pod in pods.iter().filter(|pod| has_address(pod)) {
        let ports = endpoint_ports(service, pod);
        let (_, endpoints) = desired.entry(port_key(&ports)).or_insert_with(|| (ports, BTreeMap::new()));
        let node = nodes(&pod.spec.node_name);
        if node.is_none() && !service.spec.publish_not_ready_addresses {
            if !placement.homeless.contains(&pod.metadata.name) {
                placement.homeless.push(pod.metadata.name.clone());
            }
            continue;
        }
        let mut endpoint = endpoint(service, pod, node, address_type);
        if by_zone.is_some() {
            endpoint.hints = None;
        }
        if !endpoint.addresses.is_empty() {
            endpoints.insert(identity(&endpoint), endpoint);
        }
    }
    let mut create = Vec::new();
    let mut update = Vec::new();
    let mut unchanged = Vec::new();
    for (key, (ports, mut endpoints)) in desired {
        let slices = by_ports.remove(&key).unwrap_or_default();
        if by_zone.is_some() {
            // Hints are no reason for a change yet.
            for present in slices.iter().flat_map(|slice| &slice.endpoints) {
                if let Some(endpoint) = endpoints.get_mut(&identity(present)) {
                    endpoint.hints.clone_from(&present.hints);
                }
            }
        }
        let untouched = fill(
            service,
            address_type,
            ports,
            endpoints,
            &slices,
            max,
            &mut create,
            &mut update,
            &mut delete,
        );
        unchanged.extend(untouched);
    }
    delete.extend(by_ports.into_values().flatten());
    if existing.len() == delete.len() && create.is_empty() {
        let placeholder = Slice {
            name: Name::default(),
            address_type: Name::new_static(address_type),
            labels: labels(service, &Labels::new()).0,
            endpoints: Vec::new(),
            ports: Vec::new(),
        };
        let is_placeholder = |slice: &&EndpointSlice| {
            slice.endpoints.is_empty()
                && slice.ports.is_empty()
                && slice.metadata.labels == placeholder.labels
                && slice.metadata.is_controlled_by(&service.metadata)
        };
        if delete.len() == 1 && delete.iter().all(is_placeholder) {
            delete.clear();
        } else {
            create.push(placeholder);
        }
    }
    if let Some(shares) = by_zone {
        topology::give_hints(shares.as_ref(), &mut create, &mut update, unchanged);
    }
    // A slice that would go becomes one that would be made.
    delete.retain(|slice| {
        let reusable = slice.metadata.is_controlled_by(&service.metadata);
        match create.pop_if(|_| reusable) {
            Some(new) => {
                update.push(Slice { name: slice.metadata.name.clone(), ..new });
                false
            }
            None => true,
        }
    });
    placement.create.extend(create);
    placement.update.extend(update);
    placement.delete.extend(delete.iter().map(|slice| slice.metadata.name.clone()));
}

/// Puts the endpoints of one set of ports into the slices of these ports. Answers with those that stay as they are.
#[expect(clippy::too_many_arguments, reason = "one step of one function, kept apart for its length")]
fn fill<'a>(
    service: &Service,
    address_type: &'static str,
    ports: Vec<EndpointSlicePort>,
    mut desired: BTreeMap<Identity, Endpoint>,
    slices: &[&'a EndpointSlice],
    max: usize,
    create: &mut Vec<Slice>,
    update: &mut Vec<Slice>,
    delete: &mut Vec<&'a EndpointSlice>,
) -> Vec<Slice> {
    let mut changed: Vec<Slice> = Vec::new();
    let mut unchanged: Vec<Slice> = Vec::new();
    for slice in slices {
        let kept: Vec<Endpoint> =
            slice.endpoints.iter().filter_map(|endpoint| desired.remove(&identity(endpoint))).collect();
        let (labels, relabelled) = labels(service, &slice.metadata.labels);
        let same = kept == slice.endpoints;
        let next = Slice {
            name: slice.metadata.name.clone(),
            address_type: slice.address_type.clone(),
            labels,
            endpoints: kept,
            ports: slice.ports.clone(),
        };
        match (same, relabelled) {
            (true, false) => unchanged.push(next),
            (false, _) if next.endpoints.is_empty() => delete.push(slice),
            _ => changed.push(next),
        }
    }
    changed.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    let top_up = |slice: &mut Slice, desired: &mut BTreeMap<Identity, Endpoint>| {
        while slice.endpoints.len() < max {
            let Some((_, endpoint)) = desired.pop_first() else { break };
            slice.endpoints.push(endpoint);
        }
    };
    for slice in &mut changed {
        top_up(slice, &mut desired);
    }
    while !desired.is_empty() {
        let fitting = (0..unchanged.len())
            .filter(|_| desired.len() < max)
            .filter(|i| unchanged[*i].endpoints.len() + desired.len() <= max && desired.len() < max)
            .max_by_key(|i| (unchanged[*i].endpoints.len(), std::cmp::Reverse(*i)));
        match fitting {
            Some(i) => {
                let mut slice = unchanged.remove(i);
                top_up(&mut slice, &mut desired);
                changed.push(slice);
            }
            None => {
                let mut slice = Slice {
                    name: Name::default(),
                    address_type: Name::new_static(address_type),
                    labels: labels(service, &Labels::new()).0,
                    endpoints: Vec::new(),
                    ports: ports.clone(),
                };
                top_up(&mut slice, &mut desired);
                create.push(slice);
            }
        }
    }
    update.extend(changed);
    unchanged
}

fn has_address(pod: &Pod) -> bool {
    !is_terminal(pod) && (!pod.status.pod_ip.is_empty() || !pod.status.pod_ips.is_empty())
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, address_type: &str) -> Endpoint {
    let serving = is_ready(pod);
    let terminating = pod.metadata.is_terminating();
    let addresses = pod.status.pod_ips.iter().map(|ip| ip.ip.clone());
    let zone = node.and_then(|node| node.metadata.label(ZONE)).unwrap_or("");
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    Endpoint {
        addresses: addresses.filter(|ip| ip.contains(':') == (address_type == "IPv6")).collect(),
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: ready.then(|| hints(service, zone, &pod.spec.node_name)).flatten(),
        hostname: hostname(service, pod),
        node_name: pod.spec.node_name.clone(),
        target_ref: Some(ObjectReference {
            kind: Name::new_static("Pod"),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: zone.into(),
        ..Endpoint::default()
    }
}

/// For whom an endpoint is, where the Service wants traffic kept near.
fn hints(service: &Service, zone: &str, node: &Name) -> Option<EndpointHints> {
    let zones = || vec![ForZone { name: zone.into() }];
    match service.spec.traffic_distribution.as_str() {
        "PreferClose" | "PreferSameZone" if !zone.is_empty() => {
            Some(EndpointHints { for_zones: zones(), for_nodes: Vec::new() })
        }
        "PreferSameNode" if !node.is_empty() => Some(EndpointHints {
            for_zones: if zone.is_empty() { Vec::new() } else { zones() },
            for_nodes: vec![ForNode { name: node.clone() }],
        }),
        _ => None,
    }
}

/// The name by which DNS knows the pod under the Service.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Name {
    let known =
        pod.spec.subdomain == service.metadata.name && pod.metadata.namespace == service.metadata.namespace;
    if known { pod.spec.hostname.clone() } else { Name::default() }
}

/// The number that a Service's port has in a pod; none if the pod has no port of that name.
pub(crate) fn find_port(service: &ServicePort, pod: &Pod) -> Option<i32> {
    match &service.target_port {
        None => Some(service.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let sidecars = pod.spec.init_containers.iter().filter(|c| c.restart_policy == "Always");
            let protocol = |p: &Name| if p.is_empty() { Name::new_static("TCP") } else { p.clone() };
            let mut ports = pod.spec.containers.iter().chain(sidecars).flat_map(|c| &c.ports);
            ports
                .find(|port| port.name == *name && protocol(&port.protocol) == protocol(&service.protocol))
                .map(|port| port.container_port)
        }
    }
}

fn endpoint_ports(service: &Service, pod: &Pod) -> Vec<EndpointSlicePort> {
    let port = |port: &ServicePort| {
        Some(EndpointSlicePort {
            name: port.name.clone(),
            port: Some(find_port(port, pod)?),
            protocol: port.protocol.clone(),
            app_protocol: port.app_protocol.clone(),
        })
    };
    service.spec.ports.iter().filter_map(port).collect()
}

fn is_reserved(label: &str) -> bool {
    matches!(label, SERVICE_NAME | MANAGED_BY | HEADLESS)
}

pub(crate) fn is_headless(service: &Service) -> bool {
    matches!(service.spec.cluster_ip.as_str(), "" | "None")
}

/// The labels that a slice should have, and whether those that the Service gives it differ from what it has.
fn labels(service: &Service, present: &Labels) -> (Labels, bool) {
    let given = |labels: &Labels| -> Labels {
        labels.iter().filter(|(k, _)| !is_reserved(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let mut labels = given(&service.metadata.labels);
    let changed = labels != given(present);
    if is_headless(service) {
        labels.insert(Name::new_static(HEADLESS), Name::default());
    }
    labels.insert(Name::new_static(SERVICE_NAME), service.metadata.name.clone());
    labels.insert(Name::new_static(MANAGED_BY), Name::new_static(MANAGER));
    (labels, changed)
}
