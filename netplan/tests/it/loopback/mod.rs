//! The loopback data plane, with real sockets.

mod dns;
mod figures;
mod ingress;
mod proxy;
mod support;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orlop_netplan::conformance::{Connection, Fixture, suite};
use orlop_netplan::loopback::Loopback;
use orlop_netplan::{DataPlane, Mirror};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use support::{Local, line_server, options};

struct Planes {
    local: Local,
}

struct Client(BufStream<TcpStream>);

#[async_trait]
impl Connection for Client {
    async fn ask(&mut self) -> io::Result<String> {
        self.0.write_all(b"who\n").await?;
        self.0.flush().await?;
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

#[async_trait]
impl Fixture for Planes {
    fn plane(&self) -> Arc<dyn DataPlane> {
        Arc::new(Loopback::start(options(&self.local)))
    }

    fn service(&self) -> IpAddr {
        "10.96.0.20".parse().unwrap()
    }

    fn pods(&self) -> [IpAddr; 3] {
        ["10.244.1.2", "10.244.1.3", "10.244.2.2"].map(|ip| ip.parse().unwrap())
    }

    async fn serve(&self, pod: SocketAddr, name: &str) -> Box<dyn Send + Sync> {
        Box::new(line_server(mirrored(&self.local.mirror, pod), name).await)
    }

    async fn connect(&self, at: SocketAddr) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(Client(BufStream::new(TcpStream::connect(at).await?))))
    }

    async fn tick(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn mirrored(mirror: &Mirror, socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(mirror.of(socket.ip()).unwrap(), socket.port())
}

#[tokio::test]
async fn keeps_what_a_data_plane_promises() {
    suite(&Planes { local: Local::new() }).await;
}
