//! Clients that are slow, gone, or too many: the server keeps serving.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use orlop_api::node::{NoNodes, NodeGateway, PodAt, Session};
use orlop_api::{ByteStream, Config, LocalApi, LogOptions, Status};
use orlop_apiserver::pki::Authority;
use orlop_apiserver::{Authentication, Limits, Server, Shell};
use orlop_core::runtime::{ExecOutput, ExecSession};
use orlop_core::store::MemoryStore;
use orlop_core::{Entropy, ManualClock, Name, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server without TLS, impatient with its clients.
async fn served() -> Served {
    served_by(Arc::new(NoNodes), None).await
}

async fn served_by(nodes: Arc<dyn NodeGateway>, tls: Option<rustls::ServerConfig>) -> Served {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
    let config = Config { nodes, ..Config::default() };
    let api = LocalApi::new(MemoryStore::new(clock.clone()), clock.clone(), Entropy::seeded(1), config);
    api.bootstrap().await.expect("a new cluster");
    let authentication = Authentication { allow_anonymous: true, ..Authentication::default() };
    let shell = Shell::new(Arc::new(api), authentication, clock);
    let short = Duration::from_millis(300);
    let limits = Limits {
        handshake: short,
        head: short,
        body: short,
        stall: short,
        keep_alive: Duration::from_secs(1),
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(any, tls, shell).await.expect("a free port").limits(limits);
    let address = server.address().expect("an address");
    Served { address, task: tokio::spawn(server.run(std::future::pending())) }
}

impl Served {
    async fn connect(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(text.as_bytes()).await.expect("sent");
        stream
    }

    /// One request on a connection of its own: the status line's code and the body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        let stream = self
            .connect(&format!(
                "{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
        answer(stream).await
    }
}

/// All that comes, until the server closes.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A connection that is reset has ended, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    bytes
}

async fn answer(stream: TcpStream) -> (u16, String) {
    let text = String::from_utf8_lossy(&rest(stream).await).into_owned();
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (code, body)
}

fn refused(body: &str, code: u16, reason: &str) {
    let status: Value = serde_json::from_str(body).expect("a Status");
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&"Status".into(), &code.into(), &reason.into())
    );
}

