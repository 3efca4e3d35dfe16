//! What the plane costs. Run with
//! `cargo test --release -p orlop-netplan --features loopback figures -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Duration;

use orlop_core::Timestamp;
use orlop_netplan::DataPlane;
use orlop_netplan::loopback::Loopback;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Local, exchange, line_server, options};
use crate::fixture::{Cluster, pod, service, slice};

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::EPOCH + since
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

fn rate(count: u32, since: Timestamp) -> String {
    let took = clock().since(since);
    format!(
        "{:.0}/s, {:.0} µs each",
        f64::from(count) / took.as_secs_f64(),
        took.as_micros() as f64 / f64::from(count)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn figures() {
    let local = Local::new();
    let mut cluster = Cluster::new();
    let count = 800;
    let mut objects = Vec::new();
    for n in 0..count {
        let (name, ip) = (format!("s{n}"), format!("10.244.{}.{}", n / 200, n % 200 + 2));
        objects.push(service(&name, &format!("10.96.{}.{}", n / 200 + 1, n % 200 + 2)));
        objects.push(pod(&format!("p{n}"), &ip, "n1"));
        objects.push(slice(&name, &[(&format!("p{n}"), &ip, "n1")]));
    }
    let before = resident();
    let start = clock();
    let plan = cluster.put(objects);
    println!("{count} Services planned in {:?}", clock().since(start));
    let planned = resident();
    let plane = Loopback::start(options(&local));
    let start = clock();
    plane.apply(plan).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    println!(
        "applied in {:?} less 50 ms; memory: {} KiB planned, {} KiB served",
        clock().since(start),
        planned - before,
        resident() - planned
    );
    let start = clock();
    for n in 0..100 {
        let mut moved = pod("p1", "10.244.0.3", "n1");
        if n % 2 == 0 {
            moved["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        plane.apply(cluster.put([moved])).await.unwrap();
    }
    println!("one pod's change planned and applied: {}", rate(100, start));

    let pod_at = local.of("10.244.0.2:8080");
    let _server = line_server(pod_at, "a").await;
    let front = local.of("10.96.1.2:80");
    let front = plane
        .published()
        .addresses
        .iter()
        .find_map(|a| a.at.clone().ok().filter(|at| at.ip() == front.ip()))
        .unwrap();
    for (name, at) in [("to the pod", pod_at), ("by the Service", front)] {
        let start = clock();
        for _ in 0..2000 {
            exchange(at, "who\n").await.unwrap();
        }
        println!("new connections {name}: {}", rate(2000, start));
        let mut kept = TcpStream::connect(at).await.unwrap();
        let start = clock();
        for _ in 0..5000 {
            kept.write_all(b"who\n").await.unwrap();
            kept.read_exact(&mut [0; 2]).await.unwrap();
        }
        println!("kept connection {name}: {}", rate(5000, start));
    }
    drop(Arc::new(plane));
}
