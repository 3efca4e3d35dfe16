//! Who gets which address: cluster to node to pod, Services and node ports. Pure; time and chance are arguments.
//!
//! | what | from | with |
//! |---|---|---|
//! | a node's pod range | the cluster's pod ranges | [`CidrSet`], [`NodeCidrs`] |
//! | a pod's addresses | its node's ranges | [`PodAddresses`] |
//! | a Service's address | the Service range | [`ServiceRange`] |
//! | a node port | the node port range | [`PortRange`] |
//!
//! Nothing here is stored: every allocator is rebuilt from the objects that hold the addresses.

mod cidr_set;
mod node_cidrs;
mod pod;
mod port;
mod service;

pub use cidr_set::{CidrSet, CidrSetError};
pub use node_cidrs::{NodeCidrs, NodeCidrsError};
pub use pod::{PodAddresses, QUARANTINE};
pub use port::{PortError, PortRange, PortRangeError};
pub use service::{IpError, ServiceRange};

use std::net::IpAddr;

use ipnet::IpNet;

/// An address as a number, for arithmetic that is the same in both families.
pub(crate) fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of `like`'s family with this number; higher bits are cut off.
pub(crate) fn address(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

/// How many bits are left to hosts.
pub(crate) fn host_bits(net: &IpNet) -> u32 {
    u32::from(net.max_prefix_len() - net.prefix_len())
}

/// Whether both are of one family.
pub(crate) fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}
