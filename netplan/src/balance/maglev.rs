//! Consistent hashing after Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016).

use std::net::SocketAddr;

use orlop_core::Timestamp;

use super::{Balancer, Flow, hash_socket};

/// A table from flow hashes to endpoints that is even to about one per cent and hardly changes when an endpoint comes
/// or goes; two balancers with the same endpoints, in whatever order, send a flow to the same one.
#[derive(Clone, Debug, Default)]
pub struct Maglev {
    table: Vec<u32>,
    count: usize,
}

/// Prime sizes: at least a hundred slots for each endpoint, as the paper advises, and no more than needed.
const SIZES: [u32; 6] = [251, 1021, 4093, 16_381, 65_537, 655_373];
const SLOTS_PER_ENDPOINT: usize = 100;
const EMPTY: u32 = u32::MAX;

impl Maglev {
    /// No endpoints yet.
    pub fn new() -> Maglev {
        Maglev::default()
    }

    fn fill(endpoints: &[SocketAddr]) -> Vec<u32> {
        if endpoints.is_empty() {
            return Vec::new();
        }
        let wanted = endpoints.len() * SLOTS_PER_ENDPOINT;
        let size = SIZES.into_iter().find(|s| *s as usize >= wanted).unwrap_or(SIZES[SIZES.len() - 1]);
        let size64 = u64::from(size);
        // Each endpoint walks the slots in an order of its own (offset and stride) and takes the next free one when
        // it is its turn. Turns go by address, lest the order of the list matter.
        let mut walkers: Vec<(SocketAddr, u32, u64, u64)> = endpoints
            .iter()
            .enumerate()
            .map(|(at, endpoint)| {
                let offset = hash_socket(1, endpoint) % size64;
                let stride = hash_socket(2, endpoint) % (size64 - 1) + 1;
                (*endpoint, at as u32, offset, stride)
            })
            .collect();
        walkers.sort_by_key(|(endpoint, ..)| *endpoint);
        let mut table = vec![EMPTY; size as usize];
        let mut filled = 0;
        'turns: loop {
            for (_, at, position, stride) in &mut walkers {
                while table[*position as usize] != EMPTY {
                    *position = (*position + *stride) % size64;
                }
                table[*position as usize] = *at;
                filled += 1;
                if filled == size {
                    break 'turns;
                }
            }
        }
        table
    }
}

impl Balancer for Maglev {
    fn set_endpoints(&mut self, endpoints: &[SocketAddr]) {
        self.count = endpoints.len();
        self.table = Maglev::fill(endpoints);
    }

    fn choose(&mut self, flow: &Flow, _loads: &[u32], _now: Timestamp) -> Option<usize> {
        let slot = (flow.hash as usize).checked_rem(self.table.len())?;
        Some(self.table[slot] as usize)
    }
}
