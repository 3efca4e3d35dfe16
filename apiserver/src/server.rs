//! Serves connections: TLS, HTTP/1.1 and HTTP/2, until told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use orlop_api::User;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::audit::Peer;
use crate::auth::user_of_certificate;
use crate::body::AnswerBody;
use crate::limits::{Greeting, Limits, Stalling, Timely};
use crate::pace::Paced;
use crate::shell::Shell;

/// How long requests under way may take once the server is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that is bound to its address.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shell: Shell,
    limits: Limits,
}

impl Server {
    /// Binds to `address`; port 0 takes a free one. Without `tls`, connections are plain.
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<rustls::ServerConfig>,
        shell: Shell,
    ) -> std::io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        Ok(Server::new(listener, tls, shell))
    }

    /// Serves on a socket that is bound already and does not block.
    ///
    /// # Errors
    /// The operating system's.
    pub fn from_std(
        listener: std::net::TcpListener,
        tls: Option<rustls::ServerConfig>,
        shell: Shell,
    ) -> std::io::Result<Server> {
        let listener = TcpListener::from_std(listener)?;
        Ok(Server::new(listener, tls, shell))
    }

    fn new(listener: TcpListener, tls: Option<rustls::ServerConfig>, shell: Shell) -> Server {
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        Server { listener, tls, shell, limits: Limits::default() }
    }

    /// Gives clients other times than usual.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Server {
        Server { limits, ..self }
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` completes; then ends watches, lets other requests finish for a few seconds, and returns.
    ///
    /// # Cancellation
    /// Dropped, it ends all its connections at once.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    while connections.try_join_next().is_some() {}
                    let (tls, shell, watcher) = (self.tls.clone(), self.shell.clone(), graceful.watcher());
                    let limits = self.limits;
                    connections.spawn(async move {
                        if let Err(error) = connection(stream, peer, tls, shell, watcher, limits).await {
                            debug!(%peer, %error, "connection ended");
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already: neither ends the server.
                    debug!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        drop(self.listener);
        self.shell.close();
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    shell: Shell,
    watcher: hyper_util::server::graceful::Watcher,
    limits: Limits,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    // A client that has vanished says nothing: its silent watch would stay for ever.
    let probes = TcpKeepalive::new().with_time(limits.keep_alive).with_interval(limits.keep_alive);
    SockRef::from(&stream).set_tcp_keepalive(&probes)?;
    let stream = Stalling::new(stream, limits.stall);
    match tls {
        None => serve(stream, peer, shell, None, watcher, limits).await,
        Some(acceptor) => {
            let stream = tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await??;
            let user = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|chain| chain.first())
                .and_then(|certificate| user_of_certificate(certificate));
            serve(stream, peer, shell, user, watcher, limits).await
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    shell: Shell,
    user: Option<User>,
    watcher: hyper_util::server::graceful::Watcher,
    limits: Limits,
) -> Result<(), BoxError> {
    let user = user.map(Arc::new);
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (shell, user) = (shell.clone(), user.clone());
        let mut request = request.map(|body| Timely::new(body, limits.body));
        if shell.is_audited() {
            request.extensions_mut().insert(Peer(peer));
        }
        async move {
            let answer = shell.handle(request, user.as_deref()).await;
            // What has no length goes on: watches, and logs that are followed.
            Ok::<_, Infallible>(match answer.body().size_hint().exact() {
                Some(_) => answer,
                None => answer.map(|body| AnswerBody::new(Paced::new(body))),
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(limits.keep_alive))
        .max_concurrent_streams(250);
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(Greeting::new(stream, limits.head)), service)
        .into_owned();
    watcher.watch(connection).await
}
