//! Thousands of clients that say nothing: the server keeps serving, and they cost little.
//!
//! `cargo test --release -p orlop-examples --test it idle -- --ignored --nocapture` measures the memory of connections
//! over TLS that have each been used once.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longer than anything here takes, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 10_000;
/// More than these connections cost would be a leak, bytes for each.
const COST_MAX: usize = 200 * 1024;

/// `orlop apiserver` in a process of its own, so that its memory is its own.
struct Server {
    child: Child,
    port: u16,
    tls: TlsConnector,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

impl Server {
    fn start() -> Server {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let kubeconfig = dir.path().join("config");
        let mut child = Command::new(env!("CARGO_BIN_EXE_orlop"))
            .args(["apiserver", "--secure-port", "0", "--authorization-mode", "RBAC", "--kubeconfig"])
            .arg(&kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("an address");
        let text = std::fs::read_to_string(&kubeconfig).expect("a kubeconfig");
        let config = orlop::base::yaml::decode(&text).expect("YAML").value;
        let pem =
            config["clusters"][0]["cluster"]["certificate-authority-data"].as_str().expect("a certificate");
        let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, pem).expect("base 64");
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Server { child, port, tls: TlsConnector::from(Arc::new(config)) }
    }

    async fn silent(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.expect("a connection")
    }

    async fn used_once(&self) -> Tls {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let mut stream = self.tls.connect(name, self.silent().await).await.expect("TLS");
        ask(&mut stream).await;
        stream
    }

    /// Resident memory, bytes.
    fn memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("what the process holds");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib * 1024
    }
}

/// One request, and its answer to the end.
async fn ask(stream: &mut Tls) {
    let exchange = async {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        // What a socket does not take at once waits within TLS for this.
        stream.flush().await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok") {
            let mut part = [0; 1024];
            let n = stream.read(&mut part).await.expect("an answer");
            assert!(n > 0, "it ends early: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..n]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("the server serves");
}

/// Whether this process may have so many connections; says so where it may not.
fn may_have(connections: usize) -> bool {
    let limit = getrlimit(Resource::Nofile);
    // What is refused shows below.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let limit = getrlimit(Resource::Nofile).current;
    let enough = limit.is_none_or(|limit| limit > connections as u64 + 500);
    if !enough {
        eprintln!("ignored: a process may have {limit:?} files open, too few for {connections} connections");
    }
    enough
}

/// Opens `silent` connections that say nothing and `used` ones that rest after one request; then the server must serve
/// both who is new and who has rested. Answers with the memory that one connection costs, bytes.
async fn rest(silent: usize, used: usize) -> usize {
    let server = Server::start();
    let mut first = server.used_once().await;
    let before = server.memory();
    let quiet: Vec<TcpStream> =
        stream::iter(0..silent).map(|_| server.silent()).buffer_unordered(64).collect().await;
    let mut rested: Vec<Tls> =
        stream::iter(0..used).map(|_| server.used_once()).buffer_unordered(16).collect().await;
    drop(server.used_once().await);
    ask(&mut first).await;
    if let Some(stream) = rested.last_mut() {
        ask(stream).await;
    }
    let cost = server.memory().saturating_sub(before) / (silent + used);
    println!("{silent} silent and {used} used connections: {cost} bytes each");
    drop(quiet);
    cost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_cost_nobody_else() {
    if may_have(CONNECTIONS) {
        let cost = rest(CONNECTIONS - 200, 200).await;
        assert!(cost < COST_MAX, "{cost} bytes for each");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a while without optimisation: it measures"]
async fn memory_of_idle_connections_over_tls() {
    if may_have(CONNECTIONS) {
        let cost = rest(0, CONNECTIONS).await;
        assert!(cost < COST_MAX, "{cost} bytes for each");
    }
}
