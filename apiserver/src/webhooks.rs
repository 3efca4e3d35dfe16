//! The way to admission webhooks: HTTPS, to an address or to a Service's cluster address.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use orlop_api::admission::{Webhook, WebhookClient};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longer answers are refused, bytes.
const ANSWER_MAX: usize = 4 << 20;

/// So many bundles' configurations are kept; with one more, all are made anew.
const KNOWN_MAX: usize = 256;

/// What TLS needs, by the bundle of certificates that it trusts.
type Known = BTreeMap<Arc<[u8]>, Arc<rustls::ClientConfig>>;

/// Calls webhooks over HTTPS, one connection for each call. A webhook is trusted by the certificates of its own
/// `caBundle`, and by those that are given here for all.
///
/// What TLS needs is made once for each bundle; by it the sessions of earlier connections are resumed, too. Clones
/// share it.
#[derive(Clone, Debug, Default)]
pub struct HttpsWebhooks {
    trusted: Vec<CertificateDer<'static>>,
    known: Arc<Mutex<Known>>,
}

impl HttpsWebhooks {
    /// Trusts also what these certificates, in PEM, have signed.
    pub fn trusting(pem: &[u8]) -> HttpsWebhooks {
        let trusted = CertificateDer::pem_slice_iter(pem).flatten().collect();
        HttpsWebhooks { trusted, known: Arc::default() }
    }

    fn tls(&self, webhook: &Webhook) -> Result<Arc<rustls::ClientConfig>, String> {
        if let Some(known) = self.known.lock().get(&webhook.ca_bundle) {
            return Ok(known.clone());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.trusted.iter().cloned());
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&webhook.ca_bundle).flatten());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(webhook.ca_bundle.clone(), config.clone());
        Ok(config)
    }

    async fn exchange(&self, webhook: &Webhook, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let uri: Uri = webhook.url.parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
        let host = uri.host().ok_or("the address names no host")?.to_owned();
        let (to, port) = match &webhook.connect {
            Some((to, port)) => (to.clone(), *port),
            None => (host.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(443)),
        };
        let tcp = TcpStream::connect((to.as_str(), port))
            .await
            .map_err(|e| format!("dial tcp {to}:{port}: {e}"))?;
        let name =
            ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|e| e.to_string())?;
        let tls = TlsConnector::from(self.tls(webhook)?);
        let stream = tls.connect(name, tcp).await.map_err(|e| format!("tls: {e}"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        // It ends with the answer, or with the sender.
        let carried = tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, uri.authority().map_or(host.as_str(), |a| a.as_str()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status();
        let answer =
            Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|e| e.to_string())?;
        carried.abort();
        if !status.is_success() {
            return Err(format!("the server answered {status}"));
        }
        Ok(answer.to_bytes().to_vec())
    }
}

#[async_trait]
impl WebhookClient for HttpsWebhooks {
    async fn call(&self, webhook: &Webhook, body: Vec<u8>) -> Result<Vec<u8>, String> {
        match tokio::time::timeout(webhook.timeout, self.exchange(webhook, body)).await {
            Ok(answer) => answer,
            Err(_) => Err("context deadline exceeded".into()),
        }
    }
}
