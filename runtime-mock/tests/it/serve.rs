//! Containers that answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use orlop_core::runtime::{
    ContainerId, ContainerSpec, ImagePull, LogOptions, Port, Protocol, Runtime, RuntimeError, SandboxSpec,
};
use orlop_core::{Clock, Timestamp};
use orlop_runtime_mock::{MockRuntime, Policy, Script};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Tokio's clock, which is the test's.
struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        thread_local!(static BEGUN: tokio::time::Instant = tokio::time::Instant::now());
        Timestamp::from_secs(1000) + BEGUN.with(|begun| begun.elapsed())
    }

    fn sleep_until(&self, at: Timestamp) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(at.since(self.now())))
    }
}

const HOME: Ipv4Addr = Ipv4Addr::new(127, 244, 77, 3);

async fn start(runtime: &MockRuntime, uid: &str, port: u16) -> Result<ContainerId, RuntimeError> {
    let pull = ImagePull { image: "web:1".into(), ..ImagePull::default() };
    runtime.pull_image(&pull).await?;
    let sandbox = SandboxSpec {
        uid: uid.into(),
        namespace: "default".into(),
        name: uid.into(),
        node: "worker-1".into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 244, 77, 3))],
        bind: Some(IpAddr::V4(HOME)),
        ..SandboxSpec::default()
    };
    let sandbox = runtime.create_sandbox(&sandbox).await?;
    let port = |protocol| Port { container: 80, bind: port, protocol, ..Port::default() };
    let spec = ContainerSpec {
        name: "main".into(),
        image: "web:1".into(),
        ports: vec![port(Protocol::Tcp), port(Protocol::Udp)],
        ..ContainerSpec::default()
    };
    let id = runtime.create_container(&sandbox, &spec).await?;
    runtime.start_container(&id).await.map(|_| id)
}

fn serving(script: Script) -> MockRuntime {
    MockRuntime::serving(Policy::all(script.start_up(Duration::ZERO)), Arc::new(TokioClock))
}

async fn get(stream: &mut TcpStream, path: &str, more: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: web\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test);
}

#[test]
fn tells_which_pod_answered() {
    run(async {
        let runtime = serving(Script::server());
        let id = start(&runtime, "web-1", 8181).await.unwrap();
        let mut stream = TcpStream::connect((HOME, 8181)).await.unwrap();
        let text = get(&mut stream, "/a?b=c", "").await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        assert!(
            text.contains(
                "pod default/web-1 on worker-1\ncontainer main (web:1) at 10.244.77.3:80\nGET /a?b=c"
            )
        );
        let json = get(&mut stream, "/", "accept: application/json\r\n").await.unwrap();
        assert!(json.contains(r#""pod":"web-1""#), "{json}");

        let udp = UdpSocket::bind((HOME, 0)).await.unwrap();
        udp.send_to(b"ping", (HOME, 8181)).await.unwrap();
        let mut buffer = [0; 16];
        let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&b"ping"[..], SocketAddr::from((HOME, 8181))));

        let logs = runtime.logs(&id, &LogOptions::default()).await.unwrap();
        let lines: Vec<_> = futures_util::StreamExt::collect(logs).await;
        let lines: Vec<_> = lines.into_iter().map(|line| line.unwrap().text).collect();
        assert_eq!(lines, ["GET /a?b=c 200\n", "GET / 200\n"]);
    });
}

#[test]
fn a_port_in_use_is_an_error_of_the_start() {
    run(async {
        let _taken = std::net::TcpListener::bind((HOME, 8182)).unwrap();
        let runtime = serving(Script::server());
        let refused = start(&runtime, "web-1", 8182).await;
        let Err(RuntimeError::StartFailed(message)) = refused else { panic!("{refused:?}") };
        assert!(
            message.contains("container \"main\" cannot listen on 127.244.77.3:8182 for its port 80"),
            "{message}"
        );
    });
}

/// On a busy machine a container may end before it has accepted who had already come; these were reset.
#[test]
fn who_came_before_the_end_is_answered() {
    run(async {
        let runtime = serving(Script::server().stops(Some(Duration::from_millis(50))));
        let id = start(&runtime, "web-1", 8186).await.unwrap();
        runtime.stop_container(&id, Duration::from_secs(30)).await.unwrap();
        // Nothing else runs from here to the end.
        std::thread::sleep(Duration::from_millis(100));
        let stream = std::net::TcpStream::connect((HOME, 8186)).unwrap();
        runtime.list().await.unwrap();
        stream.set_nonblocking(true).unwrap();
        let answer = get(&mut TcpStream::from_std(stream).unwrap(), "/", "").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(TcpStream::connect((HOME, 8186)).await.is_err(), "the port is closed");
    });
}

/// A client that keeps its connection must not be cut off by a rolling update: from the stop on each answer asks it
/// to connect anew, new connections are taken until the end, and one that was idle meanwhile gets one more answer.
#[test]
fn nobody_is_cut_off_when_a_container_ends() {
    run(async {
        let runtime = serving(Script::server().stops(Some(Duration::from_millis(200))));
        let id = start(&runtime, "web-1", 8183).await.unwrap();
        let mut busy = TcpStream::connect((HOME, 8183)).await.unwrap();
        let mut idle = TcpStream::connect((HOME, 8183)).await.unwrap();
        for stream in [&mut busy, &mut idle] {
            let before = get(stream, "/", "").await.unwrap();
            assert!(!before.contains("connection: close"), "{before}");
        }
        runtime.stop_container(&id, Duration::from_secs(30)).await.unwrap();
        let mut new = TcpStream::connect((HOME, 8183)).await.unwrap();
        for stream in [&mut busy, &mut new] {
            let answer = get(stream, "/", "").await.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"),
                "{answer}"
            );
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        runtime.list().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(TcpStream::connect((HOME, 8183)).await.is_err(), "the port is closed");
        let answer = get(&mut idle, "/", "").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");
        // Its successor gets the port at once.
        start(&runtime, "web-2", 8183).await.unwrap();
    });
}

#[test]
fn a_killed_container_breaks_its_connections() {
    run(async {
        let runtime = serving(Script::server());
        let id = start(&runtime, "web-1", 8184).await.unwrap();
        let mut stream = TcpStream::connect((HOME, 8184)).await.unwrap();
        get(&mut stream, "/", "").await.unwrap();
        runtime.kill_container(&id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(get(&mut stream, "/", "").await.unwrap_or_default(), "");
    });
}
