//! HTTP by host and path.

use std::net::SocketAddr;
use std::sync::Arc;

use orlop_netplan::loopback::{Loopback, Options};
use orlop_netplan::{DataPlane, What};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Local, Server, options, server};
use crate::fixture::{Cluster, pod, service, slice};

/// Answers with the request's head; upgrades to an echo when asked.
async fn http_server(at: SocketAddr) -> Server {
    let listener = TcpListener::bind(at).await.unwrap();
    server(listener, |stream| async move {
        let mut stream = BufStream::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        if head.contains("upgrade: echo") {
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            stream.write_all(line.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            return;
        }
        let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
        lines[1..].sort_unstable();
        let body = lines.join("\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-hop: 1\r\nconnection: x-hop\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    })
}

async fn serve(local: &Local) -> (Loopback, SocketAddr, Server) {
    let mut cluster = Cluster::new();
    let path = |path: &str, service: &str, port: serde_json::Value| json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": port}}});
    cluster.put([
        service("web", "10.96.0.20"),
        service("empty", "10.96.0.21"),
        pod("a", "10.244.1.2", "n1"),
        slice("web", &[("a", "10.244.1.2", "n1")]),
        json!({"kind": "Ingress", "metadata": {"name": "i", "namespace": "default"}, "spec": {"rules": [
            {"host": "shop.example.com", "http": {"paths": [
                path("/", "web", json!({"number": 80})), path("/named", "web", json!({"name": "http"})),
                path("/empty", "empty", json!({"number": 80})), path("/wrong", "web", json!({"number": 81}))]}}]}}),
    ]);
    let plane = Loopback::start(Options { ingress: Some("127.0.0.1".parse().unwrap()), ..options(local) });
    let server = http_server(local.of("10.244.1.2:8080")).await;
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let at = plane.published().of(&What::Ingress).next().unwrap().at.clone().unwrap();
    (plane, at, server)
}

/// The status line and the body.
async fn get(at: SocketAddr, host: &str, path: &str, more: &str) -> (String, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("x-hop"), "what concerns one connection does not go further: {head}");
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn requests_go_where_their_host_and_path_say() {
    let local = Local::new();
    let (_plane, at, _server) = serve(&local).await;
    let (status, body) =
        get(at, "shop.example.com:8080", "/x?y=1", "X-Forwarded-For: 9.9.9.9\r\nKeep-Alive: 5\r\n").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    expect_test::expect![[r#"
        GET /x?y=1 HTTP/1.1
        host: shop.example.com:8080
        x-forwarded-for: 9.9.9.9, 127.0.0.1
        x-forwarded-host: shop.example.com:8080
        x-forwarded-proto: http"#]]
    .assert_eq(&body);
    assert_eq!(get(at, "shop.example.com", "/named", "").await.0, "HTTP/1.1 200 OK");
    assert_eq!(get(at, "other.example.com", "/", "").await.0, "HTTP/1.1 404 Not Found");
    let (status, body) = get(at, "shop.example.com", "/empty", "").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, "Service default/empty has no ready endpoints\n");
    assert_eq!(get(at, "shop.example.com", "/wrong", "").await.0, "HTTP/1.1 503 Service Unavailable");
}

#[tokio::test]
async fn connections_are_kept_and_can_be_upgraded() {
    let local = Local::new();
    let (_plane, at, _server) = serve(&local).await;
    let mut stream = BufStream::new(TcpStream::connect(at).await.unwrap());
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).await.unwrap(), 0);
        }
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
    }
    let upgrade = b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(upgrade).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0);
    }
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"over the tunnel\n").await.unwrap();
    stream.flush().await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert_eq!(line, "over the tunnel\n");
}
