//! One seed, one history.

use std::time::Duration;

use orlop_sim::{Faults, Options, Simulation, Workload};

/// A short, busy life, as a digest.
fn life(seed: u64, faults: Faults) -> String {
    let mut sim = Simulation::new(seed, Options::nodes(2).faults(faults)).expect("the cluster starts");
    sim.load(busy());
    if let Err(violation) = sim.run_for(Duration::from_secs(20) * crate::scale()) {
        // The program has another workload: this test shows it again.
        panic!("seed {seed}, faults {faults}: {violation}");
    }
    sim.digest()
}

fn busy() -> Workload {
    Workload { every: Duration::from_secs(1), ..Workload::for_nodes(2) }
}

#[test]
fn twenty_seeds_twice() {
    let digests: Vec<String> = (0..20)
        .map(|seed| {
            let faults = if seed % 2 == 0 { Faults::ALL } else { Faults::NONE };
            let (first, second) = (life(seed, faults), life(seed, faults));
            assert_eq!(first, second, "seed {seed} went two ways");
            first
        })
        .collect();
    let mut distinct = digests.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), digests.len(), "different seeds go different ways");
}

#[test]
fn how_time_is_cut_does_not_show() {
    let time = Duration::from_secs(30);
    let run = |steps: u32| {
        let mut sim = Simulation::new(5, Options::nodes(2)).expect("the cluster starts");
        sim.load(busy());
        for _ in 0..steps {
            sim.run_for(time / steps).expect("nothing is violated");
        }
        sim.digest()
    };
    assert_eq!(run(1), run(12));
}
