//! The recorded answers of the real Kubernetes.

use orlop_api::oracle::FAMILIES;
use orlop_core::oracle::Tally;

fn check(name: &str) -> Option<Tally> {
    let family = FAMILIES.iter().find(|family| family.name == name).expect("a family of this crate");
    family.check()
}

#[test]
fn patches() {
    assert!(check("patches").is_none_or(Tally::all));
}

#[test]
fn defaulting() {
    assert!(check("defaulting").is_none_or(Tally::all));
}

/// Full agreement is the aim; definitions of custom resources are not judged yet.
#[test]
fn validation() {
    check("validation");
}

#[test]
fn validation_update() {
    check("validation-update");
}

#[test]
fn server_side_apply() {
    assert!(check("server-side-apply").is_none_or(Tally::all));
}

#[test]
fn eviction() {
    assert!(check("eviction").is_none_or(Tally::all));
}
