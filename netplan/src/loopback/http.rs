//! Ingress: HTTP/1.1 by host and path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::Shared;
use super::backend::{Backend, Pick};
use super::fronts::Entrance;
use super::state::Backends;
use super::tcp;
use crate::balance::Flow;
use crate::choice::Way;
use crate::ingress::{BackendPort, Route};
use crate::plan::Protocol;

const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves the listener until the task is dropped. Connections go on without it.
pub(super) async fn serve(
    shared: Arc<Shared>,
    backends: Arc<Backends>,
    listener: TcpListener,
    at: SocketAddr,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let proxy = Proxy { shared: Arc::clone(&shared), backends: Arc::clone(&backends), peer, at };
        tokio::spawn(proxy.connection(stream));
    }
}

/// One client's connection.
#[derive(Clone)]
struct Proxy {
    shared: Arc<Shared>,
    backends: Arc<Backends>,
    peer: SocketAddr,
    at: SocketAddr,
}

impl Proxy {
    async fn connection(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut closed = self.shared.closed.clone();
        let service = service_fn(move |request| {
            let proxy = self.clone();
            async move { Ok::<_, Infallible>(proxy.answer(request).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            _ = connection.with_upgrades() => {}
            _ = closed.changed() => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let host = host(&request);
        let plan = self.shared.plan();
        let Some(route) = plan.ingress.route(&host, request.uri().path()).cloned() else {
            let text = format!("no Ingress has a rule for {host}{}\n", request.uri().path());
            return say(StatusCode::NOT_FOUND, text);
        };
        let Some(backend) = self.backend(&plan, &route) else {
            let text = format!(
                "Ingress {} leads to a port of Service {}/{} that does not exist\n",
                route.ingress, route.ingress.namespace, route.service
            );
            return say(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        drop(plan);
        let flow = Flow::new(self.peer, self.at);
        // The client of a Service behind an Ingress is the proxy, which is on no node.
        let entrance = Entrance { way: Way::Internal, node: None };
        let service = format!("{}/{}", route.ingress.namespace, route.service);
        match tcp::connect(&backend, &entrance, &flow, self.peer).await {
            Ok((stream, pick)) => self.forward(request, &host, stream, pick).await,
            Err(e) if e.kind() == std::io::ErrorKind::NotConnected => {
                say(StatusCode::SERVICE_UNAVAILABLE, format!("Service {service} has no ready endpoints\n"))
            }
            Err(e) => {
                say(StatusCode::BAD_GATEWAY, format!("no endpoint of Service {service} answers: {e}\n"))
            }
        }
    }

    fn backend(&self, plan: &crate::NetPlan, route: &Route) -> Option<Arc<Backend>> {
        let key = orlop_core::Key::new(route.ingress.namespace.clone(), route.service.clone());
        let ports = &plan.services.get(&key)?.ports;
        let port = ports.iter().find(|port| match &route.port {
            // Ingress speaks HTTP over TCP; a UDP port of the same number is HTTP/3's.
            BackendPort::Number(number) => port.port == *number && port.protocol == Protocol::Tcp,
            BackendPort::Name(name) => port.name == *name,
        })?;
        self.backends.get(&key, port)
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        host: &str,
        stream: TcpStream,
        pick: Pick,
    ) -> Response<Body> {
        let upgrade = upgrade_of(request.headers());
        let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        self.prepare(&mut request, host, upgrade.as_ref());
        let (mut sender, connection) = match hyper::client::conn::http1::handshake(TokioIo::new(stream)).await
        {
            Ok(pair) => pair,
            Err(e) => return say(StatusCode::BAD_GATEWAY, format!("the endpoint broke off: {e}\n")),
        };
        let mut closed = self.shared.closed.clone();
        let linger = self.shared.options.linger;
        // Lives as long as the body is read. One connection for each request: no request is ever sent on a
        // connection that an endpoint is about to close.
        let pick = Arc::new(pick);
        let held = Arc::clone(&pick);
        tokio::spawn(async move {
            tokio::select! {
                _ = connection.with_upgrades() => {}
                _ = closed.changed() => {}
                () = held.gone(linger) => {}
            }
        });
        let mut response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(e) => return say(StatusCode::BAD_GATEWAY, format!("the endpoint broke off: {e}\n")),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client) = client
        {
            let server = hyper::upgrade::on(&mut response);
            tokio::spawn(tunnel(client, server, pick, linger, self.shared.closed.clone()));
            let (parts, _) = response.into_parts();
            return Response::from_parts(parts, empty());
        }
        strip_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        response.map(BodyExt::boxed)
    }

    /// Makes the request one from the proxy to the endpoint.
    fn prepare(&self, request: &mut Request<Incoming>, host: &str, upgrade: Option<&HeaderValue>) {
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        *request.uri_mut() = path.parse().unwrap_or_else(|_| http::Uri::from_static("/"));
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        strip_hop_by_hop(headers);
        if let Some(upgrade) = upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, upgrade.clone());
        }
        let client = self.peer.ip().to_string();
        let forwarded = match headers.get("x-forwarded-for").and_then(|v| v.to_str().ok()) {
            Some(before) => format!("{before}, {client}"),
            None => client,
        };
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("x-forwarded-for", &forwarded);
        set("x-forwarded-proto", "http");
        set("x-forwarded-host", host);
        set("host", host);
    }
}

async fn tunnel(
    client: hyper::upgrade::OnUpgrade,
    server: hyper::upgrade::OnUpgrade,
    pick: Arc<Pick>,
    linger: Duration,
    mut closed: tokio::sync::watch::Receiver<()>,
) {
    let (Ok(client), Ok(server)) = (client.await, server.await) else { return };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = closed.changed() => {}
        () = pick.gone(linger) => {}
    }
}

/// The host that a request is for.
fn host(request: &Request<Incoming>) -> String {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    request.uri().authority().map(|a| a.as_str()).or(header).unwrap_or_default().to_owned()
}

/// What a request wants to change its connection to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let wanted = wanted.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case("upgrade"));
    wanted.then(|| headers.get(header::UPGRADE).cloned()).flatten()
}

/// Takes away what concerns one connection only (RFC 9110, section 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

fn say(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
