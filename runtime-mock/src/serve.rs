//! Running containers answer on their declared ports.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orlop_core::Clock;
use orlop_core::runtime::{ContainerId, ContainerSpec, Port, Protocol, RuntimeError, SandboxSpec};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

use crate::runtime::Shared;

/// How long a kept-alive connection may outlive its container: a client that sends one more request on it, not
/// knowing that the container ends, gets an answer that tells it to connect anew.
const LINGER: Duration = Duration::from_secs(5);
/// How long a port may still be held by a predecessor that is just ending.
const HANDOVER: Duration = Duration::from_secs(1);
/// How much of a request is read before it is answered.
const REQUEST_MAX: usize = 1 << 20;

/// The ports that are open.
#[derive(Default)]
pub(crate) struct Server {
    open: Mutex<BTreeMap<ContainerId, watch::Sender<Phase>>>,
}

/// What becomes of a container's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// It was told to stop: all is served, and every answer asks the client to connect anew.
    Retiring,
    /// It has ended: nothing new is accepted, what is connected gets one more answer.
    Ended,
    /// It was killed: connections break.
    Killed,
}

/// Ports that close again unless they are kept.
pub(crate) struct Opened<'a> {
    server: &'a Server,
    container: Option<ContainerId>,
}

impl Opened<'_> {
    pub(crate) fn keep(mut self) {
        self.container = None;
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if let Some(container) = &self.container {
            self.server.close(container, true);
        }
    }
}

impl Server {
    /// Binds the ports of a container and begins to answer.
    pub(crate) async fn open<'a>(
        &'a self,
        shared: &Arc<Shared>,
        container: &ContainerId,
    ) -> Result<Opened<'a>, RuntimeError> {
        let mut opened = Opened { server: self, container: None };
        let Some((sandbox, spec)) = shared.with(|machine, _| machine.sandbox_of(container)) else {
            return Ok(opened);
        };
        let Some(bind) = sandbox.bind else { return Ok(opened) };
        let mut sockets: BTreeMap<(Protocol, u16), (Port, Socket)> = BTreeMap::new();
        for port in &spec.ports {
            if sockets.contains_key(&(port.protocol, port.bind)) {
                continue;
            }
            let address = SocketAddr::new(bind, port.bind);
            let socket = bind_patiently(address, port.protocol, &*shared.clock).await.map_err(|error| {
                RuntimeError::StartFailed(format!(
                    "container {:?} cannot listen on {address} for its port {}: {error}",
                    spec.name.as_str(),
                    port.container
                ))
            })?;
            if let Some(socket) = socket {
                sockets.insert((port.protocol, port.bind), (port.clone(), socket));
            }
        }
        let (sender, phase) = watch::channel(Phase::Serving);
        for (port, socket) in sockets.into_values() {
            let program = Program {
                sandbox: sandbox.clone(),
                spec: spec.clone(),
                port: port.container,
                container: container.clone(),
                shared: Arc::downgrade(shared),
                phase: phase.clone(),
            };
            match socket {
                Socket::Tcp(listener) => drop(tokio::spawn(accept(listener, Arc::new(program)))),
                Socket::Udp(socket) => drop(tokio::spawn(echo(socket, program))),
            }
        }
        self.open.lock().insert(container.clone(), sender);
        opened.container = Some(container.clone());
        Ok(opened)
    }

    /// The container was told to stop.
    pub(crate) fn retire(&self, container: &ContainerId) {
        if let Some(phase) = self.open.lock().get(container) {
            phase.send_if_modified(|phase| {
                std::mem::replace(phase, Phase::Retiring.max(*phase)) < Phase::Retiring
            });
        }
    }

    /// All others have died.
    pub(crate) fn keep_only(&self, running: &[ContainerId]) {
        self.open.lock().retain(|id, phase| {
            let alive = running.contains(id);
            if !alive {
                phase.send_replace(Phase::Killed);
            }
            alive
        });
    }

    /// The container has ended.
    pub(crate) fn close(&self, container: &ContainerId, killed: bool) {
        if let Some(phase) = self.open.lock().remove(container) {
            phase.send_replace(if killed { Phase::Killed } else { Phase::Ended });
        }
    }
}

enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// `None` for a transport that is not served here.
async fn bind_patiently(
    address: SocketAddr,
    protocol: Protocol,
    clock: &dyn Clock,
) -> io::Result<Option<Socket>> {
    let deadline = clock.now() + HANDOVER;
    loop {
        // Both set SO_REUSEADDR, so that connections of a predecessor that linger do not matter.
        let bound = match protocol {
            Protocol::Tcp => TcpListener::bind(address).await.map(|tcp| Some(Socket::Tcp(tcp))),
            Protocol::Udp => UdpSocket::bind(address).await.map(|udp| Some(Socket::Udp(udp))),
            Protocol::Sctp => Ok(None),
        };
        match bound {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && clock.now() < deadline => {
                clock.sleep_until(clock.now() + Duration::from_millis(20)).await;
            }
            bound => return bound,
        }
    }
}

/// What answers on one port.
struct Program {
    sandbox: Arc<SandboxSpec>,
    spec: ContainerSpec,
    port: u16,
    container: ContainerId,
    shared: Weak<Shared>,
    phase: watch::Receiver<Phase>,
}

impl Program {
    /// Waits until the container has come so far; a runtime that is gone has killed it.
    async fn reached(&self, phase: Phase) -> Phase {
        let mut watched = self.phase.clone();
        watched.wait_for(|now| *now >= phase).await.map_or(Phase::Killed, |now| *now)
    }

    fn say(&self, text: &str) {
        if let Some(shared) = self.shared.upgrade() {
            shared.with(|machine, now| machine.say(now, &self.container, text));
        }
    }
}

async fn accept(listener: TcpListener, program: Arc<Program>) {
    loop {
        let accepted = {
            let (ended, accepted) = (pin!(program.reached(Phase::Ended)), pin!(listener.accept()));
            match select(ended, accepted).await {
                Either::Left(_) => return,
                Either::Right((accepted, _)) => accepted,
            }
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, program.clone()))),
            Err(error) => {
                // Out of descriptors, most likely: what is connected goes on.
                tracing::warn!(container = %program.container, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, program: Arc<Program>) {
    let _ = stream.set_nodelay(true);
    let service = {
        let program = program.clone();
        service_fn(move |request| answer(request, program.clone()))
    };
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let over = async {
        if program.reached(Phase::Ended).await == Phase::Ended {
            tokio::time::sleep(LINGER).await;
            return true;
        }
        false
    };
    match select(connection.as_mut(), pin!(over)).await {
        Either::Left(_) => return,
        Either::Right((false, _)) => return,
        Either::Right((true, _)) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LINGER, connection).await;
}

async fn answer(
    request: Request<Incoming>,
    program: Arc<Program>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // What the client has sent must be read, or the connection cannot be kept.
    let length = Limited::new(body, REQUEST_MAX).collect().await.map_or(0, |body| body.to_bytes().len());
    let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
    program.say(&format!("{} {target} 200", head.method));

    let (sandbox, spec) = (&program.sandbox, &program.spec);
    let address = match sandbox.addresses.first() {
        Some(ip) => SocketAddr::new(*ip, program.port).to_string(),
        None => program.port.to_string(),
    };
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let wants_json = head
        .headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    let (kind, body) = if wants_json {
        let body = serde_json::json!({
            "pod": sandbox.name.as_str(),
            "namespace": sandbox.namespace.as_str(),
            "node": sandbox.node.as_str(),
            "container": spec.name.as_str(),
            "image": spec.image.as_str(),
            "address": address,
            "method": head.method.as_str(),
            "host": host,
            "path": target,
            "bodyBytes": length,
        });
        ("application/json", format!("{body}\n"))
    } else {
        let body = format!(
            "pod {}/{} on {}\ncontainer {} ({}) at {address}\n{} {target}\n",
            sandbox.namespace, sandbox.name, sandbox.node, spec.name, spec.image, head.method
        );
        ("text/plain; charset=utf-8", body)
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if *program.phase.borrow() >= Phase::Retiring && head.version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn echo(socket: UdpSocket, program: Program) {
    let mut buffer = vec![0; 65_536];
    loop {
        let received = {
            let (ended, received) =
                (pin!(program.reached(Phase::Ended)), pin!(socket.recv_from(&mut buffer)));
            match select(ended, received).await {
                Either::Left(_) => return,
                Either::Right((received, _)) => received,
            }
        };
        // An earlier answer that was refused by its receiver is not our concern.
        let Ok((length, peer)) = received else { continue };
        let _ = socket.send_to(&buffer[..length], peer).await;
    }
}
