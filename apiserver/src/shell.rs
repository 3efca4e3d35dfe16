//! From an HTTP request to an answer: [`Shell`].

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::{FutureExt, StreamExt};
use http::{Method, Request};
use http_body_util::Full;
use orlop_api::auth::{Attributes, Target as Asked};
use orlop_api::render::{Encoding, Renderer, Want};
use orlop_api::request::Payload;
use orlop_api::{Body, PatchType, ResourceId, Status, User, Verb};
use orlop_core::{Clock, Name, Timestamp};
use tokio::sync::watch;

use crate::audit::{Audit, Pending};
use crate::auth::{Authentication, Remembered, asked, impersonated};
use crate::backend::Backend;
use crate::body::{Answer, answer, in_pieces, note, read, refusal, streaming, warn};
use crate::fairness::Gate;
use crate::health::{Check, Health};
use crate::lines::Lines;
use crate::lists::{Given, Lists, Question};
use crate::metrics::Metrics;
use crate::negotiate::{self, content_type, encoding_of_body, encoding_of_patch, of_refusal, sent, wanted};
use crate::path::{Route, Target, route, verb};
use crate::query::Query;
use crate::streams::{self, Sessions, What};
use crate::{docs, health};

/// The Kubernetes API as an HTTP service: authenticates, reads the request, asks the [`Backend`], writes the answer.
///
/// It is the same for a TLS server and for clients in this process ([`Shell::in_process`]). Clones share everything.
#[derive(Clone)]
pub struct Shell(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    authentication: Authentication,
    impersonators: Remembered,
    audit: OnceLock<Audit>,
    gate: Gate,
    clock: Arc<dyn Clock>,
    health: Health,
    metrics: Metrics,
    docs: docs::Cache,
    lists: Lists,
    closing: watch::Sender<bool>,
    sessions: Sessions,
}

impl Shell {
    /// Serves `backend`.
    pub fn new(backend: Arc<dyn Backend>, authentication: Authentication, clock: Arc<dyn Clock>) -> Shell {
        Shell(Arc::new(Inner {
            backend,
            authentication,
            impersonators: Remembered::default(),
            audit: OnceLock::new(),
            gate: Gate::default(),
            clock,
            health: Health::default(),
            metrics: Metrics::default(),
            docs: docs::Cache::default(),
            lists: Lists::default(),
            closing: watch::Sender::new(false),
            sessions: Sessions::default(),
        }))
    }

    /// Notes requests in an audit log from now on. Only the first log counts.
    pub fn audit(&self, log: Audit) {
        // A second one is a mistake that does no harm.
        let _ = self.0.audit.set(log);
    }

    /// Whether requests are noted in an audit log.
    pub(crate) fn is_audited(&self) -> bool {
        self.0.audit.get().is_some()
    }

    /// The metrics that `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Adds a check to `/readyz`, and to `/livez` if `live`.
    pub fn add_check(&self, check: Check) {
        self.0.health.add(check);
    }

    /// Ends all watches, followed logs and sessions in pods, and lets no new ones last.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// A tower service for clients in this process, all of whose requests come from `user`.
    pub fn in_process(&self, user: User) -> InProcess {
        InProcess { shell: self.clone(), user: Arc::new(user) }
    }

