//! TCP and UDP by Services and node ports.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orlop_netplan::loopback::{Loopback, Options};
use orlop_netplan::{Affinity, DataPlane, Protocol, What};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::support::{Local, exchange, line_server, options, server};
use crate::fixture::{Cluster, node, pod, service, slice};

/// Two nodes, a node port Service with one pod on each.
fn world() -> Cluster {
    let mut cluster = Cluster::new();
    let mut web = service("web", "10.96.0.20");
    web["spec"]["type"] = "NodePort".into();
    web["spec"]["ports"][0]["nodePort"] = 30_080.into();
    web["spec"]["externalTrafficPolicy"] = "Local".into();
    cluster.put([
        web,
        pod("a", "10.244.1.2", "n1"),
        pod("b", "10.244.2.2", "n2"),
        slice("web", &[("a", "10.244.1.2", "n1"), ("b", "10.244.2.2", "n2")]),
        node("n1", "172.18.0.2", "10.244.1.0/24"),
        node("n2", "172.18.0.3", "10.244.2.0/24"),
        node("n3", "172.18.0.4", "10.244.3.0/24"),
    ]);
    cluster
}

/// Where `what` is, which the cluster knows at `wanted`.
fn at(plane: &Loopback, wanted: &str) -> SocketAddr {
    let wanted: SocketAddr = wanted.parse().unwrap();
    let published = plane.published();
    let found =
        published.addresses.iter().find(|a| a.wanted == wanted).unwrap_or_else(|| panic!("no {wanted}"));
    found.at.clone().unwrap()
}

async fn names(at: SocketAddr, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(exchange(at, "who\n").await.unwrap().trim_end().to_owned());
    }
    names
}

#[tokio::test]
async fn pods_answer_in_turn_and_node_ports_locally() {
    let local = Local::new();
    let cluster = world();
    let plane = Loopback::start(options(&local));
    let _a = line_server(local.of("10.244.1.2:8080"), "a").await;
    let _b = line_server(local.of("10.244.2.2:8080"), "b").await;
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let web = at(&plane, "10.96.0.20:80");
    assert_eq!(web.ip(), local.of("10.96.0.20:80").ip());
    assert_eq!(names(web, 4).await, ["a", "b", "a", "b"]);
    // externalTrafficPolicy: Local.
    assert_eq!(names(at(&plane, "172.18.0.2:30080"), 3).await, ["a", "a", "a"]);
    assert_eq!(names(at(&plane, "172.18.0.3:30080"), 3).await, ["b", "b", "b"]);
    assert!(exchange(at(&plane, "172.18.0.4:30080"), "who\n").await.is_err());
    let published = plane.published();
    let nodes = published.addresses.iter().filter(|a| matches!(&a.what, What::NodePort { .. }));
    assert_eq!(nodes.count(), 3);
}

