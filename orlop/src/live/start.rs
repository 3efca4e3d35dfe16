//! From a description to a running cluster.

use std::sync::Arc;

#[cfg(feature = "server")]
use orlop_api::auth::Authenticators;
use orlop_api::auth::{AlwaysAllow, Authorizer, Union};
use orlop_api::local::{Config, LocalApi, ServerAddress};
use orlop_api::rbac::{NodeAuthorizer, Rbac};
use orlop_core::kinds::Node;
use orlop_core::runtime::Runtime;
use orlop_core::scheme::{OptionalVersion, Scheme};
#[cfg(feature = "redb")]
use orlop_core::store::NoSeal;
use orlop_core::store::{MemoryStore, Seal, Store};
use orlop_core::{Clock, Entropy, Name, Object};
use orlop_runtime_mock::MockRuntime;
use orlop_scheduler::Profile;
use smol_str::format_smolstr;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::builder::{Authorization, Builder, StartError, StoreChoice};
use super::cluster::Cluster;
use super::gateway::Runtimes;
use crate::assembly::{Assembly, assemble, node_config, number_nodes, system_objects, system_pods};
use crate::drive::{Beside, drive_until};
#[cfg(feature = "server")]
use crate::spec::NodeSpec;
use crate::stats::Watched;

impl Builder {
    /// Starts the cluster.
    ///
    /// # Errors
    /// When the store, the address or the data plane cannot be used; what was started is ended again.
    pub async fn start(self) -> Result<Cluster, StartError> {
        #[cfg(feature = "server")]
        let (serve, mut authentication) = (self.serve, self.authentication());
        #[cfg(feature = "server")]
        let (static_tokens, account_key, audit) =
            (Arc::new(self.tokens.clone()), self.account_key.clone(), self.audit.clone());
        let Builder {
            spec,
            clock,
            store,
            mut profiles,
            default_profile,
            backoff,
            controllers,
            runtimes,
            policy,
            recorded,
            authorization,
            loopback,
            mut planes,
            seal,
            ..
        } = self;
        let entropy = match spec.seed {
            Some(seed) => Entropy::seeded(seed),
            None => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|error| StartError::Certificates(error.to_string()))?;
                Entropy::from_seed(seed)
            }
        };
        profiles.insert(0, default_profile);

        #[cfg(feature = "server")]
        let listener = super::server::bind(serve)?;
        let (store, dir) = open(store, &clock, seal)?;
        #[cfg(not(feature = "server"))]
        let _ = dir;
        let nodes = number_nodes(&spec, &stored_nodes(&*store))
            .map_err(|error| StartError::Spec(error.to_string()))?;
        #[cfg(feature = "server")]
        let server = server_address(listener.as_ref(), &nodes);

        let mut mirror = None;
        #[cfg(feature = "loopback")]
        if loopback {
            #[cfg(feature = "server")]
            let redirect = redirect(&server, listener.as_ref());
            #[cfg(not(feature = "server"))]
            let redirect = Default::default();
            let (plane, layout) = super::plane::loopback(&spec, &clock, &entropy, redirect)?;
            mirror = Some(Arc::new(layout));
            planes.push(Arc::new(plane));
        }
        #[cfg(not(feature = "loopback"))]
        let _ = loopback;

        let make = runtimes.unwrap_or_else(|| mock_runtimes(policy, clock.clone(), mirror.is_some()));
        let mut agents = Vec::new();
        for node in &nodes {
            let mut config = node_config(&spec, node, mirror.clone())
                .map_err(|error| StartError::Spec(error.to_string()))?;
            if !planes.is_empty() {
                config.cluster_dns.extend(spec.dns_address().map(|address| format_smolstr!("{address}")));
            }
            if spec.system_pods {
                config.system_pods = system_pods(&spec, node, mirror.is_some());
            }
            agents.push((if recorded { config.recorded() } else { config }, make(node)));
        }

        #[cfg(feature = "server")]
        let audit_entropy = entropy.child("audit");
        #[cfg(feature = "server")]
        let host = match listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
            Some(address) => address.to_string(),
            None => "kubernetes.default.svc".to_owned(),
        };
        #[cfg(feature = "server")]
        let pki = super::server::Pki::open(dir.as_deref(), clock.now(), account_key.as_deref(), &host)?;
        #[cfg(feature = "server")]
        {
            authentication.service_accounts = Some(pki.accounts.clone());
        }
        let authorizer: Arc<dyn Authorizer> = match authorization {
            Authorization::Rbac => Arc::new(Union(vec![Arc::new(NodeAuthorizer), Arc::new(Rbac)])),
            Authorization::AlwaysAllow => Arc::new(AlwaysAllow),
            Authorization::Own(own) => own,
        };
        let by_node = agents.iter().map(|(config, runtime)| (config.name.clone(), runtime.clone())).collect();
        let gateway = Runtimes { by_node, clock: clock.clone() };
        let config = Config {
            authorizer,
            nodes: Arc::new(gateway),
            service_ranges: spec.networks.services.clone(),
            #[cfg(feature = "server")]
            server,
            #[cfg(feature = "server")]
            webhooks: Arc::new(orlop_apiserver::HttpsWebhooks::default()),
            #[cfg(feature = "server")]
            authenticator: Arc::new(Authenticators(vec![static_tokens, pki.accounts.clone()])),
            #[cfg(feature = "server")]
            tokens: pki.accounts.clone(),
            versions: optional_versions(&profiles),
            ..Config::default()
        };
        let api = LocalApi::new(store, clock.clone(), entropy.child("api"), config);
        api.bootstrap().await.map_err(|status| StartError::Api(status.message))?;

        for (kind, object) in system_objects(&spec, !planes.is_empty()) {
            let write = orlop_core::Write::create(kind, object);
            // After a restart it is there already.
            let key = api.served().scheme.storage_key(&write.kind, &write.key);
            if key.is_some_and(|key| api.store().view().get(&key).is_some()) {
                continue;
            }
            owner_link(&api).perform(write).await.map_err(|status| StartError::Api(status.message))?;
        }
        let parts = assemble(
            &spec,
            Assembly {
                api: Arc::new(api.clone()),
                entropy,
                profiles,
                backoff,
                controllers,
                kubelet: Name::new_static(if recorded { "recorder" } else { "kubelet" }),
                nodes: agents,
                planes: planes.clone(),
                #[cfg(feature = "server")]
                authority: pki.authority.certificate().to_owned(),
                #[cfg(not(feature = "server"))]
                authority: String::new(),
                scheme: api.served().scheme.clone(),
            },
        );
        let stop = watch::Sender::new(false);
        let (tasks, mut running) = (JoinSet::new(), JoinSet::new());
        let mut watched = Vec::new();
        for assembled in parts {
            let figures = Watched::default();
            watched.push((assembled.part.name().to_owned(), figures.clone()));
            let beside: Beside = Arc::new(|writing| {
                let mut task = JoinSet::new();
                task.spawn(writing);
                Box::pin(outcome(task))
            });
            let mut stopped = stop.subscribe();
            let stopped = async move {
                // The handle that could say so may be gone: then everything ends at once.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            let surroundings = (beside, stopped);
            running.spawn(drive_until(assembled.part, assembled.link, clock.clone(), figures, surroundings));
        }
        let mut servers = JoinSet::new();
        #[cfg(feature = "server")]
        let (served, shell) = {
            let shell = orlop_apiserver::Shell::new(Arc::new(api.clone()), authentication, clock.clone());
            super::metrics::register(&shell, api.clone(), watched.clone());
            if let Some((policy, sink)) = audit {
                shell.audit(orlop_apiserver::Audit::new(policy, sink, clock.clone(), audit_entropy));
            }
            let served = match listener {
                Some(listener) => {
                    let subject = super::server::Subject::new(&spec, mirror.as_deref(), &nodes);
                    Some(super::server::serve(listener, &pki, subject, &shell, &mut servers, &stop)?)
                }
                None => None,
            };
            (served, shell)
        };
        let scheme_of = api.clone();
        Ok(Cluster {
            name: spec.name,
            api: Arc::new(api),
            scheme: Arc::new(move || scheme_of.served().scheme.clone()),
            clock,
            tasks,
            parts: running,
            servers,
            stop,
            planes,
            watched,
            #[cfg(feature = "server")]
            served,
            #[cfg(feature = "server")]
            shell,
        })
    }
}