    /// Answers a request. `certificate` is the user whom TLS has verified.
    pub async fn handle<B>(&self, request: Request<B>, certificate: Option<&User>) -> Answer
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let api = |token: &str| self.0.backend.authenticate(token);
        let Some(user) = self.0.authentication.user(request.headers(), certificate, api) else {
            let head = request.into_parts().0;
            if let (Some(audit), Some(path)) = (self.0.audit.get(), decoded(head.uri.path())) {
                let asked = asked(&head, &path, &Query::parse(head.uri.query()));
                audit.refused(&head, &asked, certificate.is_some(), self.0.clock.now());
            }
            return refusal(&Status::unauthorized(), of_refusal(&head.headers));
        };
        self.answer(request, user).await
    }

    async fn answer<B>(&self, request: Request<B>, user: User) -> Answer
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let started = self.0.clock.now();
        let (head, body) = request.into_parts();
        let allowed =
            |user: &User, attributes: &Attributes| self.0.backend.authorize(user, attributes).permits();
        let query = Query::parse(head.uri.query());
        let Some(path) = decoded(head.uri.path()) else {
            return refusal(&Status::bad_request("the path is not valid UTF-8"), of_refusal(&head.headers));
        };
        let asked = asked(&head, &path, &query);
        let mut pending = self.0.audit.get().and_then(|audit| audit.begin(&head, &asked, &user, started));
        let lasting = lasts(&asked);
        let own = pending.is_some().then(|| user.clone());
        let acting = match impersonated(&head.headers, user, &asked, &self.0.impersonators, allowed) {
            Ok(acting) => acting,
            Err(status) => return noted(pending, refusal(&status, of_refusal(&head.headers)), lasting).await,
        };
        if let Some(pending) = pending.as_mut().filter(|_| own.is_some_and(|own| own != acting)) {
            pending.acts_as(&acting);
        }
        // What lasts needs its seat only until it is under way.
        let seat = self.0.gate.enter(&*self.0.backend, &self.0.clock, &acting, &asked, &query).await;
        let _seat = match seat {
            Ok(seat) => seat,
            Err(status) => return noted(pending, refusal(&status, of_refusal(&head.headers)), lasting).await,
        };
        let Some(mut pending) = pending else {
            return self.routed(&head, &query, &path, &asked, body, acting, started).await;
        };
        pending.decided(&self.0.backend.authorize(&acting, &asked));
        let answer = match read(body).await {
            Ok(bytes) => {
                if let Some(sent) = body_of(&head, &bytes) {
                    pending.sent(&sent, &self.0.backend.scheme());
                }
                self.routed(&head, &query, &path, &asked, Full::new(bytes), acting, started).await
            }
            Err(status) => refusal(&status, of_refusal(&head.headers)),
        };
        pending.answered(answer, lasting).await
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn routed<B>(
        &self,
        head: &http::request::Parts,
        query: &Query,
        path: &str,
        asked: &Attributes,
        body: B,
        user: User,
        started: Timestamp,
    ) -> Answer
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match route(path) {
            Route::Resource(target) => {
                let resource = target.resource.plural.clone();
                let (verb, result) = self.resource(head, query, target, asked, body, user).await;
                let answer = result.unwrap_or_else(|status| refusal(&status, of_refusal(&head.headers)));
                let took = self.0.clock.now().since(started);
                self.0.metrics.answered(verb, &resource, answer.status().as_u16(), took);
                answer
            }
            Route::Discovery(parts) => self
                .may(&user, &head.method, path)
                .and_then(|()| {
                    let backend = &self.0.backend;
                    docs::discovery(&backend.scheme(), &backend.server_address(), &parts, &head.headers)
                })
                .unwrap_or_else(|status| refusal(&status, of_refusal(&head.headers))),
            Route::Other => self
                .may(&user, &head.method, path)
                .and_then(|()| self.other(path, query, &head.headers))
                .unwrap_or_else(|status| refusal(&status, of_refusal(&head.headers))),
        }
    }

    fn may(&self, user: &User, method: &Method, path: &str) -> Result<(), Status> {
        let verb = Name::from(method.as_str().to_ascii_lowercase());
        let attributes = Attributes { verb: verb.clone(), target: Asked::Path(path.into()) };
        if self.0.backend.authorize(user, &attributes).permits() {
            return Ok(());
        }
        let why = format!("User \"{}\" cannot {verb} path \"{path}\"", user.name);
        Err(Status::forbidden_path(&why))
    }

    fn other(&self, path: &str, query: &Query, headers: &http::HeaderMap) -> Result<Answer, Status> {
        if let Some(tokens) = &self.0.authentication.service_accounts {
            match path.trim_end_matches('/') {
                "/.well-known/openid-configuration" => {
                    return Ok(answer(200, "application/json", tokens.configuration().to_string()));
                }
                "/openid/v1/jwks" => {
                    negotiate::offered(headers, &["application/jwk-set+json"])?;
                    return Ok(answer(200, "application/jwk-set+json", tokens.keys().to_string()));
                }
                _ => {}
            }
        }
        let root = path.trim_matches('/').split('/').next().unwrap_or_default();
        Ok(match root {
            "" => docs::paths(&self.0.backend.scheme()),
            "version" => docs::version(headers)?,
            "healthz" | "livez" | "readyz" => self.0.health.answer(path, query),
            "metrics" => match self.0.metrics.text() {
                Ok(text) => answer(200, health::OPEN_METRICS, text),
                Err(_) => return Err(Status::internal("a metric could not be written")),
            },
            "openapi" => self.0.docs.openapi(&self.0.backend.scheme(), path, query, headers),
            _ => docs::not_found(),
        })
    }

    async fn resource<B>(
        &self,
        head: &http::request::Parts,
        query: &Query,
        target: Target,
        asked: &Attributes,
        body: B,
        user: User,
    ) -> (&'static str, Result<Answer, Status>)
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(what) = What::of(&head.method, &target) {
            let closed = self.closed();
            let place = streams::Place { backend: &self.0.backend, sessions: &self.0.sessions, closed };
            return ("CONNECT", streams::open(place, what, head, query, target, user).await);
        }
        let media = sent(&head.headers);
        let verb = match verb(&head.method, &target, query, &media) {
            Some(Ok(verb)) => verb,
            Some(Err(())) => {
                let custom = self.resource_of(&target.resource).is_some_and(|r| r.custom);
                let refused = match custom {
                    true => Status::unsupported_media_type(&[
                        "application/json-patch+json",
                        "application/merge-patch+json",
                        "application/apply-patch+yaml",
                    ]),
                    false => Status::unsupported_media(),
                };
                return ("PATCH", Err(refused));
            }
            None => return ("UNKNOWN", Err(Status::method_not_allowed())),
        };
        let own = target.subresource.is_empty().then(|| target.resource.clone());
        // One object is not created where one stands, and a collection is not replaced.
        let misplaced = match verb {
            Verb::Create => own.is_some() && !target.key.name.is_empty(),
            Verb::Update => target.key.name.is_empty(),
            _ => false,
        };
        if misplaced && self.resource_of(&target.resource).is_some() {
            return (verb_label(verb), Err(Status::method_not_allowed()));
        }
        let result = self.perform(head, query, target, asked, body, user, verb, &media).await;
        let result = match result {
            // Nobody is there to say it in Kubernetes' form where no definition serves the path.
            Err(status) if status == Status::no_resource() && own.is_some_and(|id| !self.is_builtin(&id)) => {
                Ok(docs::not_found())
            }
            result => result,
        };
        (verb_label(verb), result)
    }

    /// Whether the version of a group is Kubernetes' own.
    fn is_builtin(&self, id: &ResourceId) -> bool {
        let scheme = self.0.backend.scheme();
        scheme.resources().any(|r| !r.custom && r.kind.group == id.group && r.kind.version == id.version)
    }

    fn resource_of(&self, id: &ResourceId) -> Option<Arc<orlop_core::scheme::Resource>> {
        self.0.backend.scheme().resource(&id.group, &id.version, &id.plural).cloned()
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn perform<B>(
        &self,
        head: &http::request::Parts,
        query: &Query,
        target: Target,
        asked: &Attributes,
        body: B,
        user: User,
        verb: Verb,
        media: &str,
    ) -> Result<Answer, Status>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let known = self.resource_of(&target.resource);
        // What is not served is refused as that, however the answer was wanted.
        let want = match &known {
            Some(resource) => wanted(
                &head.headers,
                query,
                negotiate::Asked {
                    list: matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection),
                    watch: verb == Verb::Watch,
                    custom: resource.custom,
                    group: &resource.stored_as.group,
                    kind: &resource.kind.kind,
                },
            )?,
            None => Want::default(),
        };
        if target.subresource == "log" {
            query.check_log(&target.key.name)?;
        } else if verb != Verb::Watch {
            query.check_timeout()?;
        }
        let mut options = query.options(match verb {
            Verb::Create => Some("CreateOptions"),
            Verb::Update => Some("UpdateOptions"),
            Verb::Patch(_) => Some("PatchOptions"),
            Verb::Delete | Verb::DeleteCollection => Some("DeleteOptions"),
            Verb::Get | Verb::List | Verb::Watch => None,
        })?;
        if options.field_manager.is_empty() && !matches!(verb, Verb::Patch(PatchType::Apply)) {
            options.field_manager = default_manager(&head.headers);
        }
        if verb == Verb::Watch && !target.key.name.is_empty() {
            // A watch of one object is a watch of the collection that selects it.
            let one = format!("metadata.name={}", target.key.name);
            let selector = &mut options.list.field_selector;
            *selector = if selector.is_empty() { one } else { format!("{selector},{one}") };
        }
        let body = match verb {
            Verb::Get | Verb::List | Verb::Watch => None,
            Verb::Create | Verb::Update => {
                let encoding = encoding_of_body(media)?;
                Some(Body::Bytes(encoding, read(body).await?))
            }
            Verb::Patch(_) => Some(Body::Bytes(encoding_of_patch(media), read(body).await?)),
            Verb::Delete | Verb::DeleteCollection => {
                let bytes = read(body).await?;
                if bytes.is_empty() { None } else { Some(Body::Bytes(encoding_of_body(media)?, bytes)) }
            }
        };
        let resource = target.resource.clone();
        let request = orlop_api::Request {
            user,
            verb,
            resource: target.resource,
            key: target.key,
            subresource: target.subresource,
            options,
            body,
        };
        match (verb, known) {
            (Verb::Watch, _) => self.watch(request, &resource, want).await,
            (Verb::List, Some(known)) if !known.custom => self.list(request, &known, asked, want).await,
            _ => self.call(request, want).await,
        }
    }

    /// A list of a built-in kind, of which nothing but the objects can change what is answered.
    async fn list(
        &self,
        request: orlop_api::Request,
        resource: &orlop_core::scheme::Resource,
        asked: &Attributes,
        want: Want,
    ) -> Result<Answer, Status> {
        let question = Question {
            resource: request.resource.clone(),
            namespace: request.key.namespace.clone(),
            options: request.options.list.clone(),
            want,
        };
        if !question.can_be_kept() || !resource.is_stored() || !request.subresource.is_empty() {
            return self.call(request, want).await;
        }
        let backend = &self.0.backend;
        let unchanged = |since| backend.unchanged(&resource.kind, &question.namespace, since);
        if let Some(given) = self.0.lists.again(&question, self.0.clock.now(), unchanged)
            && backend.authorize(&request.user, asked).permits()
        {
            let mut answer = in_pieces(content_type(want.encoding), given.pieces());
            warn(&mut answer, &given.warnings);
            return Ok(answer);
        }
        let response = backend.call(request).await?;
        let columns = backend.custom_columns();
        let now = self.0.clock.now();
        let text = Renderer { custom: &columns, now }.response(&response, want);
        if let Payload::List(_, list) = &response.payload
            && list.continue_token.is_empty()
            && response.audit.is_empty()
        {
            let given = |question: &Question| {
                Given::new(question, list.revision, text.clone(), response.warnings.clone(), now)
            };
            self.0.lists.note(question, given);
        }
        let mut answer = answer(response.code, content_type(want.encoding), text);
        warn(&mut answer, &response.warnings);
        note(&mut answer, response.audit);
        Ok(answer)
    }

    async fn call(&self, request: orlop_api::Request, want: Want) -> Result<Answer, Status> {
        let response = self.0.backend.call(request).await?;
        if let Payload::Stream(stream) = &response.payload {
            let stream = stream.take().ok_or_else(|| Status::internal("the log was taken already"))?;
            // A log that breaks off simply ends: its head, with the status code, is gone already.
            let bytes = stream
                .take_while(|part| std::future::ready(part.is_ok()))
                .filter_map(|part| std::future::ready(part.ok()));
            return Ok(streaming("text/plain", bytes.take_until(self.closed())));
        }
        let columns = self.0.backend.custom_columns();
        let renderer = Renderer { custom: &columns, now: self.0.clock.now() };
        let mut answer =
            answer(response.code, content_type(want.encoding), renderer.response(&response, want));
        warn(&mut answer, &response.warnings);
        note(&mut answer, response.audit);
        Ok(answer)
    }

    async fn watch(
        &self,
        mut request: orlop_api::Request,
        resource: &ResourceId,
        want: Want,
    ) -> Result<Answer, Status> {
        let scheme = self.0.backend.scheme();
        let kind = scheme
            .resource(&resource.group, &resource.version, &resource.plural)
            .map(|r| r.kind.clone())
            .ok_or_else(Status::no_resource)?;
        request.key.name = Name::default();
        let frames = self.0.backend.watch(request).await?;
        let with = (self.0.backend.clone(), self.0.clock.clone());
        let media = match want.encoding {
            Encoding::Protobuf => negotiate::STREAMS[1],
            Encoding::Json | Encoding::Yaml => "application/json",
        };
        let lines = Lines::new(frames, with, kind, want, self.0.metrics.watching());
        Ok(streaming(media, lines.take_until(self.closed())))
    }

    /// Completes once the server closes.
    fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.0.closing.subscribe();
        async move {
            // The sender lives in the shell; when that is gone, so is the server.
            let _ = closing.wait_for(|closing| *closing).await;
        }
        .boxed()
    }
}