#[tokio::test]
async fn a_port_that_cannot_be_had_moves_and_says_so() {
    let local = Local::new();
    let mut cluster = Cluster::new();
    let mut web = service("web", "10.96.0.20");
    // 9000 is taken; its place, 17000, is another port's own.
    web["spec"]["ports"] = json!([
        {"name": "one", "port": 9000}, {"name": "two", "port": 17_000}, {"name": "udp", "port": 9000, "protocol": "UDP"},
        {"name": "sctp", "port": 9001, "protocol": "SCTP"}]);
    let mut six = service("six", "fd00::1");
    six["spec"]["externalIPs"] = json!(["8.8.8.8"]);
    cluster.put([web, six]);
    let taken = TcpListener::bind(local.of("10.96.0.20:9000")).await.unwrap();
    let plane = Loopback::start(options(&local));
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let show = || {
        let lines = plane.published().addresses.clone().into_iter().map(|a| {
            let at = match &a.at {
                Ok(at) => format!("port {}", at.port()),
                Err(e) => e.clone(),
            };
            format!("{}/{} {at}{}\n", a.wanted, a.protocol, if a.moved() { " (moved)" } else { "" })
        });
        lines.collect::<String>()
    };
    expect_test::expect![[r#"
        8.8.8.8:80/TCP 8.8.8.8 is in none of the cluster's ranges
        [fd00::1]:80/TCP IPv6 has no block of loopback addresses
        10.96.0.20:9000/TCP port 27000 (moved)
        10.96.0.20:9001/SCTP SCTP is not served on loopback
        10.96.0.20:17000/TCP port 17000
        10.96.0.20:9000/UDP port 9000
    "#]]
    .assert_eq(&show());
    drop(taken);
}

#[tokio::test]
async fn half_closed_connections_and_large_bodies_go_through() {
    let local = Local::new();
    let cluster = world();
    let plane = Loopback::start(options(&local));
    // Reads everything before it answers, twice over.
    let listener = TcpListener::bind(local.of("10.244.1.2:8080")).await.unwrap();
    let _server = server(listener, |mut stream| async move {
        let mut body = Vec::new();
        stream.read_to_end(&mut body).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.write_all(&body).await.unwrap();
    });
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let text = "x".repeat(3_000_000);
    let answer = exchange(at(&plane, "172.18.0.2:30080"), &text).await.unwrap();
    assert_eq!(answer.len(), 6_000_000);
}

#[tokio::test]
async fn a_service_without_endpoints_resets_connections() {
    let local = Local::new();
    let mut cluster = Cluster::new();
    cluster.put([service("web", "10.96.0.20")]);
    let plane = Loopback::start(options(&local));
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    assert!(exchange(at(&plane, "10.96.0.20:80"), "who\n").await.is_err());
    // The listener did not fall over it.
    let _a = line_server(local.of("10.244.1.2:8080"), "a").await;
    let plan = cluster.put([pod("a", "10.244.1.2", "n1"), slice("web", &[("a", "10.244.1.2", "n1")])]);
    plane.apply(plan).await.unwrap();
    assert_eq!(names(at(&plane, "10.96.0.20:80"), 1).await, ["a"]);
}

#[tokio::test]
async fn clients_on_a_node_are_known_by_their_address() {
    let local = Local::new();
    let mut cluster = world();
    let mut web = service("web", "10.96.0.20");
    web["spec"]["internalTrafficPolicy"] = "Local".into();
    cluster.put([web, pod("client", "10.244.2.9", "n2")]);
    let plane = Loopback::start(options(&local));
    let _a = line_server(local.of("10.244.1.2:8080"), "a").await;
    let listener = TcpListener::bind(local.of("10.244.2.2:8080")).await.unwrap();
    let _b = server(listener, |mut stream| async move {
        let peer = stream.peer_addr().unwrap().ip().to_string();
        stream.write_all(peer.as_bytes()).await.unwrap();
    });
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let client = local.of("10.244.2.9:0");
    for _ in 0..3 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(client).unwrap();
        let mut stream = socket.connect(at(&plane, "10.96.0.20:80")).await.unwrap();
        let mut seen = String::new();
        stream.read_to_string(&mut seen).await.unwrap();
        // It is the endpoint on the client's node, and it sees who calls.
        assert_eq!(seen, client.ip().to_string());
    }
}

#[tokio::test]
async fn session_affinity_lasts_until_its_time_out() {
    let local = Local::new();
    let mut cluster = world();
    let mut web = service("web", "10.96.0.20");
    web["spec"]["sessionAffinity"] = "ClientIP".into();
    web["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 60}});
    let plan = cluster.put([web]);
    assert_eq!(plan.services.values().next().unwrap().affinity, Affinity::ClientIp(Duration::from_secs(60)));
    let plane = Loopback::start(options(&local));
    let _a = line_server(local.of("10.244.1.2:8080"), "a").await;
    let _b = line_server(local.of("10.244.2.2:8080"), "b").await;
    plane.apply(plan).await.unwrap();
    assert_eq!(names(at(&plane, "10.96.0.20:80"), 3).await, ["a", "a", "a"]);
    local.clock.advance(Duration::from_secs(61));
    assert_eq!(names(at(&plane, "10.96.0.20:80"), 3).await, ["b", "b", "b"]);
}

#[tokio::test]
async fn udp_sessions_follow_their_endpoints() {
    let local = Local::new();
    let mut cluster = Cluster::new();
    let mut dns = service("dns", "10.96.0.20");
    dns["spec"]["ports"] = json!([{"name": "http", "port": 5353, "protocol": "UDP"}]);
    let mut udp = slice("dns", &[("a", "10.244.1.2", "n1"), ("b", "10.244.2.2", "n2")]);
    udp["ports"][0]["protocol"] = "UDP".into();
    cluster.put([dns, udp, pod("a", "10.244.1.2", "n1"), pod("b", "10.244.2.2", "n2")]);
    let echo = |at: SocketAddr, name: &'static str| async move {
        let socket = UdpSocket::bind(at).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_535];
            while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
                let answer = if len > 100 { "x".repeat(len) } else { name.to_owned() };
                socket.send_to(answer.as_bytes(), peer).await.unwrap();
            }
        });
    };
    echo(local.of("10.244.1.2:8080"), "a").await;
    echo(local.of("10.244.2.2:8080"), "b").await;
    let plane = Loopback::start(Options { udp_idle: Duration::from_millis(200), ..options(&local) });
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let front =
        plane.published().addresses.iter().find(|a| a.protocol == Protocol::Udp).unwrap().at.clone().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(front).await.unwrap();
    let ask = || async {
        let mut buffer = [0; 16];
        for _ in 0..20 {
            client.send(b"who").await.unwrap();
            let answer = tokio::time::timeout(Duration::from_millis(500), client.recv(&mut buffer)).await;
            if let Ok(Ok(len)) = answer {
                return String::from_utf8_lossy(&buffer[..len]).into_owned();
            }
        }
        panic!("nobody answers");
    };
    // A client stays where it is,
    assert_eq!([ask().await, ask().await, ask().await], ["a", "a", "a"]);
    // until its endpoint is not offered any more,
    let mut leaving = pod("a", "10.244.1.2", "n1");
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
    plane.apply(cluster.put([leaving])).await.unwrap();
    assert_eq!([ask().await, ask().await], ["b", "b"]);
    // or it was silent for long.
    plane.apply(cluster.put([pod("a", "10.244.1.2", "n1")])).await.unwrap();
    assert_eq!(ask().await, "b");
    tokio::time::sleep(Duration::from_millis(600)).await;
    // The next in turn is "b", which somebody else gets: a session that had not ended would still be there.
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    other.connect(front).await.unwrap();
    other.send(b"who").await.unwrap();
    let mut buffer = [0; 16];
    let len = tokio::time::timeout(Duration::from_secs(5), other.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..len], b"b");
    assert_eq!([ask().await, ask().await], ["a", "a"]);
}

