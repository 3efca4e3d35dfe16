//! Single passes of the controllers against those of Kubernetes.

use orlop_controllers::oracle::FAMILIES;

/// Answers the cases of a family, and requires that at least this many of a thousand agree.
fn agree(name: &str, per_thousand: usize) {
    let family = FAMILIES.iter().find(|family| family.name == name).expect("a family of this crate");
    if let Some(tally) = family.check() {
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
    agree("deployment", 1000);
}

#[test]
fn deployment_fenceposts() {
    agree("deployment-fenceposts", 1000);
}