/// Whether what is asked for goes on after its answer has begun.
fn lasts(asked: &Attributes) -> bool {
    let Asked::Resource { subresource, .. } = &asked.target else { return false };
    asked.verb == "watch"
        || matches!(subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy")
}

/// A request's body, with what its head says of its encoding. `None`: there is none, or it is nothing that is known.
fn body_of(head: &http::request::Parts, bytes: &bytes::Bytes) -> Option<Body> {
    let media = sent(&head.headers);
    let encoding = match head.method {
        Method::PATCH => encoding_of_patch(&media),
        _ => encoding_of_body(&media).ok()?,
    };
    (!bytes.is_empty()).then(|| Body::Bytes(encoding, bytes.clone()))
}

/// An answer, noted in the audit log where that is wanted.
async fn noted(pending: Option<Pending>, answer: Answer, lasting: bool) -> Answer {
    match pending {
        Some(pending) => pending.answered(answer, lasting).await,
        None => answer,
    }
}

/// Kubernetes takes the manager of a write that names none from the user agent: what stands before its first slash.
fn default_manager(headers: &http::HeaderMap) -> Name {
    let agent = headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let name: String =
        agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(128).collect();
    if name.is_empty() { Name::new_static("unknown") } else { name.into() }
}

fn verb_label(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch(PatchType::Apply) => "APPLY",
        Verb::Patch(_) => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

/// Percent-decodes a path.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(path.into());
    }
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The API for a client in this process: a tower service without sockets.
#[derive(Clone)]
pub struct InProcess {
    shell: Shell,
    user: Arc<User>,
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (shell, user) = (self.shell.clone(), self.user.clone());
        Box::pin(async move { Ok(shell.answer(request, User::clone(&user)).await) })
    }
}
