//! As little of HTTP/1.1 as a load needs: what the client spends, the server lacks.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Outcome;

/// A server, and who asks.
#[derive(Clone)]
pub(crate) struct Target {
    address: String,
    host: String,
    tls: Option<TlsConnector>,
    token: String,
}

impl Target {
    pub(crate) fn new(url: &str, token: &str, ca: Option<&Path>, insecure: bool) -> Outcome<Target> {
        let (scheme, rest) = url.split_once("://").ok_or("a server is an URL, https://HOST:PORT")?;
        let address = rest.trim_end_matches('/').to_owned();
        let host =
            address.rsplit_once(':').ok_or("the URL names no port")?.0.trim_matches(['[', ']']).to_owned();
        let tls = (scheme == "https").then(|| config(ca, insecure)).transpose()?;
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Target { address, host, tls, token: token.to_owned() })
    }

    /// A request, whole.
    pub(crate) fn request(&self, method: &str, path: &str, accept: &str, body: &str) -> Vec<u8> {
        let bearer = match self.token.as_str() {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{bearer}Accept: {accept}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .into_bytes()
    }

    pub(crate) async fn connect(&self) -> Outcome<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(ServerName::try_from(self.host.clone())?, stream).await?),
        };
        Ok(Connection { stream, buffer: Vec::with_capacity(1 << 16) })
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that is kept.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    /// What was read and not used yet.
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads its answer: the status, and how long the body was.
    pub(crate) async fn call(&mut self, request: &[u8]) -> io::Result<(u16, usize)> {
        let (status, length) = self.send(request).await?;
        match length {
            Some(length) => {
                self.skip(length).await?;
                Ok((status, length))
            }
            None => Ok((status, self.chunks().await?)),
        }
    }

    /// Sends a request and reads the head of its answer: the status, and the length of the body where it is told.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<(u16, Option<usize>)> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = str::from_utf8(&self.buffer[..end]).map_err(io::Error::other)?;
        let broken = || io::Error::other("not an answer of HTTP/1.1");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(broken)?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        self.buffer.drain(..end);
        Ok((status, length))
    }

    /// Whatever comes next.
    pub(crate) async fn read<'a>(&mut self, into: &'a mut [u8]) -> io::Result<&'a [u8]> {
        if !self.buffer.is_empty() {
            let len = self.buffer.len().min(into.len());
            into[..len].copy_from_slice(&self.buffer[..len]);
            self.buffer.drain(..len);
            return Ok(&into[..len]);
        }
        let len = self.stream.read(into).await?;
        Ok(&into[..len])
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn skip(&mut self, length: usize) -> io::Result<()> {
        let mut left = length;
        loop {
            let here = self.buffer.len().min(left);
            if here == self.buffer.len() {
                self.buffer.clear()
            } else {
                drop(self.buffer.drain(..here))
            }
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    async fn chunks(&mut self) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let end = loop {
                if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    break at;
                }
                self.fill().await?;
            };
            let text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            let size = usize::from_str_radix(text.trim(), 16).map_err(io::Error::other)?;
            self.buffer.drain(..end + 2);
            self.skip(size + 2).await?;
            total += size;
            if size == 0 {
                return Ok(total);
            }
        }
    }
}

fn config(ca: Option<&Path>, insecure: bool) -> Outcome<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    if insecure {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    let ca = ca.ok_or("https needs --ca FILE or --insecure")?;
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// For servers on this machine whose authority is not at hand.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
