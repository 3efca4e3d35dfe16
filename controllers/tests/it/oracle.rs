//! Single passes of the controllers against those of Kubernetes.

use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_controllers::oracle::FAMILIES;
use orlop_core::oracle::Case;

/// Answers the cases of a family, one in `of` unless the data is required, and demands that as many of a thousand agree.
fn agree(name: &str, of: usize, per_thousand: usize) {
    let family = FAMILIES.iter().find(|family| family.name == name).expect("a family of this crate");
    let required = std::env::var("ORLOP_REQUIRE").is_ok_and(|names| names.contains("shared"));
    let count = AtomicUsize::new(0);
    let wanted = |_: &Case| required || count.fetch_add(1, Ordering::Relaxed).is_multiple_of(of);
    if let Some(tally) = family.check_some(wanted) {
        assert!(tally.cases > 0, "{name}: no cases");
        assert!(
            tally.agreed * 1000 >= tally.cases * per_thousand,
            "{name}: {} of {} agreed",
            tally.agreed,
            tally.cases
        );
    }
}

#[test]
fn deployment() {
    agree("deployment", 6, 1000);
}

#[test]
fn deployment_fenceposts() {
    agree("deployment-fenceposts", 1, 1000);
}

#[test]
fn replicaset_ranking() {
    agree("replicaset-ranking", 6, 1000);
}

#[test]
fn endpointslice() {
    agree("endpointslice", 20, 900);
}

#[test]
fn taint_eviction() {
    agree("taint-eviction", 1, 1000);
}

#[test]
fn statefulset() {
    agree("statefulset", 6, 1000);
}

#[test]
fn job() {
    agree("job", 6, 1000);
}

#[test]
fn daemonset_nodes() {
    agree("daemonset-nodes", 3, 1000);
}

#[test]
fn daemonset_update() {
    agree("daemonset-update", 3, 995);
}

#[test]
fn disruption() {
    agree("disruption", 3, 1000);
}

#[test]
fn cron() {
    agree("cron", 1, 1000);
}
