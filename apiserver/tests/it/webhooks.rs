//! Calls of admission webhooks over HTTPS.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orlop_api::admission::{Webhook, WebhookClient};
use orlop_apiserver::HttpsWebhooks;
use orlop_apiserver::pki::Authority;
use orlop_core::Timestamp;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server that answers a body with the same body, a path `/refuse` with 500, and `/wait` never.
async fn server(authority: &Authority) -> u16 {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let identity = authority.server(&["hooks.example.com"], &[local]).expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(authority.tls(&identity).expect("TLS")));
    let listener = TcpListener::bind((local, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let answer = |request: hyper::Request<hyper::body::Incoming>| async move {
                    if request.uri().path() == "/wait" {
                        std::future::pending::<()>().await;
                    }
                    let code = if request.uri().path() == "/refuse" { 500 } else { 200 };
                    let body = request.into_body().collect().await?.to_bytes();
                    let mut response = hyper::Response::new(Full::new(body));
                    *response.status_mut() = hyper::StatusCode::from_u16(code).expect("a code");
                    Ok::<_, hyper::Error>(response)
                };
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    port
}

fn webhook(port: u16, path: &str, ca_bundle: &str) -> Webhook {
    Webhook {
        name: "w.example.com".into(),
        url: format!("https://hooks.example.com{path}?timeout=1s"),
        connect: Some(("127.0.0.1".into(), port)),
        ca_bundle: ca_bundle.as_bytes().into(),
        timeout: Duration::from_millis(300),
    }
}

#[tokio::test]
async fn webhooks_are_called_by_those_whom_they_trust() {
    let now = Timestamp::from_secs(
        std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs().try_into().unwrap_or(0)),
    );
    let (authority, stranger) = (Authority::generate(now).unwrap(), Authority::generate(now).unwrap());
    let port = server(&authority).await;
    let client = HttpsWebhooks::default();
    let own = authority.certificate();
    let body = br#"{"kind":"AdmissionReview"}"#.to_vec();
    assert_eq!(client.call(&webhook(port, "/ok", own), body.clone()).await, Ok(body.clone()));
    let refused = client.call(&webhook(port, "/refuse", own), body.clone()).await.unwrap_err();
    assert!(refused.contains("500"), "{refused}");
    let late = client.call(&webhook(port, "/wait", own), body.clone()).await.unwrap_err();
    assert_eq!(late, "context deadline exceeded");
    let untrusted =
        client.call(&webhook(port, "/ok", stranger.certificate()), body.clone()).await.unwrap_err();
    assert!(untrusted.starts_with("tls: "), "{untrusted}");
    let trusting = HttpsWebhooks::trusting(own.as_bytes());
    assert!(trusting.call(&webhook(port, "/ok", ""), body).await.is_ok());
}
