//! From a specification to the parts of a cluster: [`assemble`].
//!
//! Pure but for what it is given: the same assembly runs on threads ([`Cluster`](crate::Cluster)) and in the simulator.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use orlop_api::{Api, Link, User};
use orlop_core::kinds::Node;
use orlop_core::runtime::Runtime;
use orlop_core::scheme::Scheme;
use orlop_core::{Entropy, Kind, Name, Object, Runner};
use orlop_netplan::ipam::NodeCidrs;
use orlop_netplan::{DataPlane, Mirror, NetPlanner};
use orlop_node::{NodeConfig, Role};
use orlop_scheduler::{Backoff, Profile, Scheduler};
use serde_json::{Value, json};

use crate::part::Part;
use crate::parts::{Controllers, Network};
use crate::spec::{ClusterSpec, NodeSpec};

/// Gives each node its runtime.
pub type RuntimeOf = Box<dyn Fn(&NodeSpec) -> Arc<dyn Runtime> + Send + Sync>;

/// Adds controllers to the runner.
pub type AddControllers = Box<dyn FnOnce(&mut Runner) + Send>;

/// What a cluster is assembled from, beside its specification.
pub struct Assembly {
    /// The API that the parts work on.
    pub api: Arc<dyn Api>,
    /// The source of chance of the whole cluster.
    pub entropy: Entropy,
    /// The scheduler's profiles.
    pub profiles: Vec<Profile>,
    /// How long pods wait that the scheduler failed to place.
    pub backoff: Backoff,
    /// The embedder's controllers.
    pub controllers: Vec<AddControllers>,
    /// The name of node agents in managed fields.
    pub kubelet: Name,
    /// The nodes with their runtimes.
    pub nodes: Vec<(NodeConfig, Arc<dyn Runtime>)>,
    /// What carries the network plan out.
    pub planes: Vec<Arc<dyn DataPlane>>,
    /// The certificate that pods are told to trust, in PEM.
    pub authority: String,
    /// The kinds that are served.
    pub scheme: Arc<Scheme>,
}

/// A component and its way to the API.
pub struct Assembled {
    /// The component.
    pub part: Box<dyn Part>,
    /// Its way to the API.
    pub link: Link,
}

/// A contradiction in a specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSpec(String);

/// Makes the parts of a cluster.
pub fn assemble(spec: &ClusterSpec, assembly: Assembly) -> Vec<Assembled> {
    let Assembly { api, entropy, profiles, backoff, controllers, kubelet, nodes, planes, authority, scheme } =
        assembly;
    let mut parts = Vec::new();
    let mut add = |part: Box<dyn Part>, user: &str, manager: Name| {
        let link = Link { api: api.clone(), user: component(user), manager };
        parts.push(Assembled { part, link });
    };
    if spec.controllers || !controllers.is_empty() {
        let mut runner = Runner::new(&entropy);
        if spec.controllers {
            let config = orlop_controllers::Config { ca_bundle: authority, ..Default::default() };
            orlop_controllers::add_all(&mut runner, config);
            stored_kinds(&scheme).into_iter().for_each(|kind| runner.follow(kind));
        }
        for controller in controllers {
            controller(&mut runner);
        }
        add(
            Box::new(Controllers::new(runner)),
            "system:kube-controller-manager",
            Name::new_static("kube-controller-manager"),
        );
    }
    if spec.scheduler {
        let seed = entropy.child("scheduler").next_u64();
        add(
            Box::new(Scheduler::new(profiles, seed).with_backoff(backoff)),
            "system:kube-scheduler",
            Name::new_static("kube-scheduler"),
        );
    }
    if !planes.is_empty() {
        let planner = NetPlanner::new(spec.zone.as_str());
        add(
            Box::new(Network::new(planner, planes.clone())),
            "system:kube-proxy",
            Name::new_static("kube-proxy"),
        );
    }
    for (config, runtime) in nodes {
        let user = format!("system:node:{}", config.name);
        add(Box::new(crate::parts::NodeAgent::new(config, runtime, &planes)), &user, kubelet.clone());
    }
    parts
}

/// Every built-in kind whose objects are stored, each in the version in which it is. Custom kinds are learned of from
/// their definitions.
fn stored_kinds(scheme: &Scheme) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for resource in scheme.resources().filter(|resource| resource.is_stored() && !resource.custom) {
        if !kinds.iter().any(|kind| kind.same_resource(&resource.stored_as)) {
            kinds.push(resource.stored_as.clone());
        }
    }
    kinds
}

/// The components of this process are its owner's.
fn component(name: &str) -> User {
    User {
        name: name.into(),
        groups: vec![Name::new_static("system:masters"), Name::new_static("system:authenticated")],
        ..User::default()
    }
}

