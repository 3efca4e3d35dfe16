//! `portforward`: connections to ports of a pod.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, join_all, select};
use futures_util::stream::{FuturesUnordered, SplitSink};
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orlop_api::Status;
use orlop_api::node::{NodeGateway, PodAt};
use orlop_core::runtime::Connection;
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::tungstenite::Message;

use super::channels::{Protocol, goodbye};
use super::mux::{self, Answered, Answers, Opened, Part, Wire};
use super::spdy::StreamId;
use super::upgrade::{self, Socket, Wish, unsupported};
use crate::body::Answer;
use crate::query::Query;

/// What is spoken above SPDY.
const PROTOCOL: &str = "portforward.k8s.io";
/// The same in a WebSocket (KEP-4006).
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// How many ports a client may name at once, and how many streams may wait for their other half.
const PORTS_MAX: usize = 128;

/// The pod whose ports are forwarded.
#[derive(Clone)]
struct Ports {
    nodes: Arc<dyn NodeGateway>,
    pod: PodAt,
}

impl Ports {
    async fn connect(&self, port: u16) -> Result<Connection, String> {
        self.nodes.connect(&self.pod, port).await.map_err(|status| {
            let (name, namespace, uid) = (&self.pod.key.name, &self.pod.key.namespace, &self.pod.uid);
            format!("error forwarding port {port} to pod {name}_{namespace}, uid {uid}: {}", status.message)
        })
    }
}

/// Agrees to forward. Connections are made as they are asked for.
pub(super) fn open(
    wish: &Wish,
    upgraded: OnUpgrade,
    query: &Query,
    nodes: Arc<dyn NodeGateway>,
    pod: PodAt,
) -> Result<(Answer, BoxFuture<'static, ()>), Status> {
    let ports = Ports { nodes, pod };
    match wish {
        Wish::WebSocket { key, protocols } if protocols.iter().any(|name| name == TUNNEL) => {
            let carry = async move {
                if let Ok(upgraded) = upgraded.await {
                    let socket = upgrade::socket(TokioIo::new(upgraded)).await;
                    mux::run(Wire::Tunnel(socket), |opened, answers| pairs(opened, answers, ports)).await;
                }
            };
            Ok((upgrade::to_websocket(key, TUNNEL), carry.boxed()))
        }
        Wish::WebSocket { key, protocols } => {
            let protocol = Protocol::choose(protocols)?;
            let wanted = read_ports(query)?;
            let carry = async move {
                if let Ok(upgraded) = upgraded.await {
                    let socket = upgrade::socket(TokioIo::new(upgraded)).await;
                    channels(socket, protocol, &wanted, &ports).await;
                }
            };
            Ok((upgrade::to_websocket(key, protocol.name), carry.boxed()))
        }
        Wish::Spdy { protocols } => {
            if !protocols.is_empty() && !protocols.iter().any(|name| name == PROTOCOL) {
                return Err(unsupported(protocols, &[PROTOCOL]));
            }
            let carry = async move {
                if let Ok(upgraded) = upgraded.await {
                    let wire = Wire::Plain(TokioIo::new(upgraded));
                    mux::run(wire, |opened, answers| pairs(opened, answers, ports)).await;
                }
            };
            Ok((upgrade::to_spdy(PROTOCOL), carry.boxed()))
        }
    }
}

/// The ports that a client names in its request, as the kubelet reads them.
fn read_ports(query: &Query) -> Result<Vec<u16>, Status> {
    let texts: Vec<&str> = query.all("ports").flat_map(|value| value.split(',')).collect();
    if texts.iter().all(|text| text.is_empty()) {
        return Err(Status::bad_request("query parameter \"port\" is required"));
    }
    if texts.len() > PORTS_MAX {
        return Err(Status::bad_request(format!("more than {PORTS_MAX} ports")));
    }
    texts.into_iter().map(|text| read_port(text).map_err(Status::bad_request)).collect()
}

fn read_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(error) => Err(format!("unable to parse {text:?} as a port: {error}")),
    }
}

/// The two streams of a connection, as far as they are there.
#[derive(Default)]
struct Pair {
    data: Option<Opened>,
    error: Option<Opened>,
}

/// Makes a connection for every two streams, `data` and `error`, that belong together.
async fn pairs(mut opened: mpsc::Receiver<Opened>, answers: Answers, ports: Ports) {
    let mut waiting: BTreeMap<String, Pair> = BTreeMap::new();
    let mut under_way = FuturesUnordered::new();
    loop {
        let stream = tokio::select! {
            stream = opened.recv(), if under_way.len() < PORTS_MAX => stream,
            Some(()) = under_way.next(), if !under_way.is_empty() => continue,
        };
        let Some(stream) = stream else { return };
        let Some((id, port)) = accept(&stream) else {
            let _ = answers.send(Answered::Reset(stream.id)).await;
            continue;
        };
        if answers.send(Answered::Reply(stream.id)).await.is_err() {
            return;
        }
        let pair = waiting.entry(id.clone()).or_default();
        if stream.header("streamtype") == Some("error") {
            pair.error = Some(stream);
        } else {
            pair.data = Some(stream);
        }
        if let Pair { data: Some(_), error: Some(_) } = pair
            && let Some(Pair { data: Some(data), error: Some(error) }) = waiting.remove(&id)
        {
            under_way.push(pair_up(data, error, port, answers.clone(), ports.clone()).boxed());
        } else if waiting.len() > PORTS_MAX
            && let Some((_, pair)) = waiting.pop_first()
        {
            for half in [pair.data, pair.error].into_iter().flatten() {
                let _ = answers.send(Answered::Reset(half.id)).await;
            }
        }
    }
}

