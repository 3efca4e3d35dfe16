//! The example plugins keep the laws of `testkit`, on clusters in which they have something to say.

use std::sync::Arc;

use orlop_scheduler::testkit::{self, Scene, Suite, strategies};
use proptest::prelude::*;

#[path = "../../cost_aware.rs"]
#[expect(dead_code, unreachable_pub, reason = "the example's own main is not run here")]
mod cost_aware;
#[path = "../../data_locality.rs"]
#[expect(dead_code, unreachable_pub, reason = "the example's own main is not run here")]
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
    let nodes = &[
        "",
        "res:gpu.example.com/0=1000 gpu-model=A",
        "res:gpu.example.com/0=1000 res:gpu.example.com/1=1000 gpu-model=B",
    ];
    // On a node they have their GPU; those that are to be placed have labels only, and are given one with a node.
    let pods = &[
        "",
        "gpus=1 gpu-milli=500",
        "gpus=1 gpu-milli=300 gpu-models=A_C",
        "gpus=2 gpu-milli=1000 gpu-models=A_B",
        "res:gpu.example.com/0=500 gpus=1 gpu-milli=500",
    ];
    // Kubernetes knows nothing of what the labels ask of a node.
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
    // An expected whole task cannot use a half: 250 on average.
    assert_eq!(workload.fragments(&room([1000, 500])), 250.0);
    assert_eq!(workload.fragments(&room([500, 500])), 500.0);
    // The half fills the half, and there is nothing left that the whole task could not use: 100 / (1 + e^-0.25).
    assert_eq!(workload.worth(&room([1000, 500]), &task(1, 500)), Some((56, vec![1])));
    // Where all are as good the first is taken; where none is large enough there is none.
    assert_eq!(workload.worth(&room([1000, 1000]), &task(1, 500)), Some((43, vec![0])));
    assert_eq!(workload.worth(&room([400, 400]), &task(1, 500)), None);
}

/// The published table of the trace, for the policy that the example is about and the one that comes next to it: two
/// orders of arrival instead of ten.
#[test]
fn gives_out_what_was_published() {
    let Some(folder) = crate::shared::file("traces/openb") else { return };
    if cfg!(debug_assertions) {
        eprintln!("ignored: a production trace is placed in release builds only");
        return;
    }
    let [_, best_fit, _, fgd] =
        gpu_fragmentation::table(&folder, "default", 2).expect("a trace that can be read");
    // 95.23 and 92.86 at 100 %, 49.97 and 74.08 of the idle GPUs fragments at 90 %.
    assert!((fgd.1[1] - 95.23).abs() < 0.5 && (fgd.1[3] - 49.97).abs() < 2.0, "{fgd:?}");
    assert!((best_fit.1[1] - 92.86).abs() < 0.5 && (best_fit.1[3] - 74.08).abs() < 2.0, "{best_fit:?}");
    assert!(
        fgd.1.iter().zip(best_fit.1).take(3).all(|(fgd, best_fit)| *fgd > best_fit),
        "{fgd:?} {best_fit:?}"
    );
}