/// An aborted task leaves its socket open for a moment, so a port that got a name was bound elsewhere for good.
#[tokio::test]
async fn a_port_stays_where_it_is_under_another_name() {
    let local = Local::new();
    let mut cluster = Cluster::new();
    let mut web = service("web", "10.96.0.20");
    web["spec"]["ports"] = json!([{"port": 9000, "protocol": "TCP"}]);
    let mut ends = slice("web", &[("a", "10.244.1.2", "n1")]);
    ends["ports"] = json!([{"name": "", "port": 8080, "protocol": "TCP"}]);
    cluster.put([
        web.clone(),
        pod("a", "10.244.1.2", "n1"),
        ends.clone(),
        node("n1", "172.18.0.2", "10.244.1.0/24"),
    ]);
    let plane = Loopback::start(options(&local));
    let _a = line_server(local.of("10.244.1.2:8080"), "a").await;
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let before = at(&plane, "10.96.0.20:9000");
    assert_eq!(before, local.of("10.96.0.20:9000"));
    let mut kept = TcpStream::connect(before).await.unwrap();
    web["spec"]["ports"] = json!([
        {"name": "http", "port": 9000, "protocol": "TCP"},
        {"name": "admin", "port": 9001, "protocol": "TCP"},
    ]);
    ends["ports"] = json!([
        {"name": "http", "port": 8080, "protocol": "TCP"},
        {"name": "admin", "port": 8080, "protocol": "TCP"},
    ]);
    let plan = cluster.put([web, ends]);
    plane.apply(plan).await.unwrap();
    assert_eq!(at(&plane, "10.96.0.20:9000"), before);
    assert_eq!(names(at(&plane, "10.96.0.20:9001"), 1).await, ["a"]);
    assert_eq!(names(before, 1).await, ["a"]);
    // Who was connected stays so.
    kept.write_all(b"who\n").await.unwrap();
    let mut line = [0; 2];
    kept.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"a\n");
}

/// Likewise where another Service takes a port over from one that goes in the same step.
#[tokio::test]
async fn a_port_goes_from_one_service_to_another() {
    let local = Local::new();
    let mut cluster = Cluster::new();
    let old = service("old", "10.96.0.20");
    let ends = |name: &str| slice(name, &[("a", "10.244.1.2", "n1")]);
    cluster.put([old, pod("a", "10.244.1.2", "n1"), ends("old")]);
    let plane = Loopback::start(Options { unprivileged_from: 0, ..options(&local) });
    let _a = line_server(local.of("10.244.1.2:8080"), "a").await;
    plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    let before = at(&plane, "10.96.0.20:80");
    cluster.put([service("new", "10.96.0.20"), ends("new")]);
    let plan = cluster.delete("Service", "default", "old");
    plane.apply(plan).await.unwrap();
    assert_eq!(at(&plane, "10.96.0.20:80"), before);
    assert_eq!(names(before, 1).await, ["a"]);
}

