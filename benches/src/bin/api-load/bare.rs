//! A server that only sends: what the machine can do at most.

use std::convert::Infallible;
use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Outcome;

/// The server in a process of its own, as the one that it is compared with.
pub(crate) struct Bare {
    pub(crate) process: Child,
    pub(crate) address: String,
}

/// Starts it.
pub(crate) fn start() -> Outcome<Bare> {
    let mut process =
        Command::new(std::env::current_exe()?).arg("--bare-server").stdout(Stdio::piped()).spawn()?;
    let out = process.stdout.take().ok_or("the bare server has no output")?;
    let mut address = String::new();
    std::io::BufReader::new(out).read_line(&mut address)?;
    Ok(Bare { process, address: address.trim().to_owned() })
}

/// Is it: answers `/N` with N bytes.
pub(crate) async fn serve() -> Outcome<()> {
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("https://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let stream = acceptor.accept(stream).await?;
            let known = std::sync::Mutex::new(Bytes::new());
            let service = service_fn(move |request: Request<Incoming>| {
                let size = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
                // One connection, one request at a time.
                let mut known = known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if known.len() != size {
                    *known = vec![b'x'; size].into();
                }
                let answer = Response::new(Full::new(known.clone()));
                async move { Ok::<_, Infallible>(answer) }
            });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await?;
            Outcome::Ok(())
        });
    }
}
