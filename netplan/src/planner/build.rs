//! The parts of a plan, each from the objects that it follows from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use orlop_core::kinds::{self, EndpointSlice, EndpointSlicePort, Service, ServicePort};
use orlop_core::{Key, Name, Object, World};

use super::views::{NetNode, NetPod, SlicesByService};
use crate::plan::{
    Affinity, Endpoint, NetPlan, NodePlan, PortPlan, Protocol, ServiceKind, ServicePlan, TrafficPolicy,
};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// What `sessionAffinityConfig` defaults to: three hours.
const AFFINITY_DEFAULT: Duration = Duration::from_secs(10_800);

/// Puts a Service into the plan, or takes it out.
pub(super) fn replace(plan: &mut NetPlan, key: &Key, service: Option<ServicePlan>) {
    let before = plan.services.get(key);
    if before.map(|b| &**b) == service.as_ref() {
        return;
    }
    let addresses = |service: &ServicePlan| -> Vec<IpAddr> {
        [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips]
            .into_iter()
            .flatten()
            .copied()
            .collect()
    };
    let old = before.map(|b| addresses(b)).unwrap_or_default();
    let new = service.as_ref().map(addresses).unwrap_or_default();
    if old != new {
        let map = Arc::make_mut(&mut plan.addresses);
        for ip in old {
            if let Some(keys) = map.get_mut(&ip) {
                keys.retain(|k| k != key);
                if keys.is_empty() {
                    map.remove(&ip);
                }
            }
        }
        for ip in new {
            let keys = map.entry(ip).or_default();
            if let Err(at) = keys.binary_search(key) {
                keys.insert(at, key.clone());
            }
        }
    }
    let services = Arc::make_mut(&mut plan.services);
    match service {
        Some(service) => services.insert(key.clone(), Arc::new(service)),
        None => services.remove(key),
    };
}

/// The nodes.
pub(super) fn nodes(world: &World) -> BTreeMap<Name, NodePlan> {
    world.all::<NetNode>().map(|node| (node.metadata.name.clone(), node_plan(node))).collect()
}

/// One node.
pub(super) fn node_plan(node: &NetNode) -> NodePlan {
    let internal = node.status.addresses.iter().filter(|a| a.r#type == "InternalIP");
    let cidrs = match node.spec.pod_cidrs.as_slice() {
        [] => std::slice::from_ref(&node.spec.pod_cidr),
        cidrs => cidrs,
    };
    NodePlan {
        addresses: internal.filter_map(|a| a.address.parse().ok()).collect(),
        zone: node.metadata.label(ZONE_LABEL).unwrap_or_default().into(),
        pod_cidrs: cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect(),
    }
}

/// One Service with its endpoints; `None` if there is none.
pub(super) fn service(world: &World, key: &Key) -> Option<ServicePlan> {
    let service: &Service = world.get::<Service>(key)?;
    let spec = &service.spec;
    let text = key.to_string();
    let slices: Vec<&EndpointSlice> = world.lookup::<SlicesByService>(&text).map(|slice| &**slice).collect();
    let headless = spec.cluster_ip == "None";
    let mut plan = ServicePlan {
        key: key.clone(),
        kind: match spec.r#type.as_str() {
            "ExternalName" => ServiceKind::ExternalName(spec.external_name.clone()),
            _ if headless => ServiceKind::Headless,
            _ => ServiceKind::ClusterIp,
        },
        ..ServicePlan::default()
    };
    if matches!(plan.kind, ServiceKind::ExternalName(_)) {
        return Some(plan);
    }
    let parse = |ips: &[Name]| -> Vec<IpAddr> { ips.iter().filter_map(|ip| ip.parse().ok()).collect() };
    plan.cluster_ips = match spec.cluster_ips.as_slice() {
        [] => parse(std::slice::from_ref(&spec.cluster_ip)),
        ips => parse(ips),
    };
    plan.external_ips = parse(&spec.external_ips);
    if spec.r#type == "LoadBalancer" {
        let ingress = service.status.load_balancer.iter().flat_map(|lb| &lb.ingress);
        plan.load_balancer_ips =
            ingress.filter(|i| i.ip_mode != "Proxy").filter_map(|i| i.ip.parse().ok()).collect();
        plan.source_ranges =
            spec.load_balancer_source_ranges.iter().filter_map(|range| range.trim().parse().ok()).collect();
    }
    plan.policy = TrafficPolicy {
        internal_local: spec.internal_traffic_policy == "Local",
        external_local: spec.external_traffic_policy == "Local",
    };
    if spec.session_affinity == "ClientIP" {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        let seconds = config.and_then(|c| c.timeout_seconds).and_then(|s| u64::try_from(s).ok());
        plan.affinity = Affinity::ClientIp(seconds.map_or(AFFINITY_DEFAULT, Duration::from_secs));
    }
    plan.health_check_node_port = port_number(spec.health_check_node_port);
    let source = Source { world, service };
    plan.ports = spec.ports.iter().filter_map(|port| source.port(port, &slices)).collect();
    if headless {
        plan.portless = source.portless(&slices);
    }
    Some(plan)
}

