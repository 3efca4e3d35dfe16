//! How a [`super::LocalApi`] is set up.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use orlop_core::scheme::OptionalVersion;
use orlop_netplan::ipam::PortRange;

use crate::admission::{Admission, NoWebhooks, WebhookClient};
use crate::auth::{AlwaysAllow, Authenticator, Authorizer, NoTokens, TokenIssuer};
use crate::node::{NoNodes, NodeGateway};

/// What an API server core is made of, besides its store.
#[derive(Clone)]
pub struct Config {
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// Whom tokens belong to, for TokenReviews.
    pub authenticator: Arc<dyn Authenticator>,
    /// Who signs the tokens of service accounts.
    pub tokens: Arc<dyn TokenIssuer>,
    /// The way to node agents.
    pub nodes: Arc<dyn NodeGateway>,
    /// Admission of an embedder's own, after the built-in.
    pub admission: Vec<Arc<dyn Admission>>,
    /// The way to admission webhooks.
    pub webhooks: Arc<dyn WebhookClient>,
    /// Where Services get their addresses: one range for each IP family, the preferred one first.
    pub service_ranges: Vec<IpNet>,
    /// Where Services get their node ports.
    pub node_ports: PortRange,
    /// How often a watch that asked for it is told its progress.
    pub bookmark_every: Duration,
    /// How long an event is kept after it was last written, give or take a few minutes; zero: for ever.
    pub event_ttl: Duration,
    /// What the `kubernetes` Service leads to.
    pub server: ServerAddress,
    /// What is served besides what Kubernetes serves by default.
    pub versions: Vec<OptionalVersion>,
    /// As many recent creations of each kind and namespace are remembered with what came of them: one that is like
    /// them, but for its name, costs little then. What is answered and stored is the same. 0: none.
    pub alike: usize,
}

/// Where the API server can be reached from within the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Its address; `None`: the `kubernetes` Service has no endpoints.
    pub ip: Option<std::net::IpAddr>,
    /// Its port.
    pub port: u16,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            authorizer: Arc::new(AlwaysAllow),
            authenticator: Arc::new(NoTokens),
            tokens: Arc::new(NoTokens),
            nodes: Arc::new(NoNodes),
            admission: Vec::new(),
            webhooks: Arc::new(NoWebhooks),
            service_ranges: vec![IpNet::new_assert(std::net::IpAddr::from([10, 96, 0, 0]), 16)],
            node_ports: PortRange::default(),
            bookmark_every: Duration::from_secs(60),
            event_ttl: Duration::from_secs(60 * 60),
            server: ServerAddress { ip: None, port: 6443 },
            versions: Vec::new(),
            alike: 16,
        }
    }
}
