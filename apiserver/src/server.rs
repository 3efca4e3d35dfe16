//! Serves connections: TLS, HTTP/1.1 and HTTP/2, until told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use orlop_api::User;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::auth::user_of_certificate;
use crate::shell::Shell;

/// How long a client may take for its TLS handshake and for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may take once the server is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that is bound to its address.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shell: Shell,
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
        Ok(Server { listener, tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))), shell })
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
        Ok(Server { listener, tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))), shell })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` completes; then ends watches, lets other requests finish for a few seconds, and returns.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (tls, shell, watcher) = (self.tls.clone(), self.shell.clone(), graceful.watcher());
                    tokio::spawn(async move {
                        if let Err(error) = connection(stream, tls, shell, watcher).await {
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
    tls: Option<TlsAcceptor>,
    shell: Shell,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    match tls {
        None => serve(stream, shell, None, watcher).await,
        Some(acceptor) => {
            let stream = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await??;
            let user = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|chain| chain.first())
                .and_then(|certificate| user_of_certificate(certificate));
            serve(stream, shell, user, watcher).await
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shell: Shell,
    user: Option<User>,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), BoxError> {
    let user = user.map(Arc::new);
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (shell, user) = (shell.clone(), user.clone());
        async move { Ok::<_, Infallible>(shell.handle(request, user.as_deref()).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_concurrent_streams(250);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    watcher.watch(connection).await
}
