//! What a cluster is made of, as data: [`ClusterSpec`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use orlop_core::kinds::NodeSystemInfo;
use orlop_core::{Labels, Name};
use orlop_netplan::Networks;

/// A cluster to be assembled.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// The name in kubeconfigs.
    pub name: String,
    /// Everything that is chosen by chance follows from it. `None`: the operating system's entropy.
    pub seed: Option<u64>,
    /// The ranges that addresses come from.
    pub networks: Networks,
    /// The cluster's domain.
    pub zone: String,
    /// The nodes that this process runs.
    pub nodes: Vec<NodeSpec>,
    /// Whether the built-in controllers run.
    pub controllers: bool,
    /// Whether the scheduler runs.
    pub scheduler: bool,
    /// Whether what runs on the nodes besides containers is shown as pods in `kube-system`.
    pub system_pods: bool,
}

impl Default for ClusterSpec {
    /// One control-plane node and three workers in three zones.
    fn default() -> ClusterSpec {
        ClusterSpec {
            name: "orlop".to_owned(),
            seed: None,
            networks: Networks::default(),
            zone: "cluster.local".to_owned(),
            nodes: default_nodes(1, 3),
            controllers: true,
            scheduler: true,
            system_pods: true,
        }
    }
}

impl ClusterSpec {
    /// The address of the cluster's DNS: the tenth of the Services' range.
    pub fn dns_address(&self) -> Option<IpAddr> {
        // `hosts` leaves out the network's own address.
        self.networks.services.first().and_then(|range| range.hosts().nth(9))
    }
}

/// `control_planes` nodes that run no ordinary pods, and `workers` that do, spread over three zones.
pub fn default_nodes(control_planes: usize, workers: usize) -> Vec<NodeSpec> {
    const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];
    let numbered = |count: usize, make: fn(String) -> NodeSpec, prefix: &'static str| {
        (1..=count).map(move |n| {
            let name = if count == 1 && prefix == "control-plane" {
                prefix.to_owned()
            } else {
                format!("{prefix}-{n}")
            };
            make(name).zone("local", ZONES[(n - 1) % ZONES.len()])
        })
    };
    numbered(control_planes, NodeSpec::control_plane, "control-plane")
        .chain(numbered(workers, NodeSpec::worker, "worker"))
        .collect()
}

/// A node to be run.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: Name,
    /// It holds the management components, and its taint keeps other pods away.
    pub control_plane: bool,
    /// Labels besides those that every node has.
    pub labels: Labels,
    /// Its addresses; empty: the next free ones of the cluster's node range.
    pub addresses: Vec<IpAddr>,
    /// Its pod ranges; empty: the next free ones of the cluster's pod range.
    pub pod_cidrs: Vec<IpNet>,
    /// What it has, as quantities in text.
    pub capacity: BTreeMap<Name, String>,
    /// What it says of its machine; what is empty here the node agent finds out.
    pub info: NodeSystemInfo,
}

impl NodeSpec {
    fn new(name: impl Into<Name>, control_plane: bool) -> NodeSpec {
        let capacity = [("cpu", "4"), ("memory", "16Gi"), ("pods", "110"), ("ephemeral-storage", "100Gi")];
        NodeSpec {
            name: name.into(),
            control_plane,
            labels: Labels::new(),
            addresses: Vec::new(),
            pod_cidrs: Vec::new(),
            capacity: capacity
                .into_iter()
                .map(|(name, amount)| (Name::new_static(name), amount.to_owned()))
                .collect(),
            info: NodeSystemInfo::default(),
        }
    }

    /// A node for ordinary pods, with 4 CPU, 16Gi of memory and 110 pods.
    pub fn worker(name: impl Into<Name>) -> NodeSpec {
        NodeSpec::new(name, false)
    }

    /// A node for the management components.
    pub fn control_plane(name: impl Into<Name>) -> NodeSpec {
        NodeSpec::new(name, true)
    }

    /// Where it stands: the labels `topology.kubernetes.io/region` and `…/zone`.
    pub fn zone(self, region: &str, zone: &str) -> NodeSpec {
        self.label("topology.kubernetes.io/region", region).label("topology.kubernetes.io/zone", zone)
    }

    /// Adds a label.
    pub fn label(mut self, name: impl Into<Name>, value: impl Into<Name>) -> NodeSpec {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Adds an address.
    pub fn address(mut self, address: IpAddr) -> NodeSpec {
        self.addresses.push(address);
        self
    }

    /// Adds a pod range.
    pub fn pod_cidr(mut self, range: IpNet) -> NodeSpec {
        self.pod_cidrs.push(range);
        self
    }

    /// Sets what it says of its machine.
    pub fn info(mut self, info: NodeSystemInfo) -> NodeSpec {
        self.info = info;
        self
    }

    /// Sets how much it has of a resource.
    pub fn capacity(mut self, resource: impl Into<Name>, amount: impl Into<String>) -> NodeSpec {
        self.capacity.insert(resource.into(), amount.into());
        self
    }
}
