//! DNS over UDP and TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use orlop_netplan::loopback::{DnsAnswers, Loopback, Options};
use orlop_netplan::{DataPlane, What};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::support::{Local, options};
use crate::fixture::{Cluster, service};

async fn serve(local: &Local, answers: DnsAnswers) -> (Loopback, SocketAddr) {
    let mut cluster = Cluster::new();
    let mut dns = service("kube-dns", "10.96.0.10");
    dns["spec"]["ports"][0]["port"] = 53.into();
    cluster.put([service("web", "10.96.0.20"), dns]);
    let plane = Loopback::start(Options {
        cluster_dns: Some("10.96.0.10".parse().unwrap()),
        dns_answers: answers,
        ..options(local)
    });
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let published = plane.published();
    let at: Vec<_> = published.of(&What::Dns).map(|a| a.at.clone().unwrap()).collect();
    assert_eq!(at.len(), 2);
    assert_eq!(at[0], at[1], "UDP and TCP are at one port");
    assert!([53, 8053].contains(&at[0].port()));
    (plane, at[0])
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn show(answer: &[u8]) -> String {
    let message = Message::from_vec(answer).unwrap();
    if message.metadata.response_code != ResponseCode::NoError {
        return format!("{:?}", message.metadata.response_code);
    }
    let answers: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    answers.join(" ")
}

async fn udp(at: SocketAddr, name: &str, kind: RecordType) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question(name, kind), at).await.unwrap();
    let mut buffer = [0; 1500];
    let len = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await.unwrap().unwrap();
    show(&buffer[..len])
}

#[tokio::test]
async fn answers_with_addresses_on_loopback() {
    let local = Local::new();
    let (_plane, at) = serve(&local, DnsAnswers::Mirrored).await;
    let web = local.of("10.96.0.20:80").ip().to_string();
    assert_eq!(udp(at, "web.default.svc.cluster.local.", RecordType::A).await, web);
    assert_eq!(udp(at, "WEB.default.svc.cluster.local.", RecordType::AAAA).await, "");
    assert_eq!(udp(at, "nobody.default.svc.cluster.local.", RecordType::A).await, "NXDomain");
    assert_eq!(udp(at, "example.com.", RecordType::A).await, "Refused");
    let srv = udp(at, "_http._tcp.web.default.svc.cluster.local.", RecordType::SRV).await;
    assert_eq!(srv, "0 100 80 web.default.svc.cluster.local.");
    let reverse = |ip: &str| format!("{}.in-addr.arpa.", ip.split('.').rev().collect::<Vec<_>>().join("."));
    for ip in ["10.96.0.20", &web] {
        assert_eq!(udp(at, &reverse(ip), RecordType::PTR).await, "web.default.svc.cluster.local.");
    }
    let mut stream = TcpStream::connect(at).await.unwrap();
    let question = question("web.default.svc.cluster.local.", RecordType::A);
    stream.write_u16(question.len() as u16).await.unwrap();
    stream.write_all(&question).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(show(&answer), web);
}

#[tokio::test]
async fn answers_with_the_clusters_addresses_if_asked_to() {
    let local = Local::new();
    let (_plane, at) = serve(&local, DnsAnswers::Cluster).await;
    assert_eq!(udp(at, "web.default.svc.cluster.local.", RecordType::A).await, "10.96.0.20");
}
