//! What a post-filter may look at: [`PostFilterContext`].

use orlop_core::Name;

use crate::decision::{Decision, Fault, Rejection};
use crate::facts::PodFacts;
use crate::framework::Code;
use crate::placer::failing::Refusals;
use crate::plugins::default_preemption::Candidates;
use crate::schedule::{Ready, refusal_of};
use crate::snapshot::{Delta, NodeId, Snapshot};

/// What is known of earlier attempts of pods that are alike.
pub(crate) struct Kept<'s> {
    /// One like them, without a name or a nomination.
    pub(crate) sample: &'s PodFacts,
    pub(crate) refusals: &'s Refusals,
    pub(crate) candidates: &'s mut Candidates,
    /// The node on which room is made for the pod itself, and why it is refused there nevertheless.
    pub(crate) own: Option<&'s (NodeId, Rejection)>,
}

impl Kept<'_> {
    pub(crate) fn lend(&mut self) -> Kept<'_> {
        Kept {
            sample: self.sample,
            refusals: self.refusals,
            candidates: &mut *self.candidates,
            own: self.own,
        }
    }
}

/// A failed attempt, and the means to try it again in thought.
pub struct PostFilterContext<'s, 'a> {
    pod: &'s PodFacts,
    cluster: &'s Snapshot,
    ready: &'s mut [Ready<'a>],
    decision: &'s Decision,
    kept: Option<Kept<'s>>,
    fault: Option<Fault>,
}

impl<'s, 'a> PostFilterContext<'s, 'a> {
    pub(crate) fn new(
        pod: &'s PodFacts,
        cluster: &'s Snapshot,
        ready: &'s mut [Ready<'a>],
        decision: &'s Decision,
        kept: Option<Kept<'s>>,
    ) -> PostFilterContext<'s, 'a> {
        PostFilterContext { pod, cluster, ready, decision, kept, fault: None }
    }

    pub(crate) fn fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// The cluster.
    pub fn cluster(&self) -> &'s Snapshot {
        self.cluster
    }

    /// Why a node was refused; `None` for one that was not looked at.
    pub fn rejection(&self, node: &str) -> Option<&'s Rejection> {
        if let Some(kept) = &self.kept {
            let node = self.cluster.node(node)?.id();
            return self.kept_rejection(kept, node);
        }
        self.decision.rejected.get(node).or(self.decision.refused.as_ref())
    }

    fn kept_rejection(&self, kept: &Kept<'s>, node: NodeId) -> Option<&'s Rejection> {
        match kept.own {
            Some((own, rejection)) if *own == node => Some(rejection),
            _ => kept.refusals.of(node),
        }
    }

    /// What is known of earlier attempts; given once.
    pub(crate) fn kept(&mut self) -> Option<Kept<'s>> {
        self.kept.take()
    }

    /// The nodes whose refusal evicting pods may cure, ordered by name.
    pub fn curable(&self) -> Vec<NodeId> {
        let decision = self.decision;
        let curable = |rejection: &Rejection| rejection.refusal.code == Code::Unschedulable;
        if let Some(kept) = &self.kept {
            let nodes = self.cluster.nodes().map(|node| node.id());
            return nodes.filter(|node| self.kept_rejection(kept, *node).is_some_and(curable)).collect();
        }
        if let Some(refused) = &decision.refused {
            return if curable(refused) {
                self.cluster.nodes().map(|n| n.id()).collect()
            } else {
                Vec::new()
            };
        }
        let names = decision.rejected.iter().filter(|(_, r)| curable(r)).map(|(name, _)| name);
        names.filter_map(|name: &Name| Some(self.cluster.node(name)?.id())).collect()
    }

    /// The first predicate that would refuse `node` after `delta`; `None`: the pod would fit.
    pub fn refusal(&mut self, node: NodeId, delta: Delta<'s>) -> Option<Rejection> {
        self.refusal_for(self.pod, node, delta)
    }

    /// The same for a pod that is alike.
    pub(crate) fn refusal_for(
        &mut self,
        pod: &PodFacts,
        node: NodeId,
        delta: Delta<'s>,
    ) -> Option<Rejection> {
        match refusal_of(pod, self.cluster, self.ready, node, delta) {
            Ok(refusal) => refusal,
            Err(fault) => {
                let plugin = fault.plugin.clone();
                let refusal =
                    crate::framework::Refusal::new(Code::UnschedulableAndUnresolvable, fault.to_string());
                self.fault = Some(fault);
                Some(Rejection { plugin, refusal })
            }
        }
    }
}
