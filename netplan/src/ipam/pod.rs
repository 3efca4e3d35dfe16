//! Pod addresses of one node.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use orlop_core::Timestamp;

use super::{address, host_bits, number};

/// How long a freed address rests: longer than a planner, a data plane or a client's idle connection needs to forget it.
pub const QUARANTINE: Duration = Duration::from_secs(60);

/// The addresses of one node's pods: one from each of the node's ranges.
///
/// # Guarantees
/// No address is held twice. A freed address rests for [`QUARANTINE`], and the search goes round the range, so that
/// an address that may still be in flight is not given to another pod; only where nothing but resting addresses is
/// left does [`PodAddresses::allocate`] answer `None` until one has rested enough. The first address of a range is the
/// node's own (its gateway), the network and broadcast addresses are nobody's.
///
/// After a restart, [`PodAddresses::restore`] resumes behind the youngest pod's address, where the search stood.
#[derive(Clone, Debug)]
pub struct PodAddresses {
    ranges: Vec<Range>,
}

#[derive(Clone, Debug)]
struct Range {
    net: IpNet,
    first: u128,
    count: u128,
    /// Offset from `first` at which the next search starts.
    next: u128,
    held: BTreeSet<u128>,
    resting: VecDeque<(Timestamp, u128)>,
    resting_set: BTreeSet<u128>,
}

impl Range {
    fn new(net: IpNet) -> Range {
        let net = net.trunc();
        let bits = host_bits(&net);
        let size = 1u128.checked_shl(bits).map_or(u128::MAX, |size| size);
        let last_reserved = u128::from(net.addr().is_ipv4());
        // Network and gateway in front, in IPv4 the broadcast address behind; a range too small for that gives all.
        let (skip, count) = if size > 3 { (2, size - 2 - last_reserved) } else { (0, size) };
        Range {
            net,
            first: number(net.addr()) + skip,
            count,
            next: 0,
            held: BTreeSet::new(),
            resting: VecDeque::new(),
            resting_set: BTreeSet::new(),
        }
    }

    fn wake(&mut self, now: Timestamp) {
        while let Some((since, n)) = self.resting.front().copied() {
            if now.since(since) < QUARANTINE {
                break;
            }
            self.resting.pop_front();
            self.resting_set.remove(&n);
        }
    }

    fn find(&self) -> Option<u128> {
        // More candidates than addresses in use or at rest cannot all be taken.
        let tries = self.count.min((self.held.len() + self.resting.len()) as u128 + 1);
        (0..tries)
            .map(|i| self.first + (self.next + i) % self.count)
            .find(|n| !self.held.contains(n) && !self.resting_set.contains(n))
    }

    fn contains(&self, addr: IpAddr) -> bool {
        self.net.contains(&addr)
    }
}

impl PodAddresses {
    /// All free. `ranges` are the node's `spec.podCIDRs`.
    pub fn new(ranges: impl IntoIterator<Item = IpNet>) -> PodAddresses {
        PodAddresses { ranges: ranges.into_iter().map(Range::new).collect() }
    }

    /// The state that the node's pods show: each address with the moment its pod was created.
    pub fn restore(
        ranges: impl IntoIterator<Item = IpNet>,
        held: impl IntoIterator<Item = (IpAddr, Timestamp)>,
    ) -> PodAddresses {
        let mut addresses = PodAddresses::new(ranges);
        let mut youngest: Vec<Option<(Timestamp, u128)>> = vec![None; addresses.ranges.len()];
        for (addr, created) in held {
            for (range, youngest) in addresses.ranges.iter_mut().zip(&mut youngest) {
                if range.contains(addr) {
                    let n = number(addr);
                    range.held.insert(n);
                    *youngest = (*youngest).max(Some((created, n)));
                }
            }
        }
        for (range, youngest) in addresses.ranges.iter_mut().zip(youngest) {
            if let Some((_, n)) = youngest {
                range.next = n.saturating_sub(range.first).wrapping_add(1) % range.count;
            }
        }
        addresses
    }

    /// The node's ranges.
    pub fn ranges(&self) -> impl Iterator<Item = IpNet> {
        self.ranges.iter().map(|range| range.net)
    }

    /// One address from each range, in their order; `None` if a range has none to give now.
    pub fn allocate(&mut self, now: Timestamp) -> Option<Vec<IpAddr>> {
        let found: Vec<u128> = self
            .ranges
            .iter_mut()
            .map(|range| {
                range.wake(now);
                range.find()
            })
            .collect::<Option<_>>()?;
        if found.is_empty() {
            return None;
        }
        let give = |(range, n): (&mut Range, u128)| {
            range.held.insert(n);
            range.next = (n - range.first + 1) % range.count;
            address(range.net.addr(), n)
        };
        Some(self.ranges.iter_mut().zip(found).map(give).collect())
    }

    /// Takes a certain address, as a pod object shows it. Answers whether it was free to take; a resting one is.
    pub fn occupy(&mut self, addr: IpAddr) -> bool {
        let Some(range) = self.ranges.iter_mut().find(|range| range.contains(addr)) else { return false };
        let n = number(addr);
        if range.resting_set.remove(&n) {
            range.resting.retain(|(_, resting)| *resting != n);
        }
        range.held.insert(n)
    }

    /// Frees an address; from now on it rests. Freeing what is not held changes nothing.
    pub fn release(&mut self, addr: IpAddr, now: Timestamp) {
        let n = number(addr);
        for range in self.ranges.iter_mut().filter(|range| range.contains(addr)) {
            if range.held.remove(&n) {
                range.resting.push_back((now, n));
                range.resting_set.insert(n);
            }
        }
    }

    /// When the address that has rested longest may be given again: the moment to retry after a `None`.
    pub fn next_free_at(&self) -> Option<Timestamp> {
        self.ranges
            .iter()
            .filter_map(|range| range.resting.front())
            .map(|(since, _)| *since + QUARANTINE)
            .max()
    }

    /// Addresses in use in the fullest range.
    pub fn held(&self) -> usize {
        self.ranges.iter().map(|range| range.held.len()).max().unwrap_or(0)
    }
}
