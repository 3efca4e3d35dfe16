//! The API in this process: [`LocalApi`], the core of an API server over any [`Store`].
//!
//! Every write is one decision (`admit`: pure, from the request, a view of the store, the kinds that are served, the
//! time and chance) and one transaction. Where somebody else was quicker, the decision is made anew.

use std::sync::Arc;

use async_trait::async_trait;
use orlop_core::kinds::Node;
use orlop_core::scheme::Resource;
use orlop_core::store::{Entry, Store};
use orlop_core::{Clock, Entropy, Key, Kind, Name, Object, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use crate::admission::Operation;
use crate::api::{Api, Cuts, WatchStream};
use crate::auth::{Attributes, Decision, Target};
use crate::node::PodAt;
use crate::request::{DeleteOptions, List, Payload, Request, Response, User, Verb};
use crate::status::{Cause, Status};
use crate::subresources::{binding, eviction, log, reviews, scale, token};

mod admit;
mod app_armor;
pub(crate) mod autoscaler;
pub(crate) mod body;
mod bootstrap;
mod charge;
mod commit;
mod complete;
mod components;
mod config;
mod convert;
mod crd;
mod custom;
pub(crate) mod delete;
mod empty;
mod expiry;
mod follow;
pub(crate) mod hooks;
pub(crate) mod kinds;
pub(crate) mod likeness;
mod meta;
mod read;
mod registrations;
mod served;
pub(crate) mod services;
mod spelling;
mod together;
mod watch;
pub(crate) mod write;

pub(crate) use admit::{Admitted, Answer, Call, namespace_key};
pub use config::{Config, ServerAddress};
pub(crate) use convert::encode;
pub(crate) use hooks::own_review;
pub(crate) use served::ScalePaths;
pub use served::Served;
pub(crate) use write::{observe, restrict_token};

use admit::{check_scope, verb_name};

/// The Kubernetes API over a store, in this process. Cheap to clone; clones are one API.
///
/// # Guarantees
/// - What a call has answered is durable, and every part of it happened in one revision.
/// - With a store that commits at once, such as [`orlop_core::store::MemoryStore`], every call completes on its first
///   poll.
/// - Nothing is read from a clock or from chance but what was given.
pub struct LocalApi<S> {
    shared: Arc<Shared<S>>,
}

impl<S> Clone for LocalApi<S> {
    fn clone(&self) -> Self {
        LocalApi { shared: self.shared.clone() }
    }
}

pub(crate) struct Shared<S> {
    store: S,
    served: RwLock<Arc<Served>>,
    clock: Arc<dyn Clock>,
    entropy: Mutex<Entropy>,
    expiry: expiry::Expiry,
    config: Config,
}

impl<S> Shared<S> {
    fn served(&self) -> Arc<Served> {
        self.served.read().clone()
    }
}

impl<S: Store> LocalApi<S> {
    /// The API over what `store` holds. A new cluster is made usable by [`LocalApi::bootstrap`].
    pub fn new(store: S, clock: Arc<dyn Clock>, entropy: Entropy, config: Config) -> LocalApi<S> {
        let served = Arc::new(Served::with(&config.versions).reread(&*store.view()));
        let shared = Shared {
            store,
            served: RwLock::new(served),
            clock,
            entropy: Mutex::new(entropy),
            expiry: expiry::Expiry::default(),
            config,
        };
        LocalApi { shared: Arc::new(shared) }
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.shared.store
    }

    /// What is served at this moment.
    pub fn served(&self) -> Arc<Served> {
        self.shared.served()
    }

    /// How this API was set up.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Reads the definitions of custom kinds anew. Needed only where another API writes to the same store.
    pub fn refresh(&self) {
        let view = self.shared.store.view();
        let mut served = self.shared.served.write();
        *served = Arc::new(served.reread(&*view));
    }

    /// Whether `user` may. [`Api::call`] and [`Api::watch`] ask this themselves.
    pub fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        self.shared.config.authorizer.authorize(user, attributes, &*self.shared.store.view())
    }

    /// Whom a bearer token belongs to, if it is good for the API server.
    ///
    /// # Errors
    /// Why it is worth nothing.
    pub fn authenticate(&self, token: &str) -> Result<Option<User>, String> {
        let authenticator = &self.shared.config.authenticator;
        let found = authenticator.authenticate(token, &[], &*self.shared.store.view(), self.now())?;
        Ok(found.map(|(user, _)| user.authenticated()))
    }

    /// What the FlowSchemas and PriorityLevelConfigurations say.
    pub fn flow_control(&self) -> crate::fairness::FlowControl {
        crate::fairness::FlowControl::read(&*self.shared.store.view())
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// A source of chance for one decision.
    fn chance(&self) -> Entropy {
        let mut seed = [0; 32];
        self.shared.entropy.lock().fill(&mut seed);
        Entropy::from_seed(seed)
    }

    /// Refuses what the user may not do.
    fn check_access(&self, request: &Request, verb: &'static str) -> Result<(), Status> {
        let attributes = attributes(request, verb);
        let decision = self.authorize(&request.user, &attributes);
        if decision.permits() { Ok(()) } else { Err(forbidden(request, &attributes, &decision)) }
    }

    /// The resource of a request that may be made of it.
    fn route(&self, request: &Request, served: &Served) -> Result<Arc<Resource>, Status> {
        let resource = served.resource(&request.resource)?.clone();
        check_scope(request, &resource)?;
        let verb = verb_name(request.verb);
        let allowed = if request.subresource.is_empty() {
            resource.allows(verb)
        } else {
            let (name, rest) = request.subresource.split_once('/').unwrap_or((&request.subresource, ""));
            // Only what is passed through has paths of its own.
            let sub = resource.subresource(name).filter(|_| rest.is_empty() || name == "proxy");
            let sub = sub.ok_or_else(Status::no_resource)?;
            sub.verbs.iter().any(|v| v == verb)
        };
        if allowed { Ok(resource) } else { Err(Status::method_not_allowed()) }
    }

    async fn delete_collection(
        &self,
        request: &Request,
        resource: &Arc<Resource>,
    ) -> Result<Response, Status> {
        let served = self.shared.served();
        let (options, dry_run) =
            delete::options(&request.options.delete, request.body.as_ref(), &served.scheme)?;
        let list = read::list(request, resource, &served, &self.shared.store)?;
        for stored in &list.items {
            let mut one = Request { verb: Verb::Delete, key: key_of(stored), body: None, ..request.clone() };
            one.options.dry_run |= dry_run;
            match self.delete(&one, resource, &options).await {
                Ok(_) => {}
                // Somebody else has deleted it meanwhile.
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        Ok(Response::list(resource.kind.clone(), list, Vec::new()))
    }

    async fn delete(
        &self,
        request: &Request,
        resource: &Arc<Resource>,
        options: &DeleteOptions,
    ) -> Result<Response, Status> {
        self.write(request, resource, |call| delete::delete(call, options)).await
    }

    async fn logs(&self, request: &Request, resource: &Arc<Resource>) -> Result<Response, Status> {
        let entry = self.pod_of(request, resource)?;
        let stream = match log::locate(&entry, &request.key.namespace, &request.options.log)? {
            Some((pod, options)) => {
                self.check_node(&pod)?;
                self.shared.config.nodes.logs(&pod, &options).await?
            }
            None => crate::request::ByteStream::new(futures_util::stream::empty()),
        };
        Ok(Response::of(Payload::Stream(stream)))
    }

    fn pod_of(&self, request: &Request, resource: &Resource) -> Result<Entry, Status> {
        let served = self.shared.served();
        let key = served.scheme.storage_key(&resource.kind, &request.key).ok_or_else(Status::no_resource)?;
        let entry = self.shared.store.view().get(&key);
        entry.ok_or_else(|| Status::not_found("", "pods", &request.key.name))
    }

    /// The pod and the container for a session that a client asks for by a request for `exec`, `attach` or
    /// `portforward`; `container` as the client names it, which may be not at all. Forwarding concerns no container:
    /// its name is empty then.
    ///
    /// Whoever may not create sessions may not get them by another verb either (KEP-4006).
    ///
    /// # Errors
    /// In Kubernetes' words: forbidden, no such pod or container, not on any node yet.
    pub fn locate_session(&self, request: &Request, container: &str) -> Result<(PodAt, Name), Status> {
        self.check_access(request, verb_name(request.verb))?;
        if request.verb != Verb::Create {
            self.check_access(request, "create")?;
        }
        let resource = self.route(request, &self.shared.served())?;
        let entry = self.pod_of(request, &resource)?;
        let (pod, container) = match request.subresource.as_str() {
            "portforward" => (log::locate_pod(&entry, &request.key.namespace)?, Name::default()),
            _ => log::locate_session(&entry, &request.key.namespace, container)?,
        };
        self.check_node(&pod)?;
        Ok((pod, container))
    }

    /// Nobody answers for a node that does not exist.
    fn check_node(&self, pod: &PodAt) -> Result<(), Status> {
        let served = self.shared.served();
        let key = served.scheme.storage_key(&Node::KIND, &Key::cluster(pod.node.clone()));
        match key.and_then(|key| self.shared.store.view().get(&key)) {
            Some(_) => Ok(()),
            None => Err(Status::not_found("", "nodes", &pod.node)),
        }
    }

    /// Asks admission about a session: `options` is the object that the request's parameters make, a `PodExecOptions`,
    /// `PodAttachOptions` or `PodPortForwardOptions`. Policies, webhooks and an embedder's own see it as the operation
    /// `CONNECT`. Comes after the question who may, and before the pod is looked for. Answers with warnings.
    ///
    /// # Errors
    /// Forbidden in Kubernetes' words, or what admission says against it.
    pub async fn admit_session(&self, request: &Request, options: Value) -> Result<Vec<String>, Status> {
        self.check_access(request, verb_name(request.verb))?;
        if request.verb != Verb::Create {
            self.check_access(request, "create")?;
        }
        let resource = self.route(request, &self.shared.served())?;
        let kind = options["kind"].as_str().unwrap_or_default();
        let sort = Kind { kind: kind.into(), ..Kind::namespaced("", "v1", "", "pods") };
        let done = self
            .write(request, &resource, |call| {
                let mut options = options.clone();
                write::observe(call, Operation::Connect, &sort, &mut options, None)?;
                Ok(call.answer(200, Answer::Status(Status::success(200, None))))
            })
            .await?;
        Ok(done.warnings)
    }

    async fn subresource(&self, request: &Request, resource: &Arc<Resource>) -> Result<Response, Status> {
        let body = request.body.as_ref();
        match (request.subresource.as_str(), request.verb) {
            ("scale", Verb::Get) => self.write(request, resource, scale::get).await,
            ("scale", Verb::Patch(ty)) => self.write(request, resource, |c| scale::patch(c, ty, body)).await,
            ("scale", _) => self.write(request, resource, |c| scale::update(c, body)).await,
            ("binding", _) => self.write(request, resource, |c| binding::create(c, body)).await,
            ("eviction", _) => self.write(request, resource, |c| eviction::create(c, body)).await,
            ("token", _) => self.write(request, resource, |c| token::create(c, body)).await,
            ("log", _) => self.logs(request, resource).await,
            // It is not the object that is asked for.
            (name, _) if name == "proxy" || name.starts_with("proxy/") => Err(Status::not_proxied()),
            ("attach" | "exec" | "portforward", _) => Err(Status::method_not_allowed()),
            (_, Verb::Get) => {
                let served = self.shared.served();
                read::get(request, resource, &served, &*self.shared.store.view())
            }
            (_, Verb::Update) => self.write(request, resource, |c| write::update(c, body)).await,
            (_, Verb::Patch(ty)) => self.write(request, resource, |c| write::patch(c, ty, body)).await,
            // Sessions are carried by connections, which this seam does not have.
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn object(&self, request: &Request, resource: &Arc<Resource>) -> Result<Response, Status> {
        let body = request.body.as_ref();
        match request.verb {
            Verb::Get if components::is_one(resource) => {
                let payload =
                    Payload::Object(resource.kind.clone(), components::get(resource, &request.key.name)?);
                Ok(Response::of(payload))
            }
            Verb::Get => {
                let served = self.shared.served();
                read::get(request, resource, &served, &*self.shared.store.view())
            }
            Verb::List => {
                let served = self.shared.served();
                let list = if resource.is_stored() {
                    read::list(request, resource, &served, &self.shared.store)?
                } else {
                    List {
                        revision: self.shared.store.view().revision(),
                        items: if components::is_one(resource) {
                            components::list(resource)?
                        } else {
                            Vec::new()
                        },
                        continue_token: String::new(),
                        remaining: None,
                    }
                };
                Ok(Response::list(resource.kind.clone(), list, Vec::new()))
            }
            Verb::Watch => Err(Status::bad_request("a watch is asked for by Api::watch")),
            Verb::Create if resource.kind.plural == "bindings" && resource.kind.group.is_empty() => {
                let pods = Kind::namespaced("", "v1", "Pod", "pods");
                let served = self.shared.served();
                let pods = served.scheme.storage(&pods).ok_or_else(Status::no_resource)?.clone();
                self.write(request, &pods, |c| binding::create(c, body)).await
            }
            Verb::Create if !resource.is_stored() => {
                self.write(request, resource, |c| reviews::create(c, body).ok_or_else(Status::no_resource)?)
                    .await
            }
            Verb::Create => self.write(request, resource, |c| write::create(c, body)).await,
            Verb::Update => self.write(request, resource, |c| write::update(c, body)).await,
            Verb::Patch(ty) => self.write(request, resource, |c| write::patch(c, ty, body)).await,
            Verb::Delete => {
                let served = self.shared.served();
                let (options, dry_run) = delete::options(&request.options.delete, body, &served.scheme)?;
                if dry_run && !request.options.dry_run {
                    let mut request = request.clone();
                    request.options.dry_run = true;
                    return self.delete(&request, resource, &options).await;
                }
                self.delete(request, resource, &options).await
            }
            Verb::DeleteCollection => self.delete_collection(request, resource).await,
        }
    }
}

/// What a request asks of the authoriser.
fn attributes(request: &Request, verb: &'static str) -> Attributes {
    let id = &request.resource;
    let mut key = request.key.clone();
    if key.name.is_empty() && !request.options.list.field_selector.is_empty() {
        // Who may read one object may also list or watch it by its name.
        let selector = request.options.list.field_selector.parse::<orlop_core::rules::FieldSelector>();
        if let Some(name) = selector.ok().as_ref().and_then(|s| s.exact("metadata.name")) {
            key.name = name.into();
        }
    }
    if id.group.is_empty() && id.plural == "namespaces" {
        key.namespace = key.name.clone();
    }
    Attributes {
        verb: Name::new_static(verb),
        target: Target::Resource {
            group: id.group.clone(),
            resource: id.plural.clone(),
            subresource: request.subresource.split('/').next().unwrap_or_default().into(),
            key,
        },
    }
}

/// The refusal of what the authoriser does not allow.
fn forbidden(request: &Request, attributes: &Attributes, decision: &Decision) -> Status {
    let Target::Resource { group, resource, subresource, key } = &attributes.target else {
        return Status::forbidden("", "", "", &decision.reason);
    };
    let slash = if subresource.is_empty() { "" } else { "/" };
    let place = match key.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let mut why = format!(
        "User \"{}\" cannot {} resource \"{resource}{slash}{subresource}\" in API group \"{group}\" {place}",
        request.user.name, attributes.verb
    );
    if !decision.reason.is_empty() {
        why = format!("{why}: {}", decision.reason);
    }
    Status::forbidden(group, resource, &key.name, &why)
}

/// The parameters that every write has.
fn check_options(request: &Request) -> Result<(), Status> {
    let kind = match request.verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        Verb::Patch(_) => "PatchOptions",
        _ => return Ok(()),
    };
    let mut causes = Vec::new();
    if request.options.force
        && matches!(request.verb, Verb::Patch(ty) if ty != crate::request::PatchType::Apply)
    {
        causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
    }
    let manager = request.options.field_manager.as_str();
    if manager.len() > 128 {
        causes.push(Cause::too_long("fieldManager", 128));
    }
    if let Some((at, bad)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        let shown: String = manager
            .chars()
            .map(|c| if c.is_control() { format!("\\x{:02x}", u32::from(c)) } else { c.to_string() })
            .collect();
        causes.push(Cause {
            reason: "FieldValueInvalid".into(),
            message: format!(
                "Invalid value: \"{shown}\": invalid character U+{:04X} (at position {at})",
                u32::from(bad)
            ),
            field: "fieldManager".into(),
        });
    }
    let validation = request.options.field_validation.as_str();
    if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
        let known = ["", "Ignore", "Strict", "Warn"];
        causes.push(Cause::unsupported("fieldValidation", &validation.into(), &known));
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", kind, "", causes)) }
}

fn key_of(stored: &orlop_core::Stored) -> orlop_core::Key {
    #[derive(serde::Deserialize)]
    struct Top {
        metadata: orlop_core::Meta,
    }
    stored.decode::<Top>().map(|top| top.metadata.key()).unwrap_or_default()
}

#[async_trait]
impl<S: Store> Api for LocalApi<S> {
    async fn call(&self, request: Request) -> Result<Response, Status> {
        self.check_access(&request, verb_name(request.verb))?;
        self.expire().await;
        let served = self.shared.served();
        let resource = self.route(&request, &served)?;
        check_options(&request)?;
        let deprecation = served.custom(&resource.kind).and_then(|c| c.deprecation.clone());
        drop(served);
        let warning = deprecation.or_else(|| deprecated(&resource.kind.group, &resource.kind.plural));
        let mut result = if request.subresource.is_empty() {
            self.object(&request, &resource).await
        } else {
            self.subresource(&request, &resource).await
        };
        if let Some(warning) = warning {
            match &mut result {
                Ok(response) => response.warnings.insert(0, warning),
                Err(status) => status.beside_mut().warnings.insert(0, warning),
            }
        }
        result
    }

    async fn call_all(&self, requests: &[Request]) -> Vec<Result<Response, Status>> {
        self.expire().await;
        self.write_together(requests).await
    }

    async fn watch(&self, request: Request) -> Result<WatchStream, Status> {
        self.check_access(&request, "watch")?;
        let served = self.shared.served();
        let resource = self.route(&Request { verb: Verb::Watch, ..request.clone() }, &served)?;
        let mut request = request;
        if !request.key.name.is_empty() {
            let name = std::mem::take(&mut request.key.name);
            read::select_name(&mut request.options.list, &name);
        }
        let shared = &self.shared;
        watch::watch(&request, &resource, served, &shared.store, &shared.clock, shared.config.bookmark_every)
    }

    async fn follow(&self, user: &User, kinds: &[Kind]) -> Result<Cuts, Status> {
        let served = self.shared.served();
        for kind in kinds {
            let resource = served.scheme.storage(kind).ok_or_else(Status::no_resource)?;
            let request = Request {
                user: user.clone(),
                verb: Verb::Watch,
                resource: crate::request::ResourceId::from(&resource.kind),
                key: orlop_core::Key::default(),
                subresource: Name::default(),
                options: crate::request::Options::default(),
                body: None,
            };
            self.check_access(&request, "watch")?;
        }
        Ok(Box::pin(follow::Follow::new(self.shared.clone(), kinds)))
    }
}

/// What clients of a kind that is on its way out are warned of.
fn deprecated(group: &str, plural: &str) -> Option<String> {
    let text = match (group, plural) {
        ("", "endpoints") => "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ("", "componentstatuses") => "v1 ComponentStatus is deprecated in v1.19+",
        _ => return None,
    };
    Some(text.to_owned())
}
