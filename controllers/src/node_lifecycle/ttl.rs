//! How long a node's agent may keep what it has read of Secrets and ConfigMaps: the longer, the more nodes there are.

use orlop_core::kinds::Node;

/// Where the node is told, in seconds.
pub(super) const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Up to how many nodes, from how many, and what then holds. The ranges overlap, so that a cluster at their edge does
/// not go to and fro.
const STEPS: [(usize, usize, u32); 6] = [
    (0, 100, 0),
    (90, 500, 15),
    (450, 1_000, 30),
    (900, 2_000, 60),
    (1_800, 10_000, 300),
    (9_000, usize::MAX, 600),
];

/// The annotation that the node should have, if it has another. A cluster that grew tells its nodes one by one, as they
/// report.
pub(super) fn annotation(node: &Node, nodes: impl FnOnce() -> usize) -> Option<String> {
    let current = node.metadata.annotations.get(ANNOTATION);
    let known = current.and_then(|text| STEPS.iter().position(|step| step.2.to_string() == text.as_str()));
    let wanted = step(known.unwrap_or(0), nodes()).to_string();
    (current.is_none_or(|current| current.as_str() != wanted)).then_some(wanted)
}

fn step(mut at: usize, nodes: usize) -> u32 {
    while nodes > STEPS[at].1 {
        at += 1;
    }
    while nodes < STEPS[at].0 {
        at -= 1;
    }
    STEPS[at].2
}

#[test]
fn a_step_is_left_only_beyond_its_overlap_with_the_next() {
    assert_eq!(step(0, 100), 0);
    assert_eq!(step(0, 101), 15);
    assert_eq!(step(1, 90), 15);
    assert_eq!(step(1, 89), 0);
    assert_eq!(step(0, 20_000), 600);
    assert_eq!(step(5, 3), 0);
}
