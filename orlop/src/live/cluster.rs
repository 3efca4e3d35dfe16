//! A handle on a running cluster: [`Cluster`].

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use orlop_api::request::Payload;
use orlop_api::{Api, Body, Link, Options, PatchType, Request, ResourceId, Status, User, Verb};
use orlop_core::scheme::Scheme;
use orlop_core::{Clock, Item, Key, Kind, Name, Object, Stored};
use orlop_netplan::{DataPlane, Published};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::builder::Builder;
#[cfg(feature = "server")]
use orlop_apiserver::Credentials;

use crate::manifest::{self, Manifest, Problem};
use crate::stats::{PartStats, Watched};

/// How long to wait before a stream of changes that the store ended is asked for again.
const FOLLOW_PAUSE: Duration = Duration::from_millis(50);

/// A cluster that runs in this process. Dropping it ends everything that it started.
///
/// Reads and writes go through its [`Api`]; the methods here are shorthands for that.
pub struct Cluster {
    pub(super) name: String,
    pub(super) api: Arc<dyn Api>,
    pub(super) scheme: Arc<dyn Fn() -> Arc<Scheme> + Send + Sync>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: JoinSet<()>,
    pub(super) parts: JoinSet<()>,
    pub(super) servers: JoinSet<()>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) planes: Vec<Arc<dyn DataPlane>>,
    pub(super) watched: Vec<(String, Watched)>,
    #[cfg(feature = "server")]
    pub(super) served: Option<Served>,
    #[cfg(feature = "server")]
    pub(super) shell: orlop_apiserver::Shell,
}

/// Where the API is served, and how clients get in.
#[cfg(feature = "server")]
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) authority: String,
    pub(super) admin: orlop_apiserver::pki::Identity,
}

/// What applying a manifest came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The object is new.
    Created,
    /// It was changed.
    Configured,
    /// It was as it should be.
    Unchanged,
}

/// Why waiting ended.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// It took too long.
    #[error("{what} was not as wanted within {limit:?}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// The API refused.
    #[error(transparent)]
    Refused(#[from] Status),
}

/// The user whom shorthands act for: the one who owns the process may do everything.
pub(super) fn owner() -> User {
    User {
        name: Name::new_static("system:admin"),
        groups: vec![Name::new_static("system:masters"), Name::new_static("system:authenticated")],
        ..User::default()
    }
}

impl Cluster {
    /// Describes a cluster that is to be started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The API.
    pub fn api(&self) -> Arc<dyn Api> {
        self.api.clone()
    }

    /// The API for the process's owner, with `manager` as the name in managed fields.
    pub fn link(&self, manager: impl Into<Name>) -> Link {
        Link { api: self.api.clone(), user: owner(), manager: manager.into() }
    }

    /// The kinds that are served now.
    pub fn scheme(&self) -> Arc<Scheme> {
        (self.scheme)()
    }

    /// The clock that the cluster runs on.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Where Services, DNS and Ingress can be reached, from each data plane.
    pub fn published(&self) -> Vec<Arc<Published>> {
        self.planes.iter().map(|plane| plane.published()).collect()
    }

    /// What each part has been doing: the controllers, the scheduler, the network, each node.
    pub fn stats(&self) -> impl Iterator<Item = (&str, PartStats)> {
        self.watched.iter().map(|(name, watched)| (name.as_str(), watched.stats()))
    }

    fn request(verb: Verb, kind: &Kind, key: Key, body: Option<Body>) -> Request {
        Request {
            user: owner(),
            verb,
            resource: ResourceId::from(kind),
            key,
            subresource: Name::default(),
            options: Options { field_manager: Name::new_static("orlop"), ..Options::default() },
            body,
        }
    }

