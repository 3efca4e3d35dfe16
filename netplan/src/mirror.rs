//! [`Mirror`]: where a cluster's addresses live on loopback.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::ipam::{address, number};

/// The ranges that a cluster's addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    /// Of pods: one range, or one of each family.
    pub pods: Vec<IpNet>,
    /// Of Services: one range, or one of each family.
    pub services: Vec<IpNet>,
    /// Of nodes.
    pub nodes: Vec<IpNet>,
    /// Of load balancers and other external addresses of Services.
    pub external: Vec<IpNet>,
}

impl Default for Networks {
    /// 10.244.0.0/16 for pods, 10.96.0.0/16 for Services, 172.18.0.0/16 for nodes, 203.0.113.0/24 for load balancers.
    fn default() -> Networks {
        let net = |a, b, c, prefix| {
            IpNet::V4(Ipv4Net::new(Ipv4Addr::new(a, b, c, 0), prefix).expect("the prefix fits"))
        };
        Networks {
            pods: vec![net(10, 244, 0, 16)],
            services: vec![net(10, 96, 0, 16)],
            nodes: vec![net(172, 18, 0, 16)],
            external: vec![net(203, 0, 113, 24)],
        }
    }
}

impl Networks {
    fn all(&self) -> impl Iterator<Item = IpNet> {
        [&self.services, &self.pods, &self.nodes, &self.external].into_iter().flatten().map(IpNet::trunc)
    }
}

/// A bijection from the addresses of one cluster into a part of 127/8 that it has for itself.
///
/// Where nobody else is in the way an address keeps all but its first byte: 10.96.0.10 lives at 127.96.0.10. A
/// second cluster on the machine takes the next free layout of [`Mirror::layouts`]; `loopback::claim` finds it.
/// 127.0.0.0/16 is never used. Only IPv4 has such a block: IPv6 addresses have no mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    segments: Vec<Segment>,
    /// What has no mirror.
    unmirrored: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    from: Ipv4Net,
    to: Ipv4Net,
}

/// Why there is no mirror.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// A range is as large as 127/8 itself.
    #[error("{0} is too large to be mirrored into 127.0.0.0/8")]
    TooLarge(IpNet),
    /// Two ranges share addresses.
    #[error("{0} and {1} overlap")]
    Overlap(IpNet, IpNet),
    /// The ranges together do not fit.
    #[error("the cluster's ranges do not fit into 127.0.0.0/8 together")]
    Full,
    /// Every layout is in use by somebody else.
    #[error("no block of 127.0.0.0/8 is free: {0}")]
    NoneFree(String),
}

/// The granularity of layouts, and of claims on them.
const BLOCK_BITS: u8 = 16;

fn blocks(net: &Ipv4Net) -> std::ops::RangeInclusive<u8> {
    net.network().octets()[1]..=net.broadcast().octets()[1]
}

impl Mirror {
    /// The layout in which every address keeps all but its first byte, as far as ranges do not collide.
    ///
    /// # Errors
    /// When the ranges overlap or do not fit.
    pub fn natural(networks: &Networks) -> Result<Mirror, MirrorError> {
        Mirror::layout(networks, 0)
    }

    /// All layouts in the order in which to try them. Pure: two processes try the same ones in the same order.
    pub fn layouts(networks: &Networks) -> impl Iterator<Item = Result<Mirror, MirrorError>> {
        (0..=u8::MAX).map(|shift| Mirror::layout(networks, shift))
    }

    /// The layout in which ranges move `shift` blocks of 65,536 addresses up.
    fn layout(networks: &Networks, shift: u8) -> Result<Mirror, MirrorError> {
        let mut mirror = Mirror { segments: Vec::new(), unmirrored: Vec::new() };
        for net in networks.all() {
            let IpNet::V4(from) = net else {
                mirror.unmirrored.push(net);
                continue;
            };
            if from.prefix_len() <= 8 {
                return Err(MirrorError::TooLarge(net));
            }
            if let Some(other) =
                mirror.segments.iter().find(|s| s.from.contains(&from) || from.contains(&s.from))
            {
                if other.from.contains(&from) {
                    // A part of what is mirrored already, such as node addresses out of a larger range.
                    continue;
                }
                return Err(MirrorError::Overlap(other.from.into(), net));
            }
            let to = mirror.place(from, shift).ok_or(MirrorError::Full)?;
            mirror.segments.push(Segment { from, to });
        }
        Ok(mirror)
    }

    /// The first free place for `from`, starting where it belongs.
    fn place(&self, from: Ipv4Net, shift: u8) -> Option<Ipv4Net> {
        let [_, b, c, d] = from.network().octets();
        let width = 1u32 << BLOCK_BITS.saturating_sub(from.prefix_len());
        (0..256u32)
            .filter_map(|step| {
                let second = (u32::from(b) + u32::from(shift) * width + step * width) % 256;
                let base = Ipv4Addr::new(127, second as u8, c, d);
                Ipv4Net::new(base, from.prefix_len()).ok().filter(|to| to.network() == base)
            })
            .find(|to| {
                let taken = |block| block == 0 || self.blocks().any(|b| b == block);
                // The cluster of its own does not share a block with itself, lest one range hide behind another.
                !blocks(to).any(taken)
            })
    }

    /// Where `address` lives on loopback; `None` if it is no address of this cluster, or one of IPv6.
    pub fn of(&self, address: IpAddr) -> Option<IpAddr> {
        let IpAddr::V4(v4) = address else { return None };
        self.segments.iter().find(|s| s.from.contains(&v4)).map(|s| shift(address, s.from, s.to))
    }

    /// Whose mirror an address on loopback is.
    pub fn back(&self, address: IpAddr) -> Option<IpAddr> {
        let IpAddr::V4(v4) = address else { return None };
        self.segments.iter().find(|s| s.to.contains(&v4)).map(|s| shift(address, s.to, s.from))
    }

    /// The second bytes of the blocks of 127/8 that this mirror uses.
    pub fn blocks(&self) -> impl Iterator<Item = u8> {
        self.segments.iter().flat_map(|s| blocks(&s.to))
    }

    /// Ranges that have no mirror, for they are of IPv6.
    pub fn unmirrored(&self) -> &[IpNet] {
        &self.unmirrored
    }

    /// Each range with its mirror.
    pub fn ranges(&self) -> impl Iterator<Item = (IpNet, IpNet)> {
        self.segments.iter().map(|s| (s.from.into(), s.to.into()))
    }
}

fn shift(addr: IpAddr, from: Ipv4Net, to: Ipv4Net) -> IpAddr {
    let offset = number(addr) - number(from.network().into());
    address(addr, number(to.network().into()) + offset)
}
