//! [`NetPlan`]: everything that a data plane needs to know.

mod diff;
mod pods;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use orlop_core::{Key, Name, Revision};

pub use diff::PlanDiff;
pub use orlop_core::runtime::Protocol;
pub use pods::{PodEntry, PodIndex};

use crate::choice::{Place, Way, offered};
use crate::ingress::Routes;

/// What the network of a cluster should be, computed from the world at one revision.
///
/// Parts that did not change are shared with the plan before, so that keeping a plan is cheap and comparing two skips
/// what is the same.
#[derive(Clone, Debug, Default)]
pub struct NetPlan {
    /// The revision of the world that this follows from.
    pub revision: Revision,
    /// The cluster's domain, `cluster.local`.
    pub zone: Name,
    /// The Services.
    pub services: Arc<BTreeMap<Key, Arc<ServicePlan>>>,
    /// Which Services have an address: cluster addresses, external ones, those of load balancers. External addresses
    /// may be shared, with different ports.
    pub addresses: Arc<BTreeMap<IpAddr, Vec<Key>>>,
    /// The nodes by name.
    pub nodes: Arc<BTreeMap<Name, NodePlan>>,
    /// The pods by address.
    pub pods: PodIndex,
    /// Where HTTP requests from outside go.
    pub ingress: Arc<Routes>,
}

/// One Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServicePlan {
    /// Its namespace and name.
    pub key: Key,
    /// How it is reached.
    pub kind: ServiceKind,
    /// Its addresses within the cluster, the first one first; none for headless ones and external names.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses from outside that somebody else routes to the nodes (`spec.externalIPs`).
    pub external_ips: Vec<IpAddr>,
    /// Addresses of its load balancer (`status.loadBalancer`, those of mode `VIP`).
    pub load_balancer_ips: Vec<IpAddr>,
    /// Clients that the load balancer lets in; empty: all.
    pub source_ranges: Vec<ipnet::IpNet>,
    /// Which endpoints may be used from where.
    pub policy: TrafficPolicy,
    /// Whether a client keeps its endpoint.
    pub affinity: Affinity,
    /// Where a node answers whether it has endpoints of its own (`spec.healthCheckNodePort`).
    pub health_check_node_port: Option<u16>,
    /// Its ports, in the Service's order.
    pub ports: Vec<PortPlan>,
    /// The endpoints of a headless Service without ports: only DNS tells of them.
    pub portless: Vec<Endpoint>,
}

/// How a Service is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// By an address of its own.
    #[default]
    ClusterIp,
    /// By the addresses of its endpoints, which DNS tells.
    Headless,
    /// By this other name, which DNS tells.
    ExternalName(Name),
}

/// Which endpoints may be used, depending on where a connection comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// From within the cluster, only those of the client's node.
    pub internal_local: bool,
    /// From outside, only those of the node that was reached.
    pub external_local: bool,
}

/// Whether a client keeps its endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Each connection is balanced for itself.
    #[default]
    None,
    /// A client address keeps its endpoint until it was silent for so long (`sessionAffinity: ClientIP`).
    ClientIp(Duration),
}

/// One port of a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortPlan {
    /// Its name; empty if the only port has none.
    pub name: Name,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at the Service's addresses.
    pub port: u16,
    /// The port at every node's address.
    pub node_port: Option<u16>,
    /// What is spoken, where the Service says so: `kubernetes.io/ws`, `https`.
    pub app_protocol: Name,
    /// Where connections can go, ordered by address and port. All known ones, also those that are not ready: what
    /// may be used from a node says [`crate::choice::choose`].
    pub endpoints: Arc<[Endpoint]>,
}

impl PortPlan {
    /// Whether connections from outside of the cluster can reach it.
    pub fn externally_accessible(&self, service: &ServicePlan) -> bool {
        self.node_port.is_some() || !service.external_ips.is_empty() || !service.load_balancer_ips.is_empty()
    }
}

