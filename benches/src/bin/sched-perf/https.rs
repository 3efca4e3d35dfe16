//! The API over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::full::{Door, TOKEN, bound_name};

/// One connection, as a client of the cluster has it.
pub(crate) struct Remote {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Remote {
    /// Connects to an address whose certificate an authority has signed, given in PEM.
    pub(crate) async fn connect(
        address: SocketAddr,
        authority: &str,
    ) -> Result<Remote, Box<dyn std::error::Error + Send + Sync>> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate?)?;
        }
        let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Remote { sender, host: address.to_string() })
    }

    async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Incoming, String> {
        let mut sender = self.sender.clone();
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.host))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        sender.ready().await.map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let code = response.status();
        if !code.is_success() {
            let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
            return Err(format!("{code}: {}", String::from_utf8_lossy(&body)));
        }
        Ok(response.into_body())
    }
}

impl Door for Remote {
    fn create(&self, pod: Value) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let body = self.send("POST", "/api/v1/namespaces/sched-1/pods", pod.to_string().into()).await?;
            body.collect().await.map(drop).map_err(|e| e.to_string())
        })
    }

    fn bound(&self) -> BoxFuture<'_, Result<BoxStream<'static, String>, String>> {
        Box::pin(async move {
            let body = self.send("GET", "/api/v1/namespaces/sched-1/pods?watch=true", Vec::new()).await?;
            let mut rest: Vec<u8> = Vec::new();
            let names = body.into_data_stream().flat_map(move |chunk| {
                rest.extend_from_slice(&chunk.unwrap_or_default());
                let mut names = Vec::new();
                let mut from = 0;
                while let Some(length) = rest[from..].iter().position(|byte| *byte == b'\n') {
                    names.extend(bound_name(&rest[from..from + length]));
                    from += length + 1;
                }
                rest.drain(..from);
                futures_util::stream::iter(names)
            });
            Ok(names.boxed())
        })
    }

    fn width(&self) -> usize {
        32
    }
}
