//! A small client for questions to a running cluster: reads a kubeconfig, asks with GET.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use orlop::base::yaml;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A cluster that is asked.
pub(crate) struct Client {
    host: String,
    port: u16,
    tls: TlsConnector,
    token: Option<String>,
    /// The namespace of the kubeconfig's context.
    pub(crate) namespace: String,
}

impl Client {
    /// The cluster of the kubeconfig's current context.
    ///
    /// # Errors
    /// Says what of the file cannot be used.
    pub(crate) fn of(path: &Path) -> Result<Client, String> {
        let file = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("{file}: the kubeconfig cannot be read: {error}; name another with --kubeconfig PATH")
        })?;
        let config = yaml::decode(&text).map_err(|error| format!("{file}: {error}"))?.value;
        Client::from_config(&config, path.parent().unwrap_or(Path::new("")))
            .map_err(|what| format!("{file}: {what}"))
    }

    fn from_config(config: &Value, folder: &Path) -> Result<Client, String> {
        let named = |list: &str, name: &str, field: &str| -> Result<Value, String> {
            let items = config[list].as_array().into_iter().flatten();
            let found = items.into_iter().find(|item| item["name"] == name);
            found.map(|item| item[field].clone()).ok_or_else(|| format!("{list} has no {name:?}"))
        };
        let current = config["current-context"].as_str().ok_or("current-context is missing")?;
        let context = named("contexts", current, "context")?;
        let name = |field: &str| context[field].as_str().unwrap_or_default();
        let cluster = named("clusters", name("cluster"), "cluster")?;
        let user = named("users", name("user"), "user")?;

        let server = cluster["server"].as_str().ok_or("the cluster's server is missing")?;
        let uri: hyper::Uri = server.parse().map_err(|error| format!("server {server:?}: {error}"))?;
        if uri.scheme_str() != Some("https") {
            return Err(format!("server {server:?}: only https is spoken"));
        }
        let host = uri.host().ok_or("the server has no host")?.trim_matches(['[', ']']).to_owned();

        let mut roots = RootCertStore::empty();
        let authority =
            pem(&cluster, "certificate-authority", folder)?.ok_or("certificate-authority-data is missing")?;
        for certificate in certificates(&authority)? {
            roots.add(certificate).map_err(|error| format!("certificate-authority-data: {error}"))?;
        }
        let tls = ClientConfig::builder().with_root_certificates(roots);
        let certificate = pem(&user, "client-certificate", folder)?;
        let key = pem(&user, "client-key", folder)?;
        let tls = match certificate.zip(key) {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(&key)
                    .map_err(|error| format!("client-key-data: {error}"))?;
                tls.with_client_auth_cert(certificates(&certificate)?, key)
                    .map_err(|error| format!("client-certificate-data: {error}"))?
            }
            None => tls.with_no_client_auth(),
        };
        Ok(Client {
            host,
            port: uri.port_u16().unwrap_or(443),
            tls: TlsConnector::from(Arc::new(tls)),
            token: user["token"].as_str().map(str::to_owned),
            namespace: context["namespace"].as_str().unwrap_or("default").to_owned(),
        })
    }

    /// The object at a path; `None`: there is none.
    ///
    /// # Errors
    /// Says why there is no answer.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let (host, port) = (&self.host, self.port);
        let lost = |error: &dyn std::fmt::Display| format!("https://{host}:{port}{path}: {error}");
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| {
            format!("https://{host}:{port} does not answer: {error}; does the cluster run?")
        })?;
        let name = ServerName::try_from(host.clone()).map_err(|error| lost(&error))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| lost(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        let driving = tokio::spawn(connection);
        let mut request = hyper::Request::get(path)
            .header("host", format!("{host}:{port}"))
            .header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| lost(&error))?;
        let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| lost(&error))?.to_bytes();
        driving.abort();
        let value: Value = serde_json::from_slice(&body).map_err(|error| lost(&error))?;
        match status.as_u16() {
            200 => Ok(Some(value)),
            404 => Ok(None),
            _ => Err(lost(&value["message"].as_str().unwrap_or(status.as_str()))),
        }
    }

    /// The objects of a collection; of one that is not served, none.
    ///
    /// # Errors
    /// Says why there is no answer.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>, String> {
        let list = self.get(path).await?.unwrap_or_default();
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }
}

/// What stands under `field` as the name of a file, or under `field-data` in base 64.
fn pem(of: &Value, field: &str, folder: &Path) -> Result<Option<Vec<u8>>, String> {
    let data = format!("{field}-data");
    if let Some(text) = of[&data].as_str() {
        return STANDARD.decode(text).map(Some).map_err(|error| format!("{data}: {error}"));
    }
    let Some(file) = of[field].as_str() else { return Ok(None) };
    let path: PathBuf = folder.join(file);
    std::fs::read(&path).map(Some).map_err(|error| format!("{field} {}: {error}", path.display()))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a certificate cannot be read: {error}"))
}