    /// One object; `None` if it does not exist.
    ///
    /// # Errors
    /// When the kind is not served.
    pub async fn get<T: Object>(&self, key: &Key) -> Result<Option<Item<T>>, Status> {
        match self.api.call(Self::request(Verb::Get, &T::KIND, key.clone(), None)).await {
            Ok(response) => match response.payload {
                Payload::Object(_, stored) => Ok(Some(decode(&stored)?)),
                _ => Err(Status::internal("an object was asked for, and something else was answered")),
            },
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The objects of a kind, in one namespace or, where that is empty, in all.
    ///
    /// # Errors
    /// When the kind is not served.
    pub async fn list<T: Object>(&self, namespace: &str) -> Result<Vec<Item<T>>, Status> {
        let response =
            self.api.call(Self::request(Verb::List, &T::KIND, Key::new(namespace, ""), None)).await?;
        match response.payload {
            Payload::List(_, list) => list.items.iter().map(decode).collect(),
            _ => Err(Status::internal("a list was asked for, and something else was answered")),
        }
    }

    /// Applies one manifest by server-side apply, taking over fields that others own.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub async fn apply(&self, manifest: &Manifest) -> Result<Applied, Problem> {
        let scheme = self.scheme();
        manifest::check(manifest, &scheme)?;
        let (api_version, kind) = (manifest.text("apiVersion"), manifest.text("kind"));
        let resource = scheme
            .by_api_version(api_version, kind)
            .ok_or_else(|| manifest.problem("kind", format!("{kind} is no longer served")))?;
        let mut object = manifest.value.clone();
        let mut key = Key::new(
            object["metadata"]["namespace"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap_or_default(),
        );
        match resource.kind.scope {
            orlop_core::Scope::Namespaced if key.namespace.is_empty() => {
                key.namespace = Name::new_static("default");
                object["metadata"]["namespace"] = "default".into();
            }
            orlop_core::Scope::Cluster => key.namespace = Name::default(),
            orlop_core::Scope::Namespaced => {}
        }
        let verb = if key.name.is_empty() { Verb::Create } else { Verb::Patch(PatchType::Apply) };
        let before = match verb {
            Verb::Create => None,
            _ => self.revision(&resource.kind, &key).await,
        };
        let mut request = Self::request(verb, &resource.kind, key, Some(Body::Value(object)));
        request.options.force = verb != Verb::Create;
        request.options.field_validation = Name::new_static("Strict");
        let mut answer = self.api.call(request.clone()).await;
        if answer.as_ref().is_err_and(|status| lacks_account(&resource.kind, status)) {
            // A controller makes it a moment after the namespace, and nobody is to know that moment.
            let spec = &manifest.value["spec"];
            let account = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty());
            let account = Key::new(request.key.namespace.as_str(), account.unwrap_or("default"));
            let kind = orlop_core::kinds::ServiceAccount::KIND;
            if self.wait_for(&kind, &account, ACCOUNT_WAIT_MAX, |_| true).await.is_ok() {
                answer = self.api.call(request).await;
            }
        }
        let response = answer.map_err(|status| refused(manifest, &status))?;
        Ok(match before {
            None => Applied::Created,
            Some(before) if before == response.revision() => Applied::Unchanged,
            Some(_) => Applied::Configured,
        })
    }

    async fn revision(&self, kind: &Kind, key: &Key) -> Option<orlop_core::Revision> {
        let response = self.api.call(Self::request(Verb::Get, kind, key.clone(), None)).await.ok()?;
        Some(response.revision())
    }

    /// Waits until an object exists and is as wanted.
    ///
    /// # Errors
    /// When it is not within `limit`, or the kind is not served.
    pub async fn wait_for(
        &self,
        kind: &Kind,
        key: &Key,
        limit: Duration,
        mut wanted: impl FnMut(&serde_json::Value) -> bool,
    ) -> Result<Stored, WaitError> {
        let mut cuts = self.api.follow(&owner(), std::slice::from_ref(kind)).await?;
        let deadline = self.clock.now() + limit;
        let mut timeout = self.clock.sleep_until(deadline);
        loop {
            tokio::select! {
                biased;
                cut = cuts.next() => {
                    let Some(cut) = cut else {
                        // The store has ended the stream: another tells everything anew.
                        if self.clock.now() >= deadline {
                            return Err(WaitError::TimedOut { what: format!("{} {key}", kind.kind), limit });
                        }
                        self.clock.sleep_until(self.clock.now() + FOLLOW_PAUSE).await;
                        cuts = self.api.follow(&owner(), std::slice::from_ref(kind)).await?;
                        continue;
                    };
                    let mut found = cut.changes.into_iter().filter(|c| c.key == *key).filter_map(|c| c.object);
                    if let Some(stored) = found.find(|stored| wanted(&stored.to_value())) {
                        return Ok(stored);
                    }
                }
                () = &mut timeout => {
                    return Err(WaitError::TimedOut { what: format!("{} {key}", kind.kind), limit });
                }
            }
        }
    }

    /// Waits until a Deployment is complete: every pod is of its latest template and available.
    ///
    /// # Errors
    /// When it is not within `limit`.
    pub async fn wait_ready(&self, namespace: &str, name: &str, limit: Duration) -> Result<(), WaitError> {
        let complete = |deployment: &serde_json::Value| {
            let (spec, status) = (&deployment["spec"], &deployment["status"]);
            let wanted = spec["replicas"].as_i64().unwrap_or(1);
            let counts = |field: &str| status[field].as_i64().unwrap_or(0);
            counts("observedGeneration") >= deployment["metadata"]["generation"].as_i64().unwrap_or(0)
                && ["replicas", "updatedReplicas", "availableReplicas"]
                    .iter()
                    .all(|field| counts(field) == wanted)
        };
        let kind = orlop_core::kinds::Deployment::KIND;
        self.wait_for(&kind, &Key::new(namespace, name), limit, complete).await.map(drop)
    }

    /// Waits until a pod is ready.
    ///
    /// # Errors
    /// When it is not within `limit`.
    pub async fn wait_pod_ready(
        &self,
        namespace: &str,
        name: &str,
        limit: Duration,
    ) -> Result<(), WaitError> {
        let ready = |pod: &serde_json::Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        let kind = orlop_core::kinds::Pod::KIND;
        self.wait_for(&kind, &Key::new(namespace, name), limit, ready).await.map(drop)
    }

    /// Where the API is served; `None` if it is not.
    #[cfg(feature = "server")]
    pub fn address(&self) -> Option<SocketAddr> {
        self.served.as_ref().map(|served| served.address)
    }

    /// A kubeconfig with an administrator's certificate; `None` if the API is not served.
    #[cfg(feature = "server")]
    pub fn kubeconfig(&self) -> Option<String> {
        let served = self.served.as_ref()?;
        Some(self.kubeconfig_of(served, &Credentials::Certificate(&served.admin), ""))
    }

    /// A kubeconfig with a bearer token and a namespace; `None` if the API is not served.
    #[cfg(feature = "server")]
    pub fn kubeconfig_with_token(&self, token: &str, namespace: &str) -> Option<String> {
        Some(self.kubeconfig_of(self.served.as_ref()?, &Credentials::Token(token), namespace))
    }

    #[cfg(feature = "server")]
    fn kubeconfig_of(&self, served: &Served, user: &Credentials<'_>, namespace: &str) -> String {
        let server = format!("https://{}", served.address);
        orlop_apiserver::kubeconfig(&self.name, &server, &served.authority, user, namespace)
    }

    /// The certificate of the cluster's authority in PEM; `None` if the API is not served.
    #[cfg(feature = "server")]
    pub fn authority(&self) -> Option<&str> {
        self.served.as_ref().map(|served| served.authority.as_str())
    }

    /// The HTTP service, for clients in this process.
    #[cfg(feature = "server")]
    pub fn http(&self) -> &orlop_apiserver::Shell {
        &self.shell
    }

    /// A client of the `kube` crate, in this process and without sockets, for the process's owner.
    #[cfg(feature = "kube")]
    pub fn kube_client(&self) -> kube::Client {
        kube::Client::new(self.shell.in_process(owner()), "default")
    }

    /// Runs a future beside the cluster; it ends with it.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Ends everything in order: the server lets requests finish, then the components stop.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        // Servers end by themselves once requests under way are answered, parts once they have told what they did;
        // everything else has nothing to finish.
        let drain = async {
            while self.servers.join_next().await.is_some() {}
            while self.parts.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(6), drain).await;
        self.parts.shutdown().await;
        self.tasks.shutdown().await;
    }
}

fn decode<T: Object>(stored: &Stored) -> Result<Item<T>, Status> {
    Item::decode(stored).map_err(|error| Status::internal(&error.to_string()))
}

/// How long a pod's service account may be missing.
const ACCOUNT_WAIT_MAX: Duration = Duration::from_secs(2);

/// Whether a pod was refused because its service account does not exist.
fn lacks_account(kind: &Kind, status: &Status) -> bool {
    kind.same_resource(&orlop_core::kinds::Pod::KIND)
        && status.code == 403
        && status.message.contains("error looking up service account")
}

/// The API's refusal at the place of the field that it names.
fn refused(manifest: &Manifest, status: &Status) -> Problem {
    let cause = status.details.as_ref().and_then(|details| details.causes.first());
    let field = match cause {
        Some(cause) if !cause.field.is_empty() => cause.field.clone(),
        _ => {
            let unknown =
                status.message.split_once("unknown field \"").and_then(|(_, rest)| rest.split_once('"'));
            unknown.map(|(field, _)| field.to_owned()).unwrap_or_default()
        }
    };
    manifest.problem(&field, status.message.clone())
}
