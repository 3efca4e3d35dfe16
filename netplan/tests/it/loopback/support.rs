//! Servers, clients and a clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orlop_core::{Clock, Entropy, ManualClock, Timestamp};
use orlop_netplan::loopback::{Claim, Options, claim};
use orlop_netplan::{Mirror, Networks};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// A part of 127/8 for one test, so that tests run side by side.
pub(crate) struct Local {
    pub(crate) mirror: Mirror,
    pub(crate) clock: ManualClock,
    _claim: Claim,
}

impl Local {
    pub(crate) fn new() -> Local {
        let (mirror, claim) = claim(&Networks::default()).unwrap();
        Local { mirror, clock: ManualClock::at(Timestamp::from_secs(1000)), _claim: claim }
    }

    pub(crate) fn of(&self, socket: &str) -> SocketAddr {
        let socket: SocketAddr = socket.parse().unwrap();
        SocketAddr::new(self.mirror.of(socket.ip()).unwrap(), socket.port())
    }
}

/// A plane without Ingress and DNS.
pub(crate) fn options(local: &Local) -> Options {
    let clock: Arc<dyn Clock> = Arc::new(local.clock.clone());
    Options {
        ingress: None,
        linger: Duration::from_millis(100),
        ..Options::new(local.mirror.clone(), clock, Entropy::seeded(1))
    }
}

/// Ends what it holds, and all connections of it.
pub(crate) struct Server(#[expect(dead_code, reason = "its end ends the tasks")] tokio::task::JoinSet<()>);

/// Listens; waits for a server that is still ending there.
pub(crate) async fn listen(at: SocketAddr) -> TcpListener {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind(at).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    TcpListener::bind(at).await.unwrap()
}

/// Answers each line with its name.
pub(crate) async fn line_server(at: SocketAddr, name: &str) -> Server {
    let listener = listen(at).await;
    let name = format!("{name}\n");
    server(listener, move |stream| {
        let name = name.clone();
        async move {
            let mut stream = BufStream::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|n| n > 0) {
                if stream.write_all(name.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
                line.clear();
            }
        }
    })
}

/// Serves each connection with `serve`.
pub(crate) fn server<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(serve(stream));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Server(tasks)
}

/// Sends everything, says that it is done, and reads to the end.
pub(crate) async fn exchange(at: SocketAddr, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer))
        .await
        .map_err(|_| std::io::ErrorKind::TimedOut)??;
    Ok(answer)
}
