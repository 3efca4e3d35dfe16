//! Which endpoints a node uses: traffic policies, endpoints that are about to end, topology.

use orlop_core::Name;

use crate::plan::{Endpoint, TrafficPolicy};

/// Where a connection arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: Name,
    /// Its zone; may be empty.
    pub zone: Name,
}

/// Indices into the endpoints, by the way a connection comes. Empty where there is nobody, or the way is not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Under the policy `Cluster`.
    pub cluster: Vec<usize>,
    /// Under the policy `Local`.
    pub local: Vec<usize>,
    /// Both together: all that this node may send connections to.
    pub reachable: Vec<usize>,
    /// Whether somebody in the cluster could take a connection: if so, an empty choice drops it, else it is refused.
    pub any: bool,
}

/// Whether the policy `Cluster` is in use at all: also if the outside is to be served locally, for connections that
/// come from within to an external address.
pub fn uses_cluster(policy: TrafficPolicy, externally_accessible: bool) -> bool {
    !policy.internal_local || externally_accessible
}

/// Whether the policy `Local` is in use at all.
pub fn uses_local(policy: TrafficPolicy, externally_accessible: bool) -> bool {
    policy.internal_local || (policy.external_local && externally_accessible)
}

/// Chooses as kube-proxy does.
///
/// Ready endpoints are used; where there are none, those that still serve while they end (KEP-1669). Under the policy
/// `Cluster` hints narrow the choice to the node, else to the zone, if every ready endpoint carries such hints and one
/// of them is for here (KEP-2433, KEP-3015).
pub fn choose(
    endpoints: &[Endpoint],
    policy: TrafficPolicy,
    externally_accessible: bool,
    place: &Place,
) -> Choice {
    let mut choice = Choice::default();
    let indices = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<usize> {
        endpoints.iter().enumerate().filter(|(_, e)| wanted(e)).map(|(i, _)| i).collect()
    };
    let ending = |e: &Endpoint| e.serving && e.terminating;
    let uses_cluster = uses_cluster(policy, externally_accessible);

    if uses_cluster {
        let topology = topology(endpoints, place);
        choice.cluster = indices(&|e| e.ready && topology.allows(e, place));
        if choice.cluster.is_empty() {
            choice.cluster = indices(&ending);
        }
        choice.any = !choice.cluster.is_empty();
    }
    if !uses_local(policy, externally_accessible) {
        choice.reachable.clone_from(&choice.cluster);
        return choice;
    }
    let here = |e: &Endpoint| !e.node.is_empty() && e.node == place.node;
    choice.any |= endpoints.iter().any(|e| e.ready || ending(e));
    choice.local = indices(&|e| here(e) && e.ready);
    if choice.local.is_empty() {
        choice.local = indices(&|e| here(e) && ending(e));
    }
    choice.reachable = choice.cluster.iter().chain(&choice.local).copied().collect();
    choice.reachable.sort_unstable();
    choice.reachable.dedup();
    choice
}

/// How a connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To an address of the Service within the cluster.
    Internal,
    /// To an external address of the Service: as its load balancer would spread it over all nodes.
    External,
    /// To a node port.
    NodePort,
}

/// The endpoints that a connection may get that comes `way`, at `place`: where the client is, or, by a node port, the
/// node that it reached. A client on no node (an empty `place`) has no endpoints of its own node; to it, all are
/// equally far.
pub fn offered(
    endpoints: &[Endpoint],
    policy: TrafficPolicy,
    externally_accessible: bool,
    way: Way,
    place: &Place,
) -> Vec<usize> {
    let policy = if place.node.is_empty() { TrafficPolicy::default() } else { policy };
    let choice = choose(endpoints, policy, externally_accessible, place);
    match way {
        Way::Internal if policy.internal_local => choice.local,
        Way::NodePort if policy.external_local => choice.local,
        _ => choice.cluster,
    }
}

/// How far hints narrow the choice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topology {
    Anywhere,
    Zone,
    Node,
}

impl Topology {
    fn allows(self, endpoint: &Endpoint, place: &Place) -> bool {
        match self {
            Topology::Anywhere => true,
            Topology::Zone => endpoint.zone_hints.contains(&place.zone),
            Topology::Node => endpoint.node_hints.contains(&place.node),
        }
    }
}

fn topology(endpoints: &[Endpoint], place: &Place) -> Topology {
    let ready = || endpoints.iter().filter(|e| e.ready);
    let narrows = |hints: &dyn Fn(&Endpoint) -> bool, mode: Topology| {
        ready().all(hints) && ready().any(|e| mode.allows(e, place))
    };
    if narrows(&|e| !e.node_hints.is_empty(), Topology::Node) {
        Topology::Node
    } else if !place.zone.is_empty() && narrows(&|e| !e.zone_hints.is_empty(), Topology::Zone) {
        Topology::Zone
    } else {
        Topology::Anywhere
    }
}
