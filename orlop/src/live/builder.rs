//! Describing and starting a cluster: [`Builder`].

use std::convert::Infallible;
use std::net::SocketAddr;
#[cfg(feature = "redb")]
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use orlop_api::User;
use orlop_api::auth::Authorizer;
use orlop_core::store::{Seal, Store};
use orlop_core::{Clock, Controller, Executor, Name, runtime::Runtime};
use orlop_netplan::DataPlane;
use orlop_runtime_mock::Policy;
use orlop_scheduler::config::Configuration;
use orlop_scheduler::{Backoff, Filter, Profile, Score};

use super::clock::SystemClock;
use crate::assembly::{AddControllers, RuntimeOf};
use crate::spec::{ClusterSpec, NodeSpec};

/// Describes a cluster; [`Builder::start`] starts it.
///
/// Unless told otherwise: one control-plane node and three workers, simulated containers, objects in memory, no
/// socket, no data plane.
pub struct Builder {
    pub(super) spec: ClusterSpec,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: StoreChoice,
    pub(super) profiles: Vec<Profile>,
    pub(super) default_profile: Profile,
    pub(super) backoff: Backoff,
    pub(super) controllers: Vec<AddControllers>,
    pub(super) runtimes: Option<RuntimeOf>,
    pub(super) policy: Policy,
    pub(super) recorded: bool,
    pub(super) authorization: Authorization,
    pub(super) loopback: bool,
    pub(super) planes: Vec<Arc<dyn DataPlane>>,
    #[cfg(feature = "server")]
    pub(super) serve: Option<SocketAddr>,
    #[cfg(feature = "server")]
    pub(super) tokens: orlop_apiserver::TokenFile,
    #[cfg(feature = "server")]
    pub(super) account_key: Option<String>,
    #[cfg(feature = "server")]
    pub(super) audit: Option<(orlop_apiserver::AuditPolicy, Arc<dyn orlop_apiserver::AuditSink>)>,
    pub(super) seal: Option<Arc<dyn Seal>>,
}

pub(super) enum StoreChoice {
    Memory,
    #[cfg(feature = "redb")]
    Redb(PathBuf),
    Own(Arc<dyn Store>),
}

/// Who may do what.
#[derive(Clone, Default)]
pub enum Authorization {
    /// Roles and bindings decide.
    #[default]
    Rbac,
    /// Everyone who is known may do everything.
    AlwaysAllow,
    /// A decision of one's own.
    Own(Arc<dyn Authorizer>),
}

/// Why a cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error("{0}")]
    Store(String),
    /// The API cannot be set up.
    #[error("the API server cannot start: {0}")]
    Api(String),
    /// The address cannot be served on.
    #[error("{address}: cannot be served on: {error}{}", hint(.error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// Certificates cannot be made or read.
    #[error("{0}")]
    Certificates(String),
    /// The data plane cannot work.
    #[error("the data plane cannot start: {0}")]
    DataPlane(String),
    /// The specification contradicts itself.
    #[error("{0}")]
    Spec(String),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another cluster may be running there: choose another address, or port 0 for any free one"
        }
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need privilege: choose another",
        _ => "",
    }
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            spec: ClusterSpec::default(),
            clock: Arc::new(SystemClock::new()),
            store: StoreChoice::Memory,
            profiles: Vec::new(),
            default_profile: Profile::default(),
            backoff: Backoff::default(),
            controllers: Vec::new(),
            runtimes: None,
            policy: Policy::default(),
            recorded: false,
            authorization: Authorization::default(),
            loopback: false,
            planes: Vec::new(),
            #[cfg(feature = "server")]
            serve: None,
            #[cfg(feature = "server")]
            tokens: orlop_apiserver::TokenFile::default(),
            #[cfg(feature = "server")]
            account_key: None,
            #[cfg(feature = "server")]
            audit: None,
            seal: None,
        }
    }
}

impl Builder {
    /// Replaces the specification.
    pub fn spec(mut self, spec: ClusterSpec) -> Builder {
        self.spec = spec;
        self
    }

