//! The data plane that needs no root and no Docker: proxies on a block of 127/8.
//!
//! | of the plan | becomes |
//! |---|---|
//! | a Service's addresses | TCP and UDP proxies at their mirrors |
//! | node ports | the same at every node's mirror |
//! | Ingresses | an HTTP/1.1 proxy on 127.0.0.1 |
//! | names | a DNS server at the mirror of the cluster's DNS address |
//!
//! A port that the process may not bind (below 1024 without privilege), or that somebody else holds, moves to 8000
//! above, then 18000, 28000 and so on; [`Published`] says where things are. Pods are expected to listen at the mirror of
//! their address, `mirror.of(pod_ip)`, with low ports moved by the rule of [`orlop_core::runtime::bind_port`].
//!
//! A connection stays with the endpoint that took it until one side ends it or the pod is long gone; an endpoint that is
//! about to end gets no new ones. One that refuses a connection is passed over. Clients are known by their mirrored
//! addresses, so a container that binds its own mirror counts as a client on its node; anybody else is a client on no
//! node, to whom every ready endpoint is open.
//!
//! Not served: SCTP, IPv6 (which has one loopback address only), TLS of Ingresses. Load balancers' source ranges are not
//! enforced: all clients are local.
//!
//! ```no_run
//! # async fn f(clock: std::sync::Arc<dyn orlop_core::Clock>, plan: std::sync::Arc<orlop_netplan::NetPlan>) {
//! use orlop_netplan::loopback::{Loopback, Options, claim};
//! use orlop_netplan::{DataPlane, Networks};
//!
//! let (mirror, claim) = claim(&Networks::default()).unwrap();
//! let plane = Loopback::start(Options {
//!     claim: Some(claim),
//!     cluster_dns: Some("10.96.0.10".parse().unwrap()),
//!     ..Options::new(mirror, clock, orlop_core::Entropy::seeded(1))
//! });
//! for address in &plane.apply(plan).await.unwrap().published.addresses {
//!     println!("{:?}: {:?}", address.what, address.at);
//! }
//! # }
//! ```

mod backend;
mod bind;
mod claim;
mod dns;
mod fronts;
mod http;
mod state;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use orlop_core::{Clock, Entropy};
use tokio::sync::watch;

pub use claim::{Claim, claim};

use crate::balance::{Balancer, Maglev, Random, RoundRobin, TwoChoices};
use crate::mirror::Mirror;
use crate::plan::NetPlan;
use crate::plane::{Applied, DataPlane, DataPlaneError, Published};
use crate::progress::Progress;
use state::State;

/// What a loopback data plane is made of.
pub struct Options {
    /// Where addresses live.
    pub mirror: Mirror,
    /// What keeps others off the mirror's blocks; held as long as the plane.
    pub claim: Option<Claim>,
    /// The cluster's DNS address, 10.96.0.10; `None`: no DNS.
    pub cluster_dns: Option<IpAddr>,
    /// Which addresses DNS gives.
    pub dns_answers: DnsAnswers,
    /// Endpoints that are elsewhere than at the mirror of their address: an API server that the cluster knows at its
    /// node's 172.18.0.2:6443 may listen at 127.0.0.1:6443.
    pub redirect: BTreeMap<SocketAddr, SocketAddr>,
    /// The first port that containers may bind here: one that listens on a lower port is at
    /// [`orlop_core::runtime::bind_port`]. Must be what the node agents are told.
    pub unprivileged_from: u16,
    /// Where Ingress listens; `None`: no Ingress.
    pub ingress: Option<Ipv4Addr>,
    /// Which endpoint a connection gets.
    pub balancing: Balancing,
    /// After which silence a UDP session ends.
    pub udp_idle: Duration,
    /// How long a connection may outlive its pod: time for a server's last answers. Less than
    /// [`crate::ipam::QUARANTINE`], lest it reach the address's next holder.
    pub linger: Duration,
    /// For session affinity.
    pub clock: Arc<dyn Clock>,
    /// For balancers that draw.
    pub entropy: Entropy,
}