#[tokio::test]
async fn an_endpoint_may_be_elsewhere() {
    let local = Local::new();
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let outside_at = outside.local_addr().unwrap();
    let _server = server(outside, |mut stream| async move {
        stream.write_all(b"outside").await.unwrap();
    });
    let mut cluster = Cluster::new();
    cluster.put([service("db", "10.96.0.20")]);
    let mut db = slice("db", &[]);
    db["endpoints"] = json!([{"addresses": ["172.18.0.2"]}]);
    let plan = cluster.put([db]);
    let redirect = [("172.18.0.2:8080".parse().unwrap(), outside_at)].into();
    let plane = Loopback::start(Options { redirect, ..options(&local) });
    plane.apply(plan).await.unwrap();
    assert_eq!(exchange(at(&plane, "10.96.0.20:80"), "").await.unwrap(), "outside");
}

#[tokio::test]
async fn clusters_live_side_by_side() {
    let (one, two) = (Local::new(), Local::new());
    let blocks = |local: &Local| local.mirror.blocks().collect::<BTreeSet<_>>();
    assert!(blocks(&one).is_disjoint(&blocks(&two)));
    let cluster = world();
    let planes = [Loopback::start(options(&one)), Loopback::start(options(&two))];
    let mut servers = Vec::new();
    for (plane, local, names) in [(&planes[0], &one, ["a1", "b1"]), (&planes[1], &two, ["a2", "b2"])] {
        servers.push(line_server(local.of("10.244.1.2:8080"), names[0]).await);
        servers.push(line_server(local.of("10.244.2.2:8080"), names[1]).await);
        plane.apply(Arc::clone(cluster.planner.plan())).await.unwrap();
    }
    assert_eq!(names(at(&planes[0], "10.96.0.20:80"), 2).await, ["a1", "b1"]);
    assert_eq!(names(at(&planes[1], "10.96.0.20:80"), 2).await, ["a2", "b2"]);
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"who\n").await.unwrap();
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..2]).into_owned()
}

/// A kept-alive client and new ones, while pods are replaced one by one: nobody sees an error. Pods end as pods do:
/// unrouted first, told to stop after the plane has passed that, and then they answer whom they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_every_pod_fails_no_request() {
    let local = Local::new();
    let mut cluster = Cluster::new();
    let plane = Arc::new(Loopback::start(options(&local)));
    let name = |n: usize| format!("p{n}");
    let ip = |n: usize| format!("10.244.1.{}", n + 2);
    let slice_of = |from: usize, to: usize| {
        let pods: Vec<(String, String)> = (from..to).map(|n| (name(n), ip(n))).collect();
        let pods: Vec<_> = pods.iter().map(|(name, ip)| (name.as_str(), ip.as_str(), "n1")).collect();
        slice("web", &pods)
    };
    let mut servers = Vec::new();
    for n in 0..4 {
        servers.push(Some(line_server(local.of(&format!("{}:8080", ip(n))), &name(n)).await));
    }
    let mut objects = vec![service("web", "10.96.0.20"), slice_of(0, 4)];
    objects.extend((0..4).map(|n| pod(&name(n), &ip(n), "n1")));
    plane.apply(cluster.put(objects)).await.unwrap();
    let front = at(&plane, "10.96.0.20:80");

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let mut asked = 0;
                while !*stopped.borrow() {
                    let answer = exchange(front, "who\n").await.expect("no request fails");
                    assert!(answer.starts_with('p'));
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    // Kept alive over the whole time of its pod, the first one.
    let mut kept = loop {
        let mut kept = TcpStream::connect(front).await.unwrap();
        if ask(&mut kept).await == "p0" {
            break kept;
        }
    };
    for gone in 0..4 {
        let new = gone + 4;
        servers.push(Some(line_server(local.of(&format!("{}:8080", ip(new))), &name(new)).await));
        plane.apply(cluster.put([pod(&name(new), &ip(new), "n1"), slice_of(gone, new + 1)])).await.unwrap();
        let mut leaving = pod(&name(gone), &ip(gone), "n1");
        leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
        let plan = cluster.put([leaving]);
        let unrouted = plan.revision;
        plane.apply(plan).await.unwrap();
        plane.progress().passed(unrouted).await;
        // Those that are under way are answered before the server goes.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if gone == 0 {
            assert_eq!(ask(&mut kept).await, "p0");
        }
        servers[gone] = None;
        plane.apply(cluster.delete("Pod", "default", &name(gone))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    stop.send(true).unwrap();
    let mut asked = 0;
    for client in clients {
        asked += client.await.unwrap();
    }
    println!("{asked} requests on new connections during the replacement, 0 failed");
    assert!(asked > 100);
}