#[tokio::test]
async fn who_never_ends_a_head_is_shown_the_door() {
    let served = served().await;
    let slow = served.connect("GET /api HTTP/1.1\r\nhost:").await;
    // Neither of these says which version of HTTP it speaks.
    let silent = served.connect("").await;
    let torn = served.connect("PRI * HTTP/2").await;
    assert_eq!(served.ask("GET", "/livez", "").await, (200, "ok".to_owned()));
    rest(slow).await;
    rest(silent).await;
    rest(torn).await;
    assert_eq!(served.ask("GET", "/livez", "").await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn who_never_ends_a_body_is_told_so() {
    let served = served().await;
    let head = "POST /api/v1/namespaces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let slow = served.connect(&format!("{head}content-length: 100\r\n\r\n{{\"kind\":")).await;
    let (code, body) = timeout(PATIENCE, answer(slow)).await.expect("an answer");
    assert_eq!(code, 504, "{body}");
    refused(&body, 504, "Timeout");
}

#[tokio::test]
async fn bodies_have_a_greatest_length() {
    let served = served().await;
    let large = format!("{{\"kind\": \"Namespace\", \"x\": \"{}\"}}", "x".repeat(3 << 20));
    let (code, body) = served.ask("POST", "/api/v1/namespaces", &large).await;
    assert_eq!(code, 413);
    refused(&body, 413, "RequestEntityTooLarge");
    let deep =
        format!("{{\"kind\": \"ConfigMap\", \"data\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let (code, body) = served.ask("POST", "/api/v1/namespaces/default/configmaps", &deep).await;
    assert_eq!(code, 400, "{body}");
    refused(&body, 400, "BadRequest");
}

/// A watcher that takes nothing would keep its connection, and what is written to it, for ever.
#[tokio::test]
async fn a_watcher_that_takes_nothing_is_closed() {
    let served = served().await;
    let watch = "GET /api/v1/namespaces/default/configmaps?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n";
    let stalled = served.connect(watch).await;
    let text = "x".repeat(900_000);
    // More than the kernel keeps for both ends of a connection.
    for n in 0..24 {
        let body = format!(
            "{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {{\"name\": \"m{n}\"}}, \"data\": {{\"x\": \"{text}\"}}}}"
        );
        let (code, answer) = served.ask("POST", "/api/v1/namespaces/default/configmaps", &body).await;
        assert_eq!(code, 201, "others are not held up: {answer:.200}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = rest(stalled).await;
    assert!(seen.len() < 24 * 900_000, "it was closed before it had seen everything");
    let (code, _) = served.ask("GET", "/readyz", "").await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn many_idle_connections_cost_nobody_else() {
    let served = served().await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(served.connect("").await);
    }
    assert_eq!(served.ask("GET", "/livez", "").await, (200, "ok".to_owned()));
    for stream in idle {
        rest(stream).await;
    }
}

/// A pod's sessions are refused in Kubernetes' words before any connection is upgraded.
#[tokio::test]
async fn sessions_are_refused_in_kubernetes_words() {
    let served = served().await;
    let pods = "/api/v1/namespaces/default/pods";
    let message = |body: &str| {
        serde_json::from_str::<Value>(body).map(|v| v["message"].as_str().unwrap_or_default().to_owned())
    };
    let (code, body) = served.ask("GET", &format!("{pods}/nobody/exec?command=ls&stdout=1"), "").await;
    assert_eq!((code, message(&body).expect("JSON")), (404, "pods \"nobody\" not found".to_owned()));

    let account = "{\"metadata\": {\"name\": \"default\"}}";
    served.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account).await;
    let pod = |name: &str, node: &str| {
        format!(
            "{{\"metadata\": {{\"name\": \"{name}\"}}, \"spec\": {{{node}\"containers\": [{{\"name\": \"a\", \"image\": \"i\"}}, {{\"name\": \"b\", \"image\": \"i\"}}]}}}}"
        )
    };
    for (name, node) in [("waiting", ""), ("placed", "\"nodeName\": \"n\", ")] {
        let (code, body) = served.ask("POST", pods, &pod(name, node)).await;
        assert_eq!(code, 201, "{body}");
    }
    // Nobody answers for a node that does not exist.
    for path in ["exec?command=ls&stdout=1&container=a", "portforward?ports=80", "log?container=a"] {
        let (code, body) = served.ask("GET", &format!("{pods}/placed/{path}"), "").await;
        assert_eq!(
            (code, message(&body).expect("JSON")),
            (404, "nodes \"n\" not found".to_owned()),
            "{path}"
        );
    }
    served.ask("POST", "/api/v1/nodes", "{\"metadata\": {\"name\": \"n\"}}").await;
    for (path, expected) in [
        ("waiting/exec?command=ls&stdout=1&container=a", "pod waiting does not have a host assigned"),
        (
            "placed/exec?command=ls&stdout=1",
            "a container name must be specified for pod placed, choose one of: [a b]",
        ),
        ("placed/attach?stdout=1&container=c", "container c is not valid for pod placed"),
        ("placed/exec?command=ls&stdout=1&container=a", "Upgrade request required"),
        ("placed/portforward?ports=80", "Upgrade request required"),
    ] {
        for method in ["GET", "POST"] {
            let (code, body) = served.ask(method, &format!("{pods}/{path}"), "").await;
            assert_eq!((code, message(&body).expect("JSON").as_str()), (400, expected), "{method} {path}");
        }
    }
    let (code, _) = served.ask("DELETE", &format!("{pods}/placed/exec"), "").await;
    assert_eq!(code, 405);
}

/// A node on which a log, and a command, say one word after a long silence.
struct Quiet;

const SILENCE: Duration = Duration::from_millis(1200);

async fn after_silence<T>(word: T) -> T {
    tokio::time::sleep(SILENCE).await;
    word
}

#[async_trait]
impl NodeGateway for Quiet {
    async fn logs(&self, _pod: &PodAt, _options: &LogOptions) -> Result<ByteStream, Status> {
        Ok(ByteStream::new(stream::once(after_silence(Ok(Bytes::from_static(b"late"))))))
    }

    async fn open(&self, _pod: &PodAt, _container: &Name, _session: &Session) -> Result<ExecSession, Status> {
        let word = Ok(ExecOutput::Stdout(Bytes::from_static(b"late")));
        Ok(ExecSession { input: None, output: Box::pin(stream::once(after_silence(word))) })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection is stalled when its client takes nothing of what there is, not when there is nothing to take: a quiet
/// watch, log or session lasts.
#[tokio::test]
async fn who_has_nothing_to_read_is_not_stalled() {
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()).expect("a time");
    let authority = Authority::generate(Timestamp::from_secs(now)).expect("an authority");
    let local = std::net::IpAddr::from([127, 0, 0, 1]);
    let identity = authority.server(&["localhost"], &[local]).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.certificate().as_bytes();
    roots.add_parsable_certificates(
        rustls::pki_types::pem::PemObject::pem_slice_iter(pem).filter_map(Result::ok),
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));

    for over_tls in [false, true] {
        let tls = over_tls.then(|| authority.tls(&identity).expect("TLS"));
        let served = served_by(Arc::new(Quiet), tls).await;
        let (address, connector) = (served.address, &connector);
        let connect = |text: String| async move {
            let tcp = TcpStream::connect(address).await.expect("a connection");
            let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
            let mut stream: Box<dyn Duplex> = match over_tls {
                true => Box::new(connector.connect(name, tcp).await.expect("TLS")),
                false => Box::new(tcp),
            };
            stream.write_all(text.as_bytes()).await.expect("sent");
            stream.flush().await.expect("sent");
            stream
        };
        let core = "/api/v1/namespaces/default";
        let create = |what: &str, body: &str| {
            let head = format!("POST {what} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
            connect(format!("{head}content-length: {}\r\n\r\n{body}", body.len()))
        };
        let pod = r#"{"metadata": {"name": "web"}, "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "i"}]}}"#;
        let node = r#"{"metadata": {"name": "n"}}"#;
        let account = r#"{"metadata": {"name": "default"}}"#;
        for (what, body) in [
            ("/api/v1/nodes", node),
            (&format!("{core}/serviceaccounts"), account),
            (&format!("{core}/pods"), pod),
        ] {
            contains(create(what, body).await, "HTTP/1.1 201").await;
        }
        let get =
            |path: &str, more: &str| connect(format!("GET {core}/{path} HTTP/1.1\r\nhost: x\r\n{more}\r\n"));
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n";
        let watch = get("configmaps?watch=1", "").await;
        let log = get("pods/web/log?follow=1", "").await;
        let session = get("pods/web/exec?command=x&stdout=1&container=a", upgrade).await;
        tokio::time::sleep(SILENCE).await;
        contains(
            create(&format!("{core}/configmaps"), r#"{"metadata": {"name": "late"}}"#).await,
            "HTTP/1.1 201",
        )
        .await;
        for stream in [watch, log, session] {
            contains(stream, "late").await;
        }
    }
}

/// Reads until `wanted` has come.
async fn contains(mut stream: Box<dyn Duplex>, wanted: &str) {
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(wanted) {
            let read = stream.read_buf(&mut bytes).await.expect("a connection that lasts");
            assert!(read > 0, "it ends with {:?}", String::from_utf8_lossy(&bytes));
        }
    };
    timeout(PATIENCE, reading).await.expect("it comes");
}
