//! Consistent hashing after Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016).

use std::net::SocketAddr;

use orlop_core::Timestamp;

use super::{Balancer, Flow, hash_socket};

/// A table from flow hashes to endpoints that is even to about one per cent and hardly changes when an endpoint comes
/// or goes; two balancers with the same endpoints, in whatever order, send a flow to the same one.
///
/// The size of the table must not follow the number of endpoints, or every flow would move with it: choose it for the
/// most that there will be, a hundred slots for each (two bytes a slot).
#[derive(Clone, Debug)]
pub struct Maglev {
    size: u32,
    table: Vec<u16>,
}

/// Primes, so that every stride visits all slots.
const SIZES: [u32; 5] = [1021, 4093, 16_381, 65_537, 655_373];
const EMPTY: u16 = u16::MAX;

impl Default for Maglev {
    /// 16,381 slots.
    fn default() -> Maglev {
        Maglev::with_slots(16_381)
    }
}

impl Maglev {
    /// No endpoints yet; enough slots for 160 of them.
    pub fn new() -> Maglev {
        Maglev::default()
    }

    /// At least so many slots, up to 655,373.
    pub fn with_slots(slots: u32) -> Maglev {
        let size = SIZES.into_iter().find(|size| *size >= slots).unwrap_or(SIZES[SIZES.len() - 1]);
        Maglev { size, table: Vec::new() }
    }

    fn fill(size: u32, endpoints: &[SocketAddr]) -> Vec<u16> {
        if endpoints.is_empty() {
            return Vec::new();
        }
        let size64 = u64::from(size);
        // Each endpoint walks the slots in an order of its own (offset and stride) and takes the next free one when
        // it is its turn. Turns go by address, lest the order of the list matter.
        let mut walkers: Vec<(SocketAddr, u16, u64, u64)> = endpoints
            .iter()
            .zip(0..EMPTY)
            .map(|(endpoint, at)| {
                let offset = hash_socket(1, endpoint) % size64;
                let stride = hash_socket(2, endpoint) % (size64 - 1) + 1;
                (*endpoint, at, offset, stride)
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
        self.table = Maglev::fill(self.size, endpoints);
    }

    fn choose(&mut self, flow: &Flow, _loads: &[u32], _now: Timestamp) -> Option<usize> {
        let slot = (flow.hash as usize).checked_rem(self.table.len())?;
        Some(self.table[slot].into())
    }
}
