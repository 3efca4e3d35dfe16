//! [`DataPlane`]: the seam to what really moves packets.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use orlop_core::{Key, Name, Revision};

use crate::plan::{NetPlan, Protocol};
use crate::progress::Progress;

/// Carries plans out.
///
/// # Guarantees
/// - After `apply` returned, no *new* connection goes to an endpoint that the plan does not offer, and each one goes
///   to an endpoint that the plan offers. Connections that are established stay so until one side ends them; a plane
///   never cuts one because its endpoint became terminating. Those to a pod that is gone end in the end.
/// - `apply` is idempotent: the same plan again changes nothing. A plan of a lower revision than the one applied last
///   is ignored, and the answer is what holds.
/// - [`DataPlane::progress`] rises to a plan's revision only after all this holds, and before `apply` returns.
/// - What cannot be served (a port in use, a family without loopback) is no failure of the whole: it is reported in
///   [`Published`], with the reason, and tried again with the next plan.
/// - Dropping the plane closes everything that it opened. Nothing is global: several planes live side by side.
///
/// # Cancellation
/// An `apply` that was cancelled has happened in part; the next one finishes it.
///
/// [`crate::conformance`] checks all this for any implementation.
#[async_trait]
pub trait DataPlane: Send + Sync + 'static {
    /// Names it in messages, `loopback`.
    fn name(&self) -> &str;

    /// Makes `plan` so.
    ///
    /// # Errors
    /// When the plane as a whole cannot work; the caller tries again later with a newer plan.
    async fn apply(&self, plan: Arc<NetPlan>) -> Result<Applied, DataPlaneError>;

    /// How far it has come.
    fn progress(&self) -> Progress;

    /// Where things can be reached now.
    fn published(&self) -> Arc<Published>;
}

/// What `apply` did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The revision of the plan that holds now.
    pub revision: Revision,
    /// Where things can be reached.
    pub published: Arc<Published>,
}

/// Why a plane cannot work.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    /// It was closed.
    #[error("the data plane {0} is closed")]
    Closed(String),
    /// The outside failed.
    #[error("the data plane {plane} cannot work: {reason}")]
    Failed {
        /// The plane.
        plane: String,
        /// Why.
        reason: String,
    },
}

/// Addresses that work, and those that do not with the reason, ordered by what they are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// One entry for each frontend.
    pub addresses: Vec<PublishedAddress>,
}

/// One address at which something can be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedAddress {
    /// What is reached.
    pub what: What,
    /// By which protocol.
    pub protocol: Protocol,
    /// Address and port as the cluster knows them.
    pub wanted: SocketAddr,
    /// Where it really is, or why it is nowhere.
    pub at: Result<SocketAddr, String>,
}

impl PublishedAddress {
    /// Whether it is at another port than wanted.
    pub fn moved(&self) -> bool {
        self.at.as_ref().is_ok_and(|at| at.port() != self.wanted.port())
    }
}

/// What can be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The cluster's DNS.
    Dns,
    /// HTTP requests for the hosts and paths of Ingresses.
    Ingress,
    /// A Service at an address of its own: of the cluster, external, or of its load balancer.
    Service {
        /// The Service.
        service: Key,
        /// The port's name.
        port: Name,
    },
    /// A Service at a node.
    NodePort {
        /// The Service.
        service: Key,
        /// The port's name.
        port: Name,
        /// The node.
        node: Name,
    },
}

impl Published {
    /// Where `service` is reached by its own addresses.
    pub fn service<'a>(&'a self, service: &'a Key) -> impl Iterator<Item = &'a PublishedAddress> {
        self.addresses
            .iter()
            .filter(move |a| matches!(&a.what, What::Service { service: s, .. } if s == service))
    }

    /// Where `service` is reached by its node ports.
    pub fn node_ports<'a>(&'a self, service: &'a Key) -> impl Iterator<Item = &'a PublishedAddress> {
        self.addresses
            .iter()
            .filter(move |a| matches!(&a.what, What::NodePort { service: s, .. } if s == service))
    }

    /// Where something is reached.
    pub fn of<'a>(&'a self, what: &'a What) -> impl Iterator<Item = &'a PublishedAddress> {
        self.addresses.iter().filter(move |a| a.what == *what)
    }
}
