//! Sessions in pods: `exec`, `attach` and `portforward`.
//!
//! A request is authorised and its pod and container are found before anything else; then the connection is upgraded,
//! and a task of its own carries the session between the client's protocol and what a node offers
//! ([`NodeGateway`](orlop_api::node::NodeGateway)):
//!
//! | asked for by | `exec`, `attach` | `portforward` |
//! |---|---|---|
//! | WebSocket | channels: `v5.channel.k8s.io`, `v4…`, `channel.k8s.io`, and those in base64 ([`channels`]) | channels; `SPDY/3.1+portforward.k8s.io` ([`forward`]) |
//! | SPDY/3.1 | `v4.channel.k8s.io` and before ([`remote`]) | `portforward.k8s.io` |

mod channels;
mod forward;
mod mux;
mod outcome;
mod remote;
mod session;
pub(crate) mod spdy;
mod upgrade;

use std::future::Future;
use std::sync::Arc;

use http::Method;
use hyper::upgrade::OnUpgrade;
use orlop_api::{Options, Request, Status, User, Verb};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::audit::SessionEnd;
use crate::backend::Backend;
use crate::body::{Answer, warn};
use crate::path::Target;
use crate::query::Query;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Exec,
    Attach,
    PortForward,
}

impl What {
    /// What a request for `target` by `method` asks for; `None`: no session.
    pub(crate) fn of(method: &Method, target: &Target) -> Option<What> {
        let pods = target.resource.group.is_empty() && target.resource.plural == "pods";
        if !pods || !matches!(*method, Method::GET | Method::POST) {
            return None;
        }
        match target.subresource.as_str() {
            "exec" => Some(What::Exec),
            "attach" => Some(What::Attach),
            "portforward" => Some(What::PortForward),
            _ => None,
        }
    }

    /// The object that a request's parameters make, as admission sees it.
    fn options(self, query: &Query) -> Value {
        let kind = match self {
            What::Exec => "PodExecOptions",
            What::Attach => "PodAttachOptions",
            What::PortForward => "PodPortForwardOptions",
        };
        let mut out = json!({"kind": kind, "apiVersion": "v1"});
        if self == What::PortForward {
            let ports: Vec<i32> =
                query.all("ports").flat_map(|list| list.split(',')).filter_map(|p| p.parse().ok()).collect();
            if !ports.is_empty() {
                out["ports"] = ports.into();
            }
            return out;
        }
        for flag in ["stdin", "stdout", "stderr", "tty"] {
            if query.flag(flag) {
                out[flag] = true.into();
            }
        }
        if let Some(container) = query.get("container").filter(|name| !name.is_empty()) {
            out["container"] = container.into();
        }
        let command: Vec<&str> = query.all("command").collect();
        if self == What::Exec && !command.is_empty() {
            out["command"] = command.into();
        }
        out
    }
}

/// The sessions under way. They end with it.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<JoinSet<()>>);

impl Sessions {
    fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(session);
    }
}

/// Where sessions come from and where they are kept.
pub(crate) struct Place<'a, C> {
    pub(crate) backend: &'a Arc<dyn Backend>,
    pub(crate) sessions: &'a Sessions,
    /// Completes when all sessions must end.
    pub(crate) closed: C,
}

/// Answers a request for a session, and carries it on.
///
/// # Errors
/// In Kubernetes' words: forbidden, no such pod or container, not running, or the request asks for no upgrade.
pub(crate) async fn open<C>(
    place: Place<'_, C>,
    what: What,
    head: &http::request::Parts,
    query: &Query,
    target: Target,
    user: User,
) -> Result<Answer, Status>
where
    C: Future<Output = ()> + Send + 'static,
{
    let request = Request {
        user,
        verb: if head.method == Method::POST { Verb::Create } else { Verb::Get },
        resource: target.resource,
        key: target.key,
        subresource: target.subresource,
        options: Options::default(),
        body: None,
    };
    let warnings = place.backend.admit_session(&request, what.options(query)).await?;
    let container = query.get("container").unwrap_or_default();
    let (pod, container) = place.backend.locate_session(&request, container)?;
    let wish = upgrade::wish(&head.headers)?;
    let upgraded = head.extensions.get::<OnUpgrade>().cloned().ok_or_else(upgrade::required)?;
    let nodes = place.backend.nodes();
    let (mut answer, session) = match what {
        What::Exec | What::Attach => {
            session::open(what, wish, upgraded, query, nodes, pod, container).await?
        }
        What::PortForward => forward::open(&wish, upgraded, query, nodes, pod)?,
    };
    warn(&mut answer, &warnings);
    let closed = place.closed;
    let end = SessionEnd::default();
    answer.extensions_mut().insert(end.clone());
    place.sessions.spawn(async move {
        let _end = end;
        tokio::select! {
            biased;
            () = closed => {}
            () = session => {}
        }
    });
    Ok(answer)
}
