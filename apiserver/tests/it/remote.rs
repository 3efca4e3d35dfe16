//! A server elsewhere, over TLS: `ORLOP_SERVER=https://127.0.0.1:6443`, started with the tokens of the recordings
//! (`ORLOP_TOKENS=FILE` writes them into a file and ends). `ORLOP_CA` names the file with its authority's certificate,
//! `ORLOP_SERVER_KIND` which of the recorded servers it stands for: `main`, the default, or `rbac`.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::conversations::Server;
use crate::local::TOKENS;
use crate::wire::{Asked, recorded};

/// How long a watch needs to be under way.
const UNDER_WAY: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Remote {
    runtime: tokio::runtime::Runtime,
    host: String,
    tls: Arc<rustls::ClientConfig>,
    open: Vec<Option<JoinHandle<Value>>>,
}

impl Remote {
    pub(crate) fn new(url: &str) -> Remote {
        let file =
            std::env::var("ORLOP_CA").expect("ORLOP_CA names the certificate of the server's authority");
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).expect("a file of certificates") {
            roots.add(certificate.expect("a certificate")).expect("an authority");
        }
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Remote {
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            host: url.trim_start_matches("https://").trim_end_matches('/').to_owned(),
            tls: Arc::new(tls),
            open: Vec::new(),
        }
    }

    fn start(&self, asked: &Asked) -> JoinHandle<Value> {
        let (host, tls, asked) = (self.host.clone(), self.tls.clone(), asked.clone());
        self.runtime.spawn(async move {
            let stream = TcpStream::connect(&host).await.expect("a connection");
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).to_owned();
            let name = ServerName::try_from(name).expect("a host");
            let stream = TlsConnector::from(tls).connect(name, stream).await.expect("a handshake");
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
            tokio::spawn(connection);
            let mut request = http::Request::builder().method(asked.method.as_str()).uri(&asked.path);
            request = request.header("host", &host);
            for (name, value) in &asked.headers {
                request = request.header(name, value);
            }
            let request = request.body(Full::new(asked.body.clone())).expect("a request");
            let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
            let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            recorded(&asked, &head, &body)
        })
    }
}

impl Server for Remote {
    fn send(&mut self, asked: &Asked) -> Value {
        let task = self.start(asked);
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, task).await });
        answer.expect("an answer in time").expect("an answer")
    }

    fn begin(&mut self, asked: &Asked) -> usize {
        let task = self.start(asked);
        self.open.push(Some(task));
        std::thread::sleep(UNDER_WAY);
        self.open.len() - 1
    }

    fn end(&mut self, watch: usize) -> Value {
        let task = self.open[watch].take().expect("ended once");
        self.runtime.block_on(task).expect("an answer")
    }

    fn pause(&mut self, time: Duration) -> bool {
        std::thread::sleep(time);
        true
    }
}

#[test]
fn tokens_for_a_server_elsewhere() {
    if let Ok(path) = std::env::var("ORLOP_TOKENS") {
        std::fs::write(path, TOKENS).expect("a file");
    }
    orlop_apiserver::TokenFile::parse(TOKENS).expect("well-formed");
}