/// Addresses and pod ranges for nodes that bring none, in the order of the nodes. Those that `stored` tells of from an
/// earlier run keep what they have, and what belongs to any of them is given to no other.
///
/// # Errors
/// When a range is used up or cannot be cut.
pub fn number_nodes(spec: &ClusterSpec, stored: &[Node]) -> Result<Vec<NodeSpec>, InvalidSpec> {
    let mut nodes = spec.nodes.clone();
    let mut cidrs = NodeCidrs::new(&spec.networks.pods).map_err(|error| InvalidSpec(error.to_string()))?;
    let mut taken: Vec<IpAddr> = nodes.iter().flat_map(|node| node.addresses.clone()).collect();
    for node in &nodes {
        cidrs.occupy(&node.pod_cidrs);
    }
    for known in stored {
        let ranges: Vec<IpNet> =
            known.spec.pod_cid_rs.iter().filter_map(|range| range.parse().ok()).collect();
        let internal = known.status.addresses.iter().filter(|address| address.r#type == "InternalIP");
        let addresses: Vec<IpAddr> = internal.filter_map(|address| address.address.parse().ok()).collect();
        cidrs.occupy(&ranges);
        if let Some(node) = nodes.iter_mut().find(|node| node.name == known.metadata.name) {
            if node.pod_cidrs.is_empty() {
                node.pod_cidrs.clone_from(&ranges);
            }
            // Another node may have been given the address by name.
            if node.addresses.is_empty() && addresses.iter().all(|address| !taken.contains(address)) {
                node.addresses.clone_from(&addresses);
            }
        }
        taken.extend(addresses);
    }
    let mut free: Vec<_> = spec
        .networks
        .nodes
        .iter()
        // The first address is the range's gateway.
        .map(|range| range.hosts().skip(1).filter(|address| !taken.contains(address)))
        .collect();
    for node in &mut nodes {
        if node.addresses.is_empty() {
            for range in &mut free {
                let address = range
                    .next()
                    .ok_or_else(|| InvalidSpec("the node range has too few addresses".to_owned()))?;
                node.addresses.push(address);
            }
        }
        if node.pod_cidrs.is_empty() {
            node.pod_cidrs =
                cidrs.allocate().map_err(|error| InvalidSpec(format!("node {}: {error}", node.name)))?;
        }
    }
    Ok(nodes)
}

/// What a node's agent is told, from its specification.
///
/// # Errors
/// When a capacity is no quantity.
pub fn node_config(
    spec: &ClusterSpec,
    node: &NodeSpec,
    mirror: Option<Arc<Mirror>>,
) -> Result<NodeConfig, InvalidSpec> {
    let address =
        *node.addresses.first().ok_or_else(|| InvalidSpec(format!("node {} has no address", node.name)))?;
    let mut config = NodeConfig::new(node.name.clone(), address);
    config.addresses.clone_from(&node.addresses);
    config.labels.extend(node.labels.clone());
    config.pod_cidrs.clone_from(&node.pod_cidrs);
    let (told, found) = (node.info.clone(), &mut config.info);
    for (told, found) in [
        (told.architecture, &mut found.architecture),
        (told.boot_id, &mut found.boot_id),
        (told.container_runtime_version, &mut found.container_runtime_version),
        (told.kernel_version, &mut found.kernel_version),
        (told.kubelet_version, &mut found.kubelet_version),
        (told.machine_id, &mut found.machine_id),
        (told.operating_system, &mut found.operating_system),
        (told.os_image, &mut found.os_image),
        (told.system_uuid, &mut found.system_uuid),
    ] {
        if !told.is_empty() {
            *found = told;
        }
    }
    config.mirror = mirror;
    config.cluster_domain = spec.zone.as_str().into();
    for (resource, amount) in &node.capacity {
        let quantity = amount
            .parse()
            .map_err(|_| InvalidSpec(format!("node {}: {resource} {amount:?} is no quantity", node.name)))?;
        config.capacity.insert(resource.clone(), quantity);
    }
    if node.control_plane {
        config.labels.insert(Name::new_static("node-role.kubernetes.io/control-plane"), Name::default());
        config.taints.push(orlop_core::kinds::Taint {
            key: Name::new_static("node-role.kubernetes.io/control-plane"),
            effect: Name::new_static("NoSchedule"),
            ..Default::default()
        });
    }
    Ok(config)
}

/// What really runs on a node besides pods' containers, as pods for people to see.
pub fn system_pods(spec: &ClusterSpec, node: &NodeSpec, data_plane: bool) -> Vec<Value> {
    let role = if node.control_plane { Role::ControlPlane } else { Role::Worker };
    let runs = |component: &str| match component {
        "kube-controller-manager" => spec.controllers,
        "kube-scheduler" => spec.scheduler,
        "kube-proxy" | "dns" => data_plane,
        _ => true,
    };
    orlop_node::system_pods(role, &node.name, env!("CARGO_PKG_VERSION"))
        .into_iter()
        .filter(|pod| runs(pod["spec"]["containers"][0]["name"].as_str().unwrap_or_default()))
        .collect()
}

/// Objects that a cluster has besides those of the API itself, where a data plane carries connections: the Service of
/// its DNS, and the class of Ingresses that it serves.
pub fn system_objects(spec: &ClusterSpec, data_plane: bool) -> Vec<(Kind, Value)> {
    let Some(address) = spec.dns_address().filter(|_| data_plane) else { return Vec::new() };
    let dns = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "clusterIP": address,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    });
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "orlop"},
        "spec": {"controller": orlop_netplan::ingress::CONTROLLER},
    });
    vec![(orlop_core::kinds::Service::KIND, dns), (orlop_core::kinds::IngressClass::KIND, class)]
}
