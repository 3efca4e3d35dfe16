//! What does a decision cost at 100, 1,000 and 5,000 nodes, for a plain pod, one with pod affinity and one that is
//! spread; and what of it is each predicate's and each priority's part, and the snapshot's?
//!
//! `cargo bench -p orlop-benches --bench scheduler`; one part: `... --bench scheduler -- decision/plain`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use orlop_core::{Key, Name};
use orlop_scheduler::{Change, NodeFacts, Placer, PodFacts, Prepared, Profile, Snapshot, place, schedule};
use serde_json::{Value, json};

const SIZES: [usize; 3] = [100, 1_000, 5_000];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decisions(&mut criterion);
    plugins(&mut criterion);
    snapshots(&mut criterion);
    criterion.final_summary();
}

fn node(n: usize) -> NodeFacts {
    NodeFacts::from_json(&json!({
        "metadata": {"name": format!("node-{n}"), "labels": {
            "kubernetes.io/hostname": format!("node-{n}"),
            "topology.kubernetes.io/zone": format!("zone-{}", n % 3),
        }},
        "status": {"allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}},
    }))
    .expect("a node")
}

fn pod(name: &str, labels: Value, more: Value, node: &str) -> PodFacts {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "pause:3", "resources": {
            "requests": {"cpu": "100m", "memory": "500Mi"},
        }}]},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    PodFacts::from_json(&pod).expect("a pod")
}

/// As many pods as nodes, one in five of them blue.
fn cluster(nodes: usize) -> Snapshot {
    let mut cluster = Snapshot::new();
    for n in 0..nodes {
        cluster.apply(Change::Node(node(n)));
        let labels = if n % 5 == 0 { json!({"color": "blue"}) } else { json!({}) };
        cluster.apply(Change::Pod(pod(
            &format!("there-{n}"),
            labels,
            json!({}),
            &format!("node-{}", n * 7 % nodes),
        )));
    }
    cluster
}

fn incoming() -> [(&'static str, PodFacts); 3] {
    let blue = || json!({"matchLabels": {"color": "blue"}});
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": blue(), "topologyKey": "topology.kubernetes.io/zone"},
    ]}}});
    let spread = json!({"topologySpreadConstraints": [{"labelSelector": blue(), "maxSkew": 5,
        "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]});
    [
        ("plain", pod("new", json!({}), json!({}), "")),
        ("near", pod("new", json!({"color": "blue"}), near, "")),
        ("spread", pod("new", json!({"color": "blue"}), spread, "")),
    ]
}

fn decisions(criterion: &mut Criterion) {
    let profile = Profile::default();
    let mut group = criterion.benchmark_group("decision");
    group.throughput(Throughput::Elements(1));
    for nodes in SIZES {
        let cluster = cluster(nodes);
        for (name, pod) in incoming() {
            group.bench_function(BenchmarkId::new(name, nodes), |b| {
                b.iter(|| place(black_box(&pod), &cluster, &profile, 1));
            });
        }
        // One after the other: a decision, its binding, and the end of the pod, as they reach a placer that keeps answers.
        for (name, pod) in incoming() {
            let mut placer = Placer::new(Profile::default(), 1);
            let mut cluster = cluster.clone();
            group.bench_function(BenchmarkId::new(format!("{name}, kept"), nodes), |b| {
                b.iter(|| {
                    let mut pod = pod.clone();
                    pod.node = placer.place(black_box(&pod), &cluster).node.expect("there is room");
                    let key = pod.key.clone();
                    cluster.apply(Change::Pod(pod));
                    cluster.apply(Change::PodGone(key));
                });
            });
        }
        let (_, plain) = &incoming()[0];
        group.bench_function(BenchmarkId::new("plain, in full", nodes), |b| {
            b.iter(|| schedule(black_box(plain), &cluster, &profile, 1));
        });
        let huge = PodFacts::from_json(&json!({
            "metadata": {"name": "huge", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "9"}}}]},
        }))
        .expect("a pod");
        group.bench_function(BenchmarkId::new("fits nowhere", nodes), |b| {
            b.iter(|| place(black_box(&huge), &cluster, &profile, 1));
        });
    }
    group.finish();
}

fn plugins(criterion: &mut Criterion) {
    let profile = Profile::default();
    for nodes in SIZES {
        let cluster = cluster(nodes);
        let ids: Vec<_> = cluster.nodes().map(|n| n.id()).collect();
        let [_, (_, near), (_, spread)] = incoming();
        let mut group = criterion.benchmark_group("predicate");
        for plugin in profile.filter_plugins() {
            let pod = if plugin.name() == "PodTopologySpread" { &spread } else { &near };
            group.bench_function(BenchmarkId::new(plugin.name(), nodes), |b| {
                b.iter(|| {
                    let mut left = cluster.node_set().clone();
                    if let Prepared::Ready(predicate) = plugin.pre_filter(black_box(pod), &cluster) {
                        predicate.filter_all(&cluster, &mut left);
                    }
                    left
                });
            });
        }
        group.finish();
        let mut group = criterion.benchmark_group("priority");
        for (plugin, _) in profile.score_plugins() {
            let mut scores = vec![0; ids.len()];
            group.bench_function(BenchmarkId::new(plugin.name(), nodes), |b| {
                b.iter(|| {
                    if let Some(priority) = plugin.pre_score(black_box(&near), &cluster, &ids) {
                        priority.score_all(&cluster, &ids, &mut scores);
                        priority.normalize(&cluster, &ids, &mut scores);
                    }
                });
            });
        }
        group.finish();
    }
}

fn snapshots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    for nodes in SIZES {
        let mut cluster = cluster(nodes);
        let pod = pod("new", json!({"color": "blue"}), json!({}), "node-7");
        let key = Key::new("default", "new");
        group.bench_function(BenchmarkId::new("a pod comes and goes", nodes), |b| {
            b.iter(|| {
                cluster.apply(Change::Pod(pod.clone()));
                cluster.apply(Change::PodGone(key.clone()));
            });
        });
        let here = node(7);
        group.bench_function(BenchmarkId::new("a node goes and comes", nodes), |b| {
            b.iter(|| {
                cluster.apply(Change::NodeGone(Name::from("node-7")));
                cluster.apply(Change::Node(here.clone()));
            });
        });
    }
    group.finish();
}
