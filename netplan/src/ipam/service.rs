//! Addresses of Services.

use std::net::IpAddr;

use ipnet::IpNet;
use orlop_core::Entropy;

use super::{address, host_bits, number};

/// A range of Service addresses with its static band.
///
/// The low band is kept for Services that ask for a certain address; who asks for none gets a random one above it, and
/// one of the low band only when nothing else is left (KEP-3070). What is taken is the caller's to know, so that an
/// allocation can be part of the transaction that stores the Service.
///
/// ```
/// use orlop_core::Entropy;
/// use orlop_netplan::ipam::ServiceRange;
///
/// let range = ServiceRange::new("10.96.0.0/16".parse().unwrap());
/// let ip = range.allocate(|_| false, &mut Entropy::seeded(1)).unwrap();
/// assert!(range.check(ip, |_| false).is_ok());
/// assert_eq!(range.first().to_string(), "10.96.0.1"); // the `kubernetes` Service
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    net: IpNet,
}

/// Why a Service gets no address. The texts are what an API client sees behind `failed to allocate IP …: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpError {
    /// Nothing is left.
    #[error("range is full")]
    Full,
    /// Another Service has it.
    #[error("provided IP is already allocated")]
    Allocated,
    /// It is no address that a Service can have: outside of the range, or its network or broadcast address.
    #[error("the provided network does not match the current range")]
    NotInRange,
}

/// Bounds of the static band, and which part of the range it is: `min(max(16, size / 16), 256)`.
const BAND: (u128, u128, u128) = (16, 16, 256);

impl ServiceRange {
    /// The range `net`; host bits are cut off.
    pub fn new(net: IpNet) -> ServiceRange {
        ServiceRange { net: net.trunc() }
    }

    /// The range.
    pub fn net(&self) -> IpNet {
        self.net
    }

    /// How many addresses the range spans; at most `2^63 - 1`.
    pub fn size(&self) -> u64 {
        match host_bits(&self.net) {
            bits @ 0..63 => 1 << bits,
            _ => i64::MAX as u64,
        }
    }

    /// How many addresses at the range's start are kept for explicit requests.
    pub fn static_band(&self) -> u64 {
        static_band(u128::from(self.size()), BAND) as u64
    }

    /// The first address that a Service can have: that of the `kubernetes` Service.
    pub fn first(&self) -> IpAddr {
        address(self.net.addr(), number(self.net.addr()).saturating_add(1))
    }

    fn last(&self) -> u128 {
        // IPv6 has no broadcast address.
        number(self.net.broadcast()) - u128::from(self.net.addr().is_ipv4() && host_bits(&self.net) > 0)
    }

    /// Whether a Service can have this address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.net.contains(&ip) && (number(self.first())..=self.last()).contains(&number(ip))
    }

    /// Whether a certain address can be given.
    ///
    /// # Errors
    /// [`IpError::NotInRange`], [`IpError::Allocated`].
    pub fn check(&self, ip: IpAddr, taken: impl Fn(IpAddr) -> bool) -> Result<(), IpError> {
        match ip {
            ip if !self.contains(ip) => Err(IpError::NotInRange),
            ip if taken(ip) => Err(IpError::Allocated),
            _ => Ok(()),
        }
    }

    /// A free address: at random above the static band, then in it.
    ///
    /// # Errors
    /// [`IpError::Full`].
    pub fn allocate(&self, taken: impl Fn(IpAddr) -> bool, entropy: &mut Entropy) -> Result<IpAddr, IpError> {
        let (first, last) = (number(self.first()), self.last());
        if last < first {
            return Err(IpError::Full);
        }
        let dynamic = first + u128::from(self.static_band());
        let mut search =
            |from: u128, to: u128| random_scan(from, to, entropy, |n| !taken(address(self.net.addr(), n)));
        search(dynamic, last)
            .or_else(|| search(first, dynamic.saturating_sub(1).min(last)))
            .map(|n| address(self.net.addr(), n))
            .ok_or(IpError::Full)
    }
}

/// The size of a static band: a part of the range within bounds; none where the range is not larger than the least one.
pub(super) fn static_band(size: u128, (least, part, most): (u128, u128, u128)) -> u128 {
    if size <= least { 0 } else { (size / part).clamp(least, most) }
}

/// The first number in `from..=to` that is `free`, searched from a random place onwards and round.
pub(super) fn random_scan(
    from: u128,
    to: u128,
    entropy: &mut Entropy,
    free: impl Fn(u128) -> bool,
) -> Option<u128> {
    let count = to.checked_sub(from)?.saturating_add(1);
    let start = u128::from(entropy.below(u64::try_from(count).unwrap_or(u64::MAX)));
    (0..count).map(|i| from + (start + i) % count).find(|n| free(*n))
}