/// The outcome of a task, which ends when nobody waits for it any more.
async fn outcome<T: 'static>(mut task: JoinSet<T>) -> T {
    match task.join_next().await {
        Some(Ok(outcome)) => outcome,
        // Nobody else can end it: it panicked, as it would have done without a task of its own.
        Some(Err(failed)) => std::panic::resume_unwind(failed.into_panic()),
        None => unreachable!("a set of one task has an outcome"),
    }
}

/// Simulated containers for every node; they answer on loopback where a data plane can reach them.
fn mock_runtimes(
    policy: orlop_runtime_mock::Policy,
    clock: Arc<dyn Clock>,
    serve: bool,
) -> crate::assembly::RuntimeOf {
    Box::new(move |_node| -> Arc<dyn Runtime> {
        #[cfg(feature = "loopback")]
        if serve {
            return Arc::new(MockRuntime::serving(policy.clone(), clock.clone()));
        }
        #[cfg(not(feature = "loopback"))]
        let _ = serve;
        Arc::new(MockRuntime::new(policy.clone(), clock.clone()))
    })
}

/// The nodes of an earlier run.
fn stored_nodes(store: &dyn Store) -> Vec<Node> {
    let Some(range) = Scheme::builtin().storage_range(&Node::KIND, "") else { return Vec::new() };
    let entries = store.view().range(&range, "", usize::MAX);
    // One that cannot be read is the API's to complain of.
    entries.iter().filter_map(|entry| entry.object.decode::<Node>().ok()).collect()
}

