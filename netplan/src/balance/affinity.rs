//! `sessionAffinity: ClientIP`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use orlop_core::Timestamp;

use super::{Balancer, Flow};

/// A client address keeps its endpoint until it made no connection for `timeout`, or the endpoint is gone.
pub struct ClientAffinity {
    within: Box<dyn Balancer>,
    timeout: Duration,
    endpoints: Vec<SocketAddr>,
    clients: BTreeMap<IpAddr, Session>,
    /// Clients are forgotten when there are twice as many as after the last time.
    sweep_at: usize,
}

struct Session {
    endpoint: SocketAddr,
    seen: Timestamp,
}

const SWEEP_MIN: usize = 1024;

impl ClientAffinity {
    /// `within` decides for clients that have no endpoint.
    pub fn new(within: Box<dyn Balancer>, timeout: Duration) -> ClientAffinity {
        ClientAffinity {
            within,
            timeout,
            endpoints: Vec::new(),
            clients: BTreeMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }

    /// How many clients are remembered, some of them perhaps past their time.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn sweep(&mut self, now: Timestamp) {
        if self.clients.len() >= self.sweep_at {
            let timeout = self.timeout;
            self.clients.retain(|_, session| now.since(session.seen) < timeout);
            self.sweep_at = (self.clients.len() * 2).max(SWEEP_MIN);
        }
    }
}

impl Balancer for ClientAffinity {
    fn set_endpoints(&mut self, endpoints: &[SocketAddr]) {
        self.endpoints = endpoints.to_vec();
        self.clients.retain(|_, session| endpoints.contains(&session.endpoint));
        self.within.set_endpoints(endpoints);
    }

    fn choose(&mut self, flow: &Flow, loads: &[u32], now: Timestamp) -> Option<usize> {
        let kept = self
            .clients
            .get(&flow.client)
            .filter(|session| now.since(session.seen) < self.timeout)
            .and_then(|session| self.endpoints.iter().position(|e| *e == session.endpoint));
        let at = match kept {
            Some(at) => at,
            None => self.within.choose(flow, loads, now)?,
        };
        self.clients.insert(flow.client, Session { endpoint: self.endpoints[at], seen: now });
        self.sweep(now);
        Some(at)
    }
}