/// The connection that a stream belongs to, and its port. `None`: it is none of ours.
fn accept(stream: &Opened) -> Option<(String, u16)> {
    let port = read_port(stream.header("port")?).ok()?;
    let number = match stream.header("streamtype")? {
        "data" => stream.id.checked_sub(2)?,
        "error" => stream.id,
        _ => return None,
    };
    // Clients that number nothing open the error stream just before the other.
    let id = stream.header("requestid").map_or_else(|| format!("stream {number}"), str::to_owned);
    Some((id, port))
}

/// Where the bytes go that a port says.
trait Taker: Send {
    /// Takes some; `false`: nobody takes them any more.
    fn take(&mut self, bytes: Bytes) -> impl Future<Output = bool> + Send;
}

/// A stream of a SPDY connection.
struct ToStream(Answers, StreamId);

impl Taker for ToStream {
    async fn take(&mut self, bytes: Bytes) -> bool {
        self.0.send(Answered::Data(self.1, bytes)).await.is_ok()
    }
}

/// A channel of a WebSocket that has others, too.
struct ToChannel(Arc<Mutex<SplitSink<Socket, Message>>>, Protocol, u8);

impl Taker for ToChannel {
    async fn take(&mut self, bytes: Bytes) -> bool {
        self.0.lock().await.send(self.1.message(self.2, &bytes)).await.is_ok()
    }
}

async fn pair_up(data: Opened, error: Opened, port: u16, answers: Answers, ports: Ports) {
    match ports.connect(port).await {
        Ok(connection) => {
            let failed = join(connection, data.parts, ToStream(answers.clone(), data.id)).await;
            if let Some(why) = failed {
                let _ = answers.send(Answered::Data(error.id, why.into())).await;
            }
        }
        Err(why) => drop(answers.send(Answered::Data(error.id, why.into())).await),
    }
    let _ = answers.send(Answered::End(data.id)).await;
    let _ = answers.send(Answered::End(error.id)).await;
}

/// Carries bytes both ways until the port has closed, or the client has given up. Answers with what went wrong.
async fn join(
    connection: Connection,
    mut parts: mpsc::Receiver<Part>,
    mut to_client: impl Taker,
) -> Option<String> {
    let Connection { mut input, mut output } = connection;
    let feed = async {
        loop {
            match parts.recv().await {
                Some(Part::Bytes(bytes)) => {
                    if input.send(bytes).await.is_err() {
                        break;
                    }
                }
                Some(Part::End) => {
                    input.finish().await;
                    break;
                }
                None => return,
            }
        }
        // What comes back still counts; who closes the connection is the port.
        while parts.recv().await.is_some() {}
        std::future::pending::<()>().await;
    };
    let drain = async {
        while let Some(item) = output.next().await {
            match item {
                Ok(bytes) => {
                    if !to_client.take(bytes).await {
                        return None;
                    }
                }
                Err(error) => return Some(error.to_string()),
            }
        }
        None
    };
    match select(pin!(drain), pin!(feed)).await {
        Either::Left((failed, _)) => failed,
        Either::Right(((), _)) => None,
    }
}

/// One connection for each port, each with a channel for data and one for what went wrong.
async fn channels(socket: Socket, protocol: Protocol, wanted: &[u16], ports: &Ports) {
    let (sink, mut source) = socket.split();
    let sink = Arc::new(Mutex::new(sink));
    let mut readers = Vec::new();
    let mut connections = Vec::new();
    for (port, channel) in wanted.iter().zip((0..=u8::MAX).step_by(2)) {
        let to_data = ToChannel(sink.clone(), protocol, channel);
        let to_error = ToChannel(sink.clone(), protocol, channel + 1);
        let (sender, parts) = mpsc::channel(16);
        readers.push(sender);
        connections.push(channel_pair(*port, to_data, to_error, parts, ports.clone()).boxed());
    }
    let reading = async {
        while let Some(Ok(message)) = source.next().await {
            let Some((channel, bytes)) = protocol.read(message) else { continue };
            let reader = (channel % 2 == 0).then(|| readers.get(usize::from(channel / 2))).flatten();
            if let Some(reader) = reader
                && !bytes.is_empty()
            {
                let _ = reader.send(Part::Bytes(bytes)).await;
            }
        }
    };
    let over = match select(join_all(connections), pin!(reading)).await {
        Either::Left(_) => true,
        Either::Right(_) => false,
    };
    if over && let Some(sink) = Arc::into_inner(sink) {
        goodbye(sink.into_inner(), source).await;
    }
}

async fn channel_pair(
    port: u16,
    mut to_data: ToChannel,
    mut to_error: ToChannel,
    parts: mpsc::Receiver<Part>,
    ports: Ports,
) {
    // Each channel begins with its port, the lower byte first.
    let begin = Bytes::copy_from_slice(&port.to_le_bytes());
    if !to_data.take(begin.clone()).await || !to_error.take(begin).await {
        return;
    }
    let failed = match ports.connect(port).await {
        Ok(connection) => join(connection, parts, to_data).await,
        Err(why) => Some(why),
    };
    if let Some(why) = failed {
        to_error.take(why.into()).await;
    }
}
