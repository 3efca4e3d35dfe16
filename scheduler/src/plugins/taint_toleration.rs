//! TaintToleration: keeps pods off nodes whose taints they do not tolerate, and prefers nodes with fewer taints that
//! would rather keep them off.
//!
//! Many nodes carry the same few sets of taints, so the predicate judges each set once and takes out its nodes in one
//! operation.

use orlop_core::kinds::{Taint, Toleration};

use crate::bitset::NodeSet;
use crate::facts::PodFacts;
use crate::framework::{
    Depends, PreFilter, PreScore, Predicate, Prepared, Priority, Reach, Scale, Verdict, normalize,
};
use crate::snapshot::{NodeId, NodeView, Snapshot};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct TaintToleration;

/// Whether `taints` keep off a pod with these tolerations.
fn keeps_off(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    let hard = taints.iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.into_iter().any(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
}

/// How many of `taints` would rather keep off a pod with these tolerations.
fn reluctance(tolerations: &[Toleration], taints: &[Taint]) -> i64 {
    let soft = |effect: &str| effect == "PreferNoSchedule";
    let bearing =
        |taint| tolerations.iter().any(|t| (t.effect.is_empty() || soft(&t.effect)) && t.tolerates(taint));
    taints.iter().filter(|t| soft(&t.effect) && !bearing(t)).count() as i64
}

/// A taint as people write it.
fn as_text(taint: &Taint) -> String {
    match taint.value.as_str() {
        "" => format!("{}:{}", taint.key, taint.effect),
        value => format!("{}={value}:{}", taint.key, taint.effect),
    }
}

impl PreFilter for TaintToleration {
    fn name(&self) -> &str {
        "TaintToleration"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Snapshot) -> Prepared<'a> {
        Prepared::ready(Tolerations(&pod.tolerations))
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_TAINTS
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

struct Tolerations<'a>(&'a [Toleration]);

impl Predicate for Tolerations<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(!keeps_off(self.0, &node.facts().taints), || {
            Verdict::refuse_firmly("node(s) had untolerated taint(s)")
        })
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let all = node.facts().taints.iter().filter(|taint| keeps_off(self.0, std::slice::from_ref(*taint)));
        let all: Vec<String> = all.map(as_text).collect();
        Some(format!("tolerate {}, or take it off the node", all.join(" and ")))
    }

    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        for set in cluster.columns().taint_sets() {
            if keeps_off(self.0, &set.taints) {
                nodes.subtract(&set.nodes);
            }
        }
    }
}

impl PreScore for TaintToleration {
    fn name(&self) -> &str {
        "TaintToleration"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn scale(&self) -> Scale {
        Scale::Highest { reverse: true }
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        _: &'a Snapshot,
        _: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        Some(Box::new(Tolerations(&pod.tolerations)))
    }
}

impl Priority for Tolerations<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        reluctance(self.0, &node.facts().taints)
    }

    fn score_all(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        scores.fill(0);
        for set in cluster.columns().taint_sets() {
            let reluctance = reluctance(self.0, &set.taints);
            if reluctance > 0 {
                for (node, score) in nodes.iter().zip(scores.iter_mut()) {
                    if set.nodes.contains(*node) {
                        *score = reluctance;
                    }
                }
            }
        }
    }

    fn normalize(&self, _: &Snapshot, _: &[NodeId], scores: &mut [i64]) {
        normalize(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_and_soft_taints() {
        let taint =
            |key: &str, effect: &str| Taint { key: key.into(), effect: effect.into(), ..Taint::default() };
        let bears = |effect: &str| Toleration {
            key: "a".into(),
            operator: "Exists".into(),
            effect: effect.into(),
            ..Toleration::default()
        };
        assert!(keeps_off(&[], &[taint("a", "NoExecute")]));
        assert!(!keeps_off(&[bears("")], &[taint("a", "NoSchedule"), taint("a", "NoExecute")]));
        assert!(keeps_off(&[bears("NoSchedule")], &[taint("a", "NoSchedule"), taint("a", "NoExecute")]));
        assert!(!keeps_off(&[], &[taint("a", "PreferNoSchedule")]));
        assert_eq!(reluctance(&[], &[taint("a", "PreferNoSchedule"), taint("b", "NoSchedule")]), 1);
        assert_eq!(reluctance(&[bears("NoSchedule")], &[taint("a", "PreferNoSchedule")]), 1);
        assert_eq!(reluctance(&[bears("")], &[taint("a", "PreferNoSchedule")]), 0);
    }
}
