//! Single passes of the controllers against those of Kubernetes.

use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_controllers::oracle::FAMILIES;
use orlop_core::oracle::Case;

/// Answers the cases of a family, one in `of` unless the data is required: all agree.
fn agree(name: &str, of: usize) {
    agree_but(name, of, &[]);
}

/// The same, but for those that are known not to; who agrees after all is to be taken off the list.
fn agree_but(name: &str, of: usize, known: &[&str]) {
    let family = FAMILIES.iter().find(|family| family.name == name).expect("a family of this crate");
    let required = std::env::var("ORLOP_REQUIRE").is_ok_and(|names| names.contains("shared"));
    let count = AtomicUsize::new(0);
    let is_known = |case: &Case| known.contains(&case.id.as_str());
    let sampled = || required || count.fetch_add(1, Ordering::Relaxed).is_multiple_of(of);
    let Some(tally) = family.check_some(|case| !is_known(case) && sampled()) else { return };
    assert!(tally.cases > 0, "{name}: no cases");
    assert!(tally.all(), "{name}: {} of {} agreed", tally.agreed, tally.cases);
    if !known.is_empty() {
        let tally = family.check_some(is_known).expect("the data is there");
        assert_eq!((tally.agreed, tally.cases), (0, known.len()), "{name}: known not to agree");
    }
}

#[test]
fn deployment() {
    agree("deployment", 6);
}

#[test]
fn deployment_fenceposts() {
    agree("deployment-fenceposts", 1);
}

#[test]
fn replicaset_ranking() {
    agree("replicaset-ranking", 6);
}

#[test]
fn endpointslice() {
    agree("endpointslice", 4);
}

#[test]
fn taint_eviction() {
    agree("taint-eviction", 1);
}

#[test]
fn statefulset() {
    agree("statefulset", 6);
}

#[test]
fn job() {
    agree("job", 6);
}

#[test]
fn daemonset_nodes() {
    agree("daemonset-nodes", 3);
}

#[test]
fn daemonset_update() {
    // On which of two nodes a pod surges first is left to the order of a Go map.
    agree_but("daemonset-update", 3, &["daemonset-update-r001269"]);
}

#[test]
fn disruption() {
    agree("disruption", 3);
}

#[test]
fn cron() {
    agree("cron", 1);
}
