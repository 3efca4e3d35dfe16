//! What a node agent is told about its node and its manners: [`NodeConfig`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use orlop_core::kinds::{NodeSystemInfo, Taint};
use orlop_core::rules::Quantity;
use orlop_core::{Labels, Name};
use orlop_netplan::Mirror;
use serde_json::Value;

/// One node, and how its agent behaves.
#[derive(Clone)]
pub struct NodeConfig {
    /// The node's name.
    pub name: Name,
    /// The node's own addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Labels beyond those that every node has.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// Taints with which it registers.
    pub taints: Vec<Taint>,
    /// What the node has.
    pub capacity: BTreeMap<Name, Quantity>,
    /// What of it pods may have; empty: all.
    pub allocatable: BTreeMap<Name, Quantity>,
    /// The ranges of its pods' addresses, where the node brings them along. Empty: the Node object is given some.
    pub pod_cidrs: Vec<IpNet>,
    /// Versions and identifiers. The runtime's version is filled in by the agent.
    pub info: NodeSystemInfo,
    /// Whether the agent makes and keeps the Node object and its lease.
    pub register: bool,
    /// How often the lease is renewed.
    pub lease_period: Duration,
    /// How long after a renewal the node counts as alive.
    pub lease_duration: Duration,
    /// How often the Node's status is reported though nothing has changed.
    pub status_period: Duration,
    /// How often the runtime is asked for what it really runs.
    pub relist_period: Duration,
    /// What really runs on the node besides pods, shown as mirror pods; see [`crate::system_pods`].
    pub system_pods: Vec<Value>,
    /// Addresses of the cluster's name servers.
    pub cluster_dns: Vec<Name>,
    /// The domain below which Services have names.
    pub cluster_domain: Name,
    /// Where pod addresses live on this machine, if that is elsewhere.
    pub mirror: Option<Arc<Mirror>>,
    /// The first port that may be bound without privilege; see [`orlop_core::runtime::bind_port`].
    pub unprivileged_from: u16,
    /// Whether Events are written.
    pub events: bool,
    /// Whether probes are asked. If not, what runs is ready.
    pub probes: bool,
    /// Whether containers are restarted. If not, a container's end is final.
    pub restarts: bool,
    /// Whether pods wait for the objects that their volumes name.
    pub volumes: bool,
    /// Whether containers are told of Services by their environment.
    pub service_environment: bool,
    /// Whether a pod is refused for which the node has no room.
    pub admission: bool,
    /// An annotation whose value `false` keeps a pod from being ready.
    pub ready_annotation: Option<Name>,
    /// How much a pod's status tells.
    pub reporting: Reporting,
    /// How long a terminating pod waits at most until the data planes have unrouted it.
    pub unroute_wait_max: Duration,
}

/// How much a pod's status tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reporting {
    /// As a kubelet does: every step, with the reasons in words.
    #[default]
    Full,
    /// As the recorded fake kubelet does: nothing before the containers run or fail, no messages, and identifiers
    /// made of names.
    Terse,
}

impl NodeConfig {
    /// A node with 4 CPUs, 16 GiB of memory and 110 pods.
    pub fn new(name: impl Into<Name>, address: IpAddr) -> NodeConfig {
        let capacity = [("cpu", "4"), ("ephemeral-storage", "100Gi"), ("memory", "16Gi"), ("pods", "110")]
            .map(|(k, v)| (Name::new_static(k), v.parse::<Quantity>().expect("a constant is a quantity")));
        NodeConfig {
            name: name.into(),
            addresses: vec![address],
            labels: Labels::new(),
            annotations: Labels::new(),
            taints: Vec::new(),
            capacity: capacity.into(),
            allocatable: BTreeMap::new(),
            pod_cidrs: Vec::new(),
            info: NodeSystemInfo {
                architecture: Name::new_static(match std::env::consts::ARCH {
                    "x86_64" => "amd64",
                    "aarch64" => "arm64",
                    other => other,
                }),
                operating_system: Name::new_static("linux"),
                os_image: Name::new_static("Orlop"),
                kernel_version: Name::new_static("unknown"),
                kubelet_version: Name::new_static(concat!("v1.36.2+orlop-", env!("CARGO_PKG_VERSION"))),
                ..NodeSystemInfo::default()
            },
            register: true,
            lease_period: Duration::from_secs(10),
            lease_duration: Duration::from_secs(40),
            status_period: Duration::from_secs(300),
            relist_period: Duration::from_secs(10),
            system_pods: Vec::new(),
            cluster_dns: Vec::new(),
            cluster_domain: Name::new_static("cluster.local"),
            mirror: None,
            unprivileged_from: 1024,
            events: true,
            probes: true,
            restarts: true,
            volumes: true,
            service_environment: true,
            admission: true,
            ready_annotation: None,
            reporting: Reporting::Full,
            unroute_wait_max: Duration::from_secs(10),
        }
    }

    /// The same node with the manners of the fake kubelet of the recordings; its containers follow
    /// `Policy::recorded()` of the mock runtime.
    pub fn recorded(self) -> NodeConfig {
        NodeConfig {
            events: false,
            probes: false,
            restarts: false,
            volumes: false,
            service_environment: false,
            admission: false,
            ready_annotation: Some(Name::new_static("rec/ready")),
            reporting: Reporting::Terse,
            lease_period: Duration::from_secs(8),
            ..self
        }
    }

    pub(crate) fn allocatable(&self) -> &BTreeMap<Name, Quantity> {
        if self.allocatable.is_empty() { &self.capacity } else { &self.allocatable }
    }

    pub(crate) fn terse(&self) -> bool {
        self.reporting == Reporting::Terse
    }
}
