//! Balancers that know nothing of endpoints but how many there are, and how loaded.

use std::net::SocketAddr;

use orlop_core::{Entropy, Timestamp};

use super::{Balancer, Flow};

/// Each endpoint in turn.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    count: usize,
    next: usize,
}

impl RoundRobin {
    /// Starts with the first endpoint.
    pub fn new() -> RoundRobin {
        RoundRobin::default()
    }
}

impl Balancer for RoundRobin {
    fn set_endpoints(&mut self, endpoints: &[SocketAddr]) {
        self.count = endpoints.len();
    }

    fn choose(&mut self, _flow: &Flow, _loads: &[u32], _now: Timestamp) -> Option<usize> {
        let at = self.next.checked_rem(self.count)?;
        self.next = at + 1;
        Some(at)
    }
}

/// Any endpoint.
#[derive(Clone, Debug)]
pub struct Random {
    count: usize,
    entropy: Entropy,
}

impl Random {
    /// Draws from `entropy`.
    pub fn new(entropy: Entropy) -> Random {
        Random { count: 0, entropy }
    }
}

impl Balancer for Random {
    fn set_endpoints(&mut self, endpoints: &[SocketAddr]) {
        self.count = endpoints.len();
    }

    fn choose(&mut self, _flow: &Flow, _loads: &[u32], _now: Timestamp) -> Option<usize> {
        (self.count > 0).then(|| self.entropy.below(self.count as u64) as usize)
    }
}

/// The less loaded of two random endpoints: nearly as even as the least loaded of all, without looking at all.
#[derive(Clone, Debug)]
pub struct TwoChoices {
    count: usize,
    entropy: Entropy,
}

impl TwoChoices {
    /// Draws from `entropy`.
    pub fn new(entropy: Entropy) -> TwoChoices {
        TwoChoices { count: 0, entropy }
    }
}

impl Balancer for TwoChoices {
    fn set_endpoints(&mut self, endpoints: &[SocketAddr]) {
        self.count = endpoints.len();
    }

    fn choose(&mut self, _flow: &Flow, loads: &[u32], _now: Timestamp) -> Option<usize> {
        let count = self.count as u64;
        let first = match count {
            0 => return None,
            1 => return Some(0),
            _ => self.entropy.below(count),
        };
        // Another one, each with the same chance.
        let second = (first + 1 + self.entropy.below(count - 1)) % count;
        let load = |at: u64| loads.get(at as usize).copied().unwrap_or(0);
        Some(if load(second) < load(first) { second } else { first } as usize)
    }
}