type Opened = (Arc<dyn Store>, Option<std::path::PathBuf>);

fn open(
    choice: StoreChoice,
    clock: &Arc<dyn Clock>,
    seal: Option<Arc<dyn Seal>>,
) -> Result<Opened, StartError> {
    match choice {
        StoreChoice::Memory if seal.is_some() => Err(StartError::Store(
            "there is nothing to encrypt at rest: objects are kept in memory".to_owned(),
        )),
        StoreChoice::Memory => Ok((Arc::new(MemoryStore::new(clock.clone())), None)),
        #[cfg(feature = "redb")]
        StoreChoice::Redb(dir) => {
            let seal = seal.unwrap_or_else(|| Arc::new(NoSeal));
            let store = orlop_store_redb::RedbStore::open_sealed(&dir, clock.clone(), seal)
                .map_err(|error| StartError::Store(error.to_string()))?;
            Ok((Arc::new(store), Some(dir)))
        }
        StoreChoice::Own(store) => Ok((store, None)),
    }
}

/// Groups of pods are served where somebody places them together.
fn optional_versions(profiles: &[Profile]) -> Vec<OptionalVersion> {
    let gangs = profiles.iter().any(Profile::schedules_gangs);
    gangs.then_some(OptionalVersion::SchedulingV1Alpha2).into_iter().collect()
}

/// What the `kubernetes` Service leads to: the socket, or, as endpoints may not lie on loopback, the first
/// control-plane node, from where the data plane leads on to the socket.
#[cfg(feature = "server")]
fn server_address(listener: Option<&std::net::TcpListener>, nodes: &[NodeSpec]) -> ServerAddress {
    let Some(address) = listener.and_then(|listener| listener.local_addr().ok()) else {
        return ServerAddress { ip: None, port: 6443 };
    };
    let ip = match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => {
            nodes.iter().find(|node| node.control_plane).and_then(|node| node.addresses.first().copied())
        }
        ip => Some(ip),
    };
    ServerAddress { ip, port: address.port() }
}

/// Connections to the control-plane node's port lead on to the socket.
#[cfg(all(feature = "server", feature = "loopback"))]
fn redirect(
    server: &ServerAddress,
    listener: Option<&std::net::TcpListener>,
) -> std::collections::BTreeMap<std::net::SocketAddr, std::net::SocketAddr> {
    let socket = listener.and_then(|listener| listener.local_addr().ok());
    server.ip.zip(socket).map(|(ip, socket)| ((ip, server.port).into(), socket)).into_iter().collect()
}

fn owner_link<S: Store>(api: &LocalApi<S>) -> orlop_api::Link {
    orlop_api::Link {
        api: Arc::new(api.clone()),
        user: super::cluster::owner(),
        manager: Name::new_static("orlop"),
    }
}