fn port_number(port: Option<i32>) -> Option<u16> {
    port.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)
}

struct Source<'a> {
    world: &'a World,
    service: &'a Service,
}

impl Source<'_> {
    fn port(&self, port: &ServicePort, slices: &[&EndpointSlice]) -> Option<PortPlan> {
        let protocol = Protocol::parse(&port.protocol)?;
        let mut endpoints = Vec::new();
        for slice in slices {
            for target in slice.ports.iter().filter(|p| carries(p, port)) {
                let Some(number) = port_number(target.port) else { continue };
                endpoints.extend(slice.endpoints.iter().filter_map(|e| self.endpoint(slice, e, number)));
            }
        }
        Some(PortPlan {
            name: port.name.clone(),
            protocol,
            port: port_number(Some(port.port))?,
            node_port: port_number(port.node_port),
            app_protocol: port.app_protocol.clone(),
            endpoints: ordered(endpoints).into(),
        })
    }

    /// The endpoints of slices that carry none of the Service's ports.
    fn portless(&self, slices: &[&EndpointSlice]) -> Vec<Endpoint> {
        let ports = &self.service.spec.ports;
        let unnamed =
            slices.iter().filter(|slice| !slice.ports.iter().any(|t| ports.iter().any(|p| carries(t, p))));
        ordered(unnamed.flat_map(|s| s.endpoints.iter().filter_map(|e| self.endpoint(s, e, 0))).collect())
    }

    fn endpoint(&self, slice: &EndpointSlice, endpoint: &kinds::Endpoint, port: u16) -> Option<Endpoint> {
        let address = endpoint.addresses.first()?.parse().ok()?;
        let conditions = endpoint.conditions.as_ref();
        let condition = |get: fn(&kinds::EndpointConditions) -> Option<bool>, absent: bool| {
            conditions.and_then(get).unwrap_or(absent)
        };
        let mut ready = condition(|c| c.ready, true);
        let serving = condition(|c| c.serving, ready);
        let mut terminating = condition(|c| c.terminating, false);
        let mut pod = None;
        if let Some(target) = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod") {
            let namespace = match target.namespace.as_str() {
                "" => &slice.metadata.namespace,
                _ => &target.namespace,
            };
            let key = Key::new(namespace.clone(), target.name.clone());
            // A slice lags behind its pods. Who is being deleted is unrouted with the commit that says so, and who
            // is gone, or another one under the same name, is nobody's endpoint.
            let seen = self.world.get::<NetPod>(&key)?;
            if !target.uid.is_empty() && !seen.meta().uid.is_empty() && seen.meta().uid != target.uid {
                return None;
            }
            if seen.metadata.deletion_timestamp.is_some() {
                terminating = true;
                ready &= self.service.spec.publish_not_ready_addresses;
            }
            pod = Some(key);
        }
        let hints = endpoint.hints.as_ref();
        Some(Endpoint {
            address,
            port,
            node: endpoint.node_name.clone(),
            zone: endpoint.zone.clone(),
            zone_hints: hints.iter().flat_map(|h| &h.for_zones).map(|z| z.name.clone()).collect(),
            node_hints: hints.iter().flat_map(|h| &h.for_nodes).map(|n| n.name.clone()).collect(),
            ready,
            serving,
            terminating,
            hostname: endpoint.hostname.clone(),
            pod,
        })
    }
}

/// Whether a slice's port is a Service's one: both are called the same.
fn carries(slice: &EndpointSlicePort, port: &ServicePort) -> bool {
    slice.name == port.name && Protocol::parse(&slice.protocol) == Protocol::parse(&port.protocol)
}

/// Ordered by address and port; of two entries for one place, as there are while endpoints move between slices, the
/// more useful one stays.
fn ordered(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_by_key(|e| (e.address, e.port, !e.ready, !e.serving));
    endpoints.dedup_by_key(|e| (e.address, e.port));
    endpoints
}
