//! A cluster's pod range cut into equal node ranges.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{address, host_bits, number, same_family};

/// Equal parts of a cluster's pod range, given out round robin: a freed part waits until all others had their turn.
///
/// The rules, and the texts of the errors, are those of Kubernetes' node IPAM controller.
#[derive(Clone, Debug)]
pub struct CidrSet {
    cluster: IpNet,
    node_mask: u8,
    /// How many parts there are; zero if a part would be larger than the whole.
    parts: usize,
    next: usize,
    used: Vec<u64>,
    allocated: usize,
}

/// Why a node range could not be given, taken or freed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrSetError {
    /// An IPv6 range would be cut into more than 65,536 parts, or a mask exceeds the family's bits.
    #[error("New CIDR set failed; the node CIDR size is too big")]
    TooManyParts,
    /// Every part is in use.
    #[error("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")]
    Full,
    /// The range is no part of the cluster's.
    #[error("cidr {cidr} is out the range of cluster cidr {cluster}")]
    OutOfRange {
        /// What was named.
        cidr: IpNet,
        /// The cluster's range.
        cluster: IpNet,
    },
    /// The range lies behind the last part.
    #[error("CIDR: {address}/{mask} is out of the range of CIDR allocator")]
    OutOfParts {
        /// The part's address.
        address: IpAddr,
        /// The parts' prefix length.
        mask: u8,
    },
}

/// IPv6 ranges are so large that the number of parts is bounded: at most `2^16`.
const PART_BITS_MAX_V6: u8 = 16;

impl CidrSet {
    /// Cuts `cluster` into ranges with prefix length `node_mask`.
    ///
    /// # Errors
    /// [`CidrSetError::TooManyParts`].
    pub fn new(cluster: IpNet, node_mask: u8) -> Result<CidrSet, CidrSetError> {
        let cluster = cluster.trunc();
        let bits = i16::from(node_mask) - i16::from(cluster.prefix_len());
        let v6 = cluster.addr().is_ipv6();
        if (v6 && bits > i16::from(PART_BITS_MAX_V6)) || node_mask > cluster.max_prefix_len() {
            return Err(CidrSetError::TooManyParts);
        }
        let parts = if bits < 0 { 0 } else { 1usize << bits };
        Ok(CidrSet { cluster, node_mask, parts, next: 0, used: vec![0; parts.div_ceil(64)], allocated: 0 })
    }

    /// The range that is cut.
    pub fn cluster(&self) -> IpNet {
        self.cluster
    }

    /// Parts in use and parts in all.
    pub fn usage(&self) -> (usize, usize) {
        (self.allocated, self.parts)
    }

    /// The next free part.
    ///
    /// # Errors
    /// [`CidrSetError::Full`].
    pub fn allocate_next(&mut self) -> Result<IpNet, CidrSetError> {
        if self.allocated == self.parts {
            return Err(CidrSetError::Full);
        }
        let mut at = self.next;
        while self.is_used(at) {
            at = (at + 1) % self.parts;
        }
        self.next = (at + 1) % self.parts;
        self.mark(at, true);
        Ok(self.part(at))
    }

    /// Takes every part that `cidr` touches.
    ///
    /// # Errors
    /// When `cidr` and the cluster's range are strangers.
    pub fn occupy(&mut self, cidr: &IpNet) -> Result<(), CidrSetError> {
        self.mark_all(cidr, true)
    }

    /// Frees every part that `cidr` touches.
    ///
    /// # Errors
    /// When `cidr` and the cluster's range are strangers.
    pub fn release(&mut self, cidr: &IpNet) -> Result<(), CidrSetError> {
        self.mark_all(cidr, false)
    }

    fn mark_all(&mut self, cidr: &IpNet, used: bool) -> Result<(), CidrSetError> {
        let cidr = cidr.trunc();
        let strangers = || CidrSetError::OutOfRange { cidr, cluster: self.cluster };
        if !same_family(cidr.addr(), self.cluster.addr()) {
            return Err(strangers());
        }
        if !self.cluster.contains(&cidr.addr()) && !cidr.contains(&self.cluster.addr()) {
            return Err(strangers());
        }
        let parts = if self.cluster.prefix_len() < cidr.prefix_len() {
            self.index_of(cidr.addr())?..self.index_of(cidr.broadcast())? + 1
        } else {
            0..self.parts
        };
        for at in parts {
            self.mark(at, used);
        }
        Ok(())
    }

    fn part(&self, at: usize) -> IpNet {
        let base = number(self.cluster.addr());
        let shift = u32::from(self.cluster.max_prefix_len() - self.node_mask);
        let addr = address(self.cluster.addr(), base | ((at as u128) << shift));
        IpNet::new(addr, self.node_mask).expect("the mask was checked against the family")
    }

    fn index_of(&self, addr: IpAddr) -> Result<usize, CidrSetError> {
        let shift = u32::from(self.cluster.max_prefix_len() - self.node_mask);
        let distance = (number(self.cluster.addr()) ^ number(addr)).checked_shr(shift).unwrap_or(0);
        usize::try_from(distance).ok().filter(|at| *at < self.parts).ok_or_else(|| {
            let host_mask = 1u128.checked_shl(shift).map_or(u128::MAX, |size| size - 1);
            CidrSetError::OutOfParts {
                address: address(addr, number(addr) & !host_mask),
                mask: self.node_mask,
            }
        })
    }

    fn is_used(&self, at: usize) -> bool {
        self.used[at / 64] & (1 << (at % 64)) != 0
    }

    fn mark(&mut self, at: usize, used: bool) {
        if self.is_used(at) == used {
            return;
        }
        self.used[at / 64] ^= 1 << (at % 64);
        if used {
            self.allocated += 1;
        } else {
            self.allocated -= 1;
        }
    }
}

/// The prefix length of node ranges where nothing else is said: 24 in IPv4, 64 in IPv6, but always below the cluster's.
pub(crate) fn default_node_mask(cluster: &IpNet) -> u8 {
    let wanted = if cluster.addr().is_ipv4() { 24 } else { 64 };
    let longest = cluster.prefix_len() + host_bits(cluster).min(8) as u8;
    if wanted > cluster.prefix_len() { wanted } else { longest }
}
