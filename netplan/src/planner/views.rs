//! What the planner reads of objects that hold much more.

use std::net::IpAddr;

use orlop_core::kinds::{EndpointSlice, NodeAddress, PodIP};
use orlop_core::world::Index;
use orlop_core::{Key, Kind, Meta, Name, Object};
use serde::Deserialize;

/// The label that names a slice's Service.
pub(super) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// A Pod as far as the network is concerned.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NetPod {
    /// Name, and whether it is being deleted.
    pub metadata: LeanMeta,
    /// Where it is.
    pub spec: NetPodSpec,
    /// Its addresses.
    pub status: NetPodStatus,
}

/// The part of a pod's metadata that the network reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeanMeta(Box<Meta>);

impl<'de> Deserialize<'de> for LeanMeta {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LeanMeta, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Fields {
            name: Name,
            namespace: Name,
            uid: Name,
            deletion_timestamp: Option<orlop_core::Timestamp>,
        }
        let Fields { name, namespace, uid, deletion_timestamp } = Fields::deserialize(deserializer)?;
        Ok(LeanMeta(Box::new(Meta { name, namespace, uid, deletion_timestamp, ..Meta::default() })))
    }
}

impl std::ops::Deref for LeanMeta {
    type Target = Meta;

    fn deref(&self) -> &Meta {
        &self.0
    }
}

/// Where a pod is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetPodSpec {
    /// Its node.
    pub node_name: Name,
    /// Whether it has its node's addresses.
    pub host_network: bool,
}

/// A pod's addresses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NetPodStatus {
    /// `Succeeded` and `Failed` pods have no addresses any more, whatever they carry.
    pub phase: Name,
    /// One of each family.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIP>,
}

impl Object for NetPod {
    const KIND: Kind = Kind::namespaced("", "v1", "Pod", "pods");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl NetPod {
    /// Its own addresses: none if it shares its node's, or has ended.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ended = matches!(self.status.phase.as_str(), "Succeeded" | "Failed");
        let own = !ended && !self.spec.host_network;
        self.status.pod_ips.iter().filter(move |_| own).filter_map(|ip| ip.ip.parse().ok())
    }
}

/// A Node as far as the network is concerned.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetNode {
    pub(super) metadata: Meta,
    pub(super) spec: NetNodeSpec,
    pub(super) status: NetNodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetNodeSpec {
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: Name,
    #[serde(rename = "podCIDRs")]
    pub(super) pod_cidrs: Vec<Name>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetNodeStatus {
    pub(super) addresses: Vec<NodeAddress>,
}

impl Object for NetNode {
    const KIND: Kind = Kind::cluster("", "v1", "Node", "nodes");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// The Service that a slice belongs to.
pub(super) fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let service = slice.metadata.label(SERVICE_NAME_LABEL)?;
    Some(Key::new(slice.metadata.namespace.clone(), service))
}

/// Slices by the `namespace/name` of their Service.
pub(super) struct SlicesByService;

impl Index for SlicesByService {
    type Of = EndpointSlice;

    fn values(slice: &EndpointSlice, out: &mut Vec<Name>) {
        out.extend(service_of(slice).map(|key| smol_str::format_smolstr!("{key}")));
    }
}

/// Slices by the `namespace/name` of the pods in them.
pub(super) struct SlicesByPod;

impl Index for SlicesByPod {
    type Of = EndpointSlice;

    fn values(slice: &EndpointSlice, out: &mut Vec<Name>) {
        let start = out.len();
        out.extend(slice.endpoints.iter().filter_map(|endpoint| {
            let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod")?;
            let namespace = match target.namespace.as_str() {
                "" => &slice.metadata.namespace,
                _ => &target.namespace,
            };
            Some(smol_str::format_smolstr!("{namespace}/{}", target.name))
        }));
        out[start..].sort_unstable();
        out.dedup();
    }
}
