//! Where a Service is to be reached.

use std::net::SocketAddr;

use orlop_core::Name;

use crate::choice::Way;
use crate::plan::{NetPlan, PortPlan, Protocol, ServiceKind, ServicePlan};
use crate::plane::What;

/// One place at which a port of a Service is to be reached. The port's name is not of it: a port that is given another
/// name stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FrontId {
    pub(super) protocol: Protocol,
    /// Address and port as the cluster knows them.
    pub(super) wanted: SocketAddr,
}

/// How connections come that arrive there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entrance {
    pub(super) way: Way,
    /// The node that was reached.
    pub(super) node: Option<Name>,
}

/// All places for one port.
pub(super) fn fronts<'a>(
    plan: &'a NetPlan,
    service: &'a ServicePlan,
    port: &'a PortPlan,
) -> impl Iterator<Item = (FrontId, What, Entrance)> + 'a {
    let routed = service.kind == ServiceKind::ClusterIp;
    let internal = service.cluster_ips.iter().map(|ip| (ip, Way::Internal));
    let external =
        service.external_ips.iter().chain(&service.load_balancer_ips).map(|ip| (ip, Way::External));
    let own = internal.chain(external).map(move |(ip, way)| {
        let what = What::Service { service: service.key.clone(), port: port.name.clone() };
        let id = FrontId { protocol: port.protocol, wanted: SocketAddr::new(*ip, port.port) };
        (id, what, Entrance { way, node: None })
    });
    let nodes = plan.nodes.iter().flat_map(|(name, node)| node.addresses.iter().map(move |ip| (name, *ip)));
    let nodes = nodes.filter_map(move |(node, ip)| {
        let what =
            What::NodePort { service: service.key.clone(), port: port.name.clone(), node: node.clone() };
        let id = FrontId { protocol: port.protocol, wanted: SocketAddr::new(ip, port.node_port?) };
        Some((id, what, Entrance { way: Way::NodePort, node: Some(node.clone()) }))
    });
    own.chain(nodes).filter(move |_| routed)
}
