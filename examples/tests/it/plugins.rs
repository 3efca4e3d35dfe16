//! The example plugins keep the laws of `testkit`, on clusters in which they have something to say.

use std::sync::Arc;

use orlop_scheduler::testkit::{self, Scene, Suite, strategies};
use proptest::prelude::*;

#[path = "../../cost_aware.rs"]
#[expect(dead_code, reason = "the example's own main is not run here")]
mod cost_aware;
#[path = "../../data_locality.rs"]
#[expect(dead_code, reason = "the example's own main is not run here")]
mod data_locality;
#[path = "../../gpu_fragmentation/main.rs"]
#[expect(dead_code, reason = "the example's own main is not run here")]
mod gpu_fragmentation;

/// Scenes whose nodes and pods carry some of these words besides.
fn with(nodes: &'static [&'static str], pods: &'static [&'static str]) -> impl Strategy<Value = Scene> {
    let size = strategies::Size { volumes: false, ..Default::default() };
    (strategies::scenes(size), proptest::collection::vec((0..nodes.len(), 0..pods.len()), 16)).prop_map(
        move |(mut scene, chosen)| {
            for (line, (node, pod)) in scene.lines.iter_mut().zip(chosen) {
                let words = if line.kind == "node" { nodes[node] } else { pods[pod] };
                for word in words.split_whitespace() {
                    let (key, value) = word.split_once('=').expect("KEY=VALUE");
                    line.words.push((key.to_owned(), Some(value.to_owned())));
                }
            }
            scene
        },
    )
}

fn passes(suite: Suite) {
    suite.cases(128).run().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn data_locality() {
    testkit::check(data_locality::DataLocality);
    let nodes = &["", "data.example.com/logs=v1", "data.example.com/users=v1 data.example.com/logs=v1"];
    let pods = &[
        "",
        "data.example.com/reads=logs-40_users-2",
        "data.example.com/reads=users-x",
        "data.example.com/reads=_-0",
    ];
    passes(Suite::of(data_locality::DataLocality).scenes(with(nodes, pods)));
}

#[test]
fn cost_aware() {
    let nodes = &[
        "",
        "cost.example.com/per-hour=8",
        "cost.example.com/per-hour=900",
        "cost.example.com/per-hour=free",
    ];
    let pods = &["", "cost.example.com/at-most=3", "cost.example.com/at-most=0"];
    passes(Suite::of(cost_aware::CostAware).scenes(with(nodes, pods)));
}

#[test]
fn gpu_fragmentation() {
    use gpu_fragmentation::plugins::{Fgd, GpuFit, Policy};
    use gpu_fragmentation::policy::{Task, Workload};
    // The notation has no GPUs of these names: pods that want some are refused, as they should be everywhere.
    let pods = &["", "gpus=1 gpu-milli=500", "gpus=2 gpu-milli=1000 gpu-models=A_B"];
    let nodes = &["", "gpu-model=A"];
    let wants = |pod: &orlop_scheduler::PodFacts| pod.label("gpus").is_some();
    passes(Suite::of(GpuFit).exempt(move |pod, _| wants(pod)).scenes(with(nodes, pods)));
    let task = |gpus, gpu_milli| Task { cpu_milli: 1000, memory: 0, gpus, gpu_milli, models: Vec::new() };
    let workload = Arc::new(Workload::of(&[task(1, 500), task(0, 0), task(2, 1000)]));
    for policy in [Policy::Random, Policy::BestFit, Policy::Packing, Policy::Fgd(Fgd::new(workload))] {
        passes(Suite::of(policy).scenes(with(nodes, pods)));
    }
}

/// What the paper is about, on two GPUs: a half is put beside a half, so that a whole one is left.
#[test]
fn fgd_leaves_whole_gpus() {
    use gpu_fragmentation::policy::{Room, Task, Workload};
    let task = |gpus, gpu_milli| Task { cpu_milli: 1000, memory: 0, gpus, gpu_milli, models: Vec::new() };
    let workload = Workload::of(&[task(1, 500), task(1, 1000)]);
    let room = |gpus: [i64; 2]| {
        let mut all = [0; 8];
        all[..2].copy_from_slice(&gpus);
        Room { cpu_milli: 32_000, gpus: all, count: 2, model: "A".to_owned() }
    };
    let (growth, gpus) = workload.growth(&room([1000, 500]), &task(1, 500)).expect("it fits");
    // Before, an expected whole task could not use the half: 250 on average. Now there is nothing that it could not.
    assert_eq!((growth, gpus), (-250.0, vec![1]));
    assert_eq!(workload.fragments(&room([500, 500])), 500.0);
    assert_eq!(workload.growth(&room([400, 400]), &task(1, 500)), None);
}
