//! Which endpoint a connection gets: [`Balancer`] and its kinds.
//!
//! | balancer | choice | memory |
//! |---|---|---|
//! | [`RoundRobin`] | each in turn | one number |
//! | [`Random`] | any | one generator |
//! | [`TwoChoices`] | the less loaded of two random ones | one generator |
//! | [`Maglev`] | by the flow alone; few flows move when endpoints change | a table |
//! | [`ClientAffinity`] | the one that the client had, else what the balancer within says | one entry for each client |

mod affinity;
mod maglev;
mod simple;

use std::net::{IpAddr, SocketAddr};

use orlop_core::Timestamp;

pub use affinity::ClientAffinity;
pub use maglev::Maglev;
pub use simple::{Random, RoundRobin, TwoChoices};

/// Chooses one of a list of endpoints for each connection.
///
/// # Guarantees
/// The answer is an index into the list given last, or `None` if that is empty. Nothing but the arguments, the calls
/// before and a seed decide it.
pub trait Balancer: Send {
    /// The endpoints from now on. An endpoint that was there before keeps what is remembered of it.
    fn set_endpoints(&mut self, endpoints: &[SocketAddr]);

    /// The endpoint for a new connection. `loads` are the open connections of each endpoint, or empty if unknown.
    fn choose(&mut self, flow: &Flow, loads: &[u32], now: Timestamp) -> Option<usize>;
}

/// What is known of a connection before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who opens it.
    pub client: IpAddr,
    /// Spread evenly over all flows; the same for the same flow.
    pub hash: u64,
}

impl Flow {
    /// The flow from one socket to another.
    pub fn new(client: SocketAddr, server: SocketAddr) -> Flow {
        let mut hash = hash_ip(0, client.ip());
        hash = mix(hash ^ (u64::from(client.port()) << 16 | u64::from(server.port())));
        Flow { client: client.ip(), hash: hash_ip(hash, server.ip()) }
    }
}

/// Scatters the bits of a number (the finaliser of SplitMix64).
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn hash_ip(seed: u64, ip: IpAddr) -> u64 {
    let n = crate::ipam::number(ip);
    mix(mix(seed ^ (n >> 64) as u64) ^ n as u64)
}

fn hash_socket(seed: u64, socket: &SocketAddr) -> u64 {
    mix(hash_ip(seed, socket.ip()) ^ u64::from(socket.port()))
}
