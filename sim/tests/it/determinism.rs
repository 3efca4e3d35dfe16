//! One seed, one history.

use std::time::Duration;

use orlop_sim::{Faults, Options, Simulation, Workload};

const MINUTE: Duration = Duration::from_secs(60);

/// A short, busy life with everything going wrong, as a digest.
fn life(seed: u64, faults: Faults) -> String {
    let mut sim = Simulation::new(seed, Options::nodes(3).faults(faults)).expect("the cluster starts");
    sim.load(Workload::for_nodes(3));
    if let Err(violation) = sim.run_for(3 * MINUTE) {
        panic!("{}", crate::again(seed, 3, faults, &[violation]));
    }
    sim.digest()
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
    let run = |steps: u32| {
        let mut sim = Simulation::new(5, Options::nodes(2)).expect("the cluster starts");
        sim.load(Workload::for_nodes(2));
        for _ in 0..steps {
            sim.run_for(MINUTE / steps).expect("nothing is violated");
        }
        sim.digest()
    };
    assert_eq!(run(1), run(7 * 2));
}
