//! TCP: accept, choose, connect, copy both ways.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::Shared;
use super::backend::{Backend, Pick};
use super::fronts::Entrance;
use crate::balance::Flow;

/// How long an endpoint may take to accept; on loopback it answers at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves one listener until the task is dropped. Connections go on without it.
pub(super) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    backend: Arc<Backend>,
    entrance: Entrance,
    wanted: SocketAddr,
) {
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                let flow = Flow::new(peer, wanted);
                let connection = connection(
                    Arc::clone(&shared),
                    Arc::clone(&backend),
                    entrance.clone(),
                    client,
                    flow,
                    peer,
                );
                tokio::spawn(connection);
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(
    shared: Arc<Shared>,
    backend: Arc<Backend>,
    entrance: Entrance,
    mut client: TcpStream,
    flow: Flow,
    peer: SocketAddr,
) {
    let Ok((mut server, pick)) = connect(&backend, &entrance, &flow, peer).await else {
        // As if nobody listened.
        reset(&client);
        return;
    };
    drop(backend);
    let _ = client.set_nodelay(true);
    let (mut closed, linger) = (shared.closed.clone(), shared.options.linger);
    drop(shared);
    tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut server) => {
            // What one side broke off must not look complete to the other.
            if copied.is_err() {
                reset(&client);
                reset(&server);
            }
        }
        () = pick.gone(linger) => reset(&client),
        _ = closed.changed() => {}
    }
}

fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// A connection to an endpoint, the first one that takes it.
///
/// # Errors
/// That of the last one tried, or `NotConnected` if there is none.
pub(super) async fn connect(
    backend: &Backend,
    entrance: &Entrance,
    flow: &Flow,
    peer: SocketAddr,
) -> io::Result<(TcpStream, Pick)> {
    let mut tried = Vec::new();
    let mut last = io::Error::new(io::ErrorKind::NotConnected, "no endpoint is ready");
    while let Some(pick) = backend.pick(flow, entrance.way, entrance.node.as_ref(), &tried) {
        match tokio::time::timeout(CONNECT_TIMEOUT, dial(pick.target.at, peer.ip())).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok((stream, pick));
            }
            Ok(Err(e)) => last = e,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
        tried.push(pick.target.at);
    }
    Err(last)
}

/// Connects, as `client` if that is an address of loopback, so that the endpoint sees who calls.
async fn dial(target: SocketAddr, client: IpAddr) -> io::Result<TcpStream> {
    if client == Ipv4Addr::LOCALHOST || !client.is_loopback() || !target.ip().is_loopback() {
        return TcpStream::connect(target).await;
    }
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(client, 0))?;
    socket.connect(target).await
}
