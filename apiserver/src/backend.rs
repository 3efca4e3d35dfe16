//! What the HTTP shell needs of the API behind it: [`Backend`].

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use orlop_api::auth::{Attributes, Decision};
use orlop_api::fairness::FlowControl;
use orlop_api::node::{NodeGateway, PodAt};
use orlop_api::render::CustomColumns;
use orlop_api::{Api, Request, Status, User};
use orlop_core::scheme::Scheme;
use orlop_core::{Kind, Name, Revision};
use serde_json::Value;

/// An [`Api`] with what is served beside its objects.
#[async_trait]
pub trait Backend: Api {
    /// The kinds that are served now.
    fn scheme(&self) -> Arc<Scheme>;

    /// The columns of custom kinds.
    fn custom_columns(&self) -> Arc<CustomColumns>;

    /// The address at which clients reach the server, `192.0.2.1:6443`.
    fn server_address(&self) -> String;

    /// Whether `user` may. [`Api::call`] and [`Api::watch`] ask themselves; this is for paths that are no resource.
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision;

    /// Up to which revision nothing has changed in a collection since another. `None`: something has, or so much has
    /// elsewhere since then that reading the collection tells it sooner.
    fn unchanged(&self, kind: &Kind, namespace: &str, since: Revision) -> Option<Revision> {
        let _ = (kind, namespace, since);
        None
    }

    /// How requests share the server.
    fn flow_control(&self) -> FlowControl {
        FlowControl::default()
    }

    /// Whom a bearer token belongs to.
    fn authenticate(&self, token: &str) -> Option<User> {
        let _ = token;
        None
    }

    /// Asks admission about a session; see [`orlop_api::LocalApi::admit_session`].
    ///
    /// # Errors
    /// When the user may not, or admission is against it.
    async fn admit_session(&self, request: &Request, options: Value) -> Result<Vec<String>, Status>;

    /// Where the session is to be that `request` asks for; see [`orlop_api::LocalApi::locate_session`].
    ///
    /// # Errors
    /// When there is no such place, or the user may not.
    fn locate_session(&self, request: &Request, container: &str) -> Result<(PodAt, Name), Status>;

    /// The way to the nodes, which carry sessions.
    fn nodes(&self) -> Arc<dyn NodeGateway>;
}

#[async_trait]
impl<S: orlop_core::Store> Backend for orlop_api::LocalApi<S> {
    fn scheme(&self) -> Arc<Scheme> {
        self.served().scheme.clone()
    }

    fn custom_columns(&self) -> Arc<CustomColumns> {
        self.served().columns.clone()
    }

    fn server_address(&self) -> String {
        let server = &self.config().server;
        let ip = server.ip.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        std::net::SocketAddr::new(ip, server.port).to_string()
    }

    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        orlop_api::LocalApi::authorize(self, user, attributes)
    }

    fn unchanged(&self, kind: &Kind, namespace: &str, since: Revision) -> Option<Revision> {
        let prefix = self.served().scheme.storage_range(kind, namespace)?;
        let mut watch = self.store().watch(&prefix, since).ok()?;
        let mut next = || watch.next().now_or_never();
        let reached = match next() {
            None => return Some(since),
            Some(Some(Ok(batch))) if batch.events.is_empty() => batch.revision,
            Some(_) => return None,
        };
        next().is_none().then_some(reached)
    }

    fn flow_control(&self) -> FlowControl {
        orlop_api::LocalApi::flow_control(self)
    }

    fn authenticate(&self, token: &str) -> Option<User> {
        orlop_api::LocalApi::authenticate(self, token).ok().flatten()
    }

    async fn admit_session(&self, request: &Request, options: Value) -> Result<Vec<String>, Status> {
        orlop_api::LocalApi::admit_session(self, request, options).await
    }

    fn locate_session(&self, request: &Request, container: &str) -> Result<(PodAt, Name), Status> {
        orlop_api::LocalApi::locate_session(self, request, container)
    }

    fn nodes(&self) -> Arc<dyn NodeGateway> {
        self.config().nodes.clone()
    }
}
