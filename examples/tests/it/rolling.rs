//! A rolling update loses no request.

use std::net::SocketAddr;
use std::time::Duration;

use orlop::Cluster;
use orlop::base::kinds::{Deployment, Service};
use orlop::base::{Key, Object, Write};
use orlop::manifest::Manifests;
use orlop::netplan::Published;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: web:1
          ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 8080}]
";

/// How many requests are made of each sort.
const REQUESTS: usize = 5_000;

/// A client that keeps its connection for as long as the server does.
struct Client {
    address: SocketAddr,
    open: Option<TcpStream>,
}

impl Client {
    /// One request; answers with the body.
    async fn get(&mut self, keep: bool) -> std::io::Result<String> {
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await?,
        };
        let connection = if keep { "keep-alive" } else { "close" };
        let request = format!("GET / HTTP/1.1\r\nHost: web\r\nConnection: {connection}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let (head, length) = loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some(end) = text.find("\r\n\r\n") {
                let head = text[..end].to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:"))
                    .and_then(|n| n.trim().parse::<usize>().ok())
                    .unwrap_or(0);
                break (head, end + 4 + length);
            }
            read_more(&mut stream, &mut answer).await?;
        };
        while answer.len() < length {
            read_more(&mut stream, &mut answer).await?;
        }
        if !head.starts_with("http/1.1 200") {
            return Err(std::io::Error::other(head));
        }
        if keep && !head.contains("connection: close") {
            self.open = Some(stream);
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

async fn read_more(stream: &mut TcpStream, answer: &mut Vec<u8>) -> std::io::Result<()> {
    match stream.read_buf(answer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Makes requests one after another over a few seconds; answers with those that failed.
async fn requests(address: SocketAddr, count: usize, keep: bool) -> Vec<String> {
    let mut client = Client { address, open: None };
    let mut failed = Vec::new();
    for n in 0..count {
        match tokio::time::timeout(Duration::from_secs(5), client.get(keep)).await {
            Ok(Ok(body)) if body.contains("pod default/web-") => {}
            Ok(Ok(body)) => failed.push(format!("request {n}: {body}")),
            Ok(Err(error)) => {
                client.open = None;
                failed.push(format!("request {n}: {error}"));
            }
            Err(_) => {
                client.open = None;
                failed.push(format!("request {n}: no answer within 5 s"));
            }
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    failed
}

fn reached(published: &[std::sync::Arc<Published>], service: &Key) -> Option<SocketAddr> {
    published.iter().flat_map(|p| p.service(service)).find_map(|address| address.at.as_ref().ok()).copied()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update_loses_no_request() {
    let cluster = Cluster::builder().loopback().start().await.expect("a cluster");
    let mut manifests = Manifests::default();
    manifests.add_text("web", WEB);
    for manifest in &manifests.objects {
        cluster.apply(manifest).await.expect("valid manifests");
    }
    let limit = Duration::from_secs(60);
    cluster.wait_ready("default", "web", limit).await.expect("pods that start");
    let service = Key::new("default", "web");
    let address = loop {
        if let Some(address) = reached(&cluster.published(), &service)
            && TcpStream::connect(address).await.is_ok()
        {
            break address;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(cluster.get::<Service>(&service).await.expect("an API").is_some());

    // Ten clients of each sort, and one update after another until they are through.
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..20 {
        clients.spawn(requests(address, REQUESTS / 10, client % 2 == 0));
    }
    let link = cluster.link("test");
    let mut updates = 0;
    let mut failed = Vec::new();
    while !clients.is_empty() {
        updates += 1;
        let patch = serde_json::json!({"spec": {"template": {"metadata": {"annotations": {"update": updates.to_string()}}}}});
        link.perform(Write::merge(Deployment::KIND, service.clone(), patch)).await.expect("an API");
        cluster.wait_ready("default", "web", limit).await.expect("a rollout that ends");
        while let Some(done) = clients.try_join_next() {
            failed.extend(done.expect("no panic"));
        }
    }
    println!("{} of {} requests failed during {updates} rolling updates", failed.len(), 2 * REQUESTS);
    assert!(failed.is_empty(), "{failed:#?}");
    cluster.shutdown().await;
}
