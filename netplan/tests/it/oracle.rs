//! What the real Kubernetes answers.

use orlop_netplan::oracle::FAMILIES;

#[test]
fn agrees_with_kubernetes() {
    for family in FAMILIES {
        if let Some(tally) = family.check() {
            assert!(tally.all(), "{}: {} of {} agreed", family.name, tally.agreed, tally.cases);
        }
    }
}
