//! Whatever goes wrong, invariants hold; and when nothing does any more, all comes to rest as it must be.

use std::time::Duration;

use orlop_sim::{Faults, Options, Simulation, Workload};

fn survives(seed: u64, nodes: usize, faults: Faults, seconds: u64) {
    let mut sim = Simulation::new(seed, Options::nodes(nodes).faults(faults)).expect("the cluster starts");
    sim.load(Workload::for_nodes(nodes));
    let run = Duration::from_secs(seconds) * crate::scale();
    if let Err(violation) = sim.run_for(run) {
        panic!("{}", crate::again(seed, nodes, faults, run, &[violation]));
    }
    // Back-off of what failed lasts the longer, the more went wrong.
    let limit = Duration::from_secs(if faults.any() { 1800 } else { 300 });
    if let Err(violations) = sim.settle(limit) {
        panic!("{}", crate::again(seed, nodes, faults, run, &violations));
    }
}

#[test]
fn all_faults_at_once() {
    for seed in (100..).take(crate::scale() as usize) {
        survives(seed, 3, Faults::ALL, 90);
    }
}

#[test]
fn each_kind_of_fault() {
    for (seed, kind) in (200..).zip(["api", "watches", "restarts", "runtime", "store", "clocks"]) {
        survives(seed, 2, kind.parse().expect("a kind of fault"), 30);
    }
}

#[test]
fn no_fault() {
    for seed in (300..).take(crate::scale() as usize) {
        survives(seed, 3, Faults::NONE, 60);
    }
}

#[test]
fn kinds_of_faults_are_read_and_printed() {
    assert_eq!("all".parse(), Ok(Faults::ALL));
    let some: Faults = "api, store".parse().expect("two kinds of faults");
    assert_eq!(some.to_string(), "api,store");
    assert!("gremlins".parse::<Faults>().is_err());
}