/// Which addresses DNS gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsAnswers {
    /// Those on loopback, which a client on this machine can reach.
    #[default]
    Mirrored,
    /// Those that the objects carry.
    Cluster,
}

/// Which endpoint a connection gets, where no session affinity decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancing {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The less loaded of two.
    TwoChoices,
    /// By the flow.
    Maglev,
}

impl Options {
    /// Ingress on 127.0.0.1, round robin, UDP sessions of 30 s, no DNS until its address is set.
    pub fn new(mirror: Mirror, clock: Arc<dyn Clock>, entropy: Entropy) -> Options {
        Options {
            mirror,
            claim: None,
            cluster_dns: None,
            dns_answers: DnsAnswers::default(),
            redirect: BTreeMap::new(),
            unprivileged_from: 1024,
            ingress: Some(Ipv4Addr::LOCALHOST),
            balancing: Balancing::default(),
            udp_idle: Duration::from_secs(30),
            linger: Duration::from_secs(10),
            clock,
            entropy,
        }
    }
}

/// The loopback data plane.
pub struct Loopback {
    shared: Arc<Shared>,
    state: tokio::sync::Mutex<State>,
    progress: Progress,
    published: RwLock<Arc<Published>>,
    /// Every connection ends when this is dropped.
    _open: watch::Sender<()>,
}

/// What listeners and connections look at.
struct Shared {
    options: Options,
    plan: RwLock<Arc<NetPlan>>,
    /// Completes with an error when the plane is dropped.
    closed: watch::Receiver<()>,
    entropy: Mutex<Entropy>,
}

impl Shared {
    fn plan(&self) -> Arc<NetPlan> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn balancer(&self) -> Box<dyn Balancer> {
        let entropy = || {
            let mut entropy = self.entropy.lock().unwrap_or_else(PoisonError::into_inner);
            Entropy::seeded(entropy.next_u64())
        };
        match self.options.balancing {
            Balancing::RoundRobin => Box::new(RoundRobin::new()),
            Balancing::Random => Box::new(Random::new(entropy())),
            Balancing::TwoChoices => Box::new(TwoChoices::new(entropy())),
            Balancing::Maglev => Box::new(Maglev::new()),
        }
    }
}

impl Loopback {
    /// A plane that serves nothing yet. Nothing is bound before the first plan.
    pub fn start(options: Options) -> Loopback {
        let (open, closed) = watch::channel(());
        let entropy = Mutex::new(options.entropy.child("balancing"));
        let shared = Arc::new(Shared { options, plan: RwLock::default(), closed, entropy });
        Loopback {
            state: tokio::sync::Mutex::new(State::new(Arc::clone(&shared))),
            shared,
            progress: Progress::new(),
            published: RwLock::default(),
            _open: open,
        }
    }

    /// Where addresses live.
    pub fn mirror(&self) -> &Mirror {
        &self.shared.options.mirror
    }
}

#[async_trait]
impl DataPlane for Loopback {
    fn name(&self) -> &str {
        "loopback"
    }

    async fn apply(&self, plan: Arc<NetPlan>) -> Result<Applied, DataPlaneError> {
        if tokio::runtime::Handle::try_current().is_err() {
            let reason = "it is not called within a tokio runtime".to_owned();
            return Err(DataPlaneError::Failed { plane: self.name().to_owned(), reason });
        }
        let mut state = self.state.lock().await;
        if plan.revision >= self.shared.plan().revision {
            *self.shared.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&plan);
            state.take(&plan).await;
            if let Some(published) = state.serve() {
                *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
            }
            self.progress.reach(plan.revision);
        }
        Ok(Applied { revision: self.shared.plan().revision, published: self.published() })
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A task that ends when this is dropped.
struct Task(tokio::task::JoinHandle<()>);

impl Task {
    fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(tokio::spawn(future))
    }

    /// Ends it and waits until what it held is dropped: an abort alone leaves a socket open for a while.
    async fn ended(&mut self) {
        self.0.abort();
        // Aborted, or it had ended: both are what is wanted.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
