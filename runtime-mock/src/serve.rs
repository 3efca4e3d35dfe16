//! Running containers answer on their declared ports.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orlop_core::Clock;
use orlop_core::runtime::{
    Connection, ConnectionInput, ContainerId, ContainerSpec, Port, Protocol, RuntimeError, SandboxId,
    SandboxSpec,
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, WriteHalf};
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
pub(crate) struct Server {
    /// Whether there are sockets, too; otherwise containers are reached only by [`connect`].
    binds: bool,
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
    /// Whose containers have no sockets.
    pub(crate) fn unbound() -> Server {
        Server { binds: false, open: Mutex::default() }
    }

    /// Whose containers listen where their sandboxes say.
    pub(crate) fn bound() -> Server {
        Server { binds: true, open: Mutex::default() }
    }

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
        let mut sockets: BTreeMap<(Protocol, u16), (Port, Socket)> = BTreeMap::new();
        let bind = sandbox.bind.filter(|_| self.binds);
        for port in spec.ports.iter().filter(|_| bind.is_some()) {
            let Some(bind) = bind else { break };
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

/// How much may wait in a connection within this process, in bytes.
const PIPE: usize = 64 * 1024;

/// Connects to a port of a sandbox without any socket: to the running container that declares it.
pub(crate) fn connect(
    shared: &Arc<Shared>,
    sandbox: &SandboxId,
    port: u16,
) -> Result<Connection, RuntimeError> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(RuntimeError::Unsupported("connections to ports outside of a tokio runtime"));
    }
    let (spec, running) = shared.with(|machine, _| machine.running_in(sandbox))?;
    let declares = |container: &ContainerSpec| {
        container.ports.iter().any(|p| p.container == port && p.protocol == Protocol::Tcp)
    };
    let listening = running.into_iter().find(|(_, container)| declares(container));
    let phase = listening.as_ref().and_then(|(id, _)| Some(shared.server.open.lock().get(id)?.subscribe()));
    let (Some((container, declared)), Some(phase)) = (listening, phase) else {
        let why = format!("failed to connect to localhost:{port} inside namespace: connection refused");
        return Err(RuntimeError::NotRunning(why));
    };
    let program =
        Program { sandbox: spec, spec: declared, port, container, shared: Arc::downgrade(shared), phase };
    let (ours, theirs) = tokio::io::duplex(PIPE);
    drop(tokio::spawn(serve(theirs, Arc::new(program))));
    let (read, write) = tokio::io::split(ours);
    let output = stream::unfold(read, |mut read| async move {
        let mut buffer = BytesMut::with_capacity(16 * 1024);
        match read.read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(buffer.freeze()), read)),
            Err(error) => Some((Err(RuntimeError::Unavailable(error.to_string())), read)),
        }
    });
    Ok(Connection { input: Box::new(Pipe(write)), output: Box::pin(output) })
}

/// The way into a connection within this process.
struct Pipe(WriteHalf<DuplexStream>);

#[async_trait]
impl ConnectionInput for Pipe {
    async fn send(&mut self, bytes: Bytes) -> Result<(), RuntimeError> {
        self.0.write_all(&bytes).await.map_err(|error| RuntimeError::NotRunning(error.to_string()))
    }

    async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
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
    let begin = |stream: TcpStream| {
        let _ = stream.set_nodelay(true);
        drop(tokio::spawn(serve(stream, program.clone())));
    };
    loop {
        let accepted = {
            let (ended, accepted) = (pin!(program.reached(Phase::Ended)), pin!(listener.accept()));
            match select(ended, accepted).await {
                Either::Left((Phase::Ended, _)) => break,
                Either::Left(_) => return,
                Either::Right((accepted, _)) => accepted,
            }
        };
        match accepted {
            Ok((stream, _)) => begin(stream),
            Err(error) => {
                // Out of descriptors, most likely: what is connected goes on.
                tracing::warn!(container = %program.container, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Who came before the end is connected, though not accepted yet: to close the port now would reset it.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, _)) = listener.accept() {
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            begin(stream);
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, program: Arc<Program>) {
    let service = {
        let program = program.clone();
        service_fn(move |request| answer(request, program.clone()))
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Who has said all it wants to say still waits for the answer.
    builder.http1().half_close(true);
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