/// One place where connections can go.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The pod's address, or one that somebody wrote into a slice.
    pub address: IpAddr,
    /// The port there; already resolved for ports that pods name.
    pub port: u16,
    /// The node on which it is; may be empty.
    pub node: Name,
    /// The zone in which it is; may be empty.
    pub zone: Name,
    /// The zones that should use it (topology aware routing).
    pub zone_hints: Vec<Name>,
    /// The nodes that should use it.
    pub node_hints: Vec<Name>,
    /// Takes connections.
    pub ready: bool,
    /// Would take connections were it not for its end.
    pub serving: bool,
    /// Is about to end.
    pub terminating: bool,
    /// Its name below the Service's in DNS; may be empty.
    pub hostname: Name,
    /// The pod behind it.
    pub pod: Option<Key>,
}

impl Endpoint {
    /// A ready endpoint without a pod.
    pub fn at(address: IpAddr, port: u16) -> Endpoint {
        Endpoint {
            address,
            port,
            node: Name::default(),
            zone: Name::default(),
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
            ready: true,
            serving: true,
            terminating: false,
            hostname: Name::default(),
            pod: None,
        }
    }

    /// Address and port.
    pub fn socket(&self) -> std::net::SocketAddr {
        (self.address, self.port).into()
    }
}

/// What the network needs to know of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlan {
    /// Its addresses within the cluster (`InternalIP`), at which its node ports answer.
    pub addresses: Vec<IpAddr>,
    /// Its zone (`topology.kubernetes.io/zone`); may be empty.
    pub zone: Name,
    /// Its ranges of pod addresses.
    pub pod_cidrs: Vec<ipnet::IpNet>,
}

impl NetPlan {
    /// The Service that has this address, and its port.
    pub fn frontend(
        &self,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<(&Arc<ServicePlan>, &PortPlan)> {
        self.addresses.get(&address)?.iter().find_map(|key| {
            let service = self.services.get(key)?;
            let port = service.ports.iter().find(|p| p.port == port && p.protocol == protocol)?;
            Some((service, port))
        })
    }

    /// The Service whose node port this is.
    pub fn node_port(&self, protocol: Protocol, port: u16) -> Option<(&Arc<ServicePlan>, &PortPlan)> {
        let find = |service: &&Arc<ServicePlan>| service_port(service, protocol, port).is_some();
        let service = self.services.values().find(find)?;
        Some((service, service_port(service, protocol, port)?))
    }

    /// The endpoints that a new connection to `to` may get, for a client on the node `from` (`None`: on no node).
    /// `None` if nothing is served there. What a simulation, or a test of one's own planner, asks.
    pub fn offered(
        &self,
        to: std::net::SocketAddr,
        protocol: Protocol,
        from: Option<&Name>,
    ) -> Option<Vec<&Endpoint>> {
        let at = |node: &Name| Place {
            node: node.clone(),
            zone: self.nodes.get(node).map(|node| node.zone.clone()).unwrap_or_default(),
        };
        let node = self.nodes.iter().find(|(_, node)| node.addresses.contains(&to.ip()));
        let (service, port, way, place) = match (self.frontend(to.ip(), protocol, to.port()), node) {
            (Some((service, port)), _) => {
                let own = service.cluster_ips.contains(&to.ip());
                let way = if own { Way::Internal } else { Way::External };
                (service, port, way, from.map(at).unwrap_or_default())
            }
            (None, Some((node, _))) => {
                let (service, port) = self.node_port(protocol, to.port())?;
                (service, port, Way::NodePort, at(node))
            }
            (None, None) => return None,
        };
        let family: Vec<&Endpoint> =
            port.endpoints.iter().filter(|e| e.address.is_ipv4() == to.is_ipv4()).collect();
        let endpoints: Vec<Endpoint> = family.iter().copied().cloned().collect();
        let indices = offered(&endpoints, service.policy, port.externally_accessible(service), way, &place);
        Some(indices.into_iter().map(|i| family[i]).collect())
    }
}

fn service_port(service: &ServicePlan, protocol: Protocol, port: u16) -> Option<&PortPlan> {
    service.ports.iter().find(|p| p.node_port == Some(port) && p.protocol == protocol)
}