    /// The name in kubeconfigs.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.spec.name = name.into();
        self
    }

    /// Everything that is chosen by chance follows from `seed`: names, UIDs, which of two equal nodes.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.spec.seed = Some(seed);
        self
    }

    /// Replaces the nodes.
    pub fn nodes(mut self, nodes: Vec<NodeSpec>) -> Builder {
        self.spec.nodes = nodes;
        self
    }

    /// Takes the nodes away; [`Builder::node`] adds others.
    pub fn no_nodes(self) -> Builder {
        self.nodes(Vec::new())
    }

    /// Adds a node.
    pub fn node(mut self, node: NodeSpec) -> Builder {
        self.spec.nodes.push(node);
        self
    }

    /// The API and nothing else: no nodes, no controllers, no scheduler.
    pub fn api_alone(mut self) -> Builder {
        self.spec.controllers = false;
        self.spec.scheduler = false;
        self.no_nodes()
    }

    /// The range of Services' addresses.
    pub fn services(mut self, range: IpNet) -> Builder {
        self.spec.networks.services = vec![range];
        self
    }

    /// The clock. A cluster on a clock that stands still stands still.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Builder {
        self.clock = clock;
        self
    }

    /// Keeps objects in `store`.
    pub fn store(mut self, store: Arc<dyn Store>) -> Builder {
        self.store = StoreChoice::Own(store);
        self
    }

    /// Keeps objects in files in `dir`, which outlive the process.
    #[cfg(feature = "redb")]
    pub fn redb(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.store = StoreChoice::Redb(dir.into());
        self
    }

    /// Replaces the scheduler's profiles, and how long pods wait that failed; what was added to the default profile is
    /// gone. The configuration's first profile is the default one from now on.
    pub fn scheduler(mut self, configuration: Configuration) -> Builder {
        let Configuration { profiles, backoff } = configuration;
        let mut profiles = profiles.into_iter();
        self.default_profile = profiles.next().unwrap_or_default();
        self.profiles = profiles.collect();
        self.backoff = backoff;
        self
    }

    /// Adds a predicate to the default profile of the scheduler: whether a pod may run on a node.
    pub fn filter(mut self, filter: impl Filter + 'static) -> Builder {
        self.default_profile = self.default_profile.filter(filter);
        self
    }

    /// Adds a priority to the default profile of the scheduler: how well a pod would run on a node.
    pub fn score(mut self, score: impl Score + 'static, weight: i64) -> Builder {
        self.default_profile = self.default_profile.score(score, weight);
        self
    }

    /// Pods of a `PodGroup` that the default profile schedules are placed together or not at all. The API serves groups
    /// where some profile has that.
    pub fn gangs(mut self) -> Builder {
        self.default_profile = self.default_profile.with_gangs();
        self
    }

    /// Pods that the default profile schedules go where their volumes can be reached, and wait until their claims are
    /// bound: to volumes that are there, or to those that somebody provides for them.
    pub fn volumes(mut self) -> Builder {
        self.default_profile = self.default_profile.with_volumes();
        self
    }

    /// Adds a scheduling profile, for pods that name it in `spec.schedulerName`.
    pub fn profile(mut self, profile: Profile) -> Builder {
        self.profiles.push(profile);
        self
    }

    /// Adds a controller.
    pub fn controller(mut self, controller: impl Controller<Effect = Infallible>) -> Builder {
        self.controllers.push(Box::new(|runner| runner.add(controller)));
        self
    }

    /// Adds a controller and what carries out its effects.
    pub fn controller_with<C: Controller>(
        mut self,
        controller: C,
        executor: impl Executor<C::Effect>,
    ) -> Builder {
        self.controllers.push(Box::new(|runner| runner.add_with(controller, executor)));
        self
    }

    /// Runs containers by a runtime of one's own: `make` gives the runtime of each node.
    pub fn runtime(
        mut self,
        make: impl Fn(&NodeSpec) -> Arc<dyn Runtime> + Send + Sync + 'static,
    ) -> Builder {
        self.runtimes = Some(Box::new(make));
        self
    }

    /// What simulated containers do.
    pub fn mock_policy(mut self, policy: Policy) -> Builder {
        self.policy = policy;
        self
    }

    /// Nodes that behave as the fake kubelet of recorded sessions: pods run and are ready at once, nothing is probed
    /// or restarted, no events are written.
    pub fn recorded_kubelet(mut self) -> Builder {
        self.recorded = true;
        self.spec.system_pods = false;
        self.mock_policy(Policy::recorded())
    }

    /// Who may do what.
    pub fn authorization(mut self, authorization: Authorization) -> Builder {
        self.authorization = authorization;
        self
    }

    /// Services, DNS and Ingress on 127/8.
    #[cfg(feature = "loopback")]
    pub fn loopback(mut self) -> Builder {
        self.loopback = true;
        self
    }

    /// Adds a data plane of one's own.
    pub fn data_plane(mut self, plane: Arc<dyn DataPlane>) -> Builder {
        self.planes.push(plane);
        self
    }

    /// Serves the API over TLS; port 0 takes a free one.
    #[cfg(feature = "server")]
    pub fn serve(mut self, address: SocketAddr) -> Builder {
        self.serve = Some(address);
        self
    }

    /// A bearer token and whose it is.
    #[cfg(feature = "server")]
    pub fn token(mut self, token: &str, user: &str, groups: &[&str]) -> Builder {
        let user = User {
            name: user.into(),
            groups: groups.iter().map(|group| Name::from(*group)).collect(),
            ..User::default()
        };
        self.tokens.insert(token, user);
        self
    }

    /// Notes requests over HTTP in an audit log.
    #[cfg(feature = "server")]
    pub fn audit(
        mut self,
        policy: orlop_apiserver::AuditPolicy,
        sink: Arc<dyn orlop_apiserver::AuditSink>,
    ) -> Builder {
        self.audit = Some((policy, sink));
        self
    }

    /// What becomes of objects on the disk, with a durable store: [`orlop_apiserver::Encryption`], for one.
    #[cfg(feature = "server")]
    pub fn encryption(mut self, seal: Arc<dyn Seal>) -> Builder {
        self.seal = Some(seal);
        self
    }

    /// The private key, in PEM, that signs the tokens of service accounts: ECDSA on P-256, or RSA. Without one, the
    /// cluster makes its own.
    #[cfg(feature = "server")]
    pub fn service_account_key(mut self, pem: impl Into<String>) -> Builder {
        self.account_key = Some(pem.into());
        self
    }

    /// Bearer tokens in the form of a `--token-auth-file`.
    ///
    /// # Errors
    /// Names the line that cannot be read.
    #[cfg(feature = "server")]
    pub fn token_file(mut self, text: &str) -> Result<Builder, orlop_apiserver::InvalidTokenFile> {
        self.tokens = orlop_apiserver::TokenFile::parse(text)?;
        Ok(self)
    }
}
